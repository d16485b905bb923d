"""The whole agent with the real OpenClaw: mail on moto, answered through the relay by simulated providers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from agent import wiring
from agent.bridge import Bridge, Habits
from agent.life import ForChat, live
from agent.settings import read
from agent.threads import Threads
from assistant.turns.agents import AgentStatus, Generation, Mailbox
from assistant.turns.model import TurnStatus
from local.simulators.faults import Fault
from local.workspace_trials import Cloud
from tests.container.bridging import NoDoor, one_at_a_time
from tests.container.openclaw import (
    ANSWER,
    COMPILE_CACHE,
    NODE,
    OPENCLAW,
    Providers,
    SystemClock,
    simulated_providers,
)
from tests.doubles import CHAT, PlainSecrets, a_world
from tests.unit.test_agents import Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from agent.openclaw import OpenClaw
    from assistant.turns.model import TurnClaim

pytestmark = [pytest.mark.openclaw, pytest.mark.anyio]

WAIT_S = 180
STOP_S = 20


@dataclass
class Whole:
    """The agent, with what is around it."""

    fleet: Fleet
    providers: Providers
    openclaw: OpenClaw
    stop: asyncio.Event
    life: asyncio.Task[int]
    log: list[str]

    async def told(self, *how: str) -> None:
        await self.until(lambda: [each for _, each in self.fleet.tokens.ended] == list(how))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                assert not self.life.done(), self.log[-20:]
                await asyncio.sleep(0.02)

    def hand_over(self, text: str, token: str, before: TurnClaim) -> TurnClaim:
        self.fleet.world.deliver(before)
        claim = self.fleet.turn(text)
        self.fleet.hand_over(claim, token)
        return claim

    def gateway_pid(self) -> int:
        pid = self.openclaw._gateway.pid  # type: ignore[attr-defined]
        assert isinstance(pid, int)
        return pid


@asynccontextmanager
async def the_whole_agent(
    fleet: Fleet, folder: Path, providers: Providers, cloud: Cloud | None = None
) -> AsyncIterator[Whole]:
    """`cloud`: where its workspace is kept."""
    world, cloud = fleet.world, cloud or Cloud()
    one_at_a_time(fleet)
    place = {"STATE_FOLDER": "state", "WORKSPACE_FOLDER": "workspace", "TEMPORARY_FOLDER": "tmp"}
    settings = read(
        {name: str(folder / below) for name, below in place.items()}
        | {"NODE": str(NODE), "OPENCLAW": str(OPENCLAW), "COMPILE_CACHE": str(COMPILE_CACHE), "COPILOT_API_KEY": "x"}
        | {
            f"{each.secret.removesuffix('-api-key').upper()}_BASE_URL": each.base_url
            for each in providers.chain.providers
        }
    )
    secrets = PlainSecrets(providers.outside.secrets)
    books = wiring.Books(world.ledger, world.usage, secrets, world.owner)
    threads, log = Threads(4, "test"), list[str]()

    def note(message: str, **fields: Any) -> None:
        log.append(f"{message} {fields}")

    generation = cloud.begin()
    assert generation == Generation(CHAT, fleet.agents.read(CHAT).generation)
    safekeeping = wiring.safekeeping(
        settings.place,
        generation,
        cloud.blobs(),
        cloud.snapshots(),
        owner=world.owner,
        clock=world.clock,
        threads=threads,
        log=note,
    )
    openclaw = wiring.assembled(settings, world.chain, books, world.clock, threads, prepare=safekeeping.restore)
    mailbox = Mailbox(generation, fleet.agents, world.turns, fleet.tokens, world.clock)
    bridge = Bridge(mailbox, openclaw, safekeeping, Habits(20, 7, 900), clock=world.clock, threads=threads, log=note)
    stop = asyncio.Event()

    async def arn() -> str:
        return "task/1"

    life = asyncio.create_task(live(ForChat(bridge, arn), openclaw, NoDoor(), log=note, stop=stop))
    try:
        yield Whole(fleet, providers, openclaw, stop, life, log)
    finally:
        stop.set()
        await asyncio.wait([life], timeout=STOP_S)
        threads.close()


async def test_mail_is_answered_through_everything_and_survives_a_kill_and_a_signal(tmp_path: Path) -> None:
    with simulated_providers() as providers, a_world(agent_mode="always", clock=SystemClock()) as world:
        fleet = Fleet(world)
        first = fleet.turn("what is in my files?")
        fleet.hand_over(first, "token 1")
        async with the_whole_agent(fleet, tmp_path, providers) as agent:
            await agent.told("success")
            turn = world.turn(1)
            assert (turn.status, turn.reply, turn.provider) == (TurnStatus.ANSWERED, ANSWER, "copilot")
            assert sum(world.ledger.entries()["copilot"].windows.values()) == 2  # of the day, and of the month

            # A turn of the chat lane's, then three providers that refuse: Claude answers, and is paid for.
            world.deliver(first)
            second = fleet.turn("and what did I say to the chat model?")
            world.ask("copilot")(second)
            for provider_id in ("copilot", "openrouter", "ollama-cloud"):
                providers.outside.order(provider_id, Fault.THROTTLED, None)
            third = agent.hand_over("now you", "token 3", second)
            await agent.told("success", "success")
            providers.outside.clear()
            turn = world.turn(3)
            (spent,) = world.ledger.entries()["anthropic"].windows.values()
            assert (turn.provider, turn.micro_dollars) == ("anthropic", spent)
            asked = json.dumps(providers.outside.providers["anthropic"].requests[-1].body)
            assert "and what did I say to the chat model?</message>" in asked
            assert asked.count("what is in my files?") == 1  # seen before: not told again

            # The gateway is killed in the middle of a run: started again, and the turn is answered once.
            providers.outside.order("copilot", Fault.HANG, 1)
            asked_before = len(providers.requests())
            fourth = agent.hand_over("are you there?", "token 4", third)
            await agent.until(lambda: len(providers.requests()) > asked_before)
            os.kill(agent.gateway_pid(), signal.SIGKILL)
            await agent.told("success", "success", "success")
            assert world.turn(4).reply == ANSWER
            assert agent.openclaw.gateway_starts == 2

            # A signal in the middle of a run: handed back in time.
            providers.outside.order("copilot", Fault.HANG)
            asked_before = len(providers.requests())
            agent.hand_over("one more", "token 5", fourth)
            await agent.until(lambda: len(providers.requests()) > asked_before)
            began = time.monotonic()
            agent.stop.set()
            assert await asyncio.wait_for(agent.life, STOP_S) == 0
            assert time.monotonic() - began < STOP_S

        assert [how for _, how in fleet.tokens.ended] == ["success"] * 3 + ["AgentInterrupted"]
        assert world.turn(5).status == TurnStatus.OPEN
        assert fleet.agents.read(CHAT).status == AgentStatus.STOPPED
        assert ANSWER not in "".join(agent.log)


async def test_the_next_container_has_the_files_and_remembers_what_was_said(tmp_path: Path) -> None:
    cloud = Cloud()
    with simulated_providers() as providers, a_world(agent_mode="always", clock=SystemClock()) as world:
        fleet = Fleet(world)
        first = fleet.turn("my cat is called Mimi")
        fleet.hand_over(first, "token 1")
        async with the_whole_agent(fleet, tmp_path / "first", providers, cloud) as agent:
            await agent.told("success")
            (tmp_path / "first" / "workspace" / "files" / "cat.txt").write_text("Mimi")
            agent.stop.set()
            assert await asyncio.wait_for(agent.life, STOP_S) == 0

        world.deliver(first)
        second = fleet.turn("what is my cat called?")
        fleet.hand_over(second, "token 2")
        async with the_whole_agent(fleet, tmp_path / "second", providers, cloud) as agent:
            await agent.told("success", "success")
            assert (tmp_path / "second" / "workspace" / "files" / "cat.txt").read_text() == "Mimi"

        asked = json.dumps(providers.outside.providers["copilot"].requests[-1].body)
        assert "my cat is called Mimi" in asked  # OpenClaw's own memory has it
        assert "<message role" not in asked  # and so it is not told once more
    assert cloud.archive().listed()[-1].number > 1

"""A bridge over the stores, with all of OpenClaw played."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.bridge import Bridge, Habits
from agent.gateway import GatewayDied
from agent.gateway_client import RunAborted, RunResult
from agent.gateway_frames import FallbackAttempt, Usage
from agent.life import ForChat, live
from agent.openclaw import OpenClaw
from agent.relay_call import NO_TURN, RelayedTurn
from agent.safekeeping import BACK_UP_SECONDS
from agent.spending import Spending
from agent.threads import Threads
from assistant.turns.agents import Backups, Generation, Mailbox
from assistant.workspace.model import NOTHING, Contained, Root
from tests.doubles import CHAT, small_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.doubles import DrivenClock, World
    from tests.unit.test_agents import Fleet

IDLE_SECONDS = 900
DEADLINE_S = 20.0
METHODS = ("get_item", "put_item", "query", "transact_write_items", "update_item", "delete_item")


def result(text: str = "done", provider: str = "copilot", fallbacks: tuple[FallbackAttempt, ...] = ()) -> RunResult:
    return RunResult(text, provider, f"{provider}-model", Usage(input=5, output=7, cache_read=3), 0.0, fallbacks)


async def until(condition: Callable[[], object], seen: object = None) -> None:
    """Wait for it; `seen` is told if it does not come."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {seen}"
        await asyncio.sleep(0.002)


@contextmanager
def shared_tables() -> Iterator[Callable[..., World]]:
    """Makes worlds, each with tables of its own."""
    yield small_world


class DrivenTime:
    """Sleeps that end when the test lets time pass."""

    def __init__(self, clock: DrivenClock) -> None:
        self._clock = clock
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        until = asyncio.get_running_loop().create_future()
        self._sleeping.append((self._clock.now() + seconds, until))
        await until

    def next(self) -> float | None:
        """When the next sleep ends."""
        self._sleeping = [each for each in self._sleeping if not each[1].done()]
        return min((moment for moment, _ in self._sleeping), default=None)

    def pass_until(self, moment: float) -> None:
        self._clock.moment = max(self._clock.moment, moment)
        for until, sleeper in self._sleeping:
            if until <= self._clock.now() and not sleeper.done():
                sleeper.set_result(None)


class CountedThreads(Threads):
    """Threads that know whether anything runs on them."""

    def __init__(self) -> None:
        super().__init__(4, "test")
        self.running = 0

    async def __call__(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self.running += 1
        try:
            return await super().__call__(work, *args, **kwargs)
        finally:
            self.running -= 1


@dataclass
class PlayedOpenClaw:
    """Process, client and relay of a gateway, by a script.

    `script` holds what the next runs come to: a result, an error to raise, or None for a run that hangs until it is
    aborted. After that every run is answered.
    """

    script: list[RunResult | Exception | None] = field(default_factory=list)
    ran: list[tuple[str, str]] = field(default_factory=list)
    turns: list[RelayedTurn] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    turn: RelayedTurn = NO_TURN
    boots: bool = True

    def __post_init__(self) -> None:
        self._up = asyncio.Event()
        self._gone: asyncio.Future[GatewayDied] = asyncio.get_running_loop().create_future()
        self._hanging: asyncio.Future[RunResult] | None = None

    # the process

    @property
    def is_ready(self) -> bool:
        return self._up.is_set()

    def boot(self) -> None:
        self._up.set()

    def die(self) -> None:
        """For good."""
        self._gone.set_result(GatewayDied("the gateway ended", 1))

    async def ready(self) -> None:
        up = asyncio.create_task(self._up.wait())
        waiting: set[asyncio.Future[Any]] = {up, self._gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._gone.done():
            raise self._gone.result()

    async def died(self) -> GatewayDied:
        return await asyncio.shield(self._gone)

    # the client

    async def connect(self, *, deadline_s: float) -> None:
        self.order.append("connect")

    async def run(self, session_key: str, message: str, *, run_id: str, timeout_s: float, on_text: Any = None) -> Any:
        self.ran.append((session_key, message))
        self.turns.append(self.turn)
        act = self.script.pop(0) if self.script else result()
        if act is None:
            self._hanging = asyncio.get_running_loop().create_future()
            return await self._hanging
        if isinstance(act, Exception):
            raise act
        return act

    @property
    def hanging(self) -> bool:
        return self._hanging is not None and not self._hanging.done()

    async def abort(self, session_key: str, run_id: str) -> bool:
        self.order.append("abort")
        if self._hanging is not None and not self._hanging.done():
            self._hanging.set_exception(RunAborted("aborted"))
        return True

    async def close(self) -> None:
        self.order.append("close")


@dataclass
class Process:
    """The process's side: `start` and `stop` are names of the relay's, too."""

    played: PlayedOpenClaw
    starts: int = 0

    @property
    def is_ready(self) -> bool:
        return self.played.is_ready

    def start(self) -> None:
        self.starts += 1
        if self.played.boots:
            self.played.boot()

    async def ready(self) -> None:
        await self.played.ready()

    async def died(self) -> GatewayDied:
        return await self.played.died()

    async def stop(self, *, abort: Callable[[], Awaitable[object]] | None = None, grace_s: float = 5.0) -> None:
        if abort is not None:
            await abort()
        self.played.order.append("gateway down")


@dataclass
class RelayDouble:
    played: PlayedOpenClaw

    @property
    def turn(self) -> RelayedTurn:
        return self.played.turn

    @turn.setter
    def turn(self, turn: RelayedTurn) -> None:
        self.played.turn = turn

    async def start(self) -> str:
        return "http://127.0.0.1:1"

    async def stop(self) -> None:
        self.played.order.append("relay down")


@dataclass
class KeepingDouble:
    """A safekeeping that only notes; `fails` makes its backups fail, `restored` is what it knows from the start."""

    clock: DrivenClock
    restored: Contained = NOTHING
    fails: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    made: list[tuple[Contained, Root | None]] = field(default_factory=list)
    last: list[Contained] = field(default_factory=list)
    kept_at: float = 0
    tried_at: float = 0

    def __post_init__(self) -> None:
        self.kept_at = self.tried_at = self.clock.now()

    @property
    def is_due(self) -> bool:
        return self.clock.now() - self.tried_at >= BACK_UP_SECONDS

    @property
    def backups(self) -> Backups:
        return Backups(int(self.kept_at))

    async def contained(self) -> Contained:
        return self.restored

    async def back_up(self, contained: Contained, *, if_changed: Root | None = None) -> bool:
        self.made.append((contained, if_changed))
        self.tried_at = self.clock.now()
        self.kept_at = self.kept_at if self.fails else self.tried_at
        return not self.fails

    async def back_up_last(self, contained: Contained, *, seconds: float) -> None:
        self.last.append(contained)


class NoDoor:
    async def start(self) -> str:
        return ""

    async def stop(self) -> None:
        pass


@dataclass
class Living:
    """An agent that lives; `status` is what its life came to."""

    fleet: Fleet
    mailbox: Mailbox
    played: PlayedOpenClaw
    openclaw: OpenClaw
    bridge: Bridge
    time: DrivenTime
    threads: CountedThreads
    spending: Spending
    keeping: KeepingDouble
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    life: asyncio.Task[int] | None = None

    def begin(self) -> None:
        work = ForChat(self.bridge, self._task_arn)
        self.life = asyncio.create_task(
            live(work, self.openclaw, NoDoor(), log=lambda m, **f: self.log.append((m, f)), stop=self.stop)
        )

    async def ended(self) -> int:
        assert self.life is not None
        await self.until(self.life.done)
        return self.life.result()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait, without letting the driven time pass."""
        await until(condition, self.log)

    async def settle(self) -> None:
        """Wait until nothing goes on without time passing."""
        deadline = time.monotonic() + DEADLINE_S
        quiet = 0
        while quiet < 20:
            assert time.monotonic() < deadline, "it never rests"
            quiet = 0 if self.threads.running else quiet + 1
            await asyncio.sleep(0.001 if self.threads.running else 0)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, from one sleep's end to the next."""
        end = self.fleet.world.clock.now() + seconds
        while True:
            await self.settle()
            moment = self.time.next()
            if moment is None or moment > end:
                break
            self.time.pass_until(moment)
        self.time.pass_until(end)
        await self.settle()

    async def _task_arn(self) -> str:
        return f"task/{self.mailbox.generation.number}"


@asynccontextmanager
async def an_agent(
    fleet: Fleet, *, boots: bool = True, keeping: KeepingDouble | None = None, **habits: Any
) -> AsyncIterator[Living]:
    """The container of the newest generation, not yet begun; ended at the end, whatever happens."""
    one_at_a_time(fleet)
    world = fleet.world
    played = PlayedOpenClaw(boots=boots)
    threads, spending = CountedThreads(), Spending(world.ledger)
    log: list[tuple[str, dict[str, Any]]] = []

    def note(message: str, **fields: Any) -> None:
        log.append((message, fields))

    openclaw = OpenClaw(
        gateway=Process(played),
        client=played,
        relay=RelayDouble(played),
        spending=spending,
        configure=lambda url: played.order.append("configure"),
        warm=lambda: played.order.append("warm"),
        threads=threads,
        log=note,
    )
    generation = Generation(CHAT, fleet.agents.read(CHAT).generation)
    mailbox = Mailbox(generation, fleet.agents, world.turns, fleet.tokens, world.clock)
    driven = DrivenTime(world.clock)
    kept = Habits(**{"history_messages": 20, "history_days": 7, "idle_seconds": IDLE_SECONDS, **habits})
    keeping = keeping or KeepingDouble(world.clock)
    bridge = Bridge(mailbox, openclaw, keeping, kept, clock=world.clock, threads=threads, log=note, sleep=driven.sleep)
    living = Living(fleet, mailbox, played, openclaw, bridge, driven, threads, spending, keeping, log=log)
    try:
        yield living
    finally:
        living.stop.set()
        if living.life is not None:
            await asyncio.wait([living.life], timeout=DEADLINE_S)
        threads.close()


def one_at_a_time(fleet: Fleet) -> None:
    """moto is not thread-safe: one request at a time, as DynamoDB promises for an item."""
    lock = threading.Lock()
    for table in (fleet.world.runtime, fleet.world.conversations):
        client: Any = table.client
        for name in METHODS:
            method = getattr(client, name)
            if not isinstance(method, partial):
                setattr(client, name, partial(_locked, lock, method))


def _locked(lock: threading.Lock, method: Any, **request: Any) -> Any:
    with lock:
        return method(**request)

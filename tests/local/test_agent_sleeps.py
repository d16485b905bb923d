"""An agent that has nothing to do keeps what there is, and goes; who writes to it meanwhile is answered once.

With a pretended gateway in `make test`, with the real OpenClaw in `make agent-test`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from assistant.turns.agents import AgentStatus
from tests.local.agent_world import BRIDGE, GATEWAYS, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_S = 60
PUT = "s3:PutObject"


@pytest.fixture(scope="module", params=GATEWAYS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param, AgentIdleMinutes=str(IDLE_S // 60)) as world:
        yield world


def awake(world: World, *, for_s: int = 0) -> str:
    """The task of an agent that has answered, in whose workspace something is new. `for_s`: its lease lasts longer."""
    world.ask()
    world.until(lambda: world.agent()["lease_until"] - world.system.cloud.clock.now() > for_s + 5)
    world.write()
    return world.task


def test_an_idle_agent_is_asked_to_stop_keeps_everything_and_goes(world: World) -> None:
    asleep, cloud = awake(world, for_s=IDLE_S), world.system.cloud
    world.kill(BRIDGE, signal.SIGSTOP)  # else it may come first: it looks at the time, too

    cloud.clock.advance(IDLE_S)
    cloud.client("lambda").invoke(FunctionName=cloud.resources["ShutDownIdle"])  # its five minutes are over
    assert "stop_asked_at" in world.agent()
    world.kill(BRIDGE, signal.SIGCONT)

    assert world.stopped(asleep)["containers"][0]["exitCode"] == 0
    assert world.agent()["status"] == AgentStatus.STOPPED
    assert world.kept() == world.written
    question = world.ask()
    assert world.task != asleep
    world.remembered(question)


def test_a_message_in_the_middle_of_a_stop_is_answered_after_one_start(world: World) -> None:
    stopped, before = awake(world), len(world.tasks)
    with world.system.cloud.faults.holding(PUT) as held:
        world.system.cloud.fargate.interrupt(stopped)
        world.until(lambda: held.count and world.agent()["status"] == AgentStatus.STOPPING)

        question = world.say()

        world.until(world.mail)
    world.answered_once(question)
    assert world.stopped(stopped)["containers"][0]["exitCode"] == 0
    assert len(world.tasks) == before + 1
    world.remembered(question)


# The last one: an agent renews its lease by real time, and this one's is short once it has not seen a minute pass.
def test_a_message_in_the_middle_of_its_end_is_answered_by_the_same_container(world: World) -> None:
    going, before = awake(world, for_s=IDLE_S), len(world.tasks)
    with world.system.cloud.faults.holding(PUT) as held:
        world.system.cloud.clock.advance(IDLE_S)
        world.until(lambda: held.count and world.agent()["status"] == AgentStatus.STOPPING)

        question = world.say()

        world.until(world.mail)
    world.answered_once(question)
    assert (world.task, len(world.tasks)) == (going, before)
    assert world.agent()["status"] == AgentStatus.RUNNING
    world.until(lambda: world.kept() == world.written)

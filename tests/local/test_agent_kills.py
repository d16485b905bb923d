"""The agent's container dies in every way in the middle of a run: the turn is answered once, and delivered once.

Whoever answers has the files that were kept last, and the whole conversation. With a pretended gateway in `make test`,
with the real OpenClaw in `make agent-test`.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from assistant.turns.agents import LEASE_SECONDS
from tests.local.agent_world import BRIDGE, GATEWAYS, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_S = 20


@pytest.fixture(scope="module", params=GATEWAYS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        world.ask()
        world.write()
        world.ask()  # a run after which something has changed is followed by a backup
        world.until(lambda: world.kept() == world.written)
        yield world


def test_the_gateway_is_killed(world: World) -> None:
    question, before = world.begin(), len(world.tasks)

    world.kill("gateway")

    world.answered_once(question)
    assert len(world.tasks) == before  # the same container: its gateway was started again


def test_the_bridge_is_killed(world: World) -> None:
    question = world.begin()
    killed = world.task

    world.kill(BRIDGE)

    world.answered_once(question)
    world.remembered(question)
    assert world.stopped(killed)["containers"][0]["exitCode"] == 128 + signal.SIGKILL


def test_everything_is_killed(world: World) -> None:
    question = world.begin()

    world.system.cloud.fargate.kill(world.task)

    world.answered_once(question)
    world.remembered(question)


def test_spot_takes_its_capacity_back(world: World) -> None:
    question = world.begin()
    interrupted, began = world.task, time.monotonic()

    world.system.cloud.fargate.interrupt(interrupted)

    assert world.stopped(interrupted)["containers"][0]["exitCode"] == 0
    assert time.monotonic() - began < STOP_S
    world.answered_once(question)
    world.remembered(question)
    assert world.task != interrupted


def test_one_that_misses_its_heartbeat_answers_late_and_changes_nothing(world: World) -> None:
    question = world.begin()
    world.kill(BRIDGE, signal.SIGSTOP)

    world.fail_what_waits("AgentUnavailable")
    world.answered_once(question, by="AskCopilot")
    world.system.outside.clear()
    world.kill(BRIDGE, signal.SIGCONT)

    world.until(lambda: world.mail() == [])
    world.answered_once(question, by="AskCopilot")


def test_one_that_was_replaced_while_it_was_frozen_changes_nothing(world: World) -> None:
    question = world.begin()
    frozen = world.task
    world.kill(BRIDGE, signal.SIGSTOP)

    world.system.cloud.clock.advance(LEASE_SECONDS + 1)
    world.fail_what_waits("AgentInterrupted")
    world.answered_once(question)  # by the next generation
    world.remembered(question)
    assert world.task != frozen
    world.system.outside.clear()
    world.kill_in(frozen, BRIDGE, signal.SIGCONT)

    world.until(lambda: '"outcome":"failed"' in "".join(world.system.cloud.fargate.logs(frozen)))
    world.answered_once(question)

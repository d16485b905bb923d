"""The agent's container dies in every way in the middle of a run: the turn is answered once, and delivered once.

With a pretended gateway in `make test`, with the real OpenClaw in `make agent-test`.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from assistant.stores import schema
from assistant.turns.agents import LEASE_SECONDS
from local import agent_image
from local.simulators.faults import Fault
from tests.local.system import System, a_system

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_S = 20
BOOT_S = 240.0
"""More than OpenClaw takes to start on a machine that has much else to do."""

PRETENDED = "pretended:1"


@dataclass
class World:
    """A chat with its agent; each test goes on with what the one before has left."""

    system: System
    chat: int
    questions: int = 0

    @property
    def task(self) -> str:
        """The newest task."""
        return str(self.system.cloud.fargate.tasks[-1]["taskArn"])

    def begin(self) -> str:
        """Ask something, and wait until the agent has put it to a provider, which does not answer; the question."""
        provider = self.system.outside.providers["copilot"]
        provider.order(Fault.HANG, 1)
        asked = len(provider.requests)
        self.questions += 1
        question = f"question number {self.questions}"
        self.system.say(self.chat, question)
        self.system.until(lambda: len(provider.requests) > asked)
        return question

    def answered_once(self, question: str, *, by: str = "AskAgent") -> None:
        """Wait for the answer, and for whatever else may come. `by`: the state that the turn was answered in."""
        self.system.until(lambda: any(question in text for text in self.system.heard(self.chat)))
        self.system.settle()
        told = [text for text in self.system.heard(self.chat) if question in text]
        assert len(told) == 1
        assert len(self.system.heard(self.chat)) == self.questions
        assert self.system.notices(self.chat) == 0
        assert self.system.at_rest(self.chat)
        assert [state for state in self.system.cloud.executions()[-1].states if state.startswith("Ask")][-1] == by
        assert self.system.cloud.denied == []

    def kill(self, what: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the newest container's process whose command line has these words."""
        self.kill_in(self.task, what, number)

    def kill_in(self, task: str, what: str, number: signal.Signals) -> None:
        found = self.system.cloud.fargate.processes(task)
        (pid,) = [process.pid for process in found if what in " ".join(process.command)]
        os.kill(pid, number)

    def mail(self) -> list[dict[str, Any]]:
        """What the agent has not finished."""
        found = self.system.cloud.client("dynamodb").query(
            TableName=self.system.cloud.resources["RuntimeTable"],
            KeyConditionExpression="pk = :agent AND begins_with(sk, :mail)",
            ExpressionAttributeValues={
                ":agent": {"S": schema.agent_partition(str(self.chat))},
                ":mail": {"S": schema.MAIL},
            },
        )
        return list(found["Items"])

    def fail_what_waits(self, error: str) -> None:
        """Let the state that waits for the agent go on, as it does when no heartbeat comes."""
        (token,) = [item["task_token"]["S"] for item in self.mail()]
        self.system.cloud.client("stepfunctions").send_task_failure(taskToken=token, error=error, cause="test")

    def stopped(self, task: str) -> dict[str, Any]:
        """The task, once it has stopped."""
        tasks = self.system.cloud.fargate
        self.system.until(lambda: _shown(tasks.tasks, task)["lastStatus"] == "STOPPED")
        return _shown(tasks.tasks, task)


def _shown(tasks: list[dict[str, Any]], arn: str) -> dict[str, Any]:
    return next(task for task in tasks if task["taskArn"] == arn)


@pytest.fixture(scope="module", params=["pretended", pytest.param("openclaw", marks=[pytest.mark.openclaw])])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    image = PRETENDED if request.param == "pretended" else agent_image.NAME
    parameters = {"AgentImage": image, "AgentMode": "always"}
    with a_system(mode="source", parameters=parameters, images={PRETENDED: agent_image.pretended()}) as system:
        if request.param == "openclaw":
            system.deadline_s = BOOT_S
        yield World(system, system.chat())


def test_the_gateway_is_killed(world: World) -> None:
    question = world.begin()

    world.kill("gateway")

    world.answered_once(question)
    assert len(world.system.cloud.fargate.tasks) == 1  # the same container: its gateway was started again


def test_the_bridge_is_killed(world: World) -> None:
    question = world.begin()
    killed = world.task

    world.kill("local.clocked agent")

    world.answered_once(question)
    assert world.stopped(killed)["containers"][0]["exitCode"] == 128 + signal.SIGKILL


def test_everything_is_killed(world: World) -> None:
    question = world.begin()

    world.system.cloud.fargate.kill(world.task)

    world.answered_once(question)


def test_spot_takes_its_capacity_back(world: World) -> None:
    question = world.begin()
    interrupted, began = world.task, time.monotonic()

    world.system.cloud.fargate.interrupt(interrupted)

    assert world.stopped(interrupted)["containers"][0]["exitCode"] == 0
    assert time.monotonic() - began < STOP_S
    world.answered_once(question)
    assert world.task != interrupted


def test_one_that_misses_its_heartbeat_answers_late_and_changes_nothing(world: World) -> None:
    question = world.begin()
    world.kill("local.clocked agent", signal.SIGSTOP)

    world.fail_what_waits("AgentUnavailable")
    world.answered_once(question, by="AskCopilot")
    world.system.outside.clear()
    world.kill("local.clocked agent", signal.SIGCONT)

    world.system.until(lambda: world.mail() == [])
    world.answered_once(question, by="AskCopilot")


def test_one_that_was_replaced_while_it_was_frozen_changes_nothing(world: World) -> None:
    question = world.begin()
    frozen = world.task
    world.kill("local.clocked agent", signal.SIGSTOP)

    world.system.cloud.clock.advance(LEASE_SECONDS + 1)
    world.fail_what_waits("AgentInterrupted")
    world.answered_once(question)  # by the next generation
    assert world.task != frozen
    world.system.outside.clear()
    world.kill_in(frozen, "local.clocked agent", signal.SIGCONT)

    world.system.until(lambda: '"outcome":"failed"' in "".join(world.system.cloud.fargate.logs(frozen)))
    world.answered_once(question)

"""Both lanes of the deployed template, from Telegram's message to its answer: handed over, stopped, gone on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from assistant.turns import texts
from tests.local.system import System, a_system
from tests.local.test_fargate import STAND_IN, stand_in_image

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    parameters = {"AgentImage": STAND_IN, "AgentMode": "auto"}
    with a_system(mode="source", parameters=parameters, images={STAND_IN: stand_in_image()}) as made:
        yield made


def taken(system: System) -> bool:
    """Whether the container works on something that it will not finish."""
    logs = [system.cloud.fargate.logs(task["taskArn"]) for task in system.cloud.fargate.tasks]
    return any(line.startswith("taken") for lines in logs for line in lines)


def test_a_model_hands_a_message_over_to_the_agent_which_answers_it(system: System) -> None:
    chat = system.chat()

    system.say(chat, "Write it into a file")

    system.until(lambda: bool(system.heard(chat)))
    system.settle()
    assert system.heard(chat) == ["done: Write it into a file"]
    asked = ("PrepareTurn", "RouteTurn", "AskCopilot", "AskAgent", "DeliverReply")
    assert system.cloud.executions()[-1].states == asked
    assert system.at_rest(chat)
    assert system.cloud.denied == []


def test_what_the_agent_works_on_is_stopped_and_the_next_message_answered(system: System) -> None:
    chat = system.chat()
    system.say(chat, "/agent wait")
    system.until(lambda: taken(system))

    system.say(chat, "/stop")

    assert system.heard(chat) == [texts.stopped(parked=False, waiting=False)]
    system.settle()
    assert {one.status for one in system.cloud.executions()} == {"SUCCEEDED"}
    assert system.at_rest(chat)
    system.say(chat, "/ask are you there?")
    system.until(lambda: len(system.heard(chat)) == 2)
    system.settle()
    assert system.at_rest(chat)
    assert system.cloud.denied == []

"""A function's process is killed before, in and after each of its effects: there is one answer all the same.

The one window in which nobody can know is DeliverReply's, between the mark and the end of sending: there the user
is told, once, that a part may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.simulators.faults import Fault
from tests.local.system import DAY, System, a_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.mark import ParameterSet

    from local.faults import When

CALLS = {
    "Webhook": (
        "dynamodb:GetItem",
        "dynamodb:TransactWriteItems",
        "dynamodb:UpdateItem",
        "states:StartExecution",
    ),
    "PrepareTurn": ("dynamodb:Query", "dynamodb:Query", "dynamodb:TransactWriteItems"),
    "AskCopilot": (
        "dynamodb:GetItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "copilot:completions",
        "dynamodb:TransactWriteItems",
        "dynamodb:UpdateItem",
    ),
    "DeliverReply": (
        "dynamodb:GetItem",
        "dynamodb:UpdateItem",
        "telegram:sendMessage",
        "dynamodb:TransactWriteItems",
    ),
    "ReportFailure": ("dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
}
"""What a warm function does in a plain turn, in order: `test_the_calls_are_all_of_them` keeps this true."""

IN_DOUBT = {(2, "in"), (2, "after"), (3, "before"), (3, "in"), (3, "after"), (4, "before")}
"""Of DeliverReply: the mark is written, the end is not."""


STORED = {(2, "in"), (2, "after")}
"""Of Webhook's second call: only what is stored can be healed without a repeat."""


def points(function: str) -> list[ParameterSet]:
    """Every point at which the function can be killed; in `make test` those at which the effect's answer is lost."""
    whens: tuple[When, ...] = ("before", "in", "after")
    every = [(0, "before"), *((call, when) for call in range(1, len(CALLS[function]) + 1) for when in whens)]
    return [pytest.param(*point, marks=() if point[1] == "in" else pytest.mark.kills) for point in every]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system(max_environments=1) as running:
        chat = running.chat()
        running.say(chat, "warm up")
        running.settle()
        _refuse_all(running)
        running.say(chat, "warm up what follows a failure")
        running.settle()
        yield running


def _refuse_all(system: System) -> None:
    for provider in system.outside.providers.values():
        provider.order(Fault.UNAUTHORIZED, 1)


def a_chat(system: System) -> int:
    """A new chat, and every function warm, so that its calls are those of the table."""
    chat = system.chat()
    system.say(chat, "warm up")
    system.settle()
    system.outside.telegram.sent.clear()
    system.cloud.clock.advance(60)  # a second message in its minute takes one more call
    return chat


def expect_one_answer(system: System, chat: int, text: str) -> None:
    heard = system.heard(chat)
    assert len(heard) == 1, heard
    assert text in heard[0]
    assert system.notices(chat) == 0
    assert system.at_rest(chat)


def test_the_calls_are_all_of_them(system: System) -> None:
    chat = system.chat()
    system.say(chat, "plain")
    system.settle()

    for function, calls in CALLS.items():
        if function != "ReportFailure":
            assert system.cloud.faults.calls(function)[-1] == calls


@pytest.mark.parametrize(("call", "when"), points("Webhook"))
def test_a_killed_webhook_is_healed_by_telegrams_repeat(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill("Webhook", call=call, when=when)

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    expect_one_answer(system, chat, "hello")


@pytest.mark.parametrize(
    ("call", "when"), [each for each in points("Webhook") if each.values[0] in {3, 4} or each.values in STORED]
)
def test_a_killed_webhook_is_healed_by_the_sweep(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill("Webhook", call=call, when=when)

    assert system.post(system.outside.updates.text(chat, "hello")) != 200
    system.settle()
    system.sweep()

    expect_one_answer(system, chat, "hello")


@pytest.mark.parametrize(("call", "when"), points("PrepareTurn"))
def test_a_killed_prepare_turn_comes_to_the_same_turn(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill("PrepareTurn", call=call, when=when)

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    expect_one_answer(system, chat, "hello")


@pytest.mark.parametrize(("call", "when"), points("AskCopilot"))
def test_a_killed_ask_is_asked_again_and_answered_once(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill("AskCopilot", call=call, when=when)

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    expect_one_answer(system, chat, "hello")


@pytest.mark.kills
@pytest.mark.parametrize("call", range(len(CALLS["AskCopilot"]) + 1))
@pytest.mark.parametrize("provider", ["openrouter", "ollama-cloud", "anthropic"])
def test_every_providers_killed_ask_is_answered_once(system: System, provider: str, call: int) -> None:
    function = {"openrouter": "AskOpenRouter", "ollama-cloud": "AskOllamaCloud", "anthropic": "AskClaude"}[provider]
    chat = a_chat(system)
    for earlier in list(system.outside.providers)[: list(system.outside.providers).index(provider)]:
        block(system, earlier)
    system.cloud.faults.kill(function, call=call, when="in" if call else "before")

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    expect_one_answer(system, chat, "hello")
    assert provider.split("-", maxsplit=1)[0] in system.heard(chat)[0]


def block(system: System, provider: str) -> None:
    until = str(int(system.cloud.clock.now()) + DAY // 2)
    system.cloud.client("dynamodb").update_item(
        TableName=system.cloud.resources["RuntimeTable"],
        Key={"pk": {"S": "LEDGER"}, "sk": {"S": provider}},
        UpdateExpression="SET blocked_until = :until, block_cause = :cause",
        ExpressionAttributeValues={":until": {"N": until}, ":cause": {"S": "quota"}},
    )


@pytest.mark.parametrize(("call", "when"), points("DeliverReply"))
def test_a_killed_delivery_never_sends_twice(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill("DeliverReply", call=call, when=when)

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    assert system.at_rest(chat)
    if (call, when) not in IN_DOUBT:
        expect_one_answer(system, chat, "hello")
        return
    assert system.notices(chat) == 1
    assert len(system.heard(chat)) == (0 if (call, when) in {(2, "in"), (2, "after"), (3, "before")} else 1)


@pytest.mark.parametrize(("call", "when"), points("ReportFailure"))
def test_a_killed_report_apologises_once_and_the_question_comes_back(system: System, call: int, when: When) -> None:
    chat = a_chat(system)
    for provider in system.outside.providers:
        block(system, provider)
    system.cloud.faults.kill("ReportFailure", call=call, when=when)

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    assert ["ask again by myself" in text for text in system.heard(chat)] == [True]
    system.cloud.clock.advance(DAY // 2)
    system.sweep()
    assert len(system.heard(chat)) == 2
    assert "hello" in system.heard(chat)[1]


@pytest.mark.parametrize(
    "function",
    ["DeliverReply", *(pytest.param(each, marks=pytest.mark.kills) for each in ("PrepareTurn", "AskCopilot"))],
)
def test_a_function_that_dies_until_the_execution_fails_is_resumed(system: System, function: str) -> None:
    chat = a_chat(system)
    for _ in range(4 if function != "AskCopilot" else 3):
        system.cloud.faults.kill(function, call=1, when="before")

    system.say(chat, "hello")
    system.settle()

    assert system.all_killed
    expect_one_answer(system, chat, "hello")


@pytest.mark.kills
def test_a_sweep_that_dies_is_repeated(system: System) -> None:
    for call in range(1, 5):
        chat = a_chat(system)
        system.cloud.faults.kill("Webhook", call=2, when="after")
        system.post(system.outside.updates.text(chat, "hello"))
        system.cloud.faults.kill("Sweep", call=call, when="in")
        system.sweep()
        system.sweep()
        expect_one_answer(system, chat, "hello")


def test_nothing_was_denied_by_iam(system: System) -> None:
    assert system.cloud.denied == []


REMINDING = ("dynamodb:GetItem", "dynamodb:GetItem", "dynamodb:Query", "scheduler:CreateSchedule", CALLS["Webhook"][1])
FIRING = ("dynamodb:Query", *CALLS["Webhook"])
"""What a /remind and its firing do, in order."""


def test_a_reminders_calls_are_all_of_them(system: System) -> None:
    chat = a_chat(system)
    system.say(chat, "/remind every day at 14:00 take the pills")
    assert system.cloud.faults.calls("Webhook")[-1] == REMINDING
    system.cloud.clock.advance(DAY)
    system.settle()

    assert system.cloud.faults.calls("FireReminder")[-1] == FIRING
    assert [text for text in system.heard(chat) if "due now" in text] == system.heard(chat)[1:2]
    system.say(chat, "/reminders delete 1")
    assert system.cloud.client("scheduler").list_schedules()["Schedules"] == []
    assert system.cloud.denied == []


@pytest.mark.parametrize(
    ("function", "call", "when"),
    [
        ("Webhook", 4, "in"),
        ("Webhook", 5, "in"),
        ("FireReminder", 3, "before"),
        ("FireReminder", 3, "in"),
        ("FireReminder", 4, "in"),
    ],
)
def test_a_reminder_comes_once_whoever_is_killed(system: System, function: str, call: int, when: When) -> None:
    chat = a_chat(system)
    system.cloud.faults.kill(function, call=call, when=when)

    system.say(chat, "/remind in 5 minutes take out the cake")
    system.cloud.clock.advance(300)
    system.settle()

    assert system.all_killed
    assert len([text for text in system.heard(chat) if "due now" in text]) == 1
    assert system.at_rest(chat)
    assert system.cloud.client("scheduler").list_schedules()["Schedules"] == []

"""The owner hears of what only they can mend: alarms and refused keys reach their chat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local.simulators.faults import Fault, TelegramFault
from tests.local.system import a_system
from tests.payloads import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.local.system import System

OWNER = 9001


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system(mode="source", max_environments=1) as running:
        running.allow(OWNER)
        item = {"pk": {"S": "SETTINGS"}, "sk": {"S": "OWNER"}, "chat_id": {"N": str(OWNER)}}
        table = running.cloud.resources["RuntimeTable"]
        running.cloud.client("dynamodb").put_item(TableName=table, Item=item)
        yield running
        assert running.cloud.denied == []


@pytest.fixture(autouse=True)
def quiet(system: System) -> None:
    for alarm in ("NoneLeftAlarm", "PaidBudgetAlarm", "TurnsFailingAlarm", "FailureQueueAlarm"):
        system.cloud.set_alarm(alarm, "OK")
    system.settle()
    system.outside.clear()


def _told(system: System, before: int) -> list[str]:
    """The first lines of what the owner has been told since."""
    return [text.splitlines()[0] for text in system.heard(OWNER)[before:]]


def test_an_alarm_reaches_the_owners_chat_and_so_does_its_end(system: System) -> None:
    before = len(system.heard(OWNER))

    system.cloud.set_alarm("NoneLeftAlarm", "ALARM", "Threshold Crossed")
    system.settle()
    system.cloud.set_alarm("NoneLeftAlarm", "OK")
    system.settle()

    raised, over = _told(system, before)
    assert raised.startswith("No language model was left to answer a message")
    assert over.startswith("It is over.")


def test_a_state_that_stays_is_told_once(system: System) -> None:
    before = len(system.heard(OWNER))

    for _ in range(3):
        system.cloud.set_alarm("TurnsFailingAlarm", "ALARM")
        system.settle()

    assert len(_told(system, before)) == 1


def test_an_alarm_is_told_although_telegram_failed_at_first(system: System) -> None:
    before = len(system.heard(OWNER))
    system.outside.telegram.order(TelegramFault.CLOSED)

    system.cloud.set_alarm("PaidBudgetAlarm", "ALARM")
    system.settle()

    assert [text.startswith("80 % of this month's budget") for text in _told(system, before)] == [True]


def test_what_telegram_never_takes_ends_in_the_failure_queue(system: System) -> None:
    system.outside.telegram.order(TelegramFault.CLOSED, None)

    system.cloud.set_alarm("PaidBudgetAlarm", "ALARM")
    system.settle()

    queue = system.cloud.resources["FailureQueue"]
    (message,) = system.cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    record = json.loads(message["Body"])
    assert record["requestPayload"]["detail"]["alarmName"] == "serverless-openclaw-paid-budget"
    assert record["requestContext"]["approximateInvokeCount"] == 3


def test_a_refused_key_is_told_once_for_two_messages(system: System) -> None:
    chat = system.chat()
    before = len(system.heard(OWNER))
    system.outside.order("copilot", Fault.UNAUTHORIZED, None)

    for text in ("one", "two"):
        system.say(chat, text)
        system.settle()

    assert len(system.heard(chat)) == 2
    (told,) = _told(system, before)
    assert told.startswith("GitHub Copilot refuses to answer me")


def test_the_ledger_is_corrected_from_the_account_that_was_used_and_no_other(system: System) -> None:
    chat = system.chat()
    openrouter: Any = system.outside.providers["openrouter"]
    looked = openrouter.look_ups
    _let_pass(system, 700)
    unused = openrouter.look_ups
    system.outside.order("copilot", Fault.EXHAUSTED, None)

    system.say(chat, "hello")
    system.settle()
    _let_pass(system, 700)

    assert (unused, openrouter.look_ups) == (looked, looked + 1)
    key = {"pk": {"S": "LEDGER"}, "sk": {"S": "openrouter"}}
    table = system.cloud.resources["RuntimeTable"]
    assert system.cloud.client("dynamodb").get_item(TableName=table, Key=key)["Item"]["day_limit"] == {"N": "50"}


def test_the_events_that_alarms_send_here_have_the_documented_shape(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(system.cloud.bus, "_send", lambda _rule, event: sent.append(event))

    system.cloud.set_alarm("NoneLeftAlarm", "ALARM")
    system.cloud.set_alarm("TurnsFailingAlarm", "ALARM")

    documented = json.loads((EVENTS / "tell_owner_alarm.json").read_text("utf-8"))
    assert _shape(sent[0]) == _shape(documented)
    assert sent[0]["detail"]["alarmName"] == documented["detail"]["alarmName"]
    expression, *watched = sent[1]["detail"]["configuration"]["metrics"]
    assert expression["expression"].startswith("FILL(")
    assert [query["metricStat"]["metric"]["name"] for query in watched] == [
        "TurnsFailed",
        "ExecutionsFailed",
        "ExecutionsTimedOut",
    ]


def _let_pass(system: System, seconds: int) -> None:
    system.cloud.clock.advance(seconds)
    system.settle()


def _shape(value: Any) -> Any:
    """Names and types; a list stands for its first element."""
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    return [_shape(value[0])] if isinstance(value, list) else type(value).__name__

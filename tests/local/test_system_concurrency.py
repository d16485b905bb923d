"""Everything at once: repeats, bursts and crowds are answered once, in order, with nothing left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.local.system import System, a_system

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system(max_environments=3) as running:
        yield running


def test_one_update_sent_five_times_at_once_is_answered_once(system: System) -> None:
    chat = system.chat()
    update = system.outside.updates.text(chat, "five times")

    with ThreadPoolExecutor(5) as pool:
        statuses = list(pool.map(lambda _: system.post(update), range(5)))
    system.settle()

    assert statuses == [200] * 5
    assert len(system.heard(chat)) == 1
    assert system.at_rest(chat)


def test_one_update_repeated_after_its_answer_is_not_answered_again(system: System) -> None:
    chat = system.chat()
    update = system.outside.updates.text(chat, "once")
    for _ in range(3):
        system.post(update)
        system.settle()

    assert len(system.heard(chat)) == 1


def test_ten_messages_at_once_are_all_answered_in_order(system: System) -> None:
    chat = system.chat()
    updates = [system.outside.updates.text(chat, f"number {n:02}") for n in range(10)]

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(system.post, updates)) == [200] * 10
    system.settle()

    turns = sorted(key for key in system.items(chat) if key.startswith("TURN#"))
    asked = [system.items(chat)[key]["text"]["S"] for key in turns]
    said = [text for turn in asked for text in turn.split("\n\n")]
    assert sorted(said) == [f"number {n:02}" for n in range(10)]
    assert all(turn.split("\n\n") == sorted(turn.split("\n\n")) for turn in asked)
    assert len(system.heard(chat)) == len(asked)
    assert system.at_rest(chat)


def test_messages_sent_while_one_is_answered_are_answered_after_it(system: System) -> None:
    chat = system.chat()
    for number in range(8):
        system.say(chat, f"number {number}")
    system.settle()

    turns = [item["text"]["S"] for key, item in sorted(system.items(chat).items()) if key.startswith("TURN#")]
    assert "\n\n".join(turns).split("\n\n") == [f"number {number}" for number in range(8)]
    assert len(system.heard(chat)) == len(turns)


def test_fifty_chats_at_once_are_each_answered_once(system: System) -> None:
    chats = [system.chat() for _ in range(50)]
    updates = [system.outside.updates.text(chat, f"I am {chat}") for chat in chats]

    with ThreadPoolExecutor(25) as pool:
        assert list(pool.map(system.post, updates)) == [200] * 50
    system.settle()

    for chat in chats:
        heard = system.heard(chat)
        assert len(heard) == 1
        assert f"I am {chat}" in heard[0]
        assert system.at_rest(chat)


def test_a_budget_is_not_overrun_by_chats_that_race(system: System) -> None:
    chats = [system.chat() for _ in range(12)]
    system.cloud.client("dynamodb").put_item(
        TableName=system.cloud.resources["RuntimeTable"],
        Item={
            "pk": {"S": "LEDGER"},
            "sk": {"S": "copilot"},
            f"day:{_today(system)}": {"N": "61"},
        },
    )
    before = len(system.outside.providers["copilot"].requests)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda chat: system.say(chat, "me"), chats))
    system.settle()

    assert len(system.outside.providers["copilot"].requests) - before == 5
    assert all(len(system.heard(chat)) == 1 for chat in chats)


@pytest.mark.parametrize("times", [1, 3])
def test_a_webhook_that_meets_conflicts_still_stores(system: System, times: int) -> None:
    chat = system.chat()
    system.cloud.faults.transaction_conflict("Webhook", times)

    assert system.post(system.outside.updates.text(chat, "hello")) == 200
    system.settle()

    assert len(system.heard(chat)) == 1


def test_nothing_was_denied_by_iam(system: System) -> None:
    assert system.cloud.denied == []


def _today(system: System) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    return f"{datetime.fromtimestamp(system.cloud.clock.now(), UTC):%Y-%m-%d}"

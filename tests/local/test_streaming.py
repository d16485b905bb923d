"""What a chat sees of an answer that is being written, through the whole local cloud."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from local.simulators.faults import Fault, TelegramFault
from local.simulators.outside import BOT_USERNAME
from tests.local.system import System, a_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulators.telegram import Draft, SentMessage

QUESTION = "How do turtles sleep? " * 20
TRICKLE_S = {"private": 3.5, "group": 12.5}
"""Long enough for a few drafts and, at one every 4 s, for an edit before the last piece has come."""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system(mode="source", max_environments=1) as running:
        yield running


def trickle(system: System, provider: str, seconds: float) -> None:
    system.outside.providers[provider].slow_s = seconds
    system.outside.providers[provider].order(Fault.TRICKLE)


def drafts(system: System, chat: int) -> list[Draft]:
    return [draft for draft in system.outside.telegram.drafts if draft.chat_id == chat]


def say_in_group(system: System, user: int) -> int:
    """Ask in a new group, and give its id."""
    group = -user
    system.allow(group)
    system.insist(system.outside.updates.text(group, f"@{BOT_USERNAME} {QUESTION}", user_id=user))
    return group


def only_message(system: System, chat: int) -> SentMessage:
    (message,) = system.outside.telegram.sent_to(chat)
    return message


def expect_whole(text: str, provider: str) -> None:
    assert text.startswith(f"[simulated {provider}] You said: ")
    assert QUESTION.strip() in text


def test_a_private_chat_sees_the_answer_grow_and_gets_it_once(system: System) -> None:
    chat = system.chat()
    trickle(system, "copilot", TRICKLE_S["private"])
    began = system.cloud.clock.now()

    system.say(chat, QUESTION)
    system.settle()

    seen = drafts(system, chat)
    answer = only_message(system, chat)
    expect_whole(answer.text, "copilot")
    assert 2 <= len(seen) <= answer.at - began + 1
    assert len({draft.draft_id for draft in seen}) == 1
    assert all(later.text.startswith(earlier.text.strip()) for earlier, later in itertools.pairwise(seen))
    assert len({draft.text for draft in seen}) == len(seen)
    assert all(later.at - earlier.at >= 0.95 for earlier, later in itertools.pairwise(seen))
    assert all(answer.text.startswith(draft.text) and draft.at < answer.at for draft in seen)
    assert system.outside.telegram.shown_drafts(chat) == []


def test_a_provider_that_breaks_off_takes_its_draft_back_and_the_next_answers(system: System) -> None:
    chat = system.chat()
    copilot = system.outside.providers["copilot"]
    copilot.order(Fault.STALL, None)

    system.say(chat, QUESTION)
    system.until(lambda: bool(drafts(system, chat)))
    copilot.clear()
    copilot.order(Fault.SERVER_ERROR, None)
    system.settle()

    seen = drafts(system, chat)
    assert [draft.text.startswith("[simulated copilot]") for draft in seen] == [True, False]
    assert seen[-1].text == ""
    expect_whole(only_message(system, chat).text, "openrouter")


def test_too_many_drafts_cost_no_answer(system: System) -> None:
    chat = system.chat()
    system.outside.telegram.order(TelegramFault.THROTTLED, None, method="sendMessageDraft")
    trickle(system, "copilot", 2.0)

    system.say(chat, QUESTION)
    system.settle()

    assert drafts(system, chat) == []
    expect_whole(only_message(system, chat).text, "copilot")


@pytest.mark.parametrize("fault", [TelegramFault.SERVER_ERROR, TelegramFault.CLOSED])
def test_a_telegram_that_shows_no_draft_costs_no_answer(system: System, fault: TelegramFault) -> None:
    chat = system.chat()
    system.outside.telegram.order(fault, None, method="sendMessageDraft")
    trickle(system, "copilot", 1.0)

    system.say(chat, QUESTION)
    system.settle()

    expect_whole(only_message(system, chat).text, "copilot")


def test_a_group_sees_one_message_grow_into_the_answer(system: System) -> None:
    user = system.chat()
    trickle(system, "copilot", TRICKLE_S["group"])

    group = say_in_group(system, user)
    system.until(lambda: bool(system.outside.telegram.sent_to(group)))
    first = only_message(system, group)
    system.settle()

    answer = only_message(system, group)
    edits = [edit for edit in system.outside.telegram.edits if edit.chat_id == group]
    expect_whole(answer.text, "copilot")
    assert answer.message_id == first.message_id
    assert len(first.text) < len(answer.text)
    # The last edit is the delivery.
    shown = [first.at, *(edit.at for edit in edits[:-1])]
    assert len(shown) >= 2
    assert all(later - earlier >= 1.5 for earlier, later in itertools.pairwise(shown))
    assert [edit.text for edit in edits].count(answer.text) == 1
    assert drafts(system, group) == []
    assert system.at_rest(group)


def test_a_group_that_becomes_a_supergroup_in_the_middle_is_answered_there_and_goes_on(system: System) -> None:
    """Under one id for all that is kept, and in the chat that there is."""
    user = system.chat()
    telegram, updates = system.outside.telegram, system.outside.updates
    hold = system.outside.providers["copilot"]
    hold.slow_s = 1.0
    hold.order(Fault.TRICKLE)

    group = say_in_group(system, user)
    supergroup = group - 10**12
    telegram.moved[group] = supergroup
    system.insist(updates.migration(group, supergroup, user_id=user))
    system.settle()
    system.insist(updates.text(supergroup, f"@{BOT_USERNAME} and then?", user_id=user))
    system.settle()

    first, second = telegram.sent_to(supergroup)
    expect_whole(first.text, "copilot")
    assert "and then?" in second.text
    assert telegram.sent_to(group) == []
    assert system.items(supergroup) == {}
    assert f"TURN#{2:010}" in system.items(group)
    assert system.cloud.denied == []


def test_what_broke_off_in_a_group_is_answered_in_the_same_message(system: System) -> None:
    user = system.chat()
    copilot = system.outside.providers["copilot"]
    copilot.order(Fault.STALL, None)

    group = say_in_group(system, user)
    system.until(lambda: "preview_id" in system.items(group).get(f"TURN#{1:010}", {}))
    copilot.clear()
    copilot.order(Fault.SERVER_ERROR, None)
    system.settle()

    expect_whole(only_message(system, group).text, "openrouter")
    edits = [edit.text for edit in system.outside.telegram.edits if edit.chat_id == group]
    assert edits[0] == "…"
    assert system.at_rest(group)


def test_a_message_that_was_deleted_meanwhile_is_sent_anew(system: System) -> None:
    user = system.chat()
    trickle(system, "copilot", 2.0)

    group = say_in_group(system, user)
    system.until(lambda: "preview_id" in system.items(group).get(f"TURN#{1:010}", {}))
    gone = only_message(system, group)
    system.outside.telegram.sent.remove(gone)
    system.settle()

    answer = only_message(system, group)
    expect_whole(answer.text, "copilot")
    assert answer.message_id != gone.message_id
    assert answer.reply_to is not None

"""Reminders: set, listed, deleted at once; and nothing is left half done, whatever dies in between."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from assistant.errors import StoreContended
from assistant.turns import reminder_texts
from assistant.turns.accepting import Say, Silence
from assistant.turns.reminding import LONGEST_TEXT, MOST_PROPOSED, MOST_REMINDERS, forget
from assistant.turns.when import NO_TIME
from tests.doubles import CHAT, NOON, World

GROUP = "-100"
BERLIN = " (Europe/Berlin)"
LINE_FEEDS = "\n\n"


def said(world: World, command: str, text: str = "", **changes: Any) -> str:
    response = world.say(f"{command} {text}", **changes)
    assert isinstance(response, Say)
    return response.text


def texts_of(world: World, chat: str = CHAT) -> list[tuple[int, str]]:
    return [(reminder.number, reminder.text) for reminder in world.reminders.of(chat)]


def test_a_reminder_is_set_and_said_back(world: World) -> None:
    answer = said(world, "/remind", "in 20 minutes take out the cake")

    assert answer == (
        "I will remind you on Sunday, 22 November 2026, 12:20 (UTC): take out the cake\n\n"
        "This is reminder 1; /reminders lists all.\n\n"
        "I reckon in UTC until you tell me your time zone: /timezone Europe/Berlin"
    )
    (reminder,) = world.reminders.of(CHAT)
    assert reminder.schedule == "at(2026-11-22T12:20:00)"
    assert world.schedules.there == {(CHAT, reminder.key): reminder}
    assert world.executions.started == []


def test_a_recurring_one_is_said_back_in_words(world: World) -> None:
    said(world, "/timezone", "Berlin")

    answers = [
        said(world, "/remind", f"{every} x")
        for every in (
            "every day at 7",
            "every monday and friday at 8",
            "every weekday at 8",
            "every month on the 1st",
            "every year on 24 December",
            "every hour",
            "every 3 hours",
        )
    ]

    assert [re.sub(r"I will remind you (.*): x\n[\s\S]*", r"\1", answer).replace(BERLIN, "") for answer in answers] == [
        "every day at 07:00, first on Monday, 23 November 2026, 07:00",
        "every Monday and Friday at 08:00, first on Monday, 23 November 2026, 08:00",
        "every weekday at 08:00, first on Monday, 23 November 2026, 08:00",
        "every month on day 1 at 09:00, first on Tuesday, 1 December 2026, 09:00",
        "every year on 24 December at 09:00, first on Thursday, 24 December 2026, 09:00",
        "every hour, first on Sunday, 22 November 2026, 14:00",
        "every 3 hours, first on Sunday, 22 November 2026, 16:00",
    ]
    assert [answer.count(BERLIN) for answer in answers] == [1] * 7


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", reminder_texts.unclear(NO_TIME)),
        ("call mum", reminder_texts.unclear(NO_TIME)),
        (f"tomorrow {'x' * (LONGEST_TEXT + 1)}", reminder_texts.too_long(LONGEST_TEXT)),
    ],
)
def test_what_can_not_be_set_is_answered_and_stores_nothing(world: World, text: str, answer: str) -> None:
    assert said(world, "/remind", text) == answer
    assert texts_of(world) == []
    assert world.schedules.there == {}


def test_a_message_that_comes_so_late_that_its_time_is_over_is_answered(world: World) -> None:
    late = world.incoming("/remind in 1 minute call")
    world.clock.advance(45)

    assert world.accept(late) == Say(reminder_texts.TOO_SOON)
    assert world.schedules.there == {}


def test_a_time_that_the_scheduler_refuses_is_answered(world: World) -> None:
    world.schedules.refused = {"cron(0 9 * * ? *)"}

    assert said(world, "/remind", "every day x") == reminder_texts.REFUSED
    assert texts_of(world) == []


def test_a_chat_has_a_limit_and_numbers_are_used_again(world: World) -> None:
    for number in range(MOST_REMINDERS):
        said(world, "/remind", f"tomorrow {number}")
    assert said(world, "/remind", "tomorrow x") == reminder_texts.too_many(MOST_REMINDERS)
    assert len(world.schedules.there) == MOST_REMINDERS

    assert said(world, "/reminders", "delete 7") == "Deleted reminder 7: 6"
    said(world, "/remind", "tomorrow again")

    assert texts_of(world)[6] == (7, "again")
    assert said(world, "/remind", "tomorrow x", chat_id="43").startswith("I will remind you")


def test_a_repeat_changes_nothing_and_says_nothing(world: World) -> None:
    for command, text in (
        ("/remind", "tomorrow call"),
        ("/remind", "what?"),
        ("/timezone", "Berlin"),
        ("/timezone", ""),
        ("/reminders", ""),
        ("/reminders", "delete 1"),
    ):
        incoming = world.incoming(f"{command} {text}")
        assert isinstance(world.accept(incoming), Say)
        before = texts_of(world), dict(world.schedules.there)

        assert world.accept(incoming) == Silence()
        assert (texts_of(world), dict(world.schedules.there)) == before


def test_a_repeat_after_the_reminder_has_come_is_none(world: World) -> None:
    incoming = world.incoming("/remind in 1 minute call")
    world.accept(incoming)
    forget(world.reminders, world.schedules, CHAT, until=world.clock.now())

    assert world.accept(incoming) == Silence()


class Killed(BaseException):
    """The function dies here."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_killed_before_the_item_the_repeat_completes_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = world.incoming("/remind tomorrow call")
    monkeypatch.setattr(type(world.reminders), "add", killed)
    with pytest.raises(Killed):
        world.accept(incoming)
    monkeypatch.undo()
    assert texts_of(world) == []

    assert isinstance(world.accept(incoming), Say)

    assert texts_of(world) == [(1, "call")]
    assert len(world.schedules.there) == 1


def test_killed_before_the_schedule_is_deleted_it_fires_into_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(world, "/remind", "every day call")
    monkeypatch.setattr(type(world.schedules), "delete", killed)
    with pytest.raises(Killed):
        said(world, "/reminders", "delete 1")
    monkeypatch.undo()
    assert len(world.schedules.there) == 1

    world.ring()
    world.run_all()

    assert world.schedules.there == {}
    assert world.texts() == []


def test_two_that_take_one_number_are_told_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    of = world.reminders.of

    def before_the_other(_self: object, chat_id: str) -> object:
        monkeypatch.undo()
        there = of(chat_id)
        said(world, "/remind", "tomorrow one")
        return there

    incoming = world.incoming("/remind tomorrow two")
    monkeypatch.setattr(type(world.reminders), "of", before_the_other)
    with pytest.raises(StoreContended):
        world.accept(incoming)

    assert isinstance(world.accept(incoming), Say)  # Telegram's repeat
    assert texts_of(world) == [(1, "one"), (2, "two")]


def test_they_are_listed_by_what_comes_next(world: World) -> None:
    assert said(world, "/reminders").startswith("There are no reminders. For instance:\n/remind ")
    said(world, "/timezone", "Berlin")
    said(world, "/remind", "every hour drink")
    said(world, "/remind", f"tomorrow at 9 {'long ' * 100}")
    said(world, "/remind", "in 20 minutes take out the cake")

    assert said(world, "/reminders").split(LINE_FEEDS) == [
        "3. Sunday, 22 November 2026, 13:20 (Europe/Berlin): take out the cake",
        "1. every hour, next on Sunday, 22 November 2026, 14:00 (Europe/Berlin): drink",
        f"2. Monday, 23 November 2026, 09:00 (Europe/Berlin): {'long ' * 40} …",
        "/reminders delete and a number deletes one.",
    ]
    world.clock.advance(5400)
    lines = said(world, "/reminders").split(LINE_FEEDS)
    assert lines[0].startswith("3. Sunday, 22 November 2026, 13:20")  # due, and about to come
    assert lines[1].startswith("1. every hour, next on Sunday, 22 November 2026, 15:00")


@pytest.mark.parametrize("text", ["delete", "delete x", "delete \u00b2", "list", "delete 1 2", "purge 1"])
def test_how_to_delete_is_said(world: World, text: str) -> None:
    assert said(world, "/reminders", text) == reminder_texts.HOW_TO_DELETE


def test_a_number_that_nothing_has(world: World) -> None:
    assert said(world, "/reminders", "remove 9") == reminder_texts.none_of_that_number(9)


def test_the_time_zone_is_shown_set_and_used(world: World) -> None:
    assert said(world, "/timezone").startswith("I do not know your time zone")
    assert said(world, "/timezone", "Gotham").startswith("I know no such time zone")
    assert said(world, "/timezone", "louisville") == "Which one: America/Kentucky/Louisville, America/Louisville?"
    assert said(world, "/timezone", "new york") == (
        "Your time zone is America/New_York now, where it is Sunday, 22 November 2026, 07:00. "
        "Reminders that are set already keep their times."
    )
    assert said(world, "/timezone").startswith("Your time zone is America/New_York, where it is Sunday")
    assert "tomorrow" not in said(world, "/remind", "tomorrow call")
    assert world.reminders.of(CHAT)[0].schedule == "at(2026-11-23T14:00:00)"


def test_forgetting_takes_all_with_their_schedules_and_no_one_elses(world: World) -> None:
    for text in ("tomorrow one", "every day two"):
        said(world, "/remind", text)
    said(world, "/remind", "tomorrow three", chat_id="43")

    for _ in range(2):
        forget(world.reminders, world.schedules, CHAT, until=world.clock.now())

    assert texts_of(world) == []
    assert texts_of(world, "43") == [(1, "three")]
    assert [chat for chat, _ in world.schedules.there] == ["43"]


def test_what_was_set_after_somebody_wished_to_forget_stays(world: World) -> None:
    said(world, "/remind", "tomorrow one")
    wished_at = world.clock.now()
    world.clock.advance(1)
    said(world, "/remind", "tomorrow two")

    forget(world.reminders, world.schedules, CHAT, until=wished_at)

    assert texts_of(world) == [(2, "two")]


def test_strangers_set_nothing(world: World) -> None:
    world.say("/remind tomorrow call", "99")

    assert texts_of(world, "99") == []
    assert world.schedules.there == {}
    assert world.clock.now() == NOON


def answered(world: World, *lines: str) -> None:
    """The chat's last answer."""
    world.models["copilot"].script = ["\n".join(lines)]
    world.say("remind me, please")
    world.run_all()


def test_what_an_answer_proposes_is_set_when_it_is_confirmed(world: World) -> None:
    answered(
        world,
        "Shall I? /confirm sets it. (/remind tomorrow does not stand alone here.)",
        "/remind tomorrow at 9 call the dentist",
        "- `/remind every monday 8:00 put out the bins`",
    )
    assert texts_of(world) == []
    assert world.schedules.there == {}

    answer = said(world, "/confirm")

    assert answer.count("I will remind you") == 2
    assert texts_of(world) == [(1, "call the dentist"), (2, "put out the bins")]
    assert len(world.schedules.there) == 2


def test_it_is_reckoned_from_the_answer_and_set_once(world: World) -> None:
    answered(world, "/remind in 20 minutes take out the cake")
    world.clock.advance(600)
    assert "12:20 (UTC): take out the cake" in said(world, "/confirm")

    assert said(world, "/confirm") == "That is set already, as reminder 1: take out the cake"
    assert len(texts_of(world)) == 1

    forget(world.reminders, world.schedules, CHAT, until=world.clock.now())
    world.clock.advance(900)
    assert said(world, "/confirm") == reminder_texts.TOO_SOON


def test_only_the_last_answer_counts_and_only_so_many_lines_of_it(world: World) -> None:
    assert said(world, "/confirm") == reminder_texts.NOTHING_PROPOSED
    answered(world, "/remind tomorrow call")
    answered(world, "As you like.", "/remind", "/reminders tomorrow x")
    assert said(world, "/confirm") == reminder_texts.NOTHING_PROPOSED

    answered(world, *(f"/remind tomorrow at {hour}:00 x" for hour in range(9)), "/remind when?")
    said(world, "/confirm")

    assert len(texts_of(world)) == MOST_PROPOSED


def test_an_endless_proposal_is_read_in_no_time(world: World) -> None:
    answered(world, "/remind tomorrow at 9 walk" + " " * 60_000 + ".", "`/remind tomorrow at 9 run" + "`" * 1000)
    begun = time.process_time()

    said(world, "/confirm")

    assert texts_of(world) == [(1, "walk"), (2, "run")]
    assert time.process_time() - begun < 5  # a pattern that tries every blank as the last one takes a minute


def test_a_killed_confirmation_is_completed_by_the_repeat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(world, "/remind tomorrow one", "/remind tomorrow two")
    incoming = world.incoming("/confirm")
    add = world.reminders.add

    def the_first(_self: object, chat: str, reminder: Any, update_id: int | None) -> bool:
        monkeypatch.setattr(type(world.reminders), "add", killed)
        return add(chat, reminder, update_id)

    monkeypatch.setattr(type(world.reminders), "add", the_first)
    with pytest.raises(Killed):
        world.accept(incoming)
    monkeypatch.undo()

    assert isinstance(world.accept(incoming), Say)
    assert world.accept(incoming) == Silence()
    assert texts_of(world) == [(1, "one"), (2, "two")]
    assert len(world.schedules.there) == 2


def test_one_that_goes_while_it_is_being_deleted_is_said_to_be_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(world, "/remind", "tomorrow call")
    of = world.reminders.of

    def gone_meanwhile(_self: object, chat_id: str) -> object:
        monkeypatch.undo()
        there = of(chat_id)
        forget(world.reminders, world.schedules, chat_id, until=world.clock.now())
        return there

    monkeypatch.setattr(type(world.reminders), "of", gone_meanwhile)

    assert said(world, "/reminders", "delete 1") == reminder_texts.none_of_that_number(1)

"""A reminder is due: it comes once, whoever dies, repeats or deletes meanwhile, and whether or not a model answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assistant.errors import ProviderExhausted
from assistant.turns.accepting import Say
from assistant.turns.firing import Due
from assistant.turns.lanes import is_warm
from assistant.turns.model import TurnStatus
from tests.doubles import CHAT, NOON, World
from tests.unit.test_parking import HOUR, refuse_all
from tests.unit.test_reminding import GROUP, Killed, killed, said


def remind(world: World, text: str = "in 1 hour call mum", *, chat: str = CHAT, **changes: object) -> None:
    assert isinstance(world.say(f"/remind {text}", chat, **changes), Say)


def test_it_is_a_turn_of_the_chat_lane(world: World) -> None:
    remind(world)
    world.clock.advance(HOUR)

    assert world.ring() == ["stored"]
    world.run_all()

    turn = world.turn()
    assert (turn.status, turn.lane, turn.reminder) == (TurnStatus.DELIVERED, "chat", "Reminder: call mum")
    (asked,) = world.models["copilot"].asked
    assert asked[-1].text.startswith("(A reminder that I set is due now. Remind me of it")
    assert asked[-1].text.endswith("\n\ncall mum")
    assert len(world.messenger.sent) == 1
    assert world.messenger.calls[0]["reply_to"] == 1  # the message that set it, so that its very words are at hand
    assert world.reminders.of(CHAT) == []


def test_it_keeps_its_group_and_topic(world: World) -> None:
    world.allow(GROUP)
    remind(world, chat=GROUP, sender_id=CHAT, group=True, thread_id=7)
    world.clock.advance(HOUR)
    world.ring()
    world.run_all()

    call = world.messenger.calls[0]
    assert (call["chat_id"], call["thread_id"], call["reply_to"]) == (GROUP, 7, 1)


@pytest.mark.parametrize("keys", [True, False])
def test_when_nobody_can_be_asked_it_is_said_as_it_was_written(world: World, keys: bool) -> None:
    remind(world)
    world.clock.advance(HOUR)
    if keys:
        refuse_all(world, HOUR)
    else:
        world.secrets.values = {}
    world.ring()
    world.run_all()

    assert world.texts() == ["Reminder: call mum"]
    assert world.turn().status == TurnStatus.DELIVERED
    chat = world.claims.read(CHAT)
    assert (chat.open_turn, chat.claimed_at, chat.failed_turn) == (None, None, None)
    world.say("/again")
    world.run_all()
    assert world.texts() == ["Reminder: call mum"] * 2


def test_it_does_not_wait_for_a_parked_question(world: World) -> None:
    remind(world)
    remind(world, "in 1 hour fetch the cake")
    world.clock.advance(HOUR - 600)
    refuse_all(world, HOUR)
    world.say("hello")
    world.run_all()
    world.say("/again")
    world.clock.advance(600)
    world.ring()
    world.run_all()

    assert "\n\n".join(world.texts()[1:]).count("Reminder: ") == 2
    assert world.turn().status == TurnStatus.PARKED
    assert world.turn().parks == 1
    world.clock.advance(HOUR)
    world.sweep()
    assert world.texts()[-2:] == ["copilot: hello", "copilot: hello"]


def test_what_is_late_says_so(world: World) -> None:
    said(world, "/timezone", "Berlin")
    remind(world)
    world.clock.advance(HOUR)
    due = world.due()
    world.clock.advance(HOUR)
    refuse_all(world, HOUR)
    world.ring(due)
    world.run_all()

    assert world.texts() == ["Reminder (it was due on Sunday, 22 November 2026, 14:00 (Europe/Berlin)): call mum"]


def test_it_comes_once_however_often_it_is_fired(world: World) -> None:
    remind(world)
    remind(world, "every hour drink")
    world.clock.advance(HOUR)
    due = world.due()

    assert world.ring(due) == ["stored", "stored"]
    assert world.ring(due) == ["gone", "fired before"]
    world.run_all()
    assert world.ring(due) == ["gone", "fired before"]
    world.run_all()

    assert len(world.texts()) == 2
    (every,) = world.reminders.of(CHAT)
    assert every.last_fired == NOON + HOUR


def test_a_recurring_one_comes_each_time_and_never_goes_back(world: World) -> None:
    remind(world, "every hour drink")
    (every,) = world.reminders.of(CHAT)
    at = [Due(CHAT, every.key, NOON + hour * HOUR) for hour in (1, 2, 3)]

    assert world.ring([at[0], at[2], at[1]]) == ["stored", "stored", "fired before"]


def test_killed_before_the_chat_is_woken_the_repeat_wakes_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    remind(world)
    world.clock.advance(HOUR)
    due = world.due()
    monkeypatch.setattr(type(world.waking), "wake", killed)
    with pytest.raises(Killed):
        world.ring(due)
    monkeypatch.undo()
    assert world.executions.started == []

    world.ring(due)
    world.run_all()

    assert len(world.texts()) == 1


def test_killed_for_good_before_the_chat_is_woken_the_sweep_finds_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    remind(world)
    world.clock.advance(HOUR)
    monkeypatch.setattr(type(world.waking), "wake", killed)
    with pytest.raises(Killed):
        world.ring()
    monkeypatch.undo()

    world.clock.advance(300)
    world.sweep()

    assert len(world.texts()) == 1


@pytest.mark.parametrize("text", ["in 1 hour call mum", "every hour drink"])
def test_deleted_in_the_moment_it_fires_it_comes_or_it_does_not(
    world: World, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remind(world, text)
    world.clock.advance(HOUR)
    due = world.due()
    allowed = world.access.allowed

    def deleted_meanwhile(_self: object, who: list[str]) -> bool:
        monkeypatch.undo()
        said(world, "/reminders", "delete 1")
        return allowed(who)

    monkeypatch.setattr(type(world.access), "allowed", deleted_meanwhile)
    assert world.ring(due) == ["fired before"]
    world.run_all()

    assert world.texts() == []
    assert world.reminders.of(CHAT) == []
    assert world.schedules.there == {}


def test_a_number_used_again_does_not_fire_for_the_one_before(world: World) -> None:
    remind(world, "every hour drink")
    world.clock.advance(HOUR)
    due = world.due()
    said(world, "/reminders", "delete 1")
    remind(world, "every hour stretch")

    assert world.ring(due) == ["gone"]
    assert [reminder.last_fired for reminder in world.reminders.of(CHAT)] == [None]


def test_who_may_no_longer_write_is_not_reminded(world: World) -> None:
    world.allow("43", GROUP)
    remind(world, chat="43")
    remind(world, chat=GROUP, sender_id="43", group=True)
    remind(world, "every hour drink", chat="43")
    world.runtime.client.delete_item(TableName="runtime", Key={"pk": {"S": "ALLOWED"}, "sk": {"S": "43"}})
    world.clock.advance(HOUR)

    assert world.ring() == ["not allowed"] * 3
    assert world.executions.started == []
    assert (world.reminders.of("43")[0].text, len(world.reminders.of("43"))) == ("drink", 1)  # should they be again

    world.allow("43")
    assert world.ring([Due("43", world.reminders.of("43")[0].key, NOON + 2 * HOUR)]) == ["stored"]


def test_it_goes_to_the_chat_lane_though_the_agent_is_awake(world: World) -> None:
    world.prepare = replace(world.prepare, mode="always")
    remind(world)
    world.clock.advance(HOUR)
    world.ring()

    assert not is_warm(world.agents.read(CHAT), world.clock.now())
    assert world.prepare(world.executions.started[-1]).route == "copilot"


def test_a_refused_reminder_is_worded_by_the_next_provider(world: World) -> None:
    remind(world)
    world.models["copilot"].script = [ProviderExhausted("copilot", "quota", block_until=NOON + 2 * HOUR)]
    world.clock.advance(HOUR)
    world.ring()
    world.run_all()

    assert world.turn().provider == "openrouter"


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"chat_id": "42", "key": "u1"},
        {"chat_id": 42, "key": "u1", "moment": "2026-11-22T13:00:00Z"},
        {"chat_id": "42", "key": "u1", "moment": "soon"},
    ],
)
def test_an_event_that_no_schedule_sends_is_refused(event: object) -> None:
    with pytest.raises(ValueError, match=r"schedule|isoformat"):
        Due.parse(event)


def test_the_moment_is_the_schedules() -> None:
    event = {"chat_id": CHAT, "key": "u1", "moment": "2026-11-22T12:00:00Z"}

    assert Due.parse(event) == Due(CHAT, "u1", NOON)

"""Commands that functions of their own carry out: taken in once, carried out once, answered at most once."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.errors import AssistantError, DeliveryDelayed, DeliveryFailed, DeliveryRefused, DeliveryUncertain
from assistant.stores import schema
from assistant.turns import texts
from assistant.turns.accepting import Say, Silence, Typing
from assistant.turns.errands import Asked, CarryingOut, Document, Errand, Reply
from tests.doubles import CHAT, World, small_world

GROUP = "-100"


@pytest.fixture
def world() -> World:
    return small_world(agent_mode="auto")


def carrying_out(world: World, reply: Reply | None = None) -> CarryingOut:
    return CarryingOut(world.errands, world.messenger, lambda _asked, errand: reply or Reply(f"done: {errand.text}"))


def asked(world: World, text: str = "/files a b", **how: Any) -> Asked:
    """A command that was handed over."""
    assert world.say(text, **how) == Typing()
    return world.runners.asked[-1][1]


def left(world: World) -> list[str]:
    """Errands that are kept."""
    return [str(item["sk"]) for item in world.conversations.query(CHAT, schema.ERRAND, f"{schema.ERRAND}~")]


# Taken in


@pytest.mark.parametrize("command", ["/files", "/files a b", "/export"])
def test_a_command_is_stored_and_handed_over_by_its_ids_alone(world: World, command: str) -> None:
    incoming = world.incoming(command, thread_id=7)

    assert world.accept(incoming) == Typing()

    assert world.runners.asked == [("documents", Asked(CHAT, incoming.update_id))]
    stored = world.errands.read(Asked(CHAT, incoming.update_id))
    assert stored is not None
    assert (f"/{stored.kind} {stored.text}".strip(), stored.thread_id) == (command, 7)
    assert world.executions.started == []


def test_a_repeat_is_handed_over_again_which_heals_a_webhook_that_died(world: World) -> None:
    incoming = world.incoming("/export")
    world.runners.trouble = [RuntimeError("no Lambda")]
    with pytest.raises(RuntimeError):
        world.accept(incoming)

    assert world.accept(incoming) == Typing()

    assert carrying_out(world)(world.runners.asked[-1][1]) == "sent"
    world.accept(incoming)
    assert carrying_out(world)(world.runners.asked[-1][1]) == "gone"
    assert len(world.texts()) == 1


def test_without_an_agent_there_are_no_files() -> None:
    alone = small_world()

    assert alone.say("/files") == Say("I have no agent, and so no files: my owner has not deployed one.")
    assert alone.runners.asked == []


# /forget


def test_forgetting_says_first_what_it_deletes(world: World) -> None:
    response = world.say("/forget")

    assert isinstance(response, Say)
    for word in ("conversation", "files", "reminders", "/forget yes"):
        assert word in response.text
    assert world.runners.asked == []
    alone = small_world().say("/forget")
    assert isinstance(alone, Say)
    assert "files" not in alone.text


def test_a_confirmation_is_handed_over_once_and_its_repeat_again(world: World) -> None:
    world.say("/forget")
    yes = world.incoming("/forget  YES ")

    assert [world.accept(yes), world.accept(yes)] == [Typing(), Typing()]

    assert world.runners.asked == [("forgetting", Asked(CHAT, yes.update_id))] * 2
    assert world.say("/forget yes") == Say(texts.NOTHING_TO_CONFIRM)


def test_who_was_not_asked_confirms_nothing(world: World) -> None:
    assert world.say("/forget yes") == Say(texts.NOTHING_TO_CONFIRM)

    world.say("/forget")
    world.clock.advance(600)
    assert world.say("/forget yes") == Say(texts.NOTHING_TO_CONFIRM)

    world.allow(GROUP, "43")
    world.say("/forget", GROUP, sender_id=CHAT, group=True)
    assert world.say("/forget yes", GROUP, sender_id="43", group=True) == Say(texts.NOTHING_TO_CONFIRM)
    assert world.say("/forget yes", GROUP, sender_id=CHAT, group=True) == Typing()


def test_a_repeated_question_or_refusal_is_said_once(world: World) -> None:
    for text in ("/forget", "/forget please"):
        incoming = world.incoming(text)
        assert isinstance(world.accept(incoming), Say)
        assert world.accept(incoming) == Silence()


# Carried out


def test_a_text_goes_where_it_was_asked_for(world: World) -> None:
    world.allow(GROUP)
    errand = asked(world, "/files x", chat=GROUP, sender_id=CHAT, group=True, thread_id=7, message_id=55)

    assert carrying_out(world)(errand) == "sent"

    assert world.messenger.calls == [{"chat_id": GROUP, "text": "done: x", "thread_id": 7, "reply_to": 55}]


def test_a_file_is_sent_with_its_caption(world: World) -> None:
    document = Document("a.txt", b"abc")

    assert carrying_out(world, Reply("a.txt", document))(asked(world)) == "sent"

    assert world.messenger.documents == [(CHAT, document)]
    assert world.texts() == ["a.txt"]
    assert left(world) == []


@pytest.mark.parametrize("error", [DeliveryFailed("down"), DeliveryDelayed(3)])
def test_what_was_certainly_not_sent_is_sent_when_the_event_comes_again(world: World, error: AssistantError) -> None:
    errand = asked(world)
    world.messenger.trouble = [error]

    with pytest.raises(type(error)):
        carrying_out(world)(errand)
    assert carrying_out(world)(errand) == "sent"

    assert world.texts() == ["done: a b"]


def test_what_may_have_been_sent_is_never_sent_again(world: World) -> None:
    errand = asked(world)
    world.messenger.trouble = [DeliveryUncertain("silence")]

    with pytest.raises(DeliveryUncertain):
        carrying_out(world)(errand)
    assert [carrying_out(world)(errand), carrying_out(world)(errand)] == ["in doubt", "gone"]

    assert world.texts() == ["What you asked for may not have arrived. Send /files again."]


@pytest.mark.parametrize("error", [DeliveryFailed("down"), DeliveryRefused("gone")])
def test_that_it_is_in_doubt_is_said_once_and_not_worth_failing_over(world: World, error: AssistantError) -> None:
    errand = asked(world)
    world.errands.mark_sending(errand)
    world.messenger.trouble = [error]

    assert [carrying_out(world)(errand), carrying_out(world)(errand)] == ["in doubt", "gone"]

    assert world.texts() == []


def test_a_chat_that_takes_nothing_is_left_alone(world: World) -> None:
    errand = asked(world)
    world.messenger.trouble = [DeliveryRefused("blocked")]

    assert carrying_out(world)(errand) == "refused"

    assert left(world) == []


def test_a_chat_that_takes_no_files_is_told_so(world: World) -> None:
    world.messenger.trouble = [DeliveryRefused("not enough rights")]

    assert carrying_out(world, Reply("a.txt", Document("a.txt", b"abc")))(asked(world)) == "refused"

    assert world.texts() == [texts.FILE_REFUSED]


def test_a_try_that_died_after_it_had_said_so_says_it_no_more(world: World) -> None:
    errand = asked(world)
    world.errands.mark_sending(errand)
    world.errands.mark_noticed(errand)

    assert carrying_out(world)(errand) == "in doubt"

    assert world.texts() == []
    assert left(world) == []


def test_of_two_at_work_one_sends(world: World) -> None:
    errand = asked(world)

    def overtaken(_asked: Asked, _errand: Errand) -> Reply:
        assert carrying_out(world)(errand) == "sent"
        return Reply("second")

    assert CarryingOut(world.errands, world.messenger, overtaken)(errand) == "another is at it"

    assert world.texts() == ["done: a b"]


def test_after_a_day_nothing_is_carried_out(world: World) -> None:
    errand = asked(world)
    world.clock.advance(86_400)

    assert carrying_out(world)(errand) == "gone"


@pytest.mark.parametrize("event", [None, {}, {"chat_id": 42, "update_id": 1}, {"chat_id": "42"}])
def test_what_the_webhook_does_not_send_is_no_errand(event: object) -> None:
    with pytest.raises(ValueError, match="not what the webhook sends"):
        Asked.parse(event)

"""A turn from message to answer, over the real stores."""

from __future__ import annotations

from assistant.errors import DeliveryDelayed, DeliveryFailed, DeliveryRefused, DeliveryUncertain, ProviderUnavailable
from assistant.turns.accepting import Typing
from assistant.turns.model import TurnStatus
from tests.doubles import CHAT, World


def test_a_message_is_answered_by_the_first_provider(world: World) -> None:
    assert world.say("hello") == Typing()

    world.run_all()

    assert world.texts() == ["copilot: hello"]
    assert world.turn().status == TurnStatus.DELIVERED
    chat = world.claims.read(CHAT)
    assert (chat.claimed_at, chat.due_at, chat.open_turn, chat.waiting) == (None, None, None, 0)


def test_messages_in_a_row_are_one_turn(world: World) -> None:
    for text in ("one", "two", "three"):
        world.say(text)

    world.run_all()

    assert world.texts() == ["copilot: one\n\ntwo\n\nthree"]


def test_a_message_during_the_turn_is_answered_by_the_next_execution(world: World) -> None:
    world.say("first")
    world.models["copilot"].script = [lambda: world.say("second") and None]

    world.run_all()

    assert world.texts() == ["copilot: first", "copilot: second"]
    assert [claim.epoch for claim in world.executions.started] == [1, 2]
    assert world.claims.read(CHAT).claimed_at is None


def test_the_next_turn_sees_the_conversation(world: World) -> None:
    world.say("first")
    world.run_all()
    world.say("second")
    world.run_all()

    assert [said.text for said in world.models["copilot"].asked[1]] == ["first", "copilot: first", "second"]

"""/export, and that nothing is shown that has expired."""

from __future__ import annotations

import json

import pytest

from assistant.errors import ProviderExhausted
from assistant.stores.conversations import DynamoConversations
from assistant.turns import exporting
from assistant.turns.errands import Asked, Errand
from assistant.turns.exporting import Exporting
from assistant.turns.model import ChatClaim, TurnClaim
from tests.doubles import CHAT, NOON, World

ASKED, ERRAND = Asked(CHAT, 1), Errand("export", "", 1, NOON, NOON, NOON + 1)
DAY = 86_400


@pytest.fixture
def export(world: World) -> Exporting:
    return Exporting(DynamoConversations(world.conversations, world.clock), world.clock)


def test_nothing_is_an_export_too(export: Exporting) -> None:
    reply = export(ASKED, ERRAND)

    assert reply.text == "Our conversation: 0 questions and answers."
    assert reply.document is not None
    assert json.loads(reply.document.data) == {
        "chat_id": CHAT,
        "exported_at": "2026-11-22T12:00:00Z",
        "exchanges": [],
        "unanswered": [],
        "waiting": [],
    }


def test_all_that_was_said_is_in_it_in_order_and_nobody_elses(world: World, export: Exporting) -> None:
    world.say("größer?")
    world.run_all()
    world.say("/new")
    world.clock.advance(60)
    world.say("second")
    world.run_all()
    world.allow("43")
    world.say("not mine", "43")
    world.run_all()
    world.say("still waiting")

    reply = export(ASKED, ERRAND)

    assert reply.text == "Our conversation: 2 questions and answers."
    assert reply.document is not None
    assert reply.document.name == "conversation-2026-11-22.json"
    found = json.loads(reply.document.data)
    assert found["exchanges"] == [
        {
            "turn": 1,
            "at": "2026-11-22T12:00:00Z",
            "user": "größer?",
            "assistant": found["exchanges"][0]["assistant"],
            "provider": "copilot",
            "before_new": True,
        },
        {
            "turn": 2,
            "at": "2026-11-22T12:01:00Z",
            "user": "second",
            "assistant": found["exchanges"][1]["assistant"],
            "provider": "copilot",
            "before_new": False,
        },
    ]
    assert found["waiting"] == [{"at": "2026-11-22T12:01:00Z", "user": "still waiting"}]
    assert "not mine" not in reply.document.data.decode()


def test_a_question_without_an_answer_is_in_it(world: World, export: Exporting) -> None:
    for provider in world.chain.providers:
        world.models[provider.id].script = [ProviderExhausted(provider.id, "quota", block_until=NOON + 3600)]
    world.say("does nobody answer?")
    world.run_all()

    (unanswered,) = export.export(CHAT)["unanswered"]
    assert (unanswered["user"], unanswered["status"]) == ("does nobody answer?", "PARKED")


def test_what_is_larger_than_a_bot_may_send_is_left_to_the_owner(
    world: World, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_BYTES", 10)

    reply = export(ASKED, ERRAND)

    assert reply.document is None
    assert "python -m operate export" in reply.text


def test_what_has_expired_is_not_shown_though_dynamodb_has_it_still(world: World, export: Exporting) -> None:
    world.say("first")
    world.run_all()
    world.clock.advance(7 * DAY - 1)
    claim = TurnClaim(ChatClaim(CHAT, 1), 9)
    before = [
        len(export.export(CHAT)["exchanges"]),
        len(world.turns.history(claim, after=0, since=0, limit=9)),
        world.turns.read(CHAT, 1) is not None,
    ]
    world.clock.advance(1)

    assert before == [1, 1, True]
    assert export.export(CHAT)["exchanges"] == []
    assert world.turns.history(claim, after=0, since=0, limit=9) == []
    assert world.turns.read(CHAT, 1) is None


def test_an_expired_answer_is_not_sent_again(world: World) -> None:
    world.say("first")
    world.run_all()
    world.clock.advance(8 * DAY)
    world.say("/again")
    world.run_all()

    assert world.texts()[-1] == "There is no answer to send again yet."

"""A turn from message to answer, over the real stores."""

from __future__ import annotations

import pytest

from assistant.errors import ProviderExhausted, ProviderUnavailable, StoreContended, TurnInvalid
from assistant.stores.dynamodb import Update
from assistant.stores.turns import DynamoTurns
from assistant.turns.accepting import Typing
from assistant.turns.model import TURN_SECONDS, ChatClaim, TurnClaim, TurnStatus
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
    world.models["copilot"].script = [lambda: world.say("second")]

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


def test_the_conversation_shown_grows_to_twice_its_size_and_steps_back(world: World) -> None:
    for number in range(31):
        world.clock.advance(60)
        world.say(f"question {number}")
        world.run_all()

    shown = [[said.text for said in asked] for asked in world.models["copilot"].asked]

    assert [len(said) for said in shown] == [2 * n + 1 for n in range(20)] + [2 * n + 1 for n in range(10, 20)] + [21]
    assert {said[0] for said in shown[:20]} == {"question 0"}
    assert {said[0] for said in shown[20:30]} == {"question 10"}
    assert shown[30][0] == "question 20"


def test_what_is_older_than_the_history_days_is_not_shown(world: World) -> None:
    world.say("long ago")
    world.run_all()
    world.clock.advance(7 * 86400 + 1)
    world.say("today")
    world.run_all()

    assert [said.text for said in world.models["copilot"].asked[-1]] == ["today"]


def test_new_begins_a_new_conversation(world: World) -> None:
    world.say("before")
    world.run_all()
    world.say("/new")
    world.say("after")
    world.run_all()

    assert [said.text for said in world.models["copilot"].asked[-1]] == ["after"]


def test_a_turn_begun_before_new_is_not_part_of_the_new_conversation(world: World) -> None:
    world.say("before")
    world.models["copilot"].script = [lambda: world.say("/new")]
    world.run_all()
    world.say("after")
    world.run_all()

    assert [said.text for said in world.models["copilot"].asked[-1]] == ["after"]


def test_no_history_at_all_can_be_wished_for() -> None:
    from tests.doubles import a_world  # noqa: PLC0415 (a world of its own)

    with a_world(history_messages=0) as world:
        world.say("first")
        world.run_all()
        world.say("second")
        world.run_all()

        assert [said.text for said in world.models["copilot"].asked[-1]] == ["second"]


def test_a_group_is_answered_with_a_quote_and_in_its_topic(world: World) -> None:
    world.allow("-100")
    world.say("hello", "-100", group=True, sender_id=CHAT, thread_id=7)
    world.run_all()

    assert world.messenger.calls == [
        {"chat_id": "-100", "text": "copilot: hello", "thread_id": 7, "reply_to": world.turn(1, "-100").message_id}
    ]


def test_messages_of_two_topics_are_two_turns(world: World) -> None:
    world.allow("-100")
    for thread in (7, 8):
        world.say(f"in {thread}", "-100", group=True, sender_id=CHAT, thread_id=thread)
    world.run_all()

    assert [call["thread_id"] for call in world.messenger.calls] == [7, 8]


def test_at_most_twenty_messages_are_one_turn(world: World) -> None:
    for number in range(20):
        world.say(f"m{number}")
    world.clock.advance(60)
    for number in range(20, 25):
        world.say(f"m{number}")

    world.run_all()

    assert [turn.count("\n\n") + 1 for turn in world.texts()] == [20, 5]


def test_a_long_answer_is_sent_in_parts(world: World) -> None:
    world.messenger.limit = 20
    world.models["copilot"].script = ["one two three four five six seven"]
    world.say()
    world.run_all()

    assert " ".join(world.texts()) == "one two three four five six seven"
    assert len(world.texts()) == 2
    assert world.turn().sent == 2


def test_an_endless_answer_is_cut_with_a_note(world: World) -> None:
    world.models["copilot"].script = ["ü" * 100_000]
    world.say()
    world.run_all()

    reply = world.turn().reply or ""
    assert len(reply.encode()) <= 64 * 1024
    assert reply.endswith("cut here.]")


def test_a_failing_provider_is_followed_by_the_next(world: World) -> None:
    world.models["copilot"].script = [ProviderUnavailable("copilot", "timeout")]
    world.say()
    world.run_all()

    assert world.texts() == ["openrouter: hello"]
    assert [(attempt.provider, attempt.outcome, attempt.fallback) for attempt in world.journal.attempts] == [
        ("copilot", "failed", True),
        ("openrouter", "answered", True),
    ]


def test_a_late_answer_changes_nothing(world: World) -> None:
    world.say()
    route = world.prepare(world.executions.started[0])
    turn = TurnClaim(route.claim, route.turn or 0)
    world.models["openrouter"].script = [lambda: world.ask("copilot")(turn)]

    assert world.ask("openrouter")(turn) == "late"
    assert world.turn().provider == "copilot"
    assert world.ask("anthropic")(turn) == "nothing to do"


def test_no_provider_is_asked_after_the_deadline(world: World) -> None:
    world.say()
    route = world.prepare(world.executions.started[0])
    world.clock.advance(TURN_SECONDS)

    with pytest.raises(ProviderExhausted, match="deadline"):
        world.ask("copilot")(TurnClaim(route.claim, 1))
    assert world.models["copilot"].asked == []


def test_a_provider_without_a_key_is_skipped_and_then_not_even_tried(world: World) -> None:
    del world.secrets.values["copilot-api-key"]
    world.say()
    world.run_all()
    world.say()

    assert world.run().route == "openrouter"
    assert world.texts() == ["openrouter: hello"] * 2


def test_a_key_that_turns_up_is_used_as_soon_as_somebody_retries(world: World) -> None:
    world.secrets.values.clear()
    world.say()
    world.run_all()
    assert "none of the providers' keys is set" in world.texts()[0]

    world.secrets.values["copilot-api-key"] = "key"
    world.say("/retry")
    world.run_all()

    assert world.texts()[1:] == ["copilot: hello"]
    assert world.ledger.entries()["copilot"].block_cause is None


def test_a_claim_that_is_not_the_chats_does_nothing(world: World) -> None:
    world.say()

    assert world.prepare(ChatClaim(CHAT, 7)).route == "idle"
    assert world.prepare(ChatClaim("unknown", 1)).route == "idle"


def test_a_turn_of_another_claim_is_not_asked_answered_or_reported(world: World) -> None:
    world.say()
    world.prepare(world.executions.started[0])
    stranger = TurnClaim(ChatClaim(CHAT, 9), 1)

    assert world.ask("copilot")(stranger) == "nothing to do"
    assert world.report(stranger) == "OPEN"
    assert world.report(TurnClaim(ChatClaim(CHAT, 1), 99)) == "gone"
    assert world.deliver(stranger).next == "done"
    assert world.turn().status == TurnStatus.OPEN


def test_an_open_turn_that_does_not_exist_stops_the_execution(world: World) -> None:
    world.say()
    world.prepare(world.executions.started[0])
    world.conversations.client.delete_item(**world.conversations.key(CHAT, "TURN#0000000001"))

    with pytest.raises(TurnInvalid):
        world.prepare(world.executions.started[0])


@pytest.mark.parametrize("event", [None, {}, {"chat_id": 42, "epoch": 1}, {"chat_id": "42"}, []])
def test_an_input_without_a_claim_is_invalid(event: object) -> None:
    with pytest.raises(TurnInvalid):
        ChatClaim.parse(event)
    with pytest.raises(TurnInvalid):
        TurnClaim.parse(event)


def test_an_input_without_a_turn_is_invalid() -> None:
    with pytest.raises(TurnInvalid):
        TurnClaim.parse({"chat_id": "42", "epoch": 1})


def test_preparing_twice_comes_to_the_same_turn(world: World) -> None:
    world.say()
    claim = world.executions.started[0]

    assert world.prepare(claim) == world.prepare(claim)
    assert world.claims.read(CHAT).turn_counter == 1


def test_a_change_in_the_middle_of_preparing_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say()
    claim = world.executions.started[0]
    waiting = world.turns.waiting(CHAT, limit=20)
    world.prepare(claim)
    monkeypatch.setattr(DynamoTurns, "waiting", lambda *_args, **_more: waiting)

    with pytest.raises(StoreContended):
        world.prepare(claim)


def test_a_message_that_is_not_yet_visible_is_left_to_the_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say()
    claim = world.executions.started[0]
    chat, _ = world.turns.waiting(CHAT, limit=20)
    monkeypatch.setattr(DynamoTurns, "waiting", lambda *_args, **_more: (chat, []))
    assert world.prepare(claim).route == "idle"
    monkeypatch.undo()

    world.clock.advance(301)
    world.sweep()

    assert world.texts() == ["copilot: hello"]
    assert world.claims.read(CHAT).recoveries is None


def test_an_execution_without_anything_to_do_releases_the_chat(world: World) -> None:
    world.say()
    world.run_all()
    world.say("/again")
    world.run_all()
    stray = world.claims.steal(ChatClaim(CHAT, 2), recoveries=1)
    assert stray is None

    world.conversations.update(CHAT, "CHAT", Update(put={"due_at": 1, "due_kind": "chat"}))
    world.waking.wake(CHAT)

    assert world.run().route == "idle"
    assert world.claims.read(CHAT).claimed_at is None
    assert world.claims.read(CHAT).due_at is None


def test_a_message_that_comes_while_nothing_is_found_is_taken_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say("/help")
    world.conversations.update(CHAT, "CHAT", Update(put={"due_at": 1, "inbox_counter": 0, "drained_counter": 0}))
    world.waking.wake(CHAT)
    waiting = DynamoTurns.waiting

    def then_one_comes(self: DynamoTurns, chat_id: str, *, limit: int) -> object:
        monkeypatch.undo()
        found = waiting(self, chat_id, limit=limit)
        world.say("just now")
        return found

    monkeypatch.setattr(DynamoTurns, "waiting", then_one_comes)

    assert world.run().route == "copilot"
    assert world.texts() == ["copilot: just now"]

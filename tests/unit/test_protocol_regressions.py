"""What once broke the protocol of a turn: found by reading it as an enemy would, or by walking it at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import (
    DeliveryRefused,
    DeliveryUncertain,
    ProviderExhausted,
    ProviderUnavailable,
    StoreContended,
)
from assistant.stores.claims import DynamoClaims
from assistant.stores.turns import DynamoTurns
from assistant.turns import texts
from assistant.turns.chain import Budget
from assistant.turns.ledger import window_name
from assistant.turns.model import TurnClaim, TurnStatus
from tests.doubles import CHAT, NOON

if TYPE_CHECKING:
    from tests.doubles import World


def test_a_request_that_was_not_made_is_given_back_to_a_window_that_is_gone(world: World) -> None:
    openrouter = world.chain.provider("openrouter")
    old = world.reserve(openrouter)
    world.clock.advance(60)
    world.ledger.succeeded(world.reserve(openrouter), micro_dollars=0)

    world.ledger.failed(old, ProviderUnavailable("openrouter", "unreachable", asked=False))

    windows = world.ledger.entries()["openrouter"].windows
    assert windows[window_name(Budget(20, "minute"), NOON + 60)] == 1
    assert windows[window_name(Budget(50, "day"), NOON)] == 1
    assert windows[window_name(Budget(20, "minute"), NOON)] == 0


@pytest.mark.parametrize("answered", [True, False])
def test_a_request_of_a_slow_clock_does_not_clear_the_next_window(world: World, answered: bool) -> None:
    openrouter = world.chain.provider("openrouter")
    world.clock.moment = NOON + 60
    world.reserve(openrouter)
    world.clock.moment = NOON + 59.9  # another function's clock
    late = world.reserve(openrouter)

    if answered:
        world.ledger.succeeded(late, micro_dollars=0)
    else:
        world.ledger.failed(late, ProviderUnavailable("openrouter", "server error"))

    assert world.ledger.entries()["openrouter"].windows[window_name(Budget(20, "minute"), NOON + 60)] == 1


def test_an_older_failure_does_not_shorten_a_newer_block(world: World) -> None:
    copilot = world.chain.provider("copilot")
    slow, quick = world.reserve(copilot), world.reserve(copilot)
    world.ledger.failed(quick, ProviderExhausted("copilot", "daily limit", block_until=NOON + 9000))

    world.ledger.failed(slow, ProviderUnavailable("copilot", "timeout"))

    entry = world.ledger.entries()["copilot"]
    assert (entry.blocked_until, entry.block_cause, entry.failures) == (NOON + 9000, "quota", 1)


@pytest.mark.parametrize("blocked_before", [True, False])
def test_an_older_success_does_not_clear_a_newer_block(world: World, blocked_before: bool) -> None:
    copilot = world.chain.provider("copilot")
    if blocked_before:
        world.ledger.block(copilot, cause="quota", until=NOON)
    else:
        world.ledger.failed(world.reserve(copilot), ProviderUnavailable("copilot", "server error"))
    slow = world.reserve(copilot)
    world.clock.advance(91)  # a probe's lease is over
    quick = world.reserve(copilot)
    world.ledger.failed(quick, ProviderExhausted("copilot", "daily limit", block_until=NOON + 9000))

    world.ledger.succeeded(slow, micro_dollars=0)

    assert world.ledger.entries()["copilot"].blocked_until == NOON + 9000


def test_a_message_is_stored_by_a_function_whose_clock_is_behind(world: World) -> None:
    world.say("one")
    world.clock.advance(-61)

    world.say("two")
    world.run_all()

    assert world.texts() == ["copilot: two\n\none"]  # in the order of Telegram's dates


def answered(world: World) -> TurnClaim:
    """A turn with an answer that has not been delivered."""
    world.say()
    claim = world.executions.started[-1]
    turn = TurnClaim(claim, world.prepare(claim).turn or 0)
    world.ask("copilot")(turn)
    return turn


def test_a_delivery_that_was_held_up_before_its_first_mark_sends_nothing_again(world: World) -> None:
    turn = answered(world)
    read = world.turn()
    world.deliver(turn)

    with pytest.raises(StoreContended):
        world.deliver._send(turn, read, ["hello"])

    assert world.texts() == ["copilot: hello"]


def test_what_a_dying_delivery_sends_while_the_next_execution_resumes_it_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = answered(world)
    world.executions.ended.add(turn.chat.execution)
    world.recover(CHAT)
    read = DynamoTurns.read

    def sent_meanwhile(self: DynamoTurns, chat_id: str, number: int) -> object:
        found = read(self, chat_id, number)
        monkeypatch.undo()
        world.deliver(turn)  # finds its claim gone only after it has sent
        return found

    monkeypatch.setattr(DynamoTurns, "read", sent_meanwhile)
    with pytest.raises(StoreContended):
        world.prepare(world.executions.started[-1])
    world.run_all()

    assert world.texts().count("copilot: hello") == 1


def test_an_open_turn_does_not_expire_however_long_it_can_not_be_delivered(world: World) -> None:
    turn = answered(world)
    assert world.turn().ttl is None
    world.deliver(turn)
    assert world.turn().ttl == NOON + 7 * 86400

    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
    world.say("and this?")
    world.run_all()

    assert (world.turn(2).status, world.turn(2).ttl) == (TurnStatus.PARKED, None)


def test_a_failed_turn_that_is_asked_again_does_not_expire_meanwhile(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 2 * 86400)
    world.say()
    world.run_all()
    assert world.turn().ttl is not None

    world.say("/retry")
    world.prepare(world.executions.started[-1])

    assert (world.turn().status, world.turn().ttl) == (TurnStatus.OPEN, None)


def test_a_late_event_of_an_execution_does_not_wake_a_parked_chat(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
    world.say()
    world.run_all()

    assert world.recover(CHAT) == "quiet"
    assert len(world.executions.started) == 1
    world.clock.advance(3600)
    assert world.recover(CHAT) == "started"


def test_a_chat_whose_execution_died_is_put_right_even_while_somebody_keeps_writing(world: World) -> None:
    world.say("first")
    world.executions.ended.add(world.executions.started[0].execution)  # and its event got lost
    for _ in range(7):
        world.clock.advance(45)
        world.say("are you there?")

    assert world.sweep() == ["restarted"]
    assert len(world.texts()) == 1


def test_an_execution_that_dies_over_a_parked_turn_is_not_left_until_the_turns_time(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 9000)
    world.say("first")
    world.run_all()
    world.say("second")
    world.executions.ended.add(world.executions.started[-1].execution)
    world.clock.advance(301)

    assert world.sweep() == ["restarted"]
    assert world.turn().text == "first\n\nsecond"


def test_a_part_in_doubt_stays_in_doubt_when_the_next_is_refused(world: World) -> None:
    world.messenger.limit = 10
    turn = answered(world)
    world.messenger.trouble = [DeliveryUncertain("no answer"), DeliveryRefused("blocked")]

    assert world.deliver(turn).ambiguous
    assert (world.turn().status, world.turn().ambiguous) == (TurnStatus.FAILED, True)


def test_a_provider_without_a_key_does_not_say_when_to_ask_again(world: World) -> None:
    del world.secrets.values["openrouter-api-key"]
    for name in ("copilot", "ollama-cloud", "anthropic"):
        world.ledger.block(world.chain.provider(name), cause="quota", until=NOON + 9000)
    world.say()
    world.run_all()

    assert world.turn().retry_at == NOON + 9000


def parked(world: World, chat: str = CHAT, **message: Any) -> None:
    """A chat with a parked turn, until an hour after noon; OpenRouter could answer, but nobody knows."""
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
    world.say("first", chat, **message)
    world.run_all()
    assert world.turn(1, chat).status == TurnStatus.PARKED


def free(world: World, provider: str) -> None:
    """The provider's block is over."""
    world.ledger.block(world.chain.provider(provider), cause="quota", until=NOON)


def test_retry_is_heard_behind_what_has_to_wait_for_the_parked_turn(world: World) -> None:
    parked(world)
    world.say("/again")
    world.run_all()
    world.secrets.values.clear()
    world.secrets.values["openrouter-api-key"] = "new"
    world.ledger.block(world.chain.provider("openrouter"), cause="not_configured", until=NOON + 3600)

    world.say("/retry")
    world.run_all()

    assert world.texts()[1:] == ["openrouter: first", "openrouter: first"]


def test_a_retry_that_comes_while_a_parked_turn_is_looked_at_is_heard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked(world)
    world.waking.wake(CHAT)  # as the repeat of an update does
    world.ledger.block(world.chain.provider("openrouter"), cause="not_configured", until=NOON + 3600)
    release = DynamoClaims.release

    def one_comes(*args: Any, **more: Any) -> bool:
        monkeypatch.undo()
        world.say("/retry")
        return release(*args, **more)

    monkeypatch.setattr(DynamoClaims, "release", one_comes)
    world.run_all()

    assert world.texts()[1:] == ["openrouter: first"]


def test_a_message_of_another_topic_does_not_join_a_parked_turn(world: World) -> None:
    group: dict[str, Any] = {"group": True, "sender_id": CHAT}
    world.allow("-100")
    parked(world, "-100", thread_id=7, **group)
    world.say("elsewhere", "-100", thread_id=8, **group)
    world.run_all()
    world.clock.advance(3600)
    world.sweep()

    said = [(call["thread_id"], call["text"]) for call in world.messenger.calls[1:]]
    assert said == [(7, "copilot: first"), (8, "copilot: elsewhere")]


def test_a_message_after_new_does_not_join_a_turn_from_before(world: World) -> None:
    parked(world)
    world.say("/new")
    world.say("another subject")
    world.run_all()
    free(world, "openrouter")
    world.say("and more")
    world.run_all()

    assert world.texts()[1:] == ["openrouter: first", "openrouter: another subject\n\nand more"]
    assert [said.text for said in world.models["openrouter"].asked[-1]] == ["another subject\n\nand more"]


def test_a_conversation_is_cut_to_what_a_provider_can_read(world: World) -> None:
    world.models["copilot"].script = ["x" * 59_000] * 6
    for number in range(7):
        world.say(f"question {number}")
        world.run_all()

    said = [said.text for said in world.models["copilot"].asked[-1]]

    assert said[0] == "question 2"
    assert said[-1] == "question 6"
    assert sum(map(len, said)) <= 2 * (128_000 - 4096)


def test_a_retry_that_nobody_answers_either_is_not_met_with_silence(world: World) -> None:
    parked(world)
    world.clock.advance(60)
    world.say("/retry")
    world.run_all()

    assert len(world.texts()) == 2
    assert "none of the language models can answer right now" in world.texts()[1]
    assert world.turn().parked_at == NOON + 60


def test_a_command_whose_reply_was_refused_is_not_asked_by_retry(world: World) -> None:
    world.say("/again")
    world.messenger.trouble = [DeliveryRefused("blocked")]
    world.run_all()
    assert world.turn().status == TurnStatus.FAILED

    world.say("/retry")
    world.run_all()

    assert world.texts() == [texts.NOTHING_TO_RETRY]
    assert world.journal.attempts == []


def test_a_chat_goes_on_when_the_last_apology_could_not_be_delivered_at_first(world: World) -> None:
    world.secrets.values.clear()
    world.say()
    claim = world.executions.started[-1]
    turn = TurnClaim(claim, world.prepare(claim).turn or 0)
    for provider in world.chain.providers:
        with pytest.raises(ProviderExhausted):
            world.ask(provider.id)(turn)
    assert world.report(turn) == "FAILED"
    world.executions.ended.add(claim.execution)  # Telegram was not reached, whatever was tried

    assert world.recover(CHAT) == "restarted"
    world.run_all()

    assert world.texts() == [texts.NOT_CONFIGURED]
    chat = world.claims.read(CHAT)
    assert (chat.open_turn, chat.failed_turn, chat.claimed_at) == (None, 1, None)

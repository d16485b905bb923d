"""Nobody can answer: turns are parked, asked again by themselves, given up after a day, or on the user's word."""

from __future__ import annotations

import pytest

from assistant.errors import ProviderExhausted, ProviderUnavailable
from assistant.turns.model import ChatClaim, TurnClaim, TurnStatus
from tests.doubles import CHAT, NOON, World

HOUR = 3600


def refuse_all(world: World, seconds: int, providers: int = 4) -> None:
    """The next request to each of the first providers is answered by "not before …"."""
    for provider in world.chain.providers[:providers]:
        until = world.clock.now() + seconds
        world.models[provider.id].script.append(ProviderExhausted(provider.id, "quota", block_until=until))


def test_one_apology_and_then_the_answer_by_itself(world: World) -> None:
    refuse_all(world, HOUR)
    world.say("hello")
    world.run_all()
    assert len(world.texts()) == 1
    assert "ask again by myself soon after 13:00 UTC" in world.texts()[0]
    assert world.turn().status == TurnStatus.PARKED
    assert world.claims.read(CHAT).claimed_at is None

    assert world.sweep() == []
    world.clock.advance(HOUR)
    assert world.sweep() == ["started"]

    assert world.texts()[1:] == ["copilot: hello"]
    assert world.claims.read(CHAT).due_at is None


def test_the_question_comes_back_at_the_earliest_block_end(world: World) -> None:
    for provider, seconds in zip(world.chain.providers, (9000, 700, 5000, 800), strict=True):
        error = ProviderExhausted(provider.id, "quota", block_until=NOON + seconds)
        world.models[provider.id].script.append(error)
    world.say()
    world.run_all()

    assert world.turn().retry_at == NOON + 700
    world.clock.advance(700)
    world.sweep()
    assert world.texts()[1:] == ["openrouter: hello"]


def test_a_second_refusal_brings_no_second_apology(world: World) -> None:
    refuse_all(world, HOUR)
    world.say()
    world.run_all()
    refuse_all(world, HOUR)
    world.clock.advance(HOUR)
    world.sweep()
    assert world.turn().parks == 2
    assert len(world.texts()) == 1

    world.clock.advance(HOUR)
    world.sweep()

    assert world.texts()[1:] == ["copilot: hello"]


def test_what_is_written_while_parked_joins_the_question(world: World) -> None:
    refuse_all(world, HOUR)
    world.say("one")
    world.run_all()
    world.say("two")
    world.run_all()
    assert len(world.texts()) == 1
    assert world.turn().text == "one\n\ntwo"

    world.clock.advance(HOUR)
    world.sweep()

    assert world.texts()[1:] == ["copilot: one\n\ntwo"]
    assert world.claims.read(CHAT).turn_counter == 1


def test_what_is_written_while_the_parked_question_is_taken_up_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_all(world, HOUR)
    world.say("one")
    world.run_all()
    world.say("two")
    release = type(world.claims).release

    def one_more_comes(*args: object, **more: object) -> bool:
        monkeypatch.undo()
        world.say("three")
        return release(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.claims), "release", one_more_comes)
    world.run_all()

    assert world.turn().text == "one\n\ntwo\n\nthree"
    assert world.claims.read(CHAT).claimed_at is None


def test_a_parked_question_holds_at_most_twenty_messages_and_loses_none(world: World) -> None:
    refuse_all(world, HOUR)
    world.say("first")
    world.run_all()
    for minute in range(2):
        for number in range(15):
            world.say(f"{minute}-{number}")
            world.run_all()
        world.clock.advance(60)
    assert world.turn().messages == 20

    world.clock.advance(HOUR)
    world.sweep()

    said = "\n\n".join(world.texts()[1:])
    assert all(f"{minute}-{number}" in said for minute in range(2) for number in range(15))
    assert world.claims.read(CHAT).waiting == 0


def test_a_provider_that_becomes_free_answers_with_the_next_message(world: World) -> None:
    refuse_all(world, HOUR)
    world.say("one")
    world.run_all()
    world.ledger.block(world.chain.providers[2], cause="quota", until=NOON + 10)
    world.clock.advance(10)
    world.say("two")
    world.run_all()

    assert world.texts()[1:] == ["ollama-cloud: one\n\ntwo"]


def test_retry_asks_a_parked_question_at_once(world: World) -> None:
    refuse_all(world, HOUR)
    world.say()
    world.run_all()
    world.ledger.block(world.chain.providers[1], cause="quota", until=NOON)
    world.say("/retry")
    world.run_all()

    assert world.texts()[1:] == ["openrouter: hello"]


def test_after_a_day_the_question_is_given_up_and_retry_asks_it(world: World) -> None:
    refuse_all(world, 25 * HOUR)
    world.say("hello")
    world.run_all()
    assert world.turn().status == TurnStatus.FAILED
    assert "Send /retry" in world.texts()[0]
    assert world.claims.read(CHAT).failed_turn == 1

    world.clock.advance(25 * HOUR)
    assert world.sweep() == []
    world.say("/retry")
    world.run_all()

    assert world.texts()[1:] == ["copilot: hello"]
    chat = world.claims.read(CHAT)
    assert (chat.failed_turn, chat.last_turn) == (None, 1)


def test_a_question_that_keeps_being_refused_is_given_up_within_a_day(world: World) -> None:
    world.say()
    world.run_all()  # the first is answered; the second never
    world.say("again and again")
    tries = 0
    while world.claims.read(CHAT).due_at is not None:
        refuse_all(world, 2 * HOUR)
        world.run_all()
        world.sweep()
        world.clock.advance(2 * HOUR)
        tries += 1
        assert tries < 20

    assert world.turn(2).status == TurnStatus.FAILED
    assert len(world.texts()) == 3
    assert world.claims.read(CHAT).open_turn is None


def test_nothing_to_retry_or_to_send_again_is_said(world: World) -> None:
    world.say("/retry")
    world.run_all()
    world.say("/again")
    world.run_all()

    assert world.texts()[0].startswith("There is nothing to ask again")
    assert world.texts()[1].startswith("There is no answer to send again")


def test_again_sends_the_last_answer_once_more(world: World) -> None:
    world.say("hello")
    world.run_all()
    for _ in range(2):
        world.say("/again")
        world.run_all()

    assert world.texts() == ["copilot: hello"] * 3
    assert len(world.models["copilot"].asked) == 1


def test_again_while_parked_waits_for_the_parked_question(world: World) -> None:
    world.say("first")
    world.run_all()
    refuse_all(world, HOUR)
    world.say("second")
    world.run_all()
    world.say("/again")
    world.run_all()
    assert len(world.texts()) == 2

    world.clock.advance(HOUR)
    world.sweep()

    assert world.texts()[2:] == ["copilot: second", "copilot: second"]


def test_commands_and_messages_keep_their_order(world: World) -> None:
    world.say("first")
    world.run_all()
    world.say("second")
    world.say("/again")
    world.say("third")
    world.run_all()

    assert world.texts()[1:] == ["copilot: second", "copilot: second", "copilot: third"]


def test_a_cooldown_that_grows_with_each_failure(world: World) -> None:
    waits = []
    for _ in range(6):
        model = world.models["copilot"]
        model.script = [ProviderUnavailable("copilot", "server error")] * 2
        world.say()
        claim = world.executions.started[-1]
        turn = TurnClaim(claim, world.prepare(claim).turn or 0)
        while world.ledger.entries().get("copilot") is None or model.script != []:
            with pytest.raises((ProviderUnavailable, ProviderExhausted)) as caught:
                world.ask("copilot")(turn)
            if isinstance(caught.value, ProviderExhausted):
                break
        until = world.ledger.entries()["copilot"].blocked_until or 0
        waits.append(until - int(world.clock.now()))
        world.ask("anthropic")(turn)
        world.deliver(turn)
        world.clock.advance(waits[-1])

    assert waits == [60, 240, 960, 3600, 3600, 3600]


def test_a_settled_turn_is_not_settled_twice(world: World) -> None:
    refuse_all(world, HOUR)
    world.say()
    world.run_all()

    turn = TurnClaim(ChatClaim(CHAT, world.turn().epoch), 1)
    assert world.report(turn) == "PARKED"
    assert world.turn().parks == 1


def test_an_answer_that_comes_while_the_failure_is_reported_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say()
    route = world.prepare(world.executions.started[0])
    turn = TurnClaim(route.claim, 1)
    entries = world.ledger.entries

    def answered_meanwhile(_self: object) -> object:
        monkeypatch.undo()
        world.ask("copilot")(turn)
        return entries()

    monkeypatch.setattr(type(world.ledger), "entries", answered_meanwhile)

    assert world.report(turn) == "changed"
    world.deliver(turn)
    assert world.texts() == ["copilot: hello"]

"""Claims and executions: whatever dies in between, the sweep puts it right, once, and at a bounded price."""

from __future__ import annotations

import pytest

from assistant.turns.model import ChatClaim, TurnClaim, TurnStatus
from assistant.turns.waking import pause_seconds
from tests.doubles import CHAT, World


def test_a_stored_message_that_nobody_claimed_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.waking), "wake", lambda *_args: None)
    world.say()
    monkeypatch.undo()
    assert world.sweep() == []  # the webhook is given a minute

    world.clock.advance(61)

    assert world.sweep() == ["started"]
    assert world.texts() == ["copilot: hello"]


def test_a_claim_that_was_never_started_is_started(world: World) -> None:
    start = world.executions.start
    world.executions.start = lambda claim: None  # type: ignore[method-assign]
    world.say()
    world.executions.start = start  # type: ignore[method-assign]
    world.clock.advance(61)

    assert world.sweep() == ["started"]
    assert world.texts() == ["copilot: hello"]


def test_the_next_message_starts_a_claim_that_was_never_started(world: World) -> None:
    start = world.executions.start
    world.executions.start = lambda claim: None  # type: ignore[method-assign]
    world.say("first")
    world.executions.start = start  # type: ignore[method-assign]

    world.say("second")
    world.run_all()

    assert world.texts() == ["copilot: first\n\nsecond"]


def test_a_running_execution_is_left_alone_and_looked_at_later(world: World) -> None:
    world.say()
    world.clock.advance(61)

    assert [world.recover(chat_id) for chat_id in world.claims.due()] == ["working"]
    assert list(world.claims.due()) == []
    world.clock.advance(300)
    assert list(world.claims.due()) == [CHAT]


def test_an_execution_that_died_is_replaced_and_its_turn_resumed(world: World) -> None:
    world.say()
    world.prepare(world.executions.started[0])
    world.executions.ended.add("chat42-1")

    assert world.recover(CHAT) == "restarted"
    world.run_all()

    assert world.texts() == ["copilot: hello"]
    assert world.turn().attempts == 2
    assert world.claims.read(CHAT).recoveries is None


@pytest.mark.parametrize("status", [TurnStatus.ANSWERED, TurnStatus.PARKED])
def test_an_answer_or_apology_that_was_not_delivered_is(world: World, status: TurnStatus) -> None:
    world.say()
    turn = TurnClaim(world.executions.started[0], world.prepare(world.executions.started[0]).turn or 0)
    if status == TurnStatus.ANSWERED:
        world.ask("copilot")(turn)
    else:
        for provider in world.chain.providers:
            world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
        world.report(turn)
    world.executions.ended.add("chat42-1")

    world.recover(CHAT)
    world.run_all()

    assert len(world.texts()) == 1
    assert world.turn().status == (TurnStatus.DELIVERED if status == TurnStatus.ANSWERED else TurnStatus.PARKED)


def test_a_turn_that_kills_every_execution_is_given_up_with_an_apology(world: World) -> None:
    world.say()
    for _ in range(5):
        route = world.prepare(world.executions.started[-1])
        if route.route == "fail":
            break
        world.executions.ended.add(route.claim.execution)
        world.recover(CHAT)
        world.clock.advance(7 * 3600)
        world.recover(CHAT)
    turn = TurnClaim(route.claim, 1)
    assert world.report(turn) == "FAILED"
    world.deliver(turn)

    assert "stopped trying" in world.texts()[0]
    assert world.turn().attempts == 3


def test_executions_that_keep_dying_are_replaced_ever_more_seldom(world: World) -> None:
    world.say()
    done = []
    for _ in range(6):
        world.executions.ended |= {claim.execution for claim in world.executions.started}
        done.append(world.recover(CHAT))
        if done[-1] == "paused":
            assert world.recover(CHAT) == "quiet"  # by a second event
            world.clock.advance(6 * 3600)
            assert world.recover(CHAT) == "started"  # by the sweep, once it is due
    assert done == ["restarted", "restarted", "paused", "paused", "paused", "paused"]
    assert [pause_seconds(times) for times in (1, 2, 3, 20)] == [300, 600, 1200, 21600]


def test_a_quiet_chat_is_left_quiet(world: World) -> None:
    world.say()
    world.run_all()

    assert world.recover(CHAT) == "quiet"
    assert world.recover("unknown") == "quiet"


def test_only_one_of_two_recoveries_steals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say()
    world.executions.ended.add("chat42-1")
    running = world.executions.running

    def another_is_faster(claim: ChatClaim) -> bool | None:
        monkeypatch.undo()
        assert world.recover(CHAT) == "restarted"
        return running(claim)

    monkeypatch.setattr(world.executions, "running", another_is_faster)

    assert world.recover(CHAT) == "changed"
    assert [claim.epoch for claim in world.executions.started] == [1, 2]


def test_a_chat_released_while_it_is_looked_at_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say()
    read = world.claims.read(CHAT)
    world.run_all()
    states = iter([read])
    original = type(world.claims).read
    monkeypatch.setattr(type(world.claims), "read", lambda self, chat: next(states, None) or original(self, chat))

    assert world.recover(CHAT) == "changed"


def test_a_stolen_claim_can_write_nothing(world: World) -> None:
    world.say()
    old = world.executions.started[0]
    turn = TurnClaim(old, world.prepare(old).turn or 0)
    world.executions.ended.add(old.execution)
    world.recover(CHAT)
    new = world.executions.started[-1]
    world.prepare(new)

    assert world.ask("copilot")(turn) == "nothing to do"
    assert not world.claims.release(old, due_at=None)
    assert not world.claims.drop(old, due_at=0, recoveries=0)
    assert not world.claims.postpone(old, due_at=0)
    assert world.deliver(turn).next == "done"
    assert world.texts() == []

    world.run(new)
    assert world.texts() == ["copilot: hello"]


def test_the_sweep_finds_every_due_chat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.waking), "wake", lambda *_args: None)
    chats = [str(number) for number in range(1000, 1030)]
    world.allow(*chats)
    for chat in chats:
        world.say("hello", chat)
    monkeypatch.undo()
    world.clock.advance(61)

    assert sorted(world.claims.due()) == chats

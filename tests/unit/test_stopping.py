"""/stop: at once, once, and never both an answer and "stopped"."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import ProviderExhausted, StoreContended
from assistant.turns import texts
from assistant.turns.accepting import Response, Say, Silence
from assistant.turns.agents import MailStatus
from assistant.turns.model import ChatClaim, TurnClaim, TurnStatus
from assistant.turns.stopping import StateOfAgent, Stopped
from tests.doubles import CHAT, World, a_world
from tests.unit.test_agents import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPPED = Say(texts.stopped(parked=False, waiting=False))
GOES_ON = Say(texts.stopped(parked=False, waiting=True))
NOTHING = Say(texts.NOTHING_TO_STOP)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@pytest.fixture
def fleet(world: World) -> Fleet:
    made = Fleet(world)
    world.stopping = replace(world.stopping, agent=StateOfAgent(made.agents, made.tokens))
    return made


def prepared(world: World, text: str = "hello") -> TurnClaim:
    world.say(text)
    route = world.prepare(world.executions.started[-1])
    return TurnClaim(route.claim, route.turn or 0)


def stop(world: World) -> Response:
    return world.say("/stop")


def meet(world: World, acts: list[Callable[[], object]], call: int) -> None:
    """Do one thing, and another before its call of that number to DynamoDB, or after it."""
    one, other = acts
    left = [other]
    calls = count(1)

    def come_in(**_: object) -> None:
        if left and next(calls) == call:
            left.pop()()

    world.conversations.client.meta.events.register("before-call.dynamodb", come_in)
    one()
    if left:
        left.pop()()


def idle(world: World) -> bool:
    chat = world.claims.read(CHAT)
    return (chat.claimed_at, chat.due_at, chat.open_turn, chat.waiting) == (None, None, None, 0)


def test_a_turn_is_stopped_and_its_late_answer_changes_nothing(world: World) -> None:
    turn = prepared(world)
    said: list[Response] = []
    world.models["copilot"].script = [lambda: said.append(stop(world))]

    assert world.ask("copilot")(turn) == "late"
    assert world.deliver(turn).next == "done"

    assert said == [STOPPED]
    assert world.texts() == []
    assert (world.turn().status, world.turn().reply) == (TurnStatus.FAILED, None)
    assert idle(world)
    assert world.turns.history(replace(turn, number=9), after=0, since=0, limit=9) == []


def test_an_answer_that_came_first_is_not_stopped(world: World) -> None:
    turn = prepared(world)
    world.ask("copilot")(turn)

    assert stop(world) == NOTHING

    world.deliver(turn)
    assert world.texts() == ["copilot: hello"]


def test_the_states_that_come_after_have_nothing_to_do(world: World) -> None:
    turn = prepared(world)
    stop(world)

    assert world.prepare(turn.chat).route == "idle"
    assert [world.ask(provider)(turn) for provider in world.models] == ["nothing to do"] * 4
    assert world.report(turn) == TurnStatus.FAILED
    assert world.deliver(turn).next == "done"
    assert world.texts() == []
    assert idle(world)


def test_what_was_written_since_is_answered_at_once(world: World) -> None:
    turn = prepared(world)
    world.say("and this")

    assert stop(world) == GOES_ON

    assert world.executions.started[-1] != turn.chat
    world.run()
    world.ask("copilot")(turn)
    world.deliver(turn)
    assert world.texts() == ["copilot: and this"]


def test_a_message_after_it_begins_a_turn(world: World) -> None:
    prepared(world)
    stop(world)

    world.say("another")
    world.run_all()

    assert world.texts() == ["copilot: another"]


def test_what_was_stopped_can_be_asked_again(world: World) -> None:
    turn = prepared(world)
    stop(world)
    world.say("/retry")
    world.run()
    world.deliver(turn)

    assert world.texts() == ["copilot: hello"]


def test_what_was_asked_again_at_once_is_not_stopped_by_a_stop_that_is_late(world: World, fleet: Fleet) -> None:
    turn = fleet.turn()
    fleet.hand_over(turn, "first")
    resumed = fleet.resumed(turn)
    fleet.hand_over(resumed, "second")

    StateOfAgent(fleet.agents, fleet.tokens)(turn)

    assert fleet.tokens.waiting == {"first", "second"}
    assert not fleet.agents.withdraw(turn)
    assert [mail.task_token for mail in fleet.agents.mail(CHAT)] == ["second"]


def test_of_more_messages_than_are_dropped_at_once_the_rest_is_announced(world: World) -> None:
    for _ in range(20):
        world.say("dropped")
    world.clock.advance(60)
    world.say("this")

    assert stop(world) == Say(texts.STOPPED_BEFORE_SOME)

    world.run_all()
    assert world.texts() == ["copilot: this"]


def test_the_same_update_stops_once(world: World) -> None:
    prepared(world)
    update = world.incoming("/stop")
    assert world.accept(update) == STOPPED
    turn = prepared(world, "another")

    assert world.accept(update) == Silence()

    assert world.turn(turn.number).status == TurnStatus.OPEN


def test_nothing_to_stop_is_said_once(world: World) -> None:
    update = world.incoming("/stop")

    assert [world.accept(update), world.accept(update)] == [NOTHING, Silence()]


def test_a_parked_turn_is_dropped(world: World) -> None:
    turn = prepared(world)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
        with pytest.raises(ProviderExhausted):
            world.ask(provider.id)(turn)
    world.report(turn)
    world.deliver(turn)

    assert stop(world) == Say(texts.stopped(parked=True, waiting=False))

    world.clock.advance(7200)
    assert (world.sweep(), len(world.texts())) == ([], 1)
    assert idle(world)


def test_what_a_parked_turn_is_just_saying_is_said_once_and_it_is_not_asked_again(world: World) -> None:
    turn = prepared(world)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
    world.report(turn)
    said: list[Response] = []
    world.messenger.trouble = [None]
    send = world.messenger.send

    def stopped_while_sending(*args: Any, **kwargs: Any) -> None:
        send(*args, **kwargs)
        said.append(stop(world))

    world.messenger.send = stopped_while_sending  # type: ignore[method-assign]
    assert world.deliver(turn).next == "done"
    world.messenger.send = send  # type: ignore[method-assign]
    world.run()

    assert said == [Say(texts.stopped(parked=True, waiting=False))]
    assert len(world.texts()) == 2
    assert world.texts()[1] == texts.MAY_BE_MISSING
    world.clock.advance(7200)
    assert world.sweep() == []
    assert (world.turn().status, idle(world)) == (TurnStatus.FAILED, True)


def test_a_promise_that_was_not_sent_yet_is_not_sent(world: World) -> None:
    turn = prepared(world)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
    world.report(turn)

    assert stop(world) == Say(texts.stopped(parked=True, waiting=False))

    assert world.deliver(turn).next == "done"
    world.clock.advance(7200)
    assert (world.sweep(), world.texts()) == ([], [])
    assert (world.turn().status, world.turn().reply, idle(world)) == (TurnStatus.FAILED, None, True)


def test_a_reminder_that_a_parked_turn_is_about_to_say_is_said(world: World) -> None:
    world.say("/remind in 1 minute tea")
    turn = prepared(world)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
    world.report(turn)
    world.deliver(turn)
    world.clock.advance(61)
    world.ring()
    world.prepare(world.executions.started[-1])

    assert stop(world) == Say(texts.stopped(parked=True, waiting=False))

    world.run()
    assert "tea" in world.texts()[-1]


@pytest.mark.parametrize("call", range(1, 5))
@pytest.mark.parametrize("first", ["apology", "stop"])
def test_wherever_an_apology_and_a_stop_meet_it_is_said_whole_or_not_at_all(first: str, call: int) -> None:
    with a_world(own_client=True) as world:
        turn = prepared(world)
        for provider in world.chain.providers:
            world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
        world.report(turn)
        said: list[Response] = []
        begun: list[bool] = []

        def stopping() -> None:
            said.append(stop(world))
            begun.append(world.turn().sending is not None or world.turn().sent > 0)

        acts: list[Callable[[], object]] = [lambda: delivered(world, turn), stopping]
        meet(world, acts if first == "apology" else acts[::-1], call)
        delivered(world, turn)
        world.run()

        assert said == [Say(texts.stopped(parked=True, waiting=False))]
        assert [text.startswith(texts.PARKED) for text in world.texts()[:1]] == [True for each in begun if each]
        assert (world.turn().status, idle(world)) == (TurnStatus.FAILED, True)


def delivered(world: World, turn: TurnClaim) -> None:
    """As the state does: a delivery that finds another at work is tried again."""
    for _ in range(3):
        with contextlib.suppress(StoreContended):
            world.deliver(turn)
            return


def test_reminders_that_are_due_are_said_all_the_same(world: World) -> None:
    world.say("/remind in 1 minute tea")
    world.clock.advance(61)
    world.ring()

    assert stop(world) == NOTHING

    route = world.prepare(world.executions.started[-1])
    assert stop(world) == NOTHING
    turn = TurnClaim(route.claim, route.turn or 0)
    world.ask("copilot")(turn)
    world.deliver(turn)
    assert "tea" in world.texts()[-1]


def test_messages_that_no_turn_has_taken_yet_are_dropped(world: World) -> None:
    world.say("one")
    world.say("two")

    assert stop(world) == Say(texts.STOPPED_BEFORE)

    assert world.prepare(world.executions.started[-1]).route == "idle"
    assert idle(world)
    world.say("three")
    world.run()
    assert world.texts() == ["copilot: three"]


def test_a_partial_answer_in_a_group_is_taken_away(world: World) -> None:
    turn = prepared(world)
    world.turns.show_preview(turn, 77)
    stop(world)

    world.ask("copilot")(turn)
    world.deliver(turn)

    assert world.messenger.withdrawn == [(CHAT, 77)]


def test_what_is_being_written_is_shown_no_longer(world: World) -> None:
    turn = prepared(world)
    wanted: list[bool] = []

    def look() -> None:
        wanted.append(world.messenger.wanted())
        stop(world)
        wanted.append(world.messenger.wanted())

    world.models["copilot"].script = [look]
    world.ask("copilot")(turn)

    assert wanted == [True, False]


@pytest.mark.parametrize("happening", ["message", "answer", "claim"])
def test_what_happens_in_between_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, happening: str
) -> None:
    turn = prepared(world)
    happen: dict[str, Callable[[], Any]] = {
        "message": lambda: world.say("meanwhile"),
        "answer": lambda: world.ask("copilot")(turn),
        "claim": lambda: world.claims.steal(turn.chat, recoveries=1),
    }
    once = [happen[happening]]
    stops = type(world.stops).stop

    def interrupted(*args: Any, **how: Any) -> Stopped:
        if once:
            once.pop()()
        return stops(*args, **how)

    monkeypatch.setattr(type(world.stops), "stop", interrupted)

    said = stop(world)

    assert said == {"message": GOES_ON, "answer": NOTHING, "claim": STOPPED}[happening]


def test_a_chat_that_does_not_keep_still_is_said_to_be_contended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(world)
    monkeypatch.setattr(type(world.stops), "stop", lambda *_, **__: Stopped.CHANGED)

    with pytest.raises(StoreContended):
        stop(world)


def test_a_stop_that_died_before_it_started_the_next_is_healed_by_its_repeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(world)
    world.say("and this")
    started = type(world.executions).start
    monkeypatch.setattr(type(world.executions), "start", _dies)
    update = world.incoming("/stop")
    with pytest.raises(ConnectionError):
        world.accept(update)
    monkeypatch.setattr(type(world.executions), "start", started)

    assert world.accept(update) == Silence()

    world.run_all()
    assert "copilot: and this" in world.texts()


def _dies(*_: object) -> None:
    raise ConnectionError("the function died")


def test_the_state_that_waits_for_a_cold_agent_ends_at_once(fleet: Fleet) -> None:
    turn = fleet.turn()
    fleet.hand_over(turn)

    assert stop(fleet.world) == STOPPED

    assert fleet.tokens.ended == [("token", "success")]
    assert (fleet.agents.mail(CHAT), fleet.agents.read(CHAT).pending) == ([], 0)
    assert fleet.world.deliver(turn).next == "done"
    assert idle(fleet.world)
    assert fleet.container().next() is None


def test_a_run_that_is_under_way_is_left_to_the_agent_to_end(fleet: Fleet) -> None:
    turn = fleet.turn()
    fleet.hand_over(turn)
    box = fleet.container()
    box.next()

    stop(fleet.world)

    (mail,) = fleet.agents.mail(CHAT)
    assert mail.status == MailStatus.TAKEN
    assert fleet.tokens.ended == [("token", "success")]
    assert box.next() is None
    assert (fleet.agents.mail(CHAT), fleet.agents.read(CHAT).pending) == ([], 0)


def test_mail_of_another_turn_is_left_alone(fleet: Fleet) -> None:
    other = TurnClaim(ChatClaim(CHAT, 1), 7)
    fleet.agents.register(other, "other", deadline=0)
    fleet.turn()

    assert stop(fleet.world) == STOPPED

    assert [mail.number for mail in fleet.agents.mail(CHAT)] == [7]


@pytest.mark.parametrize("call", range(1, 9))
@pytest.mark.parametrize("first", ["answer", "stop"])
def test_wherever_an_answer_and_a_stop_meet_one_of_both_comes(first: str, call: int) -> None:
    with a_world(own_client=True) as world:
        turn = prepared(world)
        said: list[Response] = []
        acts: list[Callable[[], object]] = [lambda: world.ask("copilot")(turn), lambda: said.append(stop(world))]
        meet(world, acts if first == "answer" else acts[::-1], call)
        world.deliver(turn)

        assert (said, world.texts()) in [([STOPPED], []), ([NOTHING], ["copilot: hello"])]

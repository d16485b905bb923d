"""Each part of a reply is sent at most once, whatever happens."""

from __future__ import annotations

import pytest

from assistant.errors import DeliveryDelayed, DeliveryFailed, DeliveryRefused, DeliveryUncertain, StoreContended
from assistant.turns import texts
from assistant.turns.model import ChatClaim, TurnClaim, TurnStatus
from tests.doubles import CHAT, World

ANSWER = "one two three four five six seven"


@pytest.fixture
def answered(world: World) -> TurnClaim:
    """A turn with an answer of two parts that has not been delivered."""
    world.messenger.limit = 20
    world.models["copilot"].script = [ANSWER]
    world.say()
    route = world.prepare(world.executions.started[0])
    turn = TurnClaim(route.claim, 1)
    world.ask("copilot")(turn)
    return turn


def test_a_delay_is_waited_for_and_nothing_is_sent_twice(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [None, DeliveryDelayed(30)]

    with pytest.raises(DeliveryDelayed):
        world.deliver(answered)
    route = world.prepare(answered.chat)
    assert (route.route, route.seconds) == ("wait", 31)
    world.clock.advance(31)
    assert world.prepare(answered.chat).route == "deliver"
    world.deliver(answered)

    assert " ".join(world.texts()) == ANSWER
    assert world.turn().ambiguous is None


def test_a_long_delay_is_waited_for_in_pieces(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [DeliveryDelayed(86400)]

    with pytest.raises(DeliveryDelayed):
        world.deliver(answered)

    assert world.prepare(answered.chat).seconds <= 301


def test_an_unreachable_telegram_is_tried_again(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [None, DeliveryFailed("not reached")]

    with pytest.raises(DeliveryFailed):
        world.deliver(answered)
    world.deliver(answered)

    assert " ".join(world.texts()) == ANSWER


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_in_doubt_is_not_sent_again_and_the_user_is_told(world: World, answered: TurnClaim, part: int) -> None:
    world.messenger.trouble = [*[None] * part, DeliveryUncertain("no answer")]

    assert world.deliver(answered).ambiguous

    sent = world.texts()
    assert len(sent) == 2
    assert sent[-1] == texts.MAY_BE_MISSING
    assert world.turn().ambiguous
    assert world.turn().status == TurnStatus.DELIVERED


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_that_a_crash_left_in_the_middle_is_not_sent_again(world: World, answered: TurnClaim, part: int) -> None:
    world.messenger.trouble = [*[None] * part, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(answered)

    world.deliver(answered)

    assert world.texts().count(texts.MAY_BE_MISSING) == 1
    assert len(world.texts()) == 2
    assert world.turn().ambiguous


def test_again_after_a_doubt_sends_the_whole_answer(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [DeliveryUncertain("no answer")]
    world.deliver(answered)
    world.messenger.sent.clear()

    world.say("/again")
    world.run_all()

    assert " ".join(world.texts()) == ANSWER


@pytest.mark.parametrize(
    "trouble", [DeliveryUncertain("?"), DeliveryFailed("?"), DeliveryDelayed(3), DeliveryRefused("?")]
)
def test_the_notice_is_tried_once_and_never_in_the_way(world: World, answered: TurnClaim, trouble: Exception) -> None:
    world.messenger.trouble = [DeliveryUncertain("no answer"), None, trouble]

    assert world.deliver(answered).status == "DELIVERED"
    assert texts.MAY_BE_MISSING not in world.texts()


def test_a_notice_that_a_crash_interrupted_is_not_repeated(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [DeliveryUncertain("no answer"), None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(answered)

    assert world.deliver(answered).status == "DELIVERED"
    assert texts.MAY_BE_MISSING not in world.texts()


def test_a_chat_that_refuses_the_bot_is_given_up(world: World, answered: TurnClaim) -> None:
    world.messenger.trouble = [DeliveryRefused("blocked")]

    assert world.deliver(answered).status == "FAILED"
    assert world.texts() == []
    assert world.claims.read(CHAT).claimed_at is None


def test_two_deliveries_at_once_send_each_part_once(world: World, answered: TurnClaim) -> None:
    send = world.messenger.send

    def meanwhile_another(*args: object, **more: object) -> None:
        world.messenger.send = send  # type: ignore[method-assign]
        send(*args, **more)  # type: ignore[arg-type]
        world.deliver(answered)

    world.messenger.send = meanwhile_another  # type: ignore[method-assign]
    with pytest.raises(StoreContended):
        world.deliver(answered)
    world.deliver(answered)

    sent = [text for text in world.texts() if text != texts.MAY_BE_MISSING]
    assert " ".join(sent) == ANSWER


def test_a_delivery_that_died_after_handing_the_chat_over_starts_the_next(world: World, answered: TurnClaim) -> None:
    world.say("second")
    start, world.executions.start = world.executions.start, _dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(answered)
    world.executions.start = start  # type: ignore[method-assign]

    world.deliver(answered)

    assert world.executions.started[-1] == ChatClaim(CHAT, 2)


def _dies(claim: ChatClaim) -> None:
    raise KeyboardInterrupt


def test_a_turn_that_is_still_open_can_not_be_delivered(world: World) -> None:
    world.say()
    route = world.prepare(world.executions.started[0])

    with pytest.raises(StoreContended):
        world.deliver(TurnClaim(route.claim, 1))


def test_a_delivered_turn_delivered_again_sends_nothing(world: World) -> None:
    world.say()
    world.run_all()

    assert world.deliver_turn().next == "done"
    assert len(world.texts()) == 1


def test_the_delivery_of_an_apology_can_be_interrupted_too(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
    world.say()
    route = world.prepare(world.executions.started[0])
    turn = TurnClaim(route.claim, 1)
    assert route.route == "fail"
    world.report(turn)
    world.messenger.trouble = [DeliveryDelayed(3)]
    with pytest.raises(DeliveryDelayed):
        world.deliver(turn)

    assert world.prepare(turn.chat).route == "wait"
    world.deliver(turn)

    assert len(world.texts()) == 1
    assert world.turn().status == TurnStatus.PARKED

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


def test_only_answers_to_questions_are_timed(world: World, answered: TurnClaim) -> None:
    world.clock.advance(3)
    assert world.deliver(answered).seconds == 3

    world.say("/again")
    route = world.prepare(world.executions.started[-1])
    assert world.deliver(TurnClaim(route.claim, 2)).seconds is None


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


# --- an answer that was seen growing

PREVIEW = 77
FIRST, REST = "one two three four", ["five six seven"]


@pytest.fixture
def seen(world: World) -> TurnClaim:
    """A group's turn with an answer of two parts, whose beginning is to be seen in a message."""
    world.messenger.limit = 20
    world.models["copilot"].script = [ANSWER]
    turn = _opened_and_seen(world)
    world.ask("copilot")(turn)
    return turn


def _opened_and_seen(world: World) -> TurnClaim:
    world.say(group=True)
    turn = TurnClaim(world.prepare(world.executions.started[0]).claim, 1)
    assert world.turns.show_preview(turn, PREVIEW)
    return turn


def _shown(world: World) -> list[str]:
    """What the message was made to read, the same twice in a row taken once."""
    assert {(chat, message) for chat, message, _ in world.messenger.revised} <= {(CHAT, PREVIEW)}
    texts = [text for _, _, text in world.messenger.revised]
    return [text for at, text in enumerate(texts) if texts[at - 1 : at] != [text]]


def _expect_whole_answer(world: World) -> None:
    assert _shown(world) == [FIRST]
    assert world.texts() == REST
    assert world.turn().status == TurnStatus.DELIVERED
    assert world.turn().ambiguous is None
    assert world.turn().preview_id is None


def test_the_message_that_was_seen_growing_becomes_the_first_part(world: World, seen: TurnClaim) -> None:
    assert world.deliver(seen).next == "done"

    _expect_whole_answer(world)
    assert world.messenger.calls[0]["reply_to"] is None


def test_a_turn_has_one_message(world: World) -> None:
    turn = _opened_and_seen(world)

    assert world.turns.show_preview(turn, PREVIEW)
    assert not world.turns.show_preview(turn, PREVIEW + 1)
    assert world.turn().preview_id == PREVIEW
    assert world.turns.show_preview(turn, None)
    assert world.turns.show_preview(turn, PREVIEW + 1)


def test_a_message_that_is_gone_is_sent(world: World, seen: TurnClaim) -> None:
    world.messenger.gone.add(PREVIEW)

    world.deliver(seen)

    assert world.texts() == [FIRST, *REST]
    assert world.messenger.calls[0]["reply_to"] == world.turn().message_id
    assert world.turn().preview_id is None


@pytest.mark.parametrize("trouble", [DeliveryFailed("no answer"), KeyboardInterrupt()])
def test_of_a_message_that_is_changed_nothing_is_in_doubt(
    world: World, seen: TurnClaim, trouble: BaseException
) -> None:
    world.messenger.trouble = [trouble]
    with pytest.raises(type(trouble)):
        world.deliver(seen)

    assert not world.deliver(seen).ambiguous

    _expect_whole_answer(world)


def test_a_delivery_that_died_after_the_change_goes_on(world: World, seen: TurnClaim) -> None:
    world.messenger.trouble = [None, DeliveryFailed("not reached")]
    with pytest.raises(DeliveryFailed):
        world.deliver(seen)

    assert not world.deliver(seen).ambiguous

    _expect_whole_answer(world)


def test_a_delay_of_the_change_is_waited_for(world: World, seen: TurnClaim) -> None:
    world.messenger.trouble = [DeliveryDelayed(30)]
    with pytest.raises(DeliveryDelayed):
        world.deliver(seen)
    assert (world.prepare(seen.chat).route, world.prepare(seen.chat).seconds) == ("wait", 31)
    world.clock.advance(31)

    world.deliver(seen)

    _expect_whole_answer(world)


def test_what_was_perhaps_sent_instead_of_a_message_that_is_gone_is_not_sent_again(
    world: World, seen: TurnClaim
) -> None:
    world.messenger.gone.add(PREVIEW)
    world.messenger.trouble = [None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(seen)
    world.messenger.trouble = [DeliveryDelayed(30)]
    with pytest.raises(DeliveryFailed):
        world.deliver(seen)

    assert world.deliver(seen).ambiguous

    assert world.texts() == [*REST, texts.MAY_BE_MISSING]


def test_a_group_that_has_thrown_the_bot_out_is_given_up(world: World, seen: TurnClaim) -> None:
    world.messenger.trouble = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(seen)
    world.messenger.trouble = [DeliveryRefused("kicked"), DeliveryRefused("kicked")]

    assert world.deliver(seen).status == "FAILED"

    assert world.texts() == []


def test_two_deliveries_at_once_change_the_message_to_the_same(world: World, seen: TurnClaim) -> None:
    revise = world.messenger.revise

    def meanwhile_another(*args: object) -> bool:
        world.messenger.revise = revise  # type: ignore[method-assign]
        world.deliver(seen)
        return revise(*args)  # type: ignore[arg-type]

    world.messenger.revise = meanwhile_another  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreContended):
        world.deliver(seen)
    world.deliver(seen)

    _expect_whole_answer(world)


def _block_all(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)


def test_an_apology_is_told_where_the_answer_broke_off(world: World) -> None:
    turn = _opened_and_seen(world)
    _block_all(world)
    world.report(turn)

    world.deliver(turn)

    assert len(_shown(world)) == 1
    assert world.texts() == []
    assert world.turn().status == TurnStatus.PARKED
    assert world.turn().preview_id is None


@pytest.fixture
def parked_again(world: World) -> TurnClaim:
    """A turn that is parked for the second time, which is not apologised for, with a message that holds nothing."""
    turn = _opened_and_seen(world)
    _block_all(world)
    world.report(turn)
    world.deliver(turn)
    world.messenger.revised.clear()
    world.clock.advance(3700)
    (chat_id,) = world.claims.due()
    world.recover(chat_id)
    again = TurnClaim(world.prepare(world.executions.started[-1]).claim, 1)
    assert world.turns.show_preview(again, PREVIEW)
    _block_all(world)
    world.report(again)
    assert world.turn().reply is None
    return again


def test_a_beginning_without_an_end_is_taken_away(world: World, parked_again: TurnClaim) -> None:
    assert world.deliver(parked_again).status == "PARKED"

    assert world.messenger.withdrawn == [(CHAT, PREVIEW)]
    assert world.turn().preview_id is None
    assert world.texts() == []


@pytest.mark.parametrize(
    "trouble", [DeliveryDelayed(3), DeliveryFailed("not reached"), DeliveryRefused("kicked")], ids=repr
)
def test_a_beginning_that_can_not_be_taken_away_is_left_to_the_next_try(
    world: World, parked_again: TurnClaim, trouble: Exception
) -> None:
    world.messenger.trouble = [trouble]

    assert world.deliver(parked_again).status == "PARKED"

    assert world.turn().preview_id == PREVIEW
    assert world.claims.read(CHAT).claimed_at is None


def test_a_turn_that_is_asked_again_is_answered_in_a_message_of_its_own(world: World, parked_again: TurnClaim) -> None:
    world.deliver(parked_again)
    world.clock.advance(3700)
    world.sweep()

    assert world.turn().status == TurnStatus.DELIVERED
    assert len(world.texts()) == 1
    assert world.messenger.revised == []

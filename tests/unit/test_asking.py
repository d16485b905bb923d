"""One provider is asked: what it costs, what it is told, what a failure leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from assistant.errors import (
    CONTEXT_TOO_LONG,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderUnavailable,
)
from assistant.turns import texts
from assistant.turns.ledger import window_name
from assistant.turns.model import Notice, TurnClaim, TurnStatus, Usage, Used
from tests.doubles import CHAT, NOON

if TYPE_CHECKING:
    from tests.doubles import World

USAGE = Usage(input=1_000, cached=2_000, written=400, output=100)
COST = 4_400


def asked_of(world: World, provider_id: str) -> TurnClaim:
    """A turn whose next provider is this one."""
    for provider in world.chain.providers:
        if provider.id == provider_id:
            break
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
    world.allow("7")
    world.say(sender_id="7")
    route = world.prepare(world.executions.started[-1])
    return TurnClaim(route.claim, route.turn or 0)


def claude_spent(world: World) -> int:
    budget = world.chain.provider("anthropic").budgets[0]
    return world.ledger.entries()["anthropic"].windows[window_name(budget, world.clock.now())]


def today(world: World, provider_id: str) -> Used:
    return world.usage.days("2026-11-22", "2026-11-22")["2026-11-22"][provider_id]


def test_what_an_answer_cost_is_kept_with_the_turn_the_ledger_the_day_and_the_log(world: World) -> None:
    world.models["anthropic"].usage = USAGE
    turn = asked_of(world, "anthropic")

    assert world.ask("anthropic")(turn) == "answered"

    kept = world.turn()
    assert (kept.input_tokens, kept.cached_tokens, kept.written_tokens, kept.output_tokens) == (1_000, 2_000, 400, 100)
    assert kept.micro_dollars == COST
    assert claude_spent(world) == COST
    assert today(world, "anthropic") == Used(1, 0, 1_000, 2_000, 400, 100, COST)
    (attempt,) = world.journal.attempts
    assert (attempt.usage, attempt.micro_dollars, attempt.user_id) == (USAGE, COST, "7")
    assert attempt.budget_used == pytest.approx(COST / 5_000_000)


def test_an_answer_without_a_count_costs_what_was_reserved(world: World) -> None:
    world.models["anthropic"].usage = None
    turn = asked_of(world, "anthropic")

    world.ask("anthropic")(turn)

    assert claude_spent(world) > 50_000
    assert world.turn().micro_dollars == claude_spent(world)
    assert world.turn().input_tokens is None


def test_a_failure_that_may_have_been_charged_is_counted_so(world: World) -> None:
    world.models["anthropic"].script = [
        ProviderUnavailable("anthropic", "answer cut off", may_cost=True),
        ProviderUnavailable("anthropic", "unreachable", asked=False),
    ]
    turn = asked_of(world, "anthropic")

    for _ in range(2):
        with pytest.raises(ProviderError):
            world.ask("anthropic")(turn)

    assert today(world, "anthropic").requests == today(world, "anthropic").failures == 1
    assert today(world, "anthropic").micro_dollars == claude_spent(world) > 50_000


def test_an_answer_that_was_paid_for_is_not_lost_when_the_ledger_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = asked_of(world, "anthropic")
    monkeypatch.setattr(type(world.ledger), "succeeded", _broken)

    with pytest.raises(ConnectionError):
        world.ask("anthropic")(turn)
    monkeypatch.undo()

    assert world.ask("anthropic")(turn) == "nothing to do"
    world.deliver(turn)
    assert world.texts()[0].startswith("anthropic: hello")


def _broken(*_: object, **__: object) -> None:
    raise ConnectionError("DynamoDB is away")


def test_a_conversation_that_is_too_long_is_shortened_once(world: World) -> None:
    for number in range(5):
        world.say(f"question {number}")
        world.run_all()
    model = world.models["copilot"]
    model.script = [ProviderDeclined("copilot", CONTEXT_TOO_LONG, status=400)]

    world.say("last")
    world.run_all()

    assert [len(said) for said in model.asked[-2:]] == [11, 5]
    assert model.asked[-1][0].text == "question 3"
    attempts = world.journal.attempts[-2:]
    assert [(attempt.outcome, attempt.fallback) for attempt in attempts] == [("failed", False), ("answered", False)]
    assert world.ledger.entries()["copilot"].windows["day:2026-11-22"] == 7


def test_a_conversation_is_shortened_although_the_provider_is_just_tried_again(world: World) -> None:
    for text in ("first", "second"):
        world.say(text)
        world.run_all()
    world.ledger.block(world.chain.provider("copilot"), cause="quota", until=NOON)
    world.models["copilot"].script = [ProviderDeclined("copilot", CONTEXT_TOO_LONG, status=400)]

    world.say("last")
    world.run_all()

    assert world.texts()[-1] == "copilot: last"
    assert world.ledger.entries()["copilot"].blocked_until is None


def test_a_shortened_conversation_has_what_is_left_of_the_requests_time(world: World) -> None:
    """Two whole requests would outlast the function, and nobody would settle what the second one cost."""
    world.say("first")
    world.run_all()
    model = world.models["copilot"]
    slow = ProviderDeclined("copilot", CONTEXT_TOO_LONG, status=400)

    def refuse() -> None:
        world.clock.advance(25)
        raise slow

    model.script = [refuse]
    world.say("second")
    world.run_all()
    assert model.seconds[-2:] == [60, 35]

    def refuse_late() -> None:
        world.clock.advance(45)
        raise slow

    model.script = [refuse_late]
    world.say("third")
    world.run_all()

    assert world.texts()[-1] == "openrouter: third"
    assert world.journal.attempts[-2].reason == "turn deadline"


@pytest.mark.parametrize("reason", [CONTEXT_TOO_LONG, "moderated"])
def test_a_question_that_is_refused_goes_on_and_blocks_nobody(world: World, reason: str) -> None:
    world.models["copilot"].script = [ProviderDeclined("copilot", reason)] * 3

    world.say()
    world.run_all()

    assert world.texts() == ["openrouter: hello"]
    assert len(world.models["copilot"].asked) == 1  # nothing to shorten
    assert world.ledger.entries()["copilot"].blocked_until is None
    assert world.ledger.entries()["copilot"].failures == 0
    world.models["copilot"].script.clear()
    world.say("another")
    world.run_all()
    assert world.texts()[1] == "copilot: another"


def test_a_conversation_that_is_too_long_even_then_goes_to_the_next(world: World) -> None:
    world.say("first")
    world.run_all()
    world.say("second")
    world.run_all()
    world.models["copilot"].script = [ProviderDeclined("copilot", CONTEXT_TOO_LONG)] * 3

    world.say("third")
    world.run_all()

    assert len(world.models["copilot"].asked) == 4
    assert world.texts()[2] == "openrouter: third"
    assert [attempt.fallback for attempt in world.journal.attempts[-3:]] == [False, True, True]


def test_a_question_that_everybody_refuses_is_not_asked_again(world: World) -> None:
    for provider_id, model in world.models.items():
        model.script = [ProviderDeclined(provider_id, "moderated")]

    world.say()
    world.run_all()

    assert world.texts() == [texts.DECLINED]
    assert world.turn().status == TurnStatus.FAILED
    world.clock.advance(7200)
    world.sweep()
    assert [len(model.asked) for model in world.models.values()] == [1, 1, 1, 1]
    world.say("/retry")
    world.run_all()
    assert world.texts()[1] == "copilot: hello"


def test_who_refused_a_question_is_not_asked_it_again_after_the_others_block(world: World) -> None:
    world.models["copilot"].script = [ProviderDeclined("copilot", "moderated")]
    for provider in world.chain.providers[1:]:
        world.ledger.block(provider, cause="quota", until=NOON + 900)

    world.say()
    world.run_all()
    assert world.turn().retry_at == NOON + 900
    world.clock.advance(1200)
    world.sweep()

    assert world.texts()[1] == "openrouter: hello"
    assert len(world.models["copilot"].asked) == 1


def test_a_state_that_comes_to_a_provider_that_refused_makes_no_request(world: World) -> None:
    turn = asked_of(world, "copilot")
    world.turns.decline(turn, "openrouter copilot")

    with pytest.raises(ProviderDeclined, match="declined before"):
        world.ask("copilot")(turn)
    assert world.models["copilot"].asked == []


def test_the_owner_is_told_once_that_a_key_is_refused(world: World) -> None:
    refused = ProviderRejected("copilot", "key", status=401)
    world.models["copilot"].script = [refused, refused, "works again", refused]
    for hours in (0, 7, 7, 7):
        world.clock.advance(hours * 3600)
        world.say()
        world.run_all()

    assert world.owner.told == [Notice("provider_rejected", "copilot", "key")] * 2


def test_the_answer_is_shown_as_it_grows_and_taken_back_from_who_fails(world: World) -> None:
    def half() -> None:
        raise ProviderUnavailable("copilot", "answer cut off", may_cost=True)

    world.models["copilot"].script = [half]
    world.say()
    world.run_all()

    assert world.messenger.taken_back == 1
    assert world.messenger.shown == ["openrouter: hello"]


def test_with_streaming_off_only_typing_is_shown(world: World) -> None:
    world.stream = False
    world.say()
    world.run_all()

    assert (world.messenger.typing_shown, world.messenger.shown) == (1, [])


def test_an_answer_by_the_first_provider_that_has_a_key_is_no_fallback(world: World) -> None:
    del world.secrets.values["copilot-api-key"]
    for text in ("one", "two"):
        world.say(text)
        world.run_all()

    assert [attempt.fallback for attempt in world.journal.attempts] == [True, True, False]
    assert world.texts()[1] == "openrouter: two"


def test_the_user_is_told_once_a_month_that_the_budget_is_spent(world: World) -> None:
    claude = world.chain.provider("anthropic")
    for provider in world.chain.providers[:3]:
        world.ledger.block(provider, cause="quota", until=NOON + 3 * 86400)
    world.ledger.succeeded(world.reserve(claude, micro_dollars=5_000_000), micro_dollars=4_950_000)

    for text in ("one", "two"):
        world.say(text)
        world.run_all()
        world.say("/new")
    world.allow("43")
    world.say("of another chat", "43")
    world.run_all()

    assert len(world.models["anthropic"].asked) == 0
    sentence = "This month's budget for Claude ($5.00) is used up."
    assert [sentence in text for text in world.texts(CHAT)] == [True, False]
    assert [sentence in text for text in world.texts("43")] == [True]


def test_a_paid_provider_that_is_off_is_not_spoken_of(world: World) -> None:
    off = world.chain.with_settings(dollars_per_month=0, carry_over=False)
    world.prepare, world.report = replace(world.prepare, chain=off), replace(world.report, chain=off)
    for provider in world.chain.providers[:3]:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)

    world.say()
    world.run_all()

    assert "budget" not in world.texts()[0]
    assert world.turn().retry_at == NOON + 3600


def test_a_budget_that_is_not_what_is_missing_is_not_spoken_of(world: World) -> None:
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
    world.say()
    world.run_all()

    assert "budget" not in world.texts()[0]


def test_a_provider_whose_deadline_has_passed_is_not_asked(world: World) -> None:
    turn = asked_of(world, "copilot")
    world.clock.advance(221)

    with pytest.raises(ProviderExhausted, match="turn deadline"):
        world.ask("copilot")(turn)

    assert "copilot" not in world.ledger.entries()


def test_the_sums_of_days_are_kept_apart(world: World) -> None:
    world.usage.add("copilot", Used(requests=1))
    world.usage.add("copilot", Used(requests=1, failures=1))
    world.usage.add("openrouter", Used(requests=1))
    world.clock.advance(86400)
    world.usage.add("copilot", Used(requests=1, micro_dollars=5))

    assert world.usage.days("2026-11-01", "2026-11-30") == {
        "2026-11-22": {"copilot": Used(2, 1), "openrouter": Used(1)},
        "2026-11-23": {"copilot": replace(Used(1), micro_dollars=5)},
    }
    assert world.usage.days("2026-11-23", "2026-11-23").keys() == {"2026-11-23"}
    assert Used(1, 2, 3, 4, 5, 6, 7) + Used(1, 1, 1, 1, 1, 1, 1) == Used(2, 3, 4, 5, 6, 7, 8)

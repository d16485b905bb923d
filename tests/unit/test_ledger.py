"""The ledger: no request beyond a budget, none while a block lasts, one probe after it."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import (
    ProviderBusy,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.turns.chain import Budget, Provider, load_chain
from assistant.turns.ledger import (
    LONGEST_COOLDOWN_SECONDS,
    REJECTED_SECONDS,
    AccountQuota,
    Entry,
    available_at,
    block_after,
    limits,
    window_end,
    window_name,
)
from assistant.turns.model import TurnClaim, Usage
from tests.doubles import NOON, World, a_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.stores.dynamodb import Table

COPILOT, OPENROUTER, OLLAMA, CLAUDE = load_chain().providers
MIDNIGHT = NOON + 12 * 3600
MONTH_END = 1_796_083_200  # 2026-12-01 00:00:00 UTC
BUDGET = CLAUDE.budgets[0]


@pytest.fixture
def own() -> Iterator[World]:
    """A world whose client is its own, and may be changed."""
    with a_world(own_client=True) as made:
        yield made


def reserve_all(world: World, provider: Provider) -> int:
    """Reserve until the ledger refuses; how many it gave."""
    for given_out in range(10_000):
        try:
            world.reserve(provider)
        except ProviderExhausted:
            return given_out
    raise AssertionError("the ledger gave out everything")


def test_a_day_holds_as_many_requests_as_its_budget(world: World) -> None:
    assert reserve_all(world, COPILOT) == 66
    world.clock.moment = MIDNIGHT
    assert reserve_all(world, COPILOT) == 66


def test_a_minute_holds_as_many_requests_as_its_budget(world: World) -> None:
    assert reserve_all(world, OPENROUTER) == 20
    with pytest.raises(ProviderExhausted) as refused:
        world.reserve(OPENROUTER)
    assert refused.value.block_until == NOON + 60
    assert not refused.value.asked

    world.clock.advance(60)
    assert reserve_all(world, OPENROUTER) == 20
    world.clock.advance(60)
    assert reserve_all(world, OPENROUTER) == 10
    assert available_at(OPENROUTER, world.ledger.entries()["openrouter"], world.clock.now()) == MIDNIGHT


def test_a_month_holds_as_many_requests_as_its_budget(world: World) -> None:
    month = replace(COPILOT, budgets=(Budget(3, "month"),))
    assert reserve_all(world, month) == 3
    world.clock.moment = MIDNIGHT
    assert reserve_all(world, month) == 0
    world.clock.moment = window_end("month", NOON)
    assert reserve_all(world, month) == 3


def test_windows_that_are_over_are_removed(world: World) -> None:
    for _ in range(5):
        world.ledger.succeeded(world.reserve(OPENROUTER), micro_dollars=0)
        world.clock.advance(60)
    world.ledger.succeeded(world.reserve(OPENROUTER), micro_dollars=0)

    assert set(world.ledger.entries()["openrouter"].windows) == {
        limit.window for limit in limits(OPENROUTER, world.clock.now())
    }
    assert world.ledger.entries()["openrouter"].windows["day:2026-11-22"] == 6


def test_a_success_without_anything_to_forget_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reservation = world.reserve(COPILOT)
    monkeypatch.setattr(type(world.runtime), "update", None)

    world.ledger.succeeded(reservation, micro_dollars=0)


def test_a_request_that_was_not_made_is_given_back(world: World) -> None:
    reservation = world.reserve(OPENROUTER)
    world.ledger.failed(reservation, ProviderUnavailable("openrouter", "unreachable", asked=False))

    assert set(world.ledger.entries()["openrouter"].windows.values()) == {0}


def test_a_block_is_kept_until_its_end_and_then_lets_one_probe_through(world: World) -> None:
    reservation = world.reserve(COPILOT)
    world.ledger.failed(reservation, ProviderExhausted("copilot", "quota", block_until=NOON + 100))
    with pytest.raises(ProviderExhausted, match="blocked: quota"):
        world.reserve(COPILOT)

    world.clock.advance(100)
    probe = world.reserve(COPILOT)
    with pytest.raises(ProviderExhausted, match="probed"):
        world.reserve(COPILOT)
    world.ledger.succeeded(probe, micro_dollars=0)

    world.reserve(COPILOT)
    assert world.ledger.entries()["copilot"].blocked_until is None


def test_a_probe_that_never_came_back_is_replaced_when_its_lease_is_over(world: World) -> None:
    world.ledger.block(COPILOT, cause="quota", until=NOON)
    world.reserve(COPILOT)
    world.clock.advance(89)
    with pytest.raises(ProviderExhausted):
        world.reserve(COPILOT)
    world.clock.advance(1)

    world.reserve(COPILOT)


@pytest.mark.parametrize(
    "error",
    [
        ProviderDeclined("p", "moderated"),
        ProviderUnavailable("p", "server error"),
        ProviderUnavailable("p", "unreachable", asked=False),
        ProviderThrottled("p", "rate limit"),
    ],
)
@pytest.mark.parametrize("provider", [COPILOT, OLLAMA], ids=["copilot", "ollama-cloud"])
def test_a_probe_whose_failure_blocks_nobody_leaves_its_lease(
    world: World, provider: Provider, error: ProviderError
) -> None:
    world.ledger.block(provider, cause="quota", until=NOON)

    assert world.ledger.failed(world.reserve(provider), error) is None

    probe = world.reserve(provider)
    with pytest.raises(ProviderExhausted, match="probed"):
        world.reserve(provider)
    assert probe.entry.block_cause == "quota"


def test_a_probe_that_outlived_its_lease_does_not_end_the_next_ones(world: World) -> None:
    world.ledger.block(COPILOT, cause="quota", until=NOON)
    late = world.reserve(COPILOT)
    world.clock.advance(91)
    world.reserve(COPILOT)

    world.ledger.failed(late, ProviderDeclined("copilot", "moderated"))

    with pytest.raises(ProviderExhausted, match="probed"):
        world.reserve(COPILOT)


def test_a_probe_keeps_to_the_budget(world: World) -> None:
    reserve_all(world, COPILOT)
    world.ledger.block(COPILOT, cause="quota", until=NOON)

    with pytest.raises(ProviderExhausted, match="budget"):
        world.reserve(COPILOT)


@pytest.mark.parametrize(
    ("error", "failures", "until", "cause"),
    [
        (ProviderDeclined("p", "moderated"), 99, None, None),
        (ProviderBusy("p", "slot taken", asked=False), 99, None, None),
        (ProviderRejected("p", "key"), 1, NOON + REJECTED_SECONDS, "rejected"),
        (ProviderExhausted("p", "quota", block_until=NOON + 7.2), 0, NOON + 8, "quota"),
        (ProviderExhausted("p", "quota"), 0, NOON + 60, "quota"),
        (ProviderThrottled("p", "rate limit"), 1, None, None),
        (ProviderThrottled("p", "rate limit"), 2, NOON + 60, "rate_limit"),
        (ProviderThrottled("p", "rate limit", block_until=NOON + 3), 2, NOON + 3, "rate_limit"),
        (ProviderUnavailable("p", "server error"), 1, None, None),
        (ProviderUnavailable("p", "timeout"), 1, NOON + 60, "cooldown"),
        (ProviderUnavailable("p", "server error"), 2, NOON + 60, "cooldown"),
        (ProviderUnavailable("p", "server error"), 3, NOON + 240, "cooldown"),
        (ProviderUnavailable("p", "server error"), 99, NOON + LONGEST_COOLDOWN_SECONDS, "cooldown"),
        (ProviderUnavailable("p", "server error", block_until=NOON + 900), 2, NOON + 900, "cooldown"),
    ],
)
def test_each_failure_blocks_as_it_should(error: ProviderError, failures: int, until: int | None, cause: str) -> None:
    block = block_after(error, failures, NOON)

    assert (block and block.until, block and block.cause) == (until, cause)


@given(st.datetimes(datetime(2024, 1, 1), datetime(2033, 12, 31)), st.sampled_from(["minute", "day", "month"]))  # noqa: DTZ001
def test_a_window_ends_where_the_next_begins(moment: datetime, per: str) -> None:
    now = moment.replace(tzinfo=UTC).timestamp()
    end = window_end(per, now)  # type: ignore[arg-type]

    assert end > now
    budget = Budget(1, per)  # type: ignore[arg-type]
    assert window_name(budget, end - 1) == window_name(budget, now)
    assert window_name(budget, end) != window_name(budget, now)


def test_an_unknown_provider_is_not_in_the_chain() -> None:
    with pytest.raises(KeyError):
        load_chain().provider("nobody")


def test_a_provider_that_was_never_asked_is_available() -> None:
    assert available_at(CLAUDE, Entry(), NOON) == NOON


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([ProviderUnavailable("copilot", "server error")], ProviderUnavailable),
        ([ProviderUnavailable("copilot", "server error")] * 2, ProviderExhausted),
        ([ProviderUnavailable("copilot", "timeout")], ProviderExhausted),
        ([ProviderThrottled("copilot", "rate limit")], ProviderThrottled),
        ([ProviderThrottled("copilot", "rate limit")] * 2, ProviderExhausted),
        ([ProviderRejected("copilot", "key")], ProviderRejected),
    ],
)
def test_a_provider_that_is_blocked_by_its_failure_is_not_retried(
    world: World, errors: list[ProviderError], expected: type[ProviderError]
) -> None:
    world.models["copilot"].script = list(errors)
    world.say()
    claim = world.executions.started[0]
    turn = TurnClaim(claim, world.prepare(claim).turn or 0)

    for _ in errors[1:]:
        with pytest.raises(ProviderError):
            world.ask("copilot")(turn)
    with pytest.raises(expected) as raised:
        world.ask("copilot")(turn)

    assert type(raised.value) is expected
    assert raised.value.reason == errors[-1].reason


ANSWERED = Usage(input=1_000, cached=2_000, written=400, output=100)


def spent(world: World) -> int:
    return world.ledger.entries()["anthropic"].windows[window_name(BUDGET, world.clock.now())]


def test_a_message_costs_what_its_tokens_cost() -> None:
    assert CLAUDE.price.cost(ANSWERED) == 2 * 1_000 + 0.2 * 2_000 + 2.5 * 400 + 10 * 100
    assert CLAUDE.price.cost(Usage(cached=1)) == 1  # rounded up
    assert COPILOT.price.cost(ANSWERED) == 0


@given(st.integers(0, 200_000), st.data())
def test_no_request_costs_more_than_was_reserved_for_it(size: int, data: st.DataObject) -> None:
    """Whatever part of its bytes were tokens, and however they were charged."""
    cached, written = data.draw(st.integers(0, size)), data.draw(st.integers(0, size))
    cached = min(cached, size - written) if written <= size else 0
    usage = Usage(size - cached - written, cached, written, data.draw(st.integers(0, CLAUDE.max_tokens)))

    assert CLAUDE.price.cost(usage) <= CLAUDE.most_micro_dollars(size)


def test_what_a_request_may_cost_is_reserved_and_what_it_cost_is_settled(world: World) -> None:
    reservation = world.reserve(CLAUDE, micro_dollars=62_000)
    assert spent(world) == 62_000

    world.ledger.succeeded(reservation, micro_dollars=1_234)

    assert spent(world) == 1_234


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ProviderUnavailable("anthropic", "overloaded", status=529), 0),
        (ProviderUnavailable("anthropic", "unreachable", asked=False), 0),
        (ProviderDeclined("anthropic", "moderated"), 0),
        (ProviderUnavailable("anthropic", "answer cut off", may_cost=True), 62_000),
    ],
)
def test_only_what_may_have_been_charged_stays_reserved(world: World, error: ProviderError, left: int) -> None:
    world.ledger.failed(world.reserve(CLAUDE, micro_dollars=62_000), error)

    assert spent(world) == left


@pytest.mark.parametrize("error", [None, ProviderUnavailable("anthropic", "overloaded", status=529)])
def test_money_is_given_back_once_however_often_the_sdk_sends_it(own: World, error: ProviderError | None) -> None:
    """DynamoDB knows the repeat of a transaction by its token; the repeat of an update it carries out again."""
    reservation = own.reserve(CLAUDE, micro_dollars=62_000)
    sent: list[tuple[str, bool]] = []

    def note(request: Any, **_: Any) -> None:
        body = json.loads(request.body)
        sent.append((request.headers["X-Amz-Target"].decode().partition(".")[2], bool(body.get("ClientRequestToken"))))

    own.runtime.client.meta.events.register_first("before-send.dynamodb", note)
    if error is None:
        own.ledger.succeeded(reservation, micro_dollars=1_234)
    else:
        own.ledger.failed(reservation, error)

    assert sent[0] == ("TransactWriteItems", True)
    assert spent(own) == (1_234 if error is None else 0)


def test_what_is_used_of_a_new_months_budget_is_not_what_the_old_one_had(world: World) -> None:
    world.ledger.succeeded(world.reserve(CLAUDE, micro_dollars=4_800_000), micro_dollars=4_800_000)
    world.clock.moment = MONTH_END

    reservation = world.reserve(CLAUDE, micro_dollars=60_000)

    assert reservation.budget_used(5_000) == pytest.approx(0.001)


def test_a_function_whose_clock_is_behind_finds_no_second_budget_in_the_old_month(world: World) -> None:
    small = replace(CLAUDE, budgets=(Budget(200_000, "month", "micro_dollars"),))
    world.clock.moment = MONTH_END - 10
    world.ledger.succeeded(world.reserve(small, micro_dollars=190_000), micro_dollars=190_000)
    world.clock.moment = MONTH_END + 1
    world.ledger.succeeded(world.reserve(small, micro_dollars=190_000), micro_dollars=1)

    world.clock.moment = MONTH_END - 1
    with pytest.raises(ProviderExhausted, match="budget used"):
        world.reserve(small, micro_dollars=190_000)

    world.clock.moment = MONTH_END + 61
    world.ledger.succeeded(world.reserve(small, micro_dollars=190_000), micro_dollars=1)
    assert world.ledger.entries()["anthropic"].windows == {"month_micro_dollars:2026-12": 2}


def test_a_request_that_ends_in_the_next_month_is_settled_in_its_own(world: World) -> None:
    world.clock.moment = MONTH_END - 1
    reservation = world.reserve(CLAUDE, micro_dollars=62_000)
    world.clock.advance(75)
    world.reserve(CLAUDE, micro_dollars=62_000)

    world.ledger.succeeded(reservation, micro_dollars=1_234)

    windows = world.ledger.entries()["anthropic"].windows
    assert windows == {"month_micro_dollars:2026-11": 1_234, "month_micro_dollars:2026-12": 62_000}


def test_an_answer_whose_cost_nobody_counted_costs_what_was_reserved(world: World) -> None:
    world.ledger.succeeded(world.reserve(CLAUDE, micro_dollars=62_000), micro_dollars=None)

    assert spent(world) == 62_000


def test_a_budget_is_never_exceeded_and_ends_with_its_month(world: World) -> None:
    for _ in range((BUDGET.limit - CLAUDE.least_micro_dollars) // 59_000 + 1):
        world.ledger.succeeded(world.reserve(CLAUDE, micro_dollars=62_000), micro_dollars=59_000)

    with pytest.raises(ProviderExhausted, match="budget used") as refused:
        world.reserve(CLAUDE, micro_dollars=62_000)

    assert refused.value.block_until == MONTH_END
    assert BUDGET.limit - CLAUDE.least_micro_dollars - 59_000 < spent(world) <= BUDGET.limit
    world.clock.moment = MONTH_END
    world.reserve(CLAUDE, micro_dollars=62_000)


def test_a_question_that_may_cost_more_than_is_left_is_declined_and_a_cheaper_one_is_not(world: World) -> None:
    world.ledger.succeeded(world.reserve(CLAUDE, micro_dollars=4_850_000), micro_dollars=4_850_000)

    with pytest.raises(ProviderDeclined, match="may cost more than is left"):
        world.reserve(CLAUDE, micro_dollars=200_000)

    world.reserve(CLAUDE, micro_dollars=125_000)


def test_a_first_question_beyond_the_whole_budget_is_declined(world: World) -> None:
    with pytest.raises(ProviderDeclined):
        world.reserve(CLAUDE, micro_dollars=BUDGET.limit + 1)


def test_without_a_budget_the_paid_provider_is_never_asked(world: World) -> None:
    unpaid = load_chain().with_settings(dollars_per_month=0, carry_over=False).provider("anthropic")

    with pytest.raises(ProviderExhausted, match="budget used"):
        world.reserve(unpaid, micro_dollars=1)
    assert available_at(unpaid, Entry(), NOON) == MONTH_END


def test_a_provider_with_one_slot_takes_one_request_at_a_time(world: World) -> None:
    first = world.reserve(OLLAMA)
    with pytest.raises(ProviderBusy) as busy:
        world.reserve(OLLAMA)
    assert not busy.value.asked
    assert available_at(OLLAMA, world.ledger.entries()["ollama-cloud"], NOON) == NOON

    world.ledger.succeeded(first, micro_dollars=0)
    second = world.reserve(OLLAMA)
    world.ledger.failed(second, ProviderUnavailable("ollama-cloud", "server error"))

    world.reserve(OLLAMA)


def test_a_slot_whose_holder_died_is_free_when_its_lease_is_over(world: World) -> None:
    world.reserve(OLLAMA)
    world.clock.advance(89)
    with pytest.raises(ProviderBusy):
        world.reserve(OLLAMA)
    world.clock.advance(1)

    world.reserve(OLLAMA)


def test_a_retry_of_the_request_that_holds_the_slot_has_it(world: World) -> None:
    world.ledger.reserve(OLLAMA, holder="chat42-1-1")

    world.ledger.reserve(OLLAMA, holder="chat42-1-1")


def test_a_request_that_outlived_its_lease_does_not_free_the_next_ones_slot(world: World) -> None:
    late = world.reserve(OLLAMA)
    world.clock.advance(91)
    world.reserve(OLLAMA)

    world.ledger.succeeded(late, micro_dollars=0)

    with pytest.raises(ProviderBusy):
        world.reserve(OLLAMA)


@pytest.mark.parametrize("provider", [COPILOT, CLAUDE], ids=["requests", "dollars"])
def test_fifty_racing_turns_take_the_ten_that_are_left(provider: Provider) -> None:
    """Each on a thread of its own. moto is not thread-safe: one update at a time, as DynamoDB promises for an item."""
    left = {"copilot": 10, "anthropic": 1_250_000}[provider.id]
    budgets = (Budget(left, "day"),) if provider is COPILOT else (Budget(left, "month", "micro_dollars"),)
    few = replace(provider, budgets=budgets)
    with a_world(own_client=True) as world:
        lock, granted = threading.Lock(), []
        start = threading.Barrier(50)
        client: Any = world.runtime.client
        update = client.update_item

        def one_at_a_time(**request: Any) -> Any:
            with lock:
                return update(**request)

        client.update_item = one_at_a_time

        def race(number: int) -> None:
            start.wait(timeout=10)
            with contextlib.suppress(ProviderExhausted, ProviderDeclined):
                granted.append(world.ledger.reserve(few, holder=str(number), micro_dollars=125_000))

        threads = [threading.Thread(target=race, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)

        assert len(granted) == 10
        assert sum(world.ledger.entries()[few.id].windows.values()) == left


def carrying_over() -> Provider:
    """Copilot with a twenty-second of its budgets: reserving them takes as long."""
    copilot = load_chain().with_settings(dollars_per_month=5, carry_over=True).provider("copilot")
    return replace(copilot, budgets=(Budget(3, "day"), Budget(91, "month")))


def test_unused_days_are_carried_over_within_the_month_if_that_is_set(world: World) -> None:
    carrying = carrying_over()
    assert reserve_all(world, carrying) == 22 * 3  # the 22nd of the month, and nothing used before
    assert available_at(carrying, world.ledger.entries()["copilot"], NOON) == MIDNIGHT

    world.clock.moment = MIDNIGHT
    assert reserve_all(world, carrying) == 3
    world.clock.moment = MONTH_END - 1
    assert reserve_all(world, carrying) == (30 - 23) * 3
    assert world.ledger.entries()["copilot"].windows["month:2026-11"] == 90
    world.clock.moment = MONTH_END
    assert reserve_all(world, carrying) == 3


def test_a_month_that_is_carried_over_ends_at_its_own_budget(world: World) -> None:
    world.clock.moment = MONTH_END + 30.5 * 86400  # 31 December
    carrying = carrying_over()

    assert reserve_all(world, carrying) == 91
    assert available_at(carrying, world.ledger.entries()["copilot"], world.clock.now()) == MONTH_END + 31 * 86400


def test_a_minute_is_carried_over_to_no_other() -> None:
    quick = replace(carrying_over(), budgets=(Budget(3, "day"), Budget(91, "month"), Budget(2, "minute")))

    assert [limit.most for limit in limits(quick, NOON)] == [None, 66, 2]


def test_without_the_setting_nothing_is_carried_over() -> None:
    assert not any(provider.carry_over for provider in load_chain().providers)
    carrying = load_chain().with_settings(dollars_per_month=5, carry_over=True)
    assert [provider.id for provider in carrying.providers if provider.carry_over] == ["copilot"]


def use_day(world: World, requests: int) -> None:
    """So many requests to OpenRouter, some each minute."""
    for _ in range(requests):
        world.clock.advance(4)
        world.ledger.succeeded(world.reserve(OPENROUTER), micro_dollars=0)


def test_the_accounts_own_limit_counts_instead_of_the_chains(world: World) -> None:
    use_day(world, 50)
    with pytest.raises(ProviderExhausted):
        world.reserve(OPENROUTER)

    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=1_000, day_used=50))
    use_day(world, 30)
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=50, day_used=80))

    with pytest.raises(ProviderExhausted, match="budget used"):
        world.reserve(OPENROUTER)
    assert available_at(OPENROUTER, world.ledger.entries()["openrouter"], world.clock.now()) == MIDNIGHT


def test_what_others_used_of_the_account_counts_and_what_is_under_way_is_not_forgotten(world: World) -> None:
    use_day(world, 10)

    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=50, day_used=45))
    assert world.ledger.entries()["openrouter"].windows["day:2026-11-22"] == 45
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=50, day_used=9))
    assert world.ledger.entries()["openrouter"].windows["day:2026-11-22"] == 45


@pytest.mark.parametrize(("checked", "told"), [(-2, 1), (30, 31)], ids=["our midnight", "theirs"])
def test_what_was_used_yesterday_does_not_count_today(world: World, checked: int, told: int) -> None:
    world.clock.moment = MIDNIGHT + checked
    world.reserve(OPENROUTER)
    assert world.ledger.claim_check(OPENROUTER)
    world.clock.moment = MIDNIGHT + told

    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=50, day_used=50))

    world.reserve(OPENROUTER)
    assert world.ledger.entries()["openrouter"].day_limit == 50


def test_a_block_that_came_while_the_account_was_read_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ledger.block(OPENROUTER, cause="quota", until=MIDNIGHT)
    get = world.runtime.get

    def refused_meanwhile(_table: Table, pk: str, sk: str) -> object:
        found = get(pk, sk)
        world.ledger.block(OPENROUTER, cause="rejected", until=MIDNIGHT)
        return found

    monkeypatch.setattr(type(world.runtime), "get", refused_meanwhile)
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=1_000, day_used=50))

    assert world.ledger.entries()["openrouter"].block_cause == "rejected"


def test_a_limit_that_has_grown_ends_the_block_it_caused_and_no_other(world: World) -> None:
    world.ledger.block(OPENROUTER, cause="quota", until=MIDNIGHT)
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=50, day_used=10))
    assert world.ledger.entries()["openrouter"].blocked_until == MIDNIGHT
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=1_000, day_used=50))
    assert world.ledger.entries()["openrouter"].blocked_until is None

    world.ledger.block(OPENROUTER, cause="rejected", until=MIDNIGHT)
    world.ledger.correct(OPENROUTER, AccountQuota(day_limit=2_000, day_used=50))
    assert world.ledger.entries()["openrouter"].blocked_until == MIDNIGHT


def test_an_account_is_looked_at_once_in_ten_minutes_and_only_when_it_was_used(world: World) -> None:
    assert not world.ledger.claim_check(OPENROUTER)
    use_day(world, 1)

    assert world.ledger.claim_check(OPENROUTER)
    assert not world.ledger.claim_check(OPENROUTER)
    world.clock.advance(599)
    assert not world.ledger.claim_check(OPENROUTER)
    world.clock.advance(1)
    assert world.ledger.claim_check(OPENROUTER)
    world.clock.moment = MIDNIGHT
    assert not world.ledger.claim_check(OPENROUTER)


def test_an_account_without_a_days_budget_is_neither_looked_at_nor_corrected(world: World) -> None:
    world.reserve(OLLAMA)

    assert not world.ledger.claim_check(OLLAMA)
    world.ledger.correct(OLLAMA, AccountQuota(10, 5))
    assert world.ledger.entries()["ollama-cloud"].day_limit is None


def test_the_chain_is_decided_by_one_read_of_the_ledger_and_one_request_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider in (COPILOT, OPENROUTER, OLLAMA):
        world.ledger.block(provider, cause="quota", until=MIDNIGHT)
    calls: list[str] = []
    for method in ("query", "get_item", "update_item", "put_item", "transact_write_items"):
        monkeypatch.setattr(world.runtime.client, method, _counted(world.runtime, method, calls))
    world.say("who is left?")
    calls.clear()

    route = world.prepare(world.executions.started[0])

    assert route.route == "anthropic"
    assert calls == ["query"]
    world.ask("anthropic")(TurnClaim(route.claim, 1))
    assert [len(model.asked) for model in world.models.values()] == [0, 0, 0, 1]


def _counted(table: Table, method: str, calls: list[str]) -> Callable[..., Any]:
    real = getattr(table.client, method)

    def call(**request: Any) -> Any:
        if request.get("TableName") == table.name:
            calls.append(method)
        return real(**request)

    return call

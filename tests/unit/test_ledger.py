"""The ledger: no request beyond a budget, none while a block lasts, one probe after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import (
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
    Entry,
    available_at,
    block_after,
    current_windows,
    window_end,
    window_name,
)
from assistant.turns.model import TurnClaim
from tests.doubles import NOON, World

COPILOT, OPENROUTER, OLLAMA, CLAUDE = load_chain().providers
MIDNIGHT = NOON + 12 * 3600


def reserve_all(world: World, provider: Provider) -> int:
    """Reserve until the ledger refuses; how many it gave."""
    for given_out in range(10_000):
        try:
            world.ledger.reserve(provider)
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
        world.ledger.reserve(OPENROUTER)
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
        world.ledger.succeeded(world.ledger.reserve(OPENROUTER))
        world.clock.advance(60)
    world.ledger.succeeded(world.ledger.reserve(OPENROUTER))

    assert set(world.ledger.entries()["openrouter"].windows) == set(current_windows(OPENROUTER, world.clock.now()))
    assert world.ledger.entries()["openrouter"].windows["day:2026-11-22"] == 6


def test_a_success_without_anything_to_forget_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reservation = world.ledger.reserve(COPILOT)
    monkeypatch.setattr(type(world.runtime), "update", None)

    world.ledger.succeeded(reservation)


def test_a_request_that_was_not_made_is_given_back(world: World) -> None:
    reservation = world.ledger.reserve(OPENROUTER)
    world.ledger.failed(reservation, ProviderUnavailable("openrouter", "unreachable", asked=False))

    assert set(world.ledger.entries()["openrouter"].windows.values()) == {0}


def test_a_block_is_kept_until_its_end_and_then_lets_one_probe_through(world: World) -> None:
    reservation = world.ledger.reserve(OLLAMA)
    world.ledger.failed(reservation, ProviderExhausted("ollama-cloud", "quota", block_until=NOON + 100))
    with pytest.raises(ProviderExhausted, match="blocked: quota"):
        world.ledger.reserve(OLLAMA)

    world.clock.advance(100)
    probe = world.ledger.reserve(OLLAMA)
    with pytest.raises(ProviderExhausted, match="probed"):
        world.ledger.reserve(OLLAMA)
    world.ledger.succeeded(probe)

    world.ledger.reserve(OLLAMA)
    assert world.ledger.entries()["ollama-cloud"].blocked_until is None


def test_a_probe_that_never_came_back_is_replaced_when_its_lease_is_over(world: World) -> None:
    world.ledger.block(OLLAMA, cause="quota", until=NOON)
    world.ledger.reserve(OLLAMA)
    world.clock.advance(89)
    with pytest.raises(ProviderExhausted):
        world.ledger.reserve(OLLAMA)
    world.clock.advance(1)

    world.ledger.reserve(OLLAMA)


def test_a_probe_keeps_to_the_budget(world: World) -> None:
    reserve_all(world, COPILOT)
    world.ledger.block(COPILOT, cause="quota", until=NOON)

    with pytest.raises(ProviderExhausted, match="budget"):
        world.ledger.reserve(COPILOT)


@pytest.mark.parametrize(
    ("error", "failures", "until", "cause"),
    [
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
    assert window_name(per, end - 1) == window_name(per, now)  # type: ignore[arg-type]
    assert window_name(per, end) != window_name(per, now)  # type: ignore[arg-type]


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

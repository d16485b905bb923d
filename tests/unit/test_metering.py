"""What a request takes out of the ledger, and what is put back, whoever asks."""

from __future__ import annotations

import pytest

from assistant.errors import (
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.turns.metering import Metering
from assistant.turns.model import Notice, Usage, Used
from tests.doubles import NOON, World

MONTH = "month_micro_dollars:2026-11"
DAY = "day:2026-11-22"


def metering(world: World, provider_id: str = "anthropic") -> Metering:
    provider = world.chain.provider(provider_id)
    return Metering(provider, world.ledger, world.usage, world.secrets, world.owner, world.clock)


def spent(world: World) -> int:
    return world.ledger.entries()["anthropic"].windows[MONTH]


def booked(world: World, provider_id: str = "anthropic") -> Used:
    return world.usage.days("2026-11-22", "2026-11-22")["2026-11-22"][provider_id]


def test_the_most_that_a_request_may_cost_is_reserved_and_what_it_did_cost_is_kept(world: World) -> None:
    meter = metering(world)
    reservation = meter.reserve("me", input_bytes=10_000)
    assert spent(world) == 10_000 * 2.5 + 4096 * 10

    meter.answered(reservation, Usage(input=100, cached=1000, written=10, output=50))

    cost = 100 * 2 + 1000 * 0.2 + 10 * 2.5 + 50 * 10
    assert spent(world) == cost
    assert booked(world) == Used(1, 0, 100, 1000, 10, 50, int(cost))


def test_an_answer_that_nobody_counted_costs_what_was_reserved(world: World) -> None:
    meter = metering(world)
    reservation = meter.reserve("me", input_bytes=10_000)
    meter.answered(reservation, None)

    assert spent(world) == booked(world).micro_dollars == reservation.micro_dollars


def test_nothing_is_reserved_of_what_is_free(world: World) -> None:
    meter = metering(world, "copilot")
    reservation = meter.reserve("me", input_bytes=10_000)
    meter.answered(reservation, Usage(input=7, output=1))

    assert (reservation.micro_dollars, booked(world, "copilot").micro_dollars) == (0, 0)
    assert world.ledger.entries()["copilot"].windows[DAY] == 1


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ProviderUnavailable("anthropic", "unreachable", asked=False), 0),
        (ProviderUnavailable("anthropic", "server error", status=500), 0),
        (ProviderUnavailable("anthropic", "answer cut off", may_cost=True), 65_960),
        (ProviderDeclined("anthropic", "moderated"), 0),
    ],
)
def test_a_failure_gives_back_what_it_can_not_have_cost(world: World, error: ProviderError, left: int) -> None:
    meter = metering(world)
    assert meter.failed(meter.reserve("me", input_bytes=10_000), error) is error

    assert spent(world) == left
    if error.asked:
        assert booked(world) == Used(requests=1, failures=1, micro_dollars=left)
    else:
        assert world.usage.days("2026-11-22", "2026-11-22") == {}


def test_a_failure_that_blocks_leaves_as_exhausted(world: World) -> None:
    meter = metering(world, "copilot")
    throttled = ProviderThrottled("copilot", "rate limit", status=429, block_until=NOON + 30)
    first = meter.failed(meter.reserve("one", input_bytes=1), throttled)
    second = meter.failed(meter.reserve("two", input_bytes=1), throttled)

    assert first is throttled
    assert isinstance(second, ProviderExhausted)
    assert (second.reason, second.status, second.block_until) == ("rate limit", 429, NOON + 30)


def test_the_owner_is_told_once_of_what_only_the_owner_can_mend(world: World) -> None:
    meter = metering(world, "copilot")
    refused = ProviderRejected("copilot", "key", status=401)
    assert meter.failed(meter.reserve("one", input_bytes=1), refused) is refused
    world.clock.advance(7 * 3600)
    meter.failed(meter.reserve("the probe", input_bytes=1), refused)

    assert world.owner.told == [Notice("provider_rejected", "copilot", "key")]


def test_a_provider_without_a_key_is_blocked(world: World) -> None:
    meter = metering(world, "copilot")
    assert meter.key() == "key"
    del world.secrets.values["copilot-api-key"]

    with pytest.raises(ProviderExhausted, match="not configured") as raised:
        meter.key()
    assert raised.value.block_until == NOON + 3600
    assert not world.ledger.entries()["copilot"].configured

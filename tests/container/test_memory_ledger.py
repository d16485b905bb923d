"""The ledger in memory keeps the promises of the one in DynamoDB: the same tests run over it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.memory_ledger import MemoryLedger, MemoryUsage
from assistant.turns.chain import Budget
from assistant.turns.ledger import AccountQuota
from assistant.turns.model import Used
from tests.container.bridging import shared_tables
from tests.doubles import NOON, DrivenClock, World
from tests.unit import test_ledger as suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.turns.ports import Ledger, UsageBook

_ABOUT_DYNAMODB = {
    "test_a_success_without_anything_to_forget_writes_nothing",
    "test_a_block_that_came_while_the_account_was_read_stays",
    "test_money_is_given_back_once_however_often_the_sdk_sends_it",
    "test_fifty_racing_turns_take_the_ten_that_are_left",
    "test_the_chain_is_decided_by_one_read_of_the_ledger_and_one_request_is_made",
}


@pytest.fixture(scope="module")
def a_new_world() -> Iterator[Callable[..., World]]:
    with shared_tables() as make:
        yield make


@pytest.fixture
def world(a_new_world: Callable[..., World]) -> World:
    made = a_new_world()
    made.ledger = MemoryLedger(made.clock)  # type: ignore[assignment]
    return made


globals().update(
    {
        name: test
        for name, test in vars(suite).items()
        if name.startswith("test_") and "world" in test.__annotations__ and name not in _ABOUT_DYNAMODB
    }
)


def test_the_suite_is_run_over_it() -> None:
    assert sum(name.startswith("test_") for name in globals()) > 30


def test_both_are_the_ports() -> None:
    ledger: Ledger = MemoryLedger(DrivenClock())
    usage: UsageBook = MemoryUsage(DrivenClock())

    assert (ledger.entries(), usage.days("2026-11-01", "2026-11-30")) == ({}, {})


def test_an_account_is_looked_at_once_in_ten_minutes_and_only_if_it_was_used() -> None:
    clock = DrivenClock()
    ledger = MemoryLedger(clock)
    provider = replace(suite.OPENROUTER, budgets=(Budget(2, "day"),))
    assert not ledger.claim_check(provider)
    ledger.reserve(provider, holder="one")

    assert [ledger.claim_check(provider) for _ in range(2)] == [True, False]
    ledger.correct(provider, AccountQuota(day_limit=5, day_used=3))
    assert ledger.entries()[provider.id].windows == {"day:2026-11-22": 3}
    assert ledger.entries()[provider.id].day_limit == 5


def test_days_are_summed_by_provider() -> None:
    clock = DrivenClock(NOON)
    usage = MemoryUsage(clock)
    usage.add("copilot", Used(requests=1))
    usage.add("copilot", Used(requests=1, output_tokens=3))
    clock.advance(86400)
    usage.add("copilot", Used(requests=1))

    assert usage.days("2026-11-22", "2026-11-22") == {"2026-11-22": {"copilot": Used(requests=2, output_tokens=3)}}
    assert list(usage.days("2026-11-22", "2026-11-23")) == ["2026-11-22", "2026-11-23"]

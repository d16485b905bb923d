"""The ledger's rules: windows, blocks, and when a provider may be asked again.

The store holds one entry per provider and reserves with one conditional update; what the entry means is decided here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from assistant.errors import (
    ProviderBusy,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.turns.chain import Budget, Chain, Per, Provider
    from assistant.turns.model import Turn

QUOTA = "quota"
"""Cause of the block of a provider that says that its quota is used up."""

COOLDOWN_SECONDS = 60
COOLDOWN_FACTOR = 4
LONGEST_COOLDOWN_SECONDS = 3600
REJECTED_SECONDS = 6 * 3600
REJECTED = "rejected"
"""Cause of the block of a provider whose key, account or model is refused."""

NOT_CONFIGURED_SECONDS = 3600
NOT_CONFIGURED = "not_configured"
"""Cause of the block of a provider without a key: it ends early when the key turns up."""

PROBE_SECONDS = 90
"""Lease of a probe, and of a provider's one slot: longer than the function that asks may run."""

CLOCKS_APART_SECONDS = 60
"""How far the clocks of two functions, or ours and a provider's, are taken to be apart at most."""

CHECK_SECONDS = 600
"""How often a provider is asked, at most, what it says of the account."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A provider's entry.

    Attributes:
        windows: what was reserved, by the window's name (see `window_name`).
        blocked_until: not to be asked before; with `block_cause`.
        failures: in a row.
        probe_until: lease of the request that tests a block whose time is over.
        slot_holder: who holds the one slot of a provider that takes one request at a time, until `slot_until`.
        day_limit: requests a day that the provider itself says the account has, instead of the chain's.
        checked_at: when the provider was asked for that.
    """

    windows: Mapping[str, int] = field(default_factory=dict)
    blocked_until: int | None = None
    block_cause: str | None = None
    failures: int = 0
    probe_until: int | None = None
    slot_holder: str | None = None
    slot_until: int | None = None
    day_limit: int | None = None
    checked_at: int | None = None

    @property
    def configured(self) -> bool:
        """Whether the provider had a key when it was last looked for."""
        return self.block_cause != NOT_CONFIGURED


@dataclass(frozen=True, slots=True)
class Limit:
    """What one window counts, and how far.

    Attributes:
        window: its name.
        budget: what it counts against.
        most: how much of it may be used by now; None if it is only counted.
        ends: the period after which there is room again.
    """

    window: str
    budget: Budget
    most: int | None
    ends: Per


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that was taken out of the provider's windows, with the entry as it was right after.

    `windows` are the windows it was taken from and how much of each, to give back; `holder` is who holds the slot.
    """

    provider: Provider
    holder: str
    windows: Mapping[str, int]
    entry: Entry

    @property
    def micro_dollars(self) -> int:
        """What was reserved for it at most."""
        return max((amount for window, amount in self.windows.items() if is_of_dollars(window)), default=0)

    def budget_used(self, micro_dollars: int) -> float | None:
        """The share of the budget in dollars that is gone, once the request has cost so much; None without one."""
        for budget in self.provider.budgets:
            if budget.unit == "micro_dollars" and budget.limit:
                # Of its own windows: the entry may still have those of the month before.
                used = max((self.entry.windows.get(name, 0) for name in self.windows if is_of_dollars(name)), default=0)
                return (used - self.micro_dollars + micro_dollars) / budget.limit
        return None


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """What a provider itself says of the account: requests that a UTC day allows, and those it has counted today."""

    day_limit: int
    day_used: int


@dataclass(frozen=True, slots=True)
class Block:
    """Do not ask before `until` (epoch seconds, whole)."""

    until: int
    cause: str


def window_name(budget: Budget, now: float) -> str:
    """Name of a budget's window at `now`.

    `minute:2026-11-22T10:05`, `day:2026-11-22`, `month:2026-11` count requests, `month_micro_dollars:2026-11` money.
    """
    at = datetime.fromtimestamp(now, UTC)
    moment = {"minute": f"{at:%Y-%m-%dT%H:%M}", "day": f"{at:%Y-%m-%d}", "month": f"{at:%Y-%m}"}[budget.per]
    return f"{budget.per}:{moment}" if budget.unit == "requests" else f"{budget.per}_{budget.unit}:{moment}"


def window_kind(window: str) -> str:
    """The part of a window's name that names no moment."""
    return window.partition(":")[0]


def is_window(attribute: str) -> bool:
    """Whether an attribute of an entry is a window."""
    return ":" in attribute


def is_of_dollars(window: str) -> bool:
    """Whether a window counts money."""
    return window_kind(window).endswith("_micro_dollars")


def window_end(per: Per, now: float) -> int:
    """Epoch seconds at which the window of `now` is over."""
    at = datetime.fromtimestamp(now, UTC).replace(second=0, microsecond=0)
    if per == "minute":
        end = at + timedelta(minutes=1)
    elif per == "day":
        end = at.replace(hour=0, minute=0) + timedelta(days=1)
    else:
        end = (at.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
    return int(end.timestamp())


def limits(provider: Provider, now: float, day_limit: int | None = None) -> list[Limit]:
    """The provider's windows that are open now, and how far they may be used.

    With `carry_over`, a day has no limit of its own; instead the month's grows by the day's budget every day, so that
    what was left is still there. `day_limit` takes the place of the chain's requests a day.
    """
    return [_limit(provider, budget, now, day_limit) for budget in provider.budgets]


def _limit(provider: Provider, budget: Budget, now: float, day_limit: int | None) -> Limit:
    window, most, ends = window_name(budget, now), budget.limit, budget.per
    day = provider.budget("day")
    if budget.unit == "requests" and provider.carry_over and day is not None:
        if budget.per == "day":
            return Limit(window, budget, None, ends)
        if budget.per == "month":
            by_now = day.limit * datetime.fromtimestamp(now, UTC).day
            most, ends = (by_now, "day") if by_now < most else (most, ends)
    elif budget == day and day_limit is not None:
        most = day_limit
    return Limit(window, budget, most, ends)


def room_for(provider: Provider, limit: Limit, micro_dollars: int = 0) -> int | None:
    """How much of a window may be used already if another request is to fit; None if any."""
    if limit.most is None:
        return None
    needed = 1 if limit.budget.unit == "requests" else max(micro_dollars, provider.least_micro_dollars)
    return limit.most - needed


def _used_up(provider: Provider, limit: Limit, entry: Entry) -> bool:
    room = room_for(provider, limit)
    return room is not None and entry.windows.get(limit.window, 0) > room


def available_at(provider: Provider, entry: Entry, now: float) -> int:
    """When the provider may be asked: `now` or earlier means at once. Epoch seconds.

    A slot that is taken does not count: it is free again in seconds.
    """
    moments = [int(now)]
    if entry.blocked_until is not None:
        moments.append(entry.blocked_until)
        if entry.blocked_until <= now and entry.probe_until is not None:
            moments.append(entry.probe_until)
    moments += [
        window_end(limit.ends, now)
        for limit in limits(provider, now, entry.day_limit)
        if _used_up(provider, limit, entry)
    ]
    return max(moments)


def money_is_spent(provider: Provider, entry: Entry, now: float) -> bool:
    """Whether the provider's budget in dollars is what keeps it from being asked."""
    return any(
        limit.budget.unit == "micro_dollars" and _used_up(provider, limit, entry) for limit in limits(provider, now)
    )


def refusal(provider: Provider, entry: Entry, now: float) -> ProviderError:
    """Why the provider may not be asked now, as an error."""
    until = available_at(provider, entry, now)
    if until > now:
        blocked = entry.blocked_until is not None and entry.blocked_until >= until
        probed = until == entry.probe_until
        reason = f"blocked: {entry.block_cause}" if blocked else "probed" if probed else "budget used"
        return ProviderExhausted(provider.id, reason, block_until=until, asked=False)
    if provider.concurrency and (entry.slot_until or 0) > now:
        return ProviderBusy(provider.id, "slot taken", block_until=entry.slot_until, asked=False)
    # There is room in every window, but not for what this request might cost.
    return ProviderDeclined(provider.id, "may cost more than is left", asked=False)


def block_after(error: ProviderError, failures: int, now: float) -> Block | None:
    """The block that a failure calls for.

    Args:
        error: the failure.
        failures: failures in a row, this one included.
        now: epoch seconds.

    Returns:
        None if the provider may be asked again at once: by the state machine, which does so once, or for another
        question.
    """
    match error:
        case ProviderDeclined() | ProviderBusy():
            return None
        case ProviderRejected():
            return Block(int(now) + REJECTED_SECONDS, REJECTED)
        case ProviderExhausted():
            return Block(_whole(error.block_until) or int(now) + COOLDOWN_SECONDS, QUOTA)
        case ProviderThrottled() if failures == 1:
            return None
        case ProviderThrottled():
            return Block(_whole(error.block_until) or int(now) + COOLDOWN_SECONDS, "rate_limit")
    if failures == 1 and error.reason != "timeout":
        return None
    # A timeout has already cost the user its whole length: it is not asked a second time.
    growth = COOLDOWN_FACTOR ** max(0, failures - 2)
    cooldown = int(now) + min(COOLDOWN_SECONDS * growth, LONGEST_COOLDOWN_SECONDS)
    return Block(max(cooldown, _whole(error.block_until) or 0), "cooldown")


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chain as the ledger has it at one moment: who may be asked, and when."""

    chain: Chain
    entries: Mapping[str, Entry]
    now: float

    def of(self, provider: Provider) -> Entry:
        """The provider's entry; one that was never asked has an empty one."""
        return self.entries.get(provider.id, Entry())

    def configured(self) -> list[Provider]:
        """The providers that have a key, as far as is known."""
        return [provider for provider in self.chain.providers if self.of(provider).configured]

    def preferred(self) -> str | None:
        """The first of them: an answer by another is a fallback."""
        return next((provider.id for provider in self.configured()), None)

    def entry(self, turn: Turn, *, keys_may_be_new: bool = False) -> str | None:
        """Where a turn enters the chain: the first provider that may be asked now and has not declined it."""
        for provider in self._open_to(turn, self.chain.providers):
            if keys_may_be_new and not self.of(provider).configured:
                return provider.id
            if available_at(provider, self.of(provider), self.now) <= self.now:
                return provider.id
        return None

    def available_at(self, turn: Turn) -> int | None:
        """When one that has a key and has not declined the turn may be asked again; None if there is none."""
        moments = [
            available_at(provider, self.of(provider), self.now) for provider in self._open_to(turn, self.configured())
        ]
        return min(moments, default=None)

    def spent(self) -> Provider | None:
        """A provider that is not asked because its budget in dollars is used up.

        One whose budget never allows a request is off: of that, nobody is told as of news.
        """
        return next(
            (
                provider
                for provider in self.configured()
                if money_is_spent(provider, self.of(provider), self.now)
                and not money_is_spent(provider, Entry(), self.now)
            ),
            None,
        )

    @staticmethod
    def _open_to(turn: Turn, providers: Sequence[Provider]) -> list[Provider]:
        declined_by = (turn.declined_by or "").split()
        return [provider for provider in providers if provider.id not in declined_by]


def _whole(moment: float | None) -> int | None:
    return None if moment is None else math.ceil(moment)

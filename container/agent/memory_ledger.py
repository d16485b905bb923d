"""The books of an agent that runs by itself: in memory, gone with the process.

The rules are those of `assistant.turns.ledger`, and the tests those of the ledger in DynamoDB.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assistant.errors import ProviderDeclined, ProviderExhausted
from assistant.turns.ledger import (
    CHECK_SECONDS,
    CLOCKS_APART_SECONDS,
    PROBE_SECONDS,
    QUOTA,
    AccountQuota,
    Block,
    Entry,
    Reservation,
    block_after,
    is_of_dollars,
    limits,
    refusal,
    room_for,
    window_kind,
    window_name,
)
from assistant.turns.model import Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.errors import ProviderError
    from assistant.turns.chain import Provider
    from assistant.turns.ports import Clock

_EMPTY = Entry()


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    """A ledger that one process keeps for itself. Any thread may use it."""

    clock: Clock
    _entries: dict[str, Entry] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def entries(self) -> Mapping[str, Entry]:
        """All entries."""
        with self._lock:
            return dict(self._entries)

    def reserve(self, provider: Provider, *, holder: str, micro_dollars: int = 0) -> Reservation:
        """Take one request out of every window, or as the one probe of a block whose time is over."""
        now = self.clock.now()
        with self._lock:
            entry = self._of(provider)
            if not _may_take(provider, entry, now, holder, micro_dollars):
                raise refusal(provider, entry, now)
            amounts = {
                limit.window: 1 if limit.budget.unit == "requests" else micro_dollars for limit in limits(provider, now)
            }
            taken = replace(entry, windows=_added(entry.windows, amounts))
            if entry.blocked_until is None or not entry.configured:
                taken = _unblocked(taken)
            else:
                taken = replace(taken, probe_until=int(now) + PROBE_SECONDS)
            if provider.concurrency:
                taken = replace(taken, slot_holder=holder, slot_until=int(now) + PROBE_SECONDS)
            self._entries[provider.id] = taken
        return Reservation(provider, holder, amounts, taken)

    def succeeded(self, reservation: Reservation, *, micro_dollars: int | None) -> None:
        """Settle what it cost; forget failures, windows that are over, and the block that it was a probe of."""
        back = 0 if micro_dollars is None else reservation.micro_dollars - micro_dollars
        with self._lock:
            entry = self._settled(reservation, dict.fromkeys(_of_money(reservation), back))
            if entry.blocked_until == reservation.entry.blocked_until:
                entry = replace(_unblocked(entry), failures=0)
            self._entries[reservation.provider.id] = entry

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """Count the failure, block as it calls for, and give back what was not used; a longer block stays."""
        blameless = isinstance(error, ProviderExhausted | ProviderDeclined)
        failures = reservation.entry.failures + (0 if blameless else 1)
        block = block_after(error, failures, self.clock.now())
        with self._lock:
            entry = self._settled(reservation, _unused(reservation, error))
            if failures != reservation.entry.failures:
                entry = replace(entry, failures=failures)
            if block is None and entry.probe_until == reservation.entry.probe_until:
                entry = replace(entry, probe_until=None)  # its own: the provider may be asked again at once
            if block is not None and (entry.blocked_until or 0) <= block.until:
                entry = _blocked(entry, block.until, block.cause)
            self._entries[reservation.provider.id] = entry
        return block

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """Block a provider that was not asked."""
        with self._lock:
            self._entries[provider.id] = _blocked(self._of(provider), until, cause)

    def claim_check(self, provider: Provider) -> bool:
        """Whether the account may be looked at now; claims it."""
        now, day = int(self.clock.now()), provider.budget("day")
        with self._lock:
            entry = self._of(provider)
            lately = entry.checked_at is not None and entry.checked_at > now - CHECK_SECONDS
            if day is None or lately or window_name(day, now) not in entry.windows:
                return False
            self._entries[provider.id] = replace(entry, checked_at=now)
        return True

    def correct(self, provider: Provider, quota: AccountQuota) -> None:
        """Take over what the provider says of the account: its limit, and its count where that is higher."""
        now, day = int(self.clock.now()), provider.budget("day")
        if day is None:
            return
        window, limit = window_name(day, now), max(1, quota.day_limit)
        with self._lock:
            entry = self._of(provider)
            if limit > (entry.day_limit or day.limit) and entry.block_cause == QUOTA and quota.day_used < limit:
                entry = _unblocked(entry)
            todays = window_name(day, (entry.checked_at or now) - CLOCKS_APART_SECONDS) == window
            used = max(entry.windows.get(window, 0), quota.day_used if todays else 0)
            self._entries[provider.id] = replace(entry, day_limit=limit, windows={**entry.windows, window: used})

    def _of(self, provider: Provider) -> Entry:
        return self._entries.get(provider.id, _EMPTY)

    def _settled(self, reservation: Reservation, back: Mapping[str, int]) -> Entry:
        """The entry without the windows that are over and the slot, and with what the windows get back."""
        entry = self._of(reservation.provider)
        own = _oldest_open(reservation, self.clock.now())
        kept = {name: used for name, used in entry.windows.items() if name >= own.get(window_kind(name), "")}
        less = {window: -amount for window, amount in back.items() if window in kept}
        entry = replace(entry, windows=_added(kept, less))
        if reservation.provider.concurrency and entry.slot_holder == reservation.holder:
            entry = replace(entry, slot_holder=None, slot_until=None)
        return entry


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Sums of days that one process keeps for itself."""

    clock: Clock
    _days: dict[str, dict[str, Used]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, provider_id: str, used: Used) -> None:
        """Add a request to the day's sums."""
        day = f"{datetime.fromtimestamp(self.clock.now(), UTC):%Y-%m-%d}"
        with self._lock:
            sums = self._days.setdefault(day, {})
            sums[provider_id] = sums.get(provider_id, Used()) + used

    def days(self, first: str, last: str) -> Mapping[str, Mapping[str, Used]]:
        """The sums by day and provider."""
        with self._lock:
            return {day: dict(sums) for day, sums in sorted(self._days.items()) if first <= day <= last}


def _may_take(provider: Provider, entry: Entry, now: float, holder: str, micro_dollars: int) -> bool:
    blocked = entry.blocked_until is not None and entry.configured
    if blocked and max(entry.blocked_until or 0, entry.probe_until or 0) > now:
        return False
    slot_taken = provider.concurrency and (entry.slot_until or 0) > now and entry.slot_holder != holder
    return not slot_taken and _has_room(provider, entry, now, micro_dollars)


def _has_room(provider: Provider, entry: Entry, now: float, micro_dollars: int) -> bool:
    for limit in limits(provider, now, entry.day_limit):
        room = room_for(provider, limit, micro_dollars)
        if room is not None and entry.windows.get(limit.window, 0) > room:
            return False
    return True


def _added(windows: Mapping[str, int], amounts: Mapping[str, int]) -> dict[str, int]:
    return {**windows, **{window: windows.get(window, 0) + amount for window, amount in amounts.items()}}


def _unblocked(entry: Entry) -> Entry:
    return replace(entry, blocked_until=None, block_cause=None, probe_until=None)


def _blocked(entry: Entry, until: int, cause: str) -> Entry:
    return replace(entry, blocked_until=until, block_cause=cause, probe_until=None)


def _oldest_open(reservation: Reservation, now: float) -> Mapping[str, str]:
    """By kind, the first window that stays. One of money stays a little longer, as in DynamoDB."""
    own = {window_kind(window): window for window in reservation.windows}
    for budget in reservation.provider.budgets:
        if budget.unit == "micro_dollars":
            lately = window_name(budget, now - CLOCKS_APART_SECONDS)
            own[window_kind(lately)] = min(own[window_kind(lately)], lately)
    return own


def _of_money(reservation: Reservation) -> list[str]:
    return [window for window in reservation.windows if is_of_dollars(window)]


def _unused(reservation: Reservation, error: ProviderError) -> Mapping[str, int]:
    """What a request that failed gives back: all, if it was not made; the money, if it can't have been charged."""
    if not error.asked:
        return reservation.windows
    return {} if error.may_cost else {window: reservation.windows[window] for window in _of_money(reservation)}

"""The ledger's rules: windows, blocks, and when a provider may be asked again.

The store holds one entry per provider and reserves with one conditional update; what the entry means is decided here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from assistant.errors import ProviderError, ProviderExhausted, ProviderRejected, ProviderThrottled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Budget, Per, Provider

COOLDOWN_SECONDS = 60
COOLDOWN_FACTOR = 4
LONGEST_COOLDOWN_SECONDS = 3600
REJECTED_SECONDS = 6 * 3600
NOT_CONFIGURED_SECONDS = 3600
NOT_CONFIGURED = "not_configured"
"""Cause of the block of a provider without a key: it ends early when the key turns up."""

PROBE_SECONDS = 90
"""Lease of a probe: longer than any request."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A provider's entry. `windows` maps window names (see `window_name`) to requests reserved in them."""

    windows: Mapping[str, int] = field(default_factory=dict)
    blocked_until: int | None = None
    block_cause: str | None = None
    failures: int = 0
    probe_until: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that was taken out of the provider's windows, with the entry as it was right after.

    `windows` are the windows it was taken from, to give back to.
    """

    provider: Provider
    windows: tuple[str, ...]
    entry: Entry


@dataclass(frozen=True, slots=True)
class Block:
    """Do not ask before `until` (epoch seconds, whole)."""

    until: int
    cause: str


def window_name(per: Per, now: float) -> str:
    """Name of the window of `now`: `minute:2026-11-22T10:05`, `day:2026-11-22`, `month:2026-11`."""
    at = datetime.fromtimestamp(now, UTC)
    return {
        "minute": f"minute:{at:%Y-%m-%dT%H:%M}",
        "day": f"day:{at:%Y-%m-%d}",
        "month": f"month:{at:%Y-%m}",
    }[per]


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


def current_windows(provider: Provider, now: float) -> dict[str, Budget]:
    """The provider's windows that are open now, with their budgets."""
    return {window_name(budget.per, now): budget for budget in provider.budgets}


def is_window(attribute: str) -> bool:
    """Whether an attribute of an entry is a window."""
    return attribute.startswith(("minute:", "day:", "month:"))


def available_at(provider: Provider, entry: Entry, now: float) -> int:
    """When the provider may be asked: `now` or earlier means at once. Epoch seconds."""
    moments = [int(now)]
    if entry.blocked_until is not None:
        moments.append(entry.blocked_until)
        if entry.blocked_until <= now and entry.probe_until is not None:
            moments.append(entry.probe_until)
    moments += [
        window_end(budget.per, now)
        for name, budget in current_windows(provider, now).items()
        if entry.windows.get(name, 0) >= budget.requests
    ]
    return max(moments)


def refusal(provider: Provider, entry: Entry, now: float) -> ProviderExhausted:
    """Why the provider may not be asked now, as an error."""
    until = available_at(provider, entry, now)
    blocked = entry.blocked_until is not None and entry.blocked_until >= until
    reason = f"blocked: {entry.block_cause}" if blocked else "probed" if until == entry.probe_until else "budget used"
    return ProviderExhausted(provider.id, reason, block_until=until, asked=False)


def block_after(error: ProviderError, failures: int, now: float) -> Block | None:
    """The block that a failure calls for.

    Args:
        error: the failure.
        failures: failures in a row, this one included.
        now: epoch seconds.

    Returns:
        None if the same provider may be asked once more at once: the state machine does so, once.
    """
    match error:
        case ProviderRejected():
            return Block(int(now) + REJECTED_SECONDS, "rejected")
        case ProviderExhausted():
            return Block(_whole(error.block_until) or int(now) + COOLDOWN_SECONDS, "quota")
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


def _whole(moment: float | None) -> int | None:
    return None if moment is None else math.ceil(moment)

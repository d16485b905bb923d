"""What is left of the providers' quotas: the chain's budgets less the ledger's items (docs/data-model.md)."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_WINDOWS = {"minute": "%Y-%m-%dT%H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
_MICRO = 1_000_000
_SPOKEN = {"minute": "this minute", "day": "today", "month": "this month"}


@dataclass(frozen=True)
class Budget:
    """At most `requests`, or `dollars`, in a calendar period (UTC): `minute`, `day` or `month`."""

    per: str
    requests: int | None = None
    dollars: float | None = None


@dataclass(frozen=True)
class ChainEntry:
    """What the chain's definition says of a provider, as far as it is shown here."""

    provider_id: str
    budgets: tuple[Budget, ...]


@dataclass(frozen=True)
class LedgerEntry:
    """A provider's item in the ledger.

    Attributes:
        windows: Requests, or millionths of a dollar, by window.
        blocked_until: End of the block that is on it, epoch seconds.
        cause: Why it is blocked.
        day_limit: Requests a day that the provider says the account has.
    """

    windows: Mapping[str, int]
    blocked_until: float = 0.0
    cause: str = ""
    day_limit: int | None = None


def read_chain(path: Path) -> list[ChainEntry]:
    """The providers of a `chain.toml`, in order."""
    parsed = tomllib.loads(path.read_text("utf-8"))
    return [
        ChainEntry(entry["id"], tuple(Budget(**budget) for budget in entry["budgets"])) for entry in parsed["providers"]
    ]


def describe(chain: Sequence[ChainEntry], ledger: Mapping[str, LedgerEntry], now: float) -> list[str]:
    """What is left, a line per provider: `copilot 65 of 66 today, 1999 of 2000 this month`.

    Args:
        chain: The providers.
        ledger: Their items; a provider that was never asked has none.
        now: Epoch seconds of the virtual time.
    """
    nothing = LedgerEntry({})
    return [f"{entry.provider_id} {_state(entry, ledger.get(entry.provider_id, nothing), now)}" for entry in chain]


def _state(entry: ChainEntry, item: LedgerEntry, now: float) -> str:
    left = [_left(budget, item, now) for budget in entry.budgets] or ["no limit of its own"]
    if item.blocked_until > now:
        until = datetime.fromtimestamp(item.blocked_until, UTC)
        left.append(f"blocked until {until:%d %b %H:%M} UTC ({item.cause})")
    return ", ".join(left)


def _left(budget: Budget, item: LedgerEntry, now: float) -> str:
    moment = f"{datetime.fromtimestamp(now, UTC):{_WINDOWS[budget.per]}}"
    if budget.dollars is not None:
        left = budget.dollars - item.windows.get(f"{budget.per}_micro_dollars:{moment}", 0) / _MICRO
        return f"${max(0.0, left):.2f} of ${budget.dollars:.2f} {_SPOKEN[budget.per]}"
    most = (item.day_limit if budget.per == "day" else None) or budget.requests or 0
    return f"{max(0, most - item.windows.get(f'{budget.per}:{moment}', 0))} of {most} {_SPOKEN[budget.per]}"

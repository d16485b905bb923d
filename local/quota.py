"""What is left of the providers' quotas: the chain's budgets less the ledger's items (docs/data-model.md)."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_WINDOWS = {"minute": "%Y-%m-%dT%H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
_SPOKEN = {"minute": "this minute", "day": "today", "month": "this month"}


@dataclass(frozen=True)
class Budget:
    """At most `requests` in a calendar period (UTC): `minute`, `day` or `month`."""

    requests: int
    per: str


@dataclass(frozen=True)
class ChainEntry:
    """What the chain's definition says of a provider, as far as it is shown here."""

    provider_id: str
    budgets: tuple[Budget, ...]


@dataclass(frozen=True)
class LedgerEntry:
    """A provider's item in the ledger: requests by window, and the block that is on it."""

    windows: Mapping[str, int]
    blocked_until: float = 0.0
    cause: str = ""


def read_chain(path: Path) -> list[ChainEntry]:
    """The providers of a `chain.toml`, in order."""
    parsed = tomllib.loads(path.read_text("utf-8"))
    return [
        ChainEntry(entry["id"], tuple(Budget(**budget) for budget in entry["budgets"])) for entry in parsed["providers"]
    ]


def describe(chain: Sequence[ChainEntry], ledger: Mapping[str, LedgerEntry], now: float) -> list[str]:
    """One line per provider: `copilot 65 of 66 today, 1999 of 2000 this month`.

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
    window = f"{budget.per}:{datetime.fromtimestamp(now, UTC):{_WINDOWS[budget.per]}}"
    return f"{max(0, budget.requests - item.windows.get(window, 0))} of {budget.requests} {_SPOKEN[budget.per]}"

"""The provider ledger in the Runtime table: one item a provider, one conditional update a request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant.errors import ProviderExhausted
from assistant.stores import schema
from assistant.stores.dynamodb import Plain, Refused, Table, Update, Value
from assistant.turns.ledger import (
    NOT_CONFIGURED,
    PROBE_SECONDS,
    Block,
    Entry,
    Reservation,
    block_after,
    current_windows,
    is_window,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.errors import ProviderError
    from assistant.turns.chain import Provider
    from assistant.turns.ports import Clock

_UNBLOCKED: Mapping[str, Value | None] = {"blocked_until": None, "block_cause": None, "probe_until": None}
_FREE = "(attribute_not_exists(blocked_until) OR block_cause = :not_configured)"
_PROBE = "blocked_until <= :now AND (attribute_not_exists(probe_until) OR probe_until <= :now)"


@dataclass(frozen=True, slots=True)
class DynamoLedger:
    """The ledger."""

    table: Table
    clock: Clock

    def entries(self) -> Mapping[str, Entry]:
        """All entries in one read."""
        items = self.table.query(schema.LEDGER, " ", "~")
        return {str(item["sk"]): _entry(item) for item in items}

    def reserve(self, provider: Provider) -> Reservation:
        """Take one request out of every window, in one conditional update.

        A block whose time is over lets one probe through at a time: a second update, after the first said so.
        """
        now = self.clock.now()
        taken = self._take(provider, now, _FREE, {"not_configured": NOT_CONFIGURED})
        if isinstance(taken, Refused):
            entry = _entry(taken.items[0] or {})
            if entry.blocked_until is None or entry.blocked_until > now:
                raise refusal(provider, entry, now)
            taken = self._take(provider, now, _PROBE, {"now": int(now)})
        if isinstance(taken, Refused):
            raise refusal(provider, _entry(taken.items[0] or {}), now)
        return Reservation(provider, tuple(current_windows(provider, now)), _entry(taken))

    def succeeded(self, reservation: Reservation) -> None:
        """Forget block and failures, and the windows that are over; nothing to forget costs nothing.

        A block that came while the request was under way is newer than its success, and stays.
        """
        entry = reservation.entry
        put: dict[str, Value | None] = dict.fromkeys(_windows_over(reservation), None)
        if entry.failures or entry.blocked_until is not None:
            put |= {"failures": None, **_UNBLOCKED}
        if put:
            seen = {} if entry.blocked_until is None else {"seen": entry.blocked_until}
            same = "blocked_until = :seen" if seen else "attribute_not_exists(blocked_until)"
            self.table.update(schema.LEDGER, reservation.provider.id, Update(put=put, condition=same, values=seen))

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """Count the failure, block as it calls for, and give back a request that was not made.

        A longer block that came while the request was under way stays.
        """
        failures = reservation.entry.failures + (0 if isinstance(error, ProviderExhausted) else 1)
        block = block_after(error, failures, self.clock.now())
        settled = _settled(reservation, failures, back=() if error.asked else reservation.windows)
        if block is not None:
            blocked: dict[str, Value | None] = {
                "blocked_until": block.until,
                "block_cause": block.cause,
                "probe_until": None,
            }
            update = replace(
                settled,
                put={**settled.put, **blocked},
                condition="attribute_not_exists(blocked_until) OR blocked_until <= :until",
                values={**settled.values, "until": block.until},
            )
            if not isinstance(self.table.update(schema.LEDGER, reservation.provider.id, update), Refused):
                return block
        self.table.update(schema.LEDGER, reservation.provider.id, settled)
        return block

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """Block a provider that was not asked."""
        blocked: dict[str, Value | None] = {"blocked_until": until, "block_cause": cause, "probe_until": None}
        self.table.update(schema.LEDGER, provider.id, Update(put=blocked))

    def _take(self, provider: Provider, now: float, condition: str, values: Mapping[str, Value]) -> Plain | Refused:
        probing = condition == _PROBE
        conditions, counts, names = [condition], [], {}
        used: dict[str, Value] = dict(values)
        for number, (window, budget) in enumerate(current_windows(provider, now).items()):
            names[f"#window{number}"] = window
            used |= {"zero": 0, "one": 1, f"budget{number}": budget.requests}
            counts.append(f"#window{number} = if_not_exists(#window{number}, :zero) + :one")
            conditions.append(f"(attribute_not_exists(#window{number}) OR #window{number} < :budget{number})")
        put: Mapping[str, Value | None] = {"probe_until": int(now) + PROBE_SECONDS} if probing else _UNBLOCKED
        update = Update(put=put, also=counts, condition=" AND ".join(conditions), names=names, values=used)
        return self.table.update(schema.LEDGER, provider.id, update)


def _entry(item: Plain) -> Entry:
    windows = {name: int(value) for name, value in item.items() if is_window(name)}
    known = {name: item[name] for name in ("blocked_until", "block_cause", "failures", "probe_until") if name in item}
    return Entry(windows=windows, **known)  # type: ignore[arg-type]


def _settled(reservation: Reservation, failures: int, *, back: Sequence[str]) -> Update:
    """A failed request's counters; `back`: the windows that it is given back to."""
    return Update(
        put={**dict.fromkeys(_windows_over(reservation), None), "failures": failures},
        # A window that is over may be gone by now: then there is nothing to give back to.
        also=[f"#back{n} = if_not_exists(#back{n}, :one) - :one" for n, _ in enumerate(back)],
        names={f"#back{n}": window for n, window in enumerate(back)},
        values={"one": 1} if back else {},
    )


def _windows_over(reservation: Reservation) -> Sequence[str]:
    """Windows before the reservation's own. Later ones count already, where another function's clock is ahead."""
    own = {window.partition(":")[0]: window for window in reservation.windows}
    return [window for window in reservation.entry.windows if window < own.get(window.partition(":")[0], "")]

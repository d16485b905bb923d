"""The provider ledger in the Runtime table: one item a provider, one conditional update a request."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from assistant.errors import ProviderDeclined, ProviderExhausted
from assistant.stores import schema
from assistant.stores.dynamodb import Plain, Refused, Table, Update, Value
from assistant.turns.ledger import (
    CHECK_SECONDS,
    CLOCKS_APART_SECONDS,
    NOT_CONFIGURED,
    PROBE_SECONDS,
    QUOTA,
    AccountQuota,
    Block,
    Entry,
    Limit,
    Reservation,
    block_after,
    is_of_dollars,
    is_window,
    limits,
    refusal,
    room_for,
    window_kind,
    window_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.errors import ProviderError
    from assistant.turns.chain import Provider
    from assistant.turns.ports import Clock

_UNBLOCKED: Mapping[str, Value | None] = {"blocked_until": None, "block_cause": None, "probe_until": None}
_FREE = "(attribute_not_exists(blocked_until) OR block_cause = :not_configured)"
_PROBE = "blocked_until <= :now AND (attribute_not_exists(probe_until) OR probe_until <= :now)"
_SLOT = "(attribute_not_exists(slot_until) OR slot_until <= :now OR slot_holder = :holder)"
"""Ours already: an earlier try of the same state, which has died."""


@dataclass(frozen=True, slots=True)
class DynamoLedger:
    """The ledger."""

    table: Table
    clock: Clock

    def entries(self) -> Mapping[str, Entry]:
        """All entries in one read."""
        items = self.table.query(schema.LEDGER, " ", "~")
        return {str(item["sk"]): _entry(item) for item in items}

    def reserve(self, provider: Provider, *, holder: str, micro_dollars: int = 0) -> Reservation:
        """Take one request out of every window, in one conditional update.

        A block whose time is over lets one probe through at a time: a second update, after the first said so.
        """
        now = self.clock.now()
        take = _Taking(provider, now, holder, micro_dollars)
        taken = self._update(provider, take.unless_blocked())
        if isinstance(taken, Refused):
            entry = _entry(taken.items[0] or {})
            if entry.blocked_until is None or entry.blocked_until > now:
                raise refusal(provider, entry, now)
            taken = self._update(provider, take.as_probe())
        if isinstance(taken, Refused):
            raise refusal(provider, _entry(taken.items[0] or {}), now)
        return Reservation(provider, holder, take.amounts, _entry(taken))

    def succeeded(self, reservation: Reservation, *, micro_dollars: int | None) -> None:
        """Settle what it cost, forget block and failures, and the windows that are over.

        Nothing to change costs nothing. A block that came while the request was under way is newer than its success,
        and stays. `micro_dollars` None: nobody knows, and what was reserved stays.
        """
        entry = reservation.entry
        back = 0 if micro_dollars is None else reservation.micro_dollars - micro_dollars
        settled = self._settled(reservation, {window: back for window in _of_money(reservation) if back})
        if settled.put or settled.also:
            self._settle(reservation.provider, settled)
        if entry.failures or entry.blocked_until is not None:
            seen = {} if entry.blocked_until is None else {"seen": entry.blocked_until}
            same = "blocked_until = :seen" if seen else "attribute_not_exists(blocked_until)"
            put: dict[str, Value | None] = {"failures": None, **_UNBLOCKED}
            self._update(reservation.provider, Update(put=put, condition=same, values=seen))
        self._leave(reservation)

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """Count the failure, block as it calls for, and give back what was not used.

        A longer block that came while the request was under way stays. A probe whose failure calls for none leaves its
        lease: the provider may be asked again at once, by the state machine or for another question.
        """
        blameless = isinstance(error, ProviderExhausted | ProviderDeclined)
        failures = reservation.entry.failures + (0 if blameless else 1)
        block = block_after(error, failures, self.clock.now())
        settled = self._settled(reservation, _unused(reservation, error))
        if failures != reservation.entry.failures:
            settled = replace(settled, put={**settled.put, "failures": failures})
        self._leave(reservation)
        if block is not None:
            update = replace(
                settled,
                put={**settled.put, **_blocked(block.until, block.cause)},
                condition="attribute_not_exists(blocked_until) OR blocked_until <= :until",
                values={**settled.values, "until": block.until},
            )
            if self._settle(reservation.provider, update) is None:
                return block
        if settled.put or settled.also:
            self._settle(reservation.provider, settled)
        if block is None and reservation.entry.probe_until is not None:
            mine = {"mine": reservation.entry.probe_until}
            self._update(reservation.provider, Update({"probe_until": None}, (), "probe_until = :mine", mine))
        return block

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """Block a provider that was not asked."""
        self._update(provider, Update(put=_blocked(until, cause)))

    def claim_check(self, provider: Provider) -> bool:
        """Whether the account may be looked at now: it was used today, and nobody looked lately. Claims it."""
        now, day = int(self.clock.now()), provider.budget("day")
        if day is None:
            return False
        update = Update(
            put={"checked_at": now},
            condition="attribute_exists(#day) AND (attribute_not_exists(checked_at) OR checked_at <= :then)",
            names={"#day": window_name(day, now)},
            values={"then": now - CHECK_SECONDS},
        )
        return not isinstance(self._update(provider, update), Refused)

    def correct(self, provider: Provider, quota: AccountQuota) -> None:
        """Take over what the provider says of the account.

        Its count only ever raises ours: requests that are under way it may not have counted yet. One that was read
        about midnight may be yesterday's, and would use up the new day. A limit that has grown ends a block that the
        old one caused.
        """
        now, day = int(self.clock.now()), provider.budget("day")
        if day is None:
            return
        window = window_name(day, now)
        entry = _entry(self.table.get(schema.LEDGER, provider.id) or {})
        limit = max(1, quota.day_limit)
        grown = limit > (entry.day_limit or day.limit) and entry.block_cause == QUOTA and quota.day_used < limit
        self._update(provider, Update(put={"day_limit": limit}))
        if grown:
            seen: Mapping[str, Value] = {"seen": entry.blocked_until or 0, "quota": QUOTA}
            same = "blocked_until = :seen AND block_cause = :quota"
            self._update(provider, Update(put=_UNBLOCKED, condition=same, values=seen))
        if window_name(day, (entry.checked_at or now) - CLOCKS_APART_SECONDS) != window:
            return
        count = Update(
            also=["#day = :used"],
            condition="attribute_not_exists(#day) OR #day < :used",
            names={"#day": window},
            values={"used": quota.day_used},
        )
        self._update(provider, count)

    def _leave(self, reservation: Reservation) -> None:
        """Give the slot back, if it is still ours."""
        if reservation.provider.concurrency:
            gone: dict[str, Value | None] = {"slot_holder": None, "slot_until": None}
            mine = Update(put=gone, condition="slot_holder = :holder", values={"holder": reservation.holder})
            self._update(reservation.provider, mine)

    def _settled(self, reservation: Reservation, back: Mapping[str, int]) -> Update:
        """A request's windows afterwards; `back`: what they get back, or less than nothing if it cost more."""
        windows = list(back)
        return Update(
            put=dict.fromkeys(_windows_over(reservation, self.clock.now()), None),
            # A window that is over may be gone by now: then there is nothing to give back to.
            also=[f"#back{n} = if_not_exists(#back{n}, :back{n}) - :back{n}" for n, _ in enumerate(windows)],
            names={f"#back{n}": window for n, window in enumerate(windows)},
            values={f"back{n}": back[window] for n, window in enumerate(windows)},
        )

    def _settle(self, provider: Provider, update: Update) -> Refused | None:
        """Settle once, however often the SDK sends it.

        An update whose response was lost would be carried out again, and give the money back twice; a transaction is
        known by its token (DynamoDB API reference, TransactWriteItems, `ClientRequestToken`: the SDK sets it).
        """
        if update.also:
            return self.table.transact(self.table.change(schema.LEDGER, provider.id, update))
        done = self._update(provider, update)
        return done if isinstance(done, Refused) else None

    def _update(self, provider: Provider, update: Update) -> Plain | Refused:
        return self.table.update(schema.LEDGER, provider.id, update)


@dataclass(frozen=True, slots=True)
class _Taking:
    """The update that takes a request out of a provider's windows."""

    provider: Provider
    now: float
    holder: str
    micro_dollars: int

    @property
    def amounts(self) -> dict[str, int]:
        """How much is taken of each window."""
        return {limit.window: self._amount(limit) for limit in limits(self.provider, self.now)}

    def unless_blocked(self) -> Update:
        """Taken by an ordinary request."""
        return self._update(_FREE, {"not_configured": NOT_CONFIGURED}, _UNBLOCKED)

    def as_probe(self) -> Update:
        """Taken by the one request that tests a block whose time is over."""
        return self._update(_PROBE, {"now": int(self.now)}, {"probe_until": int(self.now) + PROBE_SECONDS})

    def _amount(self, limit: Limit) -> int:
        return 1 if limit.budget.unit == "requests" else self.micro_dollars

    def _update(self, condition: str, values: Mapping[str, Value], put: Mapping[str, Value | None]) -> Update:
        conditions, counts, names = [condition], [], {}
        used: dict[str, Value] = dict(values)
        changes = dict(put)
        for number, limit in enumerate(limits(self.provider, self.now)):
            amount = self._amount(limit)
            names[f"#window{number}"] = limit.window
            used |= {"zero": 0, f"amount{number}": amount}
            counts.append(f"#window{number} = if_not_exists(#window{number}, :zero) + :amount{number}")
            room = room_for(self.provider, limit, amount)
            if room is not None:
                used[f"room{number}"] = room
                conditions.append(_has_room(limit, number, room=room))
        if self.provider.concurrency:
            used |= {"now": int(self.now), "holder": self.holder}
            conditions.append(_SLOT)
            changes |= {"slot_holder": self.holder, "slot_until": int(self.now) + PROBE_SECONDS}
        return Update(put=changes, also=counts, condition=" AND ".join(conditions), names=names, values=used)


def _has_room(limit: Limit, number: int, *, room: int) -> str:
    """The condition that a window has room; the account's own limit of a day, where it is known, counts instead."""
    window = f"#window{number}"
    within = f"{window} <= :room{number}"
    if limit.budget.unit == "requests" and limit.budget.per == "day":
        within = (
            f"(attribute_not_exists(day_limit) AND {within}) OR (attribute_exists(day_limit) AND {window} < day_limit)"
        )
    if room < 0:
        return f"attribute_exists({window}) AND ({within})"
    return f"(attribute_not_exists({window}) OR {within})"


def _entry(item: Plain) -> Entry:
    windows = {name: int(value) for name, value in item.items() if is_window(name)}
    known = {field.name: item[field.name] for field in fields(Entry) if field.name in item}
    return Entry(windows=windows, **known)  # type: ignore[arg-type]


def _blocked(until: int, cause: str) -> dict[str, Value | None]:
    return {"blocked_until": until, "block_cause": cause, "probe_until": None}


def _of_money(reservation: Reservation) -> list[str]:
    return [window for window in reservation.windows if is_of_dollars(window)]


def _unused(reservation: Reservation, error: ProviderError) -> Mapping[str, int]:
    """What a request that failed gives back: all, if it was not made; the money, if it can't have been charged."""
    if not error.asked:
        return reservation.windows
    return {} if error.may_cost else {window: reservation.windows[window] for window in _of_money(reservation)}


def _windows_over(reservation: Reservation, now: float) -> Sequence[str]:
    """Windows before the reservation's own. Later ones count already, where another function's clock is ahead.

    One of money stays a little longer: removed, it would be a whole budget to a function whose clock is behind.
    """
    own = {window_kind(window): window for window in reservation.windows}
    for budget in reservation.provider.budgets:
        if budget.unit == "micro_dollars":
            open_lately = window_name(budget, now - CLOCKS_APART_SECONDS)
            kind = window_kind(open_lately)
            own[kind] = min(own[kind], open_lately)
    return [window for window in reservation.entry.windows if window < own.get(window_kind(window), "")]

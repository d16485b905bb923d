"""`/usage` and `/providers`: what was used, and who may be asked, in words that fit a phone's width.

Two reads for the one, one for the other; nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from assistant.turns import texts
from assistant.turns.hours import hours
from assistant.turns.ledger import REJECTED, ChainState, Limit, available_at, limits, window_end
from assistant.turns.model import Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Chain, Per, Price, Provider
    from assistant.turns.ledger import Entry
    from assistant.turns.ports import Clock, Ledger, UsageBook

WIDTH = 34
"""Characters of a line that a small phone shows without breaking it."""

_BECAUSE = {
    "quota": "it says its quota is used up",
    "rate_limit": "it was asked too fast",
    "cooldown": "it was not working",
}
_REFUSED = ("It refuses the key, the account", "or the model: my owner must act.")
_UNUSED = ["Today: none", "Month: none"]
_CENT = 10_000
_SPARE_SECONDS = 5
_YEAR_IS_SAID_AFTER = timedelta(days=180)


@dataclass(frozen=True, slots=True)
class Reporting:
    """Reports of the chain. `agent_hours`: how many the agents may run in a month; None: there are none."""

    chain: Chain
    ledger: Ledger
    usage: UsageBook
    clock: Clock
    agent_hours: float | None = None

    def __call__(self, command: Literal["usage", "providers"]) -> str:
        """The report that a command asks for."""
        state = ChainState(self.chain, self.ledger.entries(), self.clock.now())
        return self._usage(state) if command == "usage" else _providers(state)

    def _usage(self, state: ChainState) -> str:
        at = datetime.fromtimestamp(state.now, UTC)
        today = f"{at:%Y-%m-%d}"
        days = self.usage.days(f"{at:%Y-%m}-01", today)
        accounts = [
            _Account(provider, state, days.get(today, {}).get(provider.id, Used()), _sum(days, provider))
            for provider in self.chain.providers
        ]
        next_month = datetime.fromtimestamp(window_end("month", state.now), UTC)
        return "\n\n".join(
            [
                f"Usage, {at:%-d %B}, {at:%H:%M} UTC",
                *("\n".join([account.provider.name, *account.lines()]) for account in accounts),
                *self._agent(state),
                f"A new day begins at 00:00 UTC,\na new month on {next_month:%-d %B}.",
            ]
        )

    def _agent(self, state: ChainState) -> list[str]:
        if self.agent_hours is None:
            return []
        found = hours(state.entries, self.agent_hours, state.now)
        left = "none left" if found.spent else f"{_hours(found.limit * 3600 - found.used)} left"
        return [f"Agent\nMonth: {_hours(found.used)} of {found.limit:g} hours, {left}"]


def _providers(state: ChainState) -> str:
    listed = [
        "\n".join([f"{place}. {provider.name}", *_model(provider), *_state(state, provider)])
        for place, provider in enumerate(state.chain.providers, start=1)
    ]
    following = next((p.name for p in state.configured() if available_at(p, state.of(p), state.now) <= state.now), None)
    last = "None of them can be asked now." if following is None else f"Next to be asked: {following}"
    return "\n\n".join(["I ask them in this order:", *listed, last])


def _sum(days: Mapping[str, Mapping[str, Used]], provider: Provider) -> Used:
    return sum((day[provider.id] for day in days.values() if provider.id in day), Used())


@dataclass(frozen=True, slots=True)
class _Account:
    """One provider's figures: what the ledger counts where it counts, else what was noted day by day."""

    provider: Provider
    state: ChainState
    today: Used
    month: Used

    @property
    def entry(self) -> Entry:
        return self.state.of(self.provider)

    def lines(self) -> list[str]:
        unused = self.month == Used() and not any(self.entry.windows.values())
        if unused and not self.entry.configured:
            return _state(self.state, self.provider)
        may_be_asked = available_at(self.provider, self.entry, self.state.now) <= self.state.now
        counts = [f"Today: {self._today()}", f"Month: {self._month()}"]
        return [
            *(["Not used this month."] if counts == _UNUSED else counts),
            *self._budget(),
            *self._tokens(),
            *([] if may_be_asked and self.entry.configured else _state(self.state, self.provider)),
        ]

    def _today(self) -> str:
        day, month = self._limit("day"), self._limit("month")
        if day is None:
            return _requests(self.today.requests) + _price(self.today.micro_dollars)
        used = self._used(day)
        if day.most is not None:
            return _of(used, day.most)
        if month is not None and month.most is not None and month.ends == "day":  # unused days were carried over
            return f"{used:,} used, {_left(month.most - self._used(month))}"
        return _requests(used)

    def _month(self) -> str:
        month = self._limit("month")
        if month is not None:
            return _of(self._used(month), month.budget.limit)
        paid = 0 if self.provider.budget("month", "micro_dollars") else self.month.micro_dollars
        return _requests(self.month.requests) + _price(paid)

    def _budget(self) -> list[str]:
        money = self._limit("month", "micro_dollars")
        if money is None:
            return []
        used, limit = self._used(money), money.budget.limit
        return [f"Budget: {texts.dollars(used)} of {texts.dollars(limit)}, {texts.dollars(max(0, limit - used))} left"]

    def _tokens(self) -> list[str]:
        read = self.month.input_tokens + self.month.cached_tokens + self.month.written_tokens
        tokens = read + self.month.output_tokens
        if not tokens:
            return []
        percent = 100 * self.month.cached_tokens // read if read else 0
        cached = "" if not self.month.cached_tokens else f" ({percent}% cached)" if percent else " (<1% cached)"
        return [f"Tokens: {tokens:,}{cached}"]

    def _limit(self, per: Per, unit: Literal["requests", "micro_dollars"] = "requests") -> Limit | None:
        found = limits(self.provider, self.state.now, self.entry.day_limit)
        return next((limit for limit in found if (limit.budget.per, limit.budget.unit) == (per, unit)), None)

    def _used(self, limit: Limit) -> int:
        return self.entry.windows.get(limit.window, 0)


def _state(state: ChainState, provider: Provider) -> list[str]:
    """What the provider does now, in words."""
    entry, now = state.of(provider), state.now
    if not entry.configured:
        return ["No key is set."]
    budget = provider.budget("month", "micro_dollars")
    if budget is not None and budget.limit < provider.least_micro_dollars:
        return [f"Off: its budget is {texts.dollars(budget.limit)}."]
    blocked_until = entry.blocked_until or 0
    room_at = available_at(provider, replace(entry, blocked_until=None), now)
    if blocked_until > now and (blocked_until > room_at or entry.block_cause == REJECTED):
        return _blocked(entry, blocked_until, now)
    if room_at > now:
        return [f"Used up until {until(room_at, now)}."]
    return [_open(state, provider, entry)]


def _blocked(entry: Entry, moment: int, now: float) -> list[str]:
    paused = f"Paused until {until(moment, now)}"
    if entry.block_cause == REJECTED:
        return [*_REFUSED, f"{paused}."]
    because = _BECAUSE.get(entry.block_cause or "")
    return [f"{paused}:", f"{because}."] if because else [f"{paused}."]


def _open(state: ChainState, provider: Provider, entry: Entry) -> str:
    """The state of a provider that neither a block nor a budget keeps from being asked."""
    if entry.blocked_until is not None:
        probed = (entry.probe_until or 0) > state.now
        return "Is just being tried again." if probed else "Will be tried again."
    if provider.concurrency and (entry.slot_until or 0) > state.now:
        return "Busy with a question."
    return "Ready." if provider.id in state.entries else "Not asked yet."


def _model(provider: Provider) -> list[str]:
    price = _per_million(provider.price)
    line = f"{provider.model}, {price}"
    return [line] if len(line) <= WIDTH else [provider.model, price]


def _per_million(price: Price) -> str:
    if price.free:
        return "free"
    return f"1M tokens: ${price.input:g} in, ${price.output:g} out"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}"


def _requests(number: int) -> str:
    return "none" if number == 0 else "1 request" if number == 1 else f"{number:,} requests"


def _of(used: int, most: int) -> str:
    return f"{used:,} of {most:,}, {_left(most - used)}"


def _left(number: int) -> str:
    return f"{number:,} left" if number > 0 else "none left"


def _price(micro_dollars: int) -> str:
    if not micro_dollars:
        return ""
    return f", {texts.dollars(micro_dollars)}" if micro_dollars >= _CENT else ", under $0.01"


def until(moment: int, now: float) -> str:
    """A moment to come, as one says it: `12:06 UTC`, `tomorrow, 08:00 UTC`, `24 Nov, 08:00 UTC`, `1 December`.

    Rounded up to the minute, so that it is over by then; but midnight and a second, which a Retry-After of whole
    seconds comes to, is midnight.
    """
    at = datetime.fromtimestamp((moment + 59 - _SPARE_SECONDS) // 60 * 60, UTC)
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    year = f" {at:%Y}" if at - today > _YEAR_IS_SAID_AFTER else ""
    midnight = (at.hour, at.minute) == (0, 0)
    if at < today + timedelta(days=1) or (midnight and at == today + timedelta(days=1)):
        return f"{at:%H:%M} UTC"
    if midnight:
        return f"{at:%-d %B}{year}"
    if at < today + timedelta(days=2):
        return f"tomorrow, {at:%H:%M} UTC"
    return f"{at:%-d %b}{year}, {at:%H:%M} UTC"

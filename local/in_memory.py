"""Simulated surroundings of the rules, for figures that need thousands of turns: conversations without AWS or Telegram.

What is measured with them (ledger, routing, conversation, protocols) is the product's own; these only hold what it
stores and swallow what it shows.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from assistant import wiring
from assistant.providers.client import ProviderClient
from assistant.providers.vendors import COPILOT_HEADERS, OPENROUTER_HEADERS, PlainVendor
from assistant.turns.asking import Asking, Attempt
from assistant.turns.metering import Metering
from assistant.turns.model import (
    TURN_SECONDS,
    Answered,
    ChatClaim,
    Exchange,
    Notice,
    Preview,
    Show,
    Turn,
    TurnClaim,
    TurnStatus,
    Used,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from assistant.turns.chain import Chain, Provider
    from assistant.turns.ports import Clock, Ledger, Turns

_DAY_S = 86_400
_HEADERS: Mapping[str, Mapping[str, str]] = {"copilot": COPILOT_HEADERS, "openrouter": OPENROUTER_HEADERS}


class DrivenClock:
    """A clock that moves only when it is told to."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def jump_to(self, moment: float) -> None:
        """Move on to a moment; one that is past changes nothing."""
        self._now = max(self._now, moment)


@dataclass
class Conversations:
    """The turns and the history of all chats: the port `Turns`, as far as the Ask states and ReportFailure use it.

    Attributes:
        clock: when things are said.
        days: how long they are kept.
        newest: at most so many exchanges are shown, whatever is asked for; None for as many as are asked for.
    """

    clock: Clock
    days: int = 7
    newest: int | None = None
    _turns: dict[tuple[str, int], Turn] = field(default_factory=dict)
    _history: defaultdict[str, list[Exchange]] = field(default_factory=lambda: defaultdict(list))
    _notices: dict[tuple[str, str], float] = field(default_factory=dict)
    _numbers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def as_port(self) -> Turns:
        """Itself, as the rules' type for it."""
        return cast("Turns", self)

    def ask(self, chat_id: str, text: str) -> tuple[TurnClaim, Turn]:
        """Open a chat's next turn, as PrepareTurn does."""
        self._numbers[chat_id] += 1
        number, now = self._numbers[chat_id], int(self.clock.now())
        turn = Turn(
            number=number,
            status=TurnStatus.OPEN,
            epoch=1,
            text=text,
            messages=1,
            message_id=number,
            history_after=0,
            created_at=now,
            deadline=now + TURN_SECONDS,
            sender_id=chat_id,
        )
        self._turns[chat_id, number] = turn
        return TurnClaim(ChatClaim(chat_id, 1), number), turn

    def route(self, claim: TurnClaim, *, preferred: str | None) -> None:
        """Note which provider would be asked first."""
        self._change(claim, lambda turn: replace(turn, preferred=preferred))

    def close(self, claim: TurnClaim) -> Turn:
        """The turn as it ended; it is forgotten."""
        return self._turns.pop((claim.chat.chat_id, claim.number))

    def read(self, chat_id: str, number: int) -> Turn | None:
        """A turn as it is now."""
        return self._turns.get((chat_id, number))

    def history(self, turn: TurnClaim, *, after: int, since: int, limit: int) -> list[Exchange]:
        """The newest exchanges, oldest first."""
        del after  # nobody begins a new conversation here
        most = limit if self.newest is None else min(limit, self.newest)
        said = self._history[turn.chat.chat_id]
        return [exchange for exchange in said[len(said) - most :] if exchange.created_at >= since]

    def answer(self, turn: TurnClaim, answered: Answered) -> bool:
        """OPEN → ANSWERED, with the exchange."""
        now, reply = int(self.clock.now()), answered.answer.text
        said = self._history[turn.chat.chat_id]
        exchange = Exchange(
            answered.user, reply, answered.provider, now, now + self.days * _DAY_S, position=answered.position
        )
        said.append(exchange)
        del said[:-_MOST_KEPT]
        return self._change(
            turn, lambda old: replace(old, status=TurnStatus.ANSWERED, reply=reply, provider=answered.provider)
        )

    def decline(self, turn: TurnClaim, declined_by: str) -> bool:
        """Note which providers refused the question."""
        return self._change(turn, lambda old: replace(old, declined_by=declined_by))

    def settle(self, turn: TurnClaim, settled: Turn) -> bool:
        """OPEN → PARKED or FAILED."""
        return self._change(turn, lambda _: settled)

    def first_notice(self, turn: TurnClaim, notice: str, *, seconds: int) -> bool:
        """Whether a chat has not had this notice within that many seconds."""
        key, now = (turn.chat.chat_id, notice), self.clock.now()
        first = self._notices.get(key, 0.0) <= now
        if first:
            self._notices[key] = now + seconds
        return first

    def _change(self, turn: TurnClaim, change: Callable[[Turn], Turn]) -> bool:
        key = (turn.chat.chat_id, turn.number)
        self._turns[key] = change(self._turns[key])
        return True


_MOST_KEPT = 200
"""More than any window shows."""


@dataclass
class DailySums:
    """What was used: the port `UsageBook`."""

    clock: Clock
    _days: dict[str, dict[str, Used]] = field(default_factory=dict)

    def add(self, provider_id: str, used: Used) -> None:
        """Add a request."""
        day = self._days.setdefault(f"{datetime.fromtimestamp(self.clock.now(), UTC):%Y-%m-%d}", {})
        day[provider_id] = day.get(provider_id, Used()) + used

    def days(self, first: str, last: str) -> Mapping[str, Mapping[str, Used]]:
        """The sums by day and provider."""
        return {day: used for day, used in self._days.items() if first <= day <= last}

    def total(self, provider_id: str) -> Used:
        """A provider's sum of all days."""
        return sum((day.get(provider_id, Used()) for day in self._days.values()), Used())


class _Silence:
    """Everything that is shown or told to somebody: swallowed. The ports `Messenger`, `Journal` and `Owner`."""

    def attempted(self, attempt: Attempt) -> None:
        """Nothing is logged: the sums say it."""

    def tell(self, notice: Notice) -> None:
        """Nobody is told."""

    @contextmanager
    def composing(
        self, chat_id: str, thread_id: int | None, preview: Preview | None, wanted: Callable[[], bool]
    ) -> Iterator[Show]:
        """Nobody looks on."""
        del chat_id, thread_id, preview, wanted
        yield lambda _: None

    def parts(self, text: str) -> list[str]:
        """One."""
        return [text]

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        """Nothing is sent."""

    def revise(self, chat_id: str, message_id: int, text: str) -> bool:
        """Nothing was sent."""
        del chat_id, message_id, text
        return False

    def withdraw(self, chat_id: str, message_id: int) -> None:
        """Nothing was sent."""


class _OneKey:
    """The same key under every name: the port `Secrets`."""

    def __init__(self, key: str) -> None:
        self._key = key

    def read(self, name: str) -> str:
        """The key."""
        del name
        return self._key


def ask_state(
    provider: Provider,
    chain: Chain,
    *,
    conversations: Conversations,
    ledger: Ledger,
    usage: DailySums,
    http: httpx.Client,
    base_url: str,
    key: str,
    clock: Clock,
    history_messages: int = 20,
) -> Asking:
    """A provider's Ask state: the product's own, with its real client and its real ledger."""
    protocol = wiring.protocol(provider)
    vendor = PlainVendor(base_url, _HEADERS.get(provider.id, {}))
    silence = _Silence()
    return Asking(
        provider=provider,
        timeouts=chain.timeouts,
        model=ProviderClient(provider, protocol, vendor, http, chain.timeouts, clock),
        turns=conversations.as_port(),
        metering=Metering(provider, ledger, usage, _OneKey(key), silence, clock),
        messenger=silence,
        journal=silence,
        clock=clock,
        history_messages=history_messages,
        history_days=conversations.days,
        stream=False,
    )

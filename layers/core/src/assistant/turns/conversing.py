"""What a provider is shown of a conversation: a beginning that stays, byte by byte, as it was a turn ago.

Providers charge a tenth for a prefix that they have just read, or nothing; but only if not one byte of it changed. So
the window of the history does not slide by one exchange a turn: it grows to twice its size, then steps back at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assistant.turns.model import Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.chain import Provider
    from assistant.turns.model import Exchange

BYTES_PER_TOKEN = 2
"""Of UTF-8, at least: prose has 3 to 4. A conversation that is certain not to fit need not be sent."""

FRAME_BYTES = 64
"""What a message takes beside its text: role, separators, the note; no token of it is shorter than a byte."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The exchanges that are shown, oldest first, and the question; `position` is the place of its exchange.

    `whole` until it has been shortened because a provider called it too long.
    """

    exchanges: tuple[Exchange, ...]
    question: str
    position: int
    now: float
    whole: bool = True

    def said(self) -> list[Said]:
        """As a provider takes it. The time is told beside the question: in the text it would change what is cached."""
        messages = [
            said
            for exchange in self.exchanges
            for said in (Said("user", exchange.user), Said("assistant", exchange.assistant))
        ]
        at = datetime.fromtimestamp(self.now, UTC)
        return [*messages, Said("user", self.question, note=f"[Now: {at:%A, %-d %B %Y, %H:%M} UTC]")]

    def shortened(self) -> Conversation:
        """The newer half of the exchanges."""
        return replace(self, exchanges=self.exchanges[(len(self.exchanges) + 1) // 2 :], whole=False)

    @property
    def can_be_shortened(self) -> bool:
        """Whether it may be asked once more, with less of it."""
        return self.whole and bool(self.exchanges)

    def size(self, system: str) -> int:
        """Bytes of all that is said, which is more than its tokens can be."""
        texts = [system, self.question, *(exchange.user + exchange.assistant for exchange in self.exchanges)]
        return sum(_bytes(text) for text in texts) + FRAME_BYTES * (2 * len(self.exchanges) + 2)


def exchanges_shown(history_messages: int) -> int:
    """How many exchanges the window holds at most, for a setting of so many messages: up to twice as many."""
    return 2 * (history_messages // 2)


def conversation(
    history: Sequence[Exchange], question: str, *, system: str, provider: Provider, history_messages: int, now: float
) -> Conversation:
    """The conversation for one turn.

    Args:
        history: the newest `exchanges_shown` exchanges, oldest first.
        question: what is asked.
        system: the system prompt.
        provider: who is asked; the window fits into its context.
        history_messages: the window holds at least so many messages, where there are as many, and less than twice.
        now: epoch seconds.
    """
    position = history[-1].position + 1 if history else 0
    step = history_messages // 2
    whole = Conversation((), question, position, now)
    if step == 0:
        return whole
    first = max(0, (position // step - 1) * step)
    room = BYTES_PER_TOKEN * (provider.context_window - provider.max_tokens)
    notch = max(1, step // 4)
    while first < position:
        shown = replace(whole, exchanges=tuple(exchange for exchange in history if exchange.position >= first))
        if shown.size(system) <= room:
            return shown
        first = (first // notch + 1) * notch  # in steps, too: the next turns begin where this one does
    return whole


def _bytes(text: str) -> int:
    return len(text.encode())

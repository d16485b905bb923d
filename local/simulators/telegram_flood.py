"""When Telegram says "Too Many Requests".

Source: core.telegram.org/bots/faq: about one message a second in a chat with bursts tolerated, 20 messages a
minute in a group, 30 messages a second overall. That edits count as messages do is what bots report
(openclaw/openclaw#31061). Invented: how long a burst is tolerated, and that a minute slides.
"""

from dataclasses import dataclass

from local.simulators.limits import SlidingWindow, TokenBucket


@dataclass(frozen=True)
class FloodLimits:
    """The limits: rates are calls a second, a burst is what is tolerated at once."""

    chat_burst: int = 20
    chat_rate: float = 1.0
    group_per_minute: int = 20
    overall_burst: int = 30
    overall_rate: float = 30.0


class Flood:
    """Counts what is sent and edited, per chat and overall.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._overall = TokenBucket(limits.overall_burst, limits.overall_rate)
        self._by_chat: dict[int, TokenBucket | SlidingWindow] = {}

    def take(self, chat_id: int, now: float) -> float:
        """Count a call, unless it comes too soon: then tell how many seconds too soon it is."""
        in_chat = self._by_chat.setdefault(chat_id, self._limit_of(chat_id))
        wait_s = max(in_chat.wait_s(now), self._overall.wait_s(now))
        if wait_s <= 0:
            in_chat.take(now)
            self._overall.take(now)
        return wait_s

    def _limit_of(self, chat_id: int) -> TokenBucket | SlidingWindow:
        if chat_id < 0:
            return SlidingWindow(self._limits.group_per_minute, 60)
        return TokenBucket(self._limits.chat_burst, self._limits.chat_rate)

"""Turns that ended without an answer are asked again, exactly as if their people had written /retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.turns.accepting import Stored
from assistant.turns.model import InboxMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.ports import Clock, Inbox, Turns
    from assistant.turns.waking import Waking
    from operate.tables import Ended

NO_LIMIT = 1_000_000
"""The operator is not held to the chat's messages a minute."""


@dataclass(frozen=True, slots=True)
class Redriving:
    """Asks again."""

    inbox: Inbox
    turns: Turns
    waking: Waking
    clock: Clock

    def __call__(self, ended: Sequence[Ended]) -> list[Ended]:
        """Put a /retry into each chat and start its turn; gives those that were still there to be asked again."""
        return [each for each in ended if self._retry(each)]

    def _retry(self, ended: Ended) -> bool:
        turn = self.turns.read(ended.chat_id, ended.turn)
        if turn is None:
            return False
        now = self.clock.now()
        command = InboxMessage(
            kind="retry",
            text="",
            message_id=turn.message_id,
            date=int(now),
            update_id=int(now * 1000),  # far above Telegram's own
            thread_id=turn.thread_id,
            group=turn.group,
            sender_id=turn.sender_id,
        )
        stored = self.inbox.store(ended.chat_id, command, limit=NO_LIMIT)
        self.waking.wake(ended.chat_id)
        return stored is Stored.NOW

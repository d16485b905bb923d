"""Schedule, every five minutes: whatever is due and not being worked on is started again. Nothing stays stuck."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.ports import Claims
    from assistant.turns.waking import Recovery


def handle(_event: object, claims: Claims, recover: Recovery) -> None:
    """Look at every chat whose moment has come."""
    done = dict(Counter(recover(chat_id) for chat_id in claims.due()))
    logger.info("swept", chats=done)


__getattr__ = wiring.entry_point(handle, wiring.due_chats, wiring.recovery)

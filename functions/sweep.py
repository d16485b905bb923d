"""Schedule, every five minutes: whatever is due and not being worked on is started again. Nothing stays stuck."""

from __future__ import annotations

from collections import Counter
from typing import Any

from assistant import wiring
from assistant.observability import logger
from assistant.turns.ports import Claims
from assistant.turns.waking import Recovery


def handle(_event: Any, claims: Claims, recover: Recovery) -> None:
    """Look at every chat whose moment has come."""
    done = Counter(recover(chat_id) for chat_id in claims.due())
    logger.info("swept", **done)


__getattr__ = wiring.entry_point(handle, wiring.due_chats, wiring.recovery)

"""Event of EventBridge Scheduler: a reminder is due, and becomes a message of its chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger
from assistant.turns.firing import Due

if TYPE_CHECKING:
    from assistant.turns.firing import Firing


def handle(event: object, fire: Firing) -> None:
    """Fire the reminder."""
    due = Due.parse(event)
    done = fire(due)
    logger.info("reminder due", chat_id=due.chat_id, key=due.key, done=done)


__getattr__ = wiring.entry_point(handle, wiring.firing)

"""Invoked by the webhook after `/forget` was confirmed: everything that there is of a chat is deleted.

The event comes again if this dies in the middle, and goes on where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger
from assistant.turns.errands import Asked

if TYPE_CHECKING:
    from assistant.turns.errands import CarryingOut


def handle(event: object, forget: CarryingOut) -> None:
    """Forget the chat, and say so."""
    asked = Asked.parse(event)
    done = forget(asked)
    logger.info("chat forgotten", chat_id=asked.chat_id, update_id=asked.update_id, done=done)


__getattr__ = wiring.entry_point(handle, wiring.forgetting)

"""Invoked by the webhook: `/files` and `/export` are answered, by a list or a file.

Nobody waits for it; the event holds ids alone, and comes again if this fails before anything was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger
from assistant.turns.errands import Asked

if TYPE_CHECKING:
    from assistant.turns.errands import CarryingOut


def handle(event: object, send: CarryingOut) -> None:
    """Answer the command."""
    asked = Asked.parse(event)
    done = send(asked)
    logger.info("command carried out", chat_id=asked.chat_id, update_id=asked.update_id, done=done)


__getattr__ = wiring.entry_point(handle, wiring.sending_documents)

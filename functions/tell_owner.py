"""Event "CloudWatch Alarm State Change", and notices of the Ask functions: the owner is told in Telegram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger
from assistant.turns.notices import HOW_TO_REACH_OWNER, HOW_TO_SET_OWNER
from assistant.turns.notifying import NO_OWNER, REFUSED

if TYPE_CHECKING:
    from assistant.turns.notifying import Notification

_TO_DO = {NO_OWNER: HOW_TO_SET_OWNER, REFUSED: HOW_TO_REACH_OWNER}


def handle(event: object, notify: Notification) -> None:
    """Tell the owner."""
    done = notify(event)
    if done in _TO_DO:
        logger.warning(_TO_DO[done])
    logger.info("owner", done=done)


__getattr__ = wiring.entry_point(handle, wiring.notification)

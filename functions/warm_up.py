"""Schedule, every hour: in `WarmHours` the agents of chats in which people write at that hour are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.warming import WarmUp


def handle(_event: object, warm_up: WarmUp) -> None:
    """Look at every chat; what went wrong with some is raised after the others."""
    swept = warm_up()
    logger.info("warmed up", chats=swept.done, failed=len(swept.failures))
    if swept.failures:
        raise ExceptionGroup("some chats could not be looked at", swept.failures)


__getattr__ = wiring.entry_point(handle, wiring.warm_up)

"""Schedule, every five minutes: whatever is due and not being worked on is started again. Nothing stays stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.waking import Sweeping


def handle(_event: object, sweep: Sweeping) -> None:
    """Look at every chat whose moment has come; what went wrong with some is raised after the others."""
    swept = sweep()
    logger.info("swept", chats=swept.done, failed=len(swept.failures))
    if swept.failures:
        raise ExceptionGroup("some chats could not be put right", swept.failures)


__getattr__ = wiring.entry_point(handle, wiring.sweeping)

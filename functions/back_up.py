"""Schedule, every five minutes: an agent whose backups are late is asked for one, and the owner told if none comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.tending import BackUp


def handle(_event: object, back_up: BackUp) -> None:
    """Look at every agent that runs; what went wrong with some is raised after the others."""
    swept = back_up()
    logger.info("backups looked at", agents=swept.done, failed=len(swept.failures))
    if swept.failures:
        raise ExceptionGroup("some backups could not be looked at", swept.failures)


__getattr__ = wiring.entry_point(handle, wiring.back_up)

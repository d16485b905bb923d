"""Schedule, every five minutes: an agent that has nothing to do is asked to stop, and stopped if it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.tending import ShutDownIdle


def handle(_event: object, shut_down: ShutDownIdle) -> None:
    """Look at every task that runs; what went wrong with some is raised after the others."""
    swept = shut_down()
    logger.info("tasks looked at", tasks=swept.done, failed=len(swept.failures))
    if swept.failures:
        raise ExceptionGroup("some tasks could not be looked at", swept.failures)


__getattr__ = wiring.entry_point(handle, wiring.shut_down_idle)

"""Schedule, every five minutes: whatever is due and not being worked on is started again. Nothing stays stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.tending import SweepingAgents
    from assistant.turns.waking import Sweeping


def handle(_event: object, sweep: Sweeping, sweep_agents: SweepingAgents) -> None:
    """Look at every chat and agent whose moment has come; what went wrong with some is raised after the others."""
    agents, chats = sweep_agents(), sweep()
    failures = agents.failures + chats.failures
    logger.info("swept", chats=chats.done, agents=agents.done, failed=len(failures))
    if failures:
        raise ExceptionGroup("some could not be put right", failures)


__getattr__ = wiring.entry_point(handle, wiring.sweeping, wiring.sweeping_agents)

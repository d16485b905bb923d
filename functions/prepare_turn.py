"""State PrepareTurn: drains the inbox into the chat's next turn, or resumes an open one, and says where to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistant import wiring
from assistant.observability import logger
from assistant.turns.model import ChatClaim

if TYPE_CHECKING:
    from assistant.turns.preparing import Preparation


def handle(event: object, prepare: Preparation) -> dict[str, Any]:
    """Prepare the claim's turn."""
    route = prepare(ChatClaim.parse(event)).as_state()
    logger.info("turn prepared", **route)
    return route


__getattr__ = wiring.entry_point(handle, wiring.preparation)

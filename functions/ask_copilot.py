"""State AskCopilot: asks GitHub Copilot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.turns.model import TurnClaim

if TYPE_CHECKING:
    from assistant.turns.asking import Asking


def handle(event: object, ask: Asking) -> str:
    """Ask the turn's question."""
    return ask(TurnClaim.parse(event))


__getattr__ = wiring.entry_point(handle, wiring.asking("copilot"))

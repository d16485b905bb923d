"""State AskClaude: asks Claude."""

from __future__ import annotations

from typing import Any

from assistant import wiring
from assistant.turns.asking import Asking
from assistant.turns.model import TurnClaim


def handle(event: Any, ask: Asking) -> str:
    """Ask the turn's question."""
    return ask(TurnClaim.parse(event))


__getattr__ = wiring.entry_point(handle, wiring.asking("anthropic"))

"""Schedule, every ten minutes: the ledger learns what OpenRouter itself says of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.turns.correcting import Correction


def handle(_event: object, correct: Correction) -> None:
    """Correct the ledger, if that is due; a provider that does not answer is asked again the next time."""
    logger.info("ledger", provider=correct.provider.id, done=correct())


__getattr__ = wiring.entry_point(handle, wiring.correction("openrouter"))

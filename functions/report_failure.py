"""State ReportFailure: nobody answered; the turn is parked, or given up with an apology."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger
from assistant.turns.model import TurnClaim

if TYPE_CHECKING:
    from assistant.turns.failing import FailureReport


def handle(event: object, report: FailureReport) -> None:
    """Park the turn or give it up."""
    claim = TurnClaim.parse(event)
    status = report(claim)
    logger.warning("turn not answered", chat_id=claim.chat.chat_id, turn=claim.number, status=status)


__getattr__ = wiring.entry_point(handle, wiring.failure_report)

"""State ReportFailure: nobody answered; the turn is parked, or given up with an apology."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import TURNS_FAILED, TURNS_UNANSWERED, logger
from assistant.turns.model import TurnClaim, TurnStatus

if TYPE_CHECKING:
    from assistant.turns.failing import FailureReport


def handle(event: object, report: FailureReport) -> None:
    """Park the turn or give it up."""
    claim = TurnClaim.parse(event)
    status = report(claim)
    logger.warning("turn not answered", chat_id=claim.chat.chat_id, turn=claim.number, status=status)
    if status in (TurnStatus.PARKED, TurnStatus.FAILED):
        TURNS_UNANSWERED.emit(1)
    if status == TurnStatus.FAILED:
        TURNS_FAILED.emit(1)


__getattr__ = wiring.entry_point(handle, wiring.failure_report)

"""Structured logs. One JSON object a line; ids and figures, never what anybody wrote."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

if TYPE_CHECKING:
    from assistant.turns.asking import Attempt

logger = Logger(service="serverless-openclaw", utc=True, log_uncaught_exceptions=False)


class LogJournal:
    """Writes one line per request to a provider. `fallback` is in it wherever one happens or has helped."""

    def attempted(self, attempt: Attempt) -> None:
        """Log an attempt."""
        answered = attempt.error is None
        message = "answered" if answered else "provider failed, fallback follows"
        if answered and attempt.fallback:
            message = "fallback answered"
        logger.info(
            message,
            chat_id=attempt.chat_id,
            user_id=attempt.user_id,
            turn=attempt.turn,
            provider=attempt.provider,
            model=attempt.model,
            outcome=attempt.outcome,
            error=attempt.error,
            reason=attempt.reason,
            status=attempt.status,
            blocked_until=attempt.blocked_until,
            **(asdict(attempt.usage) if attempt.usage else {}),
            micro_dollars=attempt.micro_dollars,
            milliseconds=attempt.milliseconds,
            fallback=attempt.fallback,
        )

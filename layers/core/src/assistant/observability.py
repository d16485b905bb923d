"""Structured logs and metrics: ids and figures, never what anybody wrote. One JSON object a line.

Metrics are log lines, too (CloudWatch's embedded metric format): they cost no request, and no one waits for them.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

if TYPE_CHECKING:
    from assistant.turns.asking import Attempt

logger = Logger(service="serverless-openclaw", utc=True, log_uncaught_exceptions=False)

# Whatever level is set for everything: httpx logs addresses, and Telegram's hold the bot's token; botocore logs what
# AWS answers, and SSM answers with keys.
for _chatty in ("boto3", "botocore", "httpcore", "httpx", "s3transfer", "urllib3"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

NAMESPACE = "serverless-openclaw"


@dataclass(frozen=True, slots=True)
class Metric:
    """One CloudWatch metric, or one for each value of its dimension.

    Attributes:
        name: in the namespace `serverless-openclaw`.
        unit: CloudWatch's.
        emitted_by: the functions that do.
        meaning: what one value says, and what it is looked at for.
        dimension: its one dimension, if any.
        values: every value of the dimension; each is a metric of its own, on the bill too.
    """

    name: str
    unit: MetricUnit
    emitted_by: str
    meaning: str
    dimension: str | None = None
    values: tuple[str, ...] = ()

    def emit(self, value: float, of: str | None = None) -> None:
        """Write a value, `of` one of the dimension's.

        Raises:
            ValueError: `of` is not declared: it would be one more metric.
        """
        if of not in (self.values or (None,)):
            raise ValueError(f"{self.name} is not declared for {of}")
        metrics = EphemeralMetrics(namespace=NAMESPACE, service="")  # a service would be one more dimension
        metrics.add_metric(self.name, self.unit, value)
        if self.dimension and of:
            metrics.add_dimension(self.dimension, of)
        metrics.flush_metrics()


ANSWERS = Metric(
    name="Answers",
    unit=MetricUnit.Count,
    emitted_by="the Ask functions",
    meaning="A provider answered a message.",
    dimension="Provider",
    values=("copilot", "openrouter", "ollama-cloud", "anthropic"),
)
FALLBACKS = Metric(
    name="Fallbacks",
    unit=MetricUnit.Count,
    emitted_by="the Ask functions",
    meaning="A message was answered by another provider than the first that has a key.",
)
TURNS_UNANSWERED = Metric(
    name="TurnsUnanswered",
    unit=MetricUnit.Count,
    emitted_by="ReportFailure",
    meaning="No provider was left to answer a message; it waits, or was given up.",
)
TURNS_FAILED = Metric(
    name="TurnsFailed",
    unit=MetricUnit.Count,
    emitted_by="ReportFailure",
    meaning="A message was given up; its sender was told.",
)
PAID_BUDGET_USED = Metric(
    name="PaidBudgetUsed",
    unit=MetricUnit.Percent,
    emitted_by="AskClaude",
    meaning="How much of the month's budget in dollars is gone, after each paid answer.",
)
TURN_SECONDS = Metric(
    name="TurnSeconds",
    unit=MetricUnit.Seconds,
    emitted_by="DeliverReply",
    meaning="From taking up a message to the end of sending its answer; a message that had to wait included.",
)
METRICS = (ANSWERS, FALLBACKS, TURNS_UNANSWERED, TURNS_FAILED, PAID_BUDGET_USED, TURN_SECONDS)
"""Every metric there is: at most ten with every dimension value, which cost nothing."""

_SAME_AGAIN = ("ProviderBusy", "ProviderThrottled", "ProviderUnavailable")
"""After these the state machine asks the same provider once more; one that may not be asked again is exhausted."""


@dataclass(frozen=True, slots=True)
class LogJournal:
    """Writes one line per request to a provider. `fallback` is in it wherever one happens or has helped.

    `last` is the id of the provider that no other follows.
    """

    last: str | None = None

    def attempted(self, attempt: Attempt) -> None:
        """Log an attempt, and count it."""
        fields = {
            "chat_id": attempt.chat_id,
            "user_id": attempt.user_id,
            "turn": attempt.turn,
            "provider": attempt.provider,
            "model": attempt.model,
            "outcome": attempt.outcome,
            "error": attempt.error,
            "reason": attempt.reason,
            "status": attempt.status,
            "blocked_until": attempt.blocked_until,
            **(asdict(attempt.usage) if attempt.usage else {}),
            "micro_dollars": attempt.micro_dollars,
            "milliseconds": attempt.milliseconds,
        }
        logger.info(self._message(attempt), **{name: value for name, value in fields.items() if value is not None})
        _measure(attempt)

    def _message(self, attempt: Attempt) -> str:
        if attempt.outcome == "delegated":
            return "delegated to the agent"
        if attempt.error is None:
            return "fallback answered" if attempt.fallback else "answered"
        if attempt.provider == self.last:
            return "provider failed, none follows"
        if attempt.error in _SAME_AGAIN or not attempt.fallback:
            return "provider failed, asked once more"
        return "provider failed, fallback follows"


def _measure(attempt: Attempt) -> None:
    if attempt.outcome == "answered":
        ANSWERS.emit(1, attempt.provider)
        if attempt.fallback:
            FALLBACKS.emit(1)
    if attempt.budget_used is not None:
        PAID_BUDGET_USED.emit(round(100 * attempt.budget_used, 1))

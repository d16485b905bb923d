"""What a provider's refusal means: one table per protocol, from status, error type and wording to a typed error.

Sources: OpenRouter docs, "Errors and debugging" and "Limits"; Anthropic docs, "Errors" and "Rate limits". What Copilot
and Ollama Cloud send is written down nowhere. Every rule has its fixture, with the page or thread that it is taken
from, in `tests/fixtures/failures`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import httpx

from assistant.errors import (
    CONTEXT_TOO_LONG,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.providers.moments import retry_moment, worded_moment
from assistant.providers.refusals import OVERLOADED
from assistant.turns.ledger import window_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.providers.refusals import Failure

SHORT_SECONDS = 5
"""A block of at most this long is waited for by the state machine's one Retry; a longer one goes into the ledger."""

_TIMED_OUT_AT_CLOUDFLARE = 524

type When = Callable[[Failure], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a refusal means.

    Attributes:
        reason: goes into logs and blocks.
        error: a ProviderThrottled with a long block becomes a ProviderExhausted, see `translate`.
        when: whether the rule applies.
        until: end of the block where the provider names no moment (from now; epoch seconds).
    """

    reason: str
    error: type[ProviderError]
    when: When
    until: Callable[[float], float] | None = None


type Table = tuple[Rule, ...]


def _status(*codes: int) -> When:
    return lambda f: f.status in codes


def _kind(*names: str) -> When:
    return lambda f: not f.kinds.isdisjoint(names)


def _says(pattern: str) -> When:
    """In the message, or in one of the error's names."""
    search = re.compile(pattern, re.IGNORECASE).search
    return lambda f: any(search(text) for text in (f.wording, *f.kinds))


def _any(*conditions: When) -> When:
    return lambda f: any(condition(f) for condition in conditions)


def _all(*conditions: When) -> When:
    return lambda f: all(condition(f) for condition in conditions)


def _not(condition: When) -> When:
    return lambda f: not condition(f)


_month_end = partial(window_end, "month")
_day_end = partial(window_end, "day")


def _in_an_hour(now: float) -> float:
    return now + 3600


_limit = _says(r"rate.?limit|quota|too many requests|usage limit|(daily|weekly|monthly) limit")
_of_the_account = _all(  # one of a provider behind the provider is over sooner
    _any(_status(429), _all(_status(403), _limit)), lambda f: not f.upstream
)
_too_long = _any(
    _status(413),
    _kind("context_length_exceeded", "model_max_prompt_tokens_exceeded", "tokens_limit_reached", "request_too_large"),
    _all(
        # A rate limit in tokens speaks of long prompts, too, and a shorter one would be refused as well.
        _not(_status(401, 402, 403, 429)),
        _says(
            r"maximum context length|exceeded max context|exceeds? (the )?context (length|limit|window)"
            r"|prompt is too long|token count.{1,40}exceeds the (limit|maximum)"
        ),
    ),
)

_ANYBODY: Table = (
    Rule(CONTEXT_TOO_LONG, ProviderDeclined, _too_long),
    Rule("billing", ProviderRejected, _any(_status(402), _kind("billing_error", "insufficient_quota"))),
    Rule("monthly limit", ProviderThrottled, _all(_of_the_account, _says(r"per[- ]month|monthly")), _month_end),
    Rule(  # nobody says when a week ends: asked again once a day
        "daily limit",
        ProviderThrottled,
        _all(_of_the_account, _says(r"per[- ]day|by ?day|daily|per[- ]week|weekly")),
        _day_end,
    ),
    Rule(
        "hourly limit",
        ProviderThrottled,
        _all(_of_the_account, _says(r"per[- ]hour|hourly|session usage limit")),
        _in_an_hour,
    ),
    Rule("rate limit", ProviderThrottled, _status(429)),
    Rule("key", ProviderRejected, _status(401)),
    Rule(
        "moderated",
        ProviderDeclined,
        _any(
            lambda f: f.moderated,
            _kind("content_filter", "content_policy_violation", "refusal"),
            _says(r"content filtering policy|content management policy|responsible ai"),
        ),
    ),
    Rule("rate limit", ProviderThrottled, _all(_status(403), _limit)),
    Rule("forbidden", ProviderRejected, _status(403)),
    Rule(
        "model",
        ProviderRejected,
        _any(
            _status(404),
            _kind("model_not_found", "model_not_supported", "unsupported_api_for_model"),
            _says(r"not a valid model"),
        ),
    ),
    Rule("timeout", ProviderUnavailable, _status(408, 504, _TIMED_OUT_AT_CLOUDFLARE)),
    Rule("overloaded", ProviderUnavailable, _any(_status(OVERLOADED), _kind("overloaded_error"))),
    Rule("bad request", ProviderDeclined, _status(400, 422)),
    Rule("server error", ProviderUnavailable, lambda f: httpx.codes.is_server_error(f.status)),
    Rule("unexpected status", ProviderUnavailable, lambda _: True),
)

OPENAI_CHAT: Table = (
    # GitHub Copilot
    Rule(
        "monthly quota",
        ProviderExhausted,
        _any(_kind("quota_exceeded"), _all(_status(402), _says(r"\bquota\b"))),
        _month_end,
    ),
    # The gateway's plain text, mostly with weeks of Retry-After; without, asked again once a day.
    Rule("quota", ProviderThrottled, _all(_status(429), _says(r"^\s*quota exceeded\s*$")), _day_end),
    Rule("client", ProviderRejected, _all(_status(400), _says(r"header for IDE auth"))),
    # Ollama Cloud
    Rule("concurrency limit", ProviderThrottled, _all(_status(429), _says(r"concurrent request"))),
    *_ANYBODY,
)
"""GitHub Copilot, OpenRouter, Ollama Cloud. The first rule that applies decides."""

ANTHROPIC_MESSAGES: Table = (
    # 429 when the tier's limit is reached, 400 when one's own is; both last until the next month.
    Rule(
        "spend limit",
        ProviderExhausted,
        _any(_kind("enforced_spend_limit_reached"), _says(r"reached your (specified )?(workspace )?API usage limits")),
        _month_end,
    ),
    Rule("billing", ProviderRejected, _says(r"credit balance is too low")),
    *_ANYBODY,
)
"""Claude. The first rule that applies decides."""


def translate(provider: str, failure: Failure, table: Table, now: float, *, may_cost: bool = False) -> ProviderError:
    """The typed error of a refusal.

    Args:
        provider: its id.
        failure: the refusal.
        table: the protocol's.
        now: epoch seconds.
        may_cost: whether an answer had begun before the refusal came.
    """
    rule = next(rule for rule in table if rule.when(failure))
    until = _block_end(rule, failure, now)
    kind = rule.error
    if kind is ProviderThrottled and until is not None and until - now > SHORT_SECONDS:
        kind = ProviderExhausted
    return kind(provider, rule.reason, block_until=until, status=failure.status, may_cost=may_cost)


def _block_end(rule: Rule, failure: Failure, now: float) -> float | None:
    if rule.error is ProviderDeclined:
        return None  # nobody is blocked: the next question may be answered
    until = retry_moment(failure.headers, now)
    if until is None and rule.error in {ProviderThrottled, ProviderExhausted}:
        until = worded_moment(failure.wording, now)
    if until is None and rule.until is not None:
        until = rule.until(now)
    return until

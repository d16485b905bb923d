"""What a provider's refusal means: one table from status, error type and wording to a typed error.

Sources: OpenRouter docs, "Errors and debugging" and "Limits"; Anthropic docs, "Errors" and "Rate limits"; GitHub docs,
"Rate limits for the REST API"; RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from assistant.errors import (
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.turns.ledger import window_end

SHORT_SECONDS = 5
"""A block of at most this long is waited for by the state machine's one Retry; a longer one goes into the ledger."""

_LONGEST_BLOCK_SECONDS = 31 * 86400
_LEAST_MILLISECONDS = 100_000_000_000
"""Reset times above this are epoch milliseconds, below it seconds: it lies in the year 5138 and in 1973."""

_DAILY = re.compile(r"per[- ]day|daily|free-models-per-day|\btoday\b", re.IGNORECASE)
_QUOTA = re.compile(r"rate.?limit|quota|too many requests|usage limit", re.IGNORECASE)


class _Metadata(msgspec.Struct):
    headers: dict[str, str | int] | None = None
    provider_name: str | None = None


class _Error(msgspec.Struct):
    code: int | str | None = None
    type: str | None = None
    message: str | None = None
    metadata: _Metadata | None = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None


_BODY = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal, wherever it stood: in the status, in the body of a 200, or in the stream.

    Attributes:
        status: the HTTP status or the code in the body, whichever says more.
        kind: the provider's name of the error, such as `rate_limit_error`.
        wording: its message. It may quote the user: matched here, never logged.
        headers: lower-case names.
        upstream: whether it is the refusal of a provider behind the provider.
    """

    status: int
    kind: str = ""
    wording: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream: bool = False


def read_failure(status: int, headers: Mapping[str, str], body: bytes | str) -> Failure | None:
    """Read a refusal from a body; None if the body holds no error and the status is a success."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        error = _BODY.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = None
    if error is None:
        return None if httpx.codes.is_success(status) else Failure(status, headers=lower)
    if isinstance(error, str):
        return Failure(_status(status, None), wording=error, headers=lower)
    metadata = error.metadata or _Metadata()
    inner = {name.lower(): str(value) for name, value in (metadata.headers or {}).items()}
    return Failure(
        _status(status, error.code),
        kind=error.type or (error.code if isinstance(error.code, str) else ""),
        wording=error.message or "",
        headers=lower | inner,
        upstream=metadata.provider_name is not None,
    )


def _status(status: int, code: int | str | None) -> int:
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    if isinstance(code, int) and httpx.codes.is_error(code):
        return code
    return status if httpx.codes.is_error(status) else int(httpx.codes.BAD_GATEWAY)


type _Rule = tuple[Callable[[Failure], bool], type[ProviderError], str]

_RULES: tuple[_Rule, ...] = (
    (lambda f: f.kind == "enforced_spend_limit_reached", ProviderExhausted, "spend limit"),
    (lambda f: f.status == httpx.codes.TOO_MANY_REQUESTS, ProviderThrottled, "rate limit"),
    (
        lambda f: f.status == httpx.codes.PAYMENT_REQUIRED or f.kind == "billing_error",
        ProviderRejected,
        "billing",
    ),
    (lambda f: f.status == httpx.codes.UNAUTHORIZED, ProviderRejected, "key"),
    (
        lambda f: f.status == httpx.codes.FORBIDDEN and bool(_QUOTA.search(f.wording)),
        ProviderThrottled,
        "rate limit",
    ),
    (lambda f: f.status == httpx.codes.FORBIDDEN, ProviderRejected, "forbidden"),
    (lambda f: f.status == httpx.codes.NOT_FOUND, ProviderRejected, "model"),
    (lambda f: f.status == httpx.codes.REQUEST_TIMEOUT, ProviderUnavailable, "timeout"),
    (lambda f: f.kind == "overloaded_error", ProviderUnavailable, "overloaded"),
    (lambda f: httpx.codes.is_client_error(f.status), ProviderUnavailable, "bad request"),
    (lambda _: True, ProviderUnavailable, "server error"),
)
"""The first that matches decides. A ProviderThrottled may still become a ProviderExhausted: see `translate`."""


def translate(provider: str, failure: Failure, now: float) -> ProviderError:
    """The typed error of a refusal. `now`: epoch seconds."""
    kind, reason = next((kind, reason) for matches, kind, reason in _RULES if matches(failure))
    until = retry_moment(failure.headers, now)
    if kind is ProviderExhausted:  # a monthly limit names no moment
        until = until or window_end("month", now)
    if kind is ProviderThrottled:
        if until is None and not failure.upstream and _DAILY.search(failure.wording):
            until, reason = window_end("day", now), "daily limit"
        if until is not None and until - now > SHORT_SECONDS:
            kind = ProviderExhausted
    return kind(provider, reason, block_until=until, status=failure.status)


def retry_moment(headers: Mapping[str, str], now: float) -> float | None:
    """When the provider says it may be asked again: Retry-After (seconds or a date), or X-RateLimit-Reset.

    X-RateLimit-Reset comes as epoch milliseconds (OpenRouter) or seconds (GitHub), and counts when nothing is left.

    Returns:
        Epoch seconds, at most a month ahead; None if it does not say.
    """
    moment = _retry_after(headers.get("retry-after", ""), now)
    if moment is None and headers.get("x-ratelimit-remaining", "0") == "0":
        moment = _reset(headers.get("x-ratelimit-reset", ""))
    if moment is None or moment <= now:
        return None
    return min(moment, now + _LONGEST_BLOCK_SECONDS)


def _retry_after(value: str, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return now + seconds
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(value).timestamp()
    return None


def _reset(value: str) -> float | None:
    moment = _number(value)
    return moment / 1000 if moment is not None and moment > _LEAST_MILLISECONDS else moment


def _number(value: str) -> float | None:
    with contextlib.suppress(ValueError):
        number = float(value)
        return number if math.isfinite(number) and number >= 0 else None
    return None

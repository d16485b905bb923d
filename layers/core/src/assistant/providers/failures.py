"""What a provider's refusal means: one table from status, error type and wording to a typed error.

Sources: OpenRouter docs, "Errors and debugging" and "Limits"; Anthropic docs, "Errors" and "Rate limits"; GitHub docs,
"Rate limits for the REST API"; RFC 9110 §10.2.3 (Retry-After). What Copilot and Ollama Cloud send is written down
nowhere: as quoted in github/copilot-cli#3431 and NousResearch/hermes-agent#68832.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SHORT_SECONDS = 5
"""A block of at most this long is waited for by the state machine's one Retry; a longer one goes into the ledger."""

_LONGEST_BLOCK_SECONDS = 31 * 86400
_LEAST_MILLISECONDS = 100_000_000_000
"""Reset times above this are epoch milliseconds, below it seconds: it lies in the year 5138 and in 1973."""

_LONGEST_WORDING = 1000
"""Characters of a refusal that are looked at; what a provider says stands at the beginning."""

_OVERLOADED = 529

_STATUS_OF_KIND = {
    # Anthropic docs, "Errors": inside a stream the type is all there is.
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": _OVERLOADED,
}


class _Metadata(msgspec.Struct):
    """OpenRouter's. `reasons` stand in the refusal of a moderated model."""

    headers: dict[str, str | int | float] = {}
    provider_name: str | None = None
    reasons: list[Any] | None = None


class _Details(msgspec.Struct):
    """Anthropic's."""

    error_code: str | None = None


class _Error(msgspec.Struct):
    code: int | str | None = None
    type: str | None = None
    message: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    details: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal, wherever it stood: in the status, in the body of a 200, or in the stream.

    Attributes:
        status: the HTTP status or the code in the body, whichever says more.
        kinds: the provider's names of the error, such as `rate_limit_error`.
        wording: its message. It may quote the user: matched here, never logged.
        headers: lower-case names.
        upstream: whether it is the refusal of a provider behind the provider.
        moderated: whether the question was refused for what it says.
    """

    status: int
    kinds: frozenset[str] = frozenset()
    wording: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream: bool = False
    moderated: bool = False


def read_failure(status: int, headers: Mapping[str, str], body: bytes | str) -> Failure | None:
    """Read a refusal from a body; None if the body holds no error and the status is a success."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = _decoded(body, _Body)
    raw = b"null" if found is None else bytes(found.error)
    if raw == b"null":
        return None if httpx.codes.is_success(status) else Failure(status, wording=_wording(body), headers=lower)
    error = _decoded(raw, _Error)
    if error is None:  # a string (Ollama), or a shape nobody has told us of
        return Failure(_status(status, None, ()), wording=_wording(raw), headers=lower)
    metadata = _decoded(error.metadata, _Metadata) or _Metadata()
    details = _decoded(error.details, _Details) or _Details()
    inner = {name.lower(): str(value) for name, value in metadata.headers.items()}
    kinds = [kind for kind in (error.type, error.code, details.error_code) if isinstance(kind, str)]
    return Failure(
        _status(status, error.code, kinds),
        kinds=frozenset(kinds),
        wording=(error.message or "")[:_LONGEST_WORDING],
        headers=lower | inner,
        upstream=metadata.provider_name is not None,
        moderated=metadata.reasons is not None,
    )


def _decoded[T](raw: bytes | str, kind: type[T]) -> T | None:
    """The value, or None for what is not JSON or of another shape: a refusal of any shape is still a refusal."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _wording(body: bytes | str) -> str:
    text = body if isinstance(body, str) else body.decode(errors="replace")
    return text[:_LONGEST_WORDING]


def _status(status: int, code: int | str | None, kinds: Iterable[str]) -> int:
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code):
        code = int(code)
    if isinstance(code, int) and httpx.codes.is_error(code):
        return code
    if httpx.codes.is_error(status):
        return status
    return next((_STATUS_OF_KIND[kind] for kind in kinds if kind in _STATUS_OF_KIND), int(httpx.codes.BAD_GATEWAY))


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a failure means. `until`: end of the block where the provider names no moment (from now, epoch seconds)."""

    matches: Callable[[Failure], object]
    error: type[ProviderError]
    reason: str
    until: Callable[[float], float] | None = None


def _worded(pattern: str) -> Callable[[Failure], bool]:
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda f: bool(expression.search(f.wording))


def _in_an_hour(now: float) -> float:
    return now + 3600


_spend_limit = _worded(r"reached your (specified )?(workspace )?API usage limits")
_no_quota = _worded(r"\bquota\b")
_limit = _worded(r"rate.?limit|quota|too many requests|usage limit|daily limit|weekly limit|monthly limit")
_monthly = _worded(r"per[- ]month|monthly")
_daily = _worded(r"per[- ]day|by ?day|daily|per[- ]week|weekly")
_hourly = _worded(r"per[- ]hour|hourly|session usage limit")
_out_of_credit = _worded(r"credit balance is too low")
_unknown_model = _worded(r"not a valid model")

_MODEL_KINDS = frozenset({"model_not_found", "model_not_supported"})
_BILLING_KINDS = frozenset({"billing_error", "insufficient_quota"})


def _limited(f: Failure) -> bool:
    """A limit of the account with the provider; one of a provider behind it is over sooner."""
    said = f.status == httpx.codes.TOO_MANY_REQUESTS or (f.status == httpx.codes.FORBIDDEN and _limit(f))
    return said and not f.upstream


_RULES: tuple[_Rule, ...] = (
    # Anthropic: 429 when the tier's limit is reached, 400 when one's own is; both last until the next month.
    _Rule(
        lambda f: "enforced_spend_limit_reached" in f.kinds or _spend_limit(f),
        ProviderExhausted,
        "spend limit",
        partial(window_end, "month"),
    ),
    # Copilot: 402, in JSON or in plain text.
    _Rule(
        lambda f: "quota_exceeded" in f.kinds or (f.status == httpx.codes.PAYMENT_REQUIRED and _no_quota(f)),
        ProviderExhausted,
        "monthly quota",
        partial(window_end, "month"),
    ),
    _Rule(
        lambda f: f.status == httpx.codes.PAYMENT_REQUIRED or f.kinds & _BILLING_KINDS or _out_of_credit(f),
        ProviderRejected,
        "billing",
    ),
    _Rule(lambda f: _limited(f) and _monthly(f), ProviderThrottled, "monthly limit", partial(window_end, "month")),
    # Nobody says when Ollama's week ends: asked again once a day.
    _Rule(lambda f: _limited(f) and _daily(f), ProviderThrottled, "daily limit", partial(window_end, "day")),
    _Rule(lambda f: _limited(f) and _hourly(f), ProviderThrottled, "hourly limit", _in_an_hour),
    _Rule(lambda f: f.status == httpx.codes.TOO_MANY_REQUESTS, ProviderThrottled, "rate limit"),
    _Rule(lambda f: f.status == httpx.codes.UNAUTHORIZED, ProviderRejected, "key"),
    _Rule(lambda f: f.moderated, ProviderUnavailable, "moderated"),
    _Rule(lambda f: f.status == httpx.codes.FORBIDDEN and _limit(f), ProviderThrottled, "rate limit"),
    _Rule(lambda f: f.status == httpx.codes.FORBIDDEN, ProviderRejected, "forbidden"),
    _Rule(
        lambda f: f.status == httpx.codes.NOT_FOUND or f.kinds & _MODEL_KINDS or _unknown_model(f),
        ProviderRejected,
        "model",
    ),
    _Rule(lambda f: f.status == httpx.codes.REQUEST_TIMEOUT, ProviderUnavailable, "timeout"),
    _Rule(lambda f: f.status == _OVERLOADED or "overloaded_error" in f.kinds, ProviderUnavailable, "overloaded"),
    _Rule(lambda f: httpx.codes.is_client_error(f.status), ProviderUnavailable, "bad request"),
    _Rule(lambda _: True, ProviderUnavailable, "server error"),
)
"""The first that matches decides. A ProviderThrottled may still become a ProviderExhausted: see `translate`."""


def translate(provider: str, failure: Failure, now: float) -> ProviderError:
    """The typed error of a refusal. `now`: epoch seconds."""
    rule = next(rule for rule in _RULES if rule.matches(failure))
    until = retry_moment(failure.headers, now) or _stated_moment(failure.wording, now)
    if until is None and rule.until is not None:
        until = rule.until(now)
    kind = rule.error
    if kind is ProviderThrottled and until is not None and until - now > SHORT_SECONDS:
        kind = ProviderExhausted
    return kind(provider, rule.reason, block_until=until, status=failure.status)


def retry_moment(headers: Mapping[str, str], now: float) -> float | None:
    """When the provider says it may be asked again: Retry-After (seconds or a date), or X-RateLimit-Reset.

    X-RateLimit-Reset comes as epoch milliseconds (OpenRouter) or seconds (GitHub), and counts when nothing is left.

    Returns:
        Epoch seconds, at most a month ahead; None if it does not say.
    """
    moment = _retry_after(headers.get("retry-after", ""), now)
    if moment is None and headers.get("x-ratelimit-remaining", "0") == "0":
        moment = _reset(headers.get("x-ratelimit-reset", ""))
    return _ahead(moment, now)


_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")


def _stated_moment(wording: str, now: float) -> float | None:
    """The moment in the text of Anthropic's spend limits."""
    found = _REGAIN.search(wording)
    if found is None:
        return None
    with contextlib.suppress(ValueError):
        return _ahead(datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00").timestamp(), now)
    return None


def _ahead(moment: float | None, now: float) -> float | None:
    if moment is None or moment <= now:
        return None
    return min(moment, now + _LONGEST_BLOCK_SECONDS)


def _retry_after(value: str, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return now + seconds
    with contextlib.suppress(ValueError, OverflowError):
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()  # HTTP dates are in GMT
    return None


def _reset(value: str) -> float | None:
    moment = _number(value)
    return moment / 1000 if moment is not None and moment > _LEAST_MILLISECONDS else moment


def _number(value: str) -> float | None:
    with contextlib.suppress(ValueError):
        number = float(value)
        return number if math.isfinite(number) and number >= 0 else None
    return None

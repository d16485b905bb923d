"""When a provider says that it may be asked again: in a header, or in words.

Sources: RFC 9110 §10.2.3 (Retry-After); OpenRouter docs, "Limits" (X-RateLimit-Reset); GitHub docs, "Rate limits for
the REST API"; the wordings stand in the fixtures of `tests/fixtures/failures`.
"""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_BLOCK_SECONDS = 31 * 86400
_LEAST_MILLISECONDS = 100_000_000_000
"""Reset times above this are epoch milliseconds, below it seconds: it lies in the year 5138 and in 1973."""

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

_UNIT = r"milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d"
_PIECE = re.compile(rf"(\d+(?:\.\d+)?)\s?({_UNIT})", re.IGNORECASE)
_WAIT = re.compile(rf"\b(?:try again|retry|wait)(?: in)? ((?:\d+(?:\.\d+)?\s?(?:{_UNIT})\s?)+)", re.IGNORECASE)
_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")


def retry_moment(headers: Mapping[str, str], now: float) -> float | None:
    """What the headers say: Retry-After (seconds or a date), or X-RateLimit-Reset.

    X-RateLimit-Reset comes as epoch milliseconds (OpenRouter) or seconds (GitHub), and counts when nothing is left.

    Args:
        headers: by lower-case name.
        now: epoch seconds.

    Returns:
        Epoch seconds, at most a month ahead; None if they do not say.
    """
    moment = _retry_after(headers.get("retry-after", ""), now)
    if moment is None and headers.get("x-ratelimit-remaining", "0") == "0":
        moment = _reset(headers.get("x-ratelimit-reset", ""))
    return _ahead(moment, now)


def worded_moment(wording: str, now: float) -> float | None:
    """What the message says: `regain access on 2026-12-01 at 00:00 UTC`, `try again in 6m0s`, `wait 90 seconds`.

    Returns:
        Epoch seconds, at most a month ahead; None if it does not say.
    """
    regain = _REGAIN.search(wording)
    if regain is not None:
        with contextlib.suppress(ValueError):
            return _ahead(datetime.fromisoformat(f"{regain[1]}T{regain[2]}+00:00").timestamp(), now)
    wait = _WAIT.search(wording)
    if wait is None:
        return None
    return _ahead(now + sum(float(number) * _seconds(unit) for number, unit in _PIECE.findall(wait[1])), now)


def _seconds(unit: str) -> float:
    short = unit.lower()
    return _SECONDS["ms" if short.startswith(("ms", "milli")) else short[0]]


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

"""What each provider's refusals mean: class, reason, end of the block."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import (
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.providers.failures import Failure, read_failure, retry_moment, translate
from tests.doubles import NOON

MIDNIGHT = NOON + 12 * 3600
MONTH_END = 1_796_083_200  # 2026-12-01 00:00:00 UTC
DAILY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
MINUTE = "Rate limit exceeded: free-models-per-min. "


def error_of(status: int, headers: dict[str, str], body: object, now: float = NOON) -> ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = read_failure(status, headers, raw)
    assert failure is not None
    return translate("p", failure, now)


def openrouter(message: str, code: int | str = 429, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "user_1"}


def anthropic(kind: str, message: str = "told", **details: str) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": message} | ({"details": details} if details else {})
    return {"type": "error", "error": error, "request_id": "req_1"}


def reset(moment: float, remaining: str = "0") -> dict[str, str]:
    return {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": str(int(moment))}


REFUSALS: list[tuple[str, int, dict[str, str], object, type[ProviderError], str, float | None]] = [
    # OpenRouter
    ("daily, reset in ms", 429, reset(MIDNIGHT * 1000), openrouter(DAILY), ProviderExhausted, "daily limit", MIDNIGHT),
    (
        "daily, reset in metadata only",
        429,
        {},
        openrouter(DAILY, headers=reset(MIDNIGHT * 1000)),
        ProviderExhausted,
        "daily limit",
        MIDNIGHT,
    ),
    (
        "daily, reset in metadata as numbers",
        429,
        {},
        openrouter(DAILY, headers={"X-RateLimit-Reset": MIDNIGHT * 1000, "X-RateLimit-Remaining": 0}),
        ProviderExhausted,
        "daily limit",
        MIDNIGHT,
    ),
    ("daily, no reset", 429, {}, openrouter(DAILY), ProviderExhausted, "daily limit", MIDNIGHT),
    ("daily, in a 200", 200, {}, openrouter(DAILY), ProviderExhausted, "daily limit", MIDNIGHT),
    (
        "a minute",
        429,
        reset((NOON + 41) * 1000),
        openrouter(MINUTE),
        ProviderExhausted,
        "rate limit",
        NOON + 41,
    ),
    (
        "a minute that is nearly over",
        429,
        reset((NOON + 3) * 1000),
        openrouter(MINUTE),
        ProviderThrottled,
        "rate limit",
        NOON + 3,
    ),
    ("reset in seconds", 429, reset(NOON + 600), {}, ProviderExhausted, "rate limit", NOON + 600),
    ("reset while something is left", 429, reset(NOON + 600, "7"), {}, ProviderThrottled, "rate limit", None),
    (
        "upstream",
        429,
        {},
        openrouter("Provider returned error", raw="temporarily rate-limited", provider_name="Chutes"),
        ProviderThrottled,
        "rate limit",
        None,
    ),
    (
        "upstream's day is not ours",
        429,
        {},
        openrouter("limit per day", provider_name="Google"),
        ProviderThrottled,
        "rate limit",
        None,
    ),
    (
        "upstream in a 200, numeric string",
        200,
        {},
        openrouter("Provider returned error", code="429", provider_name="Chutes"),
        ProviderThrottled,
        "rate limit",
        None,
    ),
    ("negative balance", 402, {}, openrouter("Insufficient credits", 402), ProviderRejected, "billing", None),
    ("unknown key", 401, {}, openrouter("User not found.", 401), ProviderRejected, "key", None),
    ("key's total", 403, {}, openrouter("Key limit exceeded (total limit).", 403), ProviderRejected, "forbidden", None),
    (
        "key's day",
        403,
        {},
        openrouter("Key limit exceeded (daily limit).", 403),
        ProviderExhausted,
        "daily limit",
        MIDNIGHT,
    ),
    (
        "moderated",
        403,
        {},
        openrouter("Your input was flagged", 403, reasons=["violence"], flagged_input="…", provider_name="OpenAI"),
        ProviderUnavailable,
        "moderated",
        None,
    ),
    ("no such model", 404, {}, openrouter("No endpoints found for x.", 404), ProviderRejected, "model", None),
    ("no such model, as 400", 400, {}, openrouter("x is not a valid model ID", 400), ProviderRejected, "model", None),
    ("its timeout", 408, {}, openrouter("Timed out", 408), ProviderUnavailable, "timeout", None),
    ("502 in a 200", 200, {}, openrouter("Provider disconnected", 502), ProviderUnavailable, "server error", None),
    # Ollama Cloud: the error is a string
    (
        "slot",
        429,
        {},
        {"error": "timed out waiting for a concurrent request slot"},
        ProviderThrottled,
        "rate limit",
        None,
    ),
    (
        "week",
        429,
        {},
        {"error": "you've reached your weekly usage limit, please wait or upgrade to continue"},
        ProviderExhausted,
        "daily limit",
        MIDNIGHT,
    ),
    (
        "session",
        429,
        {},
        {"error": "you (x) have reached your session usage limit, upgrade for higher limits"},
        ProviderExhausted,
        "hourly limit",
        NOON + 3600,
    ),
    (
        "hour",
        429,
        {},
        {"error": "you've reached your hourly usage limit, please wait or upgrade to continue"},
        ProviderExhausted,
        "hourly limit",
        NOON + 3600,
    ),
    ("string in a 200", 200, {}, {"error": "Server overloaded"}, ProviderUnavailable, "server error", None),
    ("not in the plan", 402, {}, {"error": "not included in your free usage"}, ProviderRejected, "billing", None),
    ("subscription", 403, {}, {"error": "this model requires a subscription"}, ProviderRejected, "forbidden", None),
    # GitHub Copilot and GitHub Models
    (
        "no quota",
        402,
        {},
        {"error": {"message": "You have no quota", "code": "quota_exceeded"}},
        ProviderExhausted,
        "monthly quota",
        MONTH_END,
    ),
    ("no quota in plain text", 402, {}, b"You have no quota\n", ProviderExhausted, "monthly quota", MONTH_END),
    (
        "weeks to wait",
        429,
        {"Retry-After": "3000000"},
        b"quota exceeded\n",
        ProviderExhausted,
        "rate limit",
        NOON + 31 * 86400,
    ),
    (
        "a moment to wait",
        429,
        {"retry-after": "2"},
        {"error": {"message": "Sorry", "code": "user_global_rate_limited:pro"}},
        ProviderThrottled,
        "rate limit",
        NOON + 2,
    ),
    (
        "secondary limit",
        403,
        {"retry-after": "60"},
        {"message": "You have exceeded a secondary rate limit."},
        ProviderExhausted,
        "rate limit",
        NOON + 60,
    ),
    (
        "secondary limit, no time",
        403,
        {},
        {"message": "API rate limit exceeded"},
        ProviderThrottled,
        "rate limit",
        None,
    ),
    (
        "by day",
        429,
        {},
        {
            "error": {
                "message": "Rate limit of 150 per 86400s exceeded for UserByModelByDay.",
                "code": "RateLimitReached",
            }
        },
        ProviderExhausted,
        "daily limit",
        MIDNIGHT,
    ),
    ("monthly", 429, {}, {"error": {"message": "monthly limit"}}, ProviderExhausted, "monthly limit", MONTH_END),
    (
        "model not for us",
        400,
        {},
        {"error": {"message": "The requested model is not supported.", "code": "model_not_supported"}},
        ProviderRejected,
        "model",
        None,
    ),
    ("expired token", 401, {}, b"unauthorized: token expired\n", ProviderRejected, "key", None),
    # Anthropic
    (
        "rate limit",
        429,
        {"retry-after": "12"},
        anthropic("rate_limit_error"),
        ProviderExhausted,
        "rate limit",
        NOON + 12,
    ),
    ("rate limit in a stream", 200, {}, anthropic("rate_limit_error"), ProviderThrottled, "rate limit", None),
    (
        "spend limit of the tier",
        429,
        {},
        anthropic("rate_limit_error", error_code="enforced_spend_limit_reached"),
        ProviderExhausted,
        "spend limit",
        MONTH_END,
    ),
    (
        "spend limit as the type",
        429,
        {},
        anthropic("enforced_spend_limit_reached"),
        ProviderExhausted,
        "spend limit",
        MONTH_END,
    ),
    (
        "one's own spend limit",
        400,
        {},
        anthropic(
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-11-25 at 06:00 UTC.",
        ),
        ProviderExhausted,
        "spend limit",
        NOON + (2 * 24 + 18) * 3600,
    ),
    (
        "a spend limit that names no possible day",
        400,
        {},
        anthropic(
            "invalid_request_error",
            "You have reached your specified workspace API usage limits. "
            "You will regain access on 2026-99-99 at 00:00 UTC.",
        ),
        ProviderExhausted,
        "spend limit",
        MONTH_END,
    ),
    ("overloaded", 529, {}, anthropic("overloaded_error"), ProviderUnavailable, "overloaded", None),
    ("overloaded in a stream", 200, {}, anthropic("overloaded_error"), ProviderUnavailable, "overloaded", None),
    ("529 without words", 529, {}, b"", ProviderUnavailable, "overloaded", None),
    ("billing", 402, {}, anthropic("billing_error"), ProviderRejected, "billing", None),
    ("billing in a stream", 200, {}, anthropic("billing_error"), ProviderRejected, "billing", None),
    (
        "credit used up",
        400,
        {},
        anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        ProviderRejected,
        "billing",
        None,
    ),
    ("key", 401, {}, anthropic("authentication_error"), ProviderRejected, "key", None),
    ("permission", 403, {}, anthropic("permission_error"), ProviderRejected, "forbidden", None),
    ("model", 404, {}, anthropic("not_found_error"), ProviderRejected, "model", None),
    ("malformed", 400, {}, anthropic("invalid_request_error"), ProviderUnavailable, "bad request", None),
    ("its own fault", 500, {}, anthropic("api_error"), ProviderUnavailable, "server error", None),
    # Anybody
    ("insufficient_quota", 429, {}, {"error": {"code": "insufficient_quota"}}, ProviderRejected, "billing", None),
    ("busy, and says when", 503, {"retry-after": "30"}, b"", ProviderUnavailable, "server error", NOON + 30),
    ("HTML", 502, {}, b"<html><h1>502 Bad Gateway</h1></html>", ProviderUnavailable, "server error", None),
    ("HTML 403", 403, {}, b"<!DOCTYPE html><title>Just a moment...</title>", ProviderRejected, "forbidden", None),
    ("HTML 429", 429, {}, b"<html>slow down</html>", ProviderThrottled, "rate limit", None),
    ("redirect", 302, {"location": "/login"}, b"", ProviderUnavailable, "server error", None),
    ("too large", 413, {}, b"", ProviderUnavailable, "bad request", None),
    ("empty error in a 200", 200, {}, {"error": {}}, ProviderUnavailable, "server error", None),
    ("true in a 200", 200, {}, {"error": True}, ProviderUnavailable, "server error", None),
    ("a list in a 200", 200, {}, {"error": ["no"]}, ProviderUnavailable, "server error", None),
    ("a code that is no status", 200, {}, {"error": {"code": 7}}, ProviderUnavailable, "server error", None),
    ("a code of another script", 200, {}, {"error": {"code": "²²²"}}, ProviderUnavailable, "server error", None),
    ("an endless code", 200, {}, {"error": {"code": "4" * 9999}}, ProviderUnavailable, "server error", None),
    (
        "metadata of a foreign shape",
        200,
        {},
        {"error": {"code": 429, "metadata": [1]}},
        ProviderThrottled,
        "rate limit",
        None,
    ),
    ("headers of a foreign shape", 429, {}, openrouter(DAILY, headers=[1]), ProviderExhausted, "daily limit", MIDNIGHT),
    ("invalid UTF-8", 429, {}, b'{"error": "\xff\xfe"}', ProviderThrottled, "rate limit", None),
    ("nested too deeply", 500, {}, b'{"error":' + b"[" * 100_000, ProviderUnavailable, "server error", None),
]


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [pytest.param(*case[1:4], case[4:], id=case[0]) for case in REFUSALS],
)
def test_a_refusal_says_what_happens_next(
    status: int, headers: dict[str, str], body: object, expected: tuple[type[ProviderError], str, float | None]
) -> None:
    error = error_of(status, headers, body)

    assert (type(error), error.reason, error.block_until) == expected
    assert error.asked
    assert str(error).startswith("p: ")


@pytest.mark.parametrize("body", [b'{"choices": []}', b'{"error": null}', b"[]", b"<html>", b"", b"\xff"])
def test_a_success_without_an_error_is_no_failure(body: bytes) -> None:
    assert read_failure(200, {}, body) is None


def test_a_daily_limit_just_before_midnight_is_waited_for() -> None:
    error = error_of(429, {}, openrouter(DAILY), now=MIDNIGHT - 2)

    assert (type(error), error.block_until) == (ProviderThrottled, MIDNIGHT)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", None),
        ("1", 1),
        ("2.5", 2.5),
        (" 30 ", 30),
        ("9" * 30, 31 * 86400),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("soon", None),
        ("", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 12:00:30", 30),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30),
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 11:59:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 31 * 86400),
        ("Sun, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_moment({"retry-after": value}, NOON) == (None if seconds is None else NOON + seconds)


def test_a_date_without_a_zone_is_in_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_moment({"retry-after": "Sun, 22 Nov 2026 12:00:30"}, NOON) == NOON + 30
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset": str((NOON + 9) * 1000)}, 9),
        ({"x-ratelimit-reset": str(NOON + 9)}, 9),
        ({"x-ratelimit-reset": str(NOON + 9), "x-ratelimit-remaining": "0"}, 9),
        ({"x-ratelimit-reset": str(NOON + 9), "x-ratelimit-remaining": "3"}, None),
        ({"x-ratelimit-reset": str(NOON - 9)}, None),
        ({"x-ratelimit-reset": "1m30s"}, None),
        ({"x-ratelimit-reset": "-1"}, None),
        ({"x-ratelimit-reset": str(NOON + 99), "retry-after": "7"}, 7),
        ({"x-ratelimit-reset": str(NOON + 99), "retry-after": "garbage"}, 99),
        ({"x-ratelimit-reset": str(NOON + 90 * 86400)}, 31 * 86400),
    ],
)
def test_ratelimit_reset(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_moment(headers, NOON) == (None if seconds is None else NOON + seconds)


def test_the_wording_is_in_no_error() -> None:
    error = error_of(400, {}, openrouter("my secret diary: dear diary", 400))

    assert "diary" not in str(error) + repr(error) + repr(vars(error))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ERRORS = st.fixed_dictionaries(
    {},
    optional={
        "code": JSON | st.sampled_from([429, "429", 402, 1e9]),
        "type": JSON | st.sampled_from(["rate_limit_error", "overloaded_error"]),
        "message": JSON,
        "metadata": JSON
        | st.fixed_dictionaries({}, optional={"headers": JSON, "provider_name": JSON, "reasons": JSON}),
        "details": JSON | st.fixed_dictionaries({"error_code": JSON}),
    },
)
BODIES = st.binary() | st.builds(
    lambda value: json.dumps(value).encode(), JSON | st.fixed_dictionaries({"error": JSON | ERRORS})
)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "X-RateLimit-Reset", "x-ratelimit-remaining", "Other"]),
    st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(lambda at: f"{at:%a, %d %b %Y %H:%M:%S GMT}"),
)


@given(status=st.integers(100, 999), headers=HEADERS, body=BODIES)
def test_any_refusal_is_a_provider_error(status: int, headers: dict[str, str], body: bytes) -> None:
    failure = read_failure(status, headers, body)

    if failure is None:
        assert 200 <= status <= 299
        return
    error = translate("p", failure, NOON)
    assert isinstance(error, ProviderError)
    assert error.block_until is None or NOON < error.block_until <= NOON + 31 * 86400


@given(st.builds(Failure, st.integers(), st.frozensets(st.text()), st.text(), HEADERS, st.booleans(), st.booleans()))
def test_any_failure_is_translated(failure: Failure) -> None:
    lower = {name.lower(): value for name, value in failure.headers.items()}

    assert isinstance(
        translate("p", Failure(failure.status, failure.kinds, failure.wording, lower), NOON), ProviderError
    )

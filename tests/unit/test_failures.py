"""Refusals, piece by piece: the moment they name, odd codes, any shape. What they mean: `test_taxonomy`."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import ProviderError, ProviderThrottled
from assistant.providers.failures import ANTHROPIC_MESSAGES, OPENAI_CHAT, Table, translate
from assistant.providers.moments import retry_moment, worded_moment
from assistant.providers.refusals import Failure, read_failure
from tests.doubles import NOON

MIDNIGHT = NOON + 12 * 3600
DAILY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"


def error_of(status: int, headers: dict[str, str], body: object, now: float = NOON) -> ProviderError:
    failure = read_failure(status, headers, json.dumps(body).encode())
    assert failure is not None
    return translate("p", failure, OPENAI_CHAT, now)


def openrouter(message: str, code: int | str = 429, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "user_1"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "429"}, 429),
        ({"code": 7}, 502),
        ({"code": 200}, 502),
        ({"code": "²²²"}, 502),
        ({"code": "4" * 9999}, 502),
        ({"code": 429, "metadata": [1]}, 429),
        ({"code": 429, "metadata": {"headers": [1]}}, 429),
        ({"code": [429]}, 502),
        ({"type": "rate_limit_error"}, 429),
        ({"type": "overloaded_error", "code": 503}, 503),
        ({"type": 7}, 502),
        ("text", 502),
        (["no"], 502),
    ],
)
def test_the_status_of_an_error_in_a_200(error: object, status: int) -> None:
    failure = read_failure(200, {}, json.dumps({"error": error}))

    assert failure is not None
    assert failure.status == status


def test_a_status_says_more_than_a_type_and_a_code_more_than_a_status() -> None:
    assert error_of(503, {}, {"error": {"type": "rate_limit_error"}}).status == 503
    assert error_of(503, {}, {"error": {"code": 429}}).status == 429


def test_a_reset_while_something_is_left_is_no_block() -> None:
    headers = {"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOON + 600)}

    assert error_of(429, headers, {}).block_until is None


def test_headers_in_the_metadata_may_be_numbers() -> None:
    headers = {"X-RateLimit-Reset": MIDNIGHT * 1000, "X-RateLimit-Remaining": 0}

    assert error_of(429, {}, openrouter(DAILY, headers=headers)).block_until == MIDNIGHT


def test_a_time_to_wait_does_not_block_for_a_question_that_was_refused() -> None:
    assert error_of(400, {"Retry-After": "60"}, openrouter("no", 400)).block_until is None


def test_a_time_in_the_words_of_a_fault_is_not_believed() -> None:
    assert error_of(500, {}, openrouter("you said: try again in 5 days", 500)).block_until is None


def test_an_answer_that_had_begun_may_cost() -> None:
    assert translate("p", Failure(529), ANTHROPIC_MESSAGES, NOON, may_cost=True).may_cost
    assert not translate("p", Failure(529), ANTHROPIC_MESSAGES, NOON).may_cost


@pytest.mark.parametrize("body", [b'{"choices": []}', b'{"error": null}', b"[]", b"<html>", b"", b"\xff"])
def test_a_success_without_an_error_is_no_failure(body: bytes) -> None:
    assert read_failure(200, {}, body) is None


def test_a_daily_limit_just_before_midnight_is_waited_for() -> None:
    error = error_of(429, {}, openrouter(DAILY), MIDNIGHT - 2)

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


@pytest.mark.parametrize(
    ("wording", "seconds"),
    [
        ("Please try again in 20s.", 20),
        ("Please try again in 1.574s. Visit", 1.574),
        ("Please try again in 870ms", 0.87),
        ("try again in 250 milliseconds", 0.25),
        ("Please try again in 7m12s.", 432),
        ("Please try again in 1h2m3s", 3723),
        ("Please retry in 3.564818218s.", 3.564818218),
        ("Please wait 61735 seconds before retrying.", 61735),
        ("Please wait 2 minutes before trying again", 120),
        ("Please try again in 58 hours. Please", 58 * 3600),
        ("Please try again in 1 day 2 hours", 26 * 3600),
        ("try again in 90 days", 31 * 86400),
        ("try again in 0s", None),
        ("Please try again later.", None),
        ("Please retry shortly", None),
        ("please wait or upgrade to continue", None),
        ("try again in 20", None),
        ("try again in " + "9" * 400 + "s", 31 * 86400),
        ("You will regain access on 2026-11-25 at 06:00 UTC.", (2 * 24 + 18) * 3600),
        ("You will regain access on 2026-11-21 at 06:00 UTC.", None),
        ("You will regain access on 2026-99-99 at 00:00 UTC.", None),
        ("", None),
    ],
)
def test_a_moment_in_words(wording: str, seconds: float | None) -> None:
    assert worded_moment(wording, NOON) == (None if seconds is None else pytest.approx(NOON + seconds))


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


TABLES = st.sampled_from([OPENAI_CHAT, ANTHROPIC_MESSAGES])


@given(status=st.integers(100, 999), headers=HEADERS, body=BODIES, table=TABLES)
def test_any_refusal_is_a_provider_error(status: int, headers: dict[str, str], body: bytes, table: Table) -> None:
    failure = read_failure(status, headers, body)

    if failure is None:
        assert 200 <= status <= 299
        return
    error = translate("p", failure, table, NOON)
    assert isinstance(error, ProviderError)
    assert error.block_until is None or NOON < error.block_until <= NOON + 31 * 86400


@given(
    st.builds(Failure, st.integers(), st.frozensets(st.text()), st.text(), HEADERS, st.booleans(), st.booleans()),
    TABLES,
)
def test_any_failure_is_translated(failure: Failure, table: Table) -> None:
    lower = {name.lower(): value for name, value in failure.headers.items()}

    assert isinstance(translate("p", dataclasses.replace(failure, headers=lower), table, NOON), ProviderError)

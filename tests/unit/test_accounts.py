"""What OpenRouter says of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from assistant.errors import (
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderUnavailable,
)
from assistant.providers.accounts import OpenRouterAccount
from assistant.providers.transport import LONGEST_ANSWER_BYTES
from assistant.turns.ledger import AccountQuota
from tests.doubles import NOON, DrivenClock

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-or-very-secret"


def read(handler: Callable[[httpx.Request], httpx.Response], key: str = KEY) -> AccountQuota | None:
    with httpx.Client(transport=httpx.MockTransport(handler)) as http:
        return OpenRouterAccount(http, "http://provider.test/api/v1", DrivenClock()).read(key, "openrouter")


def told(data: object) -> AccountQuota | None:
    return read(lambda _: httpx.Response(200, json={"data": data}))


def failed(handler: Callable[[httpx.Request], httpx.Response], key: str = KEY) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        read(handler, key)
    assert key.strip() not in str(raised.value) + repr(vars(raised.value))
    return raised.value


def test_the_day_is_read() -> None:
    requests: list[httpx.Request] = []

    def openrouter(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        daily = {"limit": 1000, "remaining": 988, "used": 12}
        return httpx.Response(200, json={"data": {"label": "sk-or-v1-1", "free_model_daily_requests": daily}})

    assert read(openrouter, f" {KEY}\n") == AccountQuota(day_limit=1000, day_used=12)
    (request,) = requests
    assert (request.method, str(request.url)) == ("GET", "http://provider.test/api/v1/key")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.extensions["timeout"] == {"connect": 3, "read": 5, "write": 5, "pool": 5}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"label": "sk-or-v1-1", "rate_limit": {"requests": 50, "interval": "10s"}},
        {"free_model_daily_requests": None},
        {"free_model_daily_requests": {"limit": 50}},
        {"free_model_daily_requests": {"limit": "50", "used": "0"}},
        {"free_model_daily_requests": {"limit": -1, "used": 0}},
        {"free_model_daily_requests": {"limit": 50, "used": -1}},
        {"free_model_daily_requests": [50, 0]},
    ],
)
def test_an_account_that_does_not_tell(data: dict[str, Any]) -> None:
    assert told(data) is None


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "kind", "reason", "asked"),
    [
        (lambda _: httpx.Response(401, json={"error": {"code": 401}}), ProviderRejected, "key", True),
        (lambda _: httpx.Response(429, headers={"retry-after": "60"}), ProviderExhausted, "rate limit", True),
        (lambda _: httpx.Response(500, html="<html>"), ProviderUnavailable, "server error", True),
        (lambda _: httpx.Response(200, json={"error": {"code": 503}}), ProviderUnavailable, "server error", True),
        (lambda _: httpx.Response(200, html="<html>"), ProviderUnavailable, "broken answer", True),
        (lambda _: httpx.Response(200, json=[]), ProviderUnavailable, "broken answer", True),
        (lambda _: httpx.Response(200, json={"data": None}), ProviderUnavailable, "broken answer", True),
        (lambda _: httpx.Response(200, content=b'{"x":' + b"[" * 100_000), ProviderUnavailable, "broken answer", True),
        (
            lambda _: httpx.Response(200, content=b" " * (LONGEST_ANSWER_BYTES + 1)),
            ProviderUnavailable,
            "answer too large",
            True,
        ),
        (raising(httpx.ReadTimeout("x")), ProviderUnavailable, "timeout", True),
        (raising(httpx.ConnectError("x")), ProviderUnavailable, "unreachable", False),
        (raising(httpx.InvalidURL("x")), ProviderUnavailable, "address", False),
    ],
)
def test_an_account_that_does_not_answer(
    handler: Callable[[httpx.Request], httpx.Response], kind: type[ProviderError], reason: str, asked: bool
) -> None:
    error = failed(handler)

    assert (type(error), error.reason, error.asked, error.provider) == (kind, reason, asked, "openrouter")
    assert not error.may_cost


def test_a_block_is_told_in_the_clocks_time() -> None:
    assert failed(lambda _: httpx.Response(429, headers={"retry-after": "60"})).block_until == NOON + 60


def test_a_key_that_no_header_can_carry_is_not_sent() -> None:
    assert not failed(lambda _: pytest.fail("asked"), "schlüssel").asked

"""What each vendor wants beyond its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from assistant.providers.vendors import COPILOT_HEADERS, Copilot, PlainVendor
from tests.doubles import DrivenClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT = "https://default.example"
USER = "https://api.github.com/copilot_internal/user"


class GitHub:
    """GitHub's answer about the account, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(
            200, json={"endpoints": {"api": "https://api.business.example/"}}
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer()


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def http(github: GitHub) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.MockTransport(github)) as client:
        yield client


def test_a_plain_vendor_has_one_address() -> None:
    vendor = PlainVendor("https://one.example", {"X-Title": "t"})

    assert vendor.base_url("any key") == "https://one.example"
    assert vendor.headers() == {"X-Title": "t"}


def test_copilot_is_asked_where_the_account_says(http: httpx.Client, github: GitHub) -> None:
    vendor = Copilot(http, DEFAULT, "")

    assert vendor.base_url("gho_1") == "https://api.business.example"
    assert vendor.headers() == COPILOT_HEADERS
    assert [(str(request.url), request.headers["authorization"]) for request in github.asked] == [(USER, "token gho_1")]
    assert github.asked[0].extensions["timeout"] == {"connect": 3, "read": 5, "write": 5, "pool": 5}


def test_the_place_is_remembered_for_half_an_hour(http: httpx.Client, github: GitHub) -> None:
    clock = DrivenClock(0)
    vendor = Copilot(http, DEFAULT, "", monotonic=clock.now)

    vendor.base_url("gho_1")
    clock.advance(1800)
    vendor.base_url("gho_1")
    assert len(github.asked) == 1

    clock.advance(1)
    vendor.base_url("gho_1")
    assert len(github.asked) == 2


def test_another_key_may_be_another_account(http: httpx.Client, github: GitHub) -> None:
    vendor = Copilot(http, DEFAULT, "")

    vendor.base_url("gho_1")
    vendor.base_url("gho_2")

    assert len(github.asked) == 2
    assert "gho_" not in repr(vars(vendor))


def test_a_place_of_ones_own_choice_is_not_discovered_and_gets_no_editors_headers(
    http: httpx.Client, github: GitHub
) -> None:
    vendor = Copilot(http, DEFAULT, "https://models.example/inference")

    assert vendor.base_url("pat") == "https://models.example/inference"
    assert vendor.headers() == {}
    assert github.asked == []


def test_an_account_that_names_no_place(http: httpx.Client, github: GitHub) -> None:
    github.answer = lambda: httpx.Response(200, json={"endpoints": {"api": None}})
    vendor = Copilot(http, DEFAULT, "")

    assert vendor.base_url("gho_1") == DEFAULT


def unreachable() -> httpx.Response:
    raise httpx.ConnectError("no route")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(unreachable, id="unreachable"),
        pytest.param(lambda: httpx.Response(401, json={"message": "Bad credentials"}), id="401"),
        pytest.param(lambda: httpx.Response(200, content=b"<html>"), id="HTML"),
        pytest.param(lambda: httpx.Response(200, content=b'{"x":' + b"[" * 100_000), id="deep"),
        pytest.param(lambda: httpx.Response(200, json=[]), id="list"),
        pytest.param(lambda: httpx.Response(200, json={"endpoints": {"api": "http://plain.example"}}), id="not TLS"),
        pytest.param(lambda: httpx.Response(200, json={"endpoints": {"api": "nonsense"}}), id="no address"),
    ],
)
def test_a_failed_discovery_falls_back_and_is_tried_again(
    http: httpx.Client, github: GitHub, answer: Callable[[], httpx.Response]
) -> None:
    works, github.answer = github.answer, answer
    vendor = Copilot(http, DEFAULT, "")

    assert vendor.base_url("gho_1") == DEFAULT
    github.answer = works
    assert vendor.base_url("gho_1") == "https://api.business.example"

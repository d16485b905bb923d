"""What the doctor makes of plain facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from operate.asking import Asked, Verdict
from operate.bot import WebhookInfo
from operate.findings import State, of_agents, of_asked, of_clock, of_concurrency, of_image, of_stack, of_webhook
from operate.stack import Stack

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spot", "on_demand", "states"),
    [
        (4000, 4000, ["good", "good"]),
        (6, 6, ["good", "good"]),
        (2, 6, ["note", "good"]),
        (0, 6, ["note", "good"]),
        (None, 6, ["note", "good"]),
        (0.5, 0, ["bad"]),
        (0, None, ["note", "note"]),
    ],
)
def test_quotas_of_fargate(spot: float | None, on_demand: float | None, states: list[str]) -> None:
    found = of_agents({"Spot": spot, "On-Demand": on_demand}, size=1)

    assert [each.state for each in found] == states
    assert all(each.advice for each in found if each.state != "good")


def test_what_to_ask_for_goes_by_the_agents_size() -> None:
    (small, _) = of_agents({"Spot": 6, "On-Demand": 4000}, size=2)

    assert "3 agents may run at once on Fargate Spot (6 vCPU)" in small.what
    assert "Ask for 8 or more: Service Quotas → AWS Fargate → Fargate Spot vCPU resource count" in small.advice


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("CREATE_COMPLETE", "good", "is CREATE_COMPLETE"),
        ("UPDATE_IN_PROGRESS", "note", "wait"),
        ("ROLLBACK_COMPLETE", "bad", "begins again"),
        ("UPDATE_ROLLBACK_FAILED", "bad", "Continue update rollback"),
    ],
)
def test_a_stack_is_well_or_says_what_to_do(status: str, state: State, said: str) -> None:
    found = of_stack(Stack("s", status, "a reason", None, {}, {}), [])

    assert found.state == state
    assert said in found.what + found.advice


@pytest.mark.parametrize(("pending", "ago", "state"), [(30, 60, "bad"), (0, 60, "note"), (30, 7200, "note")])
def test_telegrams_last_error_counts_while_it_is_new_and_messages_wait(pending: int, ago: int, state: State) -> None:
    info = WebhookInfo("u", pending, (), "403 Forbidden", NOW - timedelta(seconds=ago))

    found = of_webhook(info, "u", NOW)

    assert (found[-1].state, "403 Forbidden" in found[-1].what) == (state, True)
    assert any("allowed_updates is the default" in each.what for each in found)


@pytest.mark.parametrize(
    ("verdict", "state"), [("good", "good"), ("used up", "note"), ("wrong", "bad"), ("unreachable", "note")]
)
def test_a_providers_answer(verdict: Verdict, state: State) -> None:
    assert of_asked("P", Asked(verdict, "a-model", "a reason")).state == state


def test_an_image_is_there_or_not_or_can_not_be_looked_at() -> None:
    assert of_image("", None).state == "note"
    assert of_image("r@sha256:1", None).state == "note"
    assert of_image("r@sha256:1", {"sha256:1"}).state == "good"
    assert of_image("r:c-1", {"c-2"}).state == "bad"


def test_limits() -> None:
    assert (of_clock(3).state, of_clock(-90).state) == ("good", "bad")
    assert (of_concurrency(1000).state, of_concurrency(10).state) == ("good", "note")

"""What the doctor makes of plain facts."""

from __future__ import annotations

import pytest

from operate.findings import of_agents


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

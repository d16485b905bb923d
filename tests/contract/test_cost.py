"""docs/cost.md ↔ docs/cost.json ↔ operate/prices.py: what is claimed follows from what was counted."""

import json

import pytest

from local import cost_page
from local.bill import MODES, PROFILES, Assumed
from operate.prices import GIB, MICRO, aws_prices, of_messages
from tests.contract import template

DOCS = template.ROOT / "docs"
FIGURES = (DOCS / "cost.json").read_text("utf-8")
PAGE = (DOCS / "cost.md").read_text("utf-8")
MONTHS = json.loads(FIGURES)["months"]


def test_the_page_says_what_the_figures_say() -> None:
    assert cost_page.renewed(PAGE, *cost_page.read(FIGURES)) == PAGE, "run `make cost`"


def test_the_figures_follow_from_what_was_counted() -> None:
    assert cost_page.figures(*cost_page.read(FIGURES)) == FIGURES, "run `make cost`"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("mode", MODES)
def test_dollars_are_counts_times_prices(profile: str, mode: str) -> None:
    prices = {price.of: price for price in aws_prices(arm=True)}
    found = MONTHS[profile][mode]

    gross = sum(count * prices[what].dollars / prices[what].per for what, count in found["used"].items())
    net = sum(
        max(0, count - prices[what].free) * prices[what].dollars / prices[what].per
        for what, count in found["used"].items()
    )

    assert found["dollars"] == pytest.approx(gross, abs=0.001)
    assert found["dollars_after_free"] == pytest.approx(net, abs=0.001)


def test_what_is_assumed_of_settings_is_the_templates_default() -> None:
    _, assumed = cost_page.read(FIGURES)
    defaults = {name: one.get("Default") for name, one in template.written()["Parameters"].items()}

    assert assumed == Assumed()
    assert (assumed.idle_minutes, assumed.hours_cap) == (defaults["AgentIdleMinutes"], defaults["AgentHoursPerMonth"])
    assert (1024 * assumed.vcpu, 1024 * assumed.gib) == (defaults["AgentCpu"], defaults["AgentMemory"])
    assert (assumed.retention_days, assumed.history_days) == (defaults["LogRetentionDays"], defaults["HistoryDays"])
    assert (assumed.traced, defaults["Tracing"]) == (False, "Disabled")


def test_the_default_month_of_four_sittings_costs_a_dollar_at_most() -> None:
    profile, mode = cost_page.DEFAULT

    assert MONTHS[profile][mode]["dollars_after_free"] <= cost_page.AIM_DOLLARS


def test_a_deployment_expects_of_a_message_what_was_counted() -> None:
    measured, assumed = cost_page.read(FIGURES)
    counted, expected = measured.steps["chat"].counts, of_messages(1, 0)

    for name, of_them in {"transitions": 1.0, "write_units": 1.0, "read_units": 1.0, "log_gib": 1 / GIB}.items():
        each = expected[name] / assumed.days
        assert each == pytest.approx(counted[name.replace("log_gib", "log_bytes")] * of_them, rel=0.2)


def test_a_price_has_a_source_and_a_name_of_its_own() -> None:
    prices = aws_prices(arm=True)

    assert len({price.of for price in prices}) == len(prices)
    assert [price.of for price in prices if not price.source.startswith("https://aws.amazon.com/")] == []
    assert max(price.dollars for price in prices if price.per == MICRO) <= 25

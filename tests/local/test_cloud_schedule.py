"""Schedule expressions and event patterns."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.turns.when import Wanted, read
from local.clock import VirtualClock
from local.events import EventBus, PatternError, matches
from local.schedule import ScheduleError, parse, parse_schedule
from tests.local.small_stack import eventually


def _at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


def test_a_rate_counts_from_its_anchor() -> None:
    rate = parse("rate(5 minutes)", anchor=1000.0)

    assert rate.next_after(1000.0) == 1300.0
    assert rate.next_after(1299.0) == 1300.0
    assert rate.next_after(1300.0) == 1600.0
    assert rate.next_after(10_000.0) == 10_300.0


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(0 3 * * ? *)", "2026-11-22T03:00:00", "2026-11-23T03:00:00"),
        ("cron(0 3 * * ? *)", "2026-11-22T02:59:59", "2026-11-22T03:00:00"),
        ("cron(0/15 * * * ? *)", "2026-11-22T10:16:00", "2026-11-22T10:30:00"),
        ("cron(30 8 ? * MON-FRI *)", "2026-11-20T09:00:00", "2026-11-23T08:30:00"),
        ("cron(0 0 1 JAN,JUL ? *)", "2026-11-22T00:00:00", "2027-01-01T00:00:00"),
        ("cron(0 12 ? * 1 2027)", "2026-11-22T13:00:00", "2027-01-03T12:00:00"),
    ],
)
def test_cron_finds_the_next_minute(expression: str, after: str, expected: str) -> None:
    assert parse(expression, anchor=0.0).next_after(_at(after)) == _at(expected)


@pytest.mark.parametrize(
    "expression", ["every day", "cron(0 3 * *)", "cron(0 3 L * ? *)", "cron(99 3 * * ? *)", "rate(soon)"]
)
def test_an_expression_that_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleError):
        parse(expression, anchor=0.0)


EVENT: dict[str, Any] = {
    "source": "aws.states",
    "detail-type": "Step Functions Execution Status Change",
    "detail": {"status": "FAILED", "stateMachineArn": "arn:1", "error": None},
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.states"]}, True),
        ({"source": ["aws.ecs", "aws.states"], "detail": {"status": ["FAILED"]}}, True),
        ({"detail": {"status": ["SUCCEEDED"]}}, False),
        ({"detail": {"status": [{"anything-but": ["SUCCEEDED", "RUNNING"]}]}}, True),
        ({"detail": {"status": [{"prefix": "FAIL"}], "missing": ["x"]}}, False),
        ({"detail": {"missing": [{"exists": False}]}}, True),
        ({"detail": {"error": [None]}}, True),
        ({"detail-type": [{"suffix": "Change"}]}, True),
    ],
)
def test_patterns_match_as_in_eventbridge(pattern: dict[str, Any], expected: bool) -> None:
    assert matches(pattern, EVENT) is expected


def test_an_unknown_operator_is_refused_when_the_rule_is_made() -> None:
    bus = EventBus(VirtualClock(), lambda _function, _event: None)

    with pytest.raises(PatternError, match="numeric"):
        bus.add_pattern("rule", {"detail": {"n": [{"numeric": [">", 1]}]}}, [])


def test_a_jump_over_several_periods_fires_once() -> None:
    clock = VirtualClock(0.0)
    fired: list[tuple[str, Any]] = []
    bus = EventBus(clock, lambda function, event: fired.append((function, event)))
    bus.add_schedule("sweep", "rate(5 minutes)", [("arn:f", None)])
    bus.start()
    try:
        clock.advance(3600)
        eventually(lambda: not bus.due())
        clock.advance(300)
        eventually(lambda: not bus.due())
    finally:
        bus.stop()

    assert [function for function, _ in fired] == ["arn:f", "arn:f"]
    assert fired[0][1]["detail-type"] == "Scheduled Event"
    assert fired[0][1]["time"] == "1970-01-01T01:00:00Z"


@given(
    st.integers(1_700_000_000, 2_000_000_000),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["day", "weekday", "weekend", "monday and friday", "month on the 31st", "29 february"]),
    st.integers(0, 23),
    st.sampled_from([0, 15, 30]),
)
@settings(max_examples=60)
def test_reminders_expect_what_the_scheduler_does(now: int, zone: str, days: str, hour: int, minute: int) -> None:
    wanted = read(f"every {days} at {hour}:{minute:02d} x", now, ZoneInfo(zone))
    assert isinstance(wanted, Wanted)
    fires = parse_schedule(wanted.schedule.expression, zone, now)

    expected = wanted.schedule.first
    assert fires.next_after(now) == expected
    assert fires.next_after(expected) == wanted.schedule.next_after(expected)


@given(st.integers(1_700_000_000, 2_000_000_000), st.integers(1, 168))
@settings(max_examples=20)
def test_reminders_expect_what_the_scheduler_does_every_so_many_hours(now: int, hours: int) -> None:
    wanted = read(f"every {hours} hours x", now, ZoneInfo("UTC"))
    assert isinstance(wanted, Wanted)
    fires = parse_schedule(wanted.schedule.expression, "UTC", wanted.schedule.first)

    assert fires.next_after(now) == wanted.schedule.first
    assert fires.next_after(now + 3 * hours * 3600) == wanted.schedule.next_after(now + 3 * hours * 3600)

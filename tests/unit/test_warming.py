"""Agents are started before anybody writes, in hours in which people do, and in no others."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import SettingMissing
from assistant.stores import schema
from assistant.stores.activity import DynamoActivity
from assistant.turns.warming import DAYS, WarmUp, parse
from tests.contract import template
from tests.doubles import CHAT, World, small_world

if TYPE_CHECKING:
    from collections.abc import Sequence

PATTERN = re.compile(template.written()["Parameters"]["WarmHours"]["AllowedPattern"], re.ASCII)
BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
NOW = datetime(2026, 11, 25, 8, 0, tzinfo=BERLIN)  # a Wednesday


def warm(said: str, moment: datetime) -> bool:
    hours = parse(said)
    return hours is not None and hours.now(moment.timestamp()) is not None


# What the parameter says


@pytest.mark.parametrize(
    ("said", "day", "hour", "expected"),
    [
        ("Mon-Fri 7-9, 18-22 Europe/Berlin", 27, 7, True),
        ("Mon-Fri 7-9, 18-22 Europe/Berlin", 27, 9, False),
        ("Mon-Fri 7-9, 18-22 Europe/Berlin", 28, 7, False),  # a Saturday
        ("Mon-Fri 7-9, 18-22 Europe/Berlin", 28, 21, True),  # of every day
        ("Sat-Mon 0-24 Europe/Berlin", 30, 23, True),  # over the end of the week
        ("Sat-Mon 0-24 Europe/Berlin", 27, 23, False),
        ("Fri 7-8 UTC", 27, 7, False),
        ("Fri 7-8 UTC", 27, 8, True),  # Berlin is an hour ahead
    ],
)
def test_hours_are_those_of_their_days_in_their_zone(said: str, day: int, hour: int, expected: bool) -> None:
    assert PATTERN.fullmatch(said)
    assert warm(said, datetime(2026, 11, day, hour, 30, tzinfo=BERLIN)) == expected


def test_without_the_parameter_no_hour_is_warm() -> None:
    assert PATTERN.fullmatch("")
    assert parse("") is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("7-9", "7-9 is no time zone"),
        ("7-9 Berlin", "Berlin is no time zone"),
        ("7-9 Europe/Nowhere", "Europe/Nowhere is no time zone"),
        ("UTC", "'' is no span"),
        ("7-9,18-22 UTC", "'7-9,18-22' is no span"),
        ("mon 7-9 UTC", "'mon 7-9' is no span"),
        ("Mon 7:30-9 UTC", "'Mon 7:30-9' is no span"),
        ("22-2 UTC", "'22-2' does not end after it begins"),
        ("9-9 UTC", "'9-9' does not end after it begins"),
        ("20-25 UTC", "'20-25' does not end after it begins"),
    ],
)
def test_what_is_no_span_is_refused_with_the_reason(said: str, reason: str) -> None:
    with pytest.raises(SettingMissing, match=re.escape(reason)):
        parse(said)


@st.composite
def spans(draw: st.DrawFn) -> tuple[str, list[int], int, int]:
    first = draw(st.integers(0, 23))
    end = draw(st.integers(first + 1, 24))
    begin, length = draw(st.integers(0, 6)), draw(st.integers(0, 7))
    days = [(begin + day) % 7 for day in range(length or 7)]
    said = "" if not length else NAMES[days[0]] + (f"-{NAMES[days[-1]]}" if length > 1 else "") + " "
    return f"{said}{first}-{end}", days, first, end


@given(
    st.lists(spans(), min_size=1, max_size=4),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 (it gets one below)
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "UTC", "America/New_York"]),
)
def test_an_hour_is_warm_when_any_span_holds_it(
    found: Sequence[tuple[str, list[int], int, int]], moment: datetime, zone: str
) -> None:
    said = f"{', '.join(each[0] for each in found)} {zone}"
    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))

    assert PATTERN.fullmatch(said)
    expected = any(local.weekday() in days and first <= local.hour < end for _, days, first, end in found)
    assert warm(said, local) == expected


@given(st.text("MonFri 7-9,018UTC/Europe", max_size=30))
def test_what_the_template_refuses_the_function_does_not_take(said: str) -> None:
    try:
        parse(said)
    except SettingMissing:
        return
    assert PATTERN.fullmatch(said)


# Who is woken


def wrote(world: World, *moments: datetime, reminder: bool = False) -> None:
    table = world.conversations
    for number, moment in enumerate(moments):
        kept: dict[str, str | int] = {"reminder": "of the dentist"} if reminder else {}
        kept["created_at"] = int(moment.timestamp())
        table.transact(table.put(CHAT, f"{schema.TURN}{number + 1:010}", kept))


def woken(world: World, said: str = "7-9 Europe/Berlin", at: datetime = NOW) -> list[tuple[str, str]]:
    world.clock.moment = at.timestamp()
    world.allow(CHAT)
    warm_up = WarmUp(parse(said), DynamoActivity(world.conversations, world.runtime), world.waker, world.clock)
    assert warm_up().failures == []
    return world.waker.chats


def days_ago(*days: int, hour: int = 8) -> list[datetime]:
    return [(NOW - timedelta(days=day)).replace(hour=hour, minute=40) for day in sorted(days, reverse=True)]


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        (days_ago(1, 7), True),
        (days_ago(1), False),
        (days_ago(1, 1), False),  # two messages of one day
        (days_ago(0, 1), False),  # today is not among the seven
        (days_ago(1, DAYS + 1), False),
        (days_ago(1, 2, hour=9), False),
        ([], False),
    ],
)
def test_a_chat_is_woken_that_was_active_in_that_hour_on_two_of_seven_days(
    moments: list[datetime], expected: bool
) -> None:
    world = small_world()
    wrote(world, *moments)

    assert woken(world) == ([(CHAT, "warm-2026112508")] if expected else [])


def test_outside_of_the_hours_nobody_is_woken() -> None:
    world = small_world()
    wrote(world, *days_ago(1, 2))

    assert woken(world, "18-22 Europe/Berlin") == []
    assert woken(world, "") == []


def test_reminders_are_nobody_s_activity() -> None:
    world = small_world()
    wrote(world, *days_ago(1, 2, 3), reminder=True)

    assert woken(world) == []

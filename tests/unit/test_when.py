"""How people say when: what is understood, what is refused with a reason, and which moments come of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistant.turns import when, zones
from assistant.turns.schedules import Schedule, moment, next_by_cron
from assistant.turns.when import Unclear, Wanted, read

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_NOON = datetime(2026, 11, 27, 12, 0, 37, tzinfo=BERLIN).timestamp()
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])


def understood(text: str, now: float = FRIDAY_NOON, zone: ZoneInfo = BERLIN) -> Wanted:
    wanted = read(text, now, zone)
    assert isinstance(wanted, Wanted), wanted
    return wanted


def local(text: str) -> str:
    """When something is due for the first time, on the clock of who wrote it."""
    return f"{datetime.fromtimestamp(understood(text).schedule.first, BERLIN):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("said", "due"),
    [
        ("in 20 minutes", "2026-11-27 12:20:37"),
        ("in an hour and 30 min", "2026-11-27 13:30:37"),
        ("in half an hour", "2026-11-27 12:30:37"),
        ("in 2h", "2026-11-27 14:00:37"),
        ("in two days", "2026-11-29 12:00:37"),
        ("In A Week,", "2026-12-04 12:00:37"),
        ("in the morning", "2026-11-28 09:00:00"),
        ("tomorrow", "2026-11-28 09:00:00"),
        ("tomorrow 9:30", "2026-11-28 09:30:00"),
        ("tomorrow at 9", "2026-11-28 09:00:00"),
        ("tomorrow evening", "2026-11-28 18:00:00"),
        ("at 9 tomorrow", "2026-11-28 09:00:00"),
        ("12 am tomorrow", "2026-11-28 00:00:00"),
        ("the day after tomorrow, 12pm", "2026-11-29 12:00:00"),
        ("tonight", "2026-11-27 20:00:00"),
        ("this evening", "2026-11-27 18:00:00"),
        ("today at 18:00", "2026-11-27 18:00:00"),
        ("midnight", "2026-11-28 00:00:00"),
        ("midday", "2026-11-28 12:00:00"),
        ("18:00", "2026-11-27 18:00:00"),
        ("9:00", "2026-11-28 09:00:00"),
        ("at 9 o'clock", "2026-11-28 09:00:00"),
        ("friday", "2026-12-04 09:00:00"),
        ("friday at 13:00", "2026-11-27 13:00:00"),
        ("next friday at 13:00", "2026-12-04 13:00:00"),
        ("on Mon 8:00", "2026-11-30 08:00:00"),
        ("this monday 8:00", "2026-11-30 08:00:00"),
        ("24 December", "2026-12-24 09:00:00"),
        ("on the 24th of Dec. 2027 at 18:00", "2027-12-24 18:00:00"),
        ("Dec 24th at 18:00:", "2026-12-24 18:00:00"),
        ("24.12.", "2026-12-24 09:00:00"),
        ("24.12.2027 18:00", "2027-12-24 18:00:00"),
        ("2026-12-24", "2026-12-24 09:00:00"),
        ("2026-12-24 18:00", "2026-12-24 18:00:00"),
        ("2026-12-24T18:00:00", "2026-12-24 18:00:00"),
        ("2026-12-24T18:00Z", "2026-12-24 19:00:00"),
        ("2026-12-24T18:00+03:00", "2026-12-24 16:00:00"),
        ("27 November", "2027-11-27 09:00:00"),
        ("29 feb", "2028-02-29 09:00:00"),
    ],
)
def test_a_single_time(said: str, due: str) -> None:
    assert local(f"{said} call mum") == due
    assert understood(f"{said} call mum").schedule.expression.startswith("at(")
    assert understood(f"{said} call mum").text == "call mum"


@pytest.mark.parametrize(
    ("said", "expression", "due"),
    [
        ("every day", "cron(0 9 * * ? *)", "2026-11-28 09:00:00"),
        ("every day at 7:30 pm", "cron(30 19 * * ? *)", "2026-11-27 19:30:00"),
        ("daily at 7", "cron(0 7 * * ? *)", "2026-11-28 07:00:00"),
        ("at 8 every day", "cron(0 8 * * ? *)", "2026-11-28 08:00:00"),
        ("every evening", "cron(0 18 * * ? *)", "2026-11-27 18:00:00"),
        ("every midnight", "cron(0 0 * * ? *)", "2026-11-28 00:00:00"),
        ("every monday 8:00", "cron(0 8 ? * MON *)", "2026-11-30 08:00:00"),
        ("every Friday, tuesday and mondays at 8", "cron(0 8 ? * MON,TUE,FRI *)", "2026-11-30 08:00:00"),
        ("every weekday at 8", "cron(0 8 ? * MON-FRI *)", "2026-11-30 08:00:00"),
        ("every weekend", "cron(0 9 ? * SAT,SUN *)", "2026-11-28 09:00:00"),
        ("every week on monday", "cron(0 9 ? * MON *)", "2026-11-30 09:00:00"),
        ("every week", "cron(0 9 ? * FRI *)", "2026-12-04 09:00:00"),
        ("every month on the 31st", "cron(0 9 31 * ? *)", "2026-12-31 09:00:00"),
        ("every 15th of the month", "cron(0 9 15 * ? *)", "2026-12-15 09:00:00"),
        ("every year on 24 December at 8", "cron(0 8 24 12 ? *)", "2026-12-24 08:00:00"),
        ("every 29 february", "cron(0 9 29 2 ? *)", "2028-02-29 09:00:00"),
        ("every hour", "rate(1 hour)", "2026-11-27 13:00:37"),
        ("every two hours", "rate(2 hours)", "2026-11-27 14:00:37"),
    ],
)
def test_a_recurring_time(said: str, expression: str, due: str) -> None:
    assert understood(f"{said} call mum").schedule.expression == expression
    assert local(f"{said} call mum") == due
    assert understood(f"{said} call mum").text == "call mum"


@pytest.mark.parametrize(
    "text",
    [
        "me to call mum tomorrow at 9",
        "call mum tomorrow at 9.",
        "to call mum, tomorrow at 9!",
        "me tomorrow at 9 to call mum",
        "tomorrow at 9: call mum",
        "tomorrow at 9 - call mum",
        "  tomorrow   at 9   that call mum ",
    ],
)
def test_the_time_may_stand_at_either_end(text: str) -> None:
    assert local(text) == "2026-11-28 09:00:00"
    assert understood(text).text.rstrip(",") == "call mum"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("buy 9 eggs tomorrow", "buy 9 eggs"),
        ("tomorrow 9 eggs", "9 eggs"),
        ("march to the shop tomorrow", "march to the shop"),
        ("in the morning meet at the 2nd door", "meet at the 2nd door"),
        ("tomorrow two lines\nare two lines", "two lines\nare two lines"),
        ("may day party on friday", "may day party"),
    ],
)
def test_what_only_looks_like_a_time_stays_in_the_text(text: str, what: str) -> None:
    assert understood(text).text == what


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", when.NO_TIME),
        ("me", when.NO_TIME),
        ("call mum", when.NO_TIME),
        ("sunny day", when.NO_TIME),
        ("in 2", when.NO_TIME),
        ("in London", when.NO_TIME),
        ("every now and then look up", when.NO_TIME),
        ("today water the plants", when.NO_TIME),
        ("tomorrow", when.NO_TEXT),
        ("every day at 7", when.NO_TEXT),
        ("today at 8 call", when.PAST),
        ("24.12.2020 call", when.PAST),
        ("0001-01-01 call", when.PAST),
        ("in 9999 weeks call", when.TOO_FAR),
        ("9999-12-31 call", when.TOO_FAR),
        ("25:00 call", when.NO_SUCH_TIME),
        ("tomorrow at 13pm call", when.NO_SUCH_TIME),
        ("31 feb call", when.NO_SUCH_DATE),
        ("2026-13-01 call", when.NO_SUCH_DATE),
        ("2026-13-01T10:00 call", when.NO_SUCH_DATE),
        ("every 31 february call", when.NO_SUCH_DATE),
        ("every month on the 32nd call", when.NO_SUCH_DATE),
        ("every 30 minutes call", when.TOO_OFTEN),
        ("every minute call", when.TOO_OFTEN),
        ("every 200 hours call", "Every so many hours: from 1 to 168."),
    ],
)
def test_what_is_unclear_is_said(text: str, why: str) -> None:
    assert read(text, FRIDAY_NOON, BERLIN) == Unclear(why)


def at(zone: str, *parts: int) -> float:
    return datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type,misc]


def test_once_a_time_that_the_clocks_skip_is_an_hour_later() -> None:
    wanted = understood("2027-03-28 02:30 call", at("Europe/Berlin", 2027, 3, 1))

    assert f"{datetime.fromtimestamp(wanted.schedule.first, BERLIN):%H:%M}" == "03:30"


def test_a_time_that_comes_twice_is_the_first() -> None:
    wanted = understood("2027-10-31 02:30 call", at("Europe/Berlin", 2027, 10, 1))

    assert wanted.schedule.expression == "at(2027-10-31T00:30:00)"


def test_a_recurring_time_is_left_out_where_the_clocks_skip_it_and_comes_once_where_they_go_back() -> None:
    daily = Schedule("cron(30 2 * * ? *)", "Europe/Berlin", 0)
    spring = daily.next_after(at("Europe/Berlin", 2027, 3, 27, 12))
    first = daily.next_after(at("Europe/Berlin", 2027, 10, 30, 12))
    assert spring is not None
    assert first is not None
    second = daily.next_after(first)

    assert f"{datetime.fromtimestamp(spring, BERLIN):%d %H:%M}" == "29 02:30"
    assert f"{datetime.fromtimestamp(first, UTC):%d %H:%M}" == "31 00:30"
    assert second is not None
    assert f"{datetime.fromtimestamp(second, UTC):%d %H:%M}" == "01 01:30"


def test_what_is_due_once_is_over_then() -> None:
    once = understood("in 1 minute call").schedule

    assert once.next_after(FRIDAY_NOON) == once.first
    assert once.next_after(once.first) is None


def test_every_so_many_hours_counts_from_the_first_time() -> None:
    every = understood("every 2 hours call").schedule

    assert every.next_after(every.first) == every.first + 7200
    assert every.next_after(every.first + 7199.5) == every.first + 7200
    assert every.next_after(every.first + 7200 * 12) == every.first + 7200 * 13


def test_only_expressions_of_ours_are_evaluated() -> None:
    with pytest.raises(ValueError, match="not an expression"):
        next_by_cron("cron(0/5 * * * ? *)", BERLIN, 0)


MOMENTS = st.integers(min_value=1_700_000_000, max_value=2_000_000_000)
TIMES = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(
    st.text(alphabet=st.sampled_from("0123456789:.-T \nevrydaiontmw\u017f\u212a\u0130\u0663,"), max_size=40), MOMENTS
)
@example("\u017funday call", 1_800_000_000)
@example("every \u017fun call", 1_800_000_000)
@example("in \u0663 days call", 1_800_000_000)
def test_any_text_is_understood_or_called_unclear(text: str, now: int) -> None:
    wanted = read(text, now, BERLIN)

    if isinstance(wanted, Wanted):
        assert wanted.text
        assert now < wanted.schedule.first <= now + 9 * 366 * 86_400


@given(MOMENTS, st.dates(date(2023, 1, 1), date(2031, 1, 1)), TIMES, ZONES)
def test_a_date_in_any_form_means_the_same_moment(now: int, day: date, at: time, zone: str) -> None:
    here = ZoneInfo(zone)
    forms = [
        f"{day:%Y-%m-%d} {at:%H:%M} x",
        f"{day:%Y-%m-%d}T{at:%H:%M} x",
        f"at {at:%H:%M} on {day:%-d %B %Y} x",
        f"{day:%-d.%-m.%Y} {at:%-I:%M %p} x",
        f"x {day:%B} {day.day}, {day.year} at {at:%H:%M}",
    ]

    found = [read(form, now, here) for form in forms]

    due = moment(day, at, here)
    if now < due <= now + when.LONGEST_SECONDS:
        assert [one.schedule.first for one in found if isinstance(one, Wanted)] == [due] * len(forms)
    else:
        # What stands at the end is left out of the search, not called past.
        assert found[:4] == [Unclear(when.PAST if due <= now else when.TOO_FAR)] * 4


@given(MOMENTS, TIMES, ZONES, st.sets(st.sampled_from(["monday", "wed", "Sunday"]), min_size=1))
def test_the_next_time_of_a_recurring_one_is_the_first_that_fits(now: int, at: time, zone: str, days: set[str]) -> None:
    here = ZoneInfo(zone)
    schedule = understood(f"every {' and '.join(sorted(days))} at {at:%H:%M} x", now, here).schedule

    due = [schedule.first]
    for _ in range(3):
        following = schedule.next_after(due[-1])
        assert following is not None
        due.append(following)

    for one in due:
        clock = datetime.fromtimestamp(one, here)
        assert (clock.hour, clock.minute) == (at.hour, at.minute)
        assert f"{clock:%a}".casefold() in {day[:3].casefold() for day in days}
    assert now < due[0]
    assert due == sorted(set(due))
    gaps = [datetime.fromtimestamp(b, here).date() - datetime.fromtimestamp(a, here).date() for a, b in pairwise(due)]
    assert max(gaps) <= timedelta(days=14)  # a week, and one more where the clocks skip that time


@given(MOMENTS, ZONES)
def test_the_next_time_does_not_depend_on_when_one_looks(now: int, zone: str) -> None:
    schedule = understood("every month on the 31st at 8 x", now, ZoneInfo(zone)).schedule
    following = schedule.next_after(schedule.first)

    assert following is not None
    assert schedule.next_after(now) == schedule.first
    assert schedule.next_after(following - 1) == following


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Europe/Berlin", ["Europe/Berlin"]),
        ("berlin", ["Europe/Berlin"]),
        ("NEW york", ["America/New_York"]),
        ("utc", ["UTC"]),
        ("Louisville", ["America/Kentucky/Louisville", "America/Louisville"]),
        ("Gotham", []),
        ("Factory", []),
        ("../etc/passwd", []),
    ],
)
def test_a_time_zone_is_found_by_its_place(said: str, found: list[str]) -> None:
    assert zones.find(said) == found

"""When a reminder is due: once, or again and again.

A schedule is an expression as EventBridge Scheduler takes it, evaluated in a time zone:

| expression | means |
|---|---|
| `at(2026-12-24T17:00:00)` | once; always in UTC, worked out here |
| `cron(0 7 * * ? *)` | every day at 07:00 of the zone; also weekdays, a day of the month, a day of the year |
| `rate(2 hours)` | every two hours from its first moment on |

A local time that does not exist (clocks go forward) is, once, the time an hour later; of a recurring schedule that day
is left out. One that comes twice (clocks go back) is the first of the two. The second half is Scheduler's own way.
Source: EventBridge Scheduler user guide, "Schedule types", daylight saving time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

CRON = re.compile(r"cron\((\d+) (\d+) (\S+) (\S+) (\S+) \*\)")
"""Minute, hour, day of the month, month, weekdays."""

_RATE = re.compile(r"rate\((\d+) hours?\)")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due.

    Attributes:
        expression: as above.
        time_zone: in which a `cron` is evaluated; UTC for the others.
        first: the first moment, epoch seconds.
    """

    expression: str
    time_zone: str
    first: int

    @property
    def once(self) -> bool:
        """Whether it is due a single time."""
        return self.expression.startswith("at(")

    def next_after(self, moment: float) -> int | None:
        """The first moment (epoch seconds) later than `moment`; None if there is none."""
        if self.first > moment:
            return self.first
        if self.once:
            return None
        if found := _RATE.fullmatch(self.expression):
            period = int(found[1]) * 3600
            return self.first + (int(moment - self.first) // period + 1) * period
        return next_by_cron(self.expression, ZoneInfo(self.time_zone), moment)


def moment(day: date, at: time, zone: ZoneInfo) -> int:
    """Epoch seconds of a local time; see above for one that does not exist, or comes twice."""
    return int(datetime.combine(day, at, zone).timestamp())


def next_by_cron(expression: str, zone: ZoneInfo, after: float) -> int:
    """The first moment (epoch seconds) after `after` of a `cron` as `assistant.turns.when` makes them."""
    found = CRON.fullmatch(expression)
    if found is None:
        raise ValueError("not an expression that is made here")
    at = time(int(found[2]), int(found[1]))
    day = datetime.fromtimestamp(after, zone).date()
    while True:  # each day that can be said comes within eight years
        if _falls_on(day, found[3], found[4], found[5]):
            candidate = moment(day, at, zone)
            exists = datetime.fromtimestamp(candidate, zone).time() == at
            if candidate > after and exists:
                return candidate
        day += timedelta(days=1)


def _falls_on(day: date, of_month: str, month: str, weekdays: str) -> bool:
    if weekdays == "MON-FRI":
        return day.weekday() < 5  # noqa: PLR2004 (Saturday)
    if weekdays != "?":
        return _WEEKDAYS[day.weekday()] in weekdays.split(",")
    return of_month in ("*", str(day.day)) and month in ("*", str(day.month))

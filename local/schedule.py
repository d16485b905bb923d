"""When a schedule expression fires.

Of rules: `rate(5 minutes)` and `cron(0 3 * * ? *)`, in UTC. Of EventBridge Scheduler also `at(2026-12-24T17:00:00)`,
and all of them in a time zone.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import datetime as dt
import re
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86400}
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = {name: n for n, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: n for n, name in enumerate(_WEEKDAY_NAMES, 1)}
_YEARS = range(1970, 2200)
_FAR_DAYS = 366 * 5


class ScheduleError(ValueError):
    """An expression is not one that EventBridge takes, or one that the local cloud does not know."""


@dataclass(frozen=True)
class Rate:
    """Every so many seconds since the rule was made."""

    period_s: int
    anchor: float

    def next_after(self, moment: float) -> float:
        """The first time after `moment` (epoch seconds)."""
        return self.anchor + (max(0, int((moment - self.anchor) // self.period_s)) + 1) * self.period_s


@dataclass(frozen=True)
class Once:
    """A single time."""

    moment: float

    def next_after(self, moment: float) -> float:
        """That time, if it is still to come, else never."""
        return self.moment if moment < self.moment else float("inf")


@dataclass(frozen=True)
class Cron:
    """At the minutes that all six fields allow."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]
    zone: dt.tzinfo = dt.UTC

    def next_after(self, moment: float) -> float:
        """The first time after `moment` (epoch seconds).

        Raises:
            ScheduleError: there is none within five years.
        """
        today = dt.datetime.fromtimestamp(moment, self.zone).date()
        for offset in range(_FAR_DAYS):
            day = today + dt.timedelta(days=offset)
            if not self._allows(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    at = dt.time(hour, minute)
                    candidate = dt.datetime.combine(day, at, self.zone).timestamp()
                    # Where the clocks go forward, a time that does not exist is left out.
                    if candidate > moment and dt.datetime.fromtimestamp(candidate, self.zone).time() == at:
                        return candidate
        raise ScheduleError("the expression does not fire within five years")

    def _allows(self, day: dt.date) -> bool:
        weekday = day.isoweekday() % 7 + 1  # EventBridge counts from Sunday = 1
        in_year = day.year in self.years and day.month in self.months
        return in_year and day.day in self.days and weekday in self.weekdays


def parse_schedule(expression: str, zone: str, start: float) -> Rate | Cron | Once:
    """Read an expression of EventBridge Scheduler; a rate fires at `start` for the first time.

    Raises:
        ScheduleError: it can't be read, or there is no such time zone.
    """
    try:
        clock = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"no time zone {zone}") from error
    if match := _AT.fullmatch(expression):
        try:
            return Once(dt.datetime.fromisoformat(match[1]).replace(tzinfo=clock).timestamp())
        except ValueError as error:
            raise ScheduleError(f"not a moment: {expression}") from error
    schedule = parse(expression, start)
    if isinstance(schedule, Cron):
        return replace(schedule, zone=clock)
    return replace(schedule, anchor=start - schedule.period_s)


def parse(expression: str, anchor: float) -> Rate | Cron:
    """Read an expression.

    Args:
        expression: as in the template.
        anchor: when the rule was made; rates count from here.

    Raises:
        ScheduleError: it can't be read.
    """
    if match := _RATE.fullmatch(expression):
        return Rate(int(match[1]) * _UNIT_S[match[2]], anchor)
    if match := _CRON.fullmatch(expression):
        minute, hour, day, month, weekday, year = match.groups()
        return Cron(
            minutes=_values(minute, range(60)),
            hours=_values(hour, range(24)),
            days=_values(day, range(1, 32)),
            months=_values(month, range(1, 13), _MONTHS),
            weekdays=_values(weekday, range(1, 8), _WEEKDAYS),
            years=_values(year, _YEARS),
        )
    raise ScheduleError(f"not a schedule expression: {expression}")


def _values(text: str, allowed: range, names: dict[str, int] | None = None) -> frozenset[int]:
    """The values of one cron field: `*`, `?`, `5`, `1-5`, `1,3`, `0/15`, `MON-FRI`."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in {"*", "?"}:
            low, high = allowed.start, allowed.stop - 1
        else:
            low = _number(first, names)
            high = _number(last, names) if last else allowed.stop - 1 if step else low
        found.update(range(low, high + 1, int(step or 1)))
    if not found or not found <= set(allowed):
        raise ScheduleError(f"{text} is not a field of a cron expression that the local cloud knows")
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    if names and text.upper() in names:
        return names[text.upper()]
    if not text.isdigit():
        raise ScheduleError(f"{text} is not known to the local cloud in a cron expression")
    return int(text)

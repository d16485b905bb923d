"""What people write for when a reminder is due, read by a small strict grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from assistant.turns.schedules import Schedule, moment, next_by_cron

if TYPE_CHECKING:
    from collections.abc import Callable

MORNING = time(9)
"""When a day is said and no time."""

LONGEST_HOURS = 168
LONGEST_SECONDS = 5 * 366 * 86_400
"""How far ahead a single moment may lie."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_PARTS = {"morning": MORNING, "noon": time(12), "afternoon": time(15), "evening": time(18), "night": time(21)}
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "half an": 0.5}

TOO_OFTEN = "I can remind you once an hour at the most."
NO_TIME = "Say when, and what about."
NO_TEXT = "Say also what I shall remind you of."
NO_SUCH_DATE = "There is no such date."
NO_SUCH_TIME = "There is no such time."
PAST = "That is past."
TOO_FAR = "That is more than five years ahead."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to be reminded of, and when."""

    schedule: Schedule
    text: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """It can't be read; `why` in a sentence for the person."""

    why: str


def read(text: str, now: float, zone: ZoneInfo) -> Wanted | Unclear:
    """Read `tomorrow at 9 call mum` or `call mum tomorrow at 9`.

    Args:
        text: what was written after the command.
        now: when it was written, epoch seconds.
        zone: of who wrote it.
    """
    written = _LEAD.sub("", text.strip())
    if not written:
        return Unclear(NO_TIME)
    at = datetime.fromtimestamp(now, zone)
    try:
        reader = _Reader(written)
        schedule = _schedule(reader, at)
        if schedule is not None:
            return _wanted(schedule, _GLUE.sub("", reader.rest))
        return _when_at_the_end(written, at)
    except _UnclearError as unclear:
        return Unclear(str(unclear))


def _wanted(schedule: Schedule, text: str) -> Wanted:
    if not text.strip():
        raise _UnclearError(NO_TEXT)
    return Wanted(schedule, text.strip())


def _when_at_the_end(written: str, at: datetime) -> Wanted:
    """The longest ending that says when, all of it."""
    for gap in re.finditer(r"\s+", written):
        reader = _Reader(written[gap.end() :])
        try:
            schedule = _schedule(reader, at)
        except _UnclearError:
            continue
        if schedule is not None and not reader.rest.strip(" .!"):
            return _wanted(schedule, _GLUE.sub("", written[: gap.start()]))
    raise _UnclearError(NO_TIME)


class _UnclearError(Exception):
    """Carries the sentence of Unclear to `read`."""


@dataclass
class _Reader:
    """Takes pieces off the front of a text."""

    text: str
    position: int = field(default=0)

    @property
    def rest(self) -> str:
        return self.text[self.position :]

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.position)
        if found is not None:
            self.position = found.end()
        return found


def _words(pattern: str) -> re.Pattern[str]:
    """A pattern that ends where a word does, and takes the blanks and commas after it."""
    return re.compile(rf"(?:{pattern})(?!\w)(?!:\d)[\s,]*", re.IGNORECASE)


_LEAD = re.compile(r"^(?:me\b\s*)?(?:to\b\s*)?", re.IGNORECASE)
_GLUE = re.compile(r"^(?:to|that|about)\s+|^[:\-\u2013]\s*|\s+(?:on|at)$", re.IGNORECASE)

_DAY_NAMES = "|".join(f"{name[:3]}|{name[:4]}|{name}" for name in _WEEKDAYS)
_MONTH_NAMES = "|".join(f"{name[:3]}|{name[:4]}|{name}" for name in _MONTHS)
_IN = _words(r"in")
_AMOUNT = _words(r"(\d{1,4}|an?|one|two|three|half an)\s*(m|h|d|w)(?:in(?:ute)?s?|ours?|rs?|ays?|eeks?|)?")
_AND = _words(r"and")
_ISO = _words(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?(Z|[+-]\d{2}:\d{2})?")
_ISO_DATE = _words(r"(?:on\s+)?(\d{4})-(\d{2})-(\d{2})")
_DAY_MONTH = _words(
    rf"(?:on\s+)?(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?({_MONTH_NAMES})\.?(?:,?\s+(\d{{4}}))?"
)
_MONTH_DAY = _words(rf"(?:on\s+)?({_MONTH_NAMES})\.?\s+(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?")
_NUMERIC = re.compile(r"(?:on\s+)?(\d{1,2})\.(\d{1,2})\.(\d{4})?(?!\d)[\s,]*", re.IGNORECASE)
_RELATIVE = _words(rf"(today|this(?=\s+(?:{'|'.join(_PARTS)}))|tonight|tomorrow|(?:the\s+)?day\s+after\s+tomorrow)")
_WEEKDAY = _words(rf"(?:on\s+)?(next\s+|this\s+)?({_DAY_NAMES})")
_PART = _words(rf"(?:in\s+the\s+|at\s+)?({'|'.join(_PARTS)}|midday|midnight)")
_CLOCK = _words(r"(?:at\s+)?(\d{1,2}):(\d{2})(?:\s*(am|pm))?")
_HALF_DAY = _words(r"(?:at\s+)?(\d{1,2})\s*(am|pm)")
_AT_HOUR = _words(r"at\s+(\d{1,2})(?:\s*o['\u2019]?clock)?")

_EVERY = _words(r"every|each")
_DAILY = _words(r"daily|every\s+day|each\s+day")
_HOURLY = _words(r"(?:every|each)\s+(?:(\d{1,4}|two|three)\s+)?hours?|hourly")
_OFTEN = _words(r"(?:every|each)\s+(?:\d+\s*)?(?:min(?:ute)?s?|sec(?:ond)?s?)")
_PART_OF_EVERY = _words(rf"({'|'.join(_PARTS)}|midnight)")
_WORKDAYS = _words(r"weekdays?|workdays?|working\s+days?")
_WEEKEND = _words(r"weekends?")
_WEEK = _words(r"week(?:\s+on)?|weekly(?:\s+on)?")
_EACH_DAY_NAME = _words(rf"(?:and\s+)?({_DAY_NAMES})s?")
_MONTH = _words(r"month\s+on(?:\s+the)?\s+(\d{1,2})(?:st|nd|rd|th)?\.?|(\d{1,2})(?:st|nd|rd|th)?\s+of\s+the\s+month")
_YEAR = _words(r"year")


def _schedule(reader: _Reader, now: datetime) -> Schedule | None:
    """What is said at the front; None if that is no time."""
    for rule in (_after_a_while, _recurring, _exactly, _on_a_day):
        schedule = rule(reader, now)
        if schedule is not None:
            return schedule
    return None


def _once(at: int, now: datetime) -> Schedule:
    if at <= now.timestamp():
        raise _UnclearError(PAST)
    if at > now.timestamp() + LONGEST_SECONDS:
        raise _UnclearError(TOO_FAR)
    return Schedule(f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})", "UTC", at)


def _after_a_while(reader: _Reader, now: datetime) -> Schedule | None:
    start = reader.position
    if not reader.take(_IN):
        return None
    seconds = 0.0
    while amount := reader.take(_AMOUNT):
        number = amount[1].casefold()
        seconds += _UNITS[amount[2].casefold()] * (_NUMBERS[number] if number in _NUMBERS else int(number))
        reader.take(_AND)
    if not seconds:
        reader.position = start
        return None
    return _once(int(now.timestamp() + seconds), now)


def _exactly(reader: _Reader, now: datetime) -> Schedule | None:
    """A date with its time as a computer writes them, perhaps with an offset."""
    found = reader.take(_ISO)
    if found is None:
        return None
    try:
        said = datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3] or ''}")
    except ValueError:
        raise _UnclearError(NO_SUCH_DATE) from None
    return _once(int((said if found[3] else said.replace(tzinfo=now.tzinfo)).timestamp()), now)


def _on_a_day(reader: _Reader, now: datetime) -> Schedule | None:
    """A day and a time in either order, or one of them."""
    start = reader.position
    at = _time(reader)
    day = _day(reader, now)
    if day is None:
        if at is None:
            reader.position = start
            return None
        soon = moment(now.date(), at, _zone(now))
        if soon <= now.timestamp():
            soon = moment(now.date() + timedelta(days=1), at, _zone(now))
        return _once(soon, now)
    chosen, usual = day
    at = at or _time(reader) or usual
    if at is None:
        reader.position = start
        return None
    return _once(moment(chosen(at), at, _zone(now)), now)


type _Day = tuple[Callable[[time], date], time | None]
"""The day, once the time is known; and the time if none is said. A day that none makes sense for has None."""


def _day(reader: _Reader, now: datetime) -> _Day | None:
    for rule in (_relative_day, _weekday, _calendar_day):
        day = rule(reader, now)
        if day is not None:
            return day
    return None


def _relative_day(reader: _Reader, now: datetime) -> _Day | None:
    found = reader.take(_RELATIVE)
    if found is None:
        return None
    word, today = found[1].casefold(), now.date()
    if word in ("today", "this"):
        return lambda _: today, None
    if word == "tonight":
        return lambda _: today, time(20)
    days = 1 if word == "tomorrow" else 2
    return lambda _: today + timedelta(days=days), MORNING


def _weekday(reader: _Reader, now: datetime) -> _Day | None:
    found = reader.take(_WEEKDAY)
    if found is None:
        return None
    ahead = (_weekday_number(found[2]) - now.weekday()) % 7
    skips_today = (found[1] or "").strip().casefold() == "next"

    def chosen(at: time) -> date:
        today_is_over = skips_today or moment(now.date(), at, _zone(now)) <= now.timestamp()
        return now.date() + timedelta(days=7 if ahead == 0 and today_is_over else ahead)

    return chosen, MORNING


def _calendar_day(reader: _Reader, now: datetime) -> _Day | None:
    said = _month_and_day(reader)
    if said is None:
        return None
    year, month, day = said
    if year is not None:
        exact = _date(year, month, day)
        return lambda _: exact, MORNING
    _date(2024, month, day)  # a leap year: 29 February is a date

    def chosen(at: time) -> date:
        for candidate in range(now.year, now.year + 9):
            if not _is_date(candidate, month, day):
                continue
            if moment(date(candidate, month, day), at, _zone(now)) > now.timestamp():
                return date(candidate, month, day)
        raise _UnclearError(NO_SUCH_DATE)  # pragma: no cover (every date comes within nine years)

    return chosen, MORNING


def _month_and_day(reader: _Reader) -> tuple[int | None, int, int] | None:
    if found := reader.take(_ISO_DATE):
        return int(found[1]), int(found[2]), int(found[3])
    if found := reader.take(_DAY_MONTH):
        return _year(found[3]), _month_number(found[2]), int(found[1])
    if found := reader.take(_MONTH_DAY):
        return _year(found[3]), _month_number(found[1]), int(found[2])
    if found := reader.take(_NUMERIC):
        return _year(found[3]), int(found[2]), int(found[1])
    return None


def _time(reader: _Reader) -> time | None:
    if found := reader.take(_PART):
        word = found[1].casefold()
        return time(0) if word == "midnight" else _PARTS["noon" if word == "midday" else word]
    if found := reader.take(_CLOCK):
        return _clock(int(found[1]), int(found[2]), found[3])
    if found := reader.take(_HALF_DAY):
        return _clock(int(found[1]), 0, found[2])
    if found := reader.take(_AT_HOUR):
        return _clock(int(found[1]), 0, None)
    return None


def _clock(hour: int, minute: int, half: str | None) -> time:
    if half is not None:
        if hour not in range(1, 13):
            raise _UnclearError(NO_SUCH_TIME)
        hour = hour % 12 + (12 if half.casefold() == "pm" else 0)
    try:
        return time(hour, minute)
    except ValueError:
        raise _UnclearError(NO_SUCH_TIME) from None


def _recurring(reader: _Reader, now: datetime) -> Schedule | None:
    if reader.take(_OFTEN):
        raise _UnclearError(TOO_OFTEN)
    if found := reader.take(_HOURLY):
        return _every_hours(found[1], now)
    start = reader.position
    before = _time(reader)  # `at 8 every day`
    fields = _days_of(reader, now)
    if fields is None:
        reader.position = start
        return None
    day, month, weekday, usual = fields
    at = before or _time(reader) or usual
    expression = f"cron({at.minute} {at.hour} {day} {month} {weekday} *)"
    zone = _zone(now)
    return Schedule(expression, zone.key, next_by_cron(expression, zone, now.timestamp()))


def _every_hours(said: str | None, now: datetime) -> Schedule:
    hours = int(_NUMBERS.get(said.casefold()) or said) if said else 1
    if not 1 <= hours <= LONGEST_HOURS:
        raise _UnclearError(f"Every so many hours: from 1 to {LONGEST_HOURS}.")
    expression = f"rate({hours} hour{'' if hours == 1 else 's'})"
    return Schedule(expression, "UTC", int(now.timestamp()) + hours * 3600)


type _Fields = tuple[str, str, str, time]
"""Day of the month, month and weekday of a cron expression, and the time if none is said."""


def _days_of(reader: _Reader, now: datetime) -> _Fields | None:
    if reader.take(_DAILY):
        return "*", "*", "?", MORNING
    if not reader.take(_EVERY):
        return None
    if found := reader.take(_PART_OF_EVERY):
        return "*", "*", "?", _PARTS.get(found[1].casefold(), time(0))
    if found := reader.take(_MONTH):
        day = int(found[1] or found[2])
        _date(2024, 1, day)
        return str(day), "*", "?", MORNING
    return _weekdays_of(reader, now) or _day_of_the_year(reader)


def _weekdays_of(reader: _Reader, now: datetime) -> _Fields | None:
    if reader.take(_WORKDAYS):
        return "?", "*", "MON-FRI", MORNING
    if reader.take(_WEEKEND):
        return "?", "*", "SAT,SUN", MORNING
    of_the_week = reader.take(_WEEK)
    days: list[int] = []
    while found := reader.take(_EACH_DAY_NAME):
        days.append(_weekday_number(found[1]))
    if of_the_week and not days:
        days = [now.weekday()]
    if not days:
        return None
    return "?", "*", ",".join(_WEEKDAYS[day][:3].upper() for day in sorted(set(days))), MORNING


def _day_of_the_year(reader: _Reader) -> _Fields | None:
    reader.take(_YEAR)
    said = _month_and_day(reader)
    if said is None:
        return None
    _, month, day = said
    _date(2024, month, day)
    return str(day), str(month), "?", MORNING


def _zone(now: datetime) -> ZoneInfo:
    zone = now.tzinfo
    assert isinstance(zone, ZoneInfo)  # noqa: S101 (it was made so)
    return zone


def _weekday_number(name: str) -> int:
    return next(number for number, day in enumerate(_WEEKDAYS) if day.startswith(name.casefold()[:3]))


def _month_number(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, start=1) if month.startswith(name.casefold()[:3]))


def _year(said: str | None) -> int | None:
    return int(said) if said else None


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _date(year: int, month: int, day: int) -> date:
    if not _is_date(year, month, day):
        raise _UnclearError(NO_SUCH_DATE)
    return date(year, month, day)

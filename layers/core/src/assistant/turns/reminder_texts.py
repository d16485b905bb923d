"""What the assistant says about reminders. Plain text, no markup; times in the zone they were meant in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from assistant.turns.schedules import CRON, Schedule
from assistant.turns.zones import UTC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.model import Reminder

EXAMPLES = """For instance:
/remind tomorrow at 9 call the dentist
/remind in 20 minutes take out the cake
/remind 2027-03-01 18:00 renew the passport
/remind every monday 8:00 put out the bins
/remind every month on the 1st pay the rent"""

TOO_SOON = "That is past, or only seconds away. Please name a later time."
REFUSED = "I am sorry: that time was not accepted. Please name another, or another time zone (/timezone)."
NOTHING_PROPOSED = "My last answer proposed no reminder. /remind sets one."
HOW_TO_DELETE = "/reminders lists your reminders; /reminders delete and a number deletes that one."

_SHOWN = 200
_DAYS = {
    "MON": "Monday",
    "TUE": "Tuesday",
    "WED": "Wednesday",
    "THU": "Thursday",
    "FRI": "Friday",
    "SAT": "Saturday",
    "SUN": "Sunday",
}


def unclear(why: str) -> str:
    """For a `/remind` that can't be read."""
    return f"{why} {EXAMPLES}"


def too_long(most: int) -> str:
    """For a text that is too long."""
    return f"A reminder may have {most} characters; please put it shorter."


def too_many(most: int) -> str:
    """For a chat that has as many as it may."""
    return f"There are {most} reminders, and no room for more. /reminders delete and a number deletes one."


def none_of_that_number(number: int) -> str:
    """For a number that nothing has."""
    return f"There is no reminder {number}. /reminders lists those there are."


def set_to(reminder: Reminder, schedule: Schedule, zone: str | None) -> str:
    """That a reminder is set; `zone` is the chat's, if it has one."""
    said = zone or UTC
    when = "on " + _at(schedule.first, said)
    if not reminder.once:
        when = f"{_every(reminder)}, first on {_next_at(reminder, schedule.first, said)}"
    hint = "" if zone else "\n\nI reckon in UTC until you tell me your time zone: /timezone Europe/Berlin"
    return (
        f"I will remind you {when}: {reminder.text}\n\nThis is reminder {reminder.number}; /reminders lists all.{hint}"
    )


def set_already(reminder: Reminder) -> str:
    """That it had been set."""
    return f"That is set already, as reminder {reminder.number}: {_short(reminder.text)}"


def listed(reminders: Sequence[Reminder], now: float, zone: str | None) -> str:
    """All of a chat's reminders, the next first."""
    if not reminders:
        return f"There are no reminders. {EXAMPLES}"
    said = zone or UTC
    upcoming = sorted((_next(reminder, now), reminder.number, reminder) for reminder in reminders)
    lines = [_line(reminder, moment, said) for moment, _, reminder in upcoming]
    return "\n\n".join([*lines, "/reminders delete and a number deletes one."])


def deleted(reminder: Reminder) -> str:
    """That one is gone."""
    return f"Deleted reminder {reminder.number}: {_short(reminder.text)}"


def time_zone_is(zone: str | None, now: float) -> str:
    """The chat's time zone."""
    if zone is None:
        return "I do not know your time zone and reckon in UTC. Tell me the nearest big city: /timezone Europe/Berlin"
    return f"Your time zone is {zone}, where it is {_at(now, zone, named=False)}. /timezone and a place changes it."


def time_zone_set(zone: str, now: float) -> str:
    """That it has been set."""
    return (
        f"Your time zone is {zone} now, where it is {_at(now, zone, named=False)}. "
        "Reminders that are set already keep their times."
    )


def time_zone_unclear(found: Sequence[str]) -> str:
    """For a place that names no zone, or several."""
    if found:
        return f"Which one: {', '.join(found)}?"
    return "I know no such time zone. Name the nearest big city, or a zone such as Europe/Berlin or America/New_York."


def due(moment: int, zone: str | None) -> str:
    """When something was due."""
    return _at(moment, zone or UTC)


def _line(reminder: Reminder, moment: int, zone: str) -> str:
    when = _at(moment, zone)
    if not reminder.once:
        when = f"{_every(reminder)}, next on {_next_at(reminder, moment, zone)}"
    return f"{reminder.number}. {when}: {_short(reminder.text)}"


def _next(reminder: Reminder, now: float) -> int:
    """When it is due next; one whose moment has come and that has not fired yet: at that moment."""
    schedule = Schedule(reminder.schedule, reminder.time_zone, reminder.first)
    return schedule.next_after(now) or reminder.first


def _every(reminder: Reminder) -> str:
    """A recurring schedule in words."""
    found = CRON.fullmatch(reminder.schedule)
    if found is None:
        return f"every {reminder.schedule.removeprefix('rate(').removesuffix(')').removeprefix('1 ')}"
    minute, hour, day, month, weekdays = found.groups()
    return f"every {_days(day, month, weekdays)} at {int(hour):02d}:{int(minute):02d} ({reminder.time_zone})"


def _next_at(reminder: Reminder, moment: int, zone: str) -> str:
    """The next moment of a recurring one; the zone is not said twice."""
    return _at(moment, zone, named=(reminder.time_zone, reminder.schedule[:1]) != (zone, "c"))


def _days(day: str, month: str, weekdays: str) -> str:
    if weekdays == "MON-FRI":
        return "weekday"
    if weekdays != "?":
        return " and ".join(_DAYS[name] for name in weekdays.split(","))
    if day == "*":
        return "day"
    if month == "*":
        return f"month on day {day}"
    return f"year on {day} {datetime(2024, int(month), 1):%B}"  # noqa: DTZ001 (only its name)


def _at(moment: float, zone: str, *, named: bool = True) -> str:
    local = datetime.fromtimestamp(moment, ZoneInfo(zone))
    return f"{local:%A, %-d %B %Y, %H:%M}" + (f" ({zone})" if named else "")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"

"""Hours in which agents are started before anybody writes: those of chats in which people write at that hour."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from assistant.errors import SettingMissing
from assistant.turns import zones
from assistant.turns.waking import Swept, put_each_right

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.ports import Activity, Clock, Waker

DAYS = 7
"""So many days before today are looked at: a turn is kept for as long after its end."""

ACTIVE_DAYS = 2
"""On so many of them somebody wrote in that hour."""

_MIDNIGHT = 24
_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = f"({'|'.join(_NAMES)})"
_SPAN = re.compile(rf"(?:{_DAY}(?:-{_DAY})? )?([0-9]{{1,2}})-([0-9]{{1,2}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Hours of some days. `days`: 0 is Monday; from the hour `first` until the hour `end`."""

    days: frozenset[int]
    first: int
    end: int

    def holds(self, local: datetime) -> bool:
        """Whether a moment is in it."""
        return local.weekday() in self.days and self.first <= local.hour < self.end


@dataclass(frozen=True, slots=True)
class WarmHours:
    """Hours of a week in a time zone."""

    spans: Sequence[Span]
    zone: ZoneInfo

    def now(self, moment: float) -> datetime | None:
        """The moment in that zone, if it is in one of the spans."""
        local = datetime.fromtimestamp(moment, UTC).astimezone(self.zone)
        return local if any(span.holds(local) for span in self.spans) else None


def parse(said: str) -> WarmHours | None:
    """Read `Mon-Fri 7-9, 18-22 Europe/Berlin`: a span without days is of every day. Empty: None.

    Raises:
        SettingMissing: it is none; the message says what is wrong with it.
    """
    if not said:
        return None
    spans, _, zone = said.rpartition(" ")
    if zones.find(zone) != [zone]:
        raise SettingMissing(f"WarmHours: {zone} is no time zone, such as Europe/Berlin or UTC")
    return WarmHours([_span(part) for part in spans.split(", ")], ZoneInfo(zone))


def _span(said: str) -> Span:
    found = _SPAN.fullmatch(said)
    if found is None:
        raise SettingMissing(f"WarmHours: {said!r} is no span, such as Mon-Fri 7-9 or 18-22")
    first, end = int(found[3]), int(found[4])
    if not first < end <= _MIDNIGHT:
        raise SettingMissing(f"WarmHours: {said!r} does not end after it begins, at 24 at the latest")
    return Span(_days(found[1], found[2]), first, end)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    """From one day to another, over the end of the week if need be."""
    if first is None:
        return frozenset(range(7))
    begin = _NAMES.index(first)
    length = (_NAMES.index(last or first) - begin) % 7 + 1
    return frozenset((begin + day) % 7 for day in range(length))


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Starts the agents of the chats in which somebody is likely to write. `hours`: when; None: never."""

    hours: WarmHours | None
    activity: Activity
    waker: Waker
    clock: Clock

    def __call__(self) -> Swept:
        """Look at every chat that may talk to the assistant, in an hour in which agents shall be warm."""
        local = None if self.hours is None else self.hours.now(self.clock.now())
        if local is None:
            return Swept({}, [])
        return put_each_right(self.activity.chats(), partial(self._look, local))

    def _look(self, local: datetime, chat_id: str) -> str:
        """Have the agent started, unless nobody writes at that hour.

        Returns:
            What was done, for the log: `woken` or `left asleep`.
        """
        since = (local - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
        opened = [
            datetime.fromtimestamp(moment, UTC).astimezone(local.tzinfo)
            for moment in self.activity.opened(chat_id, since=int(since.timestamp()))
        ]
        active = {each.date() for each in opened if each.hour == local.hour} - {local.date()}
        if len(active) < ACTIVE_DAYS:
            return "left asleep"
        self.waker.wake_chat(chat_id, starter=f"warm-{local:%Y%m%d%H}")
        return "woken"

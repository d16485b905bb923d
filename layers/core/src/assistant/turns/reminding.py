"""`/remind`, `/reminders` and `/timezone`: what people are reminded of, set, listed and deleted at once.

A reminder is an item and a schedule. The schedule is made first: one without an item fires once, finds nothing and
is deleted; an item without a schedule would be shown and never come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from assistant.turns import reminder_texts, zones
from assistant.turns.model import Reminder
from assistant.turns.when import Unclear, Wanted, read

if TYPE_CHECKING:
    from assistant.turns.accepting import Incoming
    from assistant.turns.ports import Clock, Inbox, NewSchedules, Reminders

MOST_REMINDERS = 50
"""Of one chat."""

LONGEST_TEXT = 1000
LEAST_SECONDS = 20
"""What is due sooner may be over before its schedule exists."""

_DELETE = ("delete", "remove", "cancel")


@dataclass(frozen=True, slots=True)
class Reminding:
    """Carries out the commands about reminders."""

    reminders: Reminders
    schedules: NewSchedules
    inbox: Inbox
    clock: Clock

    def __call__(self, incoming: Incoming) -> str | None:
        """Carry out a command; what to answer, or None for a repeat of one that has been carried out."""
        match incoming.command:
            case "remind":
                return self._remind(incoming)
            case "timezone":
                return self._time_zone(incoming)
        return self._list_or_delete(incoming)

    def forget(self, chat_id: str) -> int:
        """Delete all of a chat's reminders, with their schedules; how many they were. Again is harmless."""
        there = self.reminders.of(chat_id)
        for reminder in there:
            self.schedules.delete(chat_id, reminder.key)
            self.reminders.remove(chat_id, reminder, None)
        return len(there)

    def _remind(self, incoming: Incoming) -> str | None:
        set_zone = self.reminders.time_zone(incoming.chat_id)
        # By the time of the message, so that a repeat of it means the same moment.
        wanted = read(incoming.text or "", incoming.date, ZoneInfo(set_zone or zones.UTC))
        if isinstance(wanted, Unclear):
            return self._say(incoming, reminder_texts.unclear(wanted.why))
        if len(wanted.text) > LONGEST_TEXT:
            return self._say(incoming, reminder_texts.too_long(LONGEST_TEXT))
        there = self.reminders.of(incoming.chat_id)
        if any(reminder.key == _key(incoming) for reminder in there):
            return None
        if wanted.schedule.first < self.clock.now() + LEAST_SECONDS:
            return self._say(incoming, reminder_texts.TOO_SOON)
        number = _free_number(there)
        if number is None:
            return self._say(incoming, reminder_texts.too_many(MOST_REMINDERS))
        reminder = self._reminder(incoming, wanted, number)
        if not self.schedules.create(incoming.chat_id, reminder):
            return self._say(incoming, reminder_texts.REFUSED)
        if not self.reminders.add(incoming.chat_id, reminder, incoming.update_id):
            return None
        return reminder_texts.set_to(reminder, wanted.schedule, set_zone)

    def _reminder(self, incoming: Incoming, wanted: Wanted, number: int) -> Reminder:
        return Reminder(
            number=number,
            key=_key(incoming),
            text=wanted.text,
            schedule=wanted.schedule.expression,
            time_zone=wanted.schedule.time_zone,
            first=wanted.schedule.first,
            message_id=incoming.message_id,
            sender_id=incoming.sender_id,
            group=incoming.group,
            created_at=int(self.clock.now()),
            thread_id=incoming.thread_id,
        )

    def _list_or_delete(self, incoming: Incoming) -> str | None:
        words = (incoming.text or "").casefold().split()
        there = self.reminders.of(incoming.chat_id)
        match words:
            case []:
                zone = self.reminders.time_zone(incoming.chat_id)
                return self._say(incoming, reminder_texts.listed(there, self.clock.now(), zone))
            case [verb, said] if verb in _DELETE and said.isdecimal():
                return self._delete(incoming, there, int(said))
        return self._say(incoming, reminder_texts.HOW_TO_DELETE)

    def _delete(self, incoming: Incoming, there: list[Reminder], number: int) -> str | None:
        reminder = next((one for one in there if one.number == number), None)
        if reminder is None:
            return self._say(incoming, reminder_texts.none_of_that_number(number))
        if not self.reminders.remove(incoming.chat_id, reminder, incoming.update_id):
            return None
        self.schedules.delete(incoming.chat_id, reminder.key)
        return reminder_texts.deleted(reminder)

    def _time_zone(self, incoming: Incoming) -> str | None:
        said = (incoming.text or "").strip()
        if not said:
            zone = self.reminders.time_zone(incoming.chat_id)
            return self._say(incoming, reminder_texts.time_zone_is(zone, self.clock.now()))
        found = zones.find(said)
        if len(found) != 1:
            return self._say(incoming, reminder_texts.time_zone_unclear(found))
        if not self.reminders.set_time_zone(incoming.chat_id, found[0], incoming.update_id):
            return None
        return reminder_texts.time_zone_set(found[0], self.clock.now())

    def _say(self, incoming: Incoming, text: str) -> str | None:
        """Answer, where nothing else is to be done."""
        return text if self.inbox.mark(incoming.chat_id, incoming.update_id) else None


def _key(incoming: Incoming) -> str:
    return f"u{incoming.update_id}"


def _free_number(there: list[Reminder]) -> int | None:
    taken = {reminder.number for reminder in there}
    return next((number for number in range(1, MOST_REMINDERS + 1) if number not in taken), None)

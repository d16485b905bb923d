"""`/remind`, `/confirm`, `/reminders` and `/timezone`: what people are reminded of, set, listed, deleted at once.

A reminder is an item and a schedule. The schedule is made first: one without an item fires once, finds nothing and
is deleted; an item without a schedule would be shown and never come.

A model, or the agent, can only propose one: by a line of its answer that reads as the command does. Nothing comes of
it before the person, who sees that line, sends `/confirm`; so there is nothing that whoever steers an agent could set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from assistant.turns import reminder_texts, zones
from assistant.turns.model import Reminder
from assistant.turns.when import Unclear, Wanted, read

if TYPE_CHECKING:
    from assistant.turns.accepting import Incoming
    from assistant.turns.model import Turn
    from assistant.turns.ports import Claims, Clock, Inbox, NewSchedules, Reminders, Schedules, Turns

MOST_REMINDERS = 50
"""Of one chat."""

LONGEST_TEXT = 1000
LEAST_SECONDS = 20
"""What is due sooner may be over before its schedule exists."""

MOST_PROPOSED = 5
"""Of one answer."""

_DELETE = ("delete", "remove", "cancel")
_PROPOSED = re.compile(r"^[ \t>*`\u2022-]*/remind(?:@\w+)?[ \t]+(\S.*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A reminder that is asked for: what was written, when (epoch seconds), and the key that it gets."""

    said: str
    written: int
    key: str


@dataclass(frozen=True, slots=True)
class Reminding:
    """Carries out the commands about reminders."""

    reminders: Reminders
    schedules: NewSchedules
    inbox: Inbox
    claims: Claims
    turns: Turns
    clock: Clock

    def __call__(self, incoming: Incoming) -> str | None:
        """Carry out a command; what to answer, or None for a repeat of one that has been carried out."""
        match incoming.command:
            case "remind":
                return self._remind(incoming)
            case "confirm":
                return self._confirm(incoming)
            case "timezone":
                return self._time_zone(incoming)
        return self._list_or_delete(incoming)

    def _remind(self, incoming: Incoming) -> str | None:
        # By the time of the message, so that a repeat of it means the same moment.
        asked = _Asked(incoming.text or "", incoming.date, f"u{incoming.update_id}")
        answer, stored = self._set(incoming, asked, incoming.update_id)
        return answer if stored else self._say(incoming, answer)

    def _confirm(self, incoming: Incoming) -> str | None:
        """Set what the last answer proposes, by the time of that answer; what is set already stays as it is."""
        turn = self._last_answer(incoming.chat_id)
        proposed = [] if turn is None else _proposed(turn.reply or "")
        if turn is None or not proposed:
            return self._say(incoming, reminder_texts.NOTHING_PROPOSED)
        answers = [
            self._set(incoming, _Asked(said, turn.created_at, f"t{turn.number}-{place}"), None)[0]
            for place, said in enumerate(proposed)
        ]
        return self._say(incoming, "\n\n".join(answers))

    def _last_answer(self, chat_id: str) -> Turn | None:
        number = self.claims.read(chat_id).last_turn
        return None if number is None else self.turns.read(chat_id, number)

    def _set(self, incoming: Incoming, asked: _Asked, update_id: int | None) -> tuple[str, bool]:
        """Set a reminder, together with the update's mark if it has one.

        Returns:
            What to say, and whether it was set.
        """
        set_zone = self.reminders.time_zone(incoming.chat_id)
        wanted = read(asked.said, asked.written, ZoneInfo(set_zone or zones.UTC))
        if isinstance(wanted, Unclear):
            return reminder_texts.unclear(wanted.why), False
        there = self.reminders.of(incoming.chat_id)
        same = next((reminder for reminder in there if reminder.key == asked.key), None)
        if same is not None:
            return reminder_texts.set_already(same), False
        problem = self._problem(wanted, there)
        if problem is not None:
            return problem, False
        reminder = self._reminder(incoming, asked, wanted, there)
        if not self.schedules.create(incoming.chat_id, reminder):
            return reminder_texts.REFUSED, False
        stored = self.reminders.add(incoming.chat_id, reminder, update_id)
        return reminder_texts.set_to(reminder, wanted.schedule, set_zone), stored

    def _problem(self, wanted: Wanted, there: list[Reminder]) -> str | None:
        """Why it can't be set, in words."""
        if len(wanted.text) > LONGEST_TEXT:
            return reminder_texts.too_long(LONGEST_TEXT)
        if wanted.schedule.first < self.clock.now() + LEAST_SECONDS:
            return reminder_texts.TOO_SOON
        if len(there) >= MOST_REMINDERS:
            return reminder_texts.too_many(MOST_REMINDERS)
        return None

    def _reminder(self, incoming: Incoming, asked: _Asked, wanted: Wanted, there: list[Reminder]) -> Reminder:
        taken = {reminder.number for reminder in there}
        return Reminder(
            number=next(number for number in range(1, MOST_REMINDERS + 1) if number not in taken),
            key=asked.key,
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
        # It may also have fired, or been deleted, since they were read.
        if reminder is None or not self.reminders.remove(incoming.chat_id, reminder, incoming.update_id):
            return self._say(incoming, reminder_texts.none_of_that_number(number))
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


def _proposed(reply: str) -> list[str]:
    """What the lines of an answer propose; of an endless one what is too long all the same."""
    return [said.rstrip(" \t`*")[: 2 * LONGEST_TEXT] for said in _PROPOSED.findall(reply)[:MOST_PROPOSED]]


def forget(reminders: Reminders, schedules: Schedules, chat_id: str, *, until: float) -> None:
    """Delete a chat's reminders that were set by then, with their schedules. Again is harmless."""
    for reminder in set_by(reminders, chat_id, until):
        schedules.delete(chat_id, reminder.key)
        reminders.remove(chat_id, reminder, None)


def set_by(reminders: Reminders, chat_id: str, until: float) -> list[Reminder]:
    """A chat's reminders that were set by then."""
    return [reminder for reminder in reminders.of(chat_id) if reminder.created_at <= until]

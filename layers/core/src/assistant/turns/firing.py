"""A reminder is due: it becomes a message of its chat, once, and the chat is woken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from assistant.turns.model import InboxMessage, Reminder

if TYPE_CHECKING:
    from assistant.turns.ports import Access, Reminders, Schedules
    from assistant.turns.waking import Waking


@dataclass(frozen=True, slots=True)
class Due:
    """Which reminder is due, and the moment (epoch seconds) for which it was scheduled."""

    chat_id: str
    key: str
    moment: int

    @classmethod
    def parse(cls, event: object) -> Due:
        """Read what a schedule sends; ValueError if it is something else."""
        match event:
            case {"chat_id": str(chat_id), "key": str(key), "moment": str(moment)}:
                return cls(chat_id, key, int(datetime.fromisoformat(moment).timestamp()))
        raise ValueError("not what a reminder's schedule sends")


@dataclass(frozen=True, slots=True)
class Firing:
    """Makes a due reminder a message."""

    reminders: Reminders
    schedules: Schedules
    access: Access
    waking: Waking

    def __call__(self, due: Due) -> str:
        """Store the message and wake the chat; again it does nothing but wake.

        Returns:
            What was done, for the log: `stored`, `fired before`, `gone`, `not allowed`.
        """
        reminder = next((one for one in self.reminders.of(due.chat_id) if one.key == due.key), None)
        if reminder is None:
            # Deleted in this moment, or fired by a try that died, or left over by a command that did.
            self.schedules.delete(due.chat_id, due.key)
            self.waking.wake(due.chat_id)
            return "gone"
        who = [reminder.sender_id, due.chat_id] if reminder.group else [reminder.sender_id]
        if not self.access.allowed(who):
            if reminder.once:
                self.reminders.remove(due.chat_id, reminder, None)
            return "not allowed"
        stored = self.reminders.fire(due.chat_id, reminder, due.moment, _message(reminder, due))
        self.waking.wake(due.chat_id)
        return "stored" if stored else "fired before"


def _message(reminder: Reminder, due: Due) -> InboxMessage:
    """It answers the message that set it, so that its very words are at hand."""
    return InboxMessage(
        kind="reminder",
        text=reminder.text,
        message_id=reminder.message_id,
        date=due.moment,
        update_id=reminder.number,
        thread_id=reminder.thread_id,
        group=reminder.group,
        sender_id=reminder.sender_id,
    )

"""Reminders in the Runtime table; becoming a message, in one transaction with the Conversations table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.dynamodb import Table, Update
from assistant.stores.inbox import dealt_with, one_more, waiting
from assistant.turns.model import Reminder

if TYPE_CHECKING:
    from assistant.stores.dynamodb import Write
    from assistant.turns.model import InboxMessage
    from assistant.turns.ports import Clock

_SAME = "#key = :key"
_KEY = {"#key": "key"}


@dataclass(frozen=True, slots=True)
class DynamoReminders:
    """Reminders, and the chats' time zones."""

    runtime: Table
    conversations: Table
    clock: Clock

    def time_zone(self, chat_id: str) -> str | None:
        """The chat's time zone."""
        zone = (self.conversations.get(chat_id, schema.CHAT) or {}).get("time_zone")
        return None if zone is None else str(zone)

    def set_time_zone(self, chat_id: str, time_zone: str, update_id: int) -> bool:
        """Set the chat's time zone, once per update."""
        changed = self.conversations.change(chat_id, schema.CHAT, Update(put={"time_zone": time_zone}))
        return self.conversations.transact(*self._marks(chat_id, update_id), changed) is None

    def of(self, chat_id: str) -> list[Reminder]:
        """The chat's reminders by number."""
        items = self.runtime.query(schema.reminders_partition(chat_id), "0", "~")
        return [msgspec.convert(item, Reminder) for item in items]

    def add(self, chat_id: str, reminder: Reminder, update_id: int | None) -> bool:
        """Add a reminder."""
        put = self.runtime.put(
            schema.reminders_partition(chat_id),
            schema.reminder_key(reminder.number),
            asdict(reminder),
            "attribute_not_exists(pk)",
        )
        refused = self.conversations.transact(*self._marks(chat_id, update_id), put)
        if refused is not None and refused.failed[-1]:
            raise StoreContended("another reminder has taken the number")
        return refused is None

    def remove(self, chat_id: str, reminder: Reminder, update_id: int | None) -> bool:
        """Remove a reminder."""
        return self.runtime.transact(*self._marks(chat_id, update_id), self._delete(chat_id, reminder)) is None

    def fire(self, chat_id: str, reminder: Reminder, moment: int, message: InboxMessage) -> bool:
        """Note that it fired, or delete what is due once, and store the message."""
        refused = self.conversations.transact(
            self._delete(chat_id, reminder) if reminder.once else self._fired(chat_id, reminder, moment),
            waiting(self.conversations, chat_id, message),
            self.conversations.change(chat_id, schema.CHAT, one_more(int(self.clock.now()))),
        )
        return refused is None

    def _marks(self, chat_id: str, update_id: int | None) -> list[Write]:
        """The mark of the update that asks for something, if one does."""
        if update_id is None:
            return []
        return [dealt_with(self.conversations, chat_id, update_id, int(self.clock.now()))]

    def _delete(self, chat_id: str, reminder: Reminder) -> Write:
        delete = self.runtime.delete(schema.reminders_partition(chat_id), schema.reminder_key(reminder.number), _SAME)
        delete["Delete"] |= {
            "ExpressionAttributeNames": _KEY,
            "ExpressionAttributeValues": {":key": {"S": reminder.key}},
        }
        return delete

    def _fired(self, chat_id: str, reminder: Reminder, moment: int) -> Write:
        update = Update(
            put={"last_fired": moment},
            condition=f"{_SAME} AND (attribute_not_exists(last_fired) OR last_fired < :moment)",
            values={"key": reminder.key, "moment": moment},
            names=_KEY,
        )
        return self.runtime.change(schema.reminders_partition(chat_id), schema.reminder_key(reminder.number), update)

"""What the webhook writes: messages, marks of updates, the rate of a chat."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.claims import GRACE_SECONDS
from assistant.stores.dynamodb import Plain, Refused, Table, Update, Write
from assistant.turns.accepting import Stored

if TYPE_CHECKING:
    from assistant.turns.model import InboxMessage
    from assistant.turns.ports import Clock

MARK_SECONDS = 7 * 86400
_TRIES = 5


@dataclass(frozen=True, slots=True)
class DynamoInbox:
    """The inbox in the Conversations table."""

    table: Table
    clock: Clock

    def store(self, chat_id: str, message: InboxMessage, *, limit: int) -> Stored:
        """Store a message, its mark and the counters in one transaction."""
        new_minute = True
        for _ in range(_TRIES):
            now = int(self.clock.now())
            refused = self.table.transact(
                self._mark(chat_id, message.update_id, now),
                waiting(self.table, chat_id, message),
                self.table.change(chat_id, schema.CHAT, _counted(now, limit, new_minute=new_minute)),
            )
            if refused is None:
                return Stored.NOW
            if refused.failed[0]:
                return Stored.BEFORE
            chat: Plain = refused.items[2] or {}
            new_minute = int(chat.get("rate_minute", 0)) < now // 60  # a function's clock may be behind another's
            if not new_minute and int(chat.get("rate_count", 0)) >= limit:
                return self._too_many(chat_id, now)
        raise StoreContended("the chat's rate kept changing")

    def forget_history(self, chat_id: str, update_id: int) -> bool:
        """Hide all turns so far from the conversation, once per update."""
        refused = self.table.transact(
            self._mark(chat_id, update_id, int(self.clock.now())),
            self.table.change(
                chat_id,
                schema.CHAT,
                Update(also=["history_after = if_not_exists(turn_counter, :zero)"], values={"zero": 0}),
            ),
        )
        return refused is None

    def mark(self, chat_id: str, update_id: int) -> bool:
        """Mark an update as dealt with."""
        now = int(self.clock.now())
        return self.table.put_mark(chat_id, f"{schema.UPDATE}{update_id}", now=now, ttl=now + MARK_SECONDS)

    def _mark(self, chat_id: str, update_id: int, now: int) -> Write:
        return dealt_with(self.table, chat_id, update_id, now)

    def _too_many(self, chat_id: str, now: int) -> Stored:
        minute = now // 60
        told = self.table.update(
            chat_id,
            schema.CHAT,
            Update(
                put={"rate_noticed": minute},
                condition="attribute_not_exists(rate_noticed) OR rate_noticed < :minute",
                values={"minute": minute},
            ),
        )
        return Stored.TOO_MANY if isinstance(told, Refused) else Stored.TOO_MANY_SAY_SO


def dealt_with(table: Table, chat_id: str, update_id: int, now: int) -> Write:
    """Mark an update as dealt with, for the transaction that does; its condition fails if it had been."""
    return table.mark(chat_id, f"{schema.UPDATE}{update_id}", now=now, ttl=now + MARK_SECONDS)


def waiting(table: Table, chat_id: str, message: InboxMessage) -> Write:
    """Put a message into the inbox, for a transaction with `one_more`."""
    values = asdict(message)
    del values["update_id"]  # it is in the key
    return table.put(chat_id, schema.inbox_key(message), values)


def one_more(now: int) -> Update:
    """The chat with one message more."""
    return Update(
        put={"due_kind": schema.DUE_CHAT},
        also=[
            "inbox_counter = if_not_exists(inbox_counter, :zero) + :one",
            "drained_counter = if_not_exists(drained_counter, :zero)",
            # Never put off: a chat whose execution died would not be looked at for as long as somebody writes.
            "due_at = if_not_exists(due_at, :due)",
        ],
        values={"zero": 0, "one": 1, "due": now + GRACE_SECONDS},
    )


def _counted(now: int, limit: int, *, new_minute: bool) -> Update:
    """One message more: the first of its minute, or one of at most `limit`."""
    minute, more = now // 60, one_more(now)
    values = {**more.values, "minute": minute}
    if new_minute:
        return replace(
            more,
            put={**more.put, "rate_minute": minute, "rate_count": 1},
            condition="attribute_not_exists(rate_minute) OR rate_minute < :minute",
            values=values,
        )
    return replace(
        more,
        also=[*more.also, "rate_count = rate_count + :one"],
        condition="rate_minute >= :minute AND rate_count < :limit",
        values={**values, "limit": limit},
    )

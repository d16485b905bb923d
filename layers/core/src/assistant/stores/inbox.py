"""What the webhook writes: messages, marks of updates, the rate of a chat."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.claims import GRACE_SECONDS
from assistant.stores.dynamodb import Plain, Refused, Table, Update, Value, Write
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
                self.table.put(chat_id, schema.inbox_key(message), _without_update_id(message)),
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
        return self.table.mark(chat_id, f"{schema.UPDATE}{update_id}", now=now, ttl=now + MARK_SECONDS)

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


def _without_update_id(message: InboxMessage) -> dict[str, str | int | bool | None]:
    values = asdict(message)
    del values["update_id"]  # it is in the key
    return values


def _counted(now: int, limit: int, *, new_minute: bool) -> Update:
    """One message more: the first of its minute, or one of at most `limit`."""
    minute = now // 60
    counters = [
        "inbox_counter = if_not_exists(inbox_counter, :zero) + :one",
        "drained_counter = if_not_exists(drained_counter, :zero)",
        # Never put off: a chat whose execution died would not be looked at for as long as somebody writes.
        "due_at = if_not_exists(due_at, :due)",
    ]
    due: dict[str, Value | None] = {"due_kind": schema.DUE_CHAT}
    values: dict[str, Value] = {"zero": 0, "one": 1, "minute": minute, "due": now + GRACE_SECONDS}
    if new_minute:
        return Update(
            put={**due, "rate_minute": minute, "rate_count": 1},
            also=counters,
            condition="attribute_not_exists(rate_minute) OR rate_minute < :minute",
            values=values,
        )
    return Update(
        put=due,
        also=[*counters, "rate_count = rate_count + :one"],
        condition="rate_minute >= :minute AND rate_count < :limit",
        values={**values, "limit": limit},
    )

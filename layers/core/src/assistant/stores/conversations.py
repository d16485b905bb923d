"""A chat's partition of the Conversations table as a whole: what is kept of it, and forgetting it.

Forgetting begins with one transaction, the fence: the claim's epoch is raised, so that whoever works on the chat
changes nothing any more; no turn is open; what waited is gone. What is deleted afterwards is what the fence took.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.dynamodb import MOST_WRITES, Table, Update, from_item, to_item
from assistant.stores.turns import inbox_message
from assistant.turns.model import Chat, Exchange, Kept, Turn, TurnStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from assistant.stores.dynamodb import Plain, Value, Write
    from assistant.turns.errands import Asked, Errand
    from assistant.turns.model import InboxMessage
    from assistant.turns.ports import Clock

_TRIES = 8
_AT_ONCE = MOST_WRITES - 3
"""Messages that one transaction deletes, beside what else it writes."""

_STAYS = frozenset({
    "pk", "sk", "inbox_counter", "drained_counter", "rate_minute", "rate_count", "rate_noticed", "turn_counter",
    "claim_epoch", "history_after",
})  # fmt: skip
"""Of the chat item: numbers that must never go back. Executions, tasks and previews are named by them."""

_ENDED = (TurnStatus.ANSWERED, TurnStatus.DELIVERED)


@dataclass(frozen=True, slots=True)
class DynamoConversations:
    """Conversations as a whole."""

    table: Table
    clock: Clock

    def kept(self, chat_id: str) -> Kept:
        """What is kept of a chat and has not expired."""
        chat, waiting = self._waiting(chat_id)
        exchanges = [
            (_number(item), msgspec.convert(item, Exchange)) for item in self._current(chat_id, schema.HISTORY)
        ]
        turns = [msgspec.convert(item, Turn) for item in self._current(chat_id, schema.TURN)]
        unanswered = [turn for turn in turns if turn.text and turn.status not in _ENDED]
        return Kept(msgspec.convert(chat, Chat), waiting, exchanges, unanswered)

    def fence(self, asked: Asked, errand: Errand) -> bool:
        """Empty the chat, once: what was there before a command was sent is gone, or belongs to nobody any more.

        Returns:
            Whether messages wait that came later: somebody has to be woken for them.
        """
        for _ in range(_TRIES):
            item, waiting = self._waiting(asked.chat_id)
            older = [message for message in waiting if _place(message) < (errand.date, errand.message_id)]
            left = len(waiting) - len(older[:_AT_ONCE])
            if len(older) > _AT_ONCE:
                self._drain(asked, item, older[:_AT_ONCE])
                continue
            if self._fenced(asked, item, older, left):
                return bool(left)
            if self._is_fenced(asked):
                return bool(left)
        raise StoreContended("the chat kept changing")

    def count(self, chat_id: str, until: int) -> int:
        """How many questions and answers there are up to a turn."""
        last = schema.history_key(until)
        return sum(schema.HISTORY <= key <= last for key in self._keys(chat_id))

    def erase(self, asked: Asked, until: int) -> None:
        """Delete what the fence took. Turns first: as long as one is there, a late answer may be put beside it."""
        keys = [*self._keys(asked.chat_id)]
        taken = [key for key in keys if _is_taken(key, until) and key != schema.errand_key(asked.update_id)]
        taken.sort(key=lambda key: not key.startswith(schema.TURN))
        for batch in itertools.batched(taken, MOST_WRITES, strict=False):
            self.table.transact(*(self.table.delete(asked.chat_id, key) for key in batch))

    def _waiting(self, chat_id: str) -> tuple[Plain, list[InboxMessage]]:
        items = self.table.query(chat_id, schema.CHAT, f"{schema.CHAT}~")
        chat = next((item for item in items if item["sk"] == schema.CHAT), {})
        return chat, [inbox_message(item) for item in items if str(item["sk"]).startswith(schema.INBOX)]

    def _current(self, chat_id: str, prefix: str) -> list[Plain]:
        now = self.clock.now()
        found = self.table.query(chat_id, prefix, f"{prefix}~")
        return [item for item in found if not 0 < int(item.get("ttl", 0)) <= now]

    def _keys(self, chat_id: str) -> Iterator[str]:
        pages = self.table.client.get_paginator("query").paginate(
            TableName=self.table.name,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues=to_item({":pk": chat_id}),
            ProjectionExpression="pk, sk",
        )
        for page in pages:
            for item in page["Items"]:
                yield str(from_item(item)["sk"])

    def _drain(self, asked: Asked, chat: Plain, older: Sequence[InboxMessage]) -> None:
        drained = _unchanged(chat, {}, also=["drained_counter = drained_counter + :drained"], drained=len(older))
        self.table.transact(
            self.table.change(asked.chat_id, schema.CHAT, drained),
            self.table.change(asked.chat_id, schema.errand_key(asked.update_id), _more_waited(len(older))),
            *self._gone(asked.chat_id, older),
        )

    def _fenced(self, asked: Asked, chat: Plain, older: Sequence[InboxMessage], left: int) -> bool:
        turns = int(chat.get("turn_counter", 0))
        inbox = int(chat.get("inbox_counter", 0))
        put: dict[str, Value | None] = {name: None for name in chat if name not in _STAYS}
        put |= {"history_after": turns, "drained_counter": inbox - left}
        if left:
            put |= {"due_kind": schema.DUE_CHAT, "due_at": int(self.clock.now())}
        also = ["claim_epoch = if_not_exists(claim_epoch, :none) + :one"]
        noted = _more_waited(len(older))
        noted = Update(
            put={"until": turns},
            also=noted.also,
            condition="attribute_exists(pk) AND attribute_not_exists(#until)",
            values=noted.values,
            names={"#until": "until"},
        )
        opened = chat.get("open_turn")
        refused = self.table.transact(
            self.table.change(asked.chat_id, schema.CHAT, _unchanged(chat, put, also=also, one=1)),
            self.table.change(asked.chat_id, schema.errand_key(asked.update_id), noted),
            *([] if opened is None else [self.table.delete(asked.chat_id, schema.turn_key(int(opened)))]),
            *self._gone(asked.chat_id, older),
        )
        return refused is None

    def _is_fenced(self, asked: Asked) -> bool:
        item = self.table.get(asked.chat_id, schema.errand_key(asked.update_id))
        return item is None or "until" in item

    def _gone(self, chat_id: str, messages: Sequence[InboxMessage]) -> list[Write]:
        return [self.table.delete(chat_id, schema.inbox_key(one), "attribute_exists(pk)") for one in messages]


def _unchanged(chat: Plain, put: dict[str, Value | None], *, also: Sequence[str], **values: int) -> Update:
    """A change of the chat item, if nothing came in, and nobody took it over or went on, since it was read."""
    conditions = []
    for name in ("inbox_counter", "drained_counter", "claim_epoch", "turn_counter", "open_turn"):
        if name in chat:
            conditions.append(f"{name} = :was_{name}")
            values[f"was_{name}"] = int(chat[name])
        else:
            conditions.append(f"attribute_not_exists({name})")
    if any(":none" in clause for clause in also):
        values["none"] = 0
    return Update(put=put, also=also, condition=" AND ".join(conditions), values=values)


def _more_waited(number: int) -> Update:
    return Update(also=["waiting = if_not_exists(waiting, :zero) + :more"], values={"zero": 0, "more": number})


def _place(message: InboxMessage) -> tuple[int, int]:
    return message.date, message.message_id


def _number(item: Plain) -> int:
    return int(str(item["sk"]).rpartition("#")[2])


def _is_taken(key: str, until: int) -> bool:
    """Whether an item of the chat is forgotten: all but the chat itself, what came later, and the marks of updates."""
    if key.startswith((schema.TURN, schema.HISTORY)):
        return int(key.rpartition("#")[2]) <= until
    return key != schema.CHAT and not key.startswith((schema.INBOX, schema.UPDATE))

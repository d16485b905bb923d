"""What the operator reads and writes of the two tables beside the product's own stores: people, owner, failed turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import Update, from_item, to_item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from assistant.stores.dynamodb import Plain, Table, Value


@dataclass(frozen=True, slots=True)
class People:
    """The allow-list and the owner's chat, in the Runtime table."""

    table: Table

    def allowed(self) -> Mapping[str, str]:
        """Who may talk to the assistant: ids with the notes kept of them."""
        return {str(item["sk"]): _note(item) for item in self._listed()}

    def allow(self, who: str, note: str) -> None:
        """Put somebody on the list, or change the note."""
        self.table.update(schema.ALLOWED, who, Update(put={"note": note}))

    def deny(self, who: str) -> bool:
        """Take somebody off the list, a group under each of its ids; False if they were not on it."""
        listed = {str(item["sk"]): str(item.get("chat", item["sk"])) for item in self._listed()}
        gone = [each for each, first in listed.items() if first == listed.get(who)]
        for each in gone:
            self.table.client.delete_item(**self.table.key(schema.ALLOWED, each))
        return bool(gone)

    def set_owner(self, chat_id: int) -> None:
        """Have notices and alarms sent to that chat."""
        self._put(schema.SETTINGS, schema.OWNER, {"chat_id": chat_id})

    def _listed(self) -> Sequence[Plain]:
        return self.table.query(schema.ALLOWED, " ", "~")

    def _put(self, pk: str, sk: str, values: Mapping[str, Value | None]) -> None:
        item = {**to_item(values), **to_item({"pk": pk, "sk": sk})}
        self.table.client.put_item(TableName=self.table.name, Item=item)


def _note(item: Plain) -> str:
    former = f"was {item['chat']} before it became a supergroup" if "chat" in item else ""
    return "; ".join(filter(None, (str(item.get("note", "")), former)))


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that ended without an answer."""

    chat_id: str
    turn: int


@dataclass(frozen=True, slots=True)
class Chats:
    """All chats, read from end to end: for the operator now and then, never for the product."""

    table: Table

    def unanswered(self) -> list[Ended]:
        """The newest failed turn of each chat that has one."""
        return [
            Ended(str(chat["pk"]), int(chat["failed_turn"])) for chat in self._chats("attribute_exists(failed_turn)")
        ]

    def count(self) -> Mapping[str, int]:
        """How many chats there are, how many are being worked on, how many wait for their next moment."""
        chats = list(self._chats())
        return {
            "chats": len(chats),
            "working": sum("claimed_at" in chat for chat in chats),
            "waiting": sum("due_at" in chat and "claimed_at" not in chat for chat in chats),
            "unanswered": sum("failed_turn" in chat for chat in chats),
        }

    def _chats(self, condition: str = "") -> Iterator[Mapping[str, Value]]:
        pages = self.table.client.get_paginator("scan").paginate(
            TableName=self.table.name,
            FilterExpression="sk = :chat" + (f" AND {condition}" if condition else ""),
            ExpressionAttributeValues={":chat": {"S": schema.CHAT}},
        )
        for page in pages:
            for item in page["Items"]:
                yield from_item(item)

"""When people write: derived from the turns that are kept, so that no message costs a write for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import from_item, to_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.stores.dynamodb import Table


@dataclass(frozen=True, slots=True)
class DynamoActivity:
    """The allow-list in the Runtime table, the turns in the Conversations table."""

    conversations: Table
    runtime: Table

    def chats(self) -> Iterator[str]:
        """Users and groups on the allow-list: a private chat has its user's id."""
        for page in self.runtime.client.get_paginator("query").paginate(
            TableName=self.runtime.name,
            KeyConditionExpression="pk = :allowed",
            ExpressionAttributeValues=to_item({":allowed": schema.ALLOWED}),
        ):
            for item in page["Items"]:
                yield item["sk"]["S"]

    def opened(self, chat_id: str, *, since: int) -> Iterator[int]:
        """When turns were opened that a person asked for, newest first; read eventually consistent, for half."""
        for page in self.conversations.client.get_paginator("query").paginate(
            TableName=self.conversations.name,
            KeyConditionExpression="pk = :chat AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues=to_item({":chat": chat_id, ":first": schema.TURN, ":last": f"{schema.TURN}~"}),
            ProjectionExpression="created_at, reminder",
            ScanIndexForward=False,
        ):
            for item in map(from_item, page["Items"]):
                if int(item["created_at"]) < since:
                    return
                if "reminder" not in item:
                    yield int(item["created_at"])

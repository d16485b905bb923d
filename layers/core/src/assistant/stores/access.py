"""Who may talk to the assistant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assistant.stores import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.stores.dynamodb import Table
    from assistant.turns.ports import Clock

STRANGER_SECONDS = 2 * 86400


@dataclass(frozen=True, slots=True)
class DynamoAccess:
    """The allow-list in the Runtime table."""

    table: Table
    clock: Clock

    def allowed(self, ids: Sequence[str]) -> bool:
        """Whether every one of these users and groups is on the list."""
        return all(self.table.get(schema.ALLOWED, who) is not None for who in ids)

    def chat(self, group_id: str) -> str | None:
        """Under which id a group is kept: the first that it had; None if it is not allowed."""
        item = self.table.get(schema.ALLOWED, group_id)
        if item is None:
            return None
        first = str(item.get("chat", group_id))
        return first if first == group_id or self.allowed([first]) else None

    def follow(self, old: str, new: str) -> bool:
        """Allow a group under the id that Telegram gave it; False if it was not under the old one."""
        known = self.table.get(schema.ALLOWED, old)
        if known is None:
            return False
        alias = {"note": known.get("note"), "chat": known.get("chat", old)}
        self.table.transact(self.table.put(schema.ALLOWED, new, alias, "attribute_not_exists(pk)"))
        return True

    def greet_stranger(self, user_id: str) -> bool:
        """Mark that a stranger is told today; False if they have been."""
        now = int(self.clock.now())
        day = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        return self.table.put_mark(f"{schema.STRANGER}{user_id}", day, now=now, ttl=now + STRANGER_SECONDS)

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

    def greet_stranger(self, user_id: str) -> bool:
        """Mark that a stranger is told today; False if they have been."""
        now = int(self.clock.now())
        day = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        return self.table.put_mark(f"{schema.STRANGER}{user_id}", day, now=now, ttl=now + STRANGER_SECONDS)

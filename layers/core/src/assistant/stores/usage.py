"""What was used, in the Runtime table: one item a day and provider, so that a month is one read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import Plain, Table, Update, Value
from assistant.turns.model import Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.ports import Clock

KEPT_SECONDS = 400 * 86400
"""A year, and a month to compare it with."""


@dataclass(frozen=True, slots=True)
class DynamoUsage:
    """Sums of days, UTC."""

    table: Table
    clock: Clock

    def add(self, provider_id: str, used: Used) -> None:
        """Add a request to the day's sums, in one update."""
        now = self.clock.now()
        amounts: dict[str, Value] = {name: amount for name, amount in asdict(used).items() if amount}
        update = Update(
            put={"ttl": int(now) + KEPT_SECONDS},
            also=[f"{name} = if_not_exists({name}, :zero) + :{name}" for name in amounts],
            values={**amounts, **({"zero": 0} if amounts else {})},
        )
        day = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        self.table.update(schema.USAGE, schema.usage_key(day, provider_id), update)

    def days(self, first: str, last: str) -> Mapping[str, Mapping[str, Used]]:
        """The sums by day and provider."""
        found: dict[str, dict[str, Used]] = {}
        for item in self.table.query(schema.USAGE, schema.usage_key(first, ""), schema.usage_key(last, "~")):
            day, _, provider_id = str(item["sk"]).partition("#")
            found.setdefault(day, {})[provider_id] = _used(item)
        return found


def _used(item: Plain) -> Used:
    return Used(**{field.name: int(item[field.name]) for field in fields(Used) if field.name in item})

"""The agents' hours in the Runtime table: one item of the ledger's partition, one conditional update a start or end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import Refused, Table, Update, Value
from assistant.turns.hours import ENTRY, SECONDS, TOLD, by_month, task_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.agents import Generation
    from assistant.turns.hours import Ran
    from assistant.turns.ports import Clock


@dataclass(frozen=True, slots=True)
class DynamoHours:
    """The hours."""

    table: Table
    clock: Clock

    def read(self) -> Mapping[str, int]:
        """The item's attributes."""
        item = self.table.get(schema.LEDGER, ENTRY) or {}
        return {name: int(value) for name, value in item.items() if ":" in name}

    def begin(self, generation: Generation) -> None:
        """Count a task from now on; again changes nothing."""
        since = Update(
            also=["#task = if_not_exists(#task, :now)"],
            names={"#task": task_name(generation)},
            values={"now": int(self.clock.now())},
        )
        self.table.update(schema.LEDGER, ENTRY, since)

    def end(self, task: str, ran: Ran | None) -> bool:
        """Take a task out and add its seconds, in one update: whoever comes second finds it gone."""
        seconds = by_month(ran) if ran is not None else {}
        values: dict[str, Value] = {f"add{place}": amount for place, amount in enumerate(seconds.values())}
        ended = Update(
            put={task: None},
            also=[
                f"#month{place} = if_not_exists(#month{place}, :zero) + :add{place}" for place in range(len(seconds))
            ],
            condition="attribute_exists(#task)",
            names={"#task": task, **{f"#month{place}": f"{SECONDS}{month}" for place, month in enumerate(seconds)}},
            values={"zero": 0, **values} if seconds else {},
        )
        return not isinstance(self.table.update(schema.LEDGER, ENTRY, ended), Refused)

    def tell(self, month: str) -> bool:
        """Note that the owner is told that a month's hours are used up; False if they were."""
        told = Update(
            put={f"{TOLD}{month}": int(self.clock.now())},
            condition="attribute_not_exists(#told)",
            names={"#told": f"{TOLD}{month}"},
        )
        return not isinstance(self.table.update(schema.LEDGER, ENTRY, told), Refused)

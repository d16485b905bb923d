"""The pointers of the chats' snapshots, and the list of what is kept, in the Runtime table."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.dynamodb import Refused, Table, Update, to_item
from assistant.turns.agents import Agent, AgentStatus
from assistant.workspace.model import Forgotten, Head, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.stores.dynamodb import Plain, Value, Write
    from assistant.turns.agents import Generation

_TRIES = 5
_UNCHANGED = (
    "generation = :generation"
    " AND (gc_epoch = :epoch OR (:epoch = :zero AND attribute_not_exists(gc_epoch)))"
    " AND {pointer}"
)


@dataclass(frozen=True, slots=True)
class DynamoSnapshots:
    """Snapshots. A commit is one transaction: the pointer moves with its entry in the list, or nothing does."""

    table: Table

    def head(self, chat_id: str) -> Head:
        """The pointer as it is now."""
        return _head(self.table.get(schema.agent_partition(chat_id), schema.AGENT_ITEM) or {})

    def commit(self, generation: Generation, snapshot: Snapshot, parent: Head, *, holding: Sequence[int] = ()) -> bool:
        """Move the pointer from the parent to a snapshot, if nothing has changed that it was made on."""
        values: dict[str, Value] = {"generation": generation.number, "epoch": parent.gc_epoch, "zero": 0}
        pointer = "attribute_not_exists(snapshot_key)"
        if parent.key is not None:
            pointer, values["parent"] = "snapshot_key = :parent", parent.key
        moved = Update(
            put={"snapshot_key": snapshot.key, "snapshot_hash": snapshot.digest},
            condition=_UNCHANGED.format(pointer=pointer),
            values=values,
        )
        partition = schema.agent_partition(generation.chat_id)
        refused = self.table.transact(
            self.table.change(partition, schema.AGENT_ITEM, moved),
            self.table.change(
                partition, schema.snapshot_key(snapshot.number), Update(put=msgspec.structs.asdict(snapshot))
            ),
            *(self._still_kept(partition, number) for number in holding),
        )
        return refused is None

    def is_news(self, generation: Generation, said: str) -> bool:
        """Note what the owner is told of a workspace that can't be read; False if that was the last that they were."""
        noted = Update(
            put={"unreadable_told": said},
            condition=(
                "generation = :generation AND (attribute_not_exists(unreadable_told) OR unreadable_told <> :said)"
            ),
            values={"generation": generation.number, "said": said},
        )
        partition = schema.agent_partition(generation.chat_id)
        return not isinstance(self.table.update(partition, schema.AGENT_ITEM, noted), Refused)

    def listed(self, chat_id: str) -> Sequence[Snapshot]:
        """What is kept, oldest first."""
        items = self.table.query(schema.agent_partition(chat_id), schema.SNAPSHOT, f"{schema.SNAPSHOT}~")
        return [msgspec.convert(item, Snapshot) for item in items]

    def drop(self, chat_id: str, number: int, *, until: int | None = None) -> None:
        """Take a snapshot off the list, unless a later generation than `until` made it."""
        delete = self.table.delete(schema.agent_partition(chat_id), schema.snapshot_key(number))["Delete"]
        if until is not None:
            delete |= {
                "ConditionExpression": "generation <= :until",
                "ExpressionAttributeValues": to_item({":until": until}),
            }
        with contextlib.suppress(self.table.client.exceptions.ConditionalCheckFailedException):
            self.table.client.delete_item(**delete)

    def raise_epoch(self, chat_id: str) -> Head:
        """Make every backup that is under way fail at its end; the pointer as it is from then on."""
        raised = Update(also=["gc_epoch = if_not_exists(gc_epoch, :zero) + :one"], values={"zero": 0, "one": 1})
        done = self.table.update(schema.agent_partition(chat_id), schema.AGENT_ITEM, raised)
        return _head({} if isinstance(done, Refused) else done)

    def forget(self, chat_id: str, *, by: str, now: int) -> Forgotten:
        """Have no pointer any more. An agent that runs loses its place with it: its disk holds what is forgotten."""
        item = self.table.get(schema.agent_partition(chat_id), schema.AGENT_ITEM) or {}
        for _ in range(_TRIES):
            agent = msgspec.convert(item, Agent)
            if agent.forgotten_by == by:
                return Forgotten(agent.forgotten_generation or 0, agent.forgotten_at or 0)
            done = self.table.update(
                schema.agent_partition(chat_id), schema.AGENT_ITEM, _ended(agent, Forgotten(agent.generation, now), by)
            )
            if not isinstance(done, Refused):
                return Forgotten(agent.generation, now)
            item = done.items[0] or {}
        raise StoreContended("one agent after the other was started")

    def _still_kept(self, partition: str, number: int) -> Write:
        return {
            "ConditionCheck": {
                **self.table.key(partition, schema.snapshot_key(number)),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }


def _ended(agent: Agent, forgotten: Forgotten, by: str) -> Update:
    """The agent without a workspace, at the end of its generation, if that has not ended meanwhile."""
    return Update(
        put={
            "snapshot_key": None,
            "snapshot_hash": None,
            "status": AgentStatus.STOPPED,
            "lease_until": 0,
            "task_arn": None,
            "started_by": None,
            "in_flight": None,
            "generation": agent.generation + 1,
            "forgotten_by": by,
            "forgotten_at": forgotten.at,
            "forgotten_generation": forgotten.generation,
        },
        also=["gc_epoch = if_not_exists(gc_epoch, :zero) + :one"],
        condition="generation = :was OR (:was = :zero AND attribute_not_exists(generation))",
        values={"zero": 0, "one": 1, "was": agent.generation},
    )


def _head(item: Plain) -> Head:
    agent = msgspec.convert(item, Agent)
    number = 0 if agent.snapshot_key is None else int(agent.snapshot_key.partition("-")[0])
    return Head(agent.snapshot_key, agent.snapshot_hash, number, agent.generation, agent.gc_epoch or 0)

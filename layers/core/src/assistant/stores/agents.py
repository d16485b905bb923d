"""Agents and their mail in the Runtime table. Every write of a container is conditional on its generation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.dynamodb import Refused, Table, Update, Value
from assistant.turns.agents import (
    LEASE_SECONDS,
    START_SECONDS,
    Agent,
    AgentStatus,
    Generation,
    Mail,
    MailStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.stores.dynamodb import Write
    from assistant.stores.turns import DynamoTurns
    from assistant.turns.model import Answered, TurnClaim
    from assistant.turns.ports import Clock

KEPT_SECONDS = 2 * 86400
_TRIES = 5
_MINE = "generation = :generation"
_STATUS = {"#status": "status"}
_HELD = "#status IN (:starting, :running, :stopping) AND lease_until > :now"


@dataclass(frozen=True, slots=True)
class DynamoAgents:
    """Agents. `turns`: where the answers go."""

    table: Table
    turns: DynamoTurns
    clock: Clock

    def read(self, chat_id: str) -> Agent:
        """The agent as it is now."""
        return msgspec.convert(self.table.get(schema.agent_partition(chat_id), schema.AGENT_ITEM) or {}, Agent)

    def mail(self, chat_id: str) -> Sequence[Mail]:
        """The mails that are not finished, oldest first."""
        items = self.table.query(schema.agent_partition(chat_id), schema.MAIL, f"{schema.MAIL}~")
        return [msgspec.convert(item, Mail) for item in items]

    def register(self, claim: TurnClaim, token: str, *, deadline: int) -> None:
        """Put a turn's mail and count it, in one transaction; of one that is there, renew who waits for it."""
        partition, key = schema.agent_partition(claim.chat.chat_id), schema.mail_key(claim.number)
        mail = Mail(
            number=claim.number,
            epoch=claim.chat.epoch,
            task_token=token,
            status=MailStatus.WAITING,
            deadline=deadline,
            ttl=int(self.clock.now()) + KEPT_SECONDS,
        )
        again = Update(
            put={"task_token": token, "epoch": claim.chat.epoch, "deadline": deadline},
            condition="epoch <= :epoch",
            values={"epoch": claim.chat.epoch},
        )
        for _ in range(_TRIES):
            refused = self.table.transact(
                self.table.put(partition, key, asdict(mail), "attribute_not_exists(pk)"),
                self._counted(claim.chat.chat_id, 1),
            )
            if refused is None or not isinstance(self.table.update(partition, key, again), Refused):
                return
        raise StoreContended("a turn's mail kept changing")

    def withdraw(self, claim: TurnClaim) -> bool:
        """Take a turn's mail back that nobody has taken."""
        condition = "#status = :waiting"
        return self._remove(claim.chat.chat_id, claim.number, condition, {"waiting": MailStatus.WAITING}, fence=None)

    def begin(self, chat_id: str, *, starter: str) -> Generation | None:
        """STOPPED → STARTING with the next generation; None if an agent runs or is being started."""
        now = int(self.clock.now())
        update = Update(
            put={
                "status": AgentStatus.STARTING,
                "lease_until": now + START_SECONDS,
                "started_by": starter,
                "task_arn": None,
                "in_flight": None,
            },
            also=["generation = if_not_exists(generation, :zero) + :one"],
            condition=f"attribute_not_exists(#status) OR #status = :stopped OR NOT ({_HELD})",
            names=_STATUS,
            values={"zero": 0, "one": 1, "now": now, **_STATUSES},
        )
        begun = self.table.update(schema.agent_partition(chat_id), schema.AGENT_ITEM, update)
        return None if isinstance(begun, Refused) else Generation(chat_id, int(begun["generation"]))

    def note_task(self, generation: Generation, task_arn: str) -> bool:
        """Note the task of a start."""
        return self._change(generation, {"task_arn": task_arn})

    def abandon(self, generation: Generation) -> bool:
        """STARTING → STOPPED: nothing was started."""
        return self._change(generation, _STOPPED, "#status = :starting", {"starting": AgentStatus.STARTING})

    def occupy(self, generation: Generation, task_arn: str) -> bool:
        """STARTING → RUNNING, by the container of that generation; again by the same task is no harm."""
        now = int(self.clock.now())
        put: dict[str, Value | None] = {
            "status": AgentStatus.RUNNING,
            "lease_until": now + LEASE_SECONDS,
            "task_arn": task_arn,
            "last_activity": now,
        }
        mine = "#status = :starting OR (#status = :running AND task_arn = :task)"
        values: dict[str, Value] = {
            "starting": AgentStatus.STARTING,
            "running": AgentStatus.RUNNING,
            "task": task_arn,
        }
        return self._change(generation, put, mine, values)

    def renew(self, generation: Generation) -> bool:
        """Keep the lease; one that has run out is lost, although nobody may have taken the place yet."""
        now = int(self.clock.now())
        return self._change(
            generation,
            {"lease_until": now + LEASE_SECONDS},
            "lease_until > :now AND #status IN (:running, :stopping)",
            {"now": now, "running": AgentStatus.RUNNING, "stopping": AgentStatus.STOPPING},
        )

    def take(self, generation: Generation, number: int) -> bool:
        """WAITING → TAKEN, or from an earlier generation that died."""
        taken = Update(
            put={"status": MailStatus.TAKEN, "claimed_by": generation.number},
            condition="#status = :waiting OR (#status = :taken AND claimed_by < :generation)",
            names=_STATUS,
            values={
                "waiting": MailStatus.WAITING,
                "taken": MailStatus.TAKEN,
                "generation": generation.number,
            },
        )
        refused = self.table.transact(
            self.table.change(schema.agent_partition(generation.chat_id), schema.mail_key(number), taken),
            self._fenced(generation, {"in_flight": number}),
        )
        return refused is None

    def answer(self, generation: Generation, mail: Mail, answered: Answered) -> bool:
        """The turn's answer and history pair, the mail's and the agent's state: all, or nothing."""
        now = int(self.clock.now())
        noted = Update(
            put={"status": MailStatus.ANSWERED},
            condition="#status = :taken AND claimed_by = :generation",
            names=_STATUS,
            values={"taken": MailStatus.TAKEN, "generation": generation.number},
        )
        refused = self.table.transact(
            *self.turns.answering(generation.chat_id, mail.number, mail.epoch, answered),
            self.table.change(schema.agent_partition(generation.chat_id), schema.mail_key(mail.number), noted),
            self._fenced(generation, {"in_flight": None, "last_activity": now}),
        )
        return refused is None

    def discard(self, generation: Generation, number: int) -> bool:
        """Remove a mail and count it off, unless a later generation has the chat."""
        return self._remove(generation.chat_id, number, "attribute_exists(pk)", {}, fence=generation)

    def stop(self, generation: Generation) -> bool:
        """RUNNING → STOPPING."""
        values: dict[str, Value] = {"running": AgentStatus.RUNNING}
        return self._change(generation, {"status": AgentStatus.STOPPING}, "#status = :running", values)

    def go_on(self, generation: Generation) -> bool:
        """STOPPING → RUNNING: there is mail after all."""
        values: dict[str, Value] = {"stopping": AgentStatus.STOPPING}
        return self._change(generation, {"status": AgentStatus.RUNNING}, "#status = :stopping", values)

    def release(self, generation: Generation) -> bool:
        """STOPPING → STOPPED, if there is no mail; then a message that comes starts the next generation."""
        condition = "#status = :stopping AND (attribute_not_exists(pending) OR pending = :none)"
        put = {**_STOPPED, "crashes": None}
        return self._change(generation, put, condition, {"stopping": AgentStatus.STOPPING, "none": 0})

    def close(self, generation: Generation, *, crashed: bool) -> bool:
        """Any status → STOPPED, for a task that has ended; False if a later generation has begun."""
        counted = ["crashes = if_not_exists(crashes, :none) + :one"] if crashed else []
        values: dict[str, Value] = {"generation": generation.number}
        if crashed:
            values |= {"none": 0, "one": 1}
        update = Update(put=_STOPPED, also=counted, condition=_MINE, values=values)
        done = self.table.update(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)
        return not isinstance(done, Refused)

    def _remove(
        self, chat_id: str, number: int, condition: str, values: Mapping[str, Value], *, fence: Generation | None
    ) -> bool:
        delete = self.table.delete(schema.agent_partition(chat_id), schema.mail_key(number), condition)
        if values:
            delete["Delete"] |= {
                "ExpressionAttributeNames": _STATUS,
                "ExpressionAttributeValues": {f":{name}": {"S": str(value)} for name, value in values.items()},
            }
        refused = self.table.transact(delete, self._counted(chat_id, -1, fence=fence, number=number))
        return refused is None

    def _counted(self, chat_id: str, by: int, *, fence: Generation | None = None, number: int | None = None) -> Write:
        """The agent with one mail more or fewer; a run that is finished is in flight no more."""
        values: dict[str, Value] = {"zero": 0, "by": by}
        if fence is not None:
            values["generation"] = fence.number
        put: dict[str, Value | None] = {} if number is None or fence is None else {"in_flight": None}
        update = Update(
            put=put,
            also=["pending = if_not_exists(pending, :zero) + :by"],
            condition=None if fence is None else _MINE,
            values=values,
        )
        return self.table.change(schema.agent_partition(chat_id), schema.AGENT_ITEM, update)

    def _fenced(self, generation: Generation, put: Mapping[str, Value | None]) -> Write:
        """A change of the agent in a transaction, by a generation whose lease has not run out."""
        update = Update(
            put=put,
            condition=f"{_MINE} AND lease_until > :now",
            values={"generation": generation.number, "now": int(self.clock.now())},
        )
        return self.table.change(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)

    def _change(
        self,
        generation: Generation,
        put: Mapping[str, Value | None],
        condition: str = "",
        values: Mapping[str, Value] | None = None,
    ) -> bool:
        update = Update(
            put=put,
            condition=f"{_MINE} AND ({condition})" if condition else _MINE,
            names=_STATUS if "#status" in condition else {},
            values={"generation": generation.number, **(values or {})},
        )
        done = self.table.update(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)
        return not isinstance(done, Refused)


_STATUSES: Mapping[str, Value] = {status.lower(): status for status in AgentStatus}
_STOPPED: Mapping[str, Value | None] = {
    "status": AgentStatus.STOPPED,
    "lease_until": 0,
    "task_arn": None,
    "started_by": None,
    "in_flight": None,
}

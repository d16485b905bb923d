"""Agents and their mail in the Runtime table. Every write of a container is conditional on its generation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import StoreContended
from assistant.stores import schema
from assistant.stores.dynamodb import Refused, Table, Update, Value, to_item
from assistant.turns.agents import (
    LEASE_SECONDS,
    PATIENCE,
    START_SECONDS,
    Agent,
    AgentStatus,
    Generation,
    Mail,
    MailStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from assistant.stores.dynamodb import Write
    from assistant.stores.turns import DynamoTurns
    from assistant.turns.agents import Backups
    from assistant.turns.model import Answered, TurnClaim
    from assistant.turns.ports import Clock

KEPT_SECONDS = 2 * 86400
_TRIES = 5
_MINE = "generation = :generation"
_STATUS = {"#status": "status"}


@dataclass(frozen=True, slots=True)
class DynamoAgents:
    """Agents, as all see them."""

    table: Table
    clock: Clock

    def read(self, chat_id: str) -> Agent:
        """The agent as it is now."""
        return msgspec.convert(self.table.get(schema.agent_partition(chat_id), schema.AGENT_ITEM) or {}, Agent)

    def mail(self, chat_id: str) -> Sequence[Mail]:
        """The mails that are not finished, oldest first."""
        items = self.table.query(schema.agent_partition(chat_id), schema.MAIL, f"{schema.MAIL}~")
        return [msgspec.convert(item, Mail) for item in items]

    def last_backup(self, chat_id: str) -> int | None:
        """When the newest snapshot was made."""
        first, last = schema.SNAPSHOT, f"{schema.SNAPSHOT}~"
        found = self.table.query(schema.agent_partition(chat_id), first, last, limit=1, newest_first=True)
        return int(found[0]["created_at"]) if found else None

    def register(self, claim: TurnClaim, token: str, *, deadline: int) -> None:
        """Put a turn's mail and count it, in one transaction; of one that is there, renew who waits for it."""
        partition, key = schema.agent_partition(claim.chat.chat_id), schema.mail_key(claim.number)
        now = int(self.clock.now())
        mail = Mail(
            number=claim.number,
            epoch=claim.chat.epoch,
            task_token=token,
            status=MailStatus.WAITING,
            deadline=deadline,
            registered_at=now,
            ttl=now + KEPT_SECONDS,
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
        """Take a turn's mail back that nobody has taken, unless a later claim waits for it."""
        condition = "#status = :waiting AND epoch <= :epoch"
        values: dict[str, Value] = {"waiting": MailStatus.WAITING, "epoch": claim.chat.epoch}
        return self._remove(claim.chat.chat_id, claim.number, condition, values, names=_STATUS)

    def begin(self, chat_id: str, *, starter: str) -> Generation | None:
        """STOPPED → STARTING with the next generation; None if an agent runs, is being started, or has to wait."""
        now = int(self.clock.now())
        update = Update(
            put={
                **_STOPPED,
                "status": AgentStatus.STARTING,
                "since": now,
                "lease_until": now + START_SECONDS,
                "started_by": starter,
                "due_kind": schema.DUE_AGENT,
            },
            also=[
                "generation = if_not_exists(generation, :zero) + :one",
                "due_at = if_not_exists(due_at, :due)",
            ],
            condition=f"(attribute_not_exists(#status) OR #status = :stopped) AND {_MAY_START}",
            names=_STATUS,
            values={
                "zero": 0,
                "one": 1,
                "stopped": AgentStatus.STOPPED,
                "due": now + START_SECONDS,
                **{f"crashes{crashes}": crashes for crashes, _ in PATIENCE},
                **{f"before{crashes}": now - seconds for crashes, seconds in PATIENCE},
            },
        )
        begun = self.table.update(schema.agent_partition(chat_id), schema.AGENT_ITEM, update)
        return None if isinstance(begun, Refused) else Generation(chat_id, int(begun["generation"]))

    def note_task(self, generation: Generation, task_arn: str) -> bool:
        """Note the task of a start, unless one has taken the place already: it said itself who it is."""
        return self._change(
            generation, {"task_arn": task_arn}, "#status = :starting", {"starting": AgentStatus.STARTING}
        )

    def abandon(self, generation: Generation) -> bool:
        """STARTING → STOPPED: nothing was started."""
        put = {**_STOPPED, "since": int(self.clock.now())}
        return self._change(generation, put, "#status = :starting", {"starting": AgentStatus.STARTING})

    def occupy(self, generation: Generation, task_arn: str, *, idle_after: int) -> bool:
        """STARTING → RUNNING, by the container of that generation; again by the same task is no harm."""
        now = int(self.clock.now())
        put: dict[str, Value | None] = {
            "status": AgentStatus.RUNNING,
            "since": now,
            "lease_until": now + LEASE_SECONDS,
            "task_arn": task_arn,
            "last_activity": now,
            "idle_after": idle_after,
            "kept_at": now,
        }
        mine = "#status = :starting OR (#status = :running AND task_arn = :task)"
        values: dict[str, Value] = {
            "starting": AgentStatus.STARTING,
            "running": AgentStatus.RUNNING,
            "task": task_arn,
        }
        return self._change(generation, put, mine, values)

    def renew(
        self, generation: Generation, *, idle_after: int, ready: bool = False, backups: Backups | None = None
    ) -> Agent | None:
        """Keep the lease and tell how it is; one that has run out is lost, although nobody may have taken the place."""
        now = int(self.clock.now())
        return self._changed(
            generation,
            {"lease_until": now + LEASE_SECONDS, "idle_after": idle_after, **_said(backups)},
            "lease_until > :now AND #status IN (:running, :stopping)",
            {"now": now, "running": AgentStatus.RUNNING, "stopping": AgentStatus.STOPPING},
            also=["ready_at = if_not_exists(ready_at, :now)"] if ready else [],
        )

    def take(self, generation: Generation, number: int) -> bool:
        """WAITING → TAKEN; or taken before, by an earlier generation that died, or by this one, which gave the run up.

        The latter: its turn has gone to another claim since, whose state waits, too.
        """
        taken = Update(
            put={"status": MailStatus.TAKEN, "claimed_by": generation.number},
            condition="#status = :waiting OR (#status = :taken AND claimed_by <= :generation)",
            names=_STATUS,
            values={
                "waiting": MailStatus.WAITING,
                "taken": MailStatus.TAKEN,
                "generation": generation.number,
            },
        )
        refused = self.table.transact(
            self.table.change(schema.agent_partition(generation.chat_id), schema.mail_key(number), taken),
            self._fenced(
                generation,
                {"in_flight": number, "last_activity": int(self.clock.now()), "stop_asked_at": None},
                "attribute_not_exists(stop_forced)",
            ),
        )
        return refused is None

    def discard(self, generation: Generation, mail: Mail) -> bool:
        """Remove a mail and count it off, unless a later generation has the chat, or another state waits for it."""
        values: dict[str, Value] = {"token": mail.task_token}
        return self._remove(generation.chat_id, mail.number, "task_token = :token", values, fence=generation)

    def ask_to_stop(self, generation: Generation) -> bool:
        """Ask an agent to stop as soon as it has nothing to do; asked twice, the first time counts."""
        now = int(self.clock.now())
        condition = "#status IN (:starting, :running) AND lease_until > :now AND attribute_not_exists(stop_asked_at)"
        values: dict[str, Value] = {"now": now, "starting": AgentStatus.STARTING, "running": AgentStatus.RUNNING}
        return self._change(generation, {"stop_asked_at": now}, condition, values)

    def ask_to_back_up(self, generation: Generation, *, told: bool) -> bool:
        """Ask an agent to back up; each time counts."""
        now = int(self.clock.now())
        put: dict[str, Value | None] = {"backup_asked_at": now, **({"backups_told": True} if told else {})}
        values: dict[str, Value] = {"now": now, "running": AgentStatus.RUNNING}
        return self._change(generation, put, "#status = :running AND lease_until > :now", values)

    def force_to_stop(self, generation: Generation, seen: Agent) -> bool:
        """Let the agent take no work any more, unless it has begun some since it was seen so."""
        values: dict[str, Value] = {
            "running": AgentStatus.RUNNING,
            "stopping": AgentStatus.STOPPING,
            "seen": seen.last_activity or 0,
        }
        put: dict[str, Value | None] = {
            "status": AgentStatus.STOPPING,
            "since": int(self.clock.now()),
            "stop_forced": True,
        }
        condition = "#status IN (:running, :stopping) AND last_activity = :seen"
        if seen.in_flight is None:  # the moment alone is not enough: it counts in whole seconds
            return self._change(generation, put, f"{condition} AND attribute_not_exists(in_flight)", values)
        values["in_flight"] = seen.in_flight
        return self._change(generation, put, f"{condition} AND in_flight = :in_flight", values)

    def stop(self, generation: Generation) -> bool:
        """RUNNING → STOPPING."""
        values: dict[str, Value] = {"running": AgentStatus.RUNNING}
        put: dict[str, Value | None] = {"status": AgentStatus.STOPPING, "since": int(self.clock.now())}
        return self._change(generation, put, "#status = :running", values)

    def go_on(self, generation: Generation) -> bool:
        """STOPPING → RUNNING: there is mail after all."""
        values: dict[str, Value] = {"stopping": AgentStatus.STOPPING}
        put: dict[str, Value | None] = {"status": AgentStatus.RUNNING, "since": int(self.clock.now())}
        return self._change(generation, put, "#status = :stopping AND attribute_not_exists(stop_forced)", values)

    def release(self, generation: Generation, *, crashed: bool = False) -> bool:
        """STOPPING → STOPPED, if there is no mail; then a message that comes starts the next generation."""
        condition = "#status = :stopping AND (attribute_not_exists(pending) OR pending = :none)"
        now = int(self.clock.now())
        put = {**_STOPPED, **_RESTING, "since": now, **({"crashed_at": now} if crashed else _NO_FAULT)}
        values: dict[str, Value] = {"stopping": AgentStatus.STOPPING, "none": 0}
        return self._change(generation, put, condition, values, crashed=crashed)

    def close(self, generation: Generation, *, crashed: bool, killer: int | None, kills: int | None) -> Agent | None:
        """Any status → STOPPED, for a task that has ended; the agent as it is now, None if a later one has begun."""
        now = int(self.clock.now())
        fault: dict[str, Value | None] = {"crashed_at": now, "killer": killer, "kills": kills} if crashed else {}
        values: dict[str, Value] = {"generation": generation.number, "stopped": AgentStatus.STOPPED}
        update = Update(
            put={**_STOPPED, "since": now, **fault},
            also=[_ONE_CRASH_MORE] if crashed else [],
            condition=f"{_MINE} AND #status <> :stopped",
            names=_STATUS,
            values={**values, **_counting(crashed=crashed)},
        )
        done = self.table.update(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)
        item = (done.items[0] or {}) if isinstance(done, Refused) else done
        found = msgspec.convert(item, Agent)
        return found if found.generation == generation.number else None

    def rest(self, chat_id: str) -> bool:
        """A stopped agent without mail has no next moment."""
        update = Update(
            put=_RESTING,
            condition="#status = :stopped AND (attribute_not_exists(pending) OR pending = :none)",
            names=_STATUS,
            values={"stopped": AgentStatus.STOPPED, "none": 0},
        )
        return not isinstance(self.table.update(schema.agent_partition(chat_id), schema.AGENT_ITEM, update), Refused)

    def due(self) -> Iterator[str]:
        """Chats whose agent's moment has come, from the sparse index (eventually consistent)."""
        for partition in self.table.due(schema.DUE_AGENT, self.clock.now()):
            yield partition.removeprefix(schema.AGENT)

    def _remove(
        self,
        chat_id: str,
        number: int,
        condition: str,
        values: Mapping[str, Value],
        *,
        names: Mapping[str, str] | None = None,
        fence: Generation | None = None,
    ) -> bool:
        delete = self.table.delete(schema.agent_partition(chat_id), schema.mail_key(number), condition)
        delete["Delete"]["ExpressionAttributeValues"] = to_item({f":{name}": value for name, value in values.items()})
        if names:
            delete["Delete"]["ExpressionAttributeNames"] = names
        refused = self.table.transact(delete, self._counted(chat_id, -1, fence=fence, number=number))
        return refused is None

    def _counted(self, chat_id: str, by: int, *, fence: Generation | None = None, number: int | None = None) -> Write:
        """The agent with one mail more or fewer; a run that is finished is in flight no more."""
        values: dict[str, Value] = {"zero": 0, "by": by}
        if fence is not None:
            values["generation"] = fence.number
        now = int(self.clock.now())
        ended = fence is not None and number is not None
        put: dict[str, Value | None] = {"in_flight": None, "last_activity": now} if ended else {}
        also = ["pending = if_not_exists(pending, :zero) + :by"]
        if by > 0:
            put["due_kind"] = schema.DUE_AGENT
            also.append("due_at = if_not_exists(due_at, :due)")
            values["due"] = now + START_SECONDS
        update = Update(
            put=put,
            also=also,
            condition=None if fence is None else _MINE,
            values=values,
        )
        return self.table.change(schema.agent_partition(chat_id), schema.AGENT_ITEM, update)

    def _fenced(self, generation: Generation, put: Mapping[str, Value | None], condition: str = "") -> Write:
        """A change of the agent in a transaction, by a generation whose lease has not run out."""
        update = Update(
            put=put,
            condition=f"{_MINE} AND lease_until > :now" + (f" AND {condition}" if condition else ""),
            values={"generation": generation.number, "now": int(self.clock.now())},
        )
        return self.table.change(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)

    def _change(
        self,
        generation: Generation,
        put: Mapping[str, Value | None],
        condition: str = "",
        values: Mapping[str, Value] | None = None,
        *,
        crashed: bool = False,
    ) -> bool:
        return self._changed(generation, put, condition, values, crashed=crashed) is not None

    def _changed(
        self,
        generation: Generation,
        put: Mapping[str, Value | None],
        condition: str = "",
        values: Mapping[str, Value] | None = None,
        *,
        also: Sequence[str] = (),
        crashed: bool = False,
    ) -> Agent | None:
        update = Update(
            put=put,
            also=[*also, _ONE_CRASH_MORE] if crashed else also,
            condition=f"{_MINE} AND ({condition})" if condition else _MINE,
            names=_STATUS if "#status" in condition else {},
            values={"generation": generation.number, **(values or {}), **_counting(crashed=crashed)},
        )
        done = self.table.update(schema.agent_partition(generation.chat_id), schema.AGENT_ITEM, update)
        return None if isinstance(done, Refused) else msgspec.convert(done, Agent)


@dataclass(frozen=True, slots=True)
class DynamoAnsweringAgents(DynamoAgents):
    """Agents, as their containers see them. `turns`: where the answers go."""

    turns: DynamoTurns

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
            self._fenced(generation, {"in_flight": None, "last_activity": now, **_NO_FAULT}),
        )
        return refused is None


def _said(backups: Backups | None) -> Mapping[str, Value | None]:
    if backups is None:
        return {}
    return {"kept_at": backups.kept_at, **({"backups_told": True} if backups.told else {})}


def _counting(*, crashed: bool) -> Mapping[str, Value]:
    return {"none_yet": 0, "one": 1} if crashed else {}


_ONE_CRASH_MORE = "crashes = if_not_exists(crashes, :none_yet) + :one"
_STOPPED: Mapping[str, Value | None] = {
    "status": AgentStatus.STOPPED,
    "lease_until": 0,
    "task_arn": None,
    "ready_at": None,
    "started_by": None,
    "in_flight": None,
    "idle_after": None,
    "stop_asked_at": None,
    "stop_forced": None,
    "kept_at": None,
    "backup_asked_at": None,
    "backups_told": None,
}
_NO_FAULT: Mapping[str, Value | None] = {"crashes": None, "crashed_at": None}
_RESTING: Mapping[str, Value | None] = {"due_kind": None, "due_at": None}
_MAY_START = " AND ".join(
    f"(attribute_not_exists(crashes) OR crashes < :crashes{crashes} OR crashed_at <= :before{crashes})"
    for crashes, _ in PATIENCE
)
"""That an agent which kept ending by its own fault has been left alone for long enough."""

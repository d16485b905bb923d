"""The agent of a chat: one at a time, fenced by its generation; how a turn gets to it and back.

A turn is *mail*: registered with the token of the state that waits for it, taken by the running generation, answered,
finished. `pending` of the agent is the number of its mails, always: both change in one transaction. Whoever died in
between is replaced by a higher generation, and what it writes afterwards changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from assistant.errors import AgentFailed, AgentInterrupted, AgentUnavailable
from assistant.turns.hours import task_name
from assistant.turns.model import TURN_SECONDS

if TYPE_CHECKING:
    from assistant.turns.hours import AgentHours
    from assistant.turns.model import Answered, TurnClaim
    from assistant.turns.ports import Agents, AnsweringAgents, Clock, Tasks, TaskTokens, Turns
    from assistant.turns.tending import AgentStopped

START_SECONDS = 240
"""Lease of a start: a container that has not reported by then is not coming."""

LEASE_SECONDS = 90
"""Lease of a running agent, which renews it every third of that."""

PATIENCE = ((3, 60), (4, 300), (5, 900))
"""After so many ends by its own fault in a row, an agent is not started again for so many seconds."""


class AgentStatus(StrEnum):
    """STOPPED → STARTING → RUNNING → STOPPING → STOPPED; a lease that ran out counts as STOPPED."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent item; one that was never started reads as the defaults.

    Attributes:
        since: when the status became what it is.
        started_by: who made it STARTING, so that a retry finds its own start.
        ready_at: since when OpenClaw takes messages; the container has its place before.
        last_activity: when work was last taken or ended.
        idle_after: seconds without work after which the container stops by itself; it says so with each renewal.
        stop_asked_at: when it was asked to; taking work annuls that.
        stop_forced: it may take no work any more: its task is being stopped.
        kept_at: the container found then that all there was is in a backup; it says so with each renewal.
        backup_asked_at: when it was asked to back up.
        backups_told: the owner knows that its backups fail, or do not happen.
        unreadable_told: the day and the reason for which the owner was told that its workspace can't be read.
        crashes: ends by its own fault in a row, without an answer or an orderly end between them.
        crashed_at: the last of them.
        killer: the turn over which one died last, and
        kills: how many in a row died over that one.
        snapshot_key: the manifest of the workspace that was committed last, and
        snapshot_hash: its SHA-256.
        gc_epoch: raised by each collection of what no snapshot needs.
        forgotten_by: which command forgot the workspace last,
        forgotten_at: when, and
        forgotten_generation: up to which generation.
    """

    status: AgentStatus = AgentStatus.STOPPED
    since: int | None = None
    generation: int = 0
    lease_until: int = 0
    pending: int = 0
    in_flight: int | None = None
    started_by: str | None = None
    task_arn: str | None = None
    ready_at: int | None = None
    last_activity: int | None = None
    idle_after: int | None = None
    stop_asked_at: int | None = None
    stop_forced: bool | None = None
    kept_at: int | None = None
    backup_asked_at: int | None = None
    backups_told: bool | None = None
    unreadable_told: str | None = None
    crashes: int | None = None
    crashed_at: int | None = None
    killer: int | None = None
    kills: int | None = None
    snapshot_key: str | None = None
    snapshot_hash: str | None = None
    gc_epoch: int | None = None
    forgotten_by: str | None = None
    forgotten_at: int | None = None
    forgotten_generation: int | None = None
    due_kind: str | None = None
    due_at: int | None = None

    def is_held(self, now: float) -> bool:
        """Whether a container has, or is still expected to take, the chat's place."""
        return self.status != AgentStatus.STOPPED and self.lease_until > now

    def may_start_at(self) -> int:
        """When it may be started again after what it did by its own fault; 0: at once."""
        pause = max((seconds for crashes, seconds in PATIENCE if (self.crashes or 0) >= crashes), default=0)
        return (self.crashed_at or 0) + pause if pause else 0


@dataclass(frozen=True, slots=True)
class Backups:
    """How a container's backups stand. `kept_at`: all there was then is in one; `told`: the owner knows they fail."""

    kept_at: int
    told: bool = False


class MailStatus(StrEnum):
    """WAITING → TAKEN → ANSWERED, and back to WAITING if its taker died."""

    WAITING = "WAITING"
    TAKEN = "TAKEN"
    ANSWERED = "ANSWERED"


@dataclass(frozen=True, slots=True)
class Mail:
    """A turn that waits for the agent. `token`: of the state that waits; `claimed_by`: the generation that took it."""

    number: int
    epoch: int
    task_token: str
    status: MailStatus
    deadline: int
    registered_at: int
    ttl: int
    claimed_by: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One life of a chat's agent: the fence of everything its container writes."""

    chat_id: str
    number: int


@dataclass(frozen=True, slots=True)
class StartAgent:
    """Hands a turn to the chat's agent, and starts one if none runs.

    `stopped`: gives back what an agent held that was not heard of again.
    """

    agents: Agents
    turns: Turns
    tasks: Tasks
    tokens: TaskTokens
    stopped: AgentStopped
    hours: AgentHours
    clock: Clock

    def __call__(self, claim: TurnClaim, token: str) -> str:
        """Register a turn and make sure that somebody will take it.

        Returns:
            What was done, for the log: `answered` (nothing to do any more), `started`, `running`.

        Raises:
            AgentUnavailable: no task could be started, or the agent's time is over, however often it was interrupted;
                the turn is registered no longer.
        """
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        if turn is None or not turn.is_open(claim.chat.epoch):
            self.tokens.succeed(token)
            return "answered"
        deadline = turn.deadline - TURN_SECONDS
        if deadline < self.clock.now():
            raise AgentUnavailable("its time for this turn is over")
        self.agents.register(claim, token, deadline=deadline)
        try:
            return self.wake(claim.chat.chat_id, starter=f"{claim.chat.execution}-{claim.number}")
        except AgentUnavailable:
            self.agents.withdraw(claim)
            raise

    def in_background(self, claim: TurnClaim) -> str:
        """Start the chat's agent for the turns to come.

        Returns:
            `started`, `running`, or why not: it is tried again with the next message.
        """
        return self.for_somebody(claim.chat.chat_id, f"{claim.chat.execution}-{claim.number}")

    def for_somebody(self, chat_id: str, starter: str) -> str:
        """Start the chat's agent because somebody wants it awake; answers as `in_background`."""
        try:
            return self.wake(chat_id, starter=starter)
        except AgentUnavailable as error:
            return f"unavailable: {error}"

    def wake(self, chat_id: str, *, starter: str) -> str:
        """Start the chat's agent unless one runs.

        Args:
            chat_id: the chat.
            starter: who asks; asking again repeats a start of one's own that may not have come to anything. RunTask
                takes a client token, so that repeating it starts nothing twice.

        Returns:
            `started` or `running`.

        Raises:
            AgentUnavailable: no task can be had, the last ones failed by their own fault, or the month's hours are
                used up: then a running one is given nothing more, either.
        """
        self.hours.check()
        generation = self.agents.begin(chat_id, starter=starter) or self._in_doubt(chat_id, starter)
        if generation is None:
            return "running"
        self.hours.book.begin(generation)
        try:
            task_arn = self.tasks.run(generation)
        except AgentUnavailable:
            self.agents.abandon(generation)
            self.hours.book.end(task_name(generation), None)
            raise
        self.agents.note_task(generation, task_arn)
        return "started"

    def _in_doubt(self, chat_id: str, starter: str) -> Generation | None:
        """The generation to be started although one could not be begun; None: there is one."""
        agent, now = self.agents.read(chat_id), self.clock.now()
        if not agent.is_held(now):
            if agent.status != AgentStatus.STOPPED:
                dead = Generation(chat_id, agent.generation)
                self.stopped(dead, crashed=True, reason="it was not heard of again")
            elif agent.may_start_at() > now:
                raise AgentUnavailable(f"it ended by its own fault {agent.crashes} times in a row")
            return self.agents.begin(chat_id, starter=starter)
        mine = agent.status == AgentStatus.STARTING and agent.started_by == starter and agent.task_arn is None
        return Generation(chat_id, agent.generation) if mine else None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The mail of a chat, as the generation that runs sees it."""

    generation: Generation
    agents: AnsweringAgents
    turns: Turns
    tokens: TaskTokens
    clock: Clock

    def open(self, task_arn: str, *, idle_after: int) -> bool:
        """Take the place of the chat's agent; False if this generation is not the one: then it must end."""
        return self.agents.occupy(self.generation, task_arn, idle_after=idle_after)

    def renew(self, *, idle_after: int, ready: bool = False, backups: Backups | None = None) -> Agent | None:
        """Keep the place, and learn what the agent is asked for; None if it was lost: nothing may be written.

        `ready`: OpenClaw takes messages; `backups`: how they stand.
        """
        return self.agents.renew(self.generation, idle_after=idle_after, ready=ready, backups=backups)

    def next(self) -> Mail | None:
        """Take the oldest mail that is worth a run; what needs none any more is finished on the way."""
        for mail in self.agents.mail(self.generation.chat_id):
            if self._settled(mail):
                continue
            if self.agents.take(self.generation, mail.number):
                return mail
        return None

    def heartbeat(self, number: int) -> bool:
        """Tell the waiting state that its turn is being worked on; False if nobody waits any more."""
        found = next((mail for mail in self.agents.mail(self.generation.chat_id) if mail.number == number), None)
        return found is not None and self.tokens.heartbeat(found.task_token)

    def answer(self, mail: Mail, answered: Answered) -> bool:
        """Store the answer with the history pair, then tell the state that waits.

        Returns:
            False if the turn had its answer by then, or this generation was replaced: nothing was written.
        """
        stored = self.agents.answer(self.generation, mail, answered)
        newest = self._newest(mail)
        if newest is None:
            return stored
        if stored:
            self._finish(newest)
        else:  # nothing is told to who waits for another claim's agent, or another generation's
            self._settled(newest)
        return stored

    def fail(self, mail: Mail, error: Exception) -> None:
        """The run ended without an answer: the state that waits goes on by the error's class."""
        newest = self._newest(mail)
        # Of a later claim it is not this run that failed: the mail is taken once more.
        if newest and newest.epoch == mail.epoch and self.agents.discard(self.generation, newest):
            self.tokens.fail(newest.task_token, error)

    def hand_back(self) -> None:
        """Shutting down: whoever waits for a turn is told to try again, at the next generation."""
        for mail in self.agents.mail(self.generation.chat_id):
            if not self._settled(mail):
                self.fail(mail, AgentInterrupted("the agent is shutting down"))

    def _settled(self, mail: Mail) -> bool:
        """Whether the turn needs no run: then it is finished."""
        turn = self.turns.read(self.generation.chat_id, mail.number)
        if turn is None or not turn.is_open(mail.epoch):
            self._finish(mail)
            return True
        if turn.killed_agent:
            self.fail(mail, AgentFailed("agents have died over it"))
        return bool(turn.killed_agent)

    def _finish(self, mail: Mail) -> None:
        self.tokens.succeed(mail.task_token)
        # Only now: had we died before, the mail would still hold the token for who comes after us.
        self.agents.discard(self.generation, mail)

    def _newest(self, mail: Mail) -> Mail | None:
        """The mail as it is now: a state that was retried meanwhile waits with another token."""
        return next((found for found in self.agents.mail(self.generation.chat_id) if found.number == mail.number), None)

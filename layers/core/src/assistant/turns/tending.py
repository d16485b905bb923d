"""Agents are tended from outside: what a dead one held is given back, and one that should have stopped is stopped.

Each agent renews its lease and stops by itself; this is for those that can't any more. Events are best effort and may
come twice or late, so whatever they bring about the schedules bring about, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from assistant.errors import AgentFailed, AgentInterrupted
from assistant.turns.agents import PATIENCE, AgentStatus, Generation
from assistant.turns.hours import task_name
from assistant.turns.lanes import AGENT_SECONDS
from assistant.turns.model import TURN_SECONDS, ChatClaim, Notice, TurnClaim, TurnStatus
from assistant.turns.waking import Swept, put_each_right

if TYPE_CHECKING:
    from assistant.turns.agents import Agent, Mail
    from assistant.turns.hours import KeepingHours, Ran
    from assistant.turns.ports import Agents, Clock, Fleet, HoursBook, Owner, TaskTokens, Turns

KILLS = 2
"""A turn that was running when so many agents in a row died is handed to no third."""

RUN_SECONDS = AGENT_SECONDS + TURN_SECONDS
"""A run that is older has been given up by whoever waited for it."""

OBEY_SECONDS = 180
"""How long an agent that was asked to stop is left to do so, and one that has stopped to end."""

KEEPING_SECONDS = 900
"""The same, for one that makes its last backup: what that would keep is worth more than the minutes."""

DEAF_SECONDS = 120
"""Mail that waits longer while no run is in progress waits for an agent that does not look any more."""

LATE_SECONDS = 600
"""An agent whose backups are that old is asked for one: it makes one every five minutes by itself."""

STALE_SECONDS = 900
"""Of backups that are that old the owner is told."""

_ANSWERED = (TurnStatus.ANSWERED, TurnStatus.DELIVERED)

type Verdict = Literal["goes on", "asked", "stopped"]


@dataclass(frozen=True, slots=True)
class AgentStopped:
    """What a generation that has ended held is given back."""

    agents: Agents
    turns: Turns
    tokens: TaskTokens
    owner: Owner
    hours: HoursBook

    def __call__(
        self,
        generation: Generation,
        *,
        crashed: bool,
        reason: str,
        task_arn: str | None = None,
        ran: Ran | None = None,
    ) -> str:
        """Give back what a dead generation held; again is harmless.

        Args:
            generation: whose task has ended, or whose lease has.
            crashed: whether that was by a fault of its own.
            reason: why, as AWS says it; for the owner.
            task_arn: which task has ended. A start that was repeated may have brought two: the one that did not get
                the place ends at once, and holds nothing.
            ran: when that task ran.

        Returns:
            What was done, for the log: `stopped`; `replaced` when a later generation is at work already, and
            `another task` when another one of the same.
        """
        before = self.agents.read(generation.chat_id)
        newest = before.generation == generation.number
        if newest and task_arn is not None and _has_place(before) and before.task_arn != task_arn:
            return "another task"
        if ran is not None:
            self.hours.end(task_name(generation), ran)
        if not newest:
            return "replaced"
        killer, kills = _blamed(before)
        if crashed and (kills or 0) >= KILLS:
            self._keep_from_agent(generation.chat_id, killer)  # before the next one can begin, and take it
        agent = self.agents.close(generation, crashed=crashed, killer=killer, kills=kills)
        if agent is None:
            return "replaced"
        if crashed:
            self._tell(generation.chat_id, agent, reason)
        for mail in self.agents.mail(generation.chat_id):
            self._give_back(generation, agent, mail)
        self.agents.rest(generation.chat_id)
        return "stopped"

    def _give_back(self, generation: Generation, agent: Agent, mail: Mail) -> None:
        turn = self.turns.read(generation.chat_id, mail.number)
        if turn is not None and turn.status in _ANSWERED:
            self.tokens.succeed(mail.task_token)
        elif mail.number == agent.killer and (agent.kills or 0) >= KILLS:
            self.tokens.fail(mail.task_token, AgentFailed("the agent died over it more than once"))
        else:
            self.tokens.fail(mail.task_token, AgentInterrupted("the agent's task ended"))
        self.agents.discard(generation, mail)

    def _keep_from_agent(self, chat_id: str, number: int | None) -> None:
        for mail in self.agents.mail(chat_id):
            if mail.number == number:
                self.turns.keep_from_agent(TurnClaim(ChatClaim(chat_id, mail.epoch), mail.number))

    def _tell(self, chat_id: str, agent: Agent, reason: str) -> None:
        """The owner hears of what will hardly mend by itself, when it is noticed."""
        if agent.kills == KILLS:
            self.owner.tell(Notice("turn_kills_agent", reason=reason, chat_id=chat_id))
        if agent.crashes == PATIENCE[0][0]:
            self.owner.tell(Notice("agent_fails", reason=reason, chat_id=chat_id))


def _has_place(agent: Agent) -> bool:
    """Whether one of its tasks has taken the place: before, `task_arn` is only what was started last."""
    return agent.status in (AgentStatus.RUNNING, AgentStatus.STOPPING)


def _blamed(agent: Agent) -> tuple[int | None, int | None]:
    """Over which turn agents die, and how often in a row, if this one died just now."""
    if agent.in_flight is None:
        return agent.killer, agent.kills
    again = agent.in_flight == agent.killer
    return agent.in_flight, (agent.kills or 0) * again + 1


@dataclass(frozen=True, slots=True)
class AgentRecovery:
    """Puts an agent right whose container is gone without anybody having heard of it, or never came."""

    agents: Agents
    stopped: AgentStopped
    clock: Clock

    def __call__(self, chat_id: str) -> str:
        """Put one agent right.

        Returns:
            What was done, for the log: `agent at work`, `agent at rest`, `agent given up`.
        """
        agent = self.agents.read(chat_id)
        if agent.is_held(self.clock.now()):
            return "agent at work"
        if agent.status == AgentStatus.STOPPED and self.agents.rest(chat_id):
            return "agent at rest"
        generation = Generation(chat_id, agent.generation)
        crashed = agent.status != AgentStatus.STOPPED
        never_came = agent.status == AgentStatus.STARTING
        self.stopped(generation, crashed=crashed, reason="it never came" if never_came else "it was not heard of again")
        return "agent given up"


@dataclass(frozen=True, slots=True)
class SweepingAgents:
    """Looks at every agent whose moment has come."""

    agents: Agents
    recover: AgentRecovery

    def __call__(self) -> Swept:
        """Put right whatever is due."""
        return put_each_right(self.agents.due(), self.recover)


@dataclass(frozen=True, slots=True)
class Task:
    """A task that runs, or is about to."""

    generation: Generation
    arn: str


@dataclass(frozen=True, slots=True)
class ShutDownIdle:
    """Sees to it that no task runs, and costs, that has nothing to do.

    `keep_hours`: sees to it that all of them together run no longer than they may. `idle_seconds`: of a container that
    does not say itself after how long it stops.
    """

    agents: Agents
    fleet: Fleet
    keep_hours: KeepingHours
    clock: Clock
    idle_seconds: int

    def __call__(self) -> Swept:
        """Look at every task there is, and at the hours."""
        tasks = list(self.fleet.tasks())
        swept, hours = put_each_right(tasks, self._tend), put_each_right([tasks], self.keep_hours)
        return Swept(swept.done, [*swept.failures, *hours.failures])

    def _tend(self, task: Task) -> Verdict:
        """An idle agent is asked first, and decides; it is stopped when it does not obey, or is nobody's."""
        agent, now = self.agents.read(task.generation.chat_id), self.clock.now()
        if agent.generation != task.generation.number:
            return self._stop(task, "replaced")
        if not agent.is_held(now):
            ended_at = (agent.since or 0) if agent.status == AgentStatus.STOPPED else agent.lease_until
            return self._stop(task, "its lease ended") if now - ended_at >= OBEY_SECONDS else "goes on"
        if agent.status == AgentStatus.STARTING or is_running(agent, now):
            return "goes on"
        if self._overdue(task.generation.chat_id, agent, now):
            forced = self.agents.force_to_stop(task.generation, agent)
            return self._stop(task, "it did not stop by itself") if forced else "goes on"
        idle_since = agent.last_activity or 0
        if not agent.pending and now - idle_since >= (agent.idle_after or self.idle_seconds):
            return "asked" if self.agents.ask_to_stop(task.generation) else "goes on"
        return "goes on"

    def _overdue(self, chat_id: str, agent: Agent, now: float) -> bool:
        """Whether an agent that works on nothing should have stopped, or taken its mail, long ago."""
        if agent.stop_forced or agent.in_flight is not None:
            return True  # asked in vain; or a run that nobody waits for any more
        if agent.status == AgentStatus.STOPPING:
            return now - (agent.since or 0) >= _left_to_stop(agent)
        if agent.pending:
            return any(now - mail.registered_at >= DEAF_SECONDS for mail in self.agents.mail(chat_id))
        return agent.stop_asked_at is not None and now - agent.stop_asked_at >= OBEY_SECONDS

    def _stop(self, task: Task, reason: str) -> Verdict:
        self.fleet.stop(task, reason)
        return "stopped"


def _left_to_stop(agent: Agent) -> int:
    """Seconds for a shutdown; a backup that began in it and found everything kept is told by the next renewal."""
    keeps = agent.kept_at is not None and agent.kept_at < (agent.since or 0)
    return KEEPING_SECONDS if keeps else OBEY_SECONDS


@dataclass(frozen=True, slots=True)
class BackUp:
    """Sees to it that what agents write is kept: each backs up by itself, this is for those that do not."""

    agents: Agents
    owner: Owner
    clock: Clock

    def __call__(self) -> Swept:
        """Look at every agent that runs."""
        return put_each_right(self.agents.due(), self._look)

    def _look(self, chat_id: str) -> str:
        """Ask one that is late for a backup, and tell the owner once in its life if that does not help.

        Returns:
            What was found, for the log: `not at work`, `kept`, `late` or `stale`.
        """
        agent, now = self.agents.read(chat_id), self.clock.now()
        if agent.status != AgentStatus.RUNNING or not agent.is_held(now) or agent.kept_at is None:
            return "not at work"
        age = int(now) - agent.kept_at
        if age < LATE_SECONDS:
            return "kept"
        stale = age >= STALE_SECONDS
        if stale and not agent.backups_told:  # before it is noted: told twice does less harm than never
            self.owner.tell(Notice("backups_late", reason=str(age // 60), chat_id=chat_id))
        self.agents.ask_to_back_up(Generation(chat_id, agent.generation), told=stale)
        return "stale" if stale else "late"


def is_running(agent: Agent, now: float) -> bool:
    """Whether the agent works on a turn that somebody waits for."""
    return agent.in_flight is not None and now - (agent.last_activity or 0) < RUN_SECONDS

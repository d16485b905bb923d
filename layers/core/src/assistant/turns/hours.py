"""The hours of Fargate that the agents of all chats may run in a month (`AgentHoursPerMonth`), and how they are kept.

They are an entry of the ledger, so that whoever reads the ledger to see which provider may be asked sees for nothing
whether the agent may be. A task stands in it from before its start until its end; taking it out and adding its seconds
is one conditional update, so that an end which is heard of twice, late, or out of order counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor
from typing import TYPE_CHECKING

from assistant.errors import AgentUnavailable
from assistant.turns.ledger import Entry, window_end
from assistant.turns.model import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.turns.agents import Generation
    from assistant.turns.ports import Agents, Clock, Fleet, HoursBook, Owner
    from assistant.turns.tending import Task

ENTRY = "agent"
"""Its id in the ledger; no provider is called so."""

SECONDS, RUNNING, TOLD = "seconds:", "running:", "told:"
"""Kinds of its attributes: of a month (`2026-11`), of a task (`<chat id>#<generation>`), of a month."""

LOST_SECONDS = 3600
"""ECS knows a task for an hour after its end. What it does not know so long after its start has never run."""


@dataclass(frozen=True, slots=True)
class Ran:
    """When a task ran: from the download of its image until its end, as Fargate charges (AWS Fargate pricing)."""

    began: float
    ended: float


def month_of(moment: float) -> str:
    """The month of a moment, UTC: `2026-11`."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m}"


def by_month(ran: Ran) -> dict[str, int]:
    """How many seconds of it lie in each month, UTC; together they are all of it, rounded up to a second."""
    seconds: dict[str, int] = {}
    began, ended = floor(ran.began), ceil(ran.ended)
    while began < ended:
        until = min(ended, window_end("month", began))
        seconds[month_of(began)] = until - began
        began = until
    return seconds


def task_name(generation: Generation) -> str:
    """The attribute of a task."""
    return f"{RUNNING}{generation.chat_id}#{generation.number}"


@dataclass(frozen=True, slots=True)
class Hours:
    """How the month's hours stand. `limit`: hours that there are; `counts`: the entry's attributes."""

    limit: float
    counts: Mapping[str, int]
    now: float

    @property
    def month(self) -> str:
        """The month that they are of."""
        return month_of(self.now)

    @property
    def used(self) -> int:
        """Seconds, those of what runs now among them: that is counted from before its start, so never too little."""
        running = sum(by_month(Ran(since, self.now)).get(self.month, 0) for since in self.running.values())
        return self.counts.get(f"{SECONDS}{self.month}", 0) + running

    @property
    def running(self) -> Mapping[str, int]:
        """Since when each task is counted whose end was not heard of."""
        return {name: since for name, since in self.counts.items() if name.startswith(RUNNING)}

    @property
    def spent(self) -> bool:
        """Whether no agent may run any more in this month."""
        return self.used >= self.limit * 3600

    @property
    def told(self) -> bool:
        """Whether the owner was told so."""
        return f"{TOLD}{self.month}" in self.counts


def hours(entries: Mapping[str, Entry], limit: float, now: float) -> Hours:
    """How they stand, by the ledger's entries."""
    return Hours(limit, entries.get(ENTRY, Entry()).windows, now)


@dataclass(frozen=True, slots=True)
class AgentHours:
    """The month's hours, for who starts and stops agents. `limit`: hours a month."""

    book: HoursBook
    limit: float
    clock: Clock

    def now(self) -> Hours:
        """How they stand: one read."""
        return Hours(self.limit, self.book.read(), self.clock.now())

    def check(self) -> None:
        """Raise AgentUnavailable if there are none left."""
        if self.now().spent:
            raise AgentUnavailable(f"the month's {self.limit:g} hours are used up")


@dataclass(frozen=True, slots=True)
class KeepingHours:
    """What a schedule does about the hours: ends that nobody heard of are counted, and the limit is kept."""

    hours: AgentHours
    agents: Agents
    fleet: Fleet
    owner: Owner

    def __call__(self, tasks: Sequence[Task]) -> str:
        """Look at the hours.

        Args:
            tasks: all that run.

        Returns:
            What was found, for the log: `left` or `spent`.
        """
        found = self.hours.now()
        gone = found.running.keys() - {task_name(task.generation) for task in tasks}
        if gone:
            self._count(gone, found)
        if not found.spent:
            return "left"
        for task in tasks:
            self.agents.ask_to_stop(task.generation)  # once it has done what it is doing; no more is given to it
        if found.limit and not found.told and self.hours.book.tell(found.month):
            self.owner.tell(Notice("agent_hours", reason=f"{found.limit:g}"))
        return "spent"

    def _count(self, gone: set[str], found: Hours) -> None:
        # Of two tasks of one generation, which a repeated start may bring, the one that worked.
        for generation, ran in sorted(self.fleet.ended(), key=lambda each: each[1].began - each[1].ended):
            if task_name(generation) in gone:
                self.hours.book.end(task_name(generation), ran)
                gone.discard(task_name(generation))
        for name in gone:
            if found.now - found.running[name] >= LOST_SECONDS:
                self.hours.book.end(name, None)

"""/status, /wake and /sleep: how the chat's agent is, and what a person wants it to be.

At once and at little cost: one read, at most one more for the last backup, one write. Waking is left to the function
that starts agents, which nobody waits for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from assistant.turns import texts
from assistant.turns.agents import AgentStatus, Generation
from assistant.turns.lanes import is_warm
from assistant.turns.reporting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.turns.agents import Agent
    from assistant.turns.hours import Hours
    from assistant.turns.lanes import AgentMode
    from assistant.turns.ports import Agents, Clock, Waker

VERSION = "0.1.0"
"""Of layers/core/pyproject.toml: Lambda has the sources of the package, not its metadata."""

type Control = Literal["status", "wake", "sleep"]

_DAY_SECONDS = 86400


@dataclass(frozen=True, slots=True)
class Controlling:
    """Carries out what is asked of a chat's agent. `mode` is `off` where there is none.

    `hours`: how the month's hours stand; one read of the ledger.
    """

    agents: Agents
    waker: Waker
    mode: AgentMode
    hours: Callable[[], Hours]
    clock: Clock

    def __call__(self, command: Control, chat_id: str, update_id: int) -> str:
        """Do it, and say what was done; again is harmless.

        Args:
            command: without the slash.
            chat_id: the chat.
            update_id: whose message it was: a repeat of it wakes nobody twice.
        """
        if self.mode == "off":
            return f"{texts.NO_AGENT}\n\nVersion {VERSION}" if command == "status" else texts.NO_AGENT
        agent, now = self.agents.read(chat_id), self.clock.now()
        if command == "wake":
            return self._wake(agent, chat_id, update_id, now)
        return self._sleep(agent, chat_id, now) if command == "sleep" else self._status(agent, chat_id, now)

    def _wake(self, agent: Agent, chat_id: str, update_id: int, now: float) -> str:
        if agent.is_held(now):
            return texts.WAKING if _boots(agent) else texts.AWAKE
        if agent.status == AgentStatus.STOPPED and agent.may_start_at() > now:
            return texts.left_alone(agent.crashes or 0, until(agent.may_start_at(), now))
        hours = self.hours()
        if hours.spent:
            return texts.stays_asleep(hours.month)
        self.waker.wake_chat(chat_id, starter=f"update-{update_id}")
        return texts.WAKES

    def _sleep(self, agent: Agent, chat_id: str, now: float) -> str:
        if not agent.is_held(now):
            return texts.ASLEEP
        self.agents.ask_to_stop(Generation(chat_id, agent.generation))
        return texts.SLEEPS_AFTERWARDS if agent.pending else texts.SLEEPS

    def _status(self, agent: Agent, chat_id: str, now: float) -> str:
        backup = _backup(self.agents.last_backup(chat_id), agent, now)
        lane = "the agent" if is_warm(agent, now) or self.mode == "always" else "language models"
        return "\n".join(
            [
                f"Agent: {_state(agent, now)}",
                f"Answers come from: {lane}",
                f"Last backup: {backup}",
                f"Version {VERSION}",
            ]
        )


def _state(agent: Agent, now: float) -> str:
    since = "" if agent.since is None else f" since {_moment(agent.since, now)}"
    if not agent.is_held(now):
        if agent.status != AgentStatus.STOPPED:
            return "lost; the next message starts another"
        left_alone = agent.may_start_at() > now
        return f"failing, left alone until {until(agent.may_start_at(), now)}" if left_alone else f"asleep{since}"
    if agent.in_flight is not None:
        return f"awake{since}, working"
    if agent.status == AgentStatus.STOPPING:
        return f"going to sleep{since}"
    return f"{'waking up' if _boots(agent) else 'awake'}{since}"


def _boots(agent: Agent) -> bool:
    """Whether its container is being started, or has come and takes no messages yet."""
    return agent.status in (AgentStatus.STARTING, AgentStatus.RUNNING) and agent.ready_at is None


def _backup(made_at: int | None, agent: Agent, now: float) -> str:
    """A snapshot is made only of what has changed: one that is old may well hold all there is."""
    if made_at is None:
        return "none yet"
    checked_at = (agent.kept_at or 0) if agent.is_held(now) else 0
    return _moment(made_at, now) + (f", nothing new at {_moment(checked_at, now)}" if checked_at > made_at else "")


def _moment(moment: int, now: float) -> str:
    """A moment that is past: `12:06 UTC`, or with its day."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at:%H:%M} UTC" if now - moment < _DAY_SECONDS else f"{at:%-d %b}, {at:%H:%M} UTC"

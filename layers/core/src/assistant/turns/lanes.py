"""Which lane a turn takes: a provider asked straight away, or the chat's agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from assistant.turns.agents import AgentStatus

if TYPE_CHECKING:
    from assistant.turns.agents import Agent
    from assistant.turns.model import Lane, Turn

type AgentMode = Literal["auto", "eager", "always", "off"]

AGENT_MODES: tuple[AgentMode, ...] = ("auto", "eager", "always", "off")

AGENT_SECONDS = 900
"""How long a turn is left to the agent, its start included; what it has not answered by then the chat lane answers."""

COLD_SECONDS = 240
"""Without a heartbeat for so long, an agent that was being started is taken for dead."""

WARM_SECONDS = 30
"""The same of one that runs."""


def is_warm(agent: Agent, now: float) -> bool:
    """Whether the agent takes its mail within a second or two."""
    return agent.status == AgentStatus.RUNNING and agent.lease_until > now and agent.ready_at is not None


def lane(mode: AgentMode, turn: Turn, agent: Agent, now: float) -> Lane:
    """The lane of a turn.

    What the person chose by `/agent` or `/ask` counts, and then what a model has handed over. Otherwise a cold chat is
    answered by a provider, in seconds; a chat whose agent is warm by the agent. In `always` every turn waits for the
    agent, in `off` none does; `eager` is `auto`, but that what a provider answers wakes the agent, too.
    """
    if mode == "off":
        return "chat"
    if turn.lane is not None:
        return turn.lane
    if turn.task is not None:
        return "agent"
    return "agent" if mode == "always" or is_warm(agent, now) else "chat"


def may_delegate(mode: AgentMode, turn: Turn) -> bool:
    """Whether a model that is asked may hand the turn to the agent, instead of answering."""
    return mode in ("auto", "eager") and turn.lane is None


def wakes(mode: AgentMode, turn: Turn, agent: Agent, now: float) -> bool:
    """Whether a turn that a provider answers wakes the agent for those that follow. A reminder is nobody's message."""
    sleeps = not agent.is_held(now) and agent.may_start_at() <= now
    return mode == "eager" and turn.reminder is None and sleeps


def heartbeat_seconds(agent: Agent, now: float) -> int:
    """How long the state that waits for the agent waits between two heartbeats."""
    return WARM_SECONDS if is_warm(agent, now) else COLD_SECONDS

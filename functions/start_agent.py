"""State AskAgent: hands the turn to the chat's agent and starts one if none runs; the agent answers the state itself.

PrepareTurn invokes it, too, asynchronously and without a token, where every message wakes the agent (mode `eager`), and
Webhook for /wake.
The state waits for the task token that this function is given (`lambda:invoke.waitForTaskToken`). An error that leaves
here ends it at once: AgentUnavailable when no task can be started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.errors import TurnInvalid
from assistant.observability import logger
from assistant.turns.model import TurnClaim

if TYPE_CHECKING:
    from assistant.turns.agents import StartAgent


def handle(event: object, start: StartAgent) -> str:
    """Hand the turn over."""
    match event:
        case {"wake": True, "chat_id": str(chat_id), "starter": str(starter)}:
            done = start.for_somebody(chat_id, starter)
            logger.info("agent woken", chat_id=chat_id, done=done)
            return done
    claim = TurnClaim.parse(event)
    match event:
        case {"wake": True}:
            done = start.in_background(claim)
            logger.info("agent woken", chat_id=claim.chat.chat_id, turn=claim.number, done=done)
            return done
    done = start(claim, _token(event))
    logger.info("turn handed to the agent", chat_id=claim.chat.chat_id, turn=claim.number, done=done)
    return done


def _token(event: object) -> str:
    match event:
        case {"token": str(token)} if token:
            return token
    raise TurnInvalid("the input holds no task token")


__getattr__ = wiring.entry_point(handle, wiring.start_agent)

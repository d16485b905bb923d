"""Waking agents in the background: the function StartAgent is invoked, and nobody waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from assistant.stores.background import hand_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from types_boto3_lambda import LambdaClient

    from assistant.turns.model import TurnClaim


@dataclass(frozen=True, slots=True)
class LambdaWaker:
    """Invokes a function asynchronously; `warn` is told (message, names) when that fails."""

    client: LambdaClient
    function: str
    warn: Callable[..., None]

    def wake(self, claim: TurnClaim) -> None:
        """Have the agent of the turn's chat started. That it could not be is logged: the answer is more important."""
        self._invoke({"chat_id": claim.chat.chat_id, "epoch": claim.chat.epoch, "turn": claim.number, "wake": True})

    def wake_chat(self, chat_id: str, *, starter: str) -> None:
        """Have a chat's agent started."""
        self._invoke({"chat_id": chat_id, "starter": starter, "wake": True})

    def _invoke(self, event: Mapping[str, object]) -> None:
        try:
            hand_over(self.client, self.function, event)
        except (BotoCoreError, ClientError) as error:
            self.warn("agent not woken", chat_id=event["chat_id"], error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class NoWaker:
    """Where no message wakes an agent."""

    def wake(self, claim: TurnClaim) -> None:
        """Let it sleep."""

    def wake_chat(self, chat_id: str, *, starter: str) -> None:
        """Let it sleep."""

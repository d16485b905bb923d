"""The states that wait for the agent, by their task tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_stepfunctions import SFNClient

_GONE = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})
"""Nobody waits any more: the state timed out, was answered, or its execution ended. AWS and the local cloud differ in
which of them they say (Step Functions API reference, SendTaskSuccess)."""


@dataclass(frozen=True, slots=True)
class StepFunctionsTokens:
    """Task tokens of Step Functions. No output goes along: the turn's item has it."""

    client: SFNClient

    def succeed(self, token: str) -> bool:
        """Let the state go on."""
        return _told(lambda: self.client.send_task_success(taskToken=token, output="{}"))

    def fail(self, token: str, error: Exception) -> bool:
        """Let the state fail with the error's class."""
        return _told(lambda: self.client.send_task_failure(taskToken=token, error=type(error).__name__))

    def heartbeat(self, token: str) -> bool:
        """Let the state go on waiting."""
        return _told(lambda: self.client.send_task_heartbeat(taskToken=token))


def _told(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        return False
    return True

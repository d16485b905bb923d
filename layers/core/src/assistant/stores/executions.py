"""The executions of the state machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_stepfunctions import SFNClient

    from assistant.turns.model import ChatClaim


@dataclass(frozen=True, slots=True)
class StepFunctionsExecutions:
    """Executions of the one state machine."""

    client: SFNClient
    state_machine_arn: str

    def start(self, claim: ChatClaim) -> None:
        """Start the claim's execution.

        The same name and input again answer with the running execution; once it has ended, with
        ExecutionAlreadyExists: then it did run, and whatever it left undone is the sweep's.
        Source: Step Functions API reference, StartExecution.
        """
        try:
            self.client.start_execution(
                stateMachineArn=self.state_machine_arn,
                name=claim.execution,
                input=json.dumps({"chat_id": claim.chat_id, "epoch": claim.epoch}),
            )
        except self.client.exceptions.ExecutionAlreadyExists:
            return

    def running(self, claim: ChatClaim) -> bool | None:
        """Whether the claim's execution is running; None if it was never started."""
        arn = f"{self.state_machine_arn.replace(':stateMachine:', ':execution:')}:{claim.execution}"
        try:
            return self.client.describe_execution(executionArn=arn)["status"] == "RUNNING"
        except self.client.exceptions.ExecutionDoesNotExist:
            return None

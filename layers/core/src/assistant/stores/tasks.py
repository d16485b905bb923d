"""The agents' tasks in Fargate."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from assistant.errors import AgentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.type_defs import RunTaskResponseTypeDef

    from assistant.turns.agents import Generation

CONTAINER = "agent"
"""Name of the container in the task definition."""

CAPACITY = ("FARGATE_SPOT", "FARGATE")
"""Capacity providers in the order in which they are tried: Spot costs a third."""

_PASSING = frozenset({"ThrottlingException", "ServerException", "ServiceUnavailableException"})
"""Not for want of capacity: the same call may succeed a moment later, which is the state machine's to try."""


@dataclass(frozen=True, slots=True)
class FargateTasks:
    """Tasks of one definition in one cluster.

    Attributes:
        client: of ECS.
        cluster: its ARN.
        task_definition: ARN of the family, with or without a revision.
        subnets: where the tasks' network interfaces are; with a public address, since there is no NAT to pay for.
        security_group: one that lets nothing in.
        warn: is told (message, names) why Spot was not to be had.
    """

    client: ECSClient
    cluster: str
    task_definition: str
    subnets: Sequence[str]
    security_group: str
    warn: Callable[..., None]

    def run(self, generation: Generation) -> str:
        """Start the task of a generation, on Spot or else on demand.

        Returns:
            The task's ARN; of a task that was started before for the same generation, the same.

        Raises:
            AgentUnavailable: neither can be had.
        """
        reasons = []
        for capacity in CAPACITY:
            try:
                started = self._run(generation, capacity)
            except ClientError as error:
                if error.response["Error"]["Code"] in _PASSING:
                    raise
                reasons.append(f"{capacity}: {error.response['Error']['Code']}")
                continue
            if started["tasks"]:
                return started["tasks"][0]["taskArn"]
            reasons.append(f"{capacity}: {', '.join(_reasons(started)) or 'nothing started'}")
            self.warn("no capacity for an agent", chat_id=generation.chat_id, reason=reasons[-1])
        raise AgentUnavailable("; ".join(reasons))

    def _run(self, generation: Generation, capacity: str) -> RunTaskResponseTypeDef:
        return self.client.run_task(
            cluster=self.cluster,
            taskDefinition=self.task_definition,
            clientToken=_client_token(generation, capacity),
            capacityProviderStrategy=[{"capacityProvider": capacity, "weight": 1}],
            count=1,
            startedBy=f"agent-{generation.number}",
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": list(self.subnets),
                    "securityGroups": [self.security_group],
                    "assignPublicIp": "ENABLED",
                }
            },
            overrides={
                "containerOverrides": [
                    {
                        "name": CONTAINER,
                        "environment": [
                            {"name": "CHAT_ID", "value": generation.chat_id},
                            {"name": "GENERATION", "value": str(generation.number)},
                        ],
                    }
                ]
            },
            propagateTags="TASK_DEFINITION",
        )


@dataclass(frozen=True, slots=True)
class NoTasks:
    """Where no container can run; `reason` says why."""

    reason: str

    def run(self, generation: Generation) -> str:
        """Raise AgentUnavailable."""
        raise AgentUnavailable(f"{self.reason} (chat {generation.chat_id})")


def _client_token(generation: Generation, capacity: str) -> str:
    """At most 64 characters; unique per cluster for 24 hours, and the same parameters have to go with it (ECS API)."""
    return hashlib.sha256(f"{generation.chat_id}/{generation.number}/{capacity}".encode()).hexdigest()


def _reasons(started: RunTaskResponseTypeDef) -> list[str]:
    return [failure.get("reason", "") for failure in started["failures"]]

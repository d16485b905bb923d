"""The agents' tasks in Fargate."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from assistant.errors import AgentUnavailable
from assistant.turns.agents import Generation
from assistant.turns.hours import Ran
from assistant.turns.tending import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.literals import DesiredStatusType
    from types_boto3_ecs.type_defs import RunTaskResponseTypeDef, TaskTypeDef

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
class FargateFleet:
    """The tasks of one cluster."""

    client: ECSClient
    cluster: str

    def tasks(self) -> Iterator[Task]:
        """Each task that shall run and has a generation; what somebody ran by hand is left alone."""
        yield from filter(None, map(_task, self._described("RUNNING")))

    def ended(self) -> Iterator[tuple[Generation, Ran]]:
        """The same of those that have ended; ECS knows a task for about an hour after its end."""
        for described in self._described("STOPPED"):
            task = _task(described)
            if task is not None and "stoppedAt" in described:
                ended = described["stoppedAt"].timestamp()
                began = described.get("pullStartedAt") or described.get("startedAt")
                yield task.generation, Ran(began.timestamp() if began else ended, ended)

    def _described(self, status: DesiredStatusType) -> Iterator[TaskTypeDef]:
        for page in self.client.get_paginator("list_tasks").paginate(cluster=self.cluster, desiredStatus=status):
            if page["taskArns"]:  # at most 100, as many as can be described at once (ECS API)
                yield from self.client.describe_tasks(cluster=self.cluster, tasks=page["taskArns"])["tasks"]

    def stop(self, task: Task, reason: str) -> None:
        """SIGTERM, and SIGKILL after `stopTimeout`. ECS knows a task for about an hour after its end."""
        with contextlib.suppress(self.client.exceptions.InvalidParameterException):
            self.client.stop_task(cluster=self.cluster, task=task.arn, reason=reason)


@dataclass(frozen=True, slots=True)
class NoFleet:
    """Where no container can run."""

    def tasks(self) -> Iterator[Task]:
        """None."""
        return iter(())

    def ended(self) -> Iterator[tuple[Generation, Ran]]:
        """None."""
        return iter(())

    def stop(self, task: Task, reason: str) -> None:
        """There is none to stop."""


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


def _task(described: TaskTypeDef) -> Task | None:
    given = {
        variable["name"]: variable["value"]
        for override in described["overrides"].get("containerOverrides", [])
        for variable in override.get("environment", [])
    }
    if not {"CHAT_ID", "GENERATION"} <= given.keys():
        return None
    return Task(Generation(given["CHAT_ID"], int(given["GENERATION"])), described["taskArn"])


def _reasons(started: RunTaskResponseTypeDef) -> list[str]:
    return [failure.get("reason", "") for failure in started["failures"]]

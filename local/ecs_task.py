"""A task of ECS: what the local cloud keeps of one, and how the API and EventBridge show it."""

import datetime as dt
import secrets
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.template import ACCOUNT, REGION

_KEPT_LINES = 20_000
_MOMENTS = ("createdAt", "connectivityAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "stoppedAt")


@dataclass(frozen=True)
class Definition:
    """A registered task definition.

    Attributes:
        arn: with its revision.
        family: its name.
        container: the definition of its one container, as the API writes it.
        task_role_arn: whose credentials the container has.
        execution_role_arn: what Fargate starts it with.
        volumes: names.
        cpu: units, as text.
        memory: MiB, as text.
    """

    arn: str
    family: str
    container: Mapping[str, Any]
    task_role_arn: str | None
    execution_role_arn: str | None
    volumes: tuple[str, ...]
    cpu: str
    memory: str


def definition(reference: str) -> Definition | None:
    """The task definition with this ARN, family or family and revision; the newest revision if none is named."""
    # Imported here: moto's ECS brings EC2 along, a second that only a cloud with an agent has to wait.
    from moto.ecs.models import ecs_backends  # noqa: PLC0415

    known = ecs_backends[ACCOUNT][REGION].task_definitions
    family, _, revision = reference.rpartition("/")[2].partition(":")
    revisions = {int(number): one for number, one in known.get(family, {}).items() if one.status == "ACTIVE"}
    if not revisions:
        return None
    found = revisions.get(int(revision) if revision else max(revisions))
    if found is None:
        return None
    (container,) = found.container_definitions
    return Definition(
        arn=found.arn,
        family=found.family,
        container=container,
        task_role_arn=getattr(found, "task_role_arn", None),
        execution_role_arn=getattr(found, "execution_role_arn", None),
        volumes=tuple(volume["name"] for volume in found.volumes),
        cpu=str(found.cpu),
        memory=str(found.memory),
    )


@dataclass
class Task:
    """One task and its process.

    Attributes:
        definition: what was started.
        cluster_arn: where.
        capacity: `FARGATE` or `FARGATE_SPOT`.
        overrides: as RunTask was given them.
        started_by: as RunTask was given it.
        subnet: where its network interface is.
        last_status: PENDING → RUNNING → STOPPED.
        desired_status: RUNNING, then STOPPED.
        stop_code: why it stops (ECS API reference, Task).
        exit_code: of the container, once it has ended.
        moments: epoch seconds of virtual time, by the API's names.
        secret: part of the path of its metadata and credentials.
        version: counts the changes.
    """

    definition: Definition
    cluster_arn: str
    capacity: str
    overrides: Mapping[str, Any]
    started_by: str
    subnet: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    last_status: str = "PENDING"
    desired_status: str = "RUNNING"
    stop_code: str | None = None
    stopped_reason: str | None = None
    exit_code: int | None = None
    moments: dict[str, float] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    version: int = 1
    process: subprocess.Popen[bytes] | None = None
    killer: threading.Timer | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"{self.cluster_arn.replace(':cluster/', ':task/')}/{self.id}"

    @property
    def changing(self) -> bool:
        """Whether it is not yet what it shall be."""
        return self.last_status != self.desired_status

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables: the definition's, and over them those of RunTask."""
        own = self.definition.container
        given = [one for one in self.overrides.get("containerOverrides", []) if one.get("name") == own["name"]]
        return {
            variable["name"]: variable["value"]
            for source in (own, *given)
            for variable in source.get("environment", [])
        }

    def shown(self, moment: Callable[[float], Any]) -> dict[str, Any]:
        """The task as the API has it; `moment` writes a time: as a number in answers, as text in events."""
        image = self.definition.container["image"]
        container = {
            "containerArn": f"{self.arn.replace(':task/', ':container/')}/{uuid.UUID(self.id)}",
            "taskArn": self.arn,
            "name": self.definition.container["name"],
            "image": image,
            "lastStatus": self.last_status,
            "cpu": "0",
        }
        optional = {"stopCode": self.stop_code, "stoppedReason": self.stopped_reason}
        return {
            "attachments": [self._interface()],
            "availabilityZone": f"{REGION}a",
            "capacityProviderName": self.capacity,
            "clusterArn": self.cluster_arn,
            "connectivity": "CONNECTED",
            "containers": [container | ({} if self.exit_code is None else {"exitCode": self.exit_code})],
            "cpu": self.definition.cpu,
            "desiredStatus": self.desired_status,
            "group": f"family:{self.definition.family}",
            "lastStatus": self.last_status,
            "launchType": "FARGATE",
            "memory": self.definition.memory,
            "overrides": dict(self.overrides),
            "platformVersion": "1.4.0",
            "startedBy": self.started_by,
            "taskArn": self.arn,
            "taskDefinitionArn": self.definition.arn,
            "version": self.version,
            **{name: value for name, value in optional.items() if value is not None},
            **{name: moment(self.moments[name]) for name in _MOMENTS if name in self.moments},
        }

    def event(self, now: float) -> dict[str, Any]:
        """The detail of an "ECS Task State Change" event.

        Source: Amazon ECS developer guide, "Amazon ECS task state change events": a task as DescribeTasks shows it,
        with times as text.
        """
        return self.shown(_text) | {"updatedAt": _text(now)}

    def _interface(self) -> dict[str, Any]:
        details = [{"name": "subnetId", "value": self.subnet}]
        status = "DELETED" if self.last_status == "STOPPED" else "ATTACHED"
        return {"id": str(uuid.UUID(self.id)), "type": "eni", "status": status, "details": details}


def _text(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

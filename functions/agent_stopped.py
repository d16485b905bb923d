"""Event "ECS Task State Change": a task of the agent has ended, and what it held is given back.

Events are best effort and may come twice (Amazon ECS developer guide, "Amazon ECS events"): leases end by themselves,
and giving back what has been given back changes nothing.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec reads the types)
from typing import TYPE_CHECKING, Any

import msgspec

from assistant import wiring
from assistant.observability import logger
from assistant.turns.agents import Generation
from assistant.turns.hours import Ran

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.tending import AgentStopped

NOT_ITS_FAULT = frozenset(
    {"UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption", "TerminationNotice", "InfrastructureHealth"}
)
"""Stop codes of tasks that somebody else ended (ECS API reference, Task, `stopCode`); TerminationNotice is what Spot
said before it said SpotInterruption. TaskFailedToStart is not among them: such a task fails the next time, too."""

EXITED = "EssentialContainerExited"


class Variable(msgspec.Struct):
    """One variable that a task was started with."""

    name: str
    value: str


class ContainerOverride(msgspec.Struct):
    """What a container was given beyond the task definition."""

    environment: list[Variable] = []


class Overrides(msgspec.Struct, rename="camel"):
    """What a task was given beyond the task definition."""

    container_overrides: list[ContainerOverride] = []


class Container(msgspec.Struct, rename="camel"):
    """A container that has ended; one that never started has no exit code. `reason`: OutOfMemoryError, for instance."""

    exit_code: int | None = None
    reason: str = ""


class StoppedTask(msgspec.Struct, rename="camel"):
    """The event's detail, as far as it matters here."""

    task_arn: str
    overrides: Overrides
    containers: list[Container] = []
    stop_code: str = ""
    stopped_reason: str = ""
    pull_started_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None

    @property
    def generation(self) -> Generation | None:
        """Whose task it was; None if it was nobody's: somebody has run a task by hand."""
        given = {one.name: one.value for one_of in self.overrides.container_overrides for one in one_of.environment}
        if not {"CHAT_ID", "GENERATION"} <= given.keys():
            return None
        return Generation(given["CHAT_ID"], int(given["GENERATION"]))

    @property
    def ran(self) -> Ran | None:
        """When it ran; one that did not come to download its image cost nothing."""
        if self.stopped_at is None:
            return None
        began = self.pull_started_at or self.started_at or self.stopped_at
        return Ran(began.timestamp(), self.stopped_at.timestamp())

    @property
    def crashed(self) -> bool:
        """Whether it ended by a fault of its own."""
        if self.stop_code == EXITED:
            return any(container.exit_code != 0 for container in self.containers)
        return self.stop_code not in NOT_ITS_FAULT

    @property
    def reason(self) -> str:
        """Why it ended, as far as AWS says."""
        said = [self.stopped_reason, *(container.reason for container in self.containers)]
        codes = [f"exit code {container.exit_code}" for container in self.containers if container.exit_code]
        return "; ".join(filter(None, [*said, *codes]))


def handle(event: Mapping[str, Any], stopped: AgentStopped) -> None:
    """Give back what the task held."""
    task = msgspec.convert(event["detail"], StoppedTask)
    generation = task.generation
    done = "not an agent's"
    if generation is not None:
        done = stopped(generation, crashed=task.crashed, reason=task.reason, task_arn=task.task_arn, ran=task.ran)
    log = logger.warning if task.crashed else logger.info
    log(
        "agent stopped",
        chat_id=generation.chat_id if generation else None,
        generation=generation.number if generation else None,
        task=task.task_arn,
        stop_code=task.stop_code,
        reason=task.reason,
        crashed=task.crashed,
        done=done,
    )


__getattr__ = wiring.entry_point(handle, wiring.agent_stopped)

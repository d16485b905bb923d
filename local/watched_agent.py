"""One task of the agent, as whoever watches the local cloud sees it: its boot, its memory, its requests, its end."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from local.fargate import Asked
from local.stage import Stage, StageError

READS = frozenset({"dynamodb:GetItem", "dynamodb:Query"})
HOUR_S = 3600
BRIDGE, GATEWAY = "local.clocked agent", "openclaw-gateway"
"""Words of the command lines of the two."""

_TAKES_MESSAGES = "OpenClaw takes messages"
_POLL_S = 0.01
_LAST_LINES = 5


@dataclass(frozen=True)
class WatchedAgent:
    """The newest task of a chat.

    Attributes:
        stage: The running cloud.
        task_arn: The task.
    """

    stage: Stage
    task_arn: str

    @classmethod
    def of(cls, stage: Stage, chat_id: int, deadline_s: float) -> "WatchedAgent":
        """The chat's task, once there is one.

        Raises:
            StageError: none was started.
        """
        found = _until(lambda: _tasks_of(stage, chat_id), deadline_s)
        if not found:
            raise StageError(
                f"no task was started for chat {chat_id}; StartAgent says:\n{stage.last_log('StartAgent')}"
            )
        return cls(stage, found[-1])

    @property
    def workspace(self) -> Path:
        """The agent's folder."""
        return self.stage.cloud.fargate.folder(self.task_arn) / "workspace" / "files"

    @property
    def started_at(self) -> float:
        """When its process was started, virtual time."""
        return float(self._shown["startedAt"])

    @property
    def status(self) -> str:
        """As ECS has it."""
        return str(self._shown["lastStatus"])

    @property
    def exit_code(self) -> int | None:
        """Of one that has stopped."""
        code: int | None = self._shown["containers"][0].get("exitCode")
        return code

    @property
    def boot(self) -> dict[str, float] | None:
        """Seconds of each part of the start, once it takes messages."""
        ready = [line for line in self.stage.cloud.fargate.logs(self.task_arn) if _TAKES_MESSAGES in line]
        return dict(json.loads(ready[0])["seconds"]) if ready else None

    def ready(self, deadline_s: float) -> float:
        """Wait until it takes messages and has said so; the virtual time at which it was seen to.

        Raises:
            StageError: it does not.
        """
        _until(lambda: (self.boot and self._has_said_so()) or self.status == "STOPPED", deadline_s)
        if self.boot is None:
            raise StageError(f"the agent did not come up; it says:\n{self.last_log()}")
        return self.stage.clock.now()

    def memory_mb(self) -> dict[str, float]:
        """What its processes hold, in MB: the bridge, the gateway, and what the gateway has started."""
        held = {"bridge": 0.0, "gateway": 0.0, "others": 0.0}
        for process in self.stage.cloud.fargate.processes(self.task_arn):
            command = " ".join(process.command)
            names = [name for name, words in (("bridge", BRIDGE), ("gateway", GATEWAY)) if words in command]
            held[names[0] if names else "others"] += process.rss_mb
        return {name: round(size, 1) for name, size in held.items()}

    def requests(self, since: float) -> list[Asked]:
        """What it has asked of AWS since then."""
        return [request for request in self.stage.cloud.fargate.requests(self.task_arn) if request.at >= since]

    def stop(self, deadline_s: float) -> float:
        """Stop it as ECS does: SIGTERM; the real seconds until it had ended."""
        began = time.monotonic()
        cluster = self.stage.cloud.resources["AgentCluster"]
        self.stage.cloud.client("ecs").stop_task(cluster=cluster, task=self.task_arn, reason="the demo is over")
        _until(lambda: self.status == "STOPPED", deadline_s)
        return time.monotonic() - began

    def described(self) -> str:
        """In a line: its status, and of one that runs its memory and its folder."""
        if self.status != "RUNNING":
            return f"{self.status}, exit status {self.exit_code}"
        state = "takes messages" if self.boot else "starts"
        memory = ", ".join(f"{name} {size:.0f} MB" for name, size in self.memory_mb().items())
        return f"RUNNING, {state}; {memory}; its folder is {self.workspace}"

    def last_log(self) -> str:
        """Its last lines."""
        return "\n".join(self.stage.cloud.fargate.logs(self.task_arn)[-_LAST_LINES:])

    def _has_said_so(self) -> bool:
        """Whether the chat counts as warm: what PrepareTurn goes by."""
        given = [one for one_of in self._shown["overrides"]["containerOverrides"] for one in one_of["environment"]]
        chat_id = next(one["value"] for one in given if one["name"] == "CHAT_ID")
        item = self.stage.cloud.client("dynamodb").get_item(
            TableName=self.stage.cloud.resources["RuntimeTable"],
            Key={"pk": {"S": f"AGENT#{chat_id}"}, "sk": {"S": "AGENT"}},
        )
        return "ready_at" in item.get("Item", {})

    @property
    def _shown(self) -> dict[str, Any]:
        return next(task for task in self.stage.cloud.fargate.tasks if task["taskArn"] == self.task_arn)


def per_hour(requests: Sequence[Asked], names: frozenset[str]) -> float | None:
    """How many of these requests an hour has, from the time between them; None with fewer than two."""
    moments = [request.at for request in requests if request.name in names]
    gaps = [after - before for before, after in pairwise(moments)]
    return HOUR_S * len(gaps) / sum(gaps) if gaps else None


def _tasks_of(stage: Stage, chat_id: int) -> list[str]:
    own = {"name": "CHAT_ID", "value": str(chat_id)}
    return [
        task["taskArn"]
        for task in stage.cloud.fargate.tasks
        for container in task["overrides"].get("containerOverrides", [])
        if own in container.get("environment", []) and "startedAt" in task
    ]


def _until[T](look: Callable[[], T], deadline_s: float) -> T:
    """Look until there is something, or the time is over; what was seen last."""
    deadline = time.monotonic() + deadline_s
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return seen

"""Fargate on this machine: what RunTask starts is a real process, with the task role's credentials.

The cluster and the task definition are moto's; tasks are ours, from RunTask to STOPPED. Only what the project asks of
ECS is answered: one container a task, Fargate capacity, the operations below.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from werkzeug.wrappers import Response

from local import processes
from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.clock import VirtualClock
from local.ecs_task import Task, definition
from local.events import EventBus
from local.processes import Process
from local.server import Environ, StartResponse, WsgiApp
from local.template import ACCOUNT, REGION

OPERATIONS = {"RunTask", "StopTask", "DescribeTasks", "ListTasks"}
METADATA_PATH = "/_local/task"
CAPACITY_REASON = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
"""https://repost.aws/knowledge-center/ecs-fargate-runtask-capacity."""

_TOKEN_S = 24 * 3600
_SIGNALLED = 128
_CONTAINER = Path(__file__).with_name("container.py")
_ALWAYS = float("inf")


@dataclass(frozen=True)
class Image:
    """What stands for a container image.

    Attributes:
        command: its entry point.
        environment: what its ENV lines say, PYTHONPATH for instance.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Asked(NamedTuple):
    """A request to AWS that a task made: when, in virtual time, and what (`dynamodb:Query`)."""

    at: float
    name: str


class EcsError(Exception):
    """A request that ECS refuses: `code` and message as the API has them."""

    def __init__(self, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.code = code
        self.more = more


@dataclass
class _Started:
    """What a client token has started, and with which parameters."""

    parameters: str
    tasks: list[Task]
    at: float


class Fargate:
    """Runs tasks.

    Args:
        clock: virtual time.
        endpoint: where AWS is for the tasks.
        assume_role: fresh credentials of a role.
        bus: is told of every change of a task.
        images: what stands for an image, by its name; others can't be pulled.
        variables: further variables of a container.
        stop_limit_s: real seconds between SIGTERM and SIGKILL, if the definition's `stopTimeout` is longer.
    """

    def __init__(
        self,
        *,
        clock: VirtualClock,
        endpoint: str,
        assume_role: Callable[[str], Mapping[str, Any]],
        bus: EventBus,
        images: Mapping[str, Image],
        variables: Mapping[str, str],
        stop_limit_s: float,
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._assume_role = assume_role
        self._bus = bus
        self._images = dict(images)
        self._variables = dict(variables)
        self.stop_limit_s = stop_limit_s
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[tuple[str, str], _Started] = {}
        self._refused: dict[str, float] = {}
        self._keys: dict[str, Task] = {}
        self._asked: defaultdict[str, list[Asked]] = defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._folder = TemporaryDirectory(prefix="local-fargate-")
        self._telling = 0
        self._stopping = False
        self.refusals: Counter[str] = Counter()

    # For whoever drives the local cloud

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Every task so far, as DescribeTasks shows it, in the order of their start."""
        with self._lock:
            return [task.shown(float) for task in self._tasks.values()]

    @property
    def changing(self) -> bool:
        """Whether a task starts or stops just now, or somebody is still to hear that it has."""
        with self._lock:
            return self._telling > 0 or any(task.changing for task in self._tasks.values())

    def logs(self, task_arn: str) -> list[str]:
        """The lines a task wrote."""
        return list(self._tasks[task_arn].lines)

    def folder(self, task_arn: str) -> Path:
        """Where a task's volumes are, each in a folder of its name, until the local cloud ends."""
        return Path(self._folder.name) / self._tasks[task_arn].id

    def processes(self, task_arn: str) -> list[Process]:
        """What runs in a task's container; empty once it has ended."""
        process = self._tasks[task_arn].process
        return [] if process is None else processes.below(process.pid)

    def requests(self, task_arn: str) -> list[Asked]:
        """What a task has asked of AWS so far."""
        with self._lock:
            return list(self._asked[task_arn])

    def refuse(self, capacity: str, times: float = _ALWAYS) -> None:
        """Have no capacity of a kind (`FARGATE`, `FARGATE_SPOT`) for the next requests; 0 ends it."""
        with self._lock:
            self._refused[capacity] = times

    def interrupt(self, task_arn: str) -> None:
        """Take a task's capacity back, as Spot does: SIGTERM, and SIGKILL if it does not end."""
        self._end(self._tasks[task_arn], "SpotInterruption", "Your Spot Task was interrupted.")

    def kill(self, task_arn: str) -> None:
        """SIGKILL everything in a task's container at once."""
        _kill(self._tasks[task_arn])

    def stop(self) -> None:
        """SIGKILL every task and wait until its processes are gone; nobody is told any more."""
        with self._lock:
            self._stopping = True
            tasks = list(self._tasks.values())
        for task in tasks:
            if task.killer is not None:
                task.killer.cancel()
            _kill(task)
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()

    # For those who call AWS

    def is_task(self, access_key: str) -> bool:
        """Whether a task has these credentials."""
        with self._lock:
            return access_key in self._keys

    def note(self, request: AwsRequest) -> None:
        """Remember a request if a task made it."""
        with self._lock:
            task = self._keys.get(request.access_key)
            if task is not None:
                self._asked[task.arn].append(Asked(self._clock.now(), request.name))

    def answer(self, request: AwsRequest) -> WsgiApp:
        """Answer one of `OPERATIONS`.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/
        """
        operations = {
            "RunTask": self._run_task,
            "StopTask": self._stop_task,
            "DescribeTasks": self._describe_tasks,
            "ListTasks": self._list_tasks,
        }
        try:
            answer = operations[request.operation](request.parameters)
        except EcsError as error:
            return aws_error("ecs", error.code, str(error), HTTPStatus.BAD_REQUEST, **error.more)
        response: WsgiApp = Response(json.dumps(answer), 200, content_type="application/x-amz-json-1.1")
        return response

    def metadata(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """What a task may ask about itself: below `/<secret>`, its credentials and its metadata.

        Sources: Amazon ECS developer guide, "Task IAM role" and "Task metadata endpoint version 4".
        """
        secret, _, what = str(environ["PATH_INFO"]).lstrip("/").partition("/")
        with self._lock:
            found = next((task for task in self._tasks.values() if task.secret == secret), None)
        answers = {"credentials": self._credentials, "v4": _container_metadata, "v4/task": _task_metadata}
        if found is None or what not in answers:
            response = Response("404 page not found", HTTPStatus.NOT_FOUND)
        else:
            response = Response(json.dumps(answers[what](found)), content_type="application/json")
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _credentials(self, task: Task) -> dict[str, Any]:
        role = task.definition.task_role_arn or ""
        given = self._assume_role(role)
        with self._lock:
            self._keys[given["AccessKeyId"]] = task
        return {
            "RoleArn": role,
            "AccessKeyId": given["AccessKeyId"],
            "SecretAccessKey": given["SecretAccessKey"],
            "Token": given["SessionToken"],
            "Expiration": given["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _run_task(self, given: Mapping[str, Any]) -> dict[str, Any]:
        cluster = cluster_arn(given.get("cluster", "default"))
        parameters = json.dumps({key: value for key, value in given.items() if key != "clientToken"}, sort_keys=True)
        token = (cluster, str(given.get("clientToken", "")))
        with self._lock:
            started = self._known(token)
            if started is None:
                tasks = self._started(cluster, given)
                if token[1]:
                    self._tokens[token] = _Started(parameters, tasks, self._clock.now())
            elif started.parameters == parameters:
                tasks = started.tasks
            else:
                message = "The provided clientToken is already in use with a different RunTask request."
                raise EcsError("ConflictException", message, resourceIds=[task.arn for task in started.tasks])
            return {"tasks": [task.shown(float) for task in tasks], "failures": []}

    def _known(self, token: tuple[str, str]) -> _Started | None:
        """What the token has started within a day (ECS developer guide, "Ensuring idempotency")."""
        started = self._tokens.get(token)
        if started is None or self._clock.now() - started.at >= _TOKEN_S:
            return None
        return started

    def _started(self, cluster: str, given: Mapping[str, Any]) -> list[Task]:
        _check_cluster(cluster)
        found = definition(given["taskDefinition"])
        if found is None:
            raise EcsError("ClientException", "TaskDefinition not found.")
        (strategy,) = given.get("capacityProviderStrategy") or [{"capacityProvider": "FARGATE"}]
        network = given.get("networkConfiguration", {}).get("awsvpcConfiguration")
        if not network:
            message = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
            raise EcsError("InvalidParameterException", message)
        _check_network(network)
        self._take_capacity(strategy["capacityProvider"])
        tasks = [
            Task(
                definition=found,
                cluster_arn=cluster,
                capacity=strategy["capacityProvider"],
                overrides=given.get("overrides", {}),
                started_by=given.get("startedBy", ""),
                subnet=network["subnets"][0],
                moments={"createdAt": self._clock.now()},
            )
            for _ in range(int(given.get("count", 1)))
        ]
        for task in tasks:
            self._tasks[task.arn] = task
            thread = threading.Thread(target=self._live, args=(task,), name=f"task-{task.id}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return tasks

    def _take_capacity(self, capacity: str) -> None:
        left = self._refused.get(capacity, 0)
        if left > 0:
            self._refused[capacity] = left - 1
            self.refusals[capacity] += 1
            raise EcsError("ClientException", CAPACITY_REASON)

    def _stop_task(self, given: Mapping[str, Any]) -> dict[str, Any]:
        task = self._task(given["task"])
        if task is None:
            raise EcsError("InvalidParameterException", "The referenced task was not found.")
        self._end(task, "UserInitiated", given.get("reason") or "Task stopped by user")
        return {"task": task.shown(float)}

    def _describe_tasks(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: self._task(name) for name in given["tasks"]}
        return {
            "tasks": [task.shown(float) for task in found.values() if task is not None],
            "failures": [{"arn": name, "reason": "MISSING"} for name, task in found.items() if task is None],
        }

    def _list_tasks(self, given: Mapping[str, Any]) -> dict[str, Any]:
        cluster = cluster_arn(given.get("cluster", "default"))
        wanted = given.get("desiredStatus", "RUNNING")
        with self._lock:
            tasks = [task for task in self._tasks.values() if task.cluster_arn == cluster]
        return {"taskArns": [task.arn for task in tasks if task.desired_status == wanted]}

    def _task(self, reference: str) -> Task | None:
        identifier = reference.rpartition("/")[2]
        with self._lock:
            return next((task for task in self._tasks.values() if task.id == identifier), None)

    # A task's life

    def _live(self, task: Task) -> None:
        self._tell(task)
        image = self._images.get(task.definition.container["image"])
        if image is None:
            name = task.definition.container["image"]
            self._ended(task, None, "TaskFailedToStart", f"CannotPullContainerError: no image {name} on this machine")
            return
        process = self._start(task, image)
        if process is None:
            self._ended(task, None, "UserInitiated", "Task stopped by user")
            return
        assert process.stdout is not None  # noqa: S101 (started with a pipe)
        for raw in process.stdout:
            task.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
        process.stdout.close()
        code = process.wait()
        # Negative: SIGTERM came before there was a command to pass it on to.
        code = code if code >= 0 else _SIGNALLED - code
        self._ended(task, code, "EssentialContainerExited", "Essential container in task exited")

    def _start(self, task: Task, image: Image) -> subprocess.Popen[bytes] | None:
        folder = Path(self._folder.name) / task.id
        folder.mkdir()
        environment = self._environment(task, image, folder)
        with self._lock:
            if self._stopping or task.desired_status == "STOPPED":
                return None
            task.process = subprocess.Popen(
                # Nothing of the virtual environment: it imports the standard library alone.
                [sys.executable, "-I", "-S", str(_CONTAINER), *image.command],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the driver, which then stops this
            )
            task.last_status = "RUNNING"
            now = self._clock.now()
            task.moments |= dict.fromkeys(("connectivityAt", "pullStartedAt", "pullStoppedAt", "startedAt"), now)
        self._tell(task)
        return task.process

    def _environment(self, task: Task, image: Image, folder: Path) -> dict[str, str]:
        """The container's variables, and a folder of its own for each volume, named `<VOLUME>_FOLDER`."""
        folders = {}
        for volume in task.definition.volumes:
            (folder / volume).mkdir()
            folders[f"{volume.upper()}_FOLDER"] = str(folder / volume)
        own = f"{self._endpoint}{METADATA_PATH}/{task.secret}"
        return {
            "PATH": os.defpath,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            **image.environment,
            **folders,
            **task.environment,
            **self._variables,
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{own}/credentials",
            "ECS_CONTAINER_METADATA_URI_V4": f"{own}/v4",
        }

    def _end(self, task: Task, stop_code: str, reason: str) -> None:
        """SIGTERM, and SIGKILL after `stopTimeout`."""
        with self._lock:
            if task.desired_status == "STOPPED":
                return
            task.desired_status = "STOPPED"
            task.stop_code, task.stopped_reason = stop_code, reason
            task.moments["stoppingAt"] = self._clock.now()
            if task.process is not None:
                task.process.terminate()
                patience = min(float(task.definition.container.get("stopTimeout", 30)), self.stop_limit_s)
                task.killer = threading.Timer(patience, _kill, (task,))
                task.killer.daemon = True
                task.killer.start()
        self._tell(task)

    def _ended(self, task: Task, code: int | None, stop_code: str, reason: str) -> None:
        with self._lock:
            if task.killer is not None:
                task.killer.cancel()
            _kill(task)
            now = self._clock.now()
            task.moments = {"stoppingAt": now, **task.moments, "stoppedAt": now}
            task.stop_code = task.stop_code or stop_code
            task.stopped_reason = task.stopped_reason or reason
            task.exit_code = code
            task.desired_status = task.last_status = "STOPPED"
            self._telling += 1
        self._tell(task)
        with self._lock:
            self._telling -= 1

    def _tell(self, task: Task) -> None:
        with self._lock:
            task.version += 1
            detail = task.event(self._clock.now())
        if not self._stopping:
            self._bus.put("aws.ecs", "ECS Task State Change", detail, [task.arn])


def cluster_arn(reference: str) -> str:
    """The ARN of a cluster, given by its name or ARN."""
    return reference if reference.startswith("arn:") else f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{reference}"


def _check_cluster(cluster: str) -> None:
    from moto.ecs.models import ecs_backends  # noqa: PLC0415 (as in `ecs_task.definition`)

    if cluster.rpartition("/")[2] not in ecs_backends[ACCOUNT][REGION].clusters:
        raise EcsError("ClusterNotFoundException", "Cluster not found.")


def _check_network(network: Mapping[str, Any]) -> None:
    from moto.ec2.models import ec2_backends  # noqa: PLC0415 (as in `ecs_task.definition`)

    backend = ec2_backends[ACCOUNT][REGION]
    known = {subnet for by_zone in backend.subnets.values() for subnet in by_zone}
    strange = [subnet for subnet in network["subnets"] if subnet not in known]
    strange += [group for group in network["securityGroups"] if backend.get_security_group_from_id(group) is None]
    if strange:
        message = f"Error retrieving subnet or security group information for [{', '.join(strange)}]"
        raise EcsError("InvalidParameterException", message)


def _container_metadata(task: Task) -> dict[str, Any]:
    container = task.definition.container
    return {
        "DockerId": f"{task.id}-1",
        "Name": container["name"],
        "Image": container["image"],
        "Labels": {"com.amazonaws.ecs.cluster": task.cluster_arn, "com.amazonaws.ecs.task-arn": task.arn},
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.last_status,
    }


def _task_metadata(task: Task) -> dict[str, Any]:
    return {
        "Cluster": task.cluster_arn,
        "TaskARN": task.arn,
        "Family": task.definition.family,
        "Revision": task.definition.arn.rpartition(":")[2],
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.last_status,
        "LaunchType": "FARGATE",
        "Containers": [_container_metadata(task)],
    }


def _kill(task: Task) -> None:
    """SIGKILL for everything in the container: what runs it does that when its input ends (`local/container.py`)."""
    if task.process is not None and task.process.stdin is not None:
        task.process.stdin.close()

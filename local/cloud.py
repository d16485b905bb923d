"""The whole cloud on this machine, as one object to start, talk to and stop."""

import json
import secrets as random_secrets
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from moto.backends import get_backend
from moto.core.models import botocore_stubber
from moto.dynamodb.models import dynamodb_backends
from moto.iam.models import iam_backends
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from moto.sts.models import sts_backends

from local import agent_image, alarms, executions
from local.change_sets import ChangeSets
from local.clock import VirtualClock
from local.deployer import Deployer
from local.ecr import Ecr
from local.engine import Engine
from local.events import EventBus
from local.executions import Execution
from local.fargate import Fargate, Image
from local.faults import Faults
from local.front import API_PREFIX, CALLER_PREFIX, CLOCK_PATH, DRIVER_PATH, Front
from local.functions import Function, Invocation
from local.gate import Denied, Gate
from local.http_api import HttpApi
from local.lambda_api import LambdaApi
from local.log_events import LogEvents
from local.metering import Meter
from local.runtime import Runtime
from local.scheduler import Scheduler
from local.server import Environ, StartResponse, WebServer, WsgiApp
from local.stacks import StackResource, Stacks, StackState
from local.template import ACCOUNT, REGION, Template
from local.uploads import Uploads

ROOT = Path(__file__).parent.parent
SECRETS_PATH = "/serverless-openclaw/secrets/"
PROVIDER_PATHS = {
    "AskCopilot": ("copilot", "/copilot"),
    "AskOpenRouter": ("openrouter", "/openrouter/api/v1"),
    "AskOllamaCloud": ("ollama-cloud", "/ollama/v1"),
    "AskClaude": ("anthropic", "/anthropic"),
    "CorrectLedger": ("openrouter", "/openrouter/api/v1"),
}
"""Each function's provider, and its simulator's path."""

_ADMIN_KEY = "AKIALOCALADMINISTRAT"
_STORES = ("cloudwatch", "dynamodb", "events", "iam", "s3", "scheduler", "sns", "sqs", "ssm", "stepfunctions", "sts")
_STORES_OF_AN_AGENT = ("ec2", "ecr", "ecs")
"""Which take a second to import, and are looked at only once somebody has."""

_QUIET_POLL_S = 0.005
_SESSION_S = 12 * 3600

_in_use = threading.Lock()


class LocalCloudError(RuntimeError):
    """The local cloud can't do what is asked; the message says why."""


class LocalCloud:
    """A local AWS with the project deployed in it. One at a time in a process: moto's stores are global.

    Example:
        with LocalCloud(mode="source", time_scale=0.01) as cloud:
            status, answer = cloud.post_update(update)
            cloud.wait_until_quiet(10)

    Args:
        template: the template to deploy; None is the project's.
        mode: `build` runs the code that `sam build` made, `source` the work tree's.
        build_dir: `sam build`'s output, in build mode; None is `.aws-sam/build` beside the template.
        parameters: template parameters that replace the defaults.
        secrets: values of SecureStrings by short name (`telegram-bot-token`) or full path.
        start: epoch seconds at which the virtual time begins; None is now.
        time_scale: real seconds that a virtual second of a Wait state or a retry takes.
        max_environments: processes per function.
        real_providers: providers that are asked for real (ids as in chain.toml).
        environment: further variables by function.
        images: what stands for container images, beside `agent_image.NAME`.
        stop_limit_s: real seconds at most between SIGTERM and SIGKILL of a task.
        also_on: another address of this machine to listen on, on the same port: containers do not reach loopback.
        deployed: whether the template is deployed at the start; False leaves that to `sam deploy`.
        ecr: answers ECR over a container registry; without it moto does, and takes no image from Docker.
        meter: meters every request.
        without_patches: names of moto patches to leave out, for their tests.
    """

    def __init__(
        self,
        template: Path | None = None,
        *,
        mode: str = "build",
        build_dir: Path | None = None,
        parameters: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        start: float | None = None,
        time_scale: float = 1.0,
        max_environments: int = 4,
        real_providers: frozenset[str] = frozenset(),
        environment: Mapping[str, Mapping[str, str]] | None = None,
        images: Mapping[str, Image] | None = None,
        stop_limit_s: float = 30.0,
        also_on: str = "",
        deployed: bool = True,
        ecr: Ecr | None = None,
        meter: Meter | None = None,
        without_patches: tuple[str, ...] = (),
    ) -> None:
        if mode not in {"build", "source"}:
            raise ValueError(f"mode is build or source, not {mode}")
        # Absolute: the functions' processes have folders of their own.
        path = (template or ROOT / "template.yaml").resolve()
        self._initial = Template(path, parameters or {})
        self._mode = mode
        self._build_dir = None
        if mode == "build":
            self._build_dir = (build_dir or path.parent / ".aws-sam" / "build").resolve()
        self._time_scale = time_scale
        self._max_environments = max_environments
        self._real_providers = real_providers
        self._extra = environment or {}
        self._images = {agent_image.NAME: agent_image.image(), **(images or {})}
        self._stop_limit_s = stop_limit_s
        self._also_on = also_on
        self._deployed = deployed
        self._ecr = ecr
        self._meter = meter
        self._without_patches = without_patches
        self._mounts: dict[str, WsgiApp] = {}
        self._clients: dict[str, Any] = {}
        self._credentials: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        self._running = False
        self.secrets: dict[str, str] = {"telegram-webhook-secret": random_secrets.token_urlsafe(32)}
        self.secrets |= dict(secrets or {})
        self.clock = VirtualClock(start)
        self.faults = Faults()
        self.startup_s = 0.0

    def mount(self, prefix: str, app: WsgiApp) -> None:
        """Serve a WSGI application below `/<prefix>`, for functions below `/as/<LogicalId>.<n>/<prefix>`.

        Raises:
            LocalCloudError: the cloud runs already.
        """
        if self._running:
            raise LocalCloudError("applications are mounted before the start")
        self._mounts[prefix.strip("/")] = app

    def start(self) -> Self:
        """Start everything and deploy the template.

        Raises:
            LocalCloudError: another local cloud runs in this process, or moto's `mock_aws` is active.
            DeploymentError: the template can't be deployed.
            TemplateError: the template can't be read.
        """
        if botocore_stubber.enabled:
            raise LocalCloudError("mock_aws is active in this process; it shares moto's stores with us")
        if not _in_use.acquire(blocking=False):
            raise LocalCloudError("another LocalCloud runs in this process; moto's stores are global")
        began = time.perf_counter()
        self._running = True
        try:
            self._assemble()
            self._put_secrets()
            if self._deployed:
                self._deployer.deploy()
            self._bus.start()
        except BaseException:
            self.stop()
            raise
        self.startup_s = time.perf_counter() - began
        return self

    def stop(self) -> None:
        """End every process and thread, and forget everything stored."""
        if not self._running:
            return
        self._running = False
        for part in (
            "_fargate",
            "_lambda_api",
            "_bus",
            "_runtime",
            "_engine",
            "_front",
            "_server",
            "_second_server",
            "_uploads",
        ):
            if hasattr(self, part):
                getattr(self, part).stop()
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        _forget_everything()
        _in_use.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """Where AWS is: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def template_text(self) -> str:
        """The template as it is deployed: expanded, as JSON."""
        return json.dumps(self._template.expanded, default=str)

    @property
    def parameters(self) -> dict[str, str]:
        """The template's parameters that were given, as they are."""
        return dict(self._template.given)

    @property
    def _template(self) -> Template:
        """As it is deployed."""
        return self._deployer.template

    @property
    def deployed_parameters(self) -> dict[str, str]:
        """All of the template's parameters, as they are deployed."""
        return self._stack_parameters()

    def variables_outside(self, function: str, host: str) -> dict[str, str]:
        """The environment of a function, by logical id, that runs where this machine is called `host`.

        Its clock is its own.
        """
        found = self._runtime.function(function)
        ours = self._variables(found, f"{function}.outside")
        there = f"http://{host}:{self._server.port}"
        addresses = {name: value.replace(self.endpoint, there) for name, value in ours.items() if "LOCAL_" not in name}
        return {**found.environment, **addresses}

    def credentials_of(self, function: str) -> dict[str, str]:
        """Credentials of a function's role, by logical id, as environment variables."""
        given = self._assume_role(self._runtime.function(function).role_arn)
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    @property
    def admin_key(self) -> str:
        """The access key id of an administrator, for another program; nobody checks the secret that goes with it."""
        return _ADMIN_KEY

    @property
    def resources(self) -> dict[str, str]:
        """What `Ref` gives for each resource, and its ARN as `<LogicalId>.Arn`."""
        found = {name: created.ref for name, created in self._deployer.resources.items()}
        for name, created in self._deployer.resources.items():
            found |= {f"{name}.{key}": value for key, value in created.attributes.items()}
        return found

    @property
    def outputs(self) -> dict[str, Any]:
        """The template's outputs."""
        return self._template.outputs(self._deployer)

    @property
    def recorded_only(self) -> dict[str, str]:
        """Resources without behaviour on this machine, with the reason."""
        return dict(self._deployer.recorded)

    @property
    def denied(self) -> list[Denied]:
        """Calls that IAM refused."""
        return list(self._gate.denied)

    @property
    def invocations(self) -> list[Invocation]:
        """Finished invocations, in the order of their end."""
        return list(self._runtime.invocations)

    @property
    def timings(self) -> dict[str, list[float]]:
        """Seconds of each DynamoDB operation inside moto, by operation."""
        return {name: list(values) for name, values in self._front.timings.items()}

    @property
    def bus(self) -> EventBus:
        """EventBridge's default bus."""
        return self._bus

    @property
    def stack(self) -> StackState:
        """How CloudFormation says that the stack is."""
        return self._stacks.state

    @property
    def fargate(self) -> Fargate:
        """The tasks of ECS."""
        return self._fargate

    def client(self, service: str) -> Any:  # noqa: ANN401 (boto3's clients are typed by name)
        """An administrator's boto3 client; IAM does not apply to it."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(  # type: ignore[call-overload]
                    service,
                    region_name=REGION,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=_ADMIN_KEY,
                    aws_secret_access_key="local",  # noqa: S106 (nobody checks it)
                    config=Config(connect_timeout=5, read_timeout=120, max_pool_connections=64),
                )
            return self._clients[service]

    def logs(self, function: str) -> list[str]:
        """The lines a function wrote, by logical id."""
        return self._runtime.logs(function)

    def executions(self) -> list[Execution]:
        """Every execution, in the order of their start."""
        return executions.all_executions()

    def invoke(self, function: str, event: Any) -> Any:  # noqa: ANN401 (JSON in, JSON out)
        """Invoke a function by logical id and return its answer.

        Raises:
            LocalCloudError: it failed; the message holds the error object.
        """
        answer = self._runtime.invoke(self._runtime.function(function).name, json.dumps(event).encode())
        if answer.error_type is not None:
            raise LocalCloudError(answer.payload.decode())
        return json.loads(answer.payload)

    def set_alarm(self, alarm: str, state: str, reason: str = "set by hand") -> None:
        """Put an alarm, by logical id, into the state OK, ALARM or INSUFFICIENT_DATA: nothing evaluates metrics here.

        Raises:
            KeyError: there is no such alarm.
        """
        alarms.change_state(self.client("cloudwatch"), self._bus, self.resources[alarm], state, reason)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """POST to the HTTP API, as the internet would; gives the status and the body."""
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=60)
        try:
            connection.request("POST", API_PREFIX + path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post_update(self, update: Mapping[str, Any], secret: str | None = None) -> tuple[int, Any]:
        """Send a Telegram update to the webhook; gives the status and the JSON body, None without one.

        Args:
            update: as Telegram sends it.
            secret: the header's value; None is the right one.
        """
        right = self.secrets["telegram-webhook-secret"]
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": right if secret is None else secret,
        }
        status, body = self.post("/telegram", json.dumps(update).encode(), headers)
        with suppress(ValueError):
            return status, json.loads(body)
        return status, None

    def wait_until_quiet(self, deadline_s: float) -> None:
        """Wait until no execution runs and nothing asynchronous is pending or due.

        Args:
            deadline_s: seconds of real time.

        Raises:
            TimeoutError: it is not quiet by then; the message says what goes on.
        """
        deadline = time.monotonic() + deadline_s
        while not self._quiet():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not quiet after {deadline_s} s: {self._activity()}")
            time.sleep(_QUIET_POLL_S)

    def _quiet(self) -> bool:
        """Whether nothing happens: what was counted first may have caused what is counted next, so twice."""
        before = executions.count()
        busy = executions.running() or self._engine.ending or self._bus.due() or self._fargate.changing
        busy = busy or self._lambda_api.pending  # last: what a task's end has caused
        return not busy and not executions.running() and executions.count() == before

    def _activity(self) -> str:
        names = [one.name for one in self.executions() if one.status == "RUNNING"]
        return f"executions {names}, {self._lambda_api.pending} asynchronous invocations"

    def _assemble(self) -> None:
        _forget_everything()
        self._gate = Gate({_ADMIN_KEY}, _partition_key)
        self._runtime = Runtime(
            clock=self.clock,
            assume_role=self._assume_role,
            variables=self._variables,
            packages=_installed_packages() if self._mode == "source" else (),
            max_environments=self._max_environments,
            before_event=self.faults.event_arrives,
        )
        self._http_api = HttpApi(self._runtime, self.clock)
        self._server = WebServer(self._serve if self._meter is None else self._meter.around(self._serve))
        self._lambda_api = LambdaApi(
            runtime=self._runtime,
            clock=self.clock,
            time_scale=self._time_scale,
            assume_role=self._session,
            endpoint=self.endpoint,
        )
        self._bus = EventBus(self.clock, self._lambda_api.invoke_async)
        self._fargate = Fargate(
            clock=self.clock,
            endpoint=self.endpoint,
            assume_role=self._assume_role,
            bus=self._bus,
            images=self._images,
            variables=self._task_variables(),
            stop_limit_s=self._stop_limit_s,
        )
        self._uploads = Uploads(self.client)
        self._deployer = Deployer(
            self._initial,
            self.client,
            self._runtime,
            self._bus,
            self._http_api,
            self._build_dir,
            self._uploads.unpacked,
        )
        change_sets = ChangeSets(self.client, self._deployer, self._uploads)
        self._stacks = Stacks(self._stack_resources, self._stack_parameters, lambda: self.outputs, change_sets)
        self._stacks.state.exists = self._deployed
        self._front = Front(
            clock=self.clock,
            runtime=self._runtime,
            lambda_api=self._lambda_api,
            fargate=self._fargate,
            scheduler=Scheduler(self.clock, self._bus, self._session, self.endpoint),
            http_api=self._http_api,
            gate=self._gate,
            faults=self.faults,
            mounts=self._mounts,
            stacks=self._stacks,
            log_events=LogEvents(self._lines_of_group),
            ecr=self._ecr,
        )
        self._engine = Engine(
            clock=self.clock,
            endpoint=self.endpoint,
            assume_role=self._session,
            time_scale=self._time_scale,
            on_status=self._bus.execution_changed,
            without=self._without_patches,
        )
        if self._meter is not None:
            self._meter.caller_of = self._caller_of
        self._engine.start()
        self._server.start()
        if self._also_on:
            self._second_server = WebServer(self._serve, self._server.port, self._also_on)
            self._second_server.start()

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Not the front itself: it needs the Lambda API, which needs the server's address.
        return self._front(environ, start_response)

    def _caller_of(self, access_key: str) -> str | None:
        """Who signs with a key: a function, the agent, the cloud itself; None: an administrator."""
        if access_key == _ADMIN_KEY:
            return None
        sandbox = self._runtime.sandbox_of(access_key)
        if sandbox is not None:
            return sandbox.function.logical_id
        return "Agent" if self._fargate.is_task(access_key) else ""

    def _stack_parameters(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._template.parameters.items() if not name.startswith("AWS::")}

    def _stack_resources(self) -> list[StackResource]:
        types = {resource.logical_id: resource.type for resource in self._template.resources}
        return [StackResource(name, each.ref, types[name]) for name, each in self._deployer.resources.items()]

    def _lines_of_group(self, group: str) -> list[str] | None:
        """The lines of a log group, by the template's habit of naming it after what writes to it."""
        for name, each in self._deployer.resources.items():
            if each.ref == group and name.endswith("LogGroup"):
                return self.lines_of(name.removesuffix("LogGroup"))
        return None

    def lines_of(self, writer: str) -> list[str]:
        """The lines of a function, by logical id, or of every agent (`Agent`)."""
        if writer == "Agent":
            return [line for task in self._fargate.tasks for line in self._fargate.logs(task["taskArn"])]
        try:
            return self._runtime.logs(writer)
        except KeyError:  # the API and the state machine write theirs in AWS only
            return []

    def _put_secrets(self) -> None:
        for name, value in self.secrets.items():
            path = name if name.startswith("/") else SECRETS_PATH + name
            self.client("ssm").put_parameter(Name=path, Value=value, Type="SecureString")

    def _variables(self, function: Function, sandbox: str) -> Mapping[str, str]:
        caller = f"{self.endpoint}{CALLER_PREFIX}/{sandbox}"
        variables = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "LOCAL_CLOCK_URL": self.endpoint + CLOCK_PATH,
            "LOCAL_DRIVER_URL": self.endpoint + DRIVER_PATH,
            "TELEGRAM_API_URL": f"{caller}/telegram",
        }
        provider, path = PROVIDER_PATHS.get(function.logical_id, ("", ""))
        if provider and provider not in self._real_providers:
            variables["PROVIDER_BASE_URL"] = caller + path
        return variables | dict(self._extra.get(function.logical_id, {}))

    def _task_variables(self) -> dict[str, str]:
        """The clock, and where each simulated provider is, as the container calls it (`OLLAMA_BASE_URL`)."""
        simulated = {
            f"{provider.partition('-')[0].upper()}_BASE_URL": self.endpoint + path
            for provider, path in PROVIDER_PATHS.values()
            if provider not in self._real_providers
        }
        return {"LOCAL_CLOCK_URL": self.endpoint + CLOCK_PATH, **simulated}

    def _assume_role(self, role_arn: str) -> Mapping[str, Any]:
        """Fresh credentials of a role: every process has its own, which tells the front who calls."""
        session = f"local-{random_secrets.token_hex(4)}"
        credentials: Mapping[str, Any] = self.client("sts").assume_role(
            RoleArn=role_arn, RoleSessionName=session, DurationSeconds=_SESSION_S
        )["Credentials"]
        return credentials

    def _session(self, role_arn: str) -> dict[str, Any]:
        """Credentials of a role for the cloud's own services, kept."""
        with self._lock:
            known = self._credentials.get(role_arn)
        if known is None:
            known = self._assume_role(role_arn)
            with self._lock:
                self._credentials[role_arn] = known
        return dict(known)


def _partition_key(table: str, index: str | None) -> str | None:
    """The partition key of a table or of an index of it."""
    found = dynamodb_backends[ACCOUNT][REGION].tables.get(table)
    if found is None:
        return None
    if index is None:
        return str(found.hash_key_attr)
    schema: list[dict[str, str]] = next((one.schema for one in found.all_indexes() if one.name == index), [])
    return next((str(key["AttributeName"]) for key in schema if key["KeyType"] == "HASH"), None)


def _installed_packages() -> tuple[Path, ...]:
    """Where the layer's dependencies are when nothing is built: this virtual environment."""
    import sysconfig  # noqa: PLC0415 (only in source mode)

    return (Path(sysconfig.get_path("purelib")),)


def _forget_everything() -> None:
    for backend in _backends():
        backend.reset()


def _backends() -> Iterator[Any]:
    used = [name for name in _STORES_OF_AN_AGENT if f"moto.{name}.models" in sys.modules]
    for name in (*_STORES, *used):
        for by_region in get_backend(name).values():
            yield from by_region.values()
    # The interpreter's stores are apart from those that `get_backend` knows.
    for by_region in stepfunctions_parser_backends.values():
        yield from by_region.values()
    yield from iam_backends[ACCOUNT].values()
    yield from sts_backends[ACCOUNT].values()

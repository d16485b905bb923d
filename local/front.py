"""The one port of the local cloud: AWS, the HTTP API, the clock and the simulators, told apart by path."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Response

from local import aws_request
from local.aws_request import AwsRequest
from local.clock import VirtualClock
from local.ecr import Ecr
from local.fargate import METADATA_PATH, OPERATIONS, Fargate
from local.faults import Faults
from local.gate import Gate
from local.http_api import HttpApi
from local.lambda_api import ACCOUNT_SETTINGS_PATH, LambdaApi
from local.log_events import LogEvents
from local.runtime import Runtime
from local.sandbox import Sandbox
from local.scheduler import Scheduler
from local.server import Environ, StartResponse, WsgiApp
from local.stacks import Stacks

CLOCK_PATH = "/_local/clock"
DRIVER_PATH = "/_local/driver"
API_PREFIX = "/_api"
CALLER_PREFIX = "/as"


class Front:
    """A WSGI application.

    - `/_local/clock` the virtual time
    - `/_local/driver` an answer that ends when the local cloud does
    - `/_local/task/…` a task's metadata and credentials
    - `/_api/…` the HTTP API
    - `/as/<sandbox or function>/<prefix>/…` a simulator, called by a function
    - `/<prefix>/…` a simulator, called by anybody else
    - everything else is AWS: Lambda, tasks of ECS, the stack and its logs here, the rest in moto, all behind the gate;
      what Scheduler holds in moto fires here.

    Attributes:
        timings: seconds that each DynamoDB operation took under the lock, by operation.
    """

    def __init__(
        self,
        *,
        clock: VirtualClock,
        runtime: Runtime,
        lambda_api: LambdaApi,
        fargate: Fargate,
        scheduler: Scheduler,
        http_api: HttpApi,
        gate: Gate,
        faults: Faults,
        mounts: Mapping[str, WsgiApp],
        stacks: Stacks,
        log_events: LogEvents,
        ecr: Ecr | None,
    ) -> None:
        self._clock = clock
        self._runtime = runtime
        self._lambda_api = lambda_api
        self._fargate = fargate
        self._scheduler = scheduler
        self._http_api = http_api
        self._gate = gate
        self._faults = faults
        self._mounts = dict(mounts)
        self._stacks = stacks
        self._log_events = log_events
        self._ecr = ecr
        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto's tables are not safe for threads: without this, acknowledged writes are lost.
        self._dynamodb = threading.Lock()
        self._stopped = threading.Event()
        self.timings: defaultdict[str, list[float]] = defaultdict(list)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path: str = environ["PATH_INFO"]
        first, _, rest = path.lstrip("/").partition("/")
        if path == CLOCK_PATH:
            return _send(Response(repr(self._clock.now())), environ, start_response)
        if path == DRIVER_PATH:
            start_response("200 OK", [])
            return self._until_stopped()
        if path.startswith(METADATA_PATH + "/"):
            _descend(environ, METADATA_PATH)
            return self._fargate.metadata(environ, start_response)
        if path.startswith(API_PREFIX + "/"):
            _descend(environ, API_PREFIX)
            return self._http_api(environ, start_response)
        if path.startswith(CALLER_PREFIX + "/"):
            return self._called_by_function(rest, environ, start_response)
        if first in self._mounts:
            _descend(environ, f"/{first}")
            return self._mounts[first](environ, start_response)
        return self._aws(environ, start_response)

    def stop(self) -> None:
        """Let those go who wait for the end."""
        self._stopped.set()

    def _until_stopped(self) -> Iterable[bytes]:
        yield b"running\n"
        self._stopped.wait()

    def _called_by_function(self, rest: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        caller, _, below = rest.partition("/")
        prefix = below.partition("/")[0]
        app = self._mounts.get(prefix)
        if app is None:
            text = f"nothing is mounted at {prefix!r} in the local cloud"
            return _send(Response(text, 404), environ, start_response)
        _descend(environ, f"{CALLER_PREFIX}/{caller}/{prefix}")
        sandbox = self._runtime.sandbox_named(caller)
        if sandbox is None:
            return app(environ, start_response)
        operation = environ["PATH_INFO"].rstrip("/").rpartition("/")[2]
        return self._faults.perform(sandbox, f"{prefix}:{operation}", app, environ, start_response)

    def _aws(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = aws_request.parse(environ)
        self._fargate.note(request)
        self._faults.wait(request.name)
        sandbox = self._runtime.sandbox_of(request.access_key)

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            return self._answer(request, sandbox, environ)(environ, start_response)

        if sandbox is None:
            return app(environ, start_response)
        return self._faults.perform(sandbox, request.name, app, environ, start_response)

    def _answer(self, request: AwsRequest, sandbox: Sandbox | None, environ: Environ) -> WsgiApp:
        refusal = self._gate.refusal(request) or self._faults.conflicting(sandbox, request)
        if refusal is not None:
            return refusal
        if request.invoked_function is not None:
            return self._lambda_api.answer(request, environ)
        if request.service == "ecs" and request.operation in OPERATIONS:
            return self._fargate.answer(request)
        if request.service == "scheduler":
            return self._scheduler.answer(request, self._in_moto(request))
        return self._of_an_operator(request) or self._in_moto(request)

    def _of_an_operator(self, request: AwsRequest) -> WsgiApp | None:
        """What only who runs the stack asks, and moto does not know of it, or has no images for."""
        if request.service == "cloudformation":
            return self._stacks.answer(request)
        if request.service == "ecr" and self._ecr is not None:
            return self._ecr.answer(request)
        if request.name == "logs:FilterLogEvents":
            return self._log_events.answer(request)
        if request.service == "lambda" and request.path.rstrip("/") == ACCOUNT_SETTINGS_PATH:
            return self._lambda_api.account_settings()
        return None

    def _in_moto(self, request: AwsRequest) -> WsgiApp:
        locked = request.service == "dynamodb"
        lock: AbstractContextManager[Any] = self._dynamodb if locked else nullcontext()

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            with lock:
                began = time.perf_counter()
                # Read to its end under the lock: the answer is made from the items themselves.
                answer = list(self._moto(environ, start_response))
                if locked:
                    self.timings[request.operation].append(time.perf_counter() - began)
            return answer

        return app


def _send(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    answer: Iterable[bytes] = response(environ, start_response)
    return answer


def _descend(environ: Environ, prefix: str) -> None:
    """Move a prefix of the path to SCRIPT_NAME, as WSGI's mounted applications expect."""
    environ["SCRIPT_NAME"] += prefix
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix) or "/"

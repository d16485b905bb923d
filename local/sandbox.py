"""One execution environment of a function: Lambda's runtime interface emulator over the real runtime client.

The emulator is the binary that aws-sam-cli ships (Linux only); it starts the runtime on the first event and
answers one request at a time.
"""

import fcntl
import http.client
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import termios
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.functions import Function

_RUNTIME_PACKAGES = (
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "six.py",
    "urllib3",
    "awslambdaric",
    "simplejson",
    "snapshot_restore_py",
)
"""What Lambda's Python runtime brings along, and the runtime client itself."""

_OWN_MODULES = ("__init__.py", "bootstrap.py", "clock.py")
_START_LIMIT_S = 30.0
_START_ATTEMPTS = 3
_INIT_LIMIT_S = 60.0
_KEPT_LINES = 20_000
_EMULATOR_LINE = re.compile(r"^\d\d \w{3} \d{4} [\d:,]+ \[\w+\] \(rapid\) (.*)$")
_INIT_REPORT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)")
INIT_KEY = "local:initialise"
"""In an event: makes the emulator start the runtime; the bootstrap answers with the access key it has."""
EMULATOR_ALLOWANCE_S = 120
"""How much later than the function's own timeout the emulator would end an invocation: we do it in time."""

_PLATFORM_LINE = re.compile(r"^(START|END|REPORT) RequestId: [0-9a-f-]{36}\b")


class SandboxError(RuntimeError):
    """A process for a function could not be started."""


@dataclass(frozen=True)
class Answer:
    """What came back from an invocation.

    Attributes:
        payload: JSON, the handler's result or the error object.
        error_type: set when the invocation failed.
    """

    payload: bytes
    error_type: str | None = None

    @classmethod
    def failed(cls, error_type: str, message: str) -> "Answer":
        """The error object of the platform itself."""
        return cls(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), error_type)


def emulator() -> Path:
    """The emulator's binary for this machine.

    Raises:
        SandboxError: there is none for it.
    """
    architecture = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
    machine = platform.machine().lower()
    spec = importlib.util.find_spec("samcli")
    if spec is None or spec.origin is None:
        raise SandboxError("aws-sam-cli is not installed: it brings the runtime interface emulator")
    name = f"aws-lambda-rie-{architecture.get(machine, machine)}"
    binary = Path(spec.origin).parent / "local" / "rapid" / name
    if sys.platform != "linux" or not binary.exists():
        raise SandboxError(f"the runtime interface emulator runs on Linux, x86_64 and arm64; not on {machine}")
    return binary


def link_runtime(folder: Path) -> None:
    """Fill `folder` with links to the packages that Lambda's runtime provides, and what we run of our own.

    The processes see these and nothing else of the virtual environment, so that a dependency missing from the
    layer is missing here too.
    """
    packages = Path(sysconfig.get_path("purelib"))
    native = [path.name for path in packages.glob("runtime_client.*.so")]
    for name in (*_RUNTIME_PACKAGES, *native):
        if (packages / name).exists():
            (folder / name).symlink_to(packages / name)
    (folder / "local").mkdir()
    for module in _OWN_MODULES:
        shutil.copy(Path(__file__).parent / module, folder / "local")


class Sandbox:
    """A process that runs one function, one event at a time.

    Args:
        function: what to run.
        name: unique among all sandboxes, `<LogicalId>.<n>`.
        access_key: of the credentials it is given; tells the front who calls, and us that it is the one we started.
        variables: the process's whole environment.
    """

    def __init__(self, function: Function, name: str, access_key: str, variables: Mapping[str, str]) -> None:
        self.function = function
        self.name = name
        self.access_key = access_key
        self.calls: list[str] = []
        self.doomed = False
        self.init_ms: float | None = None
        self.used = False
        self.init_error: Answer | None = None
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the emulator and let the runtime import the handler.

        Lambda does this apart from the first event and does not count it against the timeout.

        Raises:
            SandboxError: it does not answer.
        """
        for _ in range(_START_ATTEMPTS):  # the ports are free when chosen, not reserved: somebody may be quicker
            port, api_port = _free_ports(2)
            self._spawn(port, api_port)
            if self._answers(port):
                self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_LIMIT_S)
                answer = self._ask(json.dumps({INIT_KEY: self.name}).encode(), _INIT_LIMIT_S)
                self.init_error = answer if answer.error_type is not None else None
                if self.init_error is not None or json.loads(answer.payload) == self.access_key:
                    return
            self.stop()
        raise SandboxError(f"{self.name}: the runtime interface emulator does not start: {self.lines()[-5:]}")

    def invoke(self, payload: bytes) -> Answer:
        """Hand one event over and wait for the answer, at most for the function's timeout."""
        self.used = True
        return self._ask(payload, self.function.timeout_s)

    def _ask(self, payload: bytes, limit_s: float) -> Answer:
        if self.doomed or self._connection is None:
            return self._exited()
        try:
            if self._connection.sock is None:
                self._connection.connect()
            self._connection.sock.settimeout(limit_s)
            self._connection.request("POST", "/2015-03-31/functions/function/invocations", payload)
            response = self._connection.getresponse()
            body = response.read()
        except TimeoutError:
            self.kill()
            return Answer.failed("Sandbox.Timedout", f"Error: Task timed out after {limit_s:.2f} seconds")
        except (OSError, http.client.HTTPException):
            return self._exited()
        return self._exited() if self.doomed else _understood(response.status, body)

    def _exited(self) -> Answer:
        self.doomed = True
        return Answer.failed("Runtime.ExitError", "Error: Runtime exited with error: signal: killed")

    def kill(self) -> None:
        """SIGKILL the runtime's process, as if it crashed."""
        self.doomed = True
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the emulator and its runtime; the lines stay readable."""
        self.doomed = True
        process = self._process
        if process is None:
            return
        children = self._children()
        for pid in (process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._connection is not None:
            self._connection.close()
        self._process = None

    def lines(self) -> list[str]:
        """What the process wrote so far, without the lines of the emulator and of the platform (START, END, REPORT)."""
        self._drain()
        return list(self._lines)

    def _spawn(self, port: int, api_port: int) -> None:
        command = [
            str(emulator()),
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{port}",
            "--runtime-api-address",
            f"127.0.0.1:{api_port}",
            sys.executable,
            "-S",  # the virtual environment stays out; PYTHONPATH says what is in
            "-m",
            "awslambdaric",
            "local.bootstrap.handler",
        ]
        self.doomed = False
        self._process = subprocess.Popen(
            command,
            cwd=self.function.code[0],
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the driver, which then stops this
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + _START_LIMIT_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.002)
            else:
                return True
        return False

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 (started with a pipe)
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            own = _EMULATOR_LINE.match(line)
            if own is None:
                if not _PLATFORM_LINE.match(line):
                    self._lines.append(line)
            elif (report := _INIT_REPORT.match(own[1])) is not None:
                self.init_ms = float(report[1])
        process.stdout.close()

    def _drain(self) -> None:
        """Wait until the reader has read what is in the pipe."""
        process = self._process
        deadline = time.monotonic() + 1.0
        while process is not None and process.stdout is not None and time.monotonic() < deadline:
            try:
                waiting = fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4)
            except (OSError, ValueError):
                return
            if struct.unpack("i", waiting)[0] == 0:
                return
            time.sleep(0.001)

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        found: list[int] = []
        for children in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            with suppress(OSError):
                found += [int(pid) for pid in children.read_text(encoding="ascii").split()]
        return found


def _understood(status: int, body: bytes) -> Answer:
    """Tell results from errors: the emulator answers both with 200 and no header that says which."""
    try:
        parsed = json.loads(body or b"null")
    except ValueError:
        return Answer.failed("Runtime.InvalidResponse", "the runtime's answer is not JSON")
    is_error = isinstance(parsed, dict) and {"errorType", "errorMessage"} <= parsed.keys()
    if is_error and (status != http.HTTPStatus.OK or parsed.keys() & {"stackTrace", "requestId"}):
        return Answer(body, str(parsed["errorType"]))
    return Answer(body or b"null")


def _free_ports(count: int) -> Iterable[int]:
    """Ports that nobody listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports

"""The gateway as a process: started with a scrubbed environment, watched, started again once, and ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from agent.gateway_output import Output, presentable
from agent.openclaw_config import GATEWAY_TOKEN_VARIABLE, RELAY_TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

INHERITED = ("LANG", "LC_ALL", "TZ", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
"""All that the gateway gets of our own environment. No AWS name is among them, and none that holds a key."""

_POLL_S = 0.1
_PROBE_TIMEOUT_S = 2.0
_ABORT_TIMEOUT_S = 2.0
_KILL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway is started with.

    Attributes:
        node: the Node program.
        openclaw: OpenClaw's `openclaw.mjs`.
        config: the file that `openclaw_config.patched` made.
        state: OpenClaw's state folder; also its home.
        workspace: the agent's folder.
        temporary: its TMPDIR.
        port: as in the configuration.
        token: what its clients show it.
        relay_token: what it shows the relay; None without a relay.
        compile_cache: Node's, for a start that is seconds faster; None for none.
        user: numeric id that it runs as, with the group of the same number; None for our own.
        keys: variables of providers' keys, where there is no relay.
    """

    node: Path
    openclaw: Path
    config: Path
    state: Path
    workspace: Path
    temporary: Path
    port: int
    token: str = field(repr=False)
    relay_token: str | None = field(default=None, repr=False)
    compile_cache: Path | None = None
    user: int | None = None
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}"

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the process; of `ours` only what is in `INHERITED`."""
        theirs = {name: ours[name] for name in INHERITED if name in ours}
        theirs |= {
            "PATH": os.pathsep.join([str(self.node.parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(self.state),
            "TMPDIR": str(self.temporary),
            "NODE_ENV": "production",
            "OPENCLAW_STATE_DIR": str(self.state),
            "OPENCLAW_CONFIG_PATH": str(self.config),
            "OPENCLAW_WORKSPACE_DIR": str(self.workspace),
            GATEWAY_TOKEN_VARIABLE: self.token,
        }
        if self.relay_token is not None:
            theirs[RELAY_TOKEN_VARIABLE] = self.relay_token
        if self.compile_cache is not None:
            theirs["NODE_COMPILE_CACHE"] = str(self.compile_cache)
            # Else openclaw.mjs starts itself once more, in a folder of the cache of its own choice: a second process.
            theirs["OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED"] = "1"
        return theirs | dict(self.keys)

    def command(self, *arguments: str) -> list[str]:
        """The program, on Linux bound to our own life and without a way to more rights; by default the gateway."""
        command = [str(self.node), str(self.openclaw), *(arguments or ("gateway", "run"))]
        setpriv = shutil.which("setpriv")  # util-linux; part of every Debian
        if setpriv is None:
            return command
        guard = [setpriv, "--pdeathsig", "KILL", "--no-new-privs"]
        if self.user is not None:
            guard += [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--inh-caps=-all"]
            guard += ["--bounding-set=-all"]
        return [*guard, "--", *command]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no line of its output may hold."""
        return tuple(each for each in (self.token, self.relay_token, *self.keys.values()) if each)


class GatewayDied(Exception):
    """The gateway ended by itself, or never became ready. `status` is its exit status, minus a signal's number.

    `status` is None if it runs but did not answer in time.
    """

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """Keeps one gateway running.

    Args:
        settings: what it is started with.
        log: takes a line of its output, or of what happened to it, without secrets.
        restarts: how often it is started again after it died by itself.
        environment: ours, of which it gets a few names; by default the process's.
        ready_timeout_s: seconds from a start until it has to be ready.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        log: Callable[[str], None],
        restarts: int = 1,
        environment: Mapping[str, str] | None = None,
        ready_timeout_s: float = 150.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._log = log
        self._restarts = restarts
        self._environment = os.environ if environment is None else environment
        self._ready_timeout_s = ready_timeout_s
        self._monotonic = monotonic
        self._ready = asyncio.Event()
        self._stopping = False
        self._was_ready = False
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.starts = 0
        self.seconds_to_ready: float | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def is_ready(self) -> bool:
        """Whether it has said so, and has not died since."""
        return self._ready.is_set()

    def start(self) -> None:
        """Start it, and keep it running from now on. Returns at once; `ready` waits."""
        if self._keeper is not None:
            raise RuntimeError("the gateway has been started")
        self._keeper = asyncio.create_task(self._keep(), name="gateway")

    async def ready(self) -> None:
        """Wait until it takes requests, be it after a restart.

        Raises:
            GatewayDied: it ended once too often, or did not become ready in time.
        """
        keeper = self._started()
        waiting = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([waiting, keeper], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise await self.died()
        finally:
            waiting.cancel()

    async def died(self) -> GatewayDied:
        """Wait until it is dead for good; why."""
        keeper = self._started()
        await asyncio.wait([keeper])
        error = None if keeper.cancelled() else keeper.exception()
        return error if isinstance(error, GatewayDied) else GatewayDied("the gateway was stopped", None)

    async def stop(self, *, abort: Callable[[], Awaitable[object]] | None = None, grace_s: float = 5.0) -> None:
        """End it and everything it started that is still in its process group.

        Args:
            abort: ends the run in progress, over the client's connection: with one, a SIGTERM takes up to 315 s.
            grace_s: seconds that it gets after SIGTERM; then it is killed.
        """
        self._stopping = True
        if abort is not None:
            # Whatever goes wrong with a polite end, the other one follows.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(abort(), _ABORT_TIMEOUT_S)
        process = self._process
        if process is not None and process.returncode is None:
            _send(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace_s)
        await self._kill()
        keeper = self._keeper
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _keep(self) -> None:
        """Start, wait for the end, start again."""
        try:
            while True:
                status = await self._live()
                if self._stopping:
                    return
                self._log(f"the gateway ended by itself: status {status}")
                if self.starts > self._restarts:
                    raise GatewayDied(f"the gateway ended {self.starts} times, last with status {status}", status)
        finally:
            await self._kill()

    async def _live(self) -> int:
        """One process, from its start to its end; its exit status.

        Raises:
            GatewayDied: it did not become ready in time, and was killed.
        """
        self.starts += 1
        began = self._monotonic()
        output = Output(self._take_line)
        try:
            process = self._process = await self._spawn(output.descriptor)
            output.started()
            return await self._watched(process, began)
        finally:
            self._ready.clear()
            await self._kill()  # also what it started and left behind
            await output.finish()

    async def _watched(self, process: asyncio.subprocess.Process, began: float) -> int:
        ending = asyncio.create_task(process.wait(), name="gateway end")
        answering = asyncio.create_task(self._until_answers(), name="gateway ready")
        try:
            done, _ = await asyncio.wait(
                [ending, answering], timeout=self._ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise GatewayDied(f"the gateway was not ready after {self._ready_timeout_s:.0f} s", None)
            if ending not in done:
                self.seconds_to_ready = self._monotonic() - began
                self._log(f"the gateway is ready after {self.seconds_to_ready:.1f} s")
                self._was_ready = True
                self._ready.set()
            return await ending
        finally:
            for task in (ending, answering):
                task.cancel()
            await asyncio.wait([ending, answering])

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        settings = self._settings
        # Without setpriv the user is changed by Python; with it, by setpriv, after which no right comes back.
        user = settings.user if shutil.which("setpriv") is None else None
        try:
            return await asyncio.create_subprocess_exec(
                *settings.command(),
                cwd=settings.workspace,
                env=settings.environment(self._environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o077,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )
        except OSError as error:
            raise GatewayDied(f"the gateway could not be started: {error.strerror}", None) from None

    async def _until_answers(self) -> None:
        url = f"http://127.0.0.1:{self._settings.port}/readyz"
        async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT_S, trust_env=False) as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(url)).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(_POLL_S)

    def _take_line(self, line: bytes) -> None:
        if text := presentable(line, secrets=self._settings.secrets, was_ready=self._was_ready):
            self._log(text)

    def _started(self) -> asyncio.Task[None]:
        if self._keeper is None:
            raise RuntimeError("the gateway has not been started")
        return self._keeper

    async def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its session's first process, so the group has its number
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _KILL_TIMEOUT_S)
        self._process = None


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)

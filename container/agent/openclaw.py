"""OpenClaw with all that it needs: started once, and asked one thing at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.gateway_client import GatewayError, GatewayGone
from agent.relay_call import NO_TURN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from agent.gateway import GatewayDied
    from agent.gateway_client import RunResult
    from agent.relay_call import RelayedTurn
    from agent.spending import Spending
    from agent.threads import Threads

RUN_SECONDS = 600
"""The longest run, as OpenClaw's own limit in the configuration."""

_CONNECT_SECONDS = 30
_SETTLE_SECONDS = 3
_ABORT_SECONDS = 2
TERM_SECONDS = 3


class GatewayProcess(Protocol):
    """`agent.gateway.Gateway`, as far as it is used."""

    starts: int

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""
        ...

    def start(self) -> None:
        """Start it."""
        ...

    async def ready(self) -> None:
        """Wait until it takes requests; GatewayDied if that will not be."""
        ...

    async def died(self) -> GatewayDied:
        """Wait until it is dead for good."""
        ...

    async def stop(self, *, abort: Callable[[], Awaitable[object]] | None = None, grace_s: float = 5.0) -> None:
        """End it."""
        ...


class Conversing(Protocol):
    """`agent.gateway_client.GatewayClient`, as far as it is used."""

    async def connect(self, *, deadline_s: float) -> None:
        """Connect."""
        ...

    async def run(
        self,
        session_key: str,
        message: str,
        *,
        run_id: str,
        timeout_s: float,
        on_text: Callable[[str], None] | None = None,
    ) -> RunResult:
        """Run a message; a GatewayError if there is no answer."""
        ...

    async def abort(self, session_key: str, run_id: str) -> bool:
        """Abort a run."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class RelayServer(Protocol):
    """`agent.relay.Relay`, as far as it is used."""

    turn: RelayedTurn

    async def start(self) -> str:
        """Listen; the address."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


async def nothing() -> None:
    """Nothing has to be prepared."""


@dataclass(frozen=True, slots=True)
class Ran:
    """An answer, and what all requests of its run cost in millionths of a dollar."""

    result: RunResult
    micro_dollars: int


@dataclass(frozen=True, slots=True)
class _Run:
    session_key: str
    run_id: str


class OpenClaw:
    """Started once; then `run`, one at a time; at last `stop`.

    Args:
        gateway: the process.
        client: its client.
        relay: where it asks the providers.
        spending: the relay's ledger.
        configure: writes OpenClaw's configuration for a relay at that address; may block.
        prepare: what has to be done before the configuration is written and OpenClaw starts.
        warm: does what makes a first request quicker, beside the gateway's start; may block.
        threads: where what blocks runs.
        log: takes a message and fields.
        term_seconds: that the gateway gets to end by itself.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        *,
        gateway: GatewayProcess,
        client: Conversing,
        relay: RelayServer,
        spending: Spending,
        configure: Callable[[str], None],
        prepare: Callable[[], Awaitable[None]] = nothing,
        warm: Callable[[], None],
        threads: Threads,
        log: Callable[..., None],
        term_seconds: float = TERM_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.is_ready = False
        self._gateway = gateway
        self._client = client
        self._relay = relay
        self._spending = spending
        self._configure = configure
        self._prepare = prepare
        self._warm = warm
        self._threads = threads
        self._log = log
        self._term_seconds = term_seconds
        self._monotonic = monotonic
        self._started: asyncio.Task[None] | None = None
        self._run: _Run | None = None
        self._left: _Run | None = None
        self._death: asyncio.Task[GatewayDied] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or is waiting for the start."""
        return self._run is not None

    @property
    def gateway_starts(self) -> int:
        """How often the gateway was started."""
        return self._gateway.starts

    def start(self) -> asyncio.Task[None]:
        """Begin to start; the task ends when messages are taken, or with what went wrong."""
        self._started = asyncio.create_task(self._start(), name="start of OpenClaw")
        return self._started

    async def run(
        self,
        session_key: str,
        message: str,
        *,
        turn: RelayedTurn = NO_TURN,
        seconds_left: Callable[[], float] = lambda: RUN_SECONDS,
    ) -> Ran:
        """Put a message to the agent, once it is there; if the gateway dies over it, once more.

        Args:
            session_key: of the conversation.
            message: what is said.
            turn: for the relay's journal.
            seconds_left: how long it may take, asked when it can begin; at most `RUN_SECONDS`.

        Raises:
            GatewayError: there is no answer. GatewayGone: and no gateway that could be asked again.
            GatewayDied: the same; or it never came to be ready.
        """
        if self._started is None or self._run is not None:
            raise RuntimeError("OpenClaw was not started, or is at work on another message")
        self._run = _Run(session_key, uuid.uuid4().hex)
        self._relay.turn = turn
        try:
            await asyncio.shield(self._started)
            self._spending.begin()
            result = await self._answered(session_key, message, seconds_left)
            spent = await self._threads(self._spending.settled, timeout_s=_SETTLE_SECONDS)
        except asyncio.CancelledError:
            self._left = self._run  # it goes on in the gateway, until `stop`
            raise
        finally:
            self._relay.turn = NO_TURN
            self._run = None
        return Ran(result, spent)

    async def abort(self) -> None:
        """Abort the run that is under way, if there is one: it ends with RunAborted."""
        run = self._run
        if run is not None:
            await self._abort(run)

    def check(self) -> None:
        """Raise what made it useless, if something did: GatewayDied, or why it could not be started."""
        if self._started is not None and self._started.done():
            self._started.result()
        if self._death is not None and self._death.done():
            raise self._death.result()

    async def died(self) -> None:
        """Wait until it is useless.

        Raises:
            GatewayDied: why; or whatever kept it from starting.
        """
        if self._started is None:
            raise RuntimeError("OpenClaw was not started")
        await asyncio.shield(self._started)
        raise await self._gateway.died()

    async def stop(self) -> None:
        """Abort what is under way and end everything, in about ten seconds at most."""
        run, started = self._run or self._left, self._started
        if started is not None:
            started.cancel()
            await asyncio.wait([started])
            _ = started.cancelled() or started.exception()  # who needed it was told by `run` or `check`
        abort = None if run is None else lambda: self._abort(run)
        await asyncio.gather(
            self._gateway.stop(abort=abort, grace_s=self._term_seconds), self._relay.stop(), return_exceptions=True
        )
        if self._death is not None:
            self._death.cancel()
        with contextlib.suppress(Exception):  # the gateway is gone; what becomes of its connection is all the same
            await self._client.close()

    async def _start(self) -> None:
        began = self._monotonic()
        await asyncio.gather(self._warmed(), self._booted())
        self.seconds["all"] = round(self._monotonic() - began, 3)
        self.is_ready = True
        self._log("OpenClaw takes messages", seconds=self.seconds)

    async def _booted(self) -> None:
        url, _ = await asyncio.gather(self._relaying(), self._prepared())
        with self._measured("configuration"):
            await self._threads(self._configure, url)
        await self._connected()

    async def _relaying(self) -> str:
        with self._measured("relay"):
            return await self._relay.start()

    async def _prepared(self) -> None:
        with self._measured("preparation"):
            await self._prepare()

    async def _warmed(self) -> None:
        with self._measured("keys"):
            await self._threads(self._warm)

    async def _connected(self) -> None:
        with self._measured("gateway"):
            self._gateway.start()
            self._death = asyncio.create_task(self._gateway.died(), name="death of OpenClaw")
            await self._gateway.ready()
        with self._measured("connection"):
            await self._client.connect(deadline_s=_CONNECT_SECONDS)

    async def _answered(self, session_key: str, message: str, seconds_left: Callable[[], float]) -> RunResult:
        try:
            return await self._asked(session_key, message, seconds_left)
        except GatewayGone:
            await self._gateway.ready()  # started again, or dead for good
        return await self._asked(session_key, message, seconds_left)

    async def _asked(self, session_key: str, message: str, seconds_left: Callable[[], float]) -> RunResult:
        # Another id each time: a gateway that was started anew would take the same one for a run that it has lost.
        run = self._run = _Run(session_key, uuid.uuid4().hex)
        seconds = min(seconds_left(), RUN_SECONDS)
        return await self._client.run(run.session_key, message, run_id=run.run_id, timeout_s=seconds)

    async def _abort(self, run: _Run) -> None:
        with contextlib.suppress(GatewayError, TimeoutError):
            await asyncio.wait_for(self._client.abort(run.session_key, run.run_id), _ABORT_SECONDS)

    @contextlib.contextmanager
    def _measured(self, part: str) -> Iterator[None]:
        began = self._monotonic()
        yield
        self.seconds[part] = round(self._monotonic() - began, 3)

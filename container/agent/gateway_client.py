"""Talking to the gateway: connect, run a message through the agent, abort it.

One connection, any number of calls; it is made again when it breaks. A run survives that: asked again under the same
id it is not done twice, as long as the gateway is the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from agent.gateway_frames import (
    PROTOCOL,
    AbortResult,
    AgentEvent,
    EventData,
    FallbackAttempt,
    Frame,
    FrameError,
    Hello,
    RunStatus,
    Server,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from websockets.asyncio.client import ClientConnection

_FRAME_BYTES = 26_214_400  # the gateway's own limit (policy.maxPayload)
_RETRY_S = 0.25
_ABORT_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_SCOPES = ["operator.read", "operator.write"]  # all that a run needs; not operator.admin
_ALL_FAILED = "All models failed"
_NOT_STARTED = "SESSION_WORK_START_CHANGED"


class GatewayError(Exception):
    """What can go wrong with a run:

    GatewayError
    ├── GatewayGone        the connection broke, and the gateway that held the run is no more
    ├── GatewayRefused     it takes neither our token, nor our protocol, nor this request
    ├── AllModelsFailed    it asked every provider; `attempts` says which and why
    ├── RunFailed          the run ended otherwise without an answer
    │   └── RunNotStarted  the session did something else at that moment; nothing was done
    ├── RunAborted         somebody aborted it
    └── RunTimedOut        it took too long, and was aborted

    No message holds what a person, a model or a provider wrote.
    """  # noqa: D415 (a picture follows)


class GatewayGone(GatewayError):
    """The connection broke, and the gateway that held the run is no more; what became of the run is unknown."""


class GatewayRefused(GatewayError):
    """The gateway takes neither our token, nor our protocol, nor this request. `code` is its word for it."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"the gateway refused {what}: {code}")
        self.code = code


class AllModelsFailed(GatewayError):
    """Every provider was asked and none answered; the message stays in the session."""

    def __init__(self, attempts: tuple[FallbackAttempt, ...]) -> None:
        reasons = ", ".join(f"{each.provider} {each.reason}" for each in attempts)
        super().__init__(f"all models failed: {reasons}")
        self.attempts = attempts


class RunFailed(GatewayError):
    """The run ended without an answer. `code` is the gateway's word for it."""

    def __init__(self, code: str, attempts: tuple[FallbackAttempt, ...] = ()) -> None:
        super().__init__(f"the run failed: {code}")
        self.code = code
        self.attempts = attempts


class RunNotStarted(RunFailed):
    """The session did something else at that moment, such as resuming what a kill interrupted; nothing was done.

    The gateway says so of every run of the same id from then on: ask again under another.
    """


class RunAborted(GatewayError):
    """The run was aborted."""


class RunTimedOut(GatewayError):
    """The run took too long, and was aborted."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer to a message.

    Attributes:
        text: the answer; empty if the agent had nothing to say.
        provider: the id of who gave it.
        model: its model.
        usage: tokens of the whole run.
        dollars: what that costs by the prices of the configuration.
        fallback_attempts: who was asked before, in order.
    """

    text: str
    provider: str
    model: str
    usage: Usage
    dollars: float
    fallback_attempts: tuple[FallbackAttempt, ...] = ()


@dataclass(slots=True)
class _Progress:
    """What the events of a run have told so far."""

    on_text: Callable[[str], None] | None
    texts: dict[str, str] = field(default_factory=dict)
    attempts: list[FallbackAttempt] = field(default_factory=list)

    def take(self, event: AgentEvent) -> None:
        data = event.data
        if event.stream == "lifecycle" and data.phase == "finishing" and data.error_observation is not None:
            seen = data.error_observation
            self.attempts.append(FallbackAttempt(seen.provider, seen.model, seen.failover_reason))
        elif event.stream == "assistant":
            self._write(data)

    def _write(self, data: EventData) -> None:
        before = "" if data.replace else self.texts.get(data.item_id, "")
        self.texts[data.item_id] = before + data.delta if data.text is None else data.text
        if self.on_text is not None:
            self.on_text("\n".join(text for text in self.texts.values() if text))


class GatewayClient:
    """A client of one gateway.

    Args:
        url: `ws://127.0.0.1:<port>`.
        token: what the gateway was started with.
        connect_timeout_s: for one attempt to connect, greeting included.
        call_timeout_s: for a response to a request, other than a run's.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        connect_timeout_s: float = 10.0,
        call_timeout_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._token = token
        self._connect_timeout_s = connect_timeout_s
        self._call_timeout_s = call_timeout_s
        self._monotonic = monotonic
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._responses: dict[str, asyncio.Queue[Frame]] = {}
        self._runs: dict[str, _Progress] = {}
        self.server = Server()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._reader is not None and not self._reader.done()

    async def connect(self, *, deadline_s: float) -> None:
        """Connect if there is no connection, and try again while the gateway starts.

        Raises:
            GatewayGone: nobody answered in time, or the client was closed.
            GatewayRefused: it answered, and will not have us.
        """
        end = self._monotonic() + deadline_s
        async with self._connecting:
            while not self.connected:
                if self._closed:
                    raise GatewayGone("the client was closed")
                try:
                    async with asyncio.timeout(min(self._connect_timeout_s, max(0.0, end - self._monotonic()))):
                        await self._connect_once()
                        return
                except (OSError, WebSocketException, _Starting, TimeoutError):
                    if self._monotonic() >= end:
                        raise GatewayGone("no gateway answers") from None
                await asyncio.sleep(_RETRY_S)

    async def close(self) -> None:
        """End the connection for good; what waits for it gets GatewayGone."""
        self._closed = True
        socket, reader = self._socket, self._reader
        self._socket = None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        if socket is not None:
            await socket.close()

    async def run(
        self,
        session_key: str,
        message: str,
        *,
        run_id: str,
        timeout_s: float,
        on_text: Callable[[str], None] | None = None,
    ) -> RunResult:
        """Put a message to the agent and wait for the answer.

        Args:
            session_key: `agent:main:<name>`. One run at a time for each: that is the caller's to see to.
            message: what is said.
            run_id: of the caller's choice; the gateway does not do a run of the same id again.
            timeout_s: after which the run is aborted.
            on_text: gets the whole of the answer so far, each time there is more of it or other. It returns at once and
                raises nothing.

        Raises:
            GatewayError: one of its subclasses.
        """
        progress = self._runs[run_id] = _Progress(on_text)
        parameters = {"sessionKey": session_key, "message": message, "idempotencyKey": run_id}
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._finished(parameters, run_id, progress)
        except TimeoutError:
            with contextlib.suppress(GatewayError, TimeoutError):
                await asyncio.wait_for(self.abort(session_key, run_id), _ABORT_TIMEOUT_S)
            raise RunTimedOut(f"the run took more than {timeout_s:.0f} s") from None
        finally:
            self._runs.pop(run_id, None)
        return _result(status, progress)

    async def abort(self, session_key: str, run_id: str) -> bool:
        """Abort a run; whether there was one.

        Raises:
            GatewayGone: there is no gateway to tell.
            GatewayRefused: it would not.
        """
        raw = await self._call("chat.abort", {"sessionKey": session_key, "runId": run_id})
        return _decoded(raw, AbortResult).aborted

    async def _finished(self, parameters: Mapping[str, Any], run_id: str, progress: _Progress) -> RunStatus:
        """The run's last status, over as many connections as it takes."""
        boot_id = None
        while True:
            await self.connect(deadline_s=self._connect_timeout_s)
            if boot_id is not None and self.server.boot_id != boot_id:
                raise GatewayGone("the gateway was started anew; it does not know the run")
            boot_id = self.server.boot_id
            try:
                status = await self._last_status(parameters, progress)
                if status.status != "in_flight":
                    return status
                # Asked again after the connection broke: its answer is given to who asks once it is there.
                await self._call("agent.wait", {"runId": run_id, "timeoutMs": int(self._call_timeout_s * 500)})
                await asyncio.sleep(_RETRY_S)
            except _Disconnected:
                continue

    async def _last_status(self, parameters: Mapping[str, Any], progress: _Progress) -> RunStatus:
        async with _Request(self, "agent", parameters) as request:
            first = True
            while True:
                waited = request.response()
                frame = await (asyncio.wait_for(waited, self._call_timeout_s) if first else waited)
                first = False
                if not frame.ok:
                    raise _failure(frame.error or FrameError(), tuple(progress.attempts))
                status = _decoded(frame.payload, RunStatus)
                if status.status != "accepted":
                    return status

    async def _call(self, method: str, parameters: Mapping[str, Any]) -> msgspec.Raw:
        await self.connect(deadline_s=self._connect_timeout_s)
        async with _Request(self, method, parameters) as request:
            try:
                frame = await asyncio.wait_for(request.response(), self._call_timeout_s)
            except TimeoutError:
                raise GatewayGone(f"no answer to {method}") from None
        if not frame.ok:
            raise GatewayRefused(method, (frame.error or FrameError()).code)
        return frame.payload

    async def _connect_once(self) -> None:
        socket = await connect(
            self._url, max_size=_FRAME_BYTES, close_timeout=_CLOSE_TIMEOUT_S, ping_interval=20, proxy=None
        )
        try:
            self.server = await self._greet(socket)
        except BaseException:
            await socket.close()
            raise
        self._socket = socket
        self._reader = asyncio.create_task(self._read(socket), name="gateway frames")

    async def _greet(self, socket: ClientConnection) -> Server:
        challenge = _decoded(await socket.recv(), Frame)
        if challenge.event != "connect.challenge":
            raise GatewayRefused("the connection", "UNEXPECTED_GREETING")
        await socket.send(_request("connect", "connect", _introduction(self._token)))
        answer = _decoded(await socket.recv(), Frame)
        if answer.ok:
            return _decoded(answer.payload, Hello).server
        error = answer.error or FrameError()
        if error.code == "UNAVAILABLE":  # "gateway starting; retry shortly"
            raise _Starting
        raise GatewayRefused("the connection", error.code)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self._take(_decoded(message, Frame))
        except (WebSocketException, OSError):
            pass  # whoever waits is told below
        except GatewayRefused:
            await socket.close()
        finally:
            for queue in self._responses.values():
                queue.put_nowait(_BROKEN)

    def _take(self, frame: Frame) -> None:
        if frame.type == "res":
            if frame.id in self._responses:
                self._responses[frame.id].put_nowait(frame)
        elif frame.event == "agent":
            event = _decoded(frame.payload, AgentEvent)
            if event.run_id in self._runs:
                self._runs[event.run_id].take(event)

    async def _send(self, text: str) -> None:
        if self._socket is None or not self.connected:
            raise _Disconnected
        try:
            await self._socket.send(text)
        except WebSocketException:
            raise _Disconnected from None


class _Starting(Exception):
    """The gateway is not ready yet."""


class _Disconnected(GatewayGone):
    """The connection broke."""

    def __init__(self) -> None:
        super().__init__("the connection to the gateway broke")


_BROKEN = Frame(type="broken")


class _Request:
    """A request that was sent, until all its responses have come."""

    def __init__(self, client: GatewayClient, method: str, parameters: Mapping[str, Any]) -> None:
        self._client = client
        self._method = method
        self._parameters = parameters
        self._id = uuid.uuid4().hex
        self._queue: asyncio.Queue[Frame] = asyncio.Queue()

    async def __aenter__(self) -> _Request:
        self._client._responses[self._id] = self._queue  # noqa: SLF001 (a part of the client)
        try:
            await self._client._send(_request(self._id, self._method, self._parameters))  # noqa: SLF001
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client._responses.pop(self._id, None)  # noqa: SLF001

    async def response(self) -> Frame:
        """The next response with the request's id."""
        frame = await self._queue.get()
        if frame is _BROKEN:
            raise _Disconnected
        return frame


def _introduction(token: str) -> dict[str, Any]:
    return {
        "minProtocol": PROTOCOL,
        "maxProtocol": PROTOCOL,
        "role": "operator",
        # A client of that id and mode on loopback needs the token, and no pairing.
        "client": {"id": "gateway-client", "version": "1.0.0", "platform": "linux", "mode": "backend"},
        "scopes": _SCOPES,
        "caps": [],
        "auth": {"token": token},
    }


def _request(request_id: str, method: str, parameters: Mapping[str, Any]) -> str:
    frame = {"type": "req", "id": request_id, "method": method, "params": parameters}
    return msgspec.json.encode(frame).decode()


def _decoded[T](data: str | bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise GatewayRefused("to speak its protocol", f"BAD_{kind.__name__.upper()}") from None


def _failure(error: FrameError, attempts: tuple[FallbackAttempt, ...]) -> GatewayError:
    if error.code in {"INVALID_REQUEST", "FORBIDDEN"}:
        return GatewayRefused("the run", error.code)
    if error.message.startswith(_ALL_FAILED):
        return AllModelsFailed(attempts)
    if _NOT_STARTED in error.message:
        return RunNotStarted(_NOT_STARTED)
    return RunFailed(error.code, attempts)


def _result(status: RunStatus, progress: _Progress) -> RunResult:
    if status.summary == "aborted":
        raise RunAborted("the run was aborted")
    if status.status != "ok" or status.result is None:
        raise RunFailed(status.status or "no status", tuple(progress.attempts))
    meta = status.result.meta.agent_meta
    usage = meta.usage or Usage()
    return RunResult(
        text="\n".join(payload.text for payload in status.result.payloads if payload.text),
        provider=meta.provider,
        model=meta.model,
        usage=usage,
        dollars=usage.cost.total,
        fallback_attempts=tuple(meta.fallback_attempts or progress.attempts),
    )

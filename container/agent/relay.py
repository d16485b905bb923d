"""The relay: a server on loopback between OpenClaw and the providers.

OpenClaw sees no key. It asks the relay, with a token of this boot; the relay adds the key, keeps the ledger that the
chat lane keeps, too, and answers 429 at once for a provider that may not be asked.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING

import httpx
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from agent.relay_answer import BROKEN, NOT_FOUND, SLOW, TOO_LARGE, UNAUTHORIZED, Outgoing, Refusal, bad_request
from agent.relay_call import NO_TURN, Desk
from agent.relay_exchange import Exchange
from agent.relay_request import LONGEST_REQUEST_BYTES, RequestRefused, forwarded
from agent.serving import Server, listening, server
from assistant.turns.metering import Metering

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from types import TracebackType

    from starlette.types import Receive, Scope, Send

    from agent.relay_call import Call, RelayedTurn
    from agent.relay_exchange import Upstream
    from assistant.turns.chain import Timeouts
    from assistant.turns.ports import Clock, Journal, Ledger, Owner, Secrets, UsageBook

_HOST = "127.0.0.1"
_MOST_CONNECTIONS = 64
_REQUEST_SECONDS = 30
_STOP_SECONDS = 10

_log = logging.getLogger(__name__)


class Relay:
    """The relay, and its server.

    Attributes:
        turn: the turn that the agent works on; whoever hands it turns sets this.

    Args:
        upstreams: the providers, each served below its id: `/<id>/chat/completions` or `/<id>/v1/messages`.
        timeouts: of a request to a provider.
        ledger: the chat lane's; it may block, as the other stores.
        usage: the sums of days.
        secrets: the providers' keys.
        journal: where attempts are noted.
        owner: is told of a key that is refused.
        clock: the time.
        token: of this boot; what OpenClaw has for a key.
        port: where to listen on loopback; 0 for any.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        timeouts: Timeouts,
        *,
        ledger: Ledger,
        usage: UsageBook,
        secrets: Secrets,
        journal: Journal,
        owner: Owner,
        clock: Clock,
        token: str,
        port: int = 0,
    ) -> None:
        self.turn: RelayedTurn = NO_TURN
        self._paths = {f"/{each.provider.id}{each.protocol.path}".encode(): each for each in upstreams}
        self._token = token.encode()
        self._port = port
        self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=_MOST_CONNECTIONS))
        meters = {each.provider.id: Metering(each.provider, ledger, usage, secrets, owner, clock) for each in upstreams}
        self._desk = Desk(Exchange(self._http, timeouts, clock), meters, journal, clock)
        self._stopping = False
        self._socket: socket.socket | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen on loopback; the address, to which a provider's id is added.

        Raises:
            OSError: the port is taken.
        """
        self._socket = listening(_HOST, self._port, waiting=_MOST_CONNECTIONS)
        self._server = server(
            self._serve,
            most_connections=_MOST_CONNECTIONS,
            stop_seconds=_STOP_SECONDS,
            interface="asgi3",
            date_header=False,
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self.url

    @property
    def url(self) -> str:
        """Where the relay listens, without a trailing slash. RuntimeError before `start`."""
        if self._socket is None:
            raise RuntimeError("the relay was not started")
        return f"http://{_HOST}:{self._socket.getsockname()[1]}"

    async def stop(self) -> None:
        """Leave the providers, settle what is under way, and end the server: in about ten seconds at most."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True
        for call in self._desk.calls:
            call.abandon("relay stopped")
        if self._desk.calls:
            await asyncio.wait({call.task for call in self._desk.calls}, timeout=_STOP_SECONDS)
        if self._serving is not None:
            await self._serving
        await self._http.aclose()
        self._desk.close()

    async def __aenter__(self) -> Relay:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        upstream = self._paths.get(scope["raw_path"]) if scope["method"] == "POST" else None
        outgoing = Outgoing(send, "openai-chat" if upstream is None else upstream.provider.protocol)
        if not self._knows(Headers(scope=scope)):
            await outgoing.refuse(UNAUTHORIZED)
        elif upstream is None:
            await outgoing.refuse(NOT_FOUND)
        else:
            await self._relay(upstream, Request(scope, receive), outgoing)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        offered = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(offered.encode("latin-1"), self._token)

    async def _relay(self, upstream: Upstream, request: Request, outgoing: Outgoing) -> None:
        try:
            body = await _body(request)
        except ClientDisconnect:
            return
        if isinstance(body, Refusal):
            await outgoing.refuse(body)
            return
        try:
            passed_on = forwarded(body, upstream.provider)
        except RequestRefused as error:
            await outgoing.refuse(bad_request(str(error)))
            return
        if self._stopping:
            await outgoing.refuse(BROKEN)
            return
        await _watch(self._desk.open(upstream, passed_on, outgoing, self.turn), request)


async def _body(request: Request) -> bytes | Refusal:
    """The request's body, or why it is not read to its end. ClientDisconnect if it does not come."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > LONGEST_REQUEST_BYTES:
        return TOO_LARGE
    received = bytearray()
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            async for chunk in request.stream():
                received += chunk
                if len(received) > LONGEST_REQUEST_BYTES:
                    return TOO_LARGE
    except TimeoutError:
        return SLOW
    return bytes(received)


async def _watch(call: Call, request: Request) -> None:
    """Wait for a call to end, and end it when the client leaves."""
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({call.task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not call.task.done():
            call.abandon("client gone")
        await asyncio.wait({call.task})
    finally:
        leaving.cancel()
    error = None if call.task.cancelled() else call.task.exception()
    if error is not None:  # not its words: they may hold a request
        _log.error("relay: %s in a call to %s", type(error).__name__, call.upstream.provider.id)


async def _left(request: Request) -> None:
    """Return when the client has left, or has its whole answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""The bridge's own HTTP: its health; and, for an agent that runs by itself, messages and its status."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

from agent.gateway_client import AllModelsFailed, GatewayError, RunTimedOut
from agent.relay_call import NO_TURN
from agent.serving import Server, listening, server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from agent.gateway_frames import FallbackAttempt
    from agent.openclaw import OpenClaw
    from agent.relay_call import RelayedTurn

LONGEST_BODY_BYTES = 256 * 1024
SESSION = "agent:main:local"

_BODY_SECONDS = 10
_STOP_SECONDS = 1
_MOST_CONNECTIONS = 32
_TRY_AGAIN = {"Retry-After": "2"}

type Handler = Callable[[Request], Awaitable[JSONResponse]]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /message."""

    message: str


class LocalHttp:
    """A server beside others in its process.

    Attributes:
        address: where it listens, once it does.

    Args:
        openclaw: what answers.
        host: where to listen: loopback, unless callers show a token.
        port: 0 for any that is free.
        token: what callers of /message and /status show; None: neither is served.
        turn: for the relay's journal.
        status: what /status tells beside OpenClaw's.
    """

    def __init__(
        self,
        openclaw: OpenClaw,
        *,
        host: str,
        port: int,
        token: str | None = None,
        turn: RelayedTurn = NO_TURN,
        status: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._openclaw = openclaw
        self._address = (host, port)
        self._token = token
        self._turn = turn
        self._status = status
        self.address: str | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; the address.

        Raises:
            OSError: the port is taken.
        """
        host, port = self._address
        socket = listening(host, port, waiting=_MOST_CONNECTIONS)
        self._server = server(
            Starlette(routes=self._routes()), most_connections=_MOST_CONNECTIONS, stop_seconds=_STOP_SECONDS
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[socket]), name="HTTP")
        host, port = socket.getsockname()[:2]
        self.address = f"http://{host}:{port}"
        return self.address

    async def stop(self) -> None:
        """End; who waits for an answer is cut off."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    def _routes(self) -> Sequence[Route]:
        health = Route("/health", self._health, methods=["GET"])
        if self._token is None:
            return [health]
        return [
            health,
            Route("/status", self._for_known(self._tell_status), methods=["GET"]),
            Route("/message", self._for_known(self._message), methods=["POST"]),
        ]

    def _for_known(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> JSONResponse:
            scheme, _, offered = request.headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(offered.encode("latin-1"), (self._token or "").encode())
            if scheme.lower() != "bearer" or not known:
                return _refused(401, "the bridge's token is needed: Authorization: Bearer …")
            return await handler(request)

        return guarded

    async def _health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": self._state()})

    async def _tell_status(self, _: Request) -> JSONResponse:
        openclaw = self._openclaw
        told = {"status": self._state(), "seconds": openclaw.seconds, "gateway_starts": openclaw.gateway_starts}
        return JSONResponse({**told, **self._status()})

    def _state(self) -> str:
        if not self._openclaw.is_ready:
            return "starting"
        return "busy" if self._openclaw.busy else "ready"

    async def _message(self, request: Request) -> JSONResponse:
        try:
            raw = await _body(request)
            message = msgspec.json.decode(raw, type=Message).message
        except _TooLarge:
            return _refused(413, f"a message has at most {LONGEST_BODY_BYTES} bytes")
        except (msgspec.DecodeError, UnicodeError, TimeoutError, ClientDisconnect):
            message = ""
        if not message.strip():
            return _refused(400, 'the body has to be {"message": "…"}')
        if not self._openclaw.is_ready:
            return _refused(503, "OpenClaw is starting", _TRY_AGAIN)
        if self._openclaw.busy:
            return _refused(429, "another message is being answered", _TRY_AGAIN)
        return await self._answered(message)

    async def _answered(self, message: str) -> JSONResponse:
        try:
            result = (await self._openclaw.run(SESSION, message, turn=self._turn)).result
        except AllModelsFailed as error:
            return _refused(503, "every provider failed", fallbacks=_fallbacks(error.attempts))
        except RunTimedOut:
            return _refused(504, "the run took too long")
        except GatewayError as error:
            return _refused(502, type(error).__name__)
        told = {"reply": result.text, "provider": result.provider, "model": result.model}
        return JSONResponse({**told, "fallbacks": _fallbacks(result.fallback_attempts)})


class _TooLarge(Exception):
    """The body is longer than it may be."""


async def _body(request: Request) -> bytes:
    received = bytearray()
    async with asyncio.timeout(_BODY_SECONDS):
        async for chunk in request.stream():
            received += chunk
            if len(received) > LONGEST_BODY_BYTES:
                raise _TooLarge
    return bytes(received)


def _fallbacks(attempts: Sequence[FallbackAttempt]) -> list[dict[str, str]]:
    return [{"provider": each.provider, "model": each.model, "reason": each.reason} for each in attempts]


def _refused(status: int, error: str, headers: Mapping[str, str] | None = None, **more: object) -> JSONResponse:
    return JSONResponse({"error": error, **more}, status_code=status, headers=headers)

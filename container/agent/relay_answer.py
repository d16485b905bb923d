"""What the agent is answered: the provider's stream, or a refusal in the vendor's shape and in our own words.

A provider's own words are not repeated: they may quote a key. Nearly every failure is a 429: OpenClaw then asks the
next provider at once and remembers nothing, so that the ledger alone decides who is asked again, and when. In the
middle of a stream there is no status, and OpenClaw goes by the words: "rate limit", "upstream error".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from assistant.errors import CONTEXT_TOO_LONG, ProviderBusy, ProviderDeclined, ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Send

    from assistant.errors import ProviderError

_LATER_SECONDS = 60
"""Where nobody knows when a provider may be asked again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none; `retry_after` in whole seconds."""

    status: HTTPStatus
    kind: str
    message: str
    retry_after: int | None = None


UNAUTHORIZED = Refusal(HTTPStatus.UNAUTHORIZED, "authentication_error", "the relay's token is missing or wrong")
NOT_FOUND = Refusal(HTTPStatus.NOT_FOUND, "not_found_error", "the relay serves nothing here")
TOO_LARGE = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", "the request is too large")
SLOW = Refusal(HTTPStatus.REQUEST_TIMEOUT, "timeout_error", "the request did not come to its end")
BROKEN = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "api_error", "the relay can't keep its books now")

_TOO_LONG = Refusal(
    HTTPStatus.BAD_REQUEST,
    "invalid_request_error",
    "prompt is too long: it exceeds the model's maximum context length",  # by which OpenClaw knows to shorten it
)
_UNAVAILABLE = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "api_error", "upstream error: the provider is unavailable")


def bad_request(message: str) -> Refusal:
    """A request that is not passed on."""
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", message)


def refusal(error: ProviderError, now: float) -> Refusal:
    """What the agent is told of a provider that gave no answer; `now` in epoch seconds."""
    match error:
        case ProviderDeclined(reason=reason) if reason == CONTEXT_TOO_LONG:
            return _TOO_LONG
        case ProviderUnavailable():
            return _UNAVAILABLE
        case ProviderBusy():
            seconds = 1
        case _:
            until = now + _LATER_SECONDS if error.block_until is None else error.block_until
            seconds = max(1, math.ceil(until - now))
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error", "rate limit: the provider can't be asked now", seconds
    )


class Outgoing:
    """The answer to one request of the agent, over ASGI."""

    def __init__(self, send: Send, protocol: str) -> None:
        self._send = send
        self._protocol = protocol
        self._started = False
        self.finished = False
        self.writing = False

    async def write(self, chunk: bytes) -> None:
        """Pass on a piece of a provider's stream."""
        self.writing = True
        if not self._started:
            await self._start(HTTPStatus.OK, {"content-type": "text/event-stream; charset=utf-8"})
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self.writing = False

    async def finish(self) -> None:
        """End the stream."""
        self.finished = True
        await self._send({"type": "http.response.body"})

    async def refuse(self, refused: Refusal) -> None:
        """Answer with a refusal; where a stream has begun, it is its last event."""
        error = {"type": refused.kind, "message": refused.message}
        if self._started:
            await self.write(self._event(error))
            await self.finish()
            return
        self.finished = True
        body = msgspec.json.encode(self._wrapped(error))
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        if refused.retry_after is not None:
            headers["retry-after"] = str(refused.retry_after)
        await self._start(refused.status, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self._started = True
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": int(status), "headers": encoded})

    def _wrapped(self, error: Mapping[str, str]) -> Mapping[str, Any]:
        if self._protocol == "anthropic-messages":
            return {"type": "error", "error": error}
        return {"error": {**error, "param": None, "code": None}}

    def _event(self, error: Mapping[str, str]) -> bytes:
        """An event that reports an error, after whatever the provider left unfinished."""
        name = b"event: error\n" if self._protocol == "anthropic-messages" else b""
        return b"\n\n" + name + b"data: " + msgspec.json.encode(self._wrapped(error)) + b"\n\n"

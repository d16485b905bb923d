"""What can happen to a response on its way, and how much of one is read."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, cast

import httpx

from assistant.errors import ProviderRejected, ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_ANSWER_BYTES = 4 * 1024 * 1024
"""Of a stream: the text of the longest answer is a small part of it."""

LONGEST_REFUSAL_BYTES = 64 * 1024
"""Of a refusal: its status and its first words are what counts."""

_REFUSAL_SECONDS = 5
"""A refusal that is not told by then is judged by what came of it."""

_NOT_ASKED: dict[type[httpx.HTTPError | httpx.InvalidURL], str] = {
    httpx.ConnectError: "unreachable",  # refused, no such host, no trust
    httpx.ConnectTimeout: "unreachable",
    httpx.PoolTimeout: "unreachable",
    httpx.ProxyError: "unreachable",
    httpx.UnsupportedProtocol: "address",
    httpx.InvalidURL: "address",
    httpx.LocalProtocolError: "address",
}
"""Errors before the request was sent, and the reason that they are."""


class TooLarge(httpx.DecodingError):
    """More came than is read."""


class _Bounded(httpx.SyncByteStream):
    """A response's bytes until a deadline (monotonic seconds) and a size; keep-alive comments count too.

    httpx bounds silences, not their sum. A read that is under way at the deadline is ended by shutting its connection
    down, where there is one (`network_stream`: httpx docs, "Extensions").
    """

    def __init__(self, response: httpx.Response, stream: httpx.SyncByteStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline
        network = response.extensions.get("network_stream")
        self._socket: socket.socket | None = None if network is None else network.get_extra_info("socket")
        self._timer = threading.Timer(max(0, deadline - time.monotonic()), self._cut)
        self._timer.daemon = True

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        self._timer.start()
        for chunk in self._stream:
            size += len(chunk)
            if size > LONGEST_ANSWER_BYTES:
                raise TooLarge("the answer is too large")
            self._check_time()
            yield chunk
        self._check_time()

    def close(self) -> None:
        self._timer.cancel()  # before the connection serves somebody else
        self._stream.close()

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("the answer takes too long")

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def exchange(http: httpx.Client, request: httpx.Request, deadline: float) -> Iterator[httpx.Response]:
    """Send a request; its response can be read until `deadline` (monotonic seconds), a refusal not even so long."""
    response = http.send(request, stream=True)
    try:
        until = deadline if response.is_success else min(deadline, time.monotonic() + _REFUSAL_SECONDS)
        response.stream = _Bounded(response, cast("httpx.SyncByteStream", response.stream), until)
        yield response
    finally:
        response.close()


def read_body(response: httpx.Response) -> bytes:
    """All of a success, or TooLarge; the beginning of a refusal, or what came of it: its status says that it is one."""
    return _read_answer(response) if response.is_success else _read_refusal(response)


def _read_answer(response: httpx.Response) -> bytes:
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > LONGEST_ANSWER_BYTES:  # it was compressed
            raise TooLarge("the answer is too large")
    return bytes(received)


def _read_refusal(response: httpx.Response) -> bytes:
    received = bytearray()
    with contextlib.suppress(httpx.HTTPError):
        for chunk in response.iter_bytes():
            received += chunk
            if len(received) >= LONGEST_REFUSAL_BYTES:
                break
    return bytes(received[:LONGEST_REFUSAL_BYTES])


def usable_key(provider: str, key: str) -> str:
    """The key as a header can carry it; white space around it came with copying.

    Raises:
        ProviderRejected: no header can.
    """
    stripped = key.strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise ProviderRejected(provider, "key", asked=False)
    return stripped


def broken(
    provider: str, error: httpx.HTTPError | httpx.InvalidURL, *, late: bool, may_cost: bool
) -> ProviderUnavailable:
    """The typed error of a way that is broken.

    Args:
        provider: its id.
        error: what httpx met.
        late: whether the time for the request was over by then.
        may_cost: whether the request costs, if it was sent.
    """
    reason = _NOT_ASKED.get(type(error))
    if reason is not None:
        return ProviderUnavailable(provider, reason, asked=False)
    if late or isinstance(error, httpx.TimeoutException):
        reason = "timeout"
    elif isinstance(error, TooLarge):
        reason = "answer too large"
    elif isinstance(error, httpx.DecodingError):
        reason = "broken answer"
    return ProviderUnavailable(provider, reason or "connection broken", may_cost=may_cost)

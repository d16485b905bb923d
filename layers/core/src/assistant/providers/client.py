"""A provider, ready to be asked: its protocol over HTTP, its silence and its failures as typed errors."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx
from httpx_sse import EventSource

from assistant.errors import ProviderError, ProviderRejected, ProviderUnavailable
from assistant.providers.failures import read_failure, translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from assistant.providers.protocol import Reader, WireProtocol
    from assistant.providers.vendors import Vendor
    from assistant.turns.chain import Provider, Timeouts
    from assistant.turns.model import Answer, Said
    from assistant.turns.ports import Clock

LONGEST_ANSWER_BYTES = 4 * 1024 * 1024
"""Of a stream: the text of the longest answer is a small part of it."""

_STREAM_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
"""Compression would hold events back, and hide how large the answer is."""


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
                raise httpx.DecodingError("the answer is too large")
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


@dataclass(frozen=True, slots=True)
class ProviderClient:
    """Asks one provider."""

    provider: Provider
    protocol: WireProtocol
    vendor: Vendor
    http: httpx.Client
    timeouts: Timeouts
    clock: Clock

    def ask(self, system: str, conversation: Sequence[Said], *, key: str, seconds: float) -> Answer:
        """Ask, and read the streamed answer to its end within `seconds`.

        Raises:
            ProviderError: of the class that says what to do next. Its text holds nothing of what was said.
        """
        deadline = time.monotonic() + seconds
        try:
            return self._ask(system, conversation, self._usable(key), deadline)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            late = time.monotonic() > deadline
            raise self._broken(httpx.ReadTimeout("the deadline") if late else error) from None

    def _usable(self, key: str) -> str:
        """The key as a header can carry it; white space around it came with copying."""
        stripped = key.strip()
        if not (stripped.isascii() and stripped.isprintable()):
            raise ProviderRejected(self.provider.id, "key", asked=False)
        return stripped

    def _ask(self, system: str, conversation: Sequence[Said], key: str, deadline: float) -> Answer:
        url = self.vendor.base_url(key) + self.protocol.path  # may take a request of its own
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProviderUnavailable(self.provider.id, "timeout", asked=False)
        read, connect = min(self.timeouts.read, left), min(self.timeouts.connect, left)
        request = self.http.build_request(
            "POST",
            url,
            headers={**self.protocol.headers(key), **self.vendor.headers(), **_STREAM_HEADERS},
            json=self.protocol.body(self.provider.model, self.provider.max_tokens, system, conversation),
            timeout=httpx.Timeout(read, connect=connect),
        )
        response = self.http.send(request, stream=True)
        try:
            response.stream = _Bounded(response, cast("httpx.SyncByteStream", response.stream), deadline)
            return self._read(response)
        finally:
            response.close()

    def _read(self, response: httpx.Response) -> Answer:
        reader = self.protocol.reader(self.provider.model)
        streamed = "text/event-stream" in response.headers.get("content-type", "").partition(";")[0]
        if not response.is_success or not streamed:
            self._whole(response, reader)
        else:
            self._stream(response, reader)
        answer = reader.answer()
        if not answer.text.strip():
            raise ProviderUnavailable(self.provider.id, "empty answer")
        if not reader.complete:
            raise ProviderUnavailable(self.provider.id, "answer cut off")
        return answer

    def _stream(self, response: httpx.Response, reader: Reader) -> None:
        """Read to the end that the protocol knows: a connection that stays open after it is not waited for."""
        response.encoding = "utf-8"  # whatever the header says: HTML standard, "Server-sent events"
        with self._forgiven(reader):
            for event in EventSource(response).iter_sse():
                if event.data:
                    self._feed(reader, event.data, response)
                if reader.over:
                    return

    @contextlib.contextmanager
    def _forgiven(self, reader: Reader) -> Iterator[None]:
        """A connection that breaks once all has been said takes nothing away."""
        try:
            yield
        except httpx.HTTPError:
            if not reader.complete:
                raise

    def _whole(self, response: httpx.Response, reader: Reader) -> None:
        """A refusal, or an answer that is not streamed although it was to be."""
        body = response.read()
        failure = read_failure(response.status_code, response.headers, body)
        if failure is not None:
            raise translate(self.provider.id, failure, self.clock.now())
        self._feed(reader, body.decode(errors="replace"), response)

    def _feed(self, reader: Reader, data: str, response: httpx.Response) -> None:
        try:
            failure = reader.feed(data)
        except (ValueError, RecursionError):
            raise ProviderUnavailable(self.provider.id, "broken answer", status=response.status_code) from None
        if failure is not None:
            raise translate(self.provider.id, failure, self.clock.now())

    def _broken(self, error: httpx.HTTPError | httpx.InvalidURL) -> ProviderError:
        """The way to the provider is broken."""
        match error:
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.PoolTimeout() | httpx.UnsupportedProtocol():
                return ProviderUnavailable(self.provider.id, "unreachable", asked=False)
            case httpx.TimeoutException():
                return ProviderUnavailable(self.provider.id, "timeout")
            case httpx.InvalidURL():
                return ProviderUnavailable(self.provider.id, "address", asked=False)
        return ProviderUnavailable(self.provider.id, "connection broken")

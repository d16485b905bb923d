"""A provider, ready to be asked: its protocol over HTTP, its silence and its failures as typed errors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from assistant.errors import ProviderError, ProviderUnavailable
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


class _Bounded(httpx.SyncByteStream):
    """A response's bytes until a deadline (monotonic seconds) and a size; keep-alive comments count too."""

    def __init__(self, stream: httpx.SyncByteStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > LONGEST_ANSWER_BYTES:
                raise httpx.DecodingError("the answer is too large")
            if time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("the answer takes too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()


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
            return self._ask(system, conversation, key, deadline)
        except httpx.HTTPError as error:
            raise self._broken(error) from None

    def _ask(self, system: str, conversation: Sequence[Said], key: str, deadline: float) -> Answer:
        left = deadline - time.monotonic()
        read, connect = min(self.timeouts.read, left), min(self.timeouts.connect, left)
        request = self.http.build_request(
            "POST",
            self.vendor.base_url(key) + self.protocol.path,
            headers={**self.protocol.headers(key), **self.vendor.headers(), "Accept": "text/event-stream"},
            json=self.protocol.body(self.provider.model, self.provider.max_tokens, system, conversation),
            timeout=httpx.Timeout(read, connect=connect),
        )
        response = self.http.send(request, stream=True)
        try:
            if isinstance(response.stream, httpx.SyncByteStream):
                response.stream = _Bounded(response.stream, deadline)
            return self._read(response)
        finally:
            response.close()

    def _read(self, response: httpx.Response) -> Answer:
        reader = self.protocol.reader(self.provider.model)
        streamed = "text/event-stream" in response.headers.get("content-type", "")
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
        try:
            for event in EventSource(response).iter_sse():
                if event.data:
                    self._feed(reader, event.data, response)
        except (SSEError, UnicodeDecodeError):
            raise ProviderUnavailable(self.provider.id, "broken stream") from None

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
        except (msgspec.DecodeError, ValueError):
            raise ProviderUnavailable(self.provider.id, "broken answer", status=response.status_code) from None
        if failure is not None:
            raise translate(self.provider.id, failure, self.clock.now())

    def _broken(self, error: httpx.HTTPError) -> ProviderError:
        """The way to the provider is broken."""
        match error:
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.PoolTimeout():
                return ProviderUnavailable(self.provider.id, "unreachable", asked=False)
            case httpx.TimeoutException():
                return ProviderUnavailable(self.provider.id, "timeout")
        return ProviderUnavailable(self.provider.id, "connection broken")

"""A provider, ready to be asked: its protocol over HTTP, its silence and its failures as typed errors."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource

from assistant.errors import ProviderUnavailable
from assistant.providers.failures import translate
from assistant.providers.refusals import read_failure
from assistant.providers.transport import broken, exchange, read_body, usable_key
from assistant.turns.model import Delegation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from typing import Any

    from assistant.errors import ProviderError
    from assistant.providers.protocol import Reader, WireProtocol
    from assistant.providers.refusals import Failure
    from assistant.providers.vendors import Vendor
    from assistant.turns.chain import Provider, Timeouts
    from assistant.turns.model import Answer, Said, Tool
    from assistant.turns.ports import Clock

_STREAM_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
"""Compression would hold events back, and hide how large the answer is."""


@dataclass(frozen=True, slots=True)
class ProviderClient:
    """Asks one provider."""

    provider: Provider
    protocol: WireProtocol
    vendor: Vendor
    http: httpx.Client
    timeouts: Timeouts
    clock: Clock

    def ask(
        self,
        system: str,
        conversation: Sequence[Said],
        *,
        key: str,
        seconds: float,
        on_text: Callable[[str], None],
        tool: Tool | None = None,
    ) -> Answer | Delegation:
        """Ask, and read the streamed answer to its end. A call of the tool counts, whatever is said beside it.

        Args:
            system: the system prompt.
            conversation: what was said so far, the question last.
            key: the provider's.
            seconds: to be done in.
            on_text: called with all of the text so far, whenever there is more of it. What it raises is not caught.
            tool: offered to the model. Without one, calls are as if they had not been made.

        Raises:
            ProviderError: of the class that says what to do next. Its text holds nothing of what was said.
        """
        deadline = time.monotonic() + seconds
        reader = self.protocol.reader(self.provider.model)
        # A generator, so that no exception of on_text runs through the translation of the provider's.
        body = self.protocol.body(self.provider, system, conversation, tool)
        with contextlib.closing(self._texts(reader, body, key, deadline)) as texts:
            for text in texts:
                on_text(text)
        answer = reader.answer()
        if tool is not None and reader.calls:
            return Delegation(reader.calls.task(tool, self.provider.id), answer.model, answer.usage)
        if not answer.text.strip():
            raise ProviderUnavailable(self.provider.id, "empty answer", may_cost=True)
        return answer

    def _texts(self, reader: Reader, body: Mapping[str, Any], key: str, deadline: float) -> Generator[str]:
        """All of the text so far, whenever there is more of it; ends when the reader has an answer."""
        try:
            request = self._request(body, usable_key(self.provider.id, key), deadline)
            with exchange(self.http, request, deadline) as response:
                yield from self._read(reader, response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if not reader.complete:  # a connection that breaks once all has been said takes nothing away
                raise broken(self.provider.id, error, late=time.monotonic() > deadline, may_cost=True) from None
        if not (reader.text.strip() or reader.calls):
            raise ProviderUnavailable(self.provider.id, "empty answer", may_cost=True)
        if not reader.complete:
            raise ProviderUnavailable(self.provider.id, "answer cut off", may_cost=True)

    def _request(self, body: Mapping[str, Any], key: str, deadline: float) -> httpx.Request:
        url = self.vendor.base_url(key) + self.protocol.path  # may take a request of its own
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProviderUnavailable(self.provider.id, "timeout", asked=False)
        return self.http.build_request(
            "POST",
            url,
            headers={**self.protocol.headers(key), **self.vendor.headers(), **_STREAM_HEADERS},
            json=body,
            timeout=httpx.Timeout(min(self.timeouts.read, left), connect=min(self.timeouts.connect, left)),
        )

    def _read(self, reader: Reader, response: httpx.Response) -> Iterator[str]:
        """Read to the end that the protocol knows: a connection that stays open after it is not waited for."""
        length = 0
        for data in self._events(response):
            self._feed(reader, data, response)
            text = reader.text
            if len(text) > length:
                length = len(text)
                yield text
            if reader.over:
                return

    def _events(self, response: httpx.Response) -> Iterator[str]:
        """The data of the answer's events, or of the one object of an answer that is not streamed."""
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.is_success and "text/event-stream" in kind:
            response.encoding = "utf-8"  # whatever the header says: HTML standard, "Server-sent events"
            yield from (event.data for event in EventSource(response).iter_sse() if event.data)
            return
        body = read_body(response)
        failure = read_failure(response.status_code, response.headers, body)
        if failure is not None:
            raise self._refused(failure)
        yield body.decode(errors="replace")

    def _feed(self, reader: Reader, data: str, response: httpx.Response) -> None:
        try:
            failure = reader.feed(data)
        except (ValueError, RecursionError):
            raise ProviderUnavailable(
                self.provider.id, "broken answer", status=response.status_code, may_cost=True
            ) from None
        if failure is not None:
            raise self._refused(failure, may_cost=reader.begun)

    def _refused(self, failure: Failure, *, may_cost: bool = False) -> ProviderError:
        return translate(self.provider.id, failure, self.protocol.failures, self.clock.now(), may_cost=may_cost)

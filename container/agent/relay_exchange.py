"""One request to a provider, whose answer is passed on as it comes and read along."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from agent.relay_events import EventParser
from assistant.errors import ProviderDeclined, ProviderUnavailable
from assistant.providers.failures import translate
from assistant.providers.refusals import read_failure
from assistant.providers.transport import LONGEST_REFUSAL_BYTES, TooLarge, broken, usable_key

if TYPE_CHECKING:
    from assistant.errors import ProviderError
    from assistant.providers.protocol import WireProtocol
    from assistant.providers.refusals import Failure
    from assistant.providers.vendors import Vendor
    from assistant.turns.chain import Provider, Timeouts
    from assistant.turns.model import Answer
    from assistant.turns.ports import Clock

LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
_REFUSAL_SECONDS = 5
"""A refusal that is not told by then is judged by what came of it."""

_STREAM_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # compression would hold events back
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider of the chain, as it is reached."""

    provider: Provider
    protocol: WireProtocol
    vendor: Vendor


class Sink(Protocol):
    """Where an answer goes."""

    @property
    def writing(self) -> bool:
        """Whether a write is under way: whoever reads does not keep up."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Pass on a piece of the answer."""
        ...


class Reading:
    """What is understood of an answer while it passes. What can't be read is skipped: who asked will judge it."""

    def __init__(self, upstream: Upstream) -> None:
        self._events = EventParser()
        self._reader = upstream.protocol.reader(upstream.provider.model)
        self.begun = False
        """Whether an event came that is not a failure."""

    def take(self, chunk: bytes) -> Failure | None:
        """Take a piece of the answer; the failure, if one stands in it."""
        for data in self._events.feed(chunk):
            failure = None
            with contextlib.suppress(ValueError, RecursionError):
                failure = self._reader.feed(data)
            if failure is not None:
                return failure
            self.begun = True
        return None

    @property
    def may_cost(self) -> bool:
        """Whether the provider may charge although it failed."""
        return self._reader.begun

    @property
    def complete(self) -> bool:
        """Whether the provider has said all of its answer."""
        return self._reader.complete

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self._reader.over

    def answer(self) -> Answer:
        """What was said so far."""
        return self._reader.answer()


@dataclass(frozen=True, slots=True)
class Exchange:
    """Asks providers over one HTTP client."""

    http: httpx.AsyncClient
    timeouts: Timeouts
    clock: Clock

    async def __call__(self, upstream: Upstream, key: str, body: bytes, reading: Reading, sink: Sink) -> None:
        """Ask, and write the answer to the sink: nothing of it before its first event has come and is no failure.

        Raises:
            ProviderError: there is no answer, or, once the sink was written to, only a part of one.
        """
        provider_id = upstream.provider.id
        try:
            async with asyncio.timeout(self.timeouts.total):
                await self._ask(upstream, usable_key(provider_id, key), body, reading, sink)
        except TimeoutError:
            if sink.writing:  # not the provider's fault
                raise ProviderDeclined(provider_id, "answer not taken", may_cost=True) from None
            raise ProviderUnavailable(provider_id, "timeout", may_cost=True) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if not reading.complete:  # a connection that breaks once all has been said takes nothing away
                raise broken(provider_id, error, late=False, may_cost=True) from None
        if not reading.complete:
            raise ProviderUnavailable(provider_id, "answer cut off", may_cost=True)

    async def _ask(self, upstream: Upstream, key: str, body: bytes, reading: Reading, sink: Sink) -> None:
        # Finding out where to ask may take a request of its own (Copilot).
        url = await asyncio.to_thread(upstream.vendor.base_url, key)
        request = self.http.build_request(
            "POST",
            url + upstream.protocol.path,
            headers={**upstream.protocol.headers(key), **upstream.vendor.headers(), **_STREAM_HEADERS},
            content=body,
            timeout=httpx.Timeout(self.timeouts.read, connect=self.timeouts.connect),
        )
        response = await self.http.send(request, stream=True)
        try:
            await self._pass_on(upstream, response, reading, sink)
        finally:
            await response.aclose()

    async def _pass_on(self, upstream: Upstream, response: httpx.Response, reading: Reading, sink: Sink) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0]
        if not (response.is_success and "text/event-stream" in kind):
            raise self._no_stream(upstream, response, await _beginning(response))
        size, held = 0, b""
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > LONGEST_ANSWER_BYTES:
                raise TooLarge("the answer is too large")
            failure = reading.take(chunk)
            held += chunk
            if reading.begun:
                await sink.write(held)
                held = b""
            if failure is not None:
                raise self._refused(upstream, failure, may_cost=reading.may_cost)
            if reading.over:
                return

    def _no_stream(self, upstream: Upstream, response: httpx.Response, body: bytes) -> ProviderError:
        failure = read_failure(response.status_code, response.headers, body)
        if failure is None:
            return ProviderUnavailable(
                upstream.provider.id, "broken answer", status=response.status_code, may_cost=True
            )
        return self._refused(upstream, failure)

    def _refused(self, upstream: Upstream, failure: Failure, *, may_cost: bool = False) -> ProviderError:
        now = self.clock.now()
        return translate(upstream.provider.id, failure, upstream.protocol.failures, now, may_cost=may_cost)


async def _beginning(response: httpx.Response) -> bytes:
    """The beginning of a refusal, or what came of it: its status says that it is one."""
    received = bytearray()
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) >= LONGEST_REFUSAL_BYTES:
                    break
    return bytes(received[:LONGEST_REFUSAL_BYTES])

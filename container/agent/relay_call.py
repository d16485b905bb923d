"""One request of the agent's: taken out of the ledger, exchanged with the provider, settled and noted.

Once a request was reserved it is settled, whatever becomes of who asked: a call runs on after its client has left.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.relay_answer import BROKEN, refusal
from agent.relay_exchange import Reading
from assistant.errors import ProviderDeclined, ProviderError, ProviderExhausted, ProviderUnavailable
from assistant.turns.asking import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.relay_answer import Outgoing
    from agent.relay_exchange import Exchange, Upstream
    from agent.relay_request import Forwarded
    from assistant.turns.ledger import Reservation
    from assistant.turns.metering import Metering
    from assistant.turns.ports import Clock, Journal

_THREADS = 4
"""The stores' clients block; the agent makes one request at a time, and its helpers a few more."""

_CLOSING_SECONDS = 3
"""How long a request waits for the one before it to give the provider's one slot back."""

_LOOK_AGAIN_SECONDS = 300
"""A provider without a key is not looked at more often: each look is a request to AWS, and a write."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RelayedTurn:
    """The turn that the agent works on, for the journal. `preferred`: the first provider that has a key."""

    chat_id: str
    user_id: str
    number: int
    preferred: str | None = None


NO_TURN = RelayedTurn(chat_id="", user_id="", number=0)
"""For what the agent asks of its own accord."""


class Desk:
    """Where calls are opened, and what they share."""

    def __init__(self, exchange: Exchange, meters: Mapping[str, Metering], journal: Journal, clock: Clock) -> None:
        self.exchange = exchange
        self.journal = journal
        self.clock = clock
        self.calls: set[Call] = set()
        self._meters = meters
        self._keyless: dict[str, ProviderExhausted] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay-books")

    def open(self, upstream: Upstream, request: Forwarded, outgoing: Outgoing, turn: RelayedTurn) -> Call:
        """Begin a call; it ends by itself."""
        call = Call(self, upstream, request, outgoing, turn)
        self.calls.add(call)
        call.task.add_done_callback(lambda _: self.calls.discard(call))
        return call

    async def settled(self, upstream: Upstream) -> None:
        """Wait for calls whose answer is complete: the agent may ask again before its last request is settled."""
        closing = {call.task for call in self.calls if call.upstream is upstream and call.closing}
        if upstream.provider.concurrency and closing:
            await asyncio.wait(closing, timeout=_CLOSING_SECONDS)

    async def in_thread[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run what blocks; a few at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def meter(self, upstream: Upstream) -> Metering:
        """Who keeps the provider's books."""
        return self._meters[upstream.provider.id]

    def admit(self, upstream: Upstream, most_tokens: int) -> tuple[Reservation, str]:
        """Reserve a request; with the provider's key. Blocks.

        Raises:
            ProviderError: it may not be made.
        """
        provider_id = upstream.provider.id
        known = self._keyless.get(provider_id)
        if known is not None and (known.block_until or 0) > self.clock.now():
            raise known
        meter = self.meter(upstream)
        try:
            key = meter.key()
        except ProviderExhausted as error:
            until = self.clock.now() + _LOOK_AGAIN_SECONDS
            self._keyless[provider_id] = ProviderExhausted(provider_id, error.reason, block_until=until, asked=False)
            raise
        return meter.reserve(f"relay-{uuid.uuid4().hex}", input_bytes=most_tokens), key

    def close(self) -> None:
        """Let go of the threads; no call is open any more."""
        self._threads.shutdown(wait=False)


class Call:
    """A request that is being relayed."""

    def __init__(
        self, desk: Desk, upstream: Upstream, request: Forwarded, outgoing: Outgoing, turn: RelayedTurn
    ) -> None:
        self.upstream = upstream
        self._desk = desk
        self._request = request
        self._outgoing = outgoing
        self._turn = turn
        self._began = desk.clock.now()
        self._reading = Reading(upstream)
        self._abandoned = ""
        self._exchange: asyncio.Task[None] | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def closing(self) -> bool:
        """Whether the provider has said all, and what is left is to settle."""
        return self._reading.complete

    def abandon(self, reason: str) -> None:
        """Nobody wants the answer any more: the provider is left, and what was reserved is settled as spent."""
        self._abandoned = self._abandoned or reason
        if self._exchange is not None:
            self._exchange.cancel()

    async def _run(self) -> None:
        try:
            await self._relay()
        finally:
            if not self._outgoing.finished:  # only if the ledger can't be reached, or by a fault of ours
                await self._outgoing.refuse(BROKEN)

    async def _relay(self) -> None:
        desk = self._desk
        await desk.settled(self.upstream)
        try:
            reservation, key = await desk.in_thread(desk.admit, self.upstream, self._request.most_tokens)
        except ProviderError as error:
            await desk.in_thread(self._note_failure, error)
            await self._outgoing.refuse(refusal(error, desk.clock.now()))
            return
        failure = await self._exchanged(key)
        if failure is None:
            await self._outgoing.finish()
            await desk.in_thread(self._book_answer, reservation)
            return
        told = await desk.in_thread(self._book_failure, reservation, failure)
        await self._outgoing.refuse(refusal(told, desk.clock.now()))

    async def _exchanged(self, key: str) -> ProviderError | None:
        """Exchange with the provider; why there is no whole answer, if there is none."""
        provider_id = self.upstream.provider.id
        if self._abandoned:
            return ProviderDeclined(provider_id, self._abandoned, asked=False)
        self._exchange = asyncio.create_task(
            self._desk.exchange(self.upstream, key, self._request.body, self._reading, self._outgoing)
        )
        await asyncio.wait({self._exchange})
        if self._exchange.cancelled():
            # Declined: the provider is not to blame, and nobody is blocked.
            complete = self._reading.complete
            return None if complete else ProviderDeclined(provider_id, self._abandoned, may_cost=True)
        error = self._exchange.exception()
        if error is None or isinstance(error, ProviderError):
            return error
        _log.error("relay: %s while asking %s", type(error).__name__, provider_id)
        return ProviderUnavailable(provider_id, "internal error", may_cost=True)

    def _book_answer(self, reservation: Reservation) -> None:
        answer = self._reading.answer()
        meter = self._desk.meter(self.upstream)
        meter.answered(reservation, answer.usage)
        cost = meter.cost(reservation, answer.usage)
        noted = replace(
            self._attempt(),
            model=answer.model,
            outcome="answered",
            fallback=self._turn.preferred not in {None, self.upstream.provider.id},
            usage=answer.usage,
            micro_dollars=cost,
            budget_used=reservation.budget_used(cost),
        )
        self._desk.journal.attempted(noted)

    def _book_failure(self, reservation: Reservation, failure: ProviderError) -> ProviderError:
        error = self._desk.meter(self.upstream).failed(reservation, failure)
        self._note_failure(error)
        return error

    def _note_failure(self, error: ProviderError) -> None:
        noted = self._attempt().failed(error)
        self._desk.journal.attempted(replace(noted, fallback=not self._abandoned))

    def _attempt(self) -> Attempt:
        return Attempt(
            chat_id=self._turn.chat_id,
            user_id=self._turn.user_id,
            turn=self._turn.number,
            provider=self.upstream.provider.id,
            model=self.upstream.provider.model,
            milliseconds=round((self._desk.clock.now() - self._began) * 1000),
        )

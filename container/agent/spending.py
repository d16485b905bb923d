"""What a turn of the agent cost, read off the ledger in passing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.errors import ProviderError
    from assistant.turns.chain import Provider
    from assistant.turns.ledger import AccountQuota, Block, Entry, Reservation
    from assistant.turns.ports import Ledger


class Spending:
    """A ledger that also knows what was settled since it was last asked. Any thread may use it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = threading.Condition()
        self._open: set[str] = set()
        self._micro_dollars = 0

    def begin(self) -> None:
        """Count from here on."""
        with self._changed:
            self._micro_dollars = 0

    def settled(self, *, timeout_s: float) -> int:
        """Wait until no request is under way; millionths of a dollar since `begin`. Blocks.

        The relay settles a request after the agent has read its answer, hence the wait; of what is not settled in time
        the highest price is not known here, and the ledger keeps it reserved.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout_s)
            return self._micro_dollars

    def entries(self) -> Mapping[str, Entry]:
        """The ledger's."""
        return self._ledger.entries()

    def reserve(self, provider: Provider, *, holder: str, micro_dollars: int = 0) -> Reservation:
        """The ledger's, remembered until it is settled."""
        reservation = self._ledger.reserve(provider, holder=holder, micro_dollars=micro_dollars)
        with self._changed:
            self._open.add(holder)
        return reservation

    def succeeded(self, reservation: Reservation, *, micro_dollars: int | None) -> None:
        """The ledger's; the cost is counted."""
        try:
            self._ledger.succeeded(reservation, micro_dollars=micro_dollars)
        finally:
            self._settle(reservation, reservation.micro_dollars if micro_dollars is None else micro_dollars)

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """The ledger's; what may have been charged is counted."""
        try:
            return self._ledger.failed(reservation, error)
        finally:
            self._settle(reservation, reservation.micro_dollars if error.may_cost else 0)

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """The ledger's."""
        self._ledger.block(provider, cause=cause, until=until)

    def claim_check(self, provider: Provider) -> bool:
        """The ledger's."""
        return self._ledger.claim_check(provider)

    def correct(self, provider: Provider, quota: AccountQuota) -> None:
        """The ledger's."""
        self._ledger.correct(provider, quota)

    def _settle(self, reservation: Reservation, micro_dollars: int) -> None:
        with self._changed:
            self._open.discard(reservation.holder)
            self._micro_dollars += micro_dollars
            self._changed.notify_all()

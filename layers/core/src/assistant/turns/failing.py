"""ReportFailure: no provider answered. The turn is parked until one can be asked again, or given up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant.turns import texts
from assistant.turns.ledger import NOT_CONFIGURED, Entry, available_at
from assistant.turns.model import Turn, TurnClaim, TurnStatus
from assistant.turns.preparing import ATTEMPTS

if TYPE_CHECKING:
    from assistant.turns.chain import Chain
    from assistant.turns.ports import Clock, Ledger, Turns

PARKED_SECONDS = 24 * 3600
"""A question nobody could answer for this long is given up."""

PARKS = 24
SOONEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Decides what becomes of a turn that no provider answered; DeliverReply tells the user."""

    turns: Turns
    ledger: Ledger
    chain: Chain
    clock: Clock

    def __call__(self, claim: TurnClaim) -> str:
        """Park the turn or give it up.

        Returns:
            Its status afterwards, for the log; a turn that was answered meanwhile keeps its answer.
        """
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        if turn is None or turn.status != TurnStatus.OPEN or turn.epoch != claim.chat.epoch:
            return turn.status if turn else "gone"
        settled = self.settle(turn)
        return settled.status if self.turns.settle(claim, settled) else "changed"

    def settle(self, turn: Turn) -> Turn:
        """The turn, PARKED with the moment of its next try, or FAILED; one apology for all its tries."""
        now = int(self.clock.now())
        entries = self.ledger.entries()
        states = [(provider, entries.get(provider.id, Entry())) for provider in self.chain.providers]
        configured = [(provider, entry) for provider, entry in states if entry.block_cause != NOT_CONFIGURED]
        if not configured:
            return replace(turn, status=TurnStatus.FAILED, reply=texts.NOT_CONFIGURED, sent=0)
        parked_at = turn.parked_at or now
        first_available = min(available_at(provider, entry, now) for provider, entry in configured)
        retry_at = max(first_available, now + SOONEST_RETRY_SECONDS)
        worn_out = turn.attempts >= ATTEMPTS or turn.parks >= PARKS
        if worn_out or retry_at > parked_at + PARKED_SECONDS:
            return replace(turn, status=TurnStatus.FAILED, reply=texts.FAILED, sent=0)
        return replace(
            turn,
            status=TurnStatus.PARKED,
            parked_at=parked_at,
            parks=turn.parks + 1,
            retry_at=retry_at,
            reply=texts.parked(retry_at, now) if turn.parked_at is None else None,
            sent=0,
        )

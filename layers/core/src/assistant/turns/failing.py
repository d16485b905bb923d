"""ReportFailure: no provider answered. The turn is parked until one can be asked again, or given up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant.turns import texts
from assistant.turns.ledger import ChainState, window_end, window_name
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
        if turn is None or not turn.is_open(claim.chat.epoch):
            return turn.status if turn else "gone"
        settled = self._settled(claim, turn)
        return settled.status if self.turns.settle(claim, settled) else "changed"

    def _settled(self, claim: TurnClaim, turn: Turn) -> Turn:
        """The turn, PARKED with the moment of its next try, or FAILED; one apology for all its tries.

        A reminder is neither: it is said as it was written.
        """
        if turn.reminder is not None:
            return replace(turn, status=TurnStatus.ANSWERED, reply=turn.reminder, sent=0)
        now = int(self.clock.now())
        state = ChainState(self.chain, self.ledger.entries(), now)
        if not state.configured():
            return replace(turn, status=TurnStatus.FAILED, reply=texts.NOT_CONFIGURED, sent=0)
        first_available = state.available_at(turn)
        if first_available is None:
            return replace(turn, status=TurnStatus.FAILED, reply=texts.DECLINED, sent=0)
        parked_at = turn.parked_at or now
        retry_at = max(first_available, now + SOONEST_RETRY_SECONDS)
        worn_out = turn.attempts >= ATTEMPTS or turn.parks >= PARKS
        if worn_out or retry_at > parked_at + PARKED_SECONDS:
            return replace(turn, status=TurnStatus.FAILED, reply=self._with_budget(claim, state, texts.FAILED), sent=0)
        apology = None if turn.parked_at else self._with_budget(claim, state, texts.parked(retry_at, now))
        return replace(
            turn,
            status=TurnStatus.PARKED,
            parked_at=parked_at,
            parks=turn.parks + 1,
            retry_at=retry_at,
            reply=apology,
            sent=0,
        )

    def _with_budget(self, claim: TurnClaim, state: ChainState, apology: str) -> str:
        """The apology, with word of a budget that is spent: once a month and chat."""
        spent = state.spent()
        budget = spent.budget("month", "micro_dollars") if spent else None
        if spent is None or budget is None:
            return apology
        again = window_end("month", state.now)
        notice = f"budget#{window_name(budget, state.now)}"
        if not self.turns.first_notice(claim, notice, seconds=again - int(state.now)):
            return apology
        return f"{apology}\n\n{texts.budget_spent(spent.name, budget.limit, again)}"

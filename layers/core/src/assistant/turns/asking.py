"""The Ask states: one provider is asked the turn's question."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from assistant.errors import CONTEXT_TOO_LONG, ProviderDeclined, ProviderError, ProviderExhausted, TurnDelegated
from assistant.turns.conversing import Conversation, conversation, exchanges_shown
from assistant.turns.delegating import prompt
from assistant.turns.lanes import AGENT_SECONDS
from assistant.turns.model import TURN_SECONDS, Answer, Answered, Delegation, Preview, Turn, TurnClaim, Usage

if TYPE_CHECKING:
    from assistant.turns.chain import Provider, Timeouts
    from assistant.turns.ledger import Reservation
    from assistant.turns.metering import Metering
    from assistant.turns.ports import Clock, Journal, LanguageModel, Messenger, Turns

LEAST_SECONDS = 20
"""Not worth asking with less than this left of the turn's deadline: an answer takes that long, what is cut off may be
charged for, and the provider would be taken for slow and kept from everybody. The turn is asked again, with a new one.
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of asking a provider, for the journal: figures and names, nothing that was said.

    `outcome` is `answered`, `delegated` (to the agent), `late` (the turn had its answer by then) or `failed`;
    `fallback` means that the provider is not the first that could have been asked, or that another is to follow.
    `budget_used` is the share of the provider's budget in dollars that is gone, where it has one.
    """

    chat_id: str
    user_id: str
    turn: int
    provider: str
    model: str
    outcome: str = "failed"
    fallback: bool = True
    milliseconds: int = 0
    error: str | None = None
    reason: str | None = None
    status: int | None = None
    blocked_until: float | None = None
    usage: Usage | None = None
    micro_dollars: int = 0
    budget_used: float | None = None

    def failed(self, error: ProviderError) -> Attempt:
        """This attempt, with what it failed of."""
        return replace(
            self,
            error=type(error).__name__,
            reason=error.reason,
            status=error.status,
            blocked_until=error.block_until,
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks one provider.

    `history_messages` and `history_days` bound the conversation it is shown; `stream`: whether the user sees the answer
    grow.
    """

    provider: Provider
    timeouts: Timeouts
    model: LanguageModel
    turns: Turns
    metering: Metering
    messenger: Messenger
    journal: Journal
    clock: Clock
    history_messages: int
    history_days: int
    stream: bool

    def __call__(self, claim: TurnClaim) -> str:
        """Ask, and store the answer with the history pair; a ProviderError if there is no answer.

        Returns:
            `answered`, `late` if the turn had its answer by then, or `nothing to do`.

        Raises:
            TurnDelegated: the agent is to answer; also if a try before this one has noted so and then died.
        """
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        if turn is None or not turn.is_open(claim.chat.epoch):
            return "nothing to do"
        if turn.task is not None and turn.lane is None and not claim.without_agent:
            raise TurnDelegated("the turn has been handed over to the agent")
        declined_by = (turn.declined_by or "").split()
        if self.provider.id in declined_by:
            raise ProviderDeclined(self.provider.id, "declined before", asked=False)
        try:
            return self._ask(claim, turn)
        except ProviderDeclined:
            self.turns.decline(claim, " ".join([*declined_by, self.provider.id]))
            raise

    def _ask(self, claim: TurnClaim, turn: Turn) -> str:
        shown = self._conversation(claim, turn)
        # Of both attempts together: the function's own timeout would take the second one's books with it.
        until = min(turn.deadline, self.clock.now() + self.timeouts.total)
        try:
            return self._attempt(claim, turn, shown, until)
        except ProviderDeclined as error:
            if not _may_be_shortened(shown, error):
                raise
        return self._attempt(claim, turn, shown.shortened(), until)

    def _conversation(self, claim: TurnClaim, turn: Turn) -> Conversation:
        now = self.clock.now()
        since = int(now) - self.history_days * 86400
        limit = exchanges_shown(self.history_messages)
        return conversation(
            self.turns.history(claim, after=turn.history_after, since=since, limit=limit),
            turn.text,
            system=prompt(turn, self.provider).counted,
            provider=self.provider,
            history_messages=self.history_messages,
            now=now,
        )

    def _attempt(self, claim: TurnClaim, turn: Turn, shown: Conversation, until: float) -> str:
        """One request, done by `until` (epoch seconds): reserved, made, stored, settled, noted."""
        noted = Attempt(
            chat_id=claim.chat.chat_id,
            user_id=turn.sender_id,
            turn=claim.number,
            provider=self.provider.id,
            model=self.provider.model,
        )
        began = self.clock.now()
        try:
            reservation, said = self._request(claim, turn, shown, until)
        except ProviderError as error:
            fallback = not _may_be_shortened(shown, error)
            failed = replace(noted.failed(error), fallback=fallback, milliseconds=self._milliseconds(began))
            self.journal.attempted(failed)
            raise
        cost = self.metering.cost(reservation, said.usage)
        # Stored first: whatever fails after it, what was paid for is not lost.
        outcome = self._keep(claim, turn, shown, said, cost)
        self.metering.answered(reservation, said.usage)
        noted = replace(
            noted,
            model=said.model,
            outcome=outcome,
            fallback=self.provider.id != turn.preferred,
            milliseconds=self._milliseconds(began),
            usage=said.usage,
            micro_dollars=cost,
            budget_used=reservation.budget_used(cost),
        )
        self.journal.attempted(noted)
        if outcome == "delegated":
            raise TurnDelegated("the model hands the turn over to the agent")
        return outcome

    def _keep(self, claim: TurnClaim, turn: Turn, shown: Conversation, said: Answer | Delegation, cost: int) -> str:
        """Store what the model said, unless the turn had its answer by then; what came of it."""
        if isinstance(said, Delegation):
            # Should the agent not answer, the chat lane still has its own time.
            deadline = int(self.clock.now()) + AGENT_SECONDS + TURN_SECONDS
            return "delegated" if self.turns.delegate(claim, said.task, deadline=deadline) else "late"
        kept = Answered(said, turn.text, self.provider.id, shown.position, cost)
        return "answered" if self.turns.answer(claim, kept) else "late"

    def _request(
        self, claim: TurnClaim, turn: Turn, shown: Conversation, until: float
    ) -> tuple[Reservation, Answer | Delegation]:
        seconds = until - self.clock.now()
        if seconds < LEAST_SECONDS:
            raise ProviderExhausted(self.provider.id, "turn deadline", asked=False)
        key = self.metering.key()
        holder = f"{claim.chat.execution}-{claim.number}"
        told = prompt(turn, self.provider)
        reservation = self.metering.reserve(holder, input_bytes=shown.size(told.counted))
        composing = self.messenger.composing(
            claim.chat.chat_id, turn.thread_id, self._preview(claim, turn), partial(self._is_wanted, claim)
        )
        try:
            with contextlib.suppress(TurnDelegated), composing as show:
                said = self.model.ask(told.system, shown.said(), key=key, seconds=seconds, on_text=show, tool=told.tool)
                if isinstance(said, Delegation):
                    raise TurnDelegated("for who shows what is being written")
        except ProviderError as error:
            raise self.metering.failed(reservation, error) from None
        return reservation, said

    def _preview(self, claim: TurnClaim, turn: Turn) -> Preview | None:
        if not self.stream:
            return None
        shown = partial(self.turns.show_preview, claim)
        return Preview(turn.number, turn.group, turn.preview_id, shown, reply_to=turn.message_id)

    def _is_wanted(self, claim: TurnClaim) -> bool:
        """Whether the turn still waits for its answer: it may have been stopped."""
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        return turn is not None and turn.is_open(claim.chat.epoch)

    def _milliseconds(self, began: float) -> int:
        return round((self.clock.now() - began) * 1000)


def _may_be_shortened(shown: Conversation, error: ProviderError) -> bool:
    """Whether the same provider is asked once more, with less."""
    return error.reason == CONTEXT_TOO_LONG and shown.can_be_shortened

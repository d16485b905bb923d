"""The Ask states: one provider is asked the turn's question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import ProviderError, ProviderExhausted, ProviderRejected, SecretMissing
from assistant.turns import texts
from assistant.turns.ledger import NOT_CONFIGURED, NOT_CONFIGURED_SECONDS
from assistant.turns.model import Answer, Said, Turn, TurnClaim, TurnStatus

if TYPE_CHECKING:
    from assistant.turns.chain import Provider, Timeouts
    from assistant.turns.ports import Clock, Journal, LanguageModel, Ledger, Messenger, Secrets, Turns

LEAST_SECONDS = 5
"""Not worth asking with less than this left of the turn's deadline."""

BYTES_PER_TOKEN = 2
"""Of UTF-8, at least: prose has 3 to 4. A conversation that does not fit would fail with every provider, and the
failures would hold up all other chats."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of asking a provider, for the journal: figures and names, nothing that was said.

    `outcome` is `answered`, `late` (the turn had its answer by then) or `failed`; `fallback` means that the provider is
    not the chain's first, or that another is to follow.
    """

    chat_id: str
    turn: int
    provider: str
    model: str
    outcome: str
    fallback: bool
    milliseconds: int
    error: str | None = None
    reason: str | None = None
    status: int | None = None
    blocked_until: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks one provider; `first`: it is the chain's first.

    `history_messages` and `history_days` bound the conversation it is shown.
    """

    provider: Provider
    first: bool
    timeouts: Timeouts
    model: LanguageModel
    turns: Turns
    ledger: Ledger
    secrets: Secrets
    messenger: Messenger
    journal: Journal
    clock: Clock
    history_messages: int
    history_days: int

    def __call__(self, claim: TurnClaim) -> str:
        """Ask, and store the answer with the history pair; a ProviderError if there is no answer.

        Returns:
            `answered`, `late` if the turn had its answer by then, or `nothing to do`.
        """
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        if turn is None or turn.status != TurnStatus.OPEN or turn.epoch != claim.chat.epoch:
            return "nothing to do"
        began = self.clock.now()
        try:
            answer = self._answer(claim, turn)
        except ProviderError as error:
            self.journal.attempted(self._failed(claim, began, error))
            raise
        stored = self.turns.answer(claim, answer, user=turn.text, provider=self.provider.id)
        outcome = "answered" if stored else "late"
        self.journal.attempted(self._answered(claim, began, outcome, answer))
        return outcome

    def _failed(self, claim: TurnClaim, began: float, error: ProviderError) -> Attempt:
        return Attempt(
            chat_id=claim.chat.chat_id,
            turn=claim.number,
            provider=self.provider.id,
            model=self.provider.model,
            outcome="failed",
            fallback=True,
            milliseconds=self._milliseconds(began),
            error=type(error).__name__,
            reason=error.reason,
            status=error.status,
            blocked_until=error.block_until,
        )

    def _answered(self, claim: TurnClaim, began: float, outcome: str, answer: Answer) -> Attempt:
        return Attempt(
            chat_id=claim.chat.chat_id,
            turn=claim.number,
            provider=self.provider.id,
            model=answer.model,
            outcome=outcome,
            fallback=not self.first,
            milliseconds=self._milliseconds(began),
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
        )

    def _milliseconds(self, began: float) -> int:
        return round((self.clock.now() - began) * 1000)

    def _answer(self, claim: TurnClaim, turn: Turn) -> Answer:
        seconds = min(self.timeouts.total, turn.deadline - self.clock.now())
        if seconds < LEAST_SECONDS:
            raise ProviderExhausted(self.provider.id, "turn deadline", asked=False)
        key = self._key()
        conversation = self._conversation(claim, turn)
        reservation = self.ledger.reserve(self.provider)
        try:
            with self.messenger.typing(claim.chat.chat_id, turn.thread_id):
                answer = self.model.ask(texts.SYSTEM_PROMPT, conversation, key=key, seconds=seconds)
        except ProviderError as error:
            block = self.ledger.failed(reservation, error)
            if block is None or isinstance(error, ProviderRejected):
                raise
            # Blocked now: the state machine's Retry would only find that out, and the user has waited enough.
            raise ProviderExhausted(
                self.provider.id, error.reason, block_until=block.until, status=error.status
            ) from None
        self.ledger.succeeded(reservation)
        return answer

    def _key(self) -> str:
        try:
            return self.secrets.read(self.provider.secret)
        except SecretMissing:
            until = int(self.clock.now()) + NOT_CONFIGURED_SECONDS
            self.ledger.block(self.provider, cause=NOT_CONFIGURED, until=until)
            raise ProviderExhausted(self.provider.id, "not configured", block_until=until, asked=False) from None

    def _conversation(self, claim: TurnClaim, turn: Turn) -> list[Said]:
        since = int(self.clock.now()) - self.history_days * 86400
        limit = self.history_messages // 2
        history = self.turns.history(claim, after=turn.history_after, since=since, limit=limit)
        said = [Said("user", turn.text)]
        room = BYTES_PER_TOKEN * (self.provider.context_window - self.provider.max_tokens) - _bytes(turn.text)
        for exchange in reversed(history):
            room -= _bytes(exchange.user + exchange.assistant)
            if room < 0:
                break
            said = [Said("user", exchange.user), Said("assistant", exchange.assistant), *said]
        return said


def _bytes(text: str) -> int:
    return len(text.encode())

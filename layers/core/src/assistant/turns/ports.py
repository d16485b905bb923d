"""What the rules need from outside. Adapters live in `stores`, `providers` and `telegram`.

Writes that are conditional answer False when their condition fails: somebody else was there first, and the caller
changes nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from assistant.errors import ProviderError
    from assistant.turns.accepting import Stored
    from assistant.turns.asking import Attempt
    from assistant.turns.chain import Provider
    from assistant.turns.ledger import Block, Entry, Reservation
    from assistant.turns.model import Answer, Chat, ChatClaim, Exchange, InboxMessage, Said, Turn, TurnClaim


class Clock(Protocol):
    """The one source of time."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...


class Inbox(Protocol):
    """What the webhook writes."""

    def store(self, chat_id: str, message: InboxMessage, *, limit: int) -> Stored:
        """Store a message once, in one transaction with its mark and the chat's counters; at most `limit` a minute."""
        ...

    def forget_history(self, chat_id: str, update_id: int) -> bool:
        """Begin a new conversation, once per update."""
        ...

    def mark(self, chat_id: str, update_id: int) -> bool:
        """Note that an update has been dealt with; False if it had been."""
        ...


class Access(Protocol):
    """Who may talk to the assistant."""

    def allowed(self, ids: Sequence[str]) -> bool:
        """Whether every one of these users and groups is on the list."""
        ...

    def greet_stranger(self, user_id: str) -> bool:
        """Mark that a stranger is told today how to be allowed; False if they have been."""
        ...


class Claims(Protocol):
    """Who works on a chat."""

    def read(self, chat_id: str) -> Chat:
        """The chat as it is now (consistent read)."""
        ...

    def claim(self, chat_id: str) -> ChatClaim | None:
        """Claim a chat that nobody holds; None if somebody does."""
        ...

    def holder(self, chat_id: str) -> ChatClaim | None:
        """The claim that holds the chat."""
        ...

    def steal(self, claim: ChatClaim, *, recoveries: int) -> ChatClaim | None:
        """Replace a claim whose execution is known to have ended; None if it has been replaced already."""
        ...

    def drop(self, claim: ChatClaim, *, due_at: int, recoveries: int) -> bool:
        """Give a claim up without having done its work: the sweep looks at `due_at`."""
        ...

    def release(self, claim: ChatClaim, *, due_at: int | None) -> bool:
        """Release the chat if nothing waits in its inbox; `due_at`: its next moment, if it has one."""
        ...

    def postpone(self, claim: ChatClaim, *, due_at: int) -> bool:
        """Have the sweep look again later at a chat that is being worked on."""
        ...

    def due(self) -> Iterator[str]:
        """Ids of the chats whose moment has come, the most overdue first."""
        ...


class Turns(Protocol):
    """The life of a turn. Every write is conditional on the claim's epoch."""

    def waiting(self, chat_id: str, *, limit: int) -> tuple[Chat, list[InboxMessage]]:
        """The chat and its oldest `limit` inbox messages."""
        ...

    def read(self, chat_id: str, number: int) -> Turn | None:
        """A turn as it is now (consistent read)."""
        ...

    def open(self, claim: ChatClaim, turn: Turn, drained: Sequence[InboxMessage], *, before: Turn | None) -> bool:
        """Create a turn, or change the one that was `before`, taking messages out of the inbox, in one transaction."""
        ...

    def history(self, turn: TurnClaim, *, after: int, since: int, limit: int) -> list[Exchange]:
        """The newest `limit` exchanges after turn `after` and time `since`, oldest first."""
        ...

    def answer(self, turn: TurnClaim, answer: Answer, *, user: str, provider: str) -> bool:
        """OPEN → ANSWERED and the exchange, in one transaction."""
        ...

    def settle(self, turn: TurnClaim, settled: Turn) -> bool:
        """OPEN → PARKED or FAILED with the apology to deliver."""
        ...

    def mark_sending(self, turn: TurnClaim, *, part: int, after: int | None, uncertain: bool) -> bool:
        """Note that `part` is about to be sent.

        `after` is the part marked before it; `uncertain`: nobody knows whether that one arrived.
        """
        ...

    def unmark_sending(self, turn: TurnClaim, *, part: int, deliver_after: int | None) -> bool:
        """Note that `part` was certainly not sent."""
        ...

    def mark_noticed(self, turn: TurnClaim) -> bool:
        """Note that the user is being told that a part may be missing; False if they were."""
        ...

    def finish(self, turn: TurnClaim, finished: Turn, *, hand_over: bool) -> bool:
        """End the work on a turn and release the chat, in one transaction.

        With `hand_over` the chat goes to the next claim (epoch + 1) instead; without, it fails while messages wait.
        """
        ...


class Ledger(Protocol):
    """What each provider may still be asked."""

    def entries(self) -> Mapping[str, Entry]:
        """All entries, by provider id, in one read."""
        ...

    def reserve(self, provider: Provider) -> Reservation:
        """Take one request out of every window of the provider; ProviderExhausted if there is none."""
        ...

    def succeeded(self, reservation: Reservation) -> None:
        """The provider answered: its block and its failures are over."""
        ...

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """The provider did not answer: give back what was not used, and block it as the error calls for.

        Answers the block; None if the provider may be asked once more at once.
        """
        ...

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """Block a provider that was not asked."""
        ...


class Executions(Protocol):
    """The executions of the state machine."""

    def start(self, claim: ChatClaim) -> None:
        """Start the claim's execution; again is harmless (same name and input)."""
        ...

    def running(self, claim: ChatClaim) -> bool | None:
        """Whether the claim's execution is running; None if it was never started."""
        ...


class Secrets(Protocol):
    """Secrets by name."""

    def read(self, name: str) -> str:
        """The secret; SecretMissing if there is none."""
        ...


class LanguageModel(Protocol):
    """One provider, ready to be asked."""

    def ask(self, system: str, conversation: Sequence[Said], *, key: str, seconds: float) -> Answer:
        """Ask within `seconds`; a ProviderError if it does not answer."""
        ...


class Journal(Protocol):
    """Where attempts are noted for the operator."""

    def attempted(self, attempt: Attempt) -> None:
        """Note what came of asking a provider."""
        ...


class Messenger(Protocol):
    """The chat service."""

    def parts(self, text: str) -> list[str]:
        """Cut a text into parts that one message can hold."""
        ...

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        """Send one part: DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused."""
        ...

    def typing(self, chat_id: str, thread_id: int | None) -> AbstractContextManager[None]:
        """Show that an answer is being written, for as long as the block lasts."""
        ...

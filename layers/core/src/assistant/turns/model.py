"""What the rules speak about: a chat, its inbox, a turn and what was said before.

Field names are the attributes of `docs/data-model.md`; times are epoch seconds, UTC, whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from assistant.errors import TurnInvalid


class TurnStatus(StrEnum):
    """Where a turn stands. OPEN → ANSWERED → DELIVERED, with PARKED and FAILED for those nobody could answer."""

    OPEN = "OPEN"
    ANSWERED = "ANSWERED"
    DELIVERED = "DELIVERED"
    PARKED = "PARKED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message or queued command that waits for its turn."""

    kind: Literal["text", "retry", "again"]
    text: str
    message_id: int
    date: int
    update_id: int
    thread_id: int | None = None
    group: bool = False


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat item; one that does not exist yet reads as the defaults."""

    inbox_counter: int = 0
    drained_counter: int = 0
    rate_minute: int = 0
    rate_count: int = 0
    rate_noticed: int | None = None
    history_after: int | None = None
    turn_counter: int = 0
    open_turn: int | None = None
    last_turn: int | None = None
    failed_turn: int | None = None
    claim_epoch: int = 0
    claimed_at: int | None = None
    recoveries: int | None = None
    due_kind: str | None = None
    due_at: int | None = None

    @property
    def waiting(self) -> int:
        """Messages stored and not yet taken into a turn."""
        return self.inbox_counter - self.drained_counter


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, its answer, and how far the answer has been delivered.

    `ttl` is None until the turn has ended: a chat whose open turn expired could never go on.
    """

    number: int
    status: TurnStatus
    epoch: int
    text: str
    messages: int
    message_id: int
    history_after: int
    created_at: int
    deadline: int
    group: bool = False
    thread_id: int | None = None
    attempts: int = 1
    parks: int = 0
    parked_at: int | None = None
    retry_at: int | None = None
    reply: str | None = None
    provider: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    sent: int = 0
    sending: int | None = None
    ambiguous: bool | None = None
    noticed: bool | None = None
    deliver_after: int | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was answered, as the next questions will see it."""

    user: str
    assistant: str
    provider: str
    created_at: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation, as a provider takes it."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said.

    `input_tokens` and `output_tokens` are None where the provider does not count.
    """

    text: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ChatClaim:
    """A chat and the claim that works on it: the state machine's input."""

    chat_id: str
    epoch: int

    @property
    def execution(self) -> str:
        """Name of the claim's execution: at most 80 characters, never used twice (the epoch only grows)."""
        return f"chat{self.chat_id}-{self.epoch}"

    @classmethod
    def parse(cls, event: object) -> ChatClaim:
        """Read the claim from a state's input; TurnInvalid if it holds none."""
        match event:
            case {"chat_id": str(chat_id), "epoch": int(epoch)}:
                return cls(chat_id, epoch)
        raise TurnInvalid("the input holds no chat_id and epoch")


@dataclass(frozen=True, slots=True)
class TurnClaim:
    """A turn and the claim that works on it: the input of the states after PrepareTurn."""

    chat: ChatClaim
    number: int

    @classmethod
    def parse(cls, event: object) -> TurnClaim:
        """Read the turn from a state's input; TurnInvalid if it holds none."""
        match event:
            case {"turn": int(number)}:
                return cls(ChatClaim.parse(event), number)
        raise TurnInvalid("the input holds no turn")

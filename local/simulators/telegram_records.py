"""What the simulated Telegram remembers of what a bot did in its chats."""

from dataclasses import dataclass, field
from datetime import datetime

DRAFT_S = 30.0


@dataclass(frozen=True)
class SentMessage:
    """A message that a chat was sent.

    Attributes:
        message_id: Telegram's id.
        chat_id: The chat.
        text: The text after the entities were parsed.
        at: Epoch seconds on the simulator's clock.
        thread_id: Forum topic, if any.
        reply_to: Id of the quoted message, if any.
        parse_mode: As it was sent.
    """

    message_id: int
    chat_id: int
    text: str
    at: float
    thread_id: int | None = None
    reply_to: int | None = None
    parse_mode: str = ""


@dataclass(frozen=True)
class SentDocument:
    """A file that a chat was sent, beside the message whose text is its caption."""

    message_id: int
    chat_id: int
    name: str
    data: bytes


@dataclass(frozen=True)
class ChatAction:
    """A "typing…" that a chat was shown."""

    chat_id: int
    action: str
    at: float


@dataclass(frozen=True)
class Draft:
    """A preview that a chat was shown (`sendMessageDraft`).

    Attributes:
        chat_id: The chat.
        draft_id: What is shown under the same id replaces what was shown before.
        text: The text after the entities were parsed; empty for the placeholder "Thinking…".
        at: Epoch seconds on the simulator's clock; it is shown for `DRAFT_S` from then.
    """

    chat_id: int
    draft_id: int
    text: str
    at: float

    def lasts_at(self, now: float) -> bool:
        """Whether it has not run out by then."""
        return now < self.at + DRAFT_S


@dataclass
class Webhook:
    """What `setWebhook` set. `allowed_updates` stays as it is when a later call leaves it out.

    Attributes:
        pending: How many updates wait; a test says so.
        last_error: When the last one was refused, and with which words; a test says so.
    """

    url: str = ""
    secret_token: str = ""
    allowed_updates: list[str] = field(default_factory=list)
    pending: int = 0
    last_error: tuple[datetime, str] | None = None

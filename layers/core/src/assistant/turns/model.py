"""What the rules speak about: a chat, its inbox, a turn and what was said before.

Field names are the attributes of `docs/data-model.md`; times are epoch seconds, UTC, whole.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from assistant.errors import TurnInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


TURN_SECONDS = 240
"""A turn's deadline in the chat lane: no provider is asked later than this after the turn was prepared."""

WITHOUT_AGENT = "without_agent"
"""The route of a turn that the agent did not answer."""

type Lane = Literal["chat", "agent"]
"""Who answers: a provider asked straight away, or the chat's agent."""


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

    kind: Literal["text", "retry", "again", "agent", "ask", "reminder"]
    text: str
    message_id: int
    date: int
    update_id: int
    thread_id: int | None = None
    group: bool = False
    sender_id: str = ""


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
    hours_noticed: str | None = None
    due_kind: str | None = None
    due_at: int | None = None
    time_zone: str | None = None

    @property
    def waiting(self) -> int:
        """Messages stored and not yet taken into a turn."""
        return self.inbox_counter - self.drained_counter


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, its answer, and how far the answer has been delivered.

    `lane` is the one that the person chose, if they did; `killed_agent`: agents died over it, so that the chat lane has
    to answer. `hours_spent`: the month whose hours of the agent are used up, if its answer is to say so.
    `may_delegate`: whether a model may hand it to the agent, and `task` what one that did wants to be done.
    `reminder` is what is said, word by word, when nobody can put a reminder better.
    `preferred` is the first provider of the chain that has a key,
    `declined_by` the ids of those that refused this very question, separated by blanks. `ttl` is None until the turn
    has ended: a chat whose open turn expired could never go on.
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
    sender_id: str = ""
    lane: Lane | None = None
    killed_agent: bool | None = None
    hours_spent: str | None = None
    may_delegate: bool | None = None
    task: str | None = None
    reminder: str | None = None
    preferred: str | None = None
    declined_by: str | None = None
    attempts: int = 1
    parks: int = 0
    parked_at: int | None = None
    retry_at: int | None = None
    reply: str | None = None
    provider: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None
    output_tokens: int | None = None
    micro_dollars: int | None = None
    preview_id: int | None = None
    sent: int = 0
    sending: int | None = None
    ambiguous: bool | None = None
    noticed: bool | None = None
    deliver_after: int | None = None
    ttl: int | None = None

    def is_open(self, epoch: int) -> bool:
        """Whether it waits for its answer, under the claim of that epoch."""
        return self.status == TurnStatus.OPEN and self.epoch == epoch


@dataclass(frozen=True, slots=True)
class Reminder:
    """Something that a chat is to be reminded of.

    Attributes:
        number: what people call it by, from 1; free again when it is gone.
        key: of what asked for it, so that asking again makes no second one; its schedule is named by it.
        schedule: when, as EventBridge Scheduler takes it (`assistant.turns.when`).
        time_zone: in which that is evaluated.
        first: the first moment it is due.
        last_fired: the last moment it was due and became a message.
        message_id: the message that set it, which the reminder answers.
    """

    number: int
    key: str
    text: str
    schedule: str
    time_zone: str
    first: int
    message_id: int
    sender_id: str
    group: bool
    created_at: int
    thread_id: int | None = None
    last_fired: int | None = None

    @property
    def once(self) -> bool:
        """Whether it is due a single time."""
        return self.schedule.startswith("at(")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was answered, as the next questions will see it.

    `position` counts the exchanges of a conversation from 0.
    """

    user: str
    assistant: str
    provider: str
    created_at: int
    ttl: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """All that is kept of a chat's conversation.

    Attributes:
        waiting: messages that no turn has taken.
        exchanges: answered questions, each with its turn's number.
        unanswered: turns that ask something and have no answer.
    """

    chat: Chat
    waiting: Sequence[InboxMessage]
    exchanges: Sequence[tuple[int, Exchange]]
    unanswered: Sequence[Turn]


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation, as a provider takes it.

    `note` is told with it and is no part of what later turns repeat: nothing may be cached from there on.
    """

    role: Literal["user", "assistant"]
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call instead of answering; it takes one text.

    Attributes:
        name: its name.
        description: for the model: what it does and when to call it.
        argument: name of the text.
        meaning: for the model: what the text says.
    """

    name: str
    description: str
    argument: str
    meaning: str

    @property
    def schema(self) -> dict[str, Any]:
        """What it takes, as JSON Schema; the same bytes each time, since what is cached begins with them."""
        argument = {"type": "string", "description": self.meaning}
        return {"type": "object", "properties": {self.argument: argument}, "required": [self.argument]}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, as the provider counted them; none is in two of the figures.

    Attributes:
        input: read at full price.
        cached: read from the provider's cache.
        written: read and written to the cache.
        output: generated.
    """

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said; `usage` is None where it does not count."""

    text: str
    model: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """What a model said that called its tool: the task for the agent. `usage`: as an answer's."""

    task: str
    model: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with what is kept of it: to which text, by whom, at which place of the conversation, at what cost."""

    answer: Answer
    user: str
    provider: str
    position: int
    micro_dollars: int


@dataclass(frozen=True, slots=True)
class Used:
    """What requests to a provider used; field names are the attributes of the UsageDay item."""

    requests: int = 0
    failures: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0
    micro_dollars: int = 0

    def __add__(self, other: Used) -> Used:
        """The sum."""
        return Used(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


type NoticeKind = Literal[
    "provider_rejected",
    "turn_kills_agent",
    "agent_fails",
    "workspace_unreadable",
    "backups_fail",
    "backups_late",
    "agent_hours",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the owner has to know: names and ids, nothing that anybody wrote."""

    kind: NoticeKind
    provider: str = ""
    reason: str = ""
    chat_id: str = ""


type Show = Callable[[str], None]
"""Is given an answer's text so far, again and again."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Where an answer is seen growing.

    Attributes:
        draft_id: not 0, the same for all that is shown of one turn.
        group: in a group there are no drafts: a message is sent and then changed.
        message_id: that message, once it was sent.
        shown: told when it was sent, or (None) taken back.
        reply_to: in a group, the question that the message answers.
    """

    draft_id: int
    group: bool
    message_id: int | None
    shown: Callable[[int | None], object]
    reply_to: int | None = None


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
    """A turn and the claim that works on it: the input of the states after PrepareTurn.

    `without_agent`: the agent was asked in vain, and a provider has to answer.
    """

    chat: ChatClaim
    number: int
    without_agent: bool = False

    @classmethod
    def parse(cls, event: object) -> TurnClaim:
        """Read the turn from a state's input; TurnInvalid if it holds none."""
        match event:
            case {"turn": int(number), **others}:
                return cls(ChatClaim.parse(event), number, others.get("route") == WITHOUT_AGENT)
        raise TurnInvalid("the input holds no turn")

"""A message comes in: who may speak, what is done at once, what is stored for a turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from assistant.turns import texts
from assistant.turns.model import InboxMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.turns.controlling import Controlling
    from assistant.turns.errands import HandingOver
    from assistant.turns.ports import Access, Inbox
    from assistant.turns.reminding import Reminding
    from assistant.turns.reporting import Reporting
    from assistant.turns.stopping import Stopping
    from assistant.turns.waking import Waking


class Stored(Enum):
    """What became of a message that was to be stored."""

    NOW = auto()
    BEFORE = auto()
    TOO_MANY = auto()
    TOO_MANY_SAY_SO = auto()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as the rules see it.

    Attributes:
        chat_id: the chat, as text.
        sender_id: the user who wrote it, as text.
        group: whether the chat is a group.
        addressed: in a group, whether the bot was mentioned or answered; true elsewhere.
        command: a slash command without the slash and the bot's name, lower case.
        text: what was written, without a mention of the bot; None for kinds that are not text.
        kind: Telegram's name of the kind (`text`, `voice`, …), for logs and refusals.
    """

    update_id: int
    message_id: int
    date: int
    chat_id: str
    sender_id: str
    group: bool
    addressed: bool
    command: str | None
    text: str | None
    kind: str
    thread_id: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A group became a supergroup: Telegram gave it another id, under which it writes and is written to from now on."""

    update_id: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Say:
    """Answer this text at once, in the response to the webhook."""

    text: str


@dataclass(frozen=True, slots=True)
class Typing:
    """Show that an answer is being written."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Answer nothing."""


type Response = Say | Typing | Silence


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Accepts messages.

    Attributes:
        messages_per_minute: the limit of one chat.
        agents: whether there is an agent to hand a task to.
        reporting: puts together what reports; only for the commands that ask for a report, since others wait for it.
        reminding: the same for the commands about reminders.
        stopping: the same for what stops.
        handing_over: the same for the commands that a function of their own carries out.
        controlling: the same for what is asked of the agent.
    """

    access: Access
    inbox: Inbox
    waking: Waking
    messages_per_minute: int
    agents: bool
    reporting: Callable[[], Reporting]
    reminding: Callable[[], Reminding]
    stopping: Callable[[], Stopping]
    handing_over: Callable[[], HandingOver]
    controlling: Callable[[], Controlling]

    def __call__(self, incoming: Incoming) -> Response:
        """Store or carry out a message; when it returns, the message is safe or refused for good.

        A repeat of a stored message wakes the chat again: that heals a webhook that died in between.
        """
        if not incoming.addressed:
            return Silence()
        chat_id = self._admitted(incoming)
        if chat_id is None:
            return self._refuse(incoming)
        incoming = replace(incoming, chat_id=chat_id)
        return self._store(incoming) if self._waits_its_turn(incoming) else self._answer_at_once(incoming)

    def follow(self, moved: Moved) -> bool:
        """Take a group for the same under its new id; again changes nothing. False if it is not allowed."""
        return self.access.follow(moved.old, moved.new)

    def _admitted(self, incoming: Incoming) -> str | None:
        """Under which id the chat is kept; None if this sender, or this group, may not talk."""
        if not self.access.allowed([incoming.sender_id]):
            return None
        return self.access.chat(incoming.chat_id) if incoming.group else incoming.chat_id

    def _waits_its_turn(self, incoming: Incoming) -> bool:
        match incoming.command:
            case None | "ask":
                return bool(incoming.text)
            case "agent":
                return self.agents and bool(incoming.text)
            case command:
                return command in texts.QUEUED_COMMANDS

    def _refuse(self, incoming: Incoming) -> Response:
        if not self.access.greet_stranger(incoming.sender_id):
            return Silence()
        return Say(texts.not_allowed(incoming.sender_id, incoming.chat_id if incoming.group else None))

    def _store(self, incoming: Incoming) -> Response:
        message = InboxMessage(
            kind=texts.QUEUED_COMMANDS.get(incoming.command or "", "text"),
            text=incoming.text or "",
            message_id=incoming.message_id,
            date=incoming.date,
            update_id=incoming.update_id,
            thread_id=incoming.thread_id,
            group=incoming.group,
            sender_id=incoming.sender_id,
        )
        match self.inbox.store(incoming.chat_id, message, limit=self.messages_per_minute):
            case Stored.TOO_MANY:
                return Silence()
            case Stored.TOO_MANY_SAY_SO:
                return Say(texts.too_many(self.messages_per_minute))
            case _:
                self.waking.wake(incoming.chat_id)
                return Typing()

    def _answer_at_once(self, incoming: Incoming) -> Response:
        match incoming.command:
            case "remind" | "confirm" | "reminders" | "timezone":
                said = self.reminding()(incoming)
                return Silence() if said is None else Say(said)
            case "stop":
                said = self.stopping()(incoming.chat_id, incoming.update_id)
                return Silence() if said is None else Say(said)
            case "files" | "export" | "forget" as errand if self.agents or errand != "files":
                return self.handing_over()(incoming)
            case "status" | "wake" | "sleep" as control:
                text = self.controlling()(control, incoming.chat_id, incoming.update_id)
            case "usage" | "providers" as report:
                # Before the update is marked: should the reading fail, Telegram's repeat is answered.
                text = self.reporting()(report)
            case command:
                text = texts.at_once(command, incoming.kind, agents=self.agents)
        if incoming.command == "new":
            first = self.inbox.forget_history(incoming.chat_id, incoming.update_id)
        else:
            first = self.inbox.mark(incoming.chat_id, incoming.update_id)
        return Say(text) if first else Silence()

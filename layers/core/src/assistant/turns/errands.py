"""Commands that take longer than Telegram waits: stored, handed to a function of their own, answered once.

The function gets ids alone. What it sends is sent at most once, as a turn's answer is: it is noted that it is being
sent; if nobody knows whether it arrived, the chat is told so, and nothing is sent again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal

from assistant.errors import DeliveryDelayed, DeliveryFailed, DeliveryRefused, DeliveryUncertain
from assistant.turns import texts
from assistant.turns.accepting import Say, Silence, Typing

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.turns.accepting import Incoming, Response
    from assistant.turns.ports import Clock, Courier, Errands, Inbox, Runners

CONFIRM_SECONDS = 600
"""So long `/forget` may be confirmed."""

KEPT_SECONDS = 86_400
"""So long an errand is kept that its function could not do."""

CONFIRMATION = "yes"

type Runner = Literal["documents", "forgetting"]
"""What a function is for."""

type ErrandKind = Literal["files", "export", "forget"]


@dataclass(frozen=True, slots=True)
class Errand:
    """A command that a function of its own carries out.

    Attributes:
        text: what was written after the command.
        date: when Telegram received it, and
        created_at: when it was stored: `/forget` takes what was there by then.
        sending: its answer is being sent, or was.
        noticed: the chat was told that nobody knows whether it arrived.
        until: `/forget`: the newest turn that it takes; set when the chat was emptied.
        waiting: `/forget`: how many messages it took that waited.
        exchanges: `/forget`: how many questions and answers it found; the same for what follows.
    """

    kind: ErrandKind
    text: str
    message_id: int
    date: int
    created_at: int
    ttl: int
    group: bool = False
    thread_id: int | None = None
    sending: bool | None = None
    noticed: bool | None = None
    until: int | None = None
    waiting: int | None = None
    exchanges: int | None = None
    reminders: int | None = None
    snapshots: int | None = None
    files: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which errand: what its function is invoked with."""

    chat_id: str
    update_id: int

    @classmethod
    def parse(cls, event: object) -> Asked:
        """Read what the webhook sends; ValueError if it is something else."""
        match event:
            case {"chat_id": str(chat_id), "update_id": int(update_id)}:
                return cls(chat_id, update_id)
        raise ValueError("not what the webhook sends")


class Confirmed(Enum):
    """What became of a confirmation."""

    NOW = auto()
    BEFORE = auto()
    NOT_ASKED = auto()


@dataclass(frozen=True, slots=True)
class HandingOver:
    """Takes the commands in: the webhook's side."""

    errands: Errands
    runners: Runners
    inbox: Inbox
    clock: Clock
    agents: bool

    def __call__(self, incoming: Incoming) -> Response:
        """Store a command and hand it over.

        A repeat hands it over again: that heals a webhook that died in between.
        """
        asked = Asked(incoming.chat_id, incoming.update_id)
        if incoming.command == "forget":
            return self._forget(incoming, asked)
        self.errands.add(asked, self._errand(incoming))
        self.runners.run("documents", asked)
        return Typing()

    def _forget(self, incoming: Incoming, asked: Asked) -> Response:
        if (incoming.text or "").strip().casefold() != CONFIRMATION:
            until = int(self.clock.now()) + CONFIRM_SECONDS
            first = self.errands.ask(asked, incoming.sender_id, until=until)
            return Say(texts.forget_asks(agents=self.agents)) if first else Silence()
        confirmed = self.errands.confirm(asked, incoming.sender_id, self._errand(incoming))
        if confirmed is Confirmed.NOT_ASKED:
            first = self.inbox.mark(incoming.chat_id, incoming.update_id)
            return Say(texts.NOTHING_TO_CONFIRM) if first else Silence()
        self.runners.run("forgetting", asked)
        return Typing()

    def _errand(self, incoming: Incoming) -> Errand:
        now = int(self.clock.now())
        kinds: dict[str | None, ErrandKind] = {"files": "files", "export": "export", "forget": "forget"}
        return Errand(
            kind=kinds[incoming.command],
            text=incoming.text or "",
            message_id=incoming.message_id,
            date=incoming.date,
            created_at=now,
            ttl=now + KEPT_SECONDS,
            group=incoming.group,
            thread_id=incoming.thread_id,
        )


@dataclass(frozen=True, slots=True)
class Document:
    """A file to send."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What an errand comes to: a text, or a file with a caption."""

    text: str
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class CarryingOut:
    """Carries errands out: the function's side. `work` does one of a kind; again it must be harmless."""

    errands: Errands
    messenger: Courier
    work: Callable[[Asked, Errand], Reply]

    def __call__(self, asked: Asked) -> str:
        """Do an errand and send its answer.

        Returns:
            What was done, for the log: `sent`, `gone` (done before), `in doubt`, `refused`, `another is at it`.

        Raises:
            DeliveryDelayed, DeliveryFailed: nothing was sent; the event comes again.
            DeliveryUncertain: it may have been sent; when the event comes again, the chat is told so.
        """
        errand = self.errands.read(asked)
        if errand is None:
            return "gone"
        if errand.sending:
            return self._in_doubt(asked, errand)
        reply = self.work(asked, errand)
        if not self.errands.mark_sending(asked):
            return "another is at it"
        done = self._send(asked, errand, reply)
        self.errands.remove(asked)
        return done

    def _send(self, asked: Asked, errand: Errand, reply: Reply) -> str:
        where = (asked.chat_id, errand.thread_id, errand.message_id if errand.group else None)
        try:
            self._post(reply, *where)
        except (DeliveryDelayed, DeliveryFailed):
            self.errands.unmark_sending(asked)
            raise
        except DeliveryRefused:
            if reply.document is not None:
                self._say(asked, errand, texts.FILE_REFUSED)
            return "refused"
        return "sent"

    def _post(self, reply: Reply, chat_id: str, thread_id: int | None, reply_to: int | None) -> None:
        if reply.document is None:
            text = self.messenger.parts(reply.text)[0]  # one message, or a failure could send a part of it twice
            self.messenger.send(chat_id, text, thread_id=thread_id, reply_to=reply_to)
            return
        self.messenger.send_document(
            chat_id, reply.document, caption=reply.text, thread_id=thread_id, reply_to=reply_to
        )

    def _in_doubt(self, asked: Asked, errand: Errand) -> str:
        """A try before died while it was sending: say so, once, and that is not worth failing over."""
        if self.errands.mark_noticed(asked):
            self._say(asked, errand, texts.in_doubt(errand.kind))
        self.errands.remove(asked)
        return "in doubt"

    def _say(self, asked: Asked, errand: Errand, text: str) -> None:
        """Say something that is not worth failing over."""
        with contextlib.suppress(DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused):
            self.messenger.send(asked.chat_id, text, thread_id=errand.thread_id, reply_to=None)

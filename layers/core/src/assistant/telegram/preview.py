"""Showing that an answer is being written, and what there is of it: in one thread, at a pace that Telegram allows.

A preview is a courtesy. Whatever goes wrong with it, the answer is neither lost nor late because of it: errors are
swallowed, after one there is no further preview (only "typing"), and a 429 is obeyed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from assistant.errors import DeliveryDelayed, DeliveryRefused, DeliveryUncertain, TurnDelegated
from assistant.telegram import parts
from assistant.telegram.responses import as_reply
from assistant.turns import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from assistant.turns.model import Preview, Show

LEAST_IN_GROUP = 20
"""Characters. A shorter answer is not worth a message that is then edited; its answer is a reply, too."""

TAKEN_BACK = "…"
THREAD = "composing"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is shown, in seconds.

    Attributes:
        first_typing: until "typing" is shown: the webhook's response has just shown one.
        typing: until it is shown again; an action lasts 5 seconds (Bot API, "sendChatAction").
        first_text: from the first text until it is shown: what is complete by then needs no preview.
        draft: between two drafts of a private chat.
        renewal: until a draft whose text has not grown is shown again; it lasts 30 seconds (Bot API,
            "sendMessageDraft").
        edit: between two texts of a group's message. A group takes 20 messages a minute, edits among them: at every 3 s
            or less, the answer itself would have to wait.
        asking: between two questions whether the answer is still wanted.
        ending: that an answer waits for a call under way: shown after it, it would look like more.
    """

    first_typing: float = 3.5
    typing: float = 4
    first_text: float = 0.3
    draft: float = 1
    renewal: float = 20
    edit: float = 4
    asking: float = 3.5
    ending: float = 2


class Bot(Protocol):
    """The calls of the Bot API. Errors: DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused."""

    def call(self, method: str, parameters: Mapping[str, Any]) -> int | None:
        """Call a method; gives the id of the message it made, if any."""
        ...

    def edit(self, chat_id: int, message_id: int, text: str) -> bool:
        """Make a message read so; False if it can't be changed any more."""
        ...

    def delete(self, chat_id: int, message_id: int) -> None:
        """Delete a message, if it is still there."""
        ...


class Timer(Protocol):
    """The time that passes between previews; not the clock of the turn, which may jump."""

    def now(self) -> float:
        """Seconds since any moment."""
        ...

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Wait until `changed` (which is held) is notified, at most so long."""
        ...


class MonotonicTimer:
    """The machine's."""

    def now(self) -> float:
        """Seconds since any moment."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Wait until notified, at most so long."""
        changed.wait(seconds)


class _Screen(Protocol):
    """Where the text so far is shown.

    `every`: seconds between two texts; `wait_first`: before the first; `renewal`: until one that stays is shown again.
    """

    every: float
    wait_first: float
    renewal: float | None

    def fit(self, text: str) -> str:
        """What of the text so far is to be seen; empty if nothing yet."""
        ...

    def show(self, text: str) -> None:
        """Show it; after an error nothing more is shown."""
        ...

    def take_back(self) -> None:
        """Have what was shown taken for nothing."""
        ...


class _NoScreen:
    """Of an answer that nobody sees growing."""

    every = wait_first = 0.0
    renewal: float | None = None

    def fit(self, text: str) -> str:  # noqa: ARG002 (a screen's)
        return ""

    def show(self, text: str) -> None:
        """There is nothing to be seen."""

    def take_back(self) -> None:
        """Never called: nothing was shown."""


class _Draft:
    """A private chat's: the draft is taken away by the message that follows, or by its 30 seconds."""

    wait_first = 0.0

    def __init__(self, bot: Bot, address: Mapping[str, Any], draft_id: int, pace: Pace) -> None:
        self.every = pace.draft
        self.renewal: float | None = pace.renewal
        self._bot = bot
        self._draft = {**address, "draft_id": draft_id}

    def fit(self, text: str) -> str:
        """Of a long text the part that is being written."""
        return (parts.split(text) or [""])[-1]

    def show(self, text: str) -> None:
        self._bot.call("sendMessageDraft", {**self._draft, "text": text})

    def take_back(self) -> None:
        """An empty draft is shown as "Thinking…"; the next provider goes on from there."""
        self.show("")


class _GrowingMessage:
    """A group's: a message that is edited, in the end by the answer's delivery."""

    renewal: float | None = None

    def __init__(self, bot: Bot, address: Mapping[str, Any], preview: Preview, pace: Pace) -> None:
        self.every = pace.edit
        self.wait_first = 0.0 if preview.message_id is None else pace.edit  # an earlier provider has just changed it
        self._bot, self._address, self._shown = bot, address, preview.shown
        self._message_id, self._reply_to = preview.message_id, preview.reply_to

    def fit(self, text: str) -> str:
        """The first part: that is what the message will hold in the end."""
        first = (parts.split(text) or [""])[0]
        return first if len(first) >= LEAST_IN_GROUP else ""

    def show(self, text: str) -> None:
        if self._message_id is None:
            self._begin(text)
        else:
            self._edit(self._message_id, text)

    def take_back(self) -> None:
        """The message stays, for the next provider; without one, the delivery of the apology changes it."""
        if self._message_id is not None:
            self._edit(self._message_id, TAKEN_BACK)

    def _edit(self, message_id: int, text: str) -> None:
        """Change the message, if the turn is open still: afterwards it may hold the answer, which is not to be lost."""
        if not self._shown(message_id):
            raise DeliveryRefused("the turn is no longer open")
        if not self._bot.edit(self._address["chat_id"], message_id, text):
            raise DeliveryRefused("the preview is gone")

    def _begin(self, text: str) -> None:
        message_id = self._bot.call("sendMessage", {**self._address, "text": text, **as_reply(self._reply_to)})
        if message_id is None:
            raise DeliveryUncertain("Telegram did not say which message it sent")
        noted = False
        try:
            noted = bool(self._shown(message_id))
        finally:
            if not noted:  # nobody would ever finish a message that the turn does not know
                self._bot.delete(self._address["chat_id"], message_id)
        if not noted:
            raise DeliveryRefused("the turn is no longer open")
        self._message_id = message_id


class Composing:
    """The context manager that `Messenger.composing` is: its block writes an answer."""

    def __init__(
        self,
        bot: Callable[[Callable[[], bool]], Bot],
        address: Mapping[str, Any],
        preview: Preview | None,
        *,
        wanted: Callable[[], bool],
        pace: Pace,
        timer: Timer,
    ) -> None:
        """Make one.

        Args:
            bot: gives what makes the calls, with time-outs that an answer can wait for; it asks before each whether
                that is wanted still.
            address: `chat_id`, and `message_thread_id` in a topic.
            preview: where the text is shown; None: only "typing" is.
            wanted: whether the answer still is; asked seldom, since it costs a read.
            pace: how often.
            timer: measures it.
        """
        self._bot, self._address, self._pace, self._timer = bot(self._may_call), address, pace, timer
        self._wanted = wanted
        self._screen = _screen(self._bot, address, preview, pace)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        # Of the block, under the lock:
        self._text: str | None = None
        self._over = self._failed = self._delegated = self._abandoned = False
        # Of the thread:
        self._seen: str | None = None
        self._on_screen = ""
        self._touched = self._broken = False
        self._blocked_until = self._text_at = self._quiet_at = self._asked_at = 0.0

    def __enter__(self) -> Show:
        """Start; gives what the block shows its text with."""
        now = self._blocked_until = self._asked_at = self._timer.now()
        self._quiet_at = now + self._pace.first_typing
        self._text_at = now + self._screen.wait_first
        self._thread.start()
        return self._show

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop: nothing new is started, but that what a failed block has shown is taken back.

        Who goes on, if the answer was handed over to the agent, is said on the same screen: it is gone by itself, or
        becomes the answer.
        """
        with self._changed:
            self._over, self._failed = True, kind is not None
            self._delegated = isinstance(error, TurnDelegated)
            self._changed.notify_all()
        self._thread.join(self._pace.ending)
        self._abandoned = True  # a thread that Lambda froze here and thaws with another turn starts nothing, either

    def _may_call(self) -> bool:
        """Whether a call may be made: not after the answer, which it could write over, or look like more of."""
        return not self._abandoned and (self._failed or not self._over)

    def _show(self, text: str) -> None:
        with self._changed:
            if self._text is None:
                self._text_at = max(self._text_at, self._timer.now() + self._pace.first_text)
            self._text = text
            self._changed.notify_all()

    def _run(self) -> None:
        while (act := self._await()) is not None:
            if not self._still_wanted():
                return self._await_end()
            act()
        can = not self._abandoned and self._blocked_until <= self._timer.now()
        if self._delegated and can:
            self._attempt(lambda: self._screen.show(texts.HANDED_OVER))
        elif self._failed and self._touched and can:
            self._attempt(self._screen.take_back)
        return None

    def _still_wanted(self) -> bool:
        """Whether the answer is; who can't be asked has not said no."""
        if self._timer.now() - self._asked_at < self._pace.asking:
            return True
        self._asked_at = self._timer.now()
        answers: list[bool] = []
        self._attempt(lambda: answers.append(self._wanted()))
        return answers != [False]

    def _await_end(self) -> None:
        """Do nothing more."""
        with self._changed:
            while not self._over:
                self._timer.wait(self._changed, self._pace.asking)

    def _await(self) -> Callable[[], None] | None:
        """What is to be done now, once something is; None when the block is over."""
        with self._changed:
            while not self._over:
                at, act = self._due()
                left = max(at, self._blocked_until) - self._timer.now()
                if left <= 0:
                    return act
                self._timer.wait(self._changed, left)
        return None

    def _due(self) -> tuple[float, Callable[[], None]]:
        """What comes next, and when."""
        grown = self._text is not None and self._text != self._seen and not self._broken
        if grown and self._text_at <= self._quiet_at:
            return self._text_at, self._grow
        return self._quiet_at, self._keep_up

    def _grow(self) -> None:
        """Show the newest text, if that makes a difference."""
        text = self._text or ""
        shown = self._screen.fit(text)
        if not shown or shown == self._on_screen:
            self._seen = text
        elif self._update(shown):
            self._seen, self._on_screen = text, shown

    def _keep_up(self) -> None:
        """Nothing has been shown for a while: show that the answer is still being written."""
        if self._on_screen and self._screen.renewal is not None and not self._broken:
            self._update(self._on_screen)
            return
        self._attempt(lambda: self._bot.call("sendChatAction", {**self._address, "action": "typing"}))
        self._quiet_at = self._timer.now() + self._pace.typing

    def _update(self, shown: str) -> bool:
        """Whether the text has come onto the screen."""
        self._touched = True
        done = self._attempt(lambda: self._screen.show(shown))
        now = self._timer.now()
        self._broken = not done and self._blocked_until <= now
        # From the end of the call: what arrives is never closer together than that.
        self._text_at = now + self._screen.every
        self._quiet_at = now + ((done and self._screen.renewal) or self._pace.typing)
        return done

    def _attempt(self, act: Callable[[], object]) -> bool:
        """Whether it went well."""
        try:
            act()
        except DeliveryDelayed as error:
            self._blocked_until = self._timer.now() + error.seconds
            return False
        except Exception:  # noqa: BLE001 (nobody could do anything about it: the secret store's errors are among them)
            return False
        return True


def _screen(bot: Bot, address: Mapping[str, Any], preview: Preview | None, pace: Pace) -> _Screen:
    if preview is None:
        return _NoScreen()
    if preview.group:
        return _GrowingMessage(bot, address, preview, pace)
    return _Draft(bot, address, preview.draft_id, pace)

"""What a chat sees while an answer is being written: when, how often, and that nothing of it can cost the answer."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import SecretMissing, TurnDelegated
from assistant.telegram.client import PREVIEW_TIMEOUT, TelegramMessenger
from assistant.telegram.parts import units
from assistant.telegram.preview import THREAD, MonotonicTimer, Pace
from assistant.turns.model import Preview
from assistant.turns.texts import HANDED_OVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.turns.model import Show

TOKEN = "123456:AA-secret-token"
DEADLINE = 5
ENOUGH = "Turtles sleep under water."
MORE = f"{ENOUGH} They come up to breathe."
MESSAGE_ID = 77

type Reply = httpx.Response | Exception | Callable[[], httpx.Response]


def success(result: Any = True) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, "result": result})


def too_many(seconds: int) -> httpx.Response:
    return httpx.Response(429, json={"ok": False, "parameters": {"retry_after": seconds}})


def refused(description: str) -> httpx.Response:
    return httpx.Response(400, json={"ok": False, "description": f"Bad Request: {description}"})


class DrivenTimer:
    """Time that passes when it is told to; telling it returns when everything that was due has been done."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.idle = False
        self.started = threading.Event()
        self.changed = threading.Condition()

    def now(self) -> float:
        return self.moment

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        self.changed, self.idle = changed, True
        changed.notify_all()
        self.started.set()
        assert changed.wait(DEADLINE), "nobody drives this timer"

    def after(self, change: Callable[[], object]) -> None:
        """Change something, and wait until the thread has nothing left to do."""
        assert self.started.wait(DEADLINE)
        with self.changed:
            self.idle = False
            change()
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.idle, DEADLINE)

    def advance(self, seconds: float) -> None:
        def change() -> None:
            self.moment += seconds

        self.after(change)


class Chat:
    """A chat on a Telegram inside the client, and a block in which an answer is written to it."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, dict[str, Any]]] = []
        self.replies: list[Reply] = []
        self.timer = DrivenTimer()
        self.timeouts: list[Any] = []
        self.noted: list[int | None] = []
        self.note: Callable[[int | None], object] = lambda _: True
        http = httpx.Client(transport=httpx.MockTransport(self._answer))
        self.messenger = TelegramMessenger(http, "http://telegram.test", lambda: TOKEN, timer=self.timer)
        self._show: Show = lambda _: None
        self.asked: list[float] = []
        self.wanted: Callable[[], bool] = lambda: True

    def _answer(self, request: httpx.Request) -> httpx.Response:
        method = request.url.path.rpartition("/")[2]
        self.calls.append((self.timer.now(), method, json.loads(request.content)))
        self.timeouts.append(request.extensions["timeout"])
        reply = self.replies.pop(0) if self.replies else success({"message_id": MESSAGE_ID})
        if isinstance(reply, httpx.Response):
            return reply
        if isinstance(reply, Exception):
            raise reply
        return reply()

    @contextlib.contextmanager
    def composing(
        self, *, group: bool = False, message_id: int | None = None, thread_id: int | None = None, preview: bool = True
    ) -> Iterator[None]:
        def shown(message_id: int | None) -> object:
            self.noted.append(message_id)
            return self.note(message_id)

        where = Preview(9, group, message_id, shown, reply_to=5) if preview else None
        self.timer.started.clear()
        with self.messenger.composing("-100" if group else "42", thread_id, where, self._is_wanted) as show:
            self._show = show
            yield

    def _is_wanted(self) -> bool:
        self.asked.append(self.timer.now())
        return self.wanted()

    def breaks(self, *texts: str, **how: Any) -> None:
        """A block that shows these texts, far enough apart, and then fails."""

        def block() -> None:
            with self.composing(**how):
                for text in texts:
                    self.grows(text, 4.5)
                raise ValueError("from the block")

        with pytest.raises(ValueError, match="from the block"):
            block()

    def hands_over(self, *texts: str, **how: Any) -> None:
        """A block that shows these texts, and then leaves the answer to the agent."""

        def block() -> None:
            with self.composing(**how):
                for text in texts:
                    self.grows(text, 4.5)
                raise TurnDelegated

        with pytest.raises(TurnDelegated):
            block()

    def grows(self, text: str, then: float = 0) -> None:
        """The answer so far is this; so many seconds pass."""
        self.timer.after(lambda: self._show(text))
        if then:
            self.timer.advance(then)

    def methods(self) -> list[str]:
        return [method for _, method, _ in self.calls]

    def texts(self) -> list[str]:
        """What was shown, "typing" apart."""
        return [call["text"] for _, _, call in self.calls if "text" in call]

    def moments(self, *methods: str) -> list[float]:
        return [moment for moment, method, _ in self.calls if method in methods]


@pytest.fixture
def chat() -> Iterator[Chat]:
    chat = Chat()
    yield chat
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD]


# --- typing


def test_typing_is_shown_until_the_block_ends(chat: Chat) -> None:
    with chat.composing(preview=False):
        for _ in range(13):
            chat.timer.advance(1)
        chat.grows(ENOUGH, 1)
    shown = len(chat.calls)

    assert set(chat.methods()) == {"sendChatAction"}
    assert chat.moments("sendChatAction") == [4, 8, 12]
    assert chat.calls[0][2] == {"chat_id": 42, "action": "typing"}
    assert chat.timeouts[0] == PREVIEW_TIMEOUT.as_dict()
    assert len(chat.calls) == shown


def test_nothing_more_is_shown_of_what_nobody_wants_any_more(chat: Chat) -> None:
    with chat.composing():
        for second in range(10):
            chat.grows("x" * (second + 1), 1)
        chat.wanted = lambda: False
        for second in range(20):
            chat.grows("y" * (second + 20), 1)

    assert chat.moments("sendMessageDraft")[-1] < 14
    assert len(chat.asked) <= 4


def test_typing_ends_with_what_nobody_wants_any_more(chat: Chat) -> None:
    chat.wanted = lambda: False
    with chat.composing(preview=False):
        for _ in range(20):
            chat.timer.advance(1)

    assert (chat.calls, len(chat.asked)) == ([], 1)


def test_a_quick_answer_asks_nobody_whether_it_is_wanted(chat: Chat) -> None:
    with chat.composing():
        for second in range(3):
            chat.grows("x" * (second + 1), 1)

    assert chat.asked == []


def test_who_can_not_be_asked_wants_the_answer(chat: Chat) -> None:
    def away() -> bool:
        raise ConnectionError("DynamoDB is away")

    chat.wanted = away
    with chat.composing(preview=False):
        for _ in range(9):
            chat.timer.advance(1)

    assert chat.methods() == ["sendChatAction"] * 2


def test_typing_is_first_shown_after_three_and_a_half_seconds(chat: Chat) -> None:
    with chat.composing(preview=False):
        chat.timer.advance(3.4)
        assert chat.calls == []
        chat.timer.advance(0.1)
        assert chat.methods() == ["sendChatAction"]


def test_all_is_shown_in_its_topic(chat: Chat) -> None:
    with chat.composing(thread_id=9):
        chat.timer.advance(4)
        chat.grows(ENOUGH, 1)

    assert [call["message_thread_id"] for _, _, call in chat.calls] == [9, 9]


def test_a_quick_answer_shows_nothing(chat: Chat) -> None:
    with chat.composing():
        chat.grows(ENOUGH, 0.2)

    assert chat.calls == []


def test_failing_to_show_typing_is_no_failure(chat: Chat) -> None:
    chat.replies = [httpx.ReadTimeout("x"), OSError("the secret store is down"), SecretMissing("none"), refused("x")]
    with chat.composing(preview=False):
        for _ in range(6):
            chat.timer.advance(4)

    assert len(chat.calls) == 6


def test_an_error_in_the_block_ends_it_and_leaves(chat: Chat) -> None:
    chat.breaks()

    assert chat.calls == []


@pytest.mark.parametrize("group", [False, True])
def test_who_goes_on_is_said_where_the_answer_would_have_grown(chat: Chat, group: bool) -> None:
    chat.hands_over(group=group)

    assert chat.methods() == ["sendMessage" if group else "sendMessageDraft"]
    assert chat.texts() == [HANDED_OVER]
    assert chat.noted == ([MESSAGE_ID] if group else [])


def test_who_goes_on_is_said_in_the_message_that_has_grown(chat: Chat) -> None:
    chat.hands_over(ENOUGH, group=True)

    assert chat.methods()[-1] == "editMessageText"
    assert chat.texts() == [ENOUGH, HANDED_OVER]


def test_without_a_preview_nobody_says_who_goes_on(chat: Chat) -> None:
    chat.hands_over(preview=False)

    assert chat.calls == []


# --- private chats


def test_a_draft_grows_with_the_newest_text_once_a_second(chat: Chat) -> None:
    with chat.composing():
        for length in range(1, 41):
            chat.grows("x" * length, 0.1)

    drafts = [call for _, _, call in chat.calls]
    assert drafts[0] == {"chat_id": 42, "draft_id": 9, "text": "xxx"}
    assert set(chat.methods()) == {"sendMessageDraft"}
    assert chat.moments("sendMessageDraft") == pytest.approx([0.3, 1.3, 2.3, 3.3])
    assert [len(text) for text in chat.texts()] == [3, 13, 23, 33]


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=12))
def test_drafts_are_never_closer_than_a_second(pauses: list[float]) -> None:
    chat = Chat()
    with chat.composing():
        for number, pause in enumerate(pauses, 1):
            chat.grows("x" * number, pause)

    moments = chat.moments("sendMessageDraft")
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(moments))


def test_while_a_draft_is_seen_no_typing_is_and_a_draft_is_renewed_before_it_vanishes(chat: Chat) -> None:
    with chat.composing():
        chat.grows(ENOUGH, 1)
        for _ in range(50):
            chat.timer.advance(1)

    assert chat.texts() == [ENOUGH] * 3
    assert chat.moments("sendMessageDraft") == [1, 21, 41]
    assert "sendChatAction" not in chat.methods()


def test_of_a_long_text_the_part_that_is_written_is_seen(chat: Chat) -> None:
    emoji = "😀" * 2048
    with chat.composing():
        chat.grows(emoji, 1)
        chat.grows(f"{emoji} and then", 1)

    assert chat.texts() == [emoji, "and then"]
    assert all(units(text) <= 4096 for text in chat.texts())


def test_white_space_is_not_shown(chat: Chat) -> None:
    with chat.composing():
        chat.grows("\n ", 2)
        chat.grows(ENOUGH, 1)
        chat.grows(f"{ENOUGH}\n", 2)

    assert chat.texts() == [ENOUGH]


def test_a_draft_of_what_failed_is_taken_back(chat: Chat) -> None:
    chat.breaks(ENOUGH)

    assert chat.texts() == [ENOUGH, ""]
    assert {call["draft_id"] for _, _, call in chat.calls} == {9}


def test_what_succeeded_shows_nothing_after_its_end(chat: Chat) -> None:
    with chat.composing():
        chat.grows(ENOUGH, 1)
        chat.grows(MORE, 0.5)

    assert chat.texts() == [ENOUGH]


@pytest.mark.parametrize("group", [False, True])
def test_too_many_requests_are_heeded(chat: Chat, group: bool) -> None:
    chat.replies = [too_many(9)]
    with chat.composing(group=group):
        chat.grows(ENOUGH, 1)
        for _ in range(12):
            chat.timer.advance(1)
        chat.grows(MORE, 5)

    assert chat.texts() == [ENOUGH, ENOUGH, MORE]
    assert [moment for moment, _, _ in chat.calls][:2] == [1, 10]


def test_while_telegram_asks_to_wait_nothing_is_taken_back(chat: Chat) -> None:
    chat.replies = [success(), too_many(9)]
    chat.breaks(ENOUGH, MORE)

    assert chat.texts() == [ENOUGH, MORE]


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        refused("TEXTDRAFT_PEER_INVALID"),
        httpx.Response(502, html="<html>"),
        httpx.ReadTimeout("x"),
        OSError("the secret store is down"),
    ],
)
def test_after_any_other_error_there_is_only_typing(chat: Chat, group: bool, reply: Reply) -> None:
    chat.replies = [reply]
    with chat.composing(group=group):
        chat.grows(ENOUGH, 1)
        chat.grows(MORE, 1)
        for _ in range(10):
            chat.timer.advance(1)

    assert chat.texts() == [ENOUGH]
    assert chat.methods().count("sendChatAction") == 2


def test_an_answer_does_not_wait_for_a_slow_telegram_and_nothing_follows_it(chat: Chat) -> None:
    release, reached = threading.Event(), threading.Event()

    def slow() -> httpx.Response:
        reached.set()
        release.wait(DEADLINE)
        return success()

    chat.replies = [slow]
    chat.messenger = dataclasses.replace(chat.messenger, pace=Pace(first_text=0, ending=0.01), timer=MonotonicTimer())

    def block() -> None:
        with chat.messenger.composing(
            "42", None, Preview(9, group=False, message_id=None, shown=bool), lambda: True
        ) as show:
            show(ENOUGH)
            assert reached.wait(DEADLINE)
            raise ValueError("from the block")

    with pytest.raises(ValueError, match="from the block"):
        block()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == THREAD]

    assert not release.is_set()
    release.set()
    thread.join(DEADLINE)
    assert chat.texts() == [ENOUGH]


def test_neither_text_nor_token_is_logged(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat.replies = [refused(ENOUGH)]
    chat.breaks(ENOUGH)

    assert ENOUGH not in caplog.text
    assert TOKEN not in caplog.text


# --- groups


def test_a_message_is_sent_noted_and_then_edited(chat: Chat) -> None:
    with chat.composing(group=True):
        for length in range(1, 121):
            chat.grows("x" * length, 0.1)

    as_reply = {"message_id": 5, "allow_sending_without_reply": True}
    message = {"chat_id": -100, "text": "x" * 20, "reply_parameters": as_reply}
    assert chat.calls[0][1:] == ("sendMessage", message)
    assert set(chat.noted) == {MESSAGE_ID}
    assert chat.calls[1][1] == "editMessageText"
    assert chat.calls[1][2] == {"chat_id": -100, "message_id": MESSAGE_ID, "text": "x" * 60}
    assert chat.moments("sendMessage", "editMessageText") == pytest.approx([1.9, 5.9, 9.9], abs=0.25)
    assert set(chat.methods()) == {"sendMessage", "editMessageText"}


@given(st.lists(st.floats(0.01, 7), min_size=1, max_size=12))
def test_a_group_gets_no_more_than_a_part_of_its_twenty_messages_a_minute(pauses: list[float]) -> None:
    chat = Chat()
    with chat.composing(group=True):
        for number, pause in enumerate(pauses, 20):
            chat.grows("x" * number, pause)

    moments = chat.moments("sendMessage", "editMessageText")
    assert all(later - earlier >= 3.999 for earlier, later in itertools.pairwise(moments))


def test_a_short_answer_in_a_group_is_not_previewed(chat: Chat) -> None:
    with chat.composing(group=True):
        chat.grows("Yes.", 3)

    assert chat.calls == []


def test_typing_is_shown_where_the_message_does_not_grow(chat: Chat) -> None:
    with chat.composing(group=True):
        chat.grows(ENOUGH, 1)
        chat.timer.advance(5)

    assert chat.methods() == ["sendMessage", "sendChatAction"]


def test_the_message_holds_the_first_part(chat: Chat) -> None:
    first = "x" * 4096
    with chat.composing(group=True):
        chat.grows(first + "y", 1)
        chat.grows(first + "yyyy", 5)

    assert chat.texts() == [first]


def test_what_failed_leaves_its_message_to_the_next(chat: Chat) -> None:
    chat.breaks(ENOUGH, group=True)
    with chat.composing(group=True, message_id=MESSAGE_ID):
        chat.grows(MORE, 3)
        assert len(chat.calls) == 2
        chat.timer.advance(1)

    assert chat.methods() == ["sendMessage", "editMessageText", "sendChatAction", "editMessageText"]
    assert chat.texts() == [ENOUGH, "…", MORE]
    assert chat.noted == [MESSAGE_ID] * 3


def test_what_failed_before_it_was_seen_changes_nothing(chat: Chat) -> None:
    chat.breaks(group=True, message_id=MESSAGE_ID)

    assert chat.calls == []


def test_what_reads_so_already_is_gone_on_with(chat: Chat) -> None:
    chat.replies = [refused("message is not modified: …")]
    with chat.composing(group=True, message_id=MESSAGE_ID):
        chat.grows(ENOUGH, 4.5)
        chat.grows(MORE, 4.5)

    assert chat.texts() == [ENOUGH, MORE]


def test_a_message_that_somebody_deleted_is_not_sent_again(chat: Chat) -> None:
    chat.replies = [success({"message_id": MESSAGE_ID}), refused("message to edit not found")]
    with chat.composing(group=True):
        chat.grows(ENOUGH, 1)
        chat.grows(MORE, 4)
        chat.grows(MORE + MORE, 4.5)

    assert chat.methods() == ["sendMessage", "editMessageText", "sendChatAction"]


@pytest.mark.parametrize("failure", [None, ConnectionError("DynamoDB does not answer")])
def test_a_message_that_may_hold_the_answer_by_now_is_left_alone(chat: Chat, failure: Exception | None) -> None:
    def note(_: int | None) -> bool:
        if len(chat.noted) == 1:
            return True
        if failure:
            raise failure
        return False

    chat.note = note
    chat.breaks(ENOUGH, MORE, group=True)

    assert chat.texts() == [ENOUGH]


@pytest.mark.parametrize("slow", ["the token", "the note"])
def test_what_was_being_made_ready_when_the_answer_ended_is_not_shown(chat: Chat, slow: str) -> None:
    """The turn was open when that was asked; by now its answer may have been sent, and would be written over."""
    release, reached = threading.Event(), threading.Event()

    def wait(_: int | None = None) -> str:
        reached.set()
        assert release.wait(DEADLINE)
        return TOKEN

    chat.messenger = dataclasses.replace(
        chat.messenger,
        token=wait if slow == "the token" else lambda: TOKEN,
        pace=Pace(first_text=0, edit=0, ending=0.01),
        timer=MonotonicTimer(),
    )
    shown = wait if slow == "the note" else bool
    with chat.messenger.composing(
        "-100", None, Preview(9, group=True, message_id=MESSAGE_ID, shown=shown), lambda: True
    ) as show:
        show(ENOUGH)
        assert reached.wait(DEADLINE)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == THREAD]
    release.set()
    thread.join(DEADLINE)

    assert chat.calls == []


@pytest.mark.parametrize("failure", [None, ConnectionError("DynamoDB does not answer")])
def test_a_message_that_the_turn_does_not_know_is_deleted(chat: Chat, failure: Exception | None) -> None:
    def note(_: int | None) -> bool:
        if failure:
            raise failure
        return False

    chat.note = note
    chat.breaks(ENOUGH, MORE, group=True)

    assert [method for method in chat.methods() if method != "sendChatAction"] == ["sendMessage", "deleteMessage"]
    assert chat.calls[1][2] == {"chat_id": -100, "message_id": MESSAGE_ID}


def test_a_message_without_an_id_is_not_sent_again(chat: Chat) -> None:
    chat.replies = [success()]
    chat.breaks(ENOUGH, MORE, group=True)

    assert chat.texts() == [ENOUGH]
    assert chat.noted == []

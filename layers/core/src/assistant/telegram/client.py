"""The Bot API over httpx: what the states need of it."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from assistant.errors import (
    DeliveryDelayed,
    DeliveryFailed,
    DeliveryRefused,
    DeliveryUncertain,
)
from assistant.telegram import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT = httpx.Timeout(10, connect=4)
LEAST_DELAY_SECONDS = 1
"""Of a 429 that names no time to wait."""

FIRST_TYPING_SECONDS = 3.5
TYPING_SECONDS = 4
"""An action is shown for 5 seconds (Bot API, "sendChatAction"); the webhook's response has just shown one."""

LAST_TYPING_SECONDS = 1


_REFUSALS = (
    "bot was blocked by the user",
    "bot was kicked",
    "bot is not a member",
    "user is deactivated",
    "chat not found",
    "message thread not found",
    "not enough rights",
    "upgraded to a supergroup",
    "message is too long",
    "message text is empty",
)
"""What Telegram says when it refuses. Of its description only these words are kept: others may quote the message."""

# httpx logs the address of every request at INFO, and Telegram's addresses hold the bot's token.
logging.getLogger("httpx").setLevel(logging.WARNING)


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _Result(msgspec.Struct):
    ok: bool = False
    description: str = ""
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


_RESULT = msgspec.json.Decoder(_Result)


@dataclass(frozen=True, slots=True)
class TelegramMessenger:
    """Sends messages as the bot.

    Attributes:
        http: the client to use.
        url: of the Bot API server, without the token.
        token: gives the bot's token when it is needed; it is part of every address, so addresses are never logged.
        first_typing: seconds until "typing" is shown.
        typing_every: seconds after which it is shown again.
        last_typing: seconds that an answer waits for a "typing" under way: shown after it, it would look like more.
    """

    http: httpx.Client
    url: str
    token: Callable[[], str]
    first_typing: float = FIRST_TYPING_SECONDS
    typing_every: float = TYPING_SECONDS
    last_typing: float = LAST_TYPING_SECONDS

    def parts(self, text: str) -> list[str]:
        """Cut a text into messages of at most 4096 UTF-16 units."""
        return parts.split(text)

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        """Send one message.

        Raises:
            DeliveryDelayed: 429.
            DeliveryFailed: it certainly was not sent; it may be tried again.
            DeliveryUncertain: it may have been sent.
            DeliveryRefused: it can't be sent to this chat.
        """
        call: dict[str, Any] = {"chat_id": int(chat_id), "text": text}
        if thread_id is not None:
            call["message_thread_id"] = thread_id
        if reply_to is not None:
            call["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
        self._call("sendMessage", call)

    @contextlib.contextmanager
    def typing(self, chat_id: str, thread_id: int | None) -> Iterator[None]:
        """Show "typing" until the block ends. Failing to show it is no failure."""
        over = threading.Event()
        call: dict[str, Any] = {"chat_id": int(chat_id), "action": "typing"}
        if thread_id is not None:
            call["message_thread_id"] = thread_id

        def refresh() -> None:
            pause = self.first_typing
            while not over.wait(pause):
                # Nobody could do anything about it, whatever it is: the secret store's errors are among them.
                with contextlib.suppress(Exception):
                    self._call("sendChatAction", call)
                pause = self.typing_every

        thread = threading.Thread(target=refresh, name="typing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=self.last_typing)

    def _call(self, method: str, call: dict[str, Any]) -> None:
        try:
            response = self.http.post(f"{self.url}/bot{self.token().strip()}/{method}", json=call, timeout=TIMEOUT)
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.InvalidURL,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
        ):
            raise DeliveryFailed("Telegram could not be reached") from None
        except httpx.HTTPError:
            raise DeliveryUncertain("Telegram did not answer") from None
        _check(response)


def _check(response: httpx.Response) -> None:
    """Translate an answer that is not a success."""
    try:
        result = _RESULT.decode(response.content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        result = _Result()
    status = response.status_code
    if status == httpx.codes.OK and result.ok:
        return
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise DeliveryDelayed(max(result.parameters.retry_after or 0, LEAST_DELAY_SECONDS))
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND):
        raise DeliveryFailed(f"Telegram refuses the bot's token (HTTP {status})")
    if httpx.codes.is_client_error(status):
        raise DeliveryRefused(f"Telegram refuses the message: {_refusal(result)} (HTTP {status})")
    raise DeliveryUncertain(f"Telegram answered HTTP {status}")


def _refusal(result: _Result) -> str:
    described = result.description.lower()
    return next((words for words in _REFUSALS if words in described), "for another reason")

"""The Bot API over httpx: what the states need of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
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
from assistant.telegram.preview import Composing, MonotonicTimer, Pace, Timer
from assistant.telegram.responses import as_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from assistant.turns.errands import Document
    from assistant.turns.model import Preview, Show

TIMEOUT = httpx.Timeout(10, connect=4)
LEAST_DELAY_SECONDS = 1
"""Of a 429 that names no time to wait."""

DOCUMENT_TIMEOUT = httpx.Timeout(60, connect=4)
"""50 MB have to get there."""

PREVIEW_TIMEOUT = httpx.Timeout(2, connect=1)
"""Nobody waits long for what only shows that something is going on."""

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
    "request entity too large",
)
"""What Telegram says when it refuses. Of its description only these words are kept: others may quote the message."""


class _Parameters(msgspec.Struct):
    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


class _Result(msgspec.Struct):
    ok: bool = False
    result: Any = None
    description: str = ""
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


_RESULT = msgspec.json.Decoder(_Result)


@dataclass(frozen=True, slots=True)
class BotApi:
    """Makes the calls.

    Attributes:
        http: the client to use.
        url: of the Bot API server, without the token.
        token: gives the bot's token when it is needed; it is part of every address, so addresses are never logged.
        timeout: of each call.
        wanted: asked right before each call; one that is not wanted any more is not made (DeliveryFailed).
        moved: groups that became supergroups, old id to new, as Telegram says when it is asked for the old one.
    """

    http: httpx.Client
    url: str
    token: Callable[[], str]
    timeout: httpx.Timeout
    wanted: Callable[[], bool] = lambda: True
    moved: dict[int, int] = field(default_factory=dict)

    def call(self, method: str, parameters: Mapping[str, Any]) -> int | None:
        """Call a method; gives the id of the message it made, if any.

        Raises:
            DeliveryDelayed: 429.
            DeliveryFailed: it certainly was not done; it may be tried again.
            DeliveryUncertain: it may have been done.
            DeliveryRefused: it can't be done in this chat.
        """
        match _check(self._post(method, parameters)).result:
            case {"message_id": int(message_id)}:
                return message_id
        return None

    def upload(self, method: str, parameters: Mapping[str, Any], field_name: str, document: Document) -> None:
        """Call a method with a file. Errors: as `call`.

        Source: Bot API, "Making requests" (multipart/form-data) and "Sending files".
        """
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
        file = (document.name, document.data, "application/octet-stream")
        _check(self._post(method, form, file={field_name: file}))

    def edit(self, chat_id: int, message_id: int, text: str) -> bool:
        """Make a message read so, if it does not; False if it can't be changed any more. Errors: as `call`."""
        response = self._post("editMessageText", {"chat_id": chat_id, "message_id": message_id, "text": text})
        if response.status_code == httpx.codes.BAD_REQUEST:
            return "message is not modified" in _result(response).description.lower()
        _check(response)
        return True

    def delete(self, chat_id: int, message_id: int) -> None:
        """Delete a message; one that is gone, or can't be deleted any more, is left. It is wanted always.

        Errors: as `call`.
        """
        response = self._post("deleteMessage", {"chat_id": chat_id, "message_id": message_id}, always=True)
        if response.status_code != httpx.codes.BAD_REQUEST:
            _check(response)

    def _post(
        self, method: str, parameters: Mapping[str, Any], *, always: bool = False, file: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Post it where the chat is now: an id that a group no longer has is refused, so nothing is done twice."""
        chat_id = int(parameters["chat_id"])
        here = self.moved.get(chat_id, chat_id)
        response = self._post_once(method, {**parameters, "chat_id": here}, always=always, file=file)
        refused = response.status_code == httpx.codes.BAD_REQUEST
        there = _result(response).parameters.migrate_to_chat_id if refused else None
        if there is None:
            return response
        self.moved[chat_id] = there
        return self._post_once(method, {**parameters, "chat_id": there}, always=always, file=file)

    def _post_once(
        self, method: str, parameters: Mapping[str, Any], *, always: bool, file: Mapping[str, Any] | None
    ) -> httpx.Response:
        address = f"{self.url}/bot{self.token().strip()}/{method}"  # may have taken a while
        if not always and not self.wanted():
            raise DeliveryFailed("it is no longer wanted")
        try:
            if file is not None:
                return self.http.post(address, data=parameters, files=file, timeout=self.timeout)
            return self.http.post(address, json=parameters, timeout=self.timeout)
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


@dataclass(frozen=True, slots=True)
class TelegramMessenger:
    """Sends messages as the bot.

    Attributes:
        http: the client to use; several threads may.
        url: of the Bot API server, without the token.
        token: gives the bot's token when it is needed.
        pace: how often what is shown while an answer is written.
        timer: measures that.
        moved: groups that became supergroups, as far as this process was told.
    """

    http: httpx.Client
    url: str
    token: Callable[[], str]
    pace: Pace = field(default_factory=Pace)
    timer: Timer = field(default_factory=MonotonicTimer)
    moved: dict[int, int] = field(default_factory=dict)

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
        self._api(TIMEOUT).call("sendMessage", {**_address(chat_id, thread_id), "text": text, **as_reply(reply_to)})

    def send_document(
        self, chat_id: str, document: Document, *, caption: str, thread_id: int | None, reply_to: int | None
    ) -> None:
        """Send a file. Errors: as `send`."""
        parameters = {**_address(chat_id, thread_id), "caption": caption, **as_reply(reply_to)}
        self._api(DOCUMENT_TIMEOUT).upload("sendDocument", parameters, "document", document)

    def revise(self, chat_id: str, message_id: int, text: str) -> bool:
        """Make a message of ours read so; False if it can't be changed any more.

        Raises:
            DeliveryDelayed: 429.
            DeliveryFailed: nobody knows whether it was done; it may be tried again, because twice is once.
            DeliveryRefused: it can't be done in this chat.
        """
        try:
            return self._api(TIMEOUT).edit(int(chat_id), message_id, text)
        except DeliveryUncertain as error:
            raise DeliveryFailed(str(error)) from None

    def withdraw(self, chat_id: str, message_id: int) -> None:
        """Take a message of ours away, if it is still there. Errors: as `revise`."""
        try:
            self._api(TIMEOUT).delete(int(chat_id), message_id)
        except DeliveryUncertain as error:
            raise DeliveryFailed(str(error)) from None

    def composing(
        self, chat_id: str, thread_id: int | None, preview: Preview | None, wanted: Callable[[], bool]
    ) -> AbstractContextManager[Show]:
        """Show "typing", and the answer so far where there is a `preview`, until nobody wants it any more.

        Failing to do so is no failure.
        """
        bot = partial(BotApi, self.http, self.url, self.token, PREVIEW_TIMEOUT, moved=self.moved)
        address = _address(chat_id, thread_id)
        return Composing(bot, address, preview, wanted=wanted, pace=self.pace, timer=self.timer)

    def _api(self, timeout: httpx.Timeout) -> BotApi:
        return BotApi(self.http, self.url, self.token, timeout, moved=self.moved)


def _address(chat_id: str, thread_id: int | None) -> dict[str, Any]:
    address: dict[str, Any] = {"chat_id": int(chat_id)}
    if thread_id is not None:
        address["message_thread_id"] = thread_id
    return address


def _result(response: httpx.Response) -> _Result:
    try:
        return _RESULT.decode(response.content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Result()


def _check(response: httpx.Response) -> _Result:
    """Translate an answer that is not a success."""
    result = _result(response)
    status = response.status_code
    if status == httpx.codes.OK and result.ok:
        return result
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

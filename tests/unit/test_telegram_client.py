"""Sending through the Bot API, and what each of its answers and silences means."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
import traceback
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from werkzeug.wrappers import Request

from assistant.errors import (
    AssistantError,
    DeliveryDelayed,
    DeliveryFailed,
    DeliveryRefused,
    DeliveryUncertain,
    SecretMissing,
)
from assistant.telegram.client import DOCUMENT_TIMEOUT, TIMEOUT, TelegramMessenger
from assistant.turns.errands import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "123456:AA-secret-token"
TEXT = "where the treasure is buried"
SENT = {"ok": True, "result": {"message_id": 1, "text": TEXT}}


class Telegram:
    """A Bot API server inside the client: keeps the calls, answers as it is told to."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200, json=SENT)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def calls(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


@pytest.fixture
def telegram() -> Telegram:
    return Telegram()


@pytest.fixture
def http(telegram: Telegram) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.MockTransport(telegram)) as client:
        yield client


@pytest.fixture
def messenger(http: httpx.Client) -> TelegramMessenger:
    return TelegramMessenger(http, "http://telegram.test", lambda: TOKEN)


def send(messenger: TelegramMessenger, **how: Any) -> None:
    messenger.send("42", TEXT, thread_id=how.get("thread_id"), reply_to=how.get("reply_to"))


def failed(messenger: TelegramMessenger) -> AssistantError:
    with pytest.raises(AssistantError) as raised:
        send(messenger)
    return discreet(raised.value)


def discreet(error: AssistantError) -> AssistantError:
    """The error, once it is clear that nothing that is printed of it is a secret."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    for secret in (TOKEN, TEXT, "treasure", "secret-token"):
        assert secret not in shown
    return error


# --- files


def test_a_file_goes_as_a_form_with_its_caption(messenger: TelegramMessenger, telegram: Telegram) -> None:
    document = Document("caf\u00e9.txt", b"\x00contents\xff")

    messenger.send_document("42", document, caption=TEXT, thread_id=9, reply_to=7)

    (request,) = telegram.requests
    assert str(request.url) == f"http://telegram.test/bot{TOKEN}/sendDocument"
    environ = {"CONTENT_TYPE": request.headers["content-type"], "CONTENT_LENGTH": str(len(request.content))}
    read = Request(environ | {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(request.content)})
    assert read.form.to_dict() == {
        "chat_id": "42",
        "message_thread_id": "9",
        "caption": TEXT,
        "reply_parameters": '{"message_id": 7, "allow_sending_without_reply": true}',
    }
    with read.files["document"].stream:
        assert (read.files["document"].filename, read.files["document"].read()) == (document.name, document.data)
    assert request.extensions["timeout"] == DOCUMENT_TIMEOUT.as_dict()


def test_a_file_that_telegram_finds_too_large_is_refused(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = lambda _request: refusal(413, "Request Entity Too Large")

    with pytest.raises(DeliveryRefused, match="request entity too large"):
        messenger.send_document("42", Document("a", b"a"), caption="", thread_id=None, reply_to=None)


# --- sending


def test_a_message(messenger: TelegramMessenger, telegram: Telegram) -> None:
    send(messenger)

    assert str(telegram.requests[0].url) == f"http://telegram.test/bot{TOKEN}/sendMessage"
    assert telegram.calls() == [{"chat_id": 42, "text": TEXT}]
    assert telegram.requests[0].extensions["timeout"] == TIMEOUT.as_dict()


def test_a_reply_in_a_topic(messenger: TelegramMessenger, telegram: Telegram) -> None:
    send(messenger, thread_id=9, reply_to=7)

    assert telegram.calls() == [
        {
            "chat_id": 42,
            "text": TEXT,
            "message_thread_id": 9,
            "reply_parameters": {"message_id": 7, "allow_sending_without_reply": True},
        }
    ]


def refusal(status: int, description: str, **parameters: Any) -> httpx.Response:
    body = {"ok": False, "error_code": status, "description": description}
    return httpx.Response(status, json=body | ({"parameters": parameters} if parameters else {}))


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        pytest.param(refusal(401, "Unauthorized"), DeliveryFailed, id="401"),
        pytest.param(refusal(404, "Not Found"), DeliveryFailed, id="404"),
        pytest.param(refusal(400, "Bad Request: chat not found"), DeliveryRefused, id="400"),
        pytest.param(refusal(403, "Forbidden: bot was blocked by the user"), DeliveryRefused, id="403"),
        pytest.param(refusal(400, f"Bad Request: can't parse {TEXT}"), DeliveryRefused, id="400 that quotes"),
        pytest.param(httpx.Response(413, html=f"<html>{TEXT}"), DeliveryRefused, id="413 HTML"),
        pytest.param(refusal(500, "Internal Server Error"), DeliveryUncertain, id="500"),
        pytest.param(httpx.Response(502, html="<html>"), DeliveryUncertain, id="502"),
        pytest.param(httpx.Response(504), DeliveryUncertain, id="504"),
        pytest.param(httpx.Response(302, headers={"location": "/"}), DeliveryUncertain, id="302"),
        pytest.param(httpx.Response(200, html="<html>"), DeliveryUncertain, id="200 HTML"),
        pytest.param(httpx.Response(200, content=b"\xff"), DeliveryUncertain, id="200 binary"),
        pytest.param(httpx.Response(200, content=b'{"x":' + b"[" * 100_000), DeliveryUncertain, id="200 deep"),
        pytest.param(httpx.Response(200, json=[]), DeliveryUncertain, id="200 list"),
        pytest.param(httpx.Response(200, json={"ok": False}), DeliveryUncertain, id="200 not ok"),
        pytest.param(httpx.Response(200), DeliveryUncertain, id="200 empty"),
    ],
)
def test_answers_that_are_no_success(
    messenger: TelegramMessenger, telegram: Telegram, response: httpx.Response, kind: type[AssistantError]
) -> None:
    telegram.answer = lambda _: response

    assert type(failed(messenger)) is kind
    assert len(telegram.requests) == 1


def test_a_refusal_says_why_in_words_we_know(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = lambda _: refusal(403, "Forbidden: bot was blocked by the user")

    assert str(failed(messenger)) == "Telegram refuses the message: bot was blocked by the user (HTTP 403)"


def test_a_refusal_in_other_words_does_not_repeat_them(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = lambda _: refusal(400, f"Bad Request: {TEXT}")

    assert str(failed(messenger)) == "Telegram refuses the message: for another reason (HTTP 400)"


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (refusal(429, "Too Many Requests: retry after 17", retry_after=17), 17),
        (refusal(429, "Too Many Requests", retry_after=0.5), 1),
        (refusal(429, "Too Many Requests", retry_after=-3), 1),
        (refusal(429, "Too Many Requests", retry_after="soon"), 1),
        (refusal(429, "Too Many Requests"), 1),
        (httpx.Response(429, json={"ok": False, "parameters": None}), 1),
        (httpx.Response(429, html="<html>"), 1),
    ],
)
def test_too_many_requests(
    messenger: TelegramMessenger, telegram: Telegram, response: httpx.Response, seconds: float
) -> None:
    telegram.answer = lambda _: response
    error = failed(messenger)

    assert isinstance(error, DeliveryDelayed)
    assert error.seconds == seconds


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx.ConnectError("x"), DeliveryFailed),
        (httpx.ConnectTimeout("x"), DeliveryFailed),
        (httpx.PoolTimeout("x"), DeliveryFailed),
        (httpx.UnsupportedProtocol("x"), DeliveryFailed),
        (httpx.InvalidURL(f"bot{TOKEN}"), DeliveryFailed),
        (httpx.ReadTimeout("x"), DeliveryUncertain),
        (httpx.WriteTimeout("x"), DeliveryUncertain),
        (httpx.ReadError("x"), DeliveryUncertain),
        (httpx.WriteError("x"), DeliveryUncertain),
        (httpx.RemoteProtocolError("x"), DeliveryUncertain),
        (httpx.DecodingError("x"), DeliveryUncertain),
    ],
)
def test_only_what_certainly_was_not_sent_may_be_sent_again(
    messenger: TelegramMessenger, telegram: Telegram, cause: Exception, kind: type[AssistantError]
) -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise cause

    telegram.answer = broken

    assert type(failed(messenger)) is kind


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client() as http:
        assert type(failed(TelegramMessenger(http, url, lambda: TOKEN))) is DeliveryFailed


def test_a_connection_closed_after_the_request_is_uncertain() -> None:
    def hang_up() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener, httpx.Client() as http:
        peer = threading.Thread(target=hang_up)
        peer.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert type(failed(TelegramMessenger(http, url, lambda: TOKEN))) is DeliveryUncertain
        peer.join()


def test_white_space_around_the_token_is_dropped(http: httpx.Client, telegram: Telegram) -> None:
    send(TelegramMessenger(http, "http://telegram.test", lambda: f"{TOKEN}\n"))

    assert telegram.requests[0].url.path == f"/bot{TOKEN}/sendMessage"


def test_a_token_that_no_address_can_carry_was_not_sent(http: httpx.Client, telegram: Telegram) -> None:
    assert type(failed(TelegramMessenger(http, "http://telegram.test", lambda: f"{TOKEN}\x00x"))) is DeliveryFailed
    assert telegram.requests == []


def test_a_missing_token_is_said_so(http: httpx.Client) -> None:
    def missing() -> str:
        raise SecretMissing("no telegram-bot-token")

    assert type(failed(TelegramMessenger(http, "http://telegram.test", missing))) is SecretMissing


def test_the_token_is_neither_logged_nor_shown(messenger: TelegramMessenger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    send(messenger)

    for secret in (TOKEN, TEXT):
        assert secret not in caplog.text + repr(messenger)


# --- a group that became a supergroup


def moving(request: httpx.Request) -> httpx.Response:
    """As Telegram answers: an id that a group had is refused with the one it has."""
    sent = request.content.decode()
    if "-1005" in sent:
        return httpx.Response(200, json=SENT)
    return refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1005)


def test_a_group_is_written_to_where_it_is_now(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = moving

    messenger.send("-5", TEXT, thread_id=None, reply_to=3)
    messenger.send("-5", TEXT, thread_id=None, reply_to=None)
    assert messenger.revise("-5", 7, TEXT)
    messenger.withdraw("-5", 7)

    assert [call["chat_id"] for call in telegram.calls()] == [-5, -1005, -1005, -1005, -1005]  # learnt once
    assert telegram.calls()[0] | {"chat_id": -1005} == telegram.calls()[1]


def test_a_file_follows_its_group(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = moving

    messenger.send_document("-5", Document("a.txt", b"all of it"), caption="", thread_id=None, reply_to=None)

    assert len(telegram.requests) == 2
    assert b"all of it" in telegram.requests[1].content


def test_a_group_that_is_nowhere_is_asked_for_twice_and_no_more(
    messenger: TelegramMessenger, telegram: Telegram
) -> None:
    telegram.answer = lambda _: refusal(400, "upgraded to a supergroup", migrate_to_chat_id=-100)

    assert type(failed(messenger)) is DeliveryRefused
    assert len(telegram.requests) == 2


def test_parts_fit_into_messages(messenger: TelegramMessenger) -> None:
    assert [len(part) for part in messenger.parts("x" * 5000)] == [4096, 904]


# --- changing what was sent


def revise(messenger: TelegramMessenger) -> bool:
    return messenger.revise("-100", 7, TEXT)


def test_a_message_is_revised(messenger: TelegramMessenger, telegram: Telegram) -> None:
    assert revise(messenger)

    assert telegram.requests[0].url.path == f"/bot{TOKEN}/editMessageText"
    assert telegram.calls() == [{"chat_id": -100, "message_id": 7, "text": TEXT}]


@pytest.mark.parametrize(
    ("description", "revised"),
    [
        ("Bad Request: message is not modified: specified new message content and reply markup are the same", True),
        ("Bad Request: message to edit not found", False),
        ("Bad Request: message can't be edited", False),
        ("Bad Request: MESSAGE_ID_INVALID", False),
    ],
)
def test_what_reads_so_is_revised_and_what_is_gone_is_not(
    messenger: TelegramMessenger, telegram: Telegram, description: str, revised: bool
) -> None:
    telegram.answer = lambda _: refusal(400, description)

    assert revise(messenger) is revised


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        pytest.param(refusal(429, "Too Many Requests", retry_after=4), DeliveryDelayed, id="429"),
        pytest.param(refusal(401, "Unauthorized"), DeliveryFailed, id="401"),
        pytest.param(refusal(403, "Forbidden: bot was kicked from the group chat"), DeliveryRefused, id="403"),
        pytest.param(httpx.Response(502, html="<html>"), DeliveryFailed, id="502"),
        pytest.param(httpx.ReadTimeout("x"), DeliveryFailed, id="silence"),
        pytest.param(httpx.ConnectError("x"), DeliveryFailed, id="unreachable"),
    ],
)
@pytest.mark.parametrize("method", ["revise", "withdraw"])
def test_to_change_twice_is_to_change_once_so_nothing_is_in_doubt(
    messenger: TelegramMessenger,
    telegram: Telegram,
    response: httpx.Response | Exception,
    kind: type[AssistantError],
    method: str,
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    telegram.answer = answer
    with pytest.raises(AssistantError) as raised:
        revise(messenger) if method == "revise" else messenger.withdraw("-100", 7)

    assert type(discreet(raised.value)) is kind


def test_a_message_is_withdrawn(messenger: TelegramMessenger, telegram: Telegram) -> None:
    messenger.withdraw("-100", 7)

    assert telegram.requests[0].url.path == f"/bot{TOKEN}/deleteMessage"
    assert telegram.calls() == [{"chat_id": -100, "message_id": 7}]


def test_a_message_that_is_gone_is_withdrawn(messenger: TelegramMessenger, telegram: Telegram) -> None:
    telegram.answer = lambda _: refusal(400, "Bad Request: message to delete not found")

    messenger.withdraw("-100", 7)

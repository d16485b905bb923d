"""A provider over HTTP: answers, refusals, and every way in which a connection can go wrong.

Where time or the shape of the stream matters, a socket on loopback plays the provider.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, get_protocol_members

import httpx
import pytest

from assistant.errors import ProviderError, ProviderRejected, ProviderUnavailable
from assistant.providers import transport
from assistant.providers.anthropic_messages import AnthropicMessages
from assistant.providers.client import ProviderClient
from assistant.providers.openai_chat import OpenAIChat
from assistant.providers.protocol import Reader, WireProtocol
from assistant.providers.transport import LONGEST_ANSWER_BYTES, LONGEST_REFUSAL_BYTES
from assistant.providers.vendors import Copilot, PlainVendor, Vendor
from assistant.turns.chain import Timeouts, load_chain
from assistant.turns.model import Answer, Said
from tests.doubles import DrivenClock

KEY = "sk-very-secret-key"
QUESTION = "where did I bury the treasure"
STREAM = {"content-type": "text/event-stream"}
PROVIDER = load_chain().provider("openrouter")

type Handler = Callable[[httpx.Request], httpx.Response]


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def said(text: str, finish: str | None = None) -> bytes:
    return event({"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": finish}]})


DONE = event(b"[DONE]")
WHOLE = said("Hello", "stop") + DONE


def client_of(
    http: httpx.Client, url: str = "http://provider.test", *, read: float = 5, connect: float = 5
) -> ProviderClient:
    timeouts = Timeouts(connect, read, 5)
    return ProviderClient(PROVIDER, OpenAIChat(), PlainVendor(url, {"X-Title": "t"}), http, timeouts, DrivenClock())


def ask(
    client: ProviderClient, *, seconds: float = 5, key: str = KEY, on_text: Callable[[str], None] = lambda _: None
) -> Answer:
    answer = client.ask("be brief", [Said("user", QUESTION)], key=key, seconds=seconds, on_text=on_text)
    assert isinstance(answer, Answer)
    return answer


def asked(handler: Handler, **how: Any) -> Answer:
    with httpx.Client(transport=httpx.MockTransport(handler)) as http:
        return ask(client_of(http), **how)


def failed(handler: Handler, **how: Any) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        asked(handler, **how)
    return discreet(raised.value)


def discreet(error: ProviderError) -> ProviderError:
    """The error, once it is clear that nothing that is printed of it is a secret."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    for secret in (KEY, QUESTION, "treasure"):
        assert secret not in shown
    return error


def streamed(*parts: bytes) -> Handler:
    return lambda _: httpx.Response(200, headers=STREAM, stream=Parts(parts))


class Parts(httpx.SyncByteStream):
    """A body in parts; an exception among them is raised in its place."""

    def __init__(self, parts: tuple[bytes | Exception, ...]) -> None:
        self.parts = parts
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    def close(self) -> None:
        self.closed = True


# --- answers


def test_an_answer() -> None:
    requests: list[httpx.Request] = []

    def provider(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, headers=STREAM, content=WHOLE)

    assert asked(provider, seconds=9) == Answer("Hello", "m")
    (request,) = requests
    assert str(request.url) == "http://provider.test/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["x-title"] == "t"
    assert json.loads(request.content)["messages"][-1] == {"role": "user", "content": QUESTION}
    assert request.extensions["timeout"] == {"connect": 5, "read": 5, "write": 5, "pool": 5}


def test_timeouts_are_no_longer_than_what_is_left() -> None:
    timeouts: dict[str, float] = {}

    def provider(request: httpx.Request) -> httpx.Response:
        timeouts.update(request.extensions["timeout"])
        return httpx.Response(200, headers=STREAM, content=WHOLE)

    asked(provider, seconds=0.5)

    assert 0 < max(timeouts.values()) <= 0.5


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        pytest.param((b": OPENROUTER PROCESSING\n\n", WHOLE), "Hello", id="comments"),
        pytest.param(tuple(bytes([byte]) for byte in said("Grüße 🎉", "stop")), "Grüße 🎉", id="byte by byte"),
        pytest.param((WHOLE.replace(b"\n", b"\r\n"),), "Hello", id="CR LF"),
        pytest.param((said("Hel"), said("lo", "stop")), "Hello", id="no [DONE]"),
        pytest.param((said("Hello"), DONE), "Hello", id="no finish_reason"),
        pytest.param((b"event: x\nretry: 9\nid: 1\n\n", WHOLE), "Hello", id="other fields"),
        pytest.param((WHOLE, said("no more")), "Hello", id="after the end"),
        pytest.param(
            ('data: {"choices":[{"delta":{"content":"a\u2028b\x85c"},"finish_reason":"stop"}]}\n\n'.encode(),),
            "a\u2028b\x85c",
            id="line separators inside JSON",
        ),
        pytest.param(
            (b'data: {"choices":[{"delta":{"content":"a\xff"},"finish_reason":"stop"}]}\n\n',), "a�", id="UTF-8"
        ),
    ],
)
def test_streams_of_every_shape(parts: tuple[bytes, ...], text: str) -> None:
    assert asked(streamed(*parts)).text == text


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "rot13", "nonsense"])
def test_a_stream_is_utf8_whatever_its_header_says(charset: str) -> None:
    headers = {"content-type": f"text/event-stream; charset={charset}"}

    assert asked(lambda _: httpx.Response(200, headers=headers, content=said("Grüße", "stop"))).text == "Grüße"


def test_an_answer_that_was_not_streamed() -> None:
    body = {"model": "m", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}

    assert asked(lambda _: httpx.Response(200, json=body)) == Answer("Hello", "m")


def test_a_connection_that_breaks_after_the_answer_takes_nothing_away() -> None:
    body = Parts((said("Hello", "stop"), httpx.ReadError("reset")))

    assert asked(lambda _: httpx.Response(200, headers=STREAM, stream=body)).text == "Hello"
    assert body.closed


def test_white_space_around_the_key_is_dropped() -> None:
    keys: list[str] = []

    def provider(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["authorization"])
        return httpx.Response(200, headers=STREAM, content=WHOLE)

    asked(provider, key=f" {KEY}\n")

    assert keys == [f"Bearer {KEY}"]


# --- the text as it grows


def test_the_text_so_far_is_told_whenever_it_has_grown() -> None:
    told: list[str] = []

    asked(streamed(said(""), said("Hel"), b": comment\n\n", said("lo", "stop"), said(""), DONE), on_text=told.append)

    assert told == ["Hel", "Hello"]


def test_the_text_is_told_before_the_next_part_is_read() -> None:
    told: list[str] = []

    def parts() -> Iterator[bytes]:
        yield said("Hel")
        assert told == ["Hel"]
        yield WHOLE.replace(b"Hello", b"lo")

    class Lazy(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return parts()

    asked(lambda _: httpx.Response(200, headers=STREAM, stream=Lazy()), on_text=told.append)

    assert told == ["Hel", "Hello"]


def test_the_text_of_an_answer_that_was_not_streamed_is_told_once() -> None:
    told: list[str] = []
    body = {"model": "m", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}

    asked(lambda _: httpx.Response(200, json=body), on_text=told.append)

    assert told == ["Hello"]


def test_what_was_told_before_a_failure_is_the_callers_to_take_back() -> None:
    told: list[str] = []

    error = failed(streamed(said("Hel"), event({"error": {"code": 429}})), on_text=told.append)

    assert told == ["Hel"]
    assert error.may_cost


@pytest.mark.parametrize(
    "bug", [httpx.ReadError("theirs"), ValueError("theirs"), httpx.InvalidURL("theirs"), KeyError()]
)
@pytest.mark.parametrize("complete", [False, True])
def test_an_exception_of_the_caller_is_not_the_providers(bug: Exception, complete: bool) -> None:
    body = Parts((said("Hel"), WHOLE)) if not complete else Parts((said("Hello", "stop"), DONE))

    def on_text(_: str) -> None:
        raise bug

    with pytest.raises(type(bug)) as raised:
        asked(lambda _: httpx.Response(200, headers=STREAM, stream=body), on_text=on_text)

    assert raised.value is bug
    assert body.closed


# --- refusals and broken answers


# What they mean: test_taxonomy.


def test_a_refusal_is_read_no_further_than_it_matters() -> None:
    body = Parts((b'{"error": "' + b"x" * LONGEST_REFUSAL_BYTES, AssertionError("read on")))

    error = failed(lambda _: httpx.Response(500, stream=body))

    assert (error.reason, error.status) == ("server error", 500)
    assert body.closed


def test_an_answer_that_blows_up_when_decompressed_is_abandoned() -> None:
    body = gzip.compress(b" " * (LONGEST_ANSWER_BYTES + 1))
    headers = {"content-encoding": "gzip", "content-type": "application/json"}

    error = failed(lambda _: httpx.Response(200, headers=headers, stream=Parts((body,))))

    assert (error.reason, error.may_cost) == ("answer too large", True)


def test_a_slow_refusal_is_judged_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_REFUSAL_SECONDS", 0.2)
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 99\r\n\r\n"

    result, took = ask_peer(lambda peer: peer.sendall(head + b'{"err'), seconds=5, read=5)

    assert outcome(result) == "ProviderExhausted: rate limit"
    assert took < 1


@pytest.mark.parametrize(
    ("cause", "reason", "counts"),
    [
        (httpx.ConnectError("x"), "unreachable", False),
        (httpx.ConnectTimeout("x"), "unreachable", False),
        (httpx.PoolTimeout("x"), "unreachable", False),
        (httpx.ProxyError("x"), "unreachable", False),
        (httpx.UnsupportedProtocol("x"), "address", False),
        (httpx.InvalidURL("x"), "address", False),
        (httpx.LocalProtocolError("x"), "address", False),
        (httpx.ReadTimeout("x"), "timeout", True),
        (httpx.WriteTimeout("x"), "timeout", True),
        (httpx.RemoteProtocolError("x"), "connection broken", True),
        (httpx.WriteError("x"), "connection broken", True),
        (httpx.TooManyRedirects("x"), "connection broken", True),
    ],
)
def test_a_way_that_is_broken(cause: Exception, reason: str, counts: bool) -> None:
    def provider(_: httpx.Request) -> httpx.Response:
        raise cause

    error = failed(provider)

    assert (type(error), error.reason) == (ProviderUnavailable, reason)
    assert (error.asked, error.may_cost) == (counts, counts)


def test_a_connection_that_could_not_be_made_in_time_was_no_request() -> None:
    def provider(_: httpx.Request) -> httpx.Response:
        threading.Event().wait(0.1)
        raise httpx.ConnectTimeout("x")

    error = failed(provider, seconds=0.05)

    assert (error.reason, error.asked) == ("unreachable", False)


@pytest.mark.parametrize("key", ["sk–dash", "sk-two\nlines", "sk-\x00", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_not_sent(key: str) -> None:
    error = failed(lambda _: pytest.fail("asked"), key=key)

    assert (type(error), error.reason, error.asked) == (ProviderRejected, "key", False)
    assert key not in repr(vars(error))


def test_an_address_that_is_none() -> None:
    with httpx.Client() as http, pytest.raises(ProviderUnavailable, match="address"):
        ask(client_of(http, "http://provider\x00.test"))


def test_time_that_ran_out_before_the_request_is_no_request() -> None:
    error = failed(lambda _: pytest.fail("asked"), seconds=0)

    assert (error.reason, error.asked) == ("timeout", False)


def test_a_slow_discovery_uses_up_the_time() -> None:
    def github(_: httpx.Request) -> httpx.Response:
        over.wait(0.1)
        return httpx.Response(200, json={})

    over = threading.Event()
    with httpx.Client(transport=httpx.MockTransport(github)) as http:
        vendor = Copilot(http, "https://copilot.test", "")
        client = dataclasses.replace(client_of(http), vendor=vendor)
        with pytest.raises(ProviderUnavailable, match="timeout"):
            ask(client, seconds=0.05)


def test_a_stream_that_can_not_be_cut_ends_with_its_next_part() -> None:
    class Slow(Parts):
        def __iter__(self) -> Iterator[bytes]:
            for part in super().__iter__():
                threading.Event().wait(0.1)
                yield part

    error = failed(lambda _: httpx.Response(200, headers=STREAM, stream=Slow((said("Hel"), WHOLE))), seconds=0.05)

    assert error.reason == "timeout"


def test_nothing_is_logged_and_nothing_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with httpx.Client(transport=httpx.MockTransport(streamed(WHOLE))) as http:
        client = client_of(http)
        ask(client)

    for secret in (KEY, QUESTION):
        assert secret not in caplog.text + repr(client)


def test_claude_speaks_its_own_protocol() -> None:
    events = (
        {"type": "message_start", "message": {"model": "claude"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "message_stop"},
    )
    addresses: list[str] = []

    def provider(request: httpx.Request) -> httpx.Response:
        addresses.append(str(request.url))
        body = b"".join(b"event: " + str(e["type"]).encode() + b"\n" + event(e) for e in events)
        return httpx.Response(200, headers=STREAM, content=body)

    with httpx.Client(transport=httpx.MockTransport(provider)) as http:
        assert ask(dataclasses.replace(client_of(http), protocol=AnthropicMessages())) == Answer("Hello", "claude")
    assert addresses == ["http://provider.test/v1/messages"]


@pytest.mark.parametrize(
    ("port", "adapter"),
    [
        (WireProtocol, OpenAIChat()),
        (WireProtocol, AnthropicMessages()),
        (Reader, OpenAIChat().reader("m")),
        (Reader, AnthropicMessages().reader("m")),
        (Vendor, PlainVendor("", {})),
        (Vendor, Copilot(httpx.Client(), "", "")),
    ],
)
def test_adapters_have_what_their_ports_ask_for(port: type, adapter: object) -> None:
    assert all(hasattr(adapter, member) for member in get_protocol_members(port))


# --- sockets


class Peer:
    """A server on loopback that plays a script to each connection, after it has read the request."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                received = b""
                while not received.endswith(b"}"):
                    received += connection.recv(65536)
                self._script(connection)

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._thread.join(2)
        assert not self._thread.is_alive()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def ask_peer(
    script: Callable[[socket.socket], None], *, seconds: float, read: float = 5
) -> tuple[Answer | ProviderError, float]:
    """What came of asking, and after how many seconds."""
    peer = Peer(script)
    began = time.monotonic()
    try:
        with httpx.Client() as http:
            return ask(client_of(http, peer.url, read=read), seconds=seconds), time.monotonic() - began
    except ProviderError as error:
        return discreet(error), time.monotonic() - began
    finally:
        peer.close()


def outcome(result: Answer | ProviderError) -> str:
    return result.text if isinstance(result, Answer) else f"{type(result).__name__}: {result.reason}"


def test_a_stall_in_the_stream_ends_with_the_silence() -> None:
    result, took = ask_peer(lambda peer: peer.sendall(CHUNKED + chunked(said("Hel"))), seconds=5, read=0.1)

    assert outcome(result) == "ProviderUnavailable: timeout"
    assert took < 0.8


def test_a_stall_in_the_stream_ends_with_the_time_that_was_given() -> None:
    def stall(peer: socket.socket) -> None:
        peer.sendall(CHUNKED + chunked(said("Hel")))
        release.wait(0.4)  # a silence counted from here would last until 0.9 s
        peer.sendall(chunked(said("l")))

    release = threading.Event()
    result, took = ask_peer(stall, seconds=0.5, read=5)

    assert outcome(result) == "ProviderUnavailable: timeout"
    assert 0.5 <= took < 0.8


def test_a_stall_in_a_body_without_length_is_not_taken_for_its_end() -> None:
    result, took = ask_peer(lambda peer: peer.sendall(HEAD + b"\r\n" + said("Hel")), seconds=0.2, read=5)

    assert outcome(result) == "ProviderUnavailable: timeout"
    assert took < 0.8


def test_silence_from_the_start_ends() -> None:
    result, took = ask_peer(lambda _: None, seconds=0.2)

    assert outcome(result) == "ProviderUnavailable: timeout"
    assert took < 0.8


def test_comments_that_never_end_do_not_keep_us() -> None:
    ended = threading.Event()

    def drip(peer: socket.socket) -> None:
        peer.sendall(CHUNKED)
        with contextlib.suppress(OSError):
            while not ended.wait(0.01):
                peer.sendall(chunked(b": keep-alive\n\n"))

    result, took = ask_peer(drip, seconds=0.2, read=5)

    assert outcome(result) == "ProviderUnavailable: timeout"
    assert took < 0.8


def test_a_connection_left_open_after_the_end_is_not_waited_for() -> None:
    result, took = ask_peer(lambda peer: peer.sendall(CHUNKED + chunked(WHOLE)), seconds=5, read=5)

    assert outcome(result) == "Hello"
    assert took < 0.8


def test_an_answer_is_kept_though_its_done_never_comes() -> None:
    result, took = ask_peer(lambda peer: peer.sendall(CHUNKED + chunked(said("Hello", "stop"))), seconds=0.2)

    assert outcome(result) == "Hello"
    assert took < 0.8


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", "ProviderUnavailable: connection broken"),
        (b"SSH-2.0-OpenSSH\r\n", "ProviderUnavailable: connection broken"),
        (CHUNKED + chunked(said("Hel")), "ProviderUnavailable: connection broken"),
        (CHUNKED + chunked(said("Hello", "stop")), "Hello"),
        (HEAD + b"Content-Length: 9999\r\n\r\n" + said("Hel"), "ProviderUnavailable: connection broken"),
        (HEAD + b"\r\n" + said("Hel"), "ProviderUnavailable: answer cut off"),
        (HEAD + b"\r\n" + said("Hello", "stop"), "Hello"),
    ],
)
def test_a_connection_that_is_closed(sent: bytes, expected: str) -> None:
    def hang_up(peer: socket.socket) -> None:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_RDWR)
        peer.close()

    result, _ = ask_peer(hang_up, seconds=5)

    assert outcome(result) == expected


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client() as http, pytest.raises(ProviderUnavailable, match="unreachable") as raised:
        ask(client_of(http, url))

    assert not discreet(raised.value).asked


def test_a_connection_is_kept_for_the_next_request_and_its_deadline_is_not() -> None:
    body = b"".join([CHUNKED, chunked(said("Hello", "stop")), chunked(b": bye\n\n"), b"0\r\n\r\n"])
    connections: list[socket.socket] = []

    def answer_twice(peer: socket.socket) -> None:
        connections.append(peer)
        peer.sendall(body)
        peer.recv(65536)
        peer.sendall(body)

    peer = Peer(answer_twice)
    try:
        with httpx.Client() as http:
            client = client_of(http, peer.url)
            answers = [ask(client, seconds=60).text for _ in range(2)]
    finally:
        peer.close()

    assert answers == ["Hello", "Hello"]
    assert len(connections) == 1
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in timers:
        timer.join(1)
    assert not any(timer.is_alive() for timer in timers)

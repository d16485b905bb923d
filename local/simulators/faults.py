"""Faults that a test or the demo orders from a simulator.

Waiting faults (`hang`, `stall`, `slow`, `trickle`) last real seconds, whatever the clock says, because it is the real
time-outs of the real client that end them. They are bounded, and end early when the client goes away or the
fault is cleared.
"""

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """How a provider can go wrong. The value is what one writes in `--fault <provider>=<value>`."""

    THROTTLED = "429"  # too fast; over in a moment
    EXHAUSTED = "429-quota"  # the day's, week's or month's allowance is used up
    UPSTREAM_THROTTLED = "429-upstream"  # OpenRouter only: the model's host refuses, not OpenRouter
    UNAUTHORIZED = "401"
    PAYMENT_REQUIRED = "402"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"  # an HTML page, as a proxy in between sends it
    UNAVAILABLE = "503"
    OVERLOADED = "529"
    TOO_LONG = "too-long"  # the conversation does not fit the model's context window
    ERROR_IN_200 = "error-in-200"  # status 200, and an error object instead of an answer
    FINISH_ERROR = "finish-error"  # half of the text, and then the stream reports an error
    EMPTY = "empty"  # a complete answer without text
    TRUNCATED = "truncated"  # the stream ends, politely, in the middle
    CUT = "cut"  # the connection breaks in the middle
    INVALID_UTF8 = "utf8"  # a byte in the middle of the text is none of UTF-8's
    HUGE = "huge"  # 50 MB of text, unless the client leaves
    STALL = "stall"  # the stream begins, then nothing more comes
    HANG = "hang"  # the request is accepted, then nothing comes
    CLOSED = "closed"  # the connection is closed without a byte
    SLOW = "slow"  # a right answer, seconds late
    TRICKLE = "trickle"  # a right answer that takes as long to come, piece by piece


HUGE_BYTES = 50_000_000
_SPOILT_MIDWAY = {Fault.FINISH_ERROR, Fault.TRUNCATED, Fault.CUT, Fault.STALL}


class TelegramFault(StrEnum):
    """How Telegram can go wrong."""

    THROTTLED = "429"
    SERVER_ERROR = "500"  # not delivered
    DELIVERED_BAD_GATEWAY = "502-delivered"  # delivered, but the answer is a proxy's error
    CLOSED = "closed"  # the connection is closed before the delivery
    DELIVERED_CLOSED = "closed-delivered"  # delivered, then closed without a byte
    HANG = "hang"  # not delivered
    SLOW = "slow"  # delivered, seconds late


class FaultQueue[F: StrEnum]:
    """Faults in the order they were ordered; each for a number of requests, or until cleared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: deque[tuple[F, int | None]] = deque()

    def order(self, fault: F, times: int | None = 1) -> None:
        """Let `times` requests, after those ordered earlier, meet this fault; None means until cleared."""
        with self._lock:
            self._ordered.append((fault, times))

    def take(self) -> F | None:
        """The fault that the request at hand meets, if any."""
        with self._lock:
            if not self._ordered:
                return None
            fault, times = self._ordered.popleft()
            if times is None:
                self._ordered.appendleft((fault, None))
            elif times > 1:
                self._ordered.appendleft((fault, times - 1))
            return fault

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._ordered.clear()


class Waits:
    """Bounded waiting in real time, ended early by `release` or by the client's going away."""

    _GLANCE_S = 0.05

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._released = threading.Event()

    def wait(self, environ: dict[str, Any], seconds: float | None = None) -> None:
        """Wait `seconds`, or the limit if that is None or less."""
        released = self._released
        deadline = time.monotonic() + min(self.limit_s if seconds is None else seconds, self.limit_s)
        # The key is werkzeug's; under another server we only miss that the client has left.
        client: socket.socket | None = environ.get("werkzeug.socket")
        while (left := deadline - time.monotonic()) > 0 and not _has_left(client):
            if released.wait(min(left, self._GLANCE_S)):
                return

    def release(self) -> None:
        """End all waits that are under way."""
        self._released.set()
        self._released = threading.Event()


def _has_left(client: socket.socket | None) -> bool:
    try:
        return (
            client is not None and bool(select.select([client], [], [], 0)[0]) and not client.recv(1, socket.MSG_PEEK)
        )
    except (OSError, ValueError):
        return True


def drop_connection(environ: dict[str, Any]) -> None:
    """End the exchange without another byte.

    WSGI has no word for this. Servers close the connection when the application raises a ConnectionError,
    except that werkzeug's keeps one alive on which it has not yet answered: there the socket is shut down.

    Raises:
        ConnectionAbortedError: always.
    """
    client: socket.socket | None = environ.get("werkzeug.socket")
    if client is not None:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("a fault was ordered: the simulator drops this connection")


def play(
    pieces: list[bytes],
    fault: Fault | None,
    *,
    error: bytes,
    waits: Waits,
    environ: dict[str, Any],
    slow_s: float,
    filler: bytes = b"",
    huge_bytes: int = HUGE_BYTES,
) -> Iterator[bytes]:
    """The body of an answer, spoilt as ordered.

    Args:
        pieces: The whole body, in the pieces in which it is sent.
        fault: What goes wrong on the way, if anything.
        error: The piece with which this vendor reports an error once the answer has begun.
        waits: Bounds the waiting faults.
        environ: The request, to notice that the client has left.
        slow_s: How many real seconds `Fault.SLOW` and `Fault.TRICKLE` add.
        filler: The piece that `Fault.HUGE` repeats in the middle.
        huge_bytes: How many bytes of it.

    Yields:
        The pieces that the client gets to see.
    """
    if fault is Fault.SLOW:
        waits.wait(environ, slow_s)
    if fault is Fault.HUGE:
        yield from _inflated(pieces, filler, huge_bytes, environ)
        return
    if fault is Fault.TRICKLE:
        yield from _trickling(pieces, waits, environ, slow_s)
        return
    if fault not in _SPOILT_MIDWAY:
        yield from pieces
        return
    yield from pieces[: _half_of(pieces)]
    if fault is Fault.FINISH_ERROR:
        yield error
    if fault is Fault.STALL:
        waits.wait(environ)
    if fault in {Fault.STALL, Fault.CUT}:
        drop_connection(environ)


def _trickling(pieces: list[bytes], waits: Waits, environ: dict[str, Any], seconds: float) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        waits.wait(environ, seconds / len(pieces))


def _half_of(pieces: list[bytes]) -> int:
    return (len(pieces) + 1) // 2


def _inflated(pieces: list[bytes], filler: bytes, size: int, environ: dict[str, Any]) -> Iterator[bytes]:
    client: socket.socket | None = environ.get("werkzeug.socket")
    half = _half_of(pieces)
    yield from pieces[:half]
    for _ in range(-(-size // len(filler))):
        # A server notices a closed connection only after its buffers are full: megabytes later.
        if _has_left(client):
            drop_connection(environ)
        yield filler
    yield from pieces[half:]

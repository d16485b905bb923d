"""One virtual clock for the whole local cloud: the driver moves it, function processes read it over HTTP.

Nothing heavy is imported here: every function process loads this module before its first event.
"""

import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

_REFRESH_S = 1.0
_READ_TIMEOUT_S = 5.0


class VirtualClock:
    """Real time plus an offset that only grows, so that time never runs backwards.

    Args:
        start: epoch seconds (UTC) at which the virtual time begins; None means the real time.
    """

    def __init__(self, start: float | None = None) -> None:
        self._changed = threading.Condition()
        self._offset = 0.0 if start is None else start - time.time()
        self._floor = float("-inf")

    def now(self) -> float:
        """Epoch seconds, UTC. Monotonic even if the machine's own clock is set back."""
        with self._changed:
            self._floor = max(self._floor, time.time() + self._offset)
            return self._floor

    def advance(self, seconds: float) -> float:
        """Move the time forward by `seconds` and return the new time.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"the clock does not run backwards: {seconds} s")
        with self._changed:
            self._offset += seconds
            self._changed.notify_all()
        return self.now()

    def jump_to(self, moment: float) -> float:
        """Move the time forward to `moment` (epoch seconds); a moment that is past changes nothing."""
        with self._changed:
            ahead = moment - (time.time() + self._offset)
            if ahead > 0:
                self._offset += ahead
                self._changed.notify_all()
        return self.now()

    def wait_until(
        self, moment: float, *, real_limit_s: float | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Block until the virtual time reaches `moment`.

        Args:
            moment: epoch seconds of virtual time.
            real_limit_s: give up after so many seconds of real time.
            stop: asked whenever the waiter is woken (see `wake`); true gives up.

        Returns:
            Whether the moment was reached.
        """
        limit = float("inf") if real_limit_s is None else time.monotonic() + real_limit_s
        with self._changed:
            while True:
                left = moment - (time.time() + self._offset)
                if left <= 0:
                    return True
                real_left = limit - time.monotonic()
                if real_left <= 0 or (stop is not None and stop()):
                    return False
                self._changed.wait(min(left, real_left, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """Make every waiter ask its `stop` again."""
        with self._changed:
            self._changed.notify_all()


class RemoteClock:
    """The virtual clock as a function process sees it: the front's offset, read at most once a second.

    Args:
        url: address of the front's clock, `http://127.0.0.1:PORT/_local/clock`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._offset = 0.0
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def now(self) -> float:
        """Epoch seconds, UTC, at most a second of real time behind a jump of the driver."""
        with self._lock:
            if time.monotonic() - self._read_at >= _REFRESH_S:
                self._read()
            return time.time() + self._offset

    def refresh(self) -> None:
        """Read the front's time now: called once per invocation, so that a jump before it is always seen."""
        with self._lock:
            self._read()

    def _read(self) -> None:
        with socket.create_connection(self._address, timeout=_READ_TIMEOUT_S) as connection:
            connection.sendall(self._request)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        self._offset = float(answer.rpartition(b"\r\n\r\n")[2]) - time.time()
        self._read_at = time.monotonic()

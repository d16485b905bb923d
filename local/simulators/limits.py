"""What a vendor counts: requests in calendar windows (UTC), and requests in flight."""

import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from; the simulators never look at the machine's own."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class Period(StrEnum):
    """A calendar period in UTC."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"

    def start(self, at: float) -> float:
        """The beginning of the period that `at` lies in, in epoch seconds."""
        moment = datetime.fromtimestamp(at, UTC).replace(second=0, microsecond=0)
        if self is Period.DAY:
            moment = moment.replace(hour=0, minute=0)
        elif self is Period.MONTH:
            moment = moment.replace(day=1, hour=0, minute=0)
        return moment.timestamp()

    def end(self, at: float) -> float:
        """The beginning of the next period, in epoch seconds."""
        start = datetime.fromtimestamp(self.start(at), UTC)
        if self is Period.MONTH:
            return (start.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
        return (start + (timedelta(days=1) if self is Period.DAY else timedelta(minutes=1))).timestamp()


class RequestWindow:
    """At most `limit` requests in each calendar `period`; None lifts the limit.

    Not thread-safe: its owner holds a lock over `is_full` and `add`.
    """

    def __init__(self, limit: int | None, period: Period) -> None:
        self.limit = limit
        self.period = period
        self._start = 0.0
        self._used = 0

    def used(self, now: float) -> int:
        """Requests counted in the period of `now`."""
        return self._used if self.period.start(now) == self._start else 0

    def remaining(self, now: float) -> int | None:
        """Requests left in the period of `now`; None if there is no limit."""
        return None if self.limit is None else max(0, self.limit - self.used(now))

    def is_full(self, now: float) -> bool:
        """Whether one more request would be refused."""
        return self.limit is not None and self.used(now) >= self.limit

    def add(self, now: float) -> None:
        """Count one request."""
        self._used = self.used(now) + 1
        self._start = self.period.start(now)

    def resets_at(self, now: float) -> float:
        """When the count returns to zero, in epoch seconds."""
        return self.period.end(now)


class Slots:
    """At most `limit` requests at a time; None lifts the limit.

    Attributes:
        limit: May be set at any time.
        most_in_flight: The highest number of requests at a time, with those that got no slot.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.most_in_flight = 0
        self._in_flight = 0
        self._present = 0
        self._changed = threading.Condition()

    def acquire(self, timeout_s: float) -> bool:
        """Take a slot, waiting at most `timeout_s` real seconds for one; tell whether there was one."""
        with self._changed:
            self._present += 1
            self.most_in_flight = max(self.most_in_flight, self._present)
            free = self._changed.wait_for(lambda: self.limit is None or self._in_flight < self.limit, timeout_s)
            if free:
                self._in_flight += 1
            else:
                self._present -= 1
            return free

    def release(self) -> None:
        """Give a slot back."""
        with self._changed:
            self._in_flight -= 1
            self._present -= 1
            self._changed.notify()


class TokenBucket:
    """A rate with bursts: `burst` at once, refilled at `per_second`.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._level = float(burst)
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until there is a token; 0 if there is one."""
        return max(0.0, (1 - self._refilled(now)) / self._per_second)

    def take(self, now: float) -> None:
        """Use up a token."""
        self._level = self._refilled(now) - 1
        self._at = now

    def _refilled(self, now: float) -> float:
        return min(self._burst, self._level + max(0.0, now - self._at) * self._per_second)


class SlidingWindow:
    """At most `limit` events in any `period_s` seconds.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, limit: int, period_s: float) -> None:
        self._period_s = period_s
        self._events: deque[float] = deque(maxlen=limit)

    def wait_s(self, now: float) -> float:
        """Seconds until one more event is allowed; 0 if it is."""
        if len(self._events) < (self._events.maxlen or 0):
            return 0.0
        return max(0.0, self._events[0] + self._period_s - now)

    def take(self, now: float) -> None:
        """Count an event."""
        self._events.append(now)

"""Many transfers at a time, in bounded threads: the first that goes wrong ends all."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS = 16
"""Each holds one small content in memory, at most `SMALL_BYTES`; large ones go piece by piece."""

SMALL_BYTES = 1 << 20


class Stopped(Exception):
    """Somebody asked for an end."""


class Transfers:
    """Runs the parts of a piece of work side by side.

    Args:
        threads: how many at a time.
        small_bytes: a content up to this size is held in memory.
    """

    def __init__(self, threads: int = THREADS, small_bytes: int = SMALL_BYTES) -> None:
        self.threads = threads
        self.small_bytes = small_bytes
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have everything end at its next step, for good."""
        self._stop.set()

    def check(self) -> None:
        """Raise Stopped if an end was asked for."""
        if self._stop.is_set():
            raise Stopped

    def each[T, R](self, work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
        """Do the work with every part; what one raises, after all that had begun have ended."""
        waiting = list(parts)
        if min(self.threads, len(waiting)) <= 1:
            return [self._one(work, part) for part in waiting]
        failed = threading.Event()

        def one(part: T) -> R | None:
            if failed.is_set():
                return None
            try:
                return self._one(work, part)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(min(self.threads, len(waiting)), thread_name_prefix="transfer") as pool:
            futures = [pool.submit(one, part) for part in waiting]
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
        errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]  # type: ignore[misc]  # none of them was left undone

    def _one[T, R](self, work: Callable[[T], R], part: T) -> R:
        self.check()
        return work(part)

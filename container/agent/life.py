"""The process's life: all is started, one thing decides when it ends, and all is ended in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Protocol

from agent.bridge import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from agent.bridge import Bridge, Log
    from agent.openclaw import OpenClaw

CANCEL_SECONDS = 2
OPENCLAW_SECONDS = 10
BOOKS_SECONDS = 80
"""Together less than 100 of Fargate's 120 seconds. The books take that long only if there is much to back up."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Work(Protocol):
    """What the process is for."""

    async def __call__(self) -> str:
        """Do it until nothing is left to do; how that came, for the log."""
        ...

    async def give_back(self, *, crashed: bool) -> None:
        """Give back what is unfinished: it ends before its time. `crashed`: by a fault of its own."""
        ...


class Door(Protocol):
    """Our own HTTP."""

    async def start(self) -> str:
        """Listen; the address."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class ForChat:
    """Works for a chat: opens its mailbox, and keeps the lease while the bridge works."""

    def __init__(self, bridge: Bridge, task_arn: Callable[[], Awaitable[str]]) -> None:
        self._bridge = bridge
        self._task_arn = task_arn
        self._mine = False

    async def __call__(self) -> str:
        """Work until there is nothing to do; LeaseLost if the chat is another's."""
        self._mine = await self._bridge.open(await self._task_arn())
        if not self._mine:
            return "replaced"
        working = asyncio.create_task(self._bridge.work(), name="work")
        leasing = asyncio.create_task(self._bridge.keep_lease(), name="lease")
        keeping = asyncio.create_task(self._bridge.keep_backups(), name="backups")
        try:
            done, _ = await asyncio.wait({working, leasing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if leasing in done:
                self._mine = False
            for task in done:
                task.result()
            self._mine = False  # it was released
            return "idle"
        finally:
            await _cancelled(working, leasing, keeping)

    async def give_back(self, *, crashed: bool) -> None:
        """Give back what was taken, unless the chat is another's: then nothing is written any more."""
        if self._mine:
            await self._bridge.hand_back(crashed=crashed)


class ByItself:
    """Answers who asks over HTTP, for as long as OpenClaw lives."""

    def __init__(self, openclaw: OpenClaw) -> None:
        self._openclaw = openclaw

    async def __call__(self) -> str:
        """Wait for the end of OpenClaw, which raises."""
        await self._openclaw.died()
        return "ended"

    async def give_back(self, *, crashed: bool) -> None:
        """Nothing is kept, and nobody waits."""


async def live(work: Work, openclaw: OpenClaw, door: Door, *, log: Log, stop: asyncio.Event) -> int:
    """Start everything, work until the work or `stop` ends it, and end everything in bounded time.

    Returns:
        The exit status: 0 if the end was in order.
    """
    working: asyncio.Task[str] | None = None
    status = 1
    try:
        await door.start()
        openclaw.start()
        working = asyncio.create_task(work(), name="work of a life")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        status = _judged(working, log)
    finally:
        if working is not None:
            await _cancelled(working)
        await _bounded(openclaw.stop(), OPENCLAW_SECONDS, "OpenClaw", log)
        await _bounded(work.give_back(crashed=status != 0), BOOKS_SECONDS, "the mailbox", log)
        await _bounded(door.stop(), CANCEL_SECONDS, "HTTP", log)
    return status


@contextlib.contextmanager
def signals_set(stop: asyncio.Event) -> Iterator[None]:
    """Have the signals that end a process set an event instead."""
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _judged(working: asyncio.Task[str], log: Log) -> int:
    if not working.done():
        log("stopping", reason="signal")
        return 0
    error = working.exception()
    if error is None:
        log("stopping", reason=working.result())
        return 0
    if isinstance(error, LeaseLost):
        log("stopping", reason="lease lost")
    else:  # not its words: they may hold what somebody wrote
        log("stopping", reason="fault", error=type(error).__name__, place=_place(error))
    return 1


def _place(error: BaseException) -> str:
    """Where an error was raised: the innermost frame's function and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"


async def _bounded(ending: Awaitable[object], seconds: float, what: str, log: Log) -> None:
    """Wait for an end, but not for ever; whatever goes wrong, the next one is ended, too."""
    try:
        async with asyncio.timeout(seconds):
            await ending
    except Exception as error:  # noqa: BLE001 (logged, and the process ends)
        log("not ended in order", what=what, error=type(error).__name__)


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

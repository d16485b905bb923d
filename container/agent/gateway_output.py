"""What the gateway writes: taken line by line, and cut down to what a log may hold."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

import msgspec

from agent.redaction import without_secret_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE_BYTES = 4096
_MESSAGE_CHARACTERS = 500
_LAST_WORDS_S = 1.0
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ABOUT_ITSELF = re.compile(r"gateway(/(?!ws$).*)?|state/.*|session-sqlite|admission|lifecycle|shutdown|secrets(/.*)?")
_TROUBLE = {"warn", "error", "fatal"}


class _LogLine(msgspec.Struct):
    """A line of OpenClaw's output in the style `json`. What people and models wrote has no subsystem."""

    message: str
    level: str = ""
    subsystem: str = ""


def presentable(line: bytes, *, secrets: tuple[str, ...], was_ready: bool) -> str:
    """What of a line may be logged: what the gateway tells about itself; no answer, and no text of an error of a run.

    Args:
        line: without its end.
        secrets: what is never shown.
        was_ready: until the gateway was, it has had nothing else to tell, and says without JSON what is wrong with its
            configuration.
    """
    try:
        entry = msgspec.json.decode(line, type=_LogLine)
    except msgspec.DecodeError:
        return "" if was_ready else _without(secrets, line.decode("utf-8", "replace"))
    if _ABOUT_ITSELF.fullmatch(entry.subsystem):
        return _without(secrets, f"{entry.subsystem}: {entry.message}")
    return f"{entry.subsystem}: {entry.level}" if entry.subsystem and entry.level in _TROUBLE else ""


class Output:
    """A pipe that a process writes into, and the task that reads it.

    asyncio's own pipes won't do: with them, a process that died counts as running for as long as one that it started
    holds its standard output.

    Attributes:
        descriptor: the end to write into; `started` closes ours of it.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        reading, self.descriptor = os.pipe()
        self._file = os.fdopen(reading, "rb", buffering=0)
        self._open = True
        self._reader = asyncio.StreamReader()
        self._task = asyncio.create_task(self._read(), name="gateway output")

    def started(self) -> None:
        """The process has its end of the pipe, or there is no process."""
        if self._open:
            self._open = False
            os.close(self.descriptor)

    async def finish(self) -> None:
        """Take what is still in the pipe and close it."""
        self.started()
        await asyncio.wait([self._task], timeout=_LAST_WORDS_S)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._file)
        try:
            held = b""
            while chunk := await self._reader.read(_LINE_BYTES):
                *lines, held = (held + chunk).split(b"\n")
                for line in lines:
                    self._take(line[:_LINE_BYTES])
                held = held[:_LINE_BYTES]  # of a long line only the beginning is kept
            if held:
                self._take(held)
        finally:
            transport.close()


def _without(secrets: tuple[str, ...], text: str) -> str:
    text = " ".join(_ANSI.sub("", text).split())
    for secret in secrets:
        text = text.replace(secret, "***")
    return without_secret_shapes(text)[:_MESSAGE_CHARACTERS]

"""Server-sent events, taken out of bytes that are passed on as they come.

httpx-sse reads events from a response; here somebody else does the reading, and a parser is fed beside it.
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventParser:
    """Parses one stream (HTML standard, "Server-sent events"); of an event only the data is kept."""

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []
        self._after_return = False
        self._at_start = True
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of each event that ends in this chunk; events without any are left out."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a line's end
            self._after_return = False
        if not chunk:
            return []
        self._after_return = chunk.endswith(b"\r")
        *ended, unfinished = _LINE_END.split(chunk)
        found = []
        for line in ended:
            data = self._take(b"".join([*self._unfinished, line]))
            self._unfinished.clear()
            if data is not None:
                found.append(data)
        self._unfinished.append(unfinished)
        return found

    def _take(self, line: bytes) -> str | None:
        """Take a line; the event's data, if it ends one."""
        if self._at_start:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        data = b"\n".join(self._data).decode(errors="replace")
        self._data.clear()
        return data or None

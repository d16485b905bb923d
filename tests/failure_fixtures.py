"""The shapes of `tests/fixtures/failures`: what a provider sends, and what it means.

`python -m tests.failure_fixtures` prints how many there are, and how many we had to invent.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from assistant.turns.ledger import window_end

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "fixtures" / "failures"
LEAST = 60
_PIECE_BYTES = 16 * 1024


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text, over and over, until there are so many bytes."""

    text: str
    bytes: int


class Happening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A response, or an exception of httpx instead of one (`raises`: class and message).

    A stream's pieces are text as it is, `{"json": …, "event": …}` for an event, or `{"raises": …}`.
    """

    status: int = 0
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    body_base64: str | None = None
    repeat: Repeat | None = None
    stream: list[str | dict[str, Any]] | None = None
    raises: str | None = None


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The error's class and fields. `block_until`: `{"after": seconds}`, `{"end_of": window}` or `{"at": date}`."""

    error: str
    reason: str
    block_until: dict[str, float | str] | None
    asked: bool
    may_cost: bool

    def block(self, now: float) -> float | None:
        """End of the block in epoch seconds."""
        match self.block_until:
            case {"after": float(seconds)}:
                return now + seconds
            case {"end_of": "day" | "month" as per}:
                return window_end(per, now)
            case {"at": str(moment)}:
                return dt.datetime.fromisoformat(moment).timestamp()
        assert self.block_until is None
        return None


class Fixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shape. `source`: the page or thread that it is taken from, or what it is made of if it is `invented`."""

    name: str
    provider: str
    comment: str
    happens: Happening
    means: Meaning
    source: str
    invented: bool


def load() -> list[Fixture]:
    """All fixtures, in the order of the files."""
    return [
        fixture
        for file in sorted(FOLDER.glob("*.json"))
        for fixture in msgspec.json.decode(file.read_bytes(), type=list[Fixture])
    ]


def summary() -> str:
    """The line that is printed."""
    fixtures = load()
    invented = sum(fixture.invented for fixture in fixtures)
    return f"{len(fixtures)} failures as fixtures, {invented} of them invented"


@dataclass
class Wire(httpx.SyncByteStream):
    """The bytes of a response, made as they are asked for; `served` counts them."""

    happening: Happening
    served: int = field(default=0)

    def __iter__(self) -> Iterator[bytes]:
        for piece in _pieces(self.happening):
            self.served += len(piece)
            yield piece


def response(wire: Wire) -> httpx.Response:
    """The response, or its exception."""
    happening = wire.happening
    if happening.raises is not None:
        raise _exception(happening.raises)
    kind = {"content-type": "application/json"} if bytes(happening.body) else {}
    if happening.stream is not None:
        kind = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx.Response(happening.status, headers={**kind, **happening.headers}, stream=wire)


def _pieces(happening: Happening) -> Iterator[bytes]:
    for piece in happening.stream or ():
        yield _streamed(piece)
    if bytes(happening.body):
        yield bytes(happening.body)
    if happening.text is not None:
        yield happening.text.encode()
    if happening.body_base64 is not None:
        yield base64.b64decode(happening.body_base64)
    if happening.repeat is not None:
        yield from _repeated(happening.repeat)


def _repeated(repeat: Repeat) -> Iterator[bytes]:
    text = repeat.text.encode()
    piece = text * max(1, _PIECE_BYTES // len(text))
    left = repeat.bytes
    while left > 0:
        yield piece[:left]
        left -= len(piece)


def _streamed(piece: str | dict[str, Any]) -> bytes:
    match piece:
        case str(text):
            return text.encode()
        case {"raises": str(error)}:
            raise _exception(error)
        case {"json": data, "event": str(event)}:
            return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
        case {"json": data}:
            return f"data: {json.dumps(data)}\n\n".encode()
    raise ValueError(piece)


def _exception(described: str) -> httpx.HTTPError:
    name, _, message = described.partition(": ")
    error = getattr(httpx, name)(message)
    assert isinstance(error, httpx.HTTPError)
    return error


if __name__ == "__main__":
    sys.stdout.write(summary() + "\n")

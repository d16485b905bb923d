"""Anthropic messages, streamed: Claude.

Source: Anthropic API reference, "Messages" and "Streaming messages".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from assistant.providers.failures import Failure, read_failure
from assistant.turns.model import Answer, Said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VERSION = "2023-06-01"
_OK = 200
_BAD_GATEWAY = 502


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Type(msgspec.Struct):
    type: str


class _Started(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _MessageStart(msgspec.Struct):
    message: _Started


class _Delta(msgspec.Struct):
    text: str | None = None


class _ContentBlockDelta(msgspec.Struct):
    delta: _Delta


class _MessageDelta(msgspec.Struct):
    usage: _Usage | None = None


_TYPE = msgspec.json.Decoder(_Type)
_MESSAGE_START = msgspec.json.Decoder(_MessageStart)
_CONTENT_BLOCK_DELTA = msgspec.json.Decoder(_ContentBlockDelta)
_MESSAGE_DELTA = msgspec.json.Decoder(_MessageDelta)


class AnthropicMessagesReader:
    """Reads message_start, content_block_delta, message_delta and message_stop; the rest says nothing we need.

    An event is read by the shape of its type only: other types may be added at any time ("Streaming messages").
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._input: int | None = None
        self._output: int | None = None
        self._complete = False

    def feed(self, data: str) -> Failure | None:
        """Take an event's data."""
        match _TYPE.decode(data).type:
            case "error":
                return read_failure(_OK, {}, data) or Failure(_BAD_GATEWAY)
            case "message_start":
                started = _MESSAGE_START.decode(data).message
                self._model = started.model or self._model
                self._count(started.usage)
            case "content_block_delta":
                self._text.append(_CONTENT_BLOCK_DELTA.decode(data).delta.text or "")
            case "message_delta":
                self._count(_MESSAGE_DELTA.decode(data).usage)
            case "message_stop":
                self._complete = True
        return None

    def _count(self, usage: _Usage | None) -> None:
        if usage is not None:
            self._input = self._input if usage.input_tokens is None else usage.input_tokens
            self._output = self._output if usage.output_tokens is None else usage.output_tokens

    @property
    def complete(self) -> bool:
        """Whether message_stop came."""
        return self._complete

    @property
    def over(self) -> bool:
        """The same: nothing follows message_stop."""
        return self._complete

    def answer(self) -> Answer:
        """What was said so far."""
        return Answer("".join(self._text), self._model, self._input, self._output)


class AnthropicMessages:
    """The protocol."""

    path = "/v1/messages"

    def headers(self, key: str) -> Mapping[str, str]:
        """The key and the version of the API."""
        return {"x-api-key": key, "anthropic-version": _VERSION}

    def body(self, model: str, max_tokens: int, system: str, conversation: Sequence[Said]) -> Mapping[str, Any]:
        """A streamed message."""
        return {
            "model": model,
            "max_tokens": max_tokens,
            "stream": True,
            "system": system,
            "messages": [{"role": said.role, "content": said.text} for said in conversation],
        }

    def reader(self, model: str) -> AnthropicMessagesReader:
        """A reader of one answer."""
        return AnthropicMessagesReader(model)

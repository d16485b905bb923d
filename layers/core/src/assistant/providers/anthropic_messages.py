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


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


_EVENT = msgspec.json.Decoder(_Event)


class AnthropicMessagesReader:
    """Reads message_start, content_block_delta, message_delta and message_stop; the rest says nothing we need."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._input: int | None = None
        self._output: int | None = None
        self._complete = False

    def feed(self, data: str) -> Failure | None:
        """Take an event's data."""
        event = _EVENT.decode(data)
        match event.type:
            case "error":
                return read_failure(_OK, {}, data)
            case "message_start" if event.message is not None:
                self._model = event.message.model or self._model
                self._count(event.message.usage)
            case "content_block_delta" if event.delta is not None and event.delta.text:
                self._text.append(event.delta.text)
            case "message_delta":
                self._count(event.usage)
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

"""Anthropic messages, streamed: Claude.

Source: Anthropic API reference, "Messages", "Streaming messages" and "Prompt caching".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from assistant.providers.failures import ANTHROPIC_MESSAGES
from assistant.providers.protocol import Tokens  # noqa: TC001 (msgspec reads the annotations)
from assistant.providers.refusals import Failure, read_failure
from assistant.providers.tool_calls import ToolCalls
from assistant.turns.model import Answer, Said, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.turns.chain import Provider
    from assistant.turns.model import Tool

_VERSION = "2023-06-01"
_OK = 200
_BAD_GATEWAY = 502

_CACHED_FOR_FIVE_MINUTES = {"type": "ephemeral"}

_BYTES_PER_TOKEN = 4
"""Of UTF-8: English prose, which the system prompt is, has about 4, code fewer, Cyrillic rather more. A wrong guess
costs little: a mark after a prefix that is too short is ignored, and one that is missing is of a prefix hardly worth
caching. Counting exactly would take a request."""


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


class _Type(msgspec.Struct):
    type: str


class _Started(msgspec.Struct):
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _MessageStart(msgspec.Struct):
    message: _Started


class _Block(msgspec.Struct):
    type: str
    id: str | None = None
    name: str | None = None


class _ContentBlockStart(msgspec.Struct):
    content_block: _Block
    index: int | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None


class _ContentBlockDelta(msgspec.Struct):
    delta: _Delta
    index: int | None = None


class _Stop(msgspec.Struct):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct):
    delta: _Stop | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_TYPE = msgspec.json.Decoder(_Type)
_MESSAGE_START = msgspec.json.Decoder(_MessageStart)
_CONTENT_BLOCK_START = msgspec.json.Decoder(_ContentBlockStart)
_CONTENT_BLOCK_DELTA = msgspec.json.Decoder(_ContentBlockDelta)
_MESSAGE_DELTA = msgspec.json.Decoder(_MessageDelta)
_USAGE = msgspec.json.Decoder(_Usage)


class AnthropicMessagesReader:
    """Reads the events of a message, its content blocks among them; the rest (ping) says nothing we need.

    An event is read by the shape of its type only: other types may be added at any time ("Streaming messages").
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._calls = ToolCalls()
        self._counts: dict[str, int] = {}
        self._begun = False
        self._complete = False

    def feed(self, data: str) -> Failure | None:
        """Take an event's data."""
        match _TYPE.decode(data).type:
            case "error":
                return read_failure(_OK, {}, data) or Failure(_BAD_GATEWAY)
            case "message_start":
                started = _MESSAGE_START.decode(data).message
                self._begun = True
                self._model = started.model or self._model
                self._count(started.usage)
                self._counts.pop("output_tokens", None)  # so far: the last event has the total
            case "content_block_start":
                self._begin(_CONTENT_BLOCK_START.decode(data))
            case "content_block_delta":
                self._begun = True
                self._go_on(_CONTENT_BLOCK_DELTA.decode(data))
            case "message_delta":
                return self._end(_MESSAGE_DELTA.decode(data))
            case "message_stop":
                self._complete = True
        return None

    def _begin(self, event: _ContentBlockStart) -> None:
        block = event.content_block
        if block.type == "tool_use":
            self._calls.piece(key=event.index, call_id=block.id, name=block.name, arguments=None)

    def _go_on(self, event: _ContentBlockDelta) -> None:
        self._text.append(event.delta.text or "")
        if self._calls and event.delta.partial_json is not None:
            self._calls.piece(key=event.index, call_id=None, name=None, arguments=event.delta.partial_json)

    def _end(self, event: _MessageDelta) -> Failure | None:
        self._count(event.usage)
        refused = event.delta is not None and event.delta.stop_reason == "refusal"
        return Failure(_OK, moderated=True) if refused else None

    def _count(self, raw: msgspec.Raw) -> None:
        """Take the counts that an event has: they are totals, and later ones replace earlier ones."""
        try:
            usage = _USAGE.decode(raw)
        except msgspec.DecodeError:
            return  # none, or of a foreign shape: an answer is worth more than its count
        self._counts |= {name: count for name, count in msgspec.structs.asdict(usage).items() if count is not None}

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self._text)

    @property
    def calls(self) -> ToolCalls:
        """The tools that the model has called so far."""
        return self._calls

    @property
    def begun(self) -> bool:
        """Whether message_start came: it counts the input."""
        return self._begun

    @property
    def complete(self) -> bool:
        """Whether message_stop came."""
        return self._complete

    @property
    def over(self) -> bool:
        """The same: nothing follows message_stop."""
        return self._complete

    def answer(self) -> Answer:
        """What was said so far; half a count is none, or the other half would cost nothing."""
        counts = self._counts
        counted = counts.keys() >= {"input_tokens", "output_tokens"}
        usage = Usage(
            input=counts.get("input_tokens", 0),
            cached=counts.get("cache_read_input_tokens", 0),
            written=counts.get("cache_creation_input_tokens", 0),
            output=counts.get("output_tokens", 0),
        )
        return Answer(self.text, self._model, usage if counted else None)


class AnthropicMessages:
    """The protocol."""

    path = "/v1/messages"
    failures = ANTHROPIC_MESSAGES

    def headers(self, key: str) -> Mapping[str, str]:
        """The key and the version of the API."""
        return {"x-api-key": key, "anthropic-version": _VERSION}

    def body(
        self, provider: Provider, system: str, conversation: Sequence[Said], tool: Tool | None = None
    ) -> Mapping[str, Any]:
        """A streamed message, with up to two marks for the cache: after the system prompt and after the question.

        The next turn finds what this one has written: it looks back up to 20 blocks from its own mark, and the mark
        itself is no part of what is compared ("Prompt caching"). A prefix below the model's minimum is not marked.
        """
        minimum = provider.cache_minimum_tokens
        tools = [] if tool is None else [_tool(tool)]
        size = _bytes(system) + sum(_bytes(json.dumps(one)) for one in tools)  # they come before the system prompt
        prompt = _block(system, marked=_worth_caching(size, minimum))
        messages = [{"role": said.role, "content": [_block(said.text)]} for said in conversation]
        if conversation:
            size += sum(_bytes(said.text) for said in conversation)
            last = conversation[-1]
            question = _block(last.text, marked=_worth_caching(size, minimum))
            messages[-1]["content"] = [question, _block(last.note)] if last.note else [question]
        return {
            "model": provider.model,
            "max_tokens": provider.max_tokens,
            "stream": True,
            **({"tools": tools} if tools else {}),
            "system": [prompt],
            "messages": messages,
        }

    def reader(self, model: str) -> AnthropicMessagesReader:
        """A reader of one answer."""
        return AnthropicMessagesReader(model)


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}


def _block(text: str, *, marked: bool = False) -> dict[str, Any]:
    """A text block; the mark stands last, so that the bytes before it do not depend on it."""
    block: dict[str, Any] = {"type": "text", "text": text}
    return block | {"cache_control": _CACHED_FOR_FIVE_MINUTES} if marked else block


def _worth_caching(size: int, minimum: int | None) -> bool:
    return minimum is not None and size >= minimum * _BYTES_PER_TOKEN


def _bytes(text: str) -> int:
    return len(text.encode())

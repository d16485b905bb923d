"""OpenAI chat completions, streamed: GitHub Copilot, OpenRouter, Ollama Cloud.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object";
OpenRouter docs, "Streaming" (errors inside the stream).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from assistant.providers.failures import OPENAI_CHAT
from assistant.providers.protocol import Tokens  # noqa: TC001 (msgspec reads the annotations)
from assistant.providers.refusals import Failure, read_failure
from assistant.providers.tool_calls import ToolCalls
from assistant.turns.model import Answer, Said, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.turns.chain import Provider
    from assistant.turns.model import Tool

_DONE = "[DONE]"
_OK = 200
_BAD_GATEWAY = 502


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    index: int | None = None
    id: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_CHUNK = msgspec.json.Decoder(_Chunk)
_USAGE = msgspec.json.Decoder(_Usage)
_CALLS = msgspec.json.Decoder(list[_Call] | None)


class OpenAIChatReader:
    """Reads `chat.completion.chunk` events, or the one object of an answer that was not streamed."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._calls = ToolCalls()
        self._usage: Usage | None = None
        self._begun = False
        self._complete = False
        self._over = False

    def feed(self, data: str) -> Failure | None:
        """Take an event's data."""
        if data.strip() == _DONE:
            self._complete = self._over = True
            return None
        failure = read_failure(_OK, {}, data)
        if failure is not None:
            return failure
        chunk = _CHUNK.decode(data)
        self._model = chunk.model or self._model
        self._usage = _counted(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            failure = self._take(choice)
            if failure is not None:
                return failure
        return None

    def _take(self, choice: _Choice) -> Failure | None:
        said = choice.delta or choice.message
        content = "" if said is None else said.content or ""
        self._begun = self._begun or bool(content) or choice.finish_reason != "error"
        if choice.finish_reason == "error":
            return Failure(_BAD_GATEWAY)
        if choice.finish_reason == "content_filter":
            return Failure(_OK, moderated=True)
        self._complete = self._complete or choice.finish_reason is not None
        self._text.append(content)
        if said is not None:
            self._take_calls(said.tool_calls)
        return None

    def _take_calls(self, raw: msgspec.Raw) -> None:
        """Take the pieces of calls; what is of a foreign shape is a call of nothing."""
        try:
            calls = _CALLS.decode(raw) or ()
        except msgspec.DecodeError:
            calls = (_Call(_Function()),)
        for call in calls:
            arguments = call.function.arguments
            if isinstance(arguments, dict):  # as Ollama's own protocol has them
                arguments = msgspec.json.encode(arguments).decode()
            self._calls.piece(key=call.index, call_id=call.id, name=call.function.name, arguments=arguments)

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
        """Whether a choice came that is more than an error."""
        return self._begun

    @property
    def complete(self) -> bool:
        """Whether a finish_reason or [DONE] came."""
        return self._complete

    @property
    def over(self) -> bool:
        """Whether [DONE] came; between finish_reason and it comes the usage."""
        return self._over

    def answer(self) -> Answer:
        """What was said so far."""
        return Answer(self.text, self._model, self._usage)


def _counted(raw: msgspec.Raw) -> Usage | None:
    """The usage of a chunk; None if it has none, or one of a foreign shape: an answer is worth more than its count."""
    try:
        usage = _USAGE.decode(raw)
    except msgspec.DecodeError:
        return None
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        return None
    prompt = usage.prompt_tokens or 0
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    cached = min(cached or 0, prompt)  # prompt_tokens includes them
    return Usage(input=prompt - cached, cached=cached, output=usage.completion_tokens or 0)


class OpenAIChat:
    """The protocol."""

    path = "/chat/completions"
    failures = OPENAI_CHAT

    def headers(self, key: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {key}"}

    def body(
        self, provider: Provider, system: str, conversation: Sequence[Said], tool: Tool | None = None
    ) -> Mapping[str, Any]:
        """A streamed chat completion that ends with its usage.

        `max_tokens` is the one name that all three take: Ollama knows no other (Ollama docs, "OpenAI compatibility"),
        OpenRouter documents it ("Parameters"), and Copilot serves Gemini here. OpenAI's own newer models want
        `max_completion_tokens`, but Copilot does not serve those as chat completions (caozhiyuan/copilot-api#102).
        `stream_options` is documented by Ollama; OpenRouter reports usage with or without it ("Usage accounting").
        """
        return {
            "model": provider.model,
            "max_tokens": provider.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({} if tool is None else {"tools": [_function(tool)]}),
            "messages": [
                {"role": "system", "content": system},
                *({"role": said.role, "content": _content(said)} for said in conversation),
            ],
        }

    def reader(self, model: str) -> OpenAIChatReader:
        """A reader of one answer."""
        return OpenAIChatReader(model)


def _function(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _content(said: Said) -> str:
    return f"{said.text}\n\n{said.note}" if said.note else said.text

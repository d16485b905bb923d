"""OpenAI chat completions, streamed: GitHub Copilot, OpenRouter, Ollama Cloud.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object";
OpenRouter docs, "Streaming" (errors inside the stream).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from assistant.providers.failures import Failure, read_failure
from assistant.turns.model import Answer, Said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DONE = "[DONE]"
_OK = 200
_BAD_GATEWAY = 502


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIChatReader:
    """Reads `chat.completion.chunk` events, or the one object of an answer that was not streamed."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._usage = _Usage()
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
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices or ():
            if choice.finish_reason == "error":
                return Failure(_BAD_GATEWAY)
            self._complete = self._complete or choice.finish_reason is not None
            said = choice.delta or choice.message
            if said is not None and said.content:
                self._text.append(said.content)
        return None

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
        return Answer("".join(self._text), self._model, self._usage.prompt_tokens, self._usage.completion_tokens)


class OpenAIChat:
    """The protocol."""

    path = "/chat/completions"

    def headers(self, key: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {key}"}

    def body(self, model: str, max_tokens: int, system: str, conversation: Sequence[Said]) -> Mapping[str, Any]:
        """A streamed chat completion that ends with its usage."""
        return {
            "model": model,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": system},
                *({"role": said.role, "content": said.text} for said in conversation),
            ],
        }

    def reader(self, model: str) -> OpenAIChatReader:
        """A reader of one answer."""
        return OpenAIChatReader(model)

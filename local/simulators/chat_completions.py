"""OpenAI's chat completions protocol, which Copilot, OpenRouter and Ollama Cloud speak.

Shapes: platform.openai.com/docs/api-reference/chat and …/chat-streaming. Token counts are estimates;
`max_tokens` is not enforced.
"""

import itertools
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from local.simulators import sse
from local.simulators.answers import pieces_of, question_of, text_of, tokens_in
from local.simulators.faults import Fault
from local.simulators.provider import Json, ProviderSimulator, Refusal

_ROLES = {"system", "developer", "user", "assistant", "tool"}


class ChatCompletionsSimulator(ProviderSimulator):
    """A provider that speaks chat completions. Vendors state what differs."""

    context_window = 128_000
    _ids = itertools.count(1)

    @abstractmethod
    def malformed(self, message: str) -> Refusal:
        """The vendor's 400."""

    def extras(self) -> Mapping[str, Any]:
        """Fields that this vendor adds to every chunk."""
        return {}

    def preamble(self) -> list[bytes]:
        """What this vendor sends ahead of the first chunk."""
        return []

    def always_reports_usage(self) -> bool:
        """Whether usage comes in a stream that did not ask for it."""
        return False

    def check_key(self, request: Request, key: str) -> Refusal | None:
        """A bearer token is asked for."""
        if request.headers.get("Authorization") == f"Bearer {key}":
            return None
        return self.refusal(Fault.UNAUTHORIZED, {})

    def check(self, request: Request, body: Json) -> Refusal | None:
        """The fields without which OpenAI's protocol answers 400."""
        del request
        messages = body.get("messages")
        if not isinstance(body.get("model"), str):
            return self.malformed("model is required")
        if not isinstance(messages, list) or not messages:
            return self.malformed("messages must be a non-empty array")
        if any(not isinstance(entry, dict) or entry.get("role") not in _ROLES for entry in messages):
            return self.malformed("messages contain an unknown role")
        return None

    def question(self, body: Json) -> str:
        """The user's messages since the last answer."""
        return question_of(body["messages"])

    def stream(self, body: Json, text: str) -> list[bytes]:
        """`chat.completion.chunk` events; usage in the last, with empty `choices`, if it was asked for."""
        envelope = self._envelope(body, "chat.completion.chunk")
        events = [*self.preamble(), _chunk(envelope, {"role": "assistant", "content": ""})]
        events += [_chunk(envelope, {"content": piece}) for piece in pieces_of(text)]
        events.append(_chunk(envelope, {}, "stop"))
        if self.always_reports_usage() or (body.get("stream_options") or {}).get("include_usage"):
            events.append(sse.event({**envelope, "choices": [], "usage": _usage(body, text)}))
        return [*events, sse.event("[DONE]")]

    def complete(self, body: Json, text: str) -> Json:
        """A `chat.completion` object."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**self._envelope(body, "chat.completion"), "choices": [choice], "usage": _usage(body, text)}

    def requested_tokens(self, body: Json) -> int:
        """How many tokens a refusal says that a conversation has: too many, as it was ordered, even if they are few."""
        return max(_prompt_tokens(body.get("messages", [])), self.context_window + 1)

    def error_in_stream(self, body: Json) -> bytes:
        """A bare error object as an event, as compatible servers send it (open-octo/octo-agent#910)."""
        del body
        return sse.event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})

    def _envelope(self, body: Json, kind: str) -> Json:
        return {
            "id": f"chatcmpl-simulated-{next(self._ids)}",
            "object": kind,
            "created": int(self.clock.now()),
            "model": body["model"],
            **self.extras(),
        }


def _chunk(envelope: Json, delta: Json, finish_reason: str | None = None) -> bytes:
    return sse.event({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _prompt_tokens(messages: list[Json]) -> int:
    return sum(tokens_in(text_of(message.get("content"))) for message in messages)


def _usage(body: Json, text: str) -> Json:
    prompt = _prompt_tokens(body["messages"])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens_in(text),
        "total_tokens": prompt + tokens_in(text),
    }

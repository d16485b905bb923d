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
from local.simulators.answers import Saying, ToolCall, pieces_of, question_of, text_of, tokens_in
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

    def stream(self, body: Json, said: Saying) -> list[bytes]:
        """`chat.completion.chunk` events; usage in the last, with empty `choices`, if it was asked for."""
        envelope = self._envelope(body, "chat.completion.chunk")
        events = [*self.preamble(), _chunk(envelope, {"role": "assistant", "content": ""})]
        events += [_chunk(envelope, delta) for delta in self._deltas(said)]
        events.append(_chunk(envelope, {}, _finish_reason(said)))
        if self.always_reports_usage() or (body.get("stream_options") or {}).get("include_usage"):
            events.append(sse.event({**envelope, "choices": [], "usage": _usage(body, said)}))
        return [*events, sse.event("[DONE]")]

    def complete(self, body: Json, said: Saying) -> Json:
        """A `chat.completion` object."""
        message: Json = {"role": "assistant", "content": said}
        if isinstance(said, ToolCall):
            message = {"role": "assistant", "content": None, "tool_calls": [self._call(said, said.text)]}
        choice = {"index": 0, "message": message, "finish_reason": _finish_reason(said)}
        return {**self._envelope(body, "chat.completion"), "choices": [choice], "usage": _usage(body, said)}

    def _deltas(self, said: Saying) -> list[Json]:
        """The pieces of an answer: of a call the name first, and then its arguments."""
        if isinstance(said, str):
            return [{"content": piece} for piece in pieces_of(said)]
        begun = {"index": 0, **self._call(said, "")}
        rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces_of(said.text)]
        return [{"tool_calls": [delta]} for delta in (begun, *rest)]

    def _call(self, call: ToolCall, arguments: str) -> Json:
        function = {"name": call.name, "arguments": arguments}
        return {"id": f"call_simulated_{next(self._ids)}", "type": "function", "function": function}

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


def _finish_reason(said: Saying) -> str:
    return "stop" if isinstance(said, str) else "tool_calls"


def _usage(body: Json, said: Saying) -> Json:
    prompt = _prompt_tokens(body["messages"])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens_in(said),
        "total_tokens": prompt + tokens_in(said),
    }

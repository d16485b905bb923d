"""What a model calls instead of answering, put together from the pieces in which it is streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import ProviderUnavailable

if TYPE_CHECKING:
    from assistant.turns.model import Tool

LONGEST_TASK = 8_000
"""Characters. The task restates the message, which goes to the agent, too: what is longer is no task."""


@dataclass(slots=True)
class _Call:
    key: int | None
    id: str | None
    name: str = ""
    arguments: str = ""

    def is_over(self, call_id: str | None, name: str | None) -> bool:
        """Whether a piece with that id and name belongs to the next call."""
        if call_id and self.id:
            return call_id != self.id
        return bool(name) and _decoded(self.arguments) is not None


class ToolCalls:
    """Calls in the order in which they began; what can't be read of one makes it a broken one, and is no error here."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        """Whether anything was called."""
        return bool(self._calls)

    def piece(self, *, key: int | None, call_id: str | None, name: str | None, arguments: str | None) -> None:
        """Take a piece of a call.

        Args:
            key: the call's place in the answer, where it is told. Gemini tells none, and others the same for all of
                them (openai/openai-python#2806, ai-dynamo/dynamo#4723).
            call_id: comes with the first piece, and from some not at all (continuedev/continue#13225).
            name: of the tool; comes with the first piece.
            arguments: a piece of their JSON.
        """
        call = next((call for call in reversed(self._calls) if key is None or call.key == key), None)
        if call is None or call.is_over(call_id, name):
            call = _Call(key, call_id)
            self._calls.append(call)
        call.name = call.name or name or ""
        call.arguments += arguments or ""

    def task(self, tool: Tool, provider_id: str) -> str:
        """The text that the tool was called with; of several calls, all of them.

        Raises:
            ProviderUnavailable: the model called something else, or with nothing that makes a task. It was asked for
                nothing of the kind, and another may do better.
        """
        tasks = [_argument(call.arguments, tool) for call in self._calls if call.name == tool.name]
        if not tasks:
            raise ProviderUnavailable(provider_id, "unknown tool", may_cost=True)
        if None in tasks:
            raise ProviderUnavailable(provider_id, "broken tool call", may_cost=True)
        task = "\n\n".join(text for text in dict.fromkeys(tasks) if text)
        if not task:
            raise ProviderUnavailable(provider_id, "empty task", may_cost=True)
        return task[:LONGEST_TASK]


def _argument(arguments: str, tool: Tool) -> str | None:
    """The one argument; None if it can't be read."""
    match _decoded(arguments):
        case {tool.argument: str(text)}:
            return text.strip()
    return None


def _decoded(text: str) -> object:
    """JSON; None if it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None

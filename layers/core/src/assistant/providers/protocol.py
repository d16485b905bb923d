"""What the two protocols have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.providers.failures import Table
    from assistant.providers.refusals import Failure
    from assistant.providers.tool_calls import ToolCalls
    from assistant.turns.chain import Provider
    from assistant.turns.model import Answer, Said, Tool

Tokens = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
"""A count of tokens that a provider may tell: more than any model reads is no count, and would use up a budget."""


class Reader(Protocol):
    """Reads one streamed answer, event by event."""

    def feed(self, data: str) -> Failure | None:
        """Take an event's data; answers the failure if it is one.

        Raises:
            ValueError: not what the protocol sends (msgspec's errors among them).
            RecursionError: nested too deeply.
        """
        ...

    @property
    def text(self) -> str:
        """The answer's text so far."""
        ...

    @property
    def calls(self) -> ToolCalls:
        """The tools that the model has called so far."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the provider has begun to answer: it may charge for that, whatever follows."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the provider has said all of its answer."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        ...

    def answer(self) -> Answer:
        """What was said so far."""
        ...


class WireProtocol(Protocol):
    """How a provider is spoken to, and what its refusals mean."""

    path: str
    failures: Table

    def headers(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key."""
        ...

    def body(
        self, provider: Provider, system: str, conversation: Sequence[Said], tool: Tool | None = None
    ) -> Mapping[str, Any]:
        """The request, in which a `tool` is offered.

        Two requests with the same tool that begin with the same messages begin with the same bytes, whatever `note` the
        last message has: providers cache what a prompt begins with.
        """
        ...

    def reader(self, model: str) -> Reader:
        """A reader of one answer."""
        ...

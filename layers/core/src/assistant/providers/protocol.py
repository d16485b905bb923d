"""What the two protocols have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.providers.failures import Failure
    from assistant.turns.model import Answer, Said


class Reader(Protocol):
    """Reads one streamed answer, event by event."""

    def feed(self, data: str) -> Failure | None:
        """Take an event's data; answers the failure if it is one. ValueError: not what the protocol sends."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the provider has said that it is done."""
        ...

    def answer(self) -> Answer:
        """What was said so far."""
        ...


class WireProtocol(Protocol):
    """How a provider is spoken to."""

    path: str

    def headers(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key."""
        ...

    def body(self, model: str, max_tokens: int, system: str, conversation: Sequence[Said]) -> Mapping[str, Any]:
        """The request."""
        ...

    def reader(self, model: str) -> Reader:
        """A reader of one answer."""
        ...

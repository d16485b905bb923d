"""The frames of the gateway's WebSocket, protocol 4, as types: as much of them as is used; the rest is ignored.

Source: the gateway's own pages "Gateway protocol: transport, handshake", and what the pinned version was seen to send.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL = 4


class FrameError(msgspec.Struct, rename="camel"):
    """Why a request was refused. `message` may quote what providers said; it is shown to nobody."""

    code: str = "UNKNOWN"
    message: str = ""
    details: Any = None


class Frame(msgspec.Struct):
    """A response (`res`, with the request's `id`) or an event."""

    type: str
    id: str = ""
    ok: bool = False
    event: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")
    error: FrameError | None = None


class Server(msgspec.Struct, rename="camel"):
    """Which gateway it is; `boot_id` is another after each start."""

    version: str = ""
    boot_id: str = ""


class Hello(msgspec.Struct):
    """The answer to `connect`."""

    server: Server = msgspec.field(default_factory=Server)


class Observation(msgspec.Struct, rename="camel"):
    """Which provider failed in a run, and how OpenClaw calls it (`rate_limit`, `auth`, `timeout` …)."""

    provider: str = ""
    model: str = ""
    failover_reason: str = ""


class EventData(msgspec.Struct, rename="camel"):
    """What an `agent` event tells: of `stream` "assistant" the text, of "lifecycle" the phase.

    Attributes:
        text: all of the item so far; None if only the delta is given.
        delta: what is new.
        replace: forget the item's text so far.
        item_id: one piece of text; there is another after every use of tools and after every fallback.
    """

    phase: str = ""
    text: str | None = None
    delta: str = ""
    replace: bool = False
    item_id: str = ""
    error_observation: Observation | None = None


class AgentEvent(msgspec.Struct, rename="camel"):
    """An event of a run."""

    run_id: str = ""
    stream: str = ""
    data: EventData = msgspec.field(default_factory=EventData)


class Cost(msgspec.Struct):
    """US dollars, by the prices of the configuration."""

    total: float = 0.0


class Usage(msgspec.Struct, rename="camel"):
    """Tokens of a whole run, over all its requests to the provider that answered."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: Cost = msgspec.field(default_factory=Cost)


class FallbackAttempt(msgspec.Struct, rename="camel"):
    """A provider that was asked before, and why it did not answer."""

    provider: str = ""
    model: str = ""
    reason: str = ""


class AgentMeta(msgspec.Struct, rename="camel"):
    """Who answered."""

    provider: str = ""
    model: str = ""
    usage: Usage | None = None
    fallback_attempts: list[FallbackAttempt] = []


class Meta(msgspec.Struct, rename="camel"):
    """About a run."""

    agent_meta: AgentMeta = msgspec.field(default_factory=AgentMeta)


class Payload(msgspec.Struct):
    """A part of the answer."""

    text: str | None = None


class Result(msgspec.Struct):
    """What a run brought."""

    payloads: list[Payload] = []
    meta: Meta = msgspec.field(default_factory=Meta)


class RunStatus(msgspec.Struct, rename="camel"):
    """A response to `agent`: accepted, in_flight (asked again with the same key), and at last ok, error or timeout.

    An aborted run is a "timeout" whose summary is "aborted".
    """

    status: str = ""
    summary: str = ""
    stop_reason: str = ""
    result: Result | None = None


class AbortResult(msgspec.Struct):
    """The response to `chat.abort`."""

    aborted: bool = False

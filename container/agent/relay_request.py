"""What of the agent's request goes on to a provider.

The agent is talked into things by what it reads, and may well know the relay's token: what it asks for is bounded by
the chain's model and longest answer, and whatever a vendor charges for beyond tokens at the chain's price is not sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistant.turns.chain import Provider

LONGEST_REQUEST_BYTES = 10 * 1024 * 1024

IMAGE_TOKENS = 5000
"""More than any image has, however few bytes it is compressed to (Anthropic docs, "Vision": 4,784)."""

UNSEEN_TOKENS = 2048
"""More than a vendor's own words around a request have (Anthropic docs, "Tool use": up to some 800 with tools)."""

_OPENAI_CHAT = frozenset({
    "messages", "tools", "tool_choice", "parallel_tool_calls", "temperature", "top_p", "stop", "seed",
    "response_format", "reasoning_effort", "reasoning", "frequency_penalty", "presence_penalty",
})  # fmt: skip
"""Left out: `n`, `models` and `plugins` (OpenRouter), `service_tier` and what else multiplies or adds to a price."""

_ANTHROPIC_MESSAGES = frozenset({
    "messages", "system", "tools", "tool_choice", "temperature", "top_p", "top_k", "stop_sequences", "thinking",
    "output_config",
})  # fmt: skip
"""Left out: `mcp_servers`, `container`, `service_tier`, `speed`, `inference_geo`, `metadata`."""

_SOURCES = frozenset({("image", "base64"), ("document", "text"), ("document", "content")})
"""Content whose tokens are bounded by what the request holds; not so a URL, a file's id or a PDF's pages."""

type Fields = dict[str, msgspec.Raw]

_FIELDS = msgspec.json.Decoder(Fields)


class RequestRefused(Exception):
    """The relay does not pass this request on. The message says why in fixed words, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request as the provider gets it; `most_tokens`: what its input counts at most, a byte being no less."""

    body: bytes
    most_tokens: int


def forwarded(raw: bytes, provider: Provider) -> Forwarded:
    """Read a request of the agent's, and write what the provider is to get.

    What is kept is kept byte for byte: a provider's prompt cache depends on it.

    Raises:
        RequestRefused: it is none, it is for another model, or it may cost what nobody can tell beforehand.
    """
    try:
        fields = _FIELDS.decode(raw)
        longest = _checked(fields, provider)
        images = _CHECKS[provider.protocol](fields)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise RequestRefused("the request is not JSON of the right shape") from None
    body = msgspec.json.encode(_kept(fields, provider, longest))
    return Forwarded(body, len(body) + UNSEEN_TOKENS + images * IMAGE_TOKENS)


def _checked(fields: Fields, provider: Provider) -> int:
    """How long the answer may be; the request's own words about it, if they say less than the chain."""
    if _read(fields, "model") != provider.model:
        raise RequestRefused("the model is not the chain's")
    if _read(fields, "stream") is not True:
        raise RequestRefused("the relay answers with a stream only")
    wanted = [_read(fields, name) for name in ("max_tokens", "max_completion_tokens")]
    return min([provider.max_tokens, *(most for most in wanted if isinstance(most, int) and most > 0)])


def _kept(fields: Fields, provider: Provider, longest: int) -> Mapping[str, Any]:
    if provider.protocol == "anthropic-messages":
        kept = {name: value for name, value in fields.items() if name in _ANTHROPIC_MESSAGES}
        return {"model": provider.model, "max_tokens": longest, "stream": True, **kept}
    kept = {name: value for name, value in fields.items() if name in _OPENAI_CHAT}
    counted = {"stream_options": {"include_usage": True}}  # without it, nobody counts
    return {"model": provider.model, "max_tokens": longest, "stream": True, **counted, **kept}


def _check_openai_chat(fields: Fields) -> int:
    """Refuse tools that OpenRouter runs (`openrouter:web_search`); none of these providers costs anything else."""
    if any(tool.get("type") != "function" for tool in _objects(_read(fields, "tools"))):
        raise RequestRefused("a tool that the provider runs is not paid for")
    return 0


def _check_anthropic_messages(fields: Fields) -> int:
    """Refuse what costs more than tokens, or tokens at another price; the number of images."""
    tools = _objects(_read(fields, "tools"))
    if any(tool.get("type") not in {None, "custom"} for tool in tools):
        raise RequestRefused("a tool that the provider runs is not paid for")
    blocks = [*tools, *_blocks(_read(fields, "system"))]
    for message in _objects(_read(fields, "messages")):
        blocks += _blocks(message.get("content"))
    for block in blocks:
        _check_block(block)
    return sum(block.get("type") == "image" for block in blocks)


def _check_block(block: Mapping[str, Any]) -> None:
    mark = block.get("cache_control")
    if isinstance(mark, dict) and mark.get("ttl") not in {None, "5m"}:
        raise RequestRefused("only the cache of five minutes is paid for")
    source = block.get("source")
    if isinstance(source, dict) and (block.get("type"), source.get("type")) not in _SOURCES:
        raise RequestRefused("only what stands in the request itself is sent, as text or image")


_CHECKS = {"openai-chat": _check_openai_chat, "anthropic-messages": _check_anthropic_messages}


def _blocks(content: object) -> Iterator[Mapping[str, Any]]:
    """Blocks of content, with those inside a tool's result or a document."""
    for block in _objects(content):
        yield block
        yield from _blocks(block.get("content"))
        source = block.get("source")
        if isinstance(source, dict):
            yield from _blocks(source.get("content"))


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _read(fields: Fields, name: str) -> Any:  # noqa: ANN401 (whatever JSON holds)
    return msgspec.json.decode(fields[name]) if name in fields else None

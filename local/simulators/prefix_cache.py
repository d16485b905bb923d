"""Anthropic's prompt cache, simulated.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching. A prefix is everything up to and including
a block, in the order tools, system, messages, for one model. Entries are written at breakpoints only; from each
breakpoint at most 20 blocks are looked at for one, the breakpoint's own among them. An entry lives five minutes,
or an hour, from its last use. A prefix below the model's minimum is neither written nor read, and nothing says so.

The minimums are those that the page gives for each model, as quoted in dev.to/creeta, "Claude's prompt cache
fails silently below 1,024 tokens" (2026). Older ones agree with anthropics/anthropic-sdk-python#1194, where
Sonnet 4.6 is seen to cache from 2,048 only.

Assumed: that a breakpoint's own block is one of the twenty; that a text given as a string and the same text as a
block are one prefix (the page calls the first short for the second). Invented: the sentences about a `type` or a
`ttl` that does not exist. Not simulated: a `cache_control` at the top level of the request (automatic caching), and
that an entry can be read only once the answer that wrote it has begun.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from local.simulators.answers import tokens_in

type Json = dict[str, Any]

BREAKPOINTS = 4
LOOKBACK = 20
FIVE_MINUTES = 300.0
ONE_HOUR = 3600.0
MINIMUM_TOKENS: Mapping[str, int] = {
    "claude-opus-5": 512,
    "claude-fable-5": 512,
    "claude-mythos-5": 512,
    "claude-opus-4-8": 1024,
    "claude-sonnet-5": 1024,
    "claude-sonnet-4-6": 1024,
    "claude-sonnet-4-5": 1024,
    "claude-opus-4-1": 1024,
    "claude-opus-4": 1024,
    "claude-opus-4-7": 2048,
    "claude-opus-4-6": 4096,
    "claude-opus-4-5": 4096,
    "claude-haiku-4-5": 4096,
}
_DEFAULT_MINIMUM = 1024
_LIFETIMES = {"5m": FIVE_MINUTES, "1h": ONE_HOUR}


@dataclass(frozen=True)
class Block:
    """A piece of a request: a tool, or a content block of the system prompt or of a message.

    Attributes:
        place: Where it stands, as errors say it: `messages.0.content.1`.
        content: What counts for the cache: the role and the block, without its `cache_control`.
        tokens: Its estimated size.
        text: Its text, if it is one.
        cache_control: The marker that makes it a breakpoint.
    """

    place: str
    content: bytes
    tokens: int
    text: str | None
    cache_control: Json | None

    @property
    def ttl(self) -> str:
        """How long a breakpoint's entry lives: "5m" or "1h"."""
        return str((self.cache_control or {}).get("ttl", "5m"))


@dataclass(frozen=True)
class InputTokens:
    """A request's input, each token counted once.

    Attributes:
        uncached: Neither read nor written.
        read: Found in the cache.
        written_5m: Written for five minutes.
        written_1h: Written for an hour.
    """

    uncached: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def total(self) -> int:
        """The whole input."""
        return self.uncached + self.read + self.written_5m + self.written_1h


class _Entry(NamedTuple):
    expires_at: float
    lifetime_s: float


def blocks_of(body: Json) -> list[Block]:
    """A request's blocks in the order in which they form prefixes."""
    blocks = [_block(f"tools.{at}", "tools", tool) for at, tool in enumerate(body.get("tools") or [])]
    blocks += _content_blocks("system", "system", body.get("system"))
    for at, message in enumerate(body.get("messages") or []):
        blocks += _content_blocks(f"messages.{at}.content", str(message.get("role")), message.get("content"))
    return blocks


def problem_of(blocks: Iterable[Block]) -> str | None:
    """What the API says of markers that are wrong; None if they are right."""
    marked = [block for block in blocks if block.cache_control is not None]
    if len(marked) > BREAKPOINTS:
        return f"A maximum of {BREAKPOINTS} blocks with cache_control may be provided. Found {len(marked)}."
    shorter_lived = False
    for block in marked:
        problem = _marker_problem(block)
        if problem:
            return problem
        if shorter_lived and block.ttl == "1h":
            return (
                f"{block.place}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, "
                "`messages`."
            )
        shorter_lived = block.ttl == "5m"
    return None


class PrefixCache:
    """The prefixes of one account.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, minimum_tokens: Mapping[str, int] = MINIMUM_TOKENS) -> None:
        """Make one.

        Args:
            minimum_tokens: The shortest prefix that is cached, by model id; ids with a date after them count as
                the id, and models that are not named need 1,024.
        """
        self._minimum_tokens = minimum_tokens
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        """How many prefixes are kept."""
        return len(self._entries)

    def minimum_for(self, model: str) -> int:
        """The shortest prefix of a model that is cached, in tokens."""
        named = [name for name in self._minimum_tokens if model == name or model.startswith(f"{name}-")]
        return self._minimum_tokens[max(named, key=len)] if named else _DEFAULT_MINIMUM

    def account(self, model: str, blocks: list[Block], now: float) -> InputTokens:
        """Read and write a request's prefixes, and tell how its input tokens are to be billed."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}
        keys = list(_keys(model, blocks))
        sizes = _running_totals(blocks)
        minimum = self.minimum_for(model)
        breakpoints = [
            at for at, block in enumerate(blocks) if block.cache_control is not None and sizes[at] >= minimum
        ]
        read = max((sizes[at] for at in self._hits(keys, breakpoints, now)), default=0)
        written = {"5m": 0, "1h": 0}
        accounted = read
        for at in breakpoints:
            written[blocks[at].ttl] += max(0, sizes[at] - accounted)
            accounted = max(accounted, sizes[at])
            self._use(keys[at], _LIFETIMES[blocks[at].ttl], now)
        total = sizes[-1] if sizes else 0
        return InputTokens(total - accounted, read, written["5m"], written["1h"])

    def _hits(self, keys: list[bytes], breakpoints: list[int], now: float) -> Iterator[int]:
        for last in breakpoints:
            for at in range(last, max(-1, last - LOOKBACK), -1):
                if keys[at] in self._entries:
                    self._use(keys[at], 0, now)
                    yield at
                    break

    def _use(self, key: bytes, lifetime_s: float, now: float) -> None:
        known = self._entries.get(key)
        lasting = max(lifetime_s, known.lifetime_s if known else 0)
        self._entries[key] = _Entry(now + lasting, lasting)


def _content_blocks(place: str, role: str, content: object) -> list[Block]:
    if isinstance(content, list):
        return [_block(f"{place}.{at}", role, entry) for at, entry in enumerate(content) if isinstance(entry, dict)]
    return [_block(f"{place}.0", role, {"type": "text", "text": str(content)})] if content else []


def _block(place: str, role: str, entry: Json) -> Block:
    bare = {name: value for name, value in entry.items() if name != "cache_control"}
    written = json.dumps(bare, ensure_ascii=False, separators=(",", ":"))
    text = str(entry.get("text", "")) if entry.get("type") == "text" else None
    # Messages of one role in a row are joined by the API: where one ends and the next begins is not in the prefix.
    content = f"{role} {written}\n".encode(errors="surrogatepass")
    return Block(place, content, tokens_in(written if text is None else text), text, entry.get("cache_control"))


def _marker_problem(block: Block) -> str | None:
    if block.cache_control is None or block.cache_control.get("type") != "ephemeral":
        return f"{block.place}.cache_control.type: Input should be 'ephemeral'"
    if block.ttl not in _LIFETIMES:
        return f"{block.place}.cache_control.ttl: Input should be '5m' or '1h'"
    if block.text == "":
        return f"{block.place}.text: cache_control cannot be set for empty text blocks"
    return None


def _keys(model: str, blocks: list[Block]) -> Iterator[bytes]:
    prefix = hashlib.sha256(f"{model}\n".encode(errors="surrogatepass"))
    for block in blocks:
        prefix.update(block.content)
        yield prefix.digest()


def _running_totals(blocks: list[Block]) -> list[int]:
    totals: list[int] = []
    for block in blocks:
        totals.append(block.tokens + (totals[-1] if totals else 0))
    return totals

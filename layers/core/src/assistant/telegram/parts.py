"""Cutting a text into messages. Telegram counts UTF-16 code units (Bot API, "sendMessage": 1–4096 characters)."""

from __future__ import annotations

PART_UNITS = 4096
_BREAKS = ("\n\n", "\n", ". ", " ")
"""Where to cut, the best first."""


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def split(text: str, limit: int = PART_UNITS) -> list[str]:
    """Cut a text into parts of at most `limit` UTF-16 units, at a paragraph, line, sentence or word where it can.

    White space around a cut is dropped; a text without anything to show has no parts. `limit` is at least 2: a code
    point may be two units.
    """
    parts: list[str] = []
    rest = text.strip()
    while units(rest) > limit:
        head = _head(rest, limit)
        cut = _cut(head)
        parts.append(head[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*parts, rest] if rest else parts


def _head(text: str, limit: int) -> str:
    """The longest beginning of at most `limit` units; a code point is never cut in two."""
    head = text[:limit]
    while (over := units(head) - limit) > 0:
        head = head[: -max(1, over // 2)]
    return head


def _cut(head: str) -> int:
    """Where to cut `head`: after the last good break in its second half, or at its end."""
    for mark in _BREAKS:
        at = head.rfind(mark, len(head) // 2)
        if at > 0:
            return at + len(mark)
    return len(head)

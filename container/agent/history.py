"""What the agent has not seen of a conversation, put before its next message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.model import Exchange

MOST_BYTES = 96 * 1024
"""Of history before one message: some 30,000 tokens, which leaves most of the smallest context window of the chain."""

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
# All that XML 1.0 has no character for, half a pair included ("Extensible Markup Language", production 2, Char).
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[&<>\r]")


def preceded(question: str, unseen: Sequence[Exchange], *, messages: int, most_bytes: int = MOST_BYTES) -> str:
    """The question, after what the agent has not seen.

    Args:
        question: goes to the agent as it is.
        unseen: exchanges, oldest first.
        messages: the newest so many messages are told.
        most_bytes: of UTF-8; whatever is older than what fits is left out.
    """
    said = [
        _message(role, text)
        for exchange in unseen
        for role, text in (("user", exchange.user), ("assistant", exchange.assistant))
    ]
    told = _newest(said[-messages:] if messages > 0 else [], most_bytes)
    if not told:
        return question
    return "\n".join(["<conversation_history>", *told, "</conversation_history>", "", question])


def with_task(question: str, task: str | None) -> str:
    """The question, and what the model that handed it over thinks is to be done."""
    return question if task is None else f"{question}\n\n<task>{escaped(task)}</task>"


def escaped(text: str) -> str:
    """The text as XML's character data: nothing in it ends an element, and any parser reads it."""
    return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], _NO_CHARACTER.sub("\ufffd", text))


def _message(role: str, text: str) -> str:
    return f'<message role="{role}">{escaped(text)}</message>'


def _newest(said: Sequence[str], most_bytes: int) -> list[str]:
    left = most_bytes
    for number, message in enumerate(reversed(said)):
        left -= len(message.encode())
        if left < 0:
            return list(said[len(said) - number :])
    return list(said)

"""What a simulated model says, and what it charges for saying it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

QUOTE_LIMIT = 1000
_PIECES = 4
_TIME = re.compile(r"(?:^|\n)\s*\[Now: [^\n]*\]\s*$")


def question_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """The user's text after the last answer, one line per message.

    All of it, not just the last message: several messages sent at once are one turn, and a test wants to
    see that none was dropped. Content may be a string or a list of blocks (both protocols allow both).
    """
    # A message may end with a line or a block "[Now: …]": the product tells the model the time there, because
    # a time in the system prompt would spoil the cached prefix. The user never wrote it, so it is not quoted.
    lines: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            lines.clear()
        elif message.get("role") == "user":
            lines.append(_without_time(message.get("content")))
    return "\n".join(line for line in lines if line)


def _without_time(content: object) -> str:
    if isinstance(content, list) and _TIME.fullmatch(text_of(content[-1:]).strip()):
        content = content[:-1]
    return _TIME.sub("", text_of(content))


def text_of(content: object) -> str:
    """The text of a message's content, be it a string or a list of blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return str(content or "")


def answer_to(question: str, provider_id: str) -> str:
    """The answer: it says that it is simulated and by whom, and quotes the question, shortened."""
    quote = question if len(question) <= QUOTE_LIMIT else question[: QUOTE_LIMIT - 1] + "…"
    return f"[simulated {provider_id}] You said: {quote}"


def pieces_of(text: str) -> list[str]:
    """The text in the few pieces in which it is streamed."""
    size = max(1, -(-len(text) // _PIECES))
    return [text[at : at + size] for at in range(0, len(text), size)]


def tokens_in(text: str) -> int:
    """About how many tokens a text has, at four characters each (vendors' own rule of thumb)."""
    return -(-len(text) // 4)

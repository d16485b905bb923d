"""What a simulated model says, and what it charges for saying it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

QUOTE_LIMIT = 1000
_PIECES = 4
DELEGATE = "delegate_to_agent"
_NEEDS_A_TOOL = re.compile(r"\b(file|files|folder|web|website|look up|download|script)\b", re.IGNORECASE)
_TIME = re.compile(r"(?:^|\n)\s*\[Now: [^\n]*\]\s*$")
_OF_THE_AGENT = (
    re.compile(r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?<<<END_OPENCLAW_INTERNAL_CONTEXT>>>", re.DOTALL),
    re.compile(r"<conversation_history>.*</conversation_history>\s*", re.DOTALL),
    re.compile(r"^\[\w{3} \d{4}-\d\d-\d\d \d\d:\d\d \w+\] ", re.MULTILINE),
    re.compile(r"^\[Retry after the previous model attempt failed or timed out\]\s*", re.MULTILINE),
    re.compile(r"\n\nRuntime: agent=[^\n]*$"),
    re.compile(r"\s*<task>.*</task>", re.DOTALL),
)
"""What OpenClaw and the bridge put round a message."""


@dataclass(frozen=True)
class ToolCall:
    """What a simulated model wants done before it answers.

    Attributes:
        name: The tool's.
        arguments: As its schema has them.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The arguments as they are sent."""
        return json.dumps(self.arguments, ensure_ascii=False)


type Saying = str | ToolCall
"""An answer: a text, or a call of one tool."""


def question_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """The user's text after the last answer, one line per message.

    All of it, not just the last message: several messages sent at once are one turn, and a test wants to
    see that none was dropped. Content may be a string or a list of blocks (both protocols allow both). A turn in
    which the model called a tool is no answer.
    """
    # A message may end with a line or a block "[Now: …]": the product tells the model the time there, because
    # a time in the system prompt would spoil the cached prefix. The user never wrote it, so it is not quoted;
    # nor is what the agent adds.
    lines: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            if not _calls_a_tool(message):
                lines.clear()
        elif message.get("role") == "user":
            lines.append(_as_written(message.get("content")))
    return "\n".join(line for line in lines if line)


def _calls_a_tool(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return bool(message.get("tool_calls")) or any(block.get("type") == "tool_use" for block in blocks)


def _as_written(content: object) -> str:
    if isinstance(content, list) and _TIME.fullmatch(text_of(content[-1:]).strip()):
        content = content[:-1]
    text = _TIME.sub("", text_of(content))
    for added in _OF_THE_AGENT:
        text = added.sub("", text)
    return text


def text_of(content: object) -> str:
    """The text of a message's content, be it a string or a list of blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return str(content or "")


def tools_in(body: Mapping[str, Any]) -> frozenset[str]:
    """The names of the tools that a request offers, in either protocol."""
    offered = [tool for tool in body.get("tools") or [] if isinstance(tool, dict)]
    return frozenset(str(tool.get("function", tool).get("name", "")) for tool in offered)


def results_in(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the tools said since the model's last turn, in either protocol."""
    found: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            found.clear()
        elif message.get("role") == "tool":
            found.append(text_of(message.get("content")))
        elif isinstance(message.get("content"), list):
            blocks = [block for block in message["content"] if isinstance(block, dict)]
            found += [text_of(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    return found


def delegation_of(body: Mapping[str, Any], question: str) -> ToolCall | None:
    """A call of the tool that hands over to the agent, where it is offered and the question is for the agent."""
    if DELEGATE not in tools_in(body) or not _NEEDS_A_TOOL.search(question):
        return None
    return ToolCall(DELEGATE, {"task": question.strip()})


def answer_to(question: str, provider_id: str) -> str:
    """The answer: it says that it is simulated and by whom, and quotes the question, shortened."""
    quote = question if len(question) <= QUOTE_LIMIT else question[: QUOTE_LIMIT - 1] + "…"
    return f"[simulated {provider_id}] You said: {quote}"


def pieces_of(text: str) -> list[str]:
    """The text in the few pieces in which it is streamed."""
    size = max(1, -(-len(text) // _PIECES))
    return [text[at : at + size] for at in range(0, len(text), size)]


def tokens_in(said: Saying) -> int:
    """About how many tokens something has, at four characters each (vendors' own rule of thumb)."""
    text = said if isinstance(said, str) else said.name + said.text
    return -(-len(text) // 4)

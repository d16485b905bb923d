"""The chat model's one tool: handing a request over to the agent. When it is offered, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.turns import texts
from assistant.turns.model import Tool

if TYPE_CHECKING:
    from assistant.turns.chain import Provider
    from assistant.turns.model import Turn

DELEGATE_TO_AGENT = Tool(
    name="delegate_to_agent",
    description=(
        "Hands the person's last message over to your agent, who answers it in your stead. The agent has what you "
        "lack: the web, files that are kept, and a shell. Call it if, and only if, the message can't be answered well "
        "without one of these. Write nothing beside the call. The agent sees the conversation and the message, too."
    ),
    argument="task",
    meaning=(
        "What is to be done, in the language of the message: complete, with every name, date and wish that matters, "
        "and nothing that was not said."
    ),
)
"""Its bytes are a part of every cached prefix: what is changed here is read anew, once, by every provider."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told ahead of the conversation."""

    system: str
    tool: Tool | None = None

    @property
    def counted(self) -> str:
        """All of it as one text, for its size."""
        tool = self.tool
        return self.system + (f"{tool.name}{tool.description}{json.dumps(tool.schema)}" if tool else "")


_PLAIN = Prompt(texts.SYSTEM_PROMPT)
_WITH_AGENT = Prompt(texts.SYSTEM_PROMPT_WITH_AGENT, DELEGATE_TO_AGENT)


def prompt(turn: Turn, provider: Provider) -> Prompt:
    """The prompt for a turn: one of two, each always the same, so that providers can cache it."""
    return _WITH_AGENT if turn.may_delegate and turn.task is None and provider.tools else _PLAIN

"""The items of the two tables, as `docs/data-model.md` describes them; a contract test compares the two."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from assistant.turns.agents import Agent, Mail
from assistant.turns.errands import Errand
from assistant.turns.ledger import Entry
from assistant.turns.model import Chat, Exchange, InboxMessage, Reminder, Turn, Used

DUE_INDEX = "due"
DUE_CHAT = "chat"
"""`due_kind` of a chat with work."""
DUE_AGENT = "agent"
"""`due_kind` of an agent that is not at rest: it is started, runs, or has mail."""

CHAT = "CHAT"
INBOX = "CHAT#INBOX#"
UPDATE = "UPDATE#"
ERRAND = "ERRAND#"
QUESTION = "QUESTION#forget"
TURN = "TURN#"
HISTORY = "HISTORY#"
NOTICE = "NOTICE#"
LEDGER = "LEDGER"
USAGE = "USAGE"
AGENT = "AGENT#"
AGENT_ITEM = "AGENT"
MAIL = "MAIL#"
SNAPSHOT = "SNAPSHOT#"
SETTINGS = "SETTINGS"
OWNER = "OWNER"
ALLOWED = "ALLOWED"
REMINDER = "REMINDER#"
STRANGER = "STRANGER#"


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of item. `attributes` are those beside the keys; a trailing `:` stands for a name that goes on."""

    name: str
    table: Literal["Conversations", "Runtime"]
    attributes: frozenset[str]


def _names(model: type, *without: str) -> frozenset[str]:
    return frozenset(field.name for field in fields(model)) - set(without)


ITEMS = (
    Item("Chat", "Conversations", _names(Chat)),
    Item("InboxMessage", "Conversations", _names(InboxMessage, "update_id")),  # the update's id is in the key
    Item("UpdateMark", "Conversations", frozenset({"ttl"})),
    Item("Question", "Conversations", frozenset({"sender_id", "ttl"})),
    Item("Errand", "Conversations", _names(Errand)),
    Item("Turn", "Conversations", _names(Turn)),
    Item("Exchange", "Conversations", _names(Exchange)),
    Item("NoticeMark", "Conversations", frozenset({"turn", "ttl"})),
    Item(
        "LedgerEntry",
        "Runtime",
        frozenset({"minute:", "day:", "month:", "month_micro_dollars:"}) | _names(Entry, "windows"),
    ),
    Item("AgentHours", "Runtime", frozenset({"seconds:", "running:", "told:"})),
    Item("UsageDay", "Runtime", _names(Used) | {"ttl"}),
    Item("Owner", "Runtime", frozenset({"chat_id"})),
    Item("Agent", "Runtime", _names(Agent)),
    Item("MailboxTurn", "Runtime", _names(Mail)),
    Item(
        "Snapshot",
        "Runtime",  # assistant.workspace.model.Snapshot: not imported, few functions need it
        frozenset({"number", "generation", "key", "digest", "created_at", "files", "bytes", "left_out", "turn"}),
    ),
    Item("Reminder", "Runtime", _names(Reminder)),
    Item("Allowed", "Runtime", frozenset({"note", "chat"})),
    Item("StrangerMark", "Runtime", frozenset({"ttl"})),
)


def inbox_key(message: InboxMessage) -> str:
    """Sort key of an inbox message: Telegram's own order."""
    return f"{INBOX}{message.date:010d}#{message.message_id:010d}#{message.update_id}"


def errand_key(update_id: int) -> str:
    """Sort key of a command that a function of its own carries out."""
    return f"{ERRAND}{update_id}"


def turn_key(number: int) -> str:
    """Sort key of a turn."""
    return f"{TURN}{number:010d}"


def agent_partition(chat_id: str) -> str:
    """Partition key of a chat's agent and its mail."""
    return f"{AGENT}{chat_id}"


def snapshot_key(number: int) -> str:
    """Sort key of a snapshot on the list of what is kept."""
    return f"{SNAPSHOT}{number:010d}"


def mail_key(number: int) -> str:
    """Sort key of a turn's mail."""
    return f"{MAIL}{number:010d}"


def reminders_partition(chat_id: str) -> str:
    """Partition key of a chat's reminders."""
    return f"{REMINDER}{chat_id}"


def reminder_key(number: int) -> str:
    """Sort key of a reminder."""
    return f"{number:03d}"


def usage_key(day: str, provider_id: str) -> str:
    """Sort key of a provider's sums of a day (`YYYY-MM-DD`)."""
    return f"{day}#{provider_id}"


def history_key(number: int) -> str:
    """Sort key of a turn's exchange."""
    return f"{HISTORY}{number:010d}"

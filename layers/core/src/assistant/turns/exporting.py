"""`/export`: what is kept of a chat's conversation, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from assistant.turns import texts
from assistant.turns.errands import Document, Reply

if TYPE_CHECKING:
    from assistant.turns.errands import Asked, Errand
    from assistant.turns.ports import Clock, Conversations

MOST_BYTES = 50_000_000
"""A bot may send files of up to 50 MB (Telegram Bot API, "Sending files")."""


@dataclass(frozen=True, slots=True)
class Exporting:
    """Exports conversations."""

    conversations: Conversations
    clock: Clock

    def __call__(self, asked: Asked, _errand: Errand) -> Reply:
        """The answer to `/export`."""
        found = self.export(asked.chat_id)
        number = len(found["exchanges"])
        data = encoded(found)
        if len(data) > MOST_BYTES:
            return Reply(texts.export_too_large(number))
        name = f"conversation-{datetime.fromtimestamp(self.clock.now(), UTC):%Y-%m-%d}.json"
        return Reply(texts.exported(number), Document(name, data))

    def export(self, chat_id: str) -> dict[str, Any]:
        """What is kept of a chat and has not expired, oldest first; what `/new` hides, too."""
        kept = self.conversations.kept(chat_id)
        return {
            "chat_id": chat_id,
            "exported_at": _moment(self.clock.now()),
            "exchanges": [
                {
                    "turn": number,
                    "at": _moment(exchange.created_at),
                    "user": exchange.user,
                    "assistant": exchange.assistant,
                    "provider": exchange.provider,
                    "before_new": number <= (kept.chat.history_after or 0),
                }
                for number, exchange in kept.exchanges
            ],
            "unanswered": [
                {"turn": turn.number, "at": _moment(turn.created_at), "user": turn.text, "status": str(turn.status)}
                for turn in kept.unanswered
            ],
            "waiting": [{"at": _moment(message.date), "user": message.text} for message in kept.waiting],
        }


def encoded(found: dict[str, Any]) -> bytes:
    """An export as it is sent."""
    return json.dumps(found, ensure_ascii=False, indent=1).encode(errors="replace")


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"

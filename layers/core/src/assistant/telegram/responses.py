"""The response to the webhook: it may carry one method call, which costs no request of our own.

Source: Telegram Bot API, "Making requests when getting updates".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistant.turns.accepting import Incoming, Response, Say, Typing

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_reply(message_id: int | None) -> dict[str, Any]:
    """What makes a sent message the reply to another, if that is still there; nothing for None."""
    if message_id is None:
        return {}
    return {"reply_parameters": {"message_id": message_id, "allow_sending_without_reply": True}}


def webhook_call(incoming: Incoming, response: Response) -> Mapping[str, Any] | None:
    """The method call that carries out a response; None for silence."""
    where: dict[str, Any] = {"chat_id": int(incoming.chat_id)}
    if incoming.thread_id is not None:
        where["message_thread_id"] = incoming.thread_id
    match response:
        case Typing():
            return {"method": "sendChatAction", **where, "action": "typing"}
        case Say(text):
            call: dict[str, Any] = {"method": "sendMessage", **where, "text": text}
            if incoming.group:
                call |= as_reply(incoming.message_id)
            return call
    return None

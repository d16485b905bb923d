"""The response to the webhook: it may carry one method call, which costs no request of our own.

Source: Telegram Bot API, "Making requests when getting updates".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistant.turns.accepting import Incoming, Response, Say, Typing

if TYPE_CHECKING:
    from collections.abc import Mapping


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
                call["reply_parameters"] = {
                    "message_id": incoming.message_id,
                    "allow_sending_without_reply": True,
                }
            return call
    return None

"""The method call that the response to a webhook carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assistant.telegram.responses import webhook_call
from assistant.turns.accepting import Incoming, Response, Say, Silence, Typing

PRIVATE = Incoming(1, 7, 0, "42", "42", group=False, addressed=True, command=None, text="hi", kind="text")
GROUP = replace(PRIVATE, chat_id="-100", group=True)
TOPIC = replace(GROUP, thread_id=9)
QUOTED = {"message_id": 7, "allow_sending_without_reply": True}


@pytest.mark.parametrize(
    ("incoming", "response", "call"),
    [
        (PRIVATE, Silence(), None),
        (PRIVATE, Typing(), {"method": "sendChatAction", "chat_id": 42, "action": "typing"}),
        (TOPIC, Typing(), {"method": "sendChatAction", "chat_id": -100, "message_thread_id": 9, "action": "typing"}),
        (PRIVATE, Say("Hello"), {"method": "sendMessage", "chat_id": 42, "text": "Hello"}),
        (
            GROUP,
            Say("Hello"),
            {"method": "sendMessage", "chat_id": -100, "text": "Hello", "reply_parameters": QUOTED},
        ),
        (
            TOPIC,
            Say("Hello"),
            {
                "method": "sendMessage",
                "chat_id": -100,
                "message_thread_id": 9,
                "text": "Hello",
                "reply_parameters": QUOTED,
            },
        ),
    ],
)
def test_a_response_is_at_most_one_call(incoming: Incoming, response: Response, call: dict[str, Any] | None) -> None:
    assert webhook_call(incoming, response) == call

"""Updates have Telegram's shape: python-telegram-bot reads back what it wrote."""

from collections.abc import Callable
from typing import Any

import pytest
from telegram import Update

from local.simulators import UpdateFactory

CHAT = 42
GROUP = -1001234567890


class FixedClock:
    def now(self) -> float:
        return 1_794_300_000.9


@pytest.fixture
def factory() -> UpdateFactory:
    return UpdateFactory(FixedClock())


def read(update: dict[str, Any]) -> Update:
    parsed = Update.de_json(update, None)
    assert parsed is not None
    return parsed


def test_ids_grow_and_the_date_is_the_clocks(factory: UpdateFactory) -> None:
    first, second = factory.text(CHAT, "one"), factory.text(CHAT, "two")

    assert second["update_id"] == first["update_id"] + 1
    assert second["message"]["message_id"] == first["message"]["message_id"] + 1
    assert first["message"]["date"] == 1_794_300_000
    assert first["message"]["from"]["id"] == first["message"]["chat"]["id"] == CHAT
    assert first["message"]["chat"]["type"] == "private"


def test_message_ids_can_be_shared_with_the_bot() -> None:
    factory = UpdateFactory(FixedClock(), message_ids=lambda: 77)

    assert factory.text(CHAT, "hi")["message"]["message_id"] == 77


def test_commands_and_mentions_are_entities(factory: UpdateFactory) -> None:
    command = read(factory.text(CHAT, "/start now")).effective_message
    mention = read(factory.text(GROUP, "🐢 @simulated_bot hello", user_id=5)).effective_message

    assert command is not None
    assert mention is not None
    assert [(entity.type, entity.offset, entity.length) for entity in command.entities] == [("bot_command", 0, 6)]
    assert list(mention.parse_entities().values()) == ["@simulated_bot"]


def test_groups_need_a_sender_and_topics_and_replies_are_told(factory: UpdateFactory) -> None:
    message = factory.text(GROUP, "hi", user_id=5, thread_id=3, reply_to_bot=True)["message"]

    assert (message["from"]["id"], message["chat"]["id"]) == (5, GROUP)
    assert message["message_thread_id"] == 3
    assert message["reply_to_message"]["from"]["is_bot"] is True
    with pytest.raises(ValueError, match="user_id"):
        factory.text(GROUP, "who?")


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda factory: factory.edited_text(CHAT, "better"), "edited_message"),
        (lambda factory: factory.voice(CHAT), "message.voice"),
        (lambda factory: factory.photo(CHAT, caption="look"), "message.photo"),
        (lambda factory: factory.document(CHAT), "message.document"),
        (lambda factory: factory.sticker(CHAT), "message.sticker"),
        (lambda factory: factory.location(CHAT), "message.location"),
        (lambda factory: factory.callback(CHAT, "yes"), "callback_query.data"),
        (lambda factory: factory.my_chat_member(CHAT, added=False), "my_chat_member.new_chat_member"),
        (
            lambda factory: factory.my_chat_member(GROUP, added=True, user_id=5),
            "my_chat_member.new_chat_member",
        ),
        (lambda factory: factory.migration(-77, GROUP, user_id=5), "message.migrate_to_chat_id"),
        (lambda factory: factory.channel_post(GROUP, "news"), "channel_post.text"),
        (lambda factory: factory.inline_query(CHAT, "tur"), "inline_query.query"),
    ],
)
def test_every_kind_of_update_is_read_back(
    factory: UpdateFactory, build: Callable[[UpdateFactory], dict[str, Any]], kind: str
) -> None:
    update = build(factory)

    found: Any = update
    for name in kind.split("."):
        found = found[name]
    assert found
    assert read(update).to_dict() == update

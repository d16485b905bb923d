"""Updates as Telegram sends them, and what is read from them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram import Chat, Message, MessageEntity, User

from assistant.errors import UpdateInvalid
from assistant.telegram.updates import KINDS, LONGEST_BODY, Ignored, read_update
from assistant.turns.accepting import Incoming, Moved
from tests import payloads
from tests.payloads import BOT, GROUP, GROUP_ID, MESSAGE_ID, UPDATE_ID, UPDATES, USER_ID, written


def read(update: dict[str, Any], bot: str = BOT) -> Incoming | Moved | Ignored:
    return read_update(json.dumps(update, ensure_ascii=False).encode(), bot)


def incoming(update: dict[str, Any], bot: str = BOT) -> Incoming:
    found = read(update, bot)
    assert isinstance(found, Incoming)
    return found


def test_the_stored_events_are_up_to_date() -> None:
    stored = {path.name: path.read_text("utf-8") for path in payloads.EVENTS.glob("webhook_*.json")}

    assert stored == payloads.files(), "write them anew: python -m tests.payloads"


def test_a_text() -> None:
    assert incoming(UPDATES["text"]) == Incoming(
        update_id=UPDATE_ID,
        message_id=MESSAGE_ID,
        date=1_795_348_800,
        chat_id=str(USER_ID),
        sender_id=str(USER_ID),
        group=False,
        addressed=True,
        command=None,
        text="What is the capital of Norway?",
        kind="text",
    )


def test_a_text_in_a_forum_topic() -> None:
    found = incoming(UPDATES["forum_topic"])

    assert (found.chat_id, found.sender_id, found.group) == (str(GROUP_ID), str(USER_ID), True)
    assert (found.thread_id, found.addressed, found.text) == (99, True, "hello")


def test_a_thread_of_replies_is_no_topic() -> None:
    assert incoming(UPDATES["thread_of_replies"]).thread_id is None


@pytest.mark.parametrize(
    ("text", "command", "rest"),
    [
        ("/start", "start", ""),
        ("/Start", "start", ""),
        (f"/new@{BOT}", "new", ""),
        (f"/new@{BOT.upper()} please", "new", "please"),
        ("/retry\nnow", "retry", "now"),
        ("/weather Oslo 🌧", "weather", "Oslo 🌧"),
        ("/usr/bin/env is what?", None, "/usr/bin/env is what?"),
        ("/ no", None, "/ no"),
        ("/", None, "/"),
        ("//", None, "//"),
        ("say /start", None, "say /start"),
        (" /start", None, " /start"),
        ("/naïve", None, "/naïve"),
        (f"/{'x' * 33}", None, f"/{'x' * 33}"),
    ],
)
def test_commands(text: str, command: str | None, rest: str) -> None:
    found = incoming(written(text))

    assert (found.command, found.text, found.addressed) == (command, rest, True)


def test_in_private_every_message_is_for_the_bot() -> None:
    assert incoming(written("/help@other_bot")).addressed


@pytest.mark.parametrize(
    ("name", "addressed"),
    [
        ("group_command", True),
        ("group_command_for_another", False),
        ("group_mention", True),
        ("group_reply", True),
        ("group_text", False),
        ("group_photo_mention", True),
    ],
)
def test_groups_have_to_address_the_bot(name: str, addressed: bool) -> None:
    found = incoming(UPDATES[name])

    assert found.group
    assert found.addressed is addressed


def test_a_command_without_a_name_is_for_every_bot_of_the_group() -> None:
    assert incoming(written("/help", GROUP)).addressed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"@{BOT} what is new?", "what is new?"),
        (f"@{BOT.upper()} what is new?", "what is new?"),
        (f"🎉🎉 @{BOT} what is new?", "🎉🎉  what is new?"),
        (f"what is new, @{BOT}", "what is new,"),
        (f"@{BOT} and @{BOT} again", "and  again"),
        (f"@{BOT} ask @ada of ada@{BOT}.org", f"ask @ada of ada@{BOT}.org"),
        (f"@{BOT}", f"@{BOT}"),
    ],
)
def test_a_mention_is_not_part_of_what_is_said(text: str, left: str) -> None:
    found = incoming(written(text, GROUP))

    assert (found.text, found.addressed) == (left, True)


@pytest.mark.parametrize("text", [f"@{BOT}_2 hello", f"ada@{BOT}.org", f"x@{BOT}", "@ada hello"])
def test_other_names_are_no_mention(text: str) -> None:
    found = incoming(written(text, GROUP))

    assert (found.text, found.addressed) == (text, False)


def test_the_name_without_an_entity_is_no_mention() -> None:
    assert not incoming(payloads.update(message=payloads.message(GROUP, text=f"@{BOT} hello"))).addressed


def test_entities_count_utf16() -> None:
    # Counted in code points, the entity would be found two characters too late.
    assert UPDATES["group_mention"]["message"]["entities"][0]["offset"] == 5


def test_a_reply_to_another_bot_is_not_for_us() -> None:
    other = payloads.message(GROUP, User(8, "Other", is_bot=True, username="other_bot"), text="hi")

    assert not incoming(written("hello", GROUP, reply_to_message=other)).addressed


def test_a_reply_to_a_post_without_a_sender_is_not_for_us() -> None:
    assert not incoming(written("hello", GROUP, reply_to_message=payloads.message(GROUP, None, text="hi"))).addressed


@pytest.mark.parametrize("name", ["voice", "photo", "document", "sticker", "video_note", "location", "contact", "dice"])
def test_kinds_that_can_not_be_read_yet(name: str) -> None:
    found = incoming(UPDATES[name])

    assert (found.kind, found.text, found.command, found.addressed) == (name, None, None, True)


def test_every_kind_is_known_by_its_field() -> None:
    assert set(KINDS) <= set(Message.__slots__)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("edited", "edited_message"),
        ("channel_post", "channel_post"),
        ("callback_query", "callback_query"),
        ("inline_query", "inline_query"),
        ("my_chat_member", "my_chat_member"),
        ("members_joined", "service message"),
        ("member_left", "service message"),
        ("pinned", "service message"),
        ("forum_topic_created", "service message"),
        ("group_anonymous_admin", "not from a user"),
        ("group_linked_channel", "not from a user"),
    ],
)
def test_what_is_ignored(name: str, kind: str) -> None:
    assert read(UPDATES[name]) == Ignored(UPDATE_ID, kind)


def test_a_group_that_became_a_supergroup_is_told_of_in_both() -> None:
    told_in_the_new = payloads.message(GROUP, None, migrate_from_chat_id=-5)

    assert read(UPDATES["migrated"]) == Moved(UPDATE_ID, "-5", str(GROUP_ID))
    assert read(payloads.update(message=told_in_the_new)) == Moved(UPDATE_ID, "-5", str(GROUP_ID))


def test_what_nobody_or_a_bot_wrote_is_ignored() -> None:
    bot = User(8, "Other", is_bot=True, username="other_bot")

    assert read(payloads.update(message=payloads.message(GROUP, bot, text="hi"))) == Ignored(
        UPDATE_ID, "not from a user"
    )
    assert read(payloads.update(message=payloads.message(GROUP, None, text="hi"))) == Ignored(
        UPDATE_ID, "not from a user"
    )


def test_an_update_of_a_kind_of_tomorrow_is_ignored() -> None:
    assert read({"update_id": 1, "hologram": {"text": 7}}) == Ignored(1, "hologram")
    assert read({"update_id": 1}) == Ignored(1, "empty")
    assert read({"update_id": 1, "message": None}) == Ignored(1, "message")


@pytest.mark.parametrize("kind", [Chat.GROUP, Chat.SUPERGROUP])
def test_both_kinds_of_groups(kind: str) -> None:
    assert incoming(written("hello", Chat(-9, kind, title="x"))).group


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b"\xff\xfe\x00",
        b'{"update_id": "1"}',
        b'{"update_id": 1.5}',
        b'{"update_id": 1, "message": []}',
        b'{"update_id": 1, "message": {"message_id": 1}}',
        b'{"update_id": 1, "message": {"message_id": 1, "date": 1, "chat": {"id": "x", "type": "private"}}}',
        b'{"update_id": 1, "x": ' + b"[" * 100_000,
        b'{"update_id": 1, "message": ' + b'{"a":' * 100_000,
        b'{"update_id": 1, "message": {"text": "\\ud83d"}}',
    ],
)
def test_what_telegram_would_not_send(body: bytes) -> None:
    with pytest.raises(UpdateInvalid, match=r"^not an update$"):
        read_update(body, BOT)


def test_a_body_may_have_a_mebibyte() -> None:
    body = json.dumps(UPDATES["text"]).encode()

    assert isinstance(read_update(body.ljust(LONGEST_BODY), BOT), Incoming)
    with pytest.raises(UpdateInvalid, match=r"^larger than 1 MiB$"):
        read_update(body.ljust(LONGEST_BODY + 1), BOT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTITIES = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from([MessageEntity.MENTION, MessageEntity.BOT_COMMAND]) | JSON,
            "offset": st.integers(-20, 20) | JSON,
            "length": st.integers(-20, 20) | JSON,
        }
    ),
    max_size=3,
)
PEOPLE = st.fixed_dictionaries({"id": st.integers(), "is_bot": st.booleans(), "username": st.none() | st.just(BOT)})
MESSAGES = st.fixed_dictionaries(
    {
        "message_id": st.integers(),
        "date": st.integers(),
        "chat": st.fixed_dictionaries({"id": st.integers(), "type": st.sampled_from(["private", "group", "?"])}),
    },
    optional={
        "from": PEOPLE | JSON,
        "text": st.text() | st.text().map(lambda text: f"🎉@{BOT}{text}") | JSON,
        "caption": st.text(),
        "entities": ENTITIES | JSON,
        "caption_entities": ENTITIES,
        "reply_to_message": st.fixed_dictionaries({}, optional={"from": PEOPLE}) | JSON,
        "voice": JSON,
    },
)


@given(st.binary() | st.builds(json.dumps, JSON).map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(UpdateInvalid):
        read_update(body, BOT)


@given(MESSAGES)
def test_any_message_is_read_or_refused(message: dict[str, Any]) -> None:
    with contextlib.suppress(UpdateInvalid):
        found = read({"update_id": 1, "message": message})
        assert found.update_id == 1


@given(st.text(min_size=1), st.text())
def test_only_the_mention_is_taken_out(before: str, after: str) -> None:
    text = f"{before} @{BOT} {after}"
    offset = len(f"{before} ".encode("utf-16-le")) // 2
    mention = MessageEntity(MessageEntity.MENTION, offset, len(BOT) + 1)
    if text.startswith("/"):
        return

    found = incoming(payloads.update(message=payloads.message(GROUP, text=text, entities=[mention])))

    assert found.addressed
    assert found.text == (f"{before}  {after}".strip() or text)

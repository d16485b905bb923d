"""Updates as Telegram sends them, read into what the rules accept.

Source: Telegram Bot API, "Update", "Message", "MessageEntity"; only what we use is declared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import UpdateInvalid
from assistant.turns.accepting import Incoming, Moved

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_BODY = 1024 * 1024
"""Bytes. Telegram's own updates are far smaller."""

KINDS = (
    "animation", "audio", "checklist", "contact", "dice", "document", "game", "location", "paid_media", "photo", "poll",
    "sticker", "story", "venue", "video", "video_note", "voice",
)  # fmt: skip
"""Kinds of messages that a person sends and we can't read yet. What is in neither list is a service message."""

type Id = int


class _Chat(msgspec.Struct):
    id: Id
    type: str


class _User(msgspec.Struct):
    id: Id
    is_bot: bool = False
    username: str | None = None


class _Entity(msgspec.Struct):
    type: str
    offset: int
    length: int


class _Answered(msgspec.Struct):
    sender: _User | None = msgspec.field(default=None, name="from")


class _SenderChat(msgspec.Struct):
    """A channel or group in whose name was written: "from" is then Telegram's own stand-in."""

    id: Id


class _Message(msgspec.Struct):
    message_id: int
    date: int
    chat: _Chat
    sender: _User | None = msgspec.field(default=None, name="from")
    sender_chat: _SenderChat | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False
    text: str | None = None
    caption: str | None = None
    entities: list[_Entity] = []
    caption_entities: list[_Entity] = []
    reply_to_message: _Answered | None = None
    migrate_to_chat_id: Id | None = None
    migrate_from_chat_id: Id | None = None


class _Update(msgspec.Struct):
    update_id: int
    message: _Message | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An update that we answer nothing to; `kind` names it for the log, without content."""

    update_id: int
    kind: str


_UPDATE = msgspec.json.Decoder(_Update)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]+))?(?=\s|$)")


def read_update(body: bytes, bot_username: str) -> Incoming | Moved | Ignored:
    """Read an update.

    Args:
        body: the JSON that Telegram posted.
        bot_username: the bot's name without `@`; groups address it by that.

    Raises:
        UpdateInvalid: too large, not JSON, or not an update.
    """
    if len(body) > LONGEST_BODY:
        raise UpdateInvalid("larger than 1 MiB")
    try:
        update = _UPDATE.decode(body)
        fields = _FIELDS.decode(body)
        message_fields = _FIELDS.decode(fields["message"]).keys() if update.message else ()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UpdateInvalid("not an update") from None
    message = update.message
    if message is None:
        return Ignored(update.update_id, next((field for field in fields if field != "update_id"), "empty"))
    kind: str | None = "text" if message.text is not None else next((k for k in KINDS if k in message_fields), None)
    if kind is None:
        return _service(update.update_id, message)
    if message.sender is None or message.sender.is_bot or message.sender_chat is not None:
        return Ignored(update.update_id, "not from a user")
    return _incoming(update.update_id, message, message.sender, kind, bot_username.lower())


def _service(update_id: int, message: _Message) -> Moved | Ignored:
    """What Telegram itself says. Of a group that becomes a supergroup it tells both: in the old one and in the new."""
    here = str(message.chat.id)
    if message.migrate_to_chat_id is not None:
        return Moved(update_id, here, str(message.migrate_to_chat_id))
    if message.migrate_from_chat_id is not None:
        return Moved(update_id, str(message.migrate_from_chat_id), here)
    return Ignored(update_id, "service message")


def _incoming(update_id: int, message: _Message, sender: _User, kind: str, bot: str) -> Incoming:
    group = message.chat.type != "private"
    command, for_us, text = _command(message.text or "", bot)
    mentions = _mentions(message, bot)
    if mentions and command is None:
        text = _without(text, mentions) or text
    addressed = for_us if command else bool(mentions) or _answers_bot(message, bot)
    return Incoming(
        update_id=update_id,
        message_id=message.message_id,
        date=message.date,
        chat_id=str(message.chat.id),
        sender_id=str(sender.id),
        group=group,
        addressed=addressed or not group,
        command=command,
        text=text if kind == "text" else None,
        kind=kind,
        thread_id=message.message_thread_id if message.is_topic_message else None,
    )


def _command(text: str, bot: str) -> tuple[str | None, bool, str]:
    """The command, whether it is meant for this bot, and the text after it (or all of it, if it is none)."""
    found = _COMMAND.match(text)
    if found is None:
        return None, True, text
    name = found[2]
    return found[1].lower(), name is None or name.lower() == bot, text[found.end() :].strip()


def _mentions(message: _Message, bot: str) -> list[slice]:
    """Where the bot is mentioned, as bytes of UTF-16: offsets count its code units (Bot API, "MessageEntity")."""
    units = (message.text or message.caption or "").encode("utf-16-le")
    entities = message.entities if message.text is not None else message.caption_entities
    places = [slice(2 * e.offset, 2 * (e.offset + e.length)) for e in entities if e.type == "mention"]
    return [place for place in places if units[place].decode("utf-16-le", "replace").lower() == f"@{bot}"]


def _without(text: str, places: Sequence[slice]) -> str:
    units = bytearray(text.encode("utf-16-le"))
    for place in reversed(places):
        del units[place]
    return units.decode("utf-16-le", "replace").strip()


def _answers_bot(message: _Message, bot: str) -> bool:
    answered = message.reply_to_message.sender if message.reply_to_message else None
    return answered is not None and (answered.username or "").lower() == bot

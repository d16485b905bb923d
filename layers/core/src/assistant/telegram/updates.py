"""Updates as Telegram sends them, read into what the rules accept.

Source: Telegram Bot API, "Update", "Message", "MessageEntity"; only what we use is declared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from assistant.errors import UpdateInvalid
from assistant.turns.accepting import Incoming

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


class _Message(msgspec.Struct):
    message_id: int
    date: int
    chat: _Chat
    sender: _User | None = msgspec.field(default=None, name="from")
    message_thread_id: int | None = None
    is_topic_message: bool = False
    text: str | None = None
    caption: str | None = None
    entities: list[_Entity] = []
    caption_entities: list[_Entity] = []
    reply_to_message: _Answered | None = None


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


def read_update(body: bytes, bot_username: str) -> Incoming | Ignored:
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpdateInvalid("not an update") from None
    message = update.message
    if message is None:
        return Ignored(update.update_id, next((field for field in fields if field != "update_id"), "empty"))
    kind: str | None = "text" if message.text is not None else next((k for k in KINDS if k in message_fields), None)
    if kind is None:
        return Ignored(update.update_id, "service message")
    if message.sender is None or message.sender.is_bot:
        return Ignored(update.update_id, "not from a user")
    return _incoming(update.update_id, message, message.sender, kind, bot_username.lower())


def _incoming(update_id: int, message: _Message, sender: _User, kind: str, bot: str) -> Incoming:
    group = message.chat.type != "private"
    command, for_us, text = _command(message.text or "", bot)
    mentioned = _mentioned(message, bot)
    if mentioned and command is None:
        text = re.sub(rf"@{re.escape(bot)}\b", "", text, flags=re.IGNORECASE).strip() or text
    return Incoming(
        update_id=update_id,
        message_id=message.message_id,
        date=message.date,
        chat_id=str(message.chat.id),
        sender_id=str(sender.id),
        group=group,
        addressed=for_us if command else not group or mentioned or _answers_bot(message, bot),
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


def _mentioned(message: _Message, bot: str) -> bool:
    written = message.text or message.caption or ""
    # Offsets count UTF-16 code units (Bot API, "MessageEntity").
    units = written.encode("utf-16-le")
    for entity in message.entities or message.caption_entities:
        if entity.type == "mention":
            mention = units[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le", "replace")
            if mention.lower() == f"@{bot}":
                return True
    return False


def _answers_bot(message: _Message, bot: str) -> bool:
    answered = message.reply_to_message.sender if message.reply_to_message else None
    return answered is not None and (answered.username or "").lower() == bot

"""Updates as Telegram sends them to a webhook.

Built with python-telegram-bot's types, so that their shape is not our invention. Ids grow, dates come from
the clock.
"""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from telegram import (
    CallbackQuery,
    Chat,
    ChatMemberLeft,
    ChatMemberMember,
    ChatMemberUpdated,
    Document,
    InlineQuery,
    Location,
    Message,
    MessageEntity,
    PhotoSize,
    Sticker,
    Update,
    User,
    Voice,
)

from local.simulators.limits import Clock
from local.simulators.telegram_requests import chat_type

type Json = dict[str, Any]

_BOT_ID = 7_000_000_000


class UpdateFactory:
    """Builds updates for any chat and user; in a private chat the user's id is the chat's."""

    def __init__(
        self,
        clock: Clock,
        *,
        first_update_id: int = 500_000_001,
        message_ids: Callable[[], int] | None = None,
        bot_username: str = "simulated_bot",
    ) -> None:
        """Make one.

        Args:
            clock: Dates the messages.
            first_update_id: Where update ids start.
            message_ids: Hands out message ids, e.g. `TelegramSimulator.next_message_id`.
            bot_username: Name by which groups mention the bot, without "@".
        """
        self._clock = clock
        self._update_ids = itertools.count(first_update_id)
        self._message_ids = message_ids or itertools.count(1).__next__
        self._bot = User(_BOT_ID, "Simulated", is_bot=True, username=bot_username)

    def text(
        self,
        chat_id: int,
        text: str,
        *,
        user_id: int | None = None,
        thread_id: int | None = None,
        reply_to_bot: bool = False,
    ) -> Json:
        """A text message; commands and mentions of the bot are marked as entities, as Telegram does.

        Args:
            chat_id: Where it is written; negative for a group.
            text: What is written.
            user_id: Who writes; needed in groups only.
            thread_id: Forum topic.
            reply_to_bot: Whether it replies to a message of the bot's.
        """
        extra: Json = {"text": text, "entities": self._entities(text)}
        if thread_id is not None:
            extra |= {"message_thread_id": thread_id, "is_topic_message": True}
        if reply_to_bot:
            extra["reply_to_message"] = self._message(chat_id, self._bot, text="An earlier answer")
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), **extra))

    def edited_text(self, chat_id: int, text: str, *, user_id: int | None = None) -> Json:
        """A message whose text was changed."""
        user = _user(chat_id, user_id)
        return self._update(edited_message=self._message(chat_id, user, text=text, edit_date=self._date()))

    def voice(self, chat_id: int, *, user_id: int | None = None) -> Json:
        """A voice message."""
        voice = Voice("simulated-voice", "unique-voice", duration=3, mime_type="audio/ogg", file_size=12_345)
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), voice=voice))

    def photo(self, chat_id: int, *, caption: str | None = None, user_id: int | None = None) -> Json:
        """A photo in two sizes."""
        sizes = [PhotoSize(f"simulated-{side}", f"unique-{side}", side, side, side * 50) for side in (90, 1280)]
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), photo=sizes, caption=caption))

    def document(self, chat_id: int, *, file_name: str = "notes.pdf", user_id: int | None = None) -> Json:
        """A file."""
        document = Document("simulated-file", "unique-file", file_name, "application/pdf", 54_321)
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), document=document))

    def sticker(self, chat_id: int, *, user_id: int | None = None) -> Json:
        """A sticker."""
        sticker = Sticker("simulated-sticker", "unique-sticker", 512, 512, False, False, Sticker.REGULAR)
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), sticker=sticker))

    def location(self, chat_id: int, *, user_id: int | None = None) -> Json:
        """A place."""
        place = Location(longitude=4.9, latitude=52.37)
        return self._update(message=self._message(chat_id, _user(chat_id, user_id), location=place))

    def callback(self, chat_id: int, data: str, *, user_id: int | None = None) -> Json:
        """A press on an inline button under a message of the bot's."""
        shown = self._message(chat_id, self._bot, text="Choose")
        user = _user(chat_id, user_id)
        return self._update(callback_query=CallbackQuery("simulated-query", user, "chat", shown, data))

    def my_chat_member(self, chat_id: int, *, added: bool, user_id: int | None = None) -> Json:
        """The bot was added to a chat or removed from it (in a private chat: blocked)."""
        outside, inside = ChatMemberLeft(self._bot), ChatMemberMember(self._bot)
        before, after = (outside, inside) if added else (inside, outside)
        changed = ChatMemberUpdated(_chat(chat_id), _user(chat_id, user_id), self._date(), before, after)
        return self._update(my_chat_member=changed)

    def migration(self, chat_id: int, to_chat_id: int, *, user_id: int | None = None) -> Json:
        """A group became a supergroup and has another id from now on."""
        user = _user(chat_id, user_id)
        return self._update(message=self._message(chat_id, user, migrate_to_chat_id=to_chat_id))

    def channel_post(self, chat_id: int, text: str) -> Json:
        """A post in a channel: it has no sender."""
        return self._update(channel_post=self._message(chat_id, None, text=text))

    def inline_query(self, user_id: int, query: str) -> Json:
        """A query typed after the bot's name in some chat."""
        return self._update(inline_query=InlineQuery("simulated-inline", _user(user_id, None), query, ""))

    def _update(self, **kind: object) -> Json:
        return Update(next(self._update_ids), **kind).to_dict()  # type: ignore[arg-type]

    def _message(self, chat_id: int, user: User | None, **content: Any) -> Message:  # noqa: ANN401 (Message's own types)
        return Message(self._message_ids(), self._date(), _chat(chat_id), from_user=user, **content)

    def _date(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock.now()), UTC)

    def _entities(self, text: str) -> list[MessageEntity]:
        entities = []
        if text.startswith("/"):
            entities.append(MessageEntity(MessageEntity.BOT_COMMAND, 0, len(text.split(maxsplit=1)[0])))
        mention = f"@{self._bot.username}"
        at = text.find(mention)
        if at >= 0 and not text.startswith("/"):
            # Offsets count UTF-16 units (core.telegram.org/bots/api#messageentity).
            units = len(text[:at].encode("utf-16-le")) // 2
            entities.append(MessageEntity(MessageEntity.MENTION, units, len(mention)))
        return entities


def _user(chat_id: int, user_id: int | None) -> User:
    known = chat_id if user_id is None else user_id
    if known <= 0:
        raise ValueError("a message in a group needs a user_id")
    return User(known, f"User{known}", is_bot=False, language_code="en")


def _chat(chat_id: int) -> Chat:
    kind = chat_type(chat_id)
    if kind == "private":
        return Chat(chat_id, kind, first_name=f"User{chat_id}")
    return Chat(chat_id, kind, title=f"Group {abs(chat_id)}")

"""TellOwner: whoever runs the assistant hears what only they can mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import DeliveryRefused
from assistant.turns import notices

if TYPE_CHECKING:
    from assistant.turns.ports import Messenger, OwnerSettings

TOLD = "told"
NOTHING_TO_TELL = "nothing to tell"
NO_OWNER = "no owner"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Notification:
    """Sends the owner a message.

    At least once: the event comes again when this fails or nobody knows whether the message arrived, and hearing of an
    alarm twice does less harm than not at all. A chat that takes no message is left alone: the event would end in the
    failure queue, whose alarm would be the next that does not arrive.
    """

    settings: OwnerSettings
    messenger: Messenger

    def __call__(self, event: object) -> str:
        """Tell the owner of an event.

        Returns:
            `told`, `nothing to tell`, `no owner`, or `refused`: the owner's chat takes no message.

        Raises:
            ValueError: it is no event that the owner is told of.
            DeliveryDelayed, DeliveryFailed, DeliveryUncertain: the owner may not have heard of it.
        """
        text = notices.text(notices.parse(event))
        if text is None:
            return NOTHING_TO_TELL
        chat_id = self.settings.owner_chat()
        if chat_id is None:
            return NO_OWNER
        try:
            for part in self.messenger.parts(text):
                self.messenger.send(chat_id, part, thread_id=None, reply_to=None)
        except DeliveryRefused:
            return REFUSED
        return TOLD

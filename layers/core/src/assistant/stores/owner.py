"""The owner: notices are handed to the function TellOwner, which nobody waits for, and it finds the owner's chat."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from assistant.stores import schema
from assistant.stores.background import hand_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_lambda import LambdaClient

    from assistant.stores.dynamodb import Table
    from assistant.turns.model import Notice

_CHAT_ID = re.compile(r"-?[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class LambdaOwner:
    """Invokes a function asynchronously; `warn` is told (message, names) when that fails."""

    client: LambdaClient
    function: str
    warn: Callable[..., None]

    def tell(self, notice: Notice) -> None:
        """Hand the notice over. That it could not be is logged: the turn is more important."""
        try:
            hand_over(self.client, self.function, asdict(notice))
        except (BotoCoreError, ClientError) as error:
            self.warn("owner not told", notice=notice.kind, provider=notice.provider, error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class DynamoOwnerSettings:
    """The Owner item of the Runtime table."""

    table: Table

    def owner_chat(self) -> str | None:
        """The owner's chat; None if there is no item, or none that names a chat: people write it by hand."""
        item = self.table.get(schema.SETTINGS, schema.OWNER) or {}
        chat_id = str(item.get("chat_id", ""))
        return chat_id if _CHAT_ID.fullmatch(chat_id) else None

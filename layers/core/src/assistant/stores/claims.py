"""Who works on a chat: the claim's attributes of the chat item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.stores import schema
from assistant.stores.dynamodb import Refused, Table, Update, Value
from assistant.turns.model import Chat, ChatClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistant.turns.ports import Clock

GRACE_SECONDS = 60
"""The sweep leaves a new message and a new claim alone for so long: somebody is about to start the execution."""

_HELD = "claim_epoch = :epoch AND attribute_exists(claimed_at)"


@dataclass(frozen=True, slots=True)
class DynamoClaims:
    """Claims in the Conversations table."""

    table: Table
    clock: Clock

    def read(self, chat_id: str) -> Chat:
        """The chat as it is now."""
        return msgspec.convert(self.table.get(chat_id, schema.CHAT) or {}, Chat)

    def claim(self, chat_id: str) -> ChatClaim | None:
        """Claim a chat that nobody holds and in which something waits or is due."""
        return self._take(chat_id, "attribute_not_exists(claimed_at) AND attribute_exists(due_at)", {})

    def holder(self, chat_id: str) -> ChatClaim | None:
        """The claim that holds the chat."""
        chat = self.read(chat_id)
        return None if chat.claimed_at is None else ChatClaim(chat_id, chat.claim_epoch)

    def steal(self, claim: ChatClaim, *, recoveries: int) -> ChatClaim | None:
        """Replace a claim whose execution has ended."""
        return self._take(claim.chat_id, _HELD, {"epoch": claim.epoch}, recoveries=recoveries)

    def drop(self, claim: ChatClaim, *, due_at: int, recoveries: int) -> bool:
        """Give a claim up; the sweep looks at `due_at`."""
        due: dict[str, Value | None] = {"due_kind": schema.DUE_CHAT, "due_at": due_at}
        return self._update(claim, {"claimed_at": None, "recoveries": recoveries or None, **due})

    def release(self, claim: ChatClaim, *, due_at: int | None) -> bool:
        """Release the chat if nothing waits in its inbox."""
        return self._update(claim, released(due_at), condition=f"{_HELD} AND inbox_counter = drained_counter")

    def postpone(self, claim: ChatClaim, *, due_at: int) -> bool:
        """Have the sweep look again later."""
        return self._update(claim, {"due_kind": schema.DUE_CHAT, "due_at": due_at})

    def due(self) -> Iterator[str]:
        """Ids of the chats whose moment has come, from the sparse index (eventually consistent)."""
        return self.table.due(schema.DUE_CHAT, self.clock.now())

    def _take(
        self, chat_id: str, condition: str, values: Mapping[str, int], *, recoveries: int | None = None
    ) -> ChatClaim | None:
        now = int(self.clock.now())
        put: dict[str, Value | None] = {"claimed_at": now, "due_kind": schema.DUE_CHAT, "due_at": now + GRACE_SECONDS}
        if recoveries is not None:
            put["recoveries"] = recoveries
        taken = self.table.update(
            chat_id,
            schema.CHAT,
            Update(
                put=put,
                also=["claim_epoch = if_not_exists(claim_epoch, :zero) + :one"],
                condition=condition,
                values={"zero": 0, "one": 1, **values},
            ),
        )
        return None if isinstance(taken, Refused) else ChatClaim(chat_id, int(taken["claim_epoch"]))

    def _update(self, claim: ChatClaim, put: Mapping[str, Value | None], *, condition: str = _HELD) -> bool:
        done = self.table.update(
            claim.chat_id, schema.CHAT, Update(put=put, condition=condition, values={"epoch": claim.epoch})
        )
        return not isinstance(done, Refused)


def released(due_at: int | None) -> dict[str, Value | None]:
    """The chat's attributes once nobody holds it; `due_at`: its next moment, if it has one."""
    due_kind = None if due_at is None else schema.DUE_CHAT
    return {"claimed_at": None, "recoveries": None, "due_kind": due_kind, "due_at": due_at}

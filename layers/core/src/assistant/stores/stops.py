"""What /stop writes: each in one transaction with the mark of its update, so that it is done once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.claims import released
from assistant.stores.dynamodb import Table, Update, Value, Write
from assistant.stores.inbox import MARK_SECONDS
from assistant.stores.turns import KEPT_SECONDS
from assistant.turns.model import TurnStatus
from assistant.turns.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.model import Chat, InboxMessage, Turn
    from assistant.turns.ports import Clock


@dataclass(frozen=True, slots=True)
class DynamoStops:
    """Stops in the Conversations table."""

    table: Table
    clock: Clock

    def stop(self, chat_id: str, update_id: int, chat: Chat, turn: Turn, *, unsaid: bool) -> Stopped:
        """OPEN or PARKED → FAILED, and the chat is nobody's: due at once if there is more to do.

        The epoch grows, so that whoever had the chat can do nothing with it any more. What a parked turn is just
        saying, its apology or a reminder, is said to its end: by the next execution, which finds what was sent.
        `unsaid`: nothing of it was sent, and it is not to be.
        """
        says = turn.reply is not None and not unsaid
        now = int(self.clock.now())
        ended: dict[str, Value | None] = {"status": TurnStatus.FAILED, "retry_at": None}
        over: dict[str, Value | None] = {}
        if not says:
            ended |= {"reply": None, "ttl": now + KEPT_SECONDS}
            over = {"open_turn": None, "failed_turn": turn.number}
        the_turn = Update(
            put=ended,
            condition="#status = :was AND epoch = :epoch"
            + (" AND attribute_not_exists(sending) AND sent = :none" if unsaid else ""),
            names={"#status": "status"},
            values={"was": turn.status, "epoch": turn.epoch, **({"none": 0} if unsaid else {})},
        )
        free = released(now if chat.waiting or says else None)
        the_chat = Update(
            put={**free, **over, "claim_epoch": chat.claim_epoch + 1},
            condition=(
                "open_turn = :turn AND claim_epoch = :epoch AND inbox_counter = :stored AND drained_counter = :drained"
            ),
            values={
                "turn": turn.number,
                "epoch": chat.claim_epoch,
                "stored": chat.inbox_counter,
                "drained": chat.drained_counter,
            },
        )
        return self._once(
            chat_id,
            update_id,
            self.table.change(chat_id, schema.turn_key(turn.number), the_turn),
            self.table.change(chat_id, schema.CHAT, the_chat),
        )

    def drop(self, chat_id: str, update_id: int, messages: Sequence[InboxMessage]) -> Stopped:
        """Take messages out of the inbox before any turn has them."""
        drained = Update(
            also=["drained_counter = drained_counter + :dropped"],
            condition="attribute_not_exists(open_turn)",
            values={"dropped": len(messages)},
        )
        return self._once(
            chat_id,
            update_id,
            self.table.change(chat_id, schema.CHAT, drained),
            *(self.table.delete(chat_id, schema.inbox_key(message), "attribute_exists(pk)") for message in messages),
        )

    def nothing(self, chat_id: str, update_id: int) -> Stopped:
        """Only the mark."""
        return self._once(chat_id, update_id)

    def _once(self, chat_id: str, update_id: int, *writes: Write) -> Stopped:
        now = int(self.clock.now())
        mark = self.table.mark(chat_id, f"{schema.UPDATE}{update_id}", now=now, ttl=now + MARK_SECONDS)
        refused = self.table.transact(mark, *writes)
        if refused is None:
            return Stopped.NOW
        return Stopped.BEFORE if refused.failed[0] else Stopped.CHANGED

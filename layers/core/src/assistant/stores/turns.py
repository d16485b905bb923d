"""The life of a turn in the Conversations table. Every write is conditional on the claim's epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from assistant.stores import schema
from assistant.stores.claims import released
from assistant.stores.dynamodb import Plain, Refused, Table, Update, Value, Write, to_item
from assistant.turns import texts
from assistant.turns.model import Answered, Chat, ChatClaim, Exchange, InboxMessage, Turn, TurnClaim, TurnStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistant.turns.model import Usage
    from assistant.turns.ports import Clock

KEPT_SECONDS = 7 * 86400
"""How long a turn is kept once it has ended."""

_MINE = "claim_epoch = :epoch AND attribute_exists(claimed_at)"
_STATUS = {"#status": "status"}


@dataclass(frozen=True, slots=True)
class DynamoTurns:
    """Turns and the conversation. `history_days`: how long an exchange is kept."""

    table: Table
    clock: Clock
    history_days: int

    def waiting(self, chat_id: str, *, limit: int) -> tuple[Chat, list[InboxMessage]]:
        """The chat and its oldest inbox messages: one read, because their keys lie side by side."""
        items = self.table.query(chat_id, schema.CHAT, f"{schema.CHAT}~", limit=limit + 1)
        chat = next((msgspec.convert(item, Chat) for item in items if item["sk"] == schema.CHAT), Chat())
        return chat, [inbox_message(item) for item in items if item["sk"] != schema.CHAT][:limit]

    def read(self, chat_id: str, number: int) -> Turn | None:
        """A turn as it is now."""
        item = self.table.get(chat_id, schema.turn_key(number))
        if item is None or self._is_over(int(item.get("ttl", 0))):
            return None
        return msgspec.convert(item, Turn)

    def open(self, claim: ChatClaim, turn: Turn, drained: Sequence[InboxMessage], *, before: Turn | None) -> bool:
        """Write the turn, take its messages out of the inbox, and make it the chat's open turn."""
        put = self.table.put(claim.chat_id, schema.turn_key(turn.number), asdict(turn), "attribute_not_exists(pk)")
        if before is not None:
            put["Put"] |= _unchanged(before)
        chat: dict[str, Value | None] = {"open_turn": turn.number}
        if before is None:
            chat["turn_counter"] = turn.number
        if turn.hours_spent is not None:
            chat["hours_noticed"] = turn.hours_spent
        # A FAILED turn that stays so is the open one still: its apology has not been delivered.
        retried = before is not None and before.status == TurnStatus.FAILED and turn.status == TurnStatus.OPEN
        if retried:
            chat["failed_turn"] = None
        expected_open = None if before is None or retried else before.number
        refused = self.table.transact(
            put,
            self.table.change(claim.chat_id, schema.CHAT, _taken(claim, chat, len(drained), expected_open)),
            *(
                self.table.delete(claim.chat_id, schema.inbox_key(message), "attribute_exists(pk)")
                for message in drained
            ),
        )
        return refused is None

    def history(self, turn: TurnClaim, *, after: int, since: int, limit: int) -> list[Exchange]:
        """The newest exchanges that are neither forgotten nor too old, oldest first."""
        if limit <= 0:
            return []
        first, last = schema.history_key(after + 1), schema.history_key(turn.number)
        items = self.table.query(turn.chat.chat_id, first, last, limit=limit, newest_first=True)
        found = [msgspec.convert(item, Exchange) for item in items]
        return [
            exchange for exchange in reversed(found) if exchange.created_at >= since and not self._is_over(exchange.ttl)
        ]

    def answer(self, turn: TurnClaim, answered: Answered) -> bool:
        """OPEN → ANSWERED with the exchange, or nothing at all."""
        return self.table.transact(*self.answering(turn.chat.chat_id, turn.number, turn.chat.epoch, answered)) is None

    def answering(self, chat_id: str, number: int, epoch: int, answered: Answered) -> Sequence[Write]:
        """The writes of an answer, for a transaction: of nothing else is it made."""
        now = int(self.clock.now())
        answer = answered.answer
        text = texts.capped(answer.text)
        exchange = Exchange(
            answered.user, text, answered.provider, now, now + self.history_days * 86400, answered.position
        )
        kept: dict[str, Value | None] = {
            "status": TurnStatus.ANSWERED,
            "reply": text,
            "provider": answered.provider,
            "model": answer.model,
            **_counted(answer.usage),
            "micro_dollars": answered.micro_dollars,
            "sent": 0,
        }
        return (
            self.table.change(chat_id, schema.turn_key(number), _while_open(epoch, kept)),
            self.table.put(chat_id, schema.history_key(number), asdict(exchange)),
        )

    def decline(self, turn: TurnClaim, declined_by: str) -> bool:
        """Note which providers refused the question."""
        return self._change_open(turn, {"declined_by": declined_by})

    def keep_from_agent(self, turn: TurnClaim) -> bool:
        """Note that agents died over an open turn; the chat lane answers it."""
        return self._change_open(turn, {"lane": "chat", "killed_agent": True})

    def delegate(self, turn: TurnClaim, task: str, *, deadline: int) -> bool:
        """Note the task of an open turn."""
        return self._change_open(turn, {"task": task, "deadline": deadline})

    def show_preview(self, turn: TurnClaim, message_id: int | None) -> bool:
        """Note the message in which the answer is seen growing, unless there is another one."""
        noted = _while_open(turn.chat.epoch, {"preview_id": message_id})
        if message_id is not None:
            only = "attribute_not_exists(preview_id) OR preview_id = :preview"
            values = {**noted.values, "preview": message_id}
            noted = replace(noted, condition=f"{noted.condition} AND ({only})", values=values)
        return not isinstance(self.table.update(turn.chat.chat_id, schema.turn_key(turn.number), noted), Refused)

    def first_notice(self, turn: TurnClaim, notice: str, *, seconds: int) -> bool:
        """Mark that a turn gives its chat a notice; the same turn may do so again."""
        now = int(self.clock.now())
        update = Update(
            put={"turn": turn.number, "ttl": now + seconds},
            condition="attribute_not_exists(pk) OR #ttl < :now OR turn = :turn",
            names={"#ttl": "ttl"},
            values={"now": now, "turn": turn.number},
        )
        refused = self.table.update(turn.chat.chat_id, f"{schema.NOTICE}{notice}", update)
        return not isinstance(refused, Refused)

    def settle(self, turn: TurnClaim, settled: Turn) -> bool:
        """OPEN → PARKED, FAILED or, without a provider, ANSWERED."""
        names = ("status", "reply", "sent", "parks", "parked_at", "retry_at")
        values = asdict(settled)
        return self._change_open(turn, {name: values[name] for name in names})

    def mark_sending(self, turn: TurnClaim, *, part: int, after: int | None, uncertain: bool) -> bool:
        """Note that `part` is about to be sent and that everything before it is dealt with."""
        put: dict[str, Value | None] = {"sending": part, "sent": part}
        if uncertain:
            put["ambiguous"] = True
        if after is None:
            as_read = "attribute_exists(reply) AND attribute_not_exists(sending) AND sent = :part"
            return self._mark(turn, put, as_read, {"part": part})
        return self._mark(turn, put, "sending = :after", {"after": after})

    def unmark_sending(self, turn: TurnClaim, *, part: int, deliver_after: int | None) -> bool:
        """Note that `part` was certainly not sent."""
        changes: dict[str, Value | None] = {"sending": None, "deliver_after": deliver_after}
        return self._mark(turn, changes, "sending = :part", {"part": part})

    def mark_noticed(self, turn: TurnClaim) -> bool:
        """Note that the user is being told that a part may be missing."""
        return self._mark(turn, {"noticed": True}, "attribute_not_exists(noticed)", {})

    def finish(self, turn: TurnClaim, finished: Turn, *, hand_over: bool) -> bool:
        """End the work on a turn and release or hand over the chat, in one transaction."""
        parked = finished.status == TurnStatus.PARKED
        ended: dict[str, Value | None] = {
            "status": finished.status,
            "sent": finished.sent,
            "sending": None,
            "ambiguous": finished.ambiguous,
            "preview_id": finished.preview_id,
            "ttl": None if parked else int(self.clock.now()) + KEPT_SECONDS,
        }
        if parked:
            ended["reply"] = None  # what is parked has nothing to deliver
        refused = self.table.transact(
            self.table.change(
                turn.chat.chat_id,
                schema.turn_key(turn.number),
                Update(put=ended, condition="epoch = :epoch", values={"epoch": turn.chat.epoch}),
            ),
            self.table.change(turn.chat.chat_id, schema.CHAT, self._after(turn, finished, hand_over=hand_over)),
        )
        return refused is None

    def _is_over(self, ttl: int) -> bool:
        """Whether an item has expired; DynamoDB deletes it within days. 0: it does not."""
        return 0 < ttl <= self.clock.now()

    def _change_open(self, turn: TurnClaim, put: Mapping[str, Value | None]) -> bool:
        update = _while_open(turn.chat.epoch, put)
        return not isinstance(self.table.update(turn.chat.chat_id, schema.turn_key(turn.number), update), Refused)

    def _after(self, turn: TurnClaim, finished: Turn, *, hand_over: bool) -> Update:
        """The chat after a turn."""
        chat: dict[str, Value | None] = {}
        if finished.status != TurnStatus.PARKED:
            chat["open_turn"] = None
        if finished.status == TurnStatus.FAILED and finished.text:  # what answers a command asks nothing
            chat["failed_turn"] = turn.number
        elif finished.status == TurnStatus.DELIVERED and (finished.provider or finished.reminder):
            chat["last_turn"] = turn.number
        if hand_over:
            chat |= {"claimed_at": int(self.clock.now()), "recoveries": None}
            also = ["claim_epoch = claim_epoch + :one"]
            return Update(put=chat, also=also, condition=_MINE, values={"epoch": turn.chat.epoch, "one": 1})
        chat |= released(finished.retry_at if finished.status == TurnStatus.PARKED else None)
        condition = f"{_MINE} AND inbox_counter = drained_counter"
        return Update(put=chat, condition=condition, values={"epoch": turn.chat.epoch})

    def _mark(
        self, turn: TurnClaim, put: Mapping[str, Value | None], condition: str, values: Mapping[str, Value]
    ) -> bool:
        update = Update(
            put=put, condition=f"epoch = :epoch AND {condition}", values={"epoch": turn.chat.epoch, **values}
        )
        return not isinstance(self.table.update(turn.chat.chat_id, schema.turn_key(turn.number), update), Refused)


def _counted(usage: Usage | None) -> dict[str, Value | None]:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input,
        "cached_tokens": usage.cached,
        "written_tokens": usage.written,
        "output_tokens": usage.output,
    }


def inbox_message(item: Plain) -> InboxMessage:
    """A message of the inbox."""
    update_id = int(str(item["sk"]).rsplit("#", 1)[1])
    return msgspec.convert({**item, "update_id": update_id}, InboxMessage)


def _taken(claim: ChatClaim, put: Mapping[str, Value | None], drained: int, expected_open: int | None) -> Update:
    """The chat once a turn is open: `drained` messages fewer wait; `expected_open` is the open turn before."""
    values: dict[str, Value] = {"epoch": claim.epoch}
    also: list[str] = []
    if drained:
        also = ["drained_counter = drained_counter + :drained"]
        values["drained"] = drained
    if expected_open is None:
        return Update(put=put, also=also, condition=f"{_MINE} AND attribute_not_exists(open_turn)", values=values)
    values["open"] = expected_open
    return Update(put=put, also=also, condition=f"{_MINE} AND open_turn = :open", values=values)


def _unchanged(turn: Turn) -> dict[str, Any]:
    """The condition that a turn is as it was read: a delivery that is still at work marks what it sends."""
    values: dict[str, Value] = {":status": turn.status, ":epoch": turn.epoch, ":sent": turn.sent}
    condition = "#status = :status AND epoch = :epoch AND sent = :sent AND "
    if turn.sending is None:
        condition += "attribute_not_exists(sending)"
    else:
        condition += "sending = :sending"
        values[":sending"] = turn.sending
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": _STATUS,
        "ExpressionAttributeValues": to_item(values),
    }


def _while_open(epoch: int, put: Mapping[str, Value | None]) -> Update:
    return Update(
        put=put,
        condition="#status = :open AND epoch = :epoch",
        names=_STATUS,
        values={"open": TurnStatus.OPEN, "epoch": epoch},
    )

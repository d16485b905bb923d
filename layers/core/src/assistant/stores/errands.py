"""Commands that functions of their own carry out, in the Conversations table; and those functions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.stores import schema
from assistant.stores.background import hand_over
from assistant.stores.dynamodb import Refused, Table, Update, to_item
from assistant.stores.inbox import dealt_with
from assistant.turns.errands import Confirmed, Errand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_lambda import LambdaClient

    from assistant.stores.dynamodb import Value, Write
    from assistant.turns.errands import Asked, Runner
    from assistant.turns.ports import Clock


@dataclass(frozen=True, slots=True)
class DynamoErrands:
    """Errands, each beside the chat that asked."""

    table: Table
    clock: Clock

    def add(self, asked: Asked, errand: Errand) -> bool:
        """Store a command, once per update."""
        return self.table.transact(self._mark(asked), self._put(asked, errand)) is None

    def ask(self, asked: Asked, sender_id: str, *, until: int) -> bool:
        """Note that somebody was asked to confirm that all is forgotten."""
        question = Update(put={"sender_id": sender_id, "ttl": until})
        asked_for = self.table.change(asked.chat_id, schema.QUESTION, question)
        return self.table.transact(self._mark(asked), asked_for) is None

    def confirm(self, asked: Asked, sender_id: str, errand: Errand) -> Confirmed:
        """Store the command that was asked for, if the same person confirms it in time."""
        answered = self.table.delete(asked.chat_id, schema.QUESTION, "sender_id = :sender AND #ttl > :now")
        answered["Delete"] |= {
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": to_item({":sender": sender_id, ":now": int(self.clock.now())}),
        }
        refused = self.table.transact(self._mark(asked), answered, self._put(asked, errand))
        if refused is None:
            return Confirmed.NOW
        return Confirmed.BEFORE if refused.failed[0] else Confirmed.NOT_ASKED

    def read(self, asked: Asked) -> Errand | None:
        """A command that has not been carried out."""
        item = self.table.get(asked.chat_id, schema.errand_key(asked.update_id))
        errand = None if item is None else msgspec.convert(item, Errand)
        return None if errand is None or errand.ttl <= self.clock.now() else errand

    def note(self, asked: Asked, found: Mapping[str, int]) -> None:
        """Note what a command found, to say it at its end."""
        self._change(asked, Update(put=found, condition="attribute_exists(pk)"))

    def mark_sending(self, asked: Asked) -> bool:
        """Note that the answer is about to be sent."""
        condition = "attribute_exists(pk) AND attribute_not_exists(sending)"
        return self._change(asked, Update(put={"sending": True}, condition=condition))

    def unmark_sending(self, asked: Asked) -> bool:
        """Note that the answer was certainly not sent."""
        return self._change(asked, Update(put={"sending": None}, condition="attribute_exists(pk)"))

    def mark_noticed(self, asked: Asked) -> bool:
        """Note that the chat is being told that nobody knows."""
        condition = "attribute_exists(pk) AND attribute_not_exists(noticed)"
        return self._change(asked, Update(put={"noticed": True}, condition=condition))

    def remove(self, asked: Asked) -> None:
        """Forget a command that has been carried out."""
        self.table.client.delete_item(**self.table.key(asked.chat_id, schema.errand_key(asked.update_id)))

    def _change(self, asked: Asked, update: Update) -> bool:
        return not isinstance(self.table.update(asked.chat_id, schema.errand_key(asked.update_id), update), Refused)

    def _mark(self, asked: Asked) -> Write:
        return dealt_with(self.table, asked.chat_id, asked.update_id, int(self.clock.now()))

    def _put(self, asked: Asked, errand: Errand) -> Write:
        values: Mapping[str, Value | None] = asdict(errand)
        return self.table.put(asked.chat_id, schema.errand_key(asked.update_id), values)


@dataclass(frozen=True, slots=True)
class LambdaRunners:
    """Invokes functions asynchronously, with ids alone. `functions`: by what they do."""

    client: LambdaClient
    functions: Mapping[Runner, str]

    def run(self, runner: Runner, asked: Asked) -> None:
        """Hand a command over; what can't be is an error, and Telegram repeats the command."""
        hand_over(self.client, self.functions[runner], asdict(asked))

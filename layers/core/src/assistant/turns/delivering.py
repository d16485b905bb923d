"""DeliverReply: the reply reaches the chat, each part at most once, and the chat is released.

sendMessage has no idempotency key: a part whose sending a crash or a silent network left in doubt is never sent
again. The user is told, and /again sends the whole reply once more. Where a group has seen the answer grow in a
message, that message becomes the first part; to change it twice is to change it once, so nothing of it is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assistant.errors import (
    DeliveryDelayed,
    DeliveryFailed,
    DeliveryRefused,
    DeliveryUncertain,
    StoreContended,
)
from assistant.turns import texts
from assistant.turns.model import ChatClaim, Turn, TurnClaim, TurnStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.ports import Claims, Clock, Executions, Messenger, Turns

LONGEST_WAIT_SECONDS = 300

_ANSWERED = (TurnStatus.ANSWERED, TurnStatus.DELIVERED)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What DeliverReply did: `next` is `done` or, when messages wait and the next execution took over, `more`.

    `seconds` from taking up the message to the end of sending its answer; None for what is no answer, or a command's.
    """

    next: str
    status: str
    ambiguous: bool = False
    seconds: float | None = None

    def as_state(self) -> dict[str, str]:
        """The state's output."""
        return {"next": self.next}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Delivers replies.

    `names`, by provider id, in the chain's order: whose answers are signed, if another should have answered first.
    """

    claims: Claims
    turns: Turns
    executions: Executions
    messenger: Messenger
    clock: Clock
    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, claim: TurnClaim) -> Delivered:
        """Send what has not been sent, then finish the turn.

        Raises:
            DeliveryDelayed: Telegram asks to wait; the turn knows until when.
            DeliveryFailed: Telegram was not reached; nothing is in doubt.
        """
        turn = self.turns.read(claim.chat.chat_id, claim.number)
        if turn is None or turn.epoch != claim.chat.epoch:
            return self._handed_over(claim, "gone")
        if turn.status == TurnStatus.OPEN:
            raise StoreContended("the turn has nothing to deliver yet")
        if turn.reply is not None:
            turn = self._send(claim, turn, self.messenger.parts(turn.reply + self._signature(turn)))
            turn = replace(turn, preview_id=None)  # what is said later is said in a message of its own
        elif turn.preview_id is not None:
            turn = self._withdraw(claim, turn, turn.preview_id)
        return self._finish(claim, turn)

    def _signature(self, turn: Turn) -> str:
        """Who answered instead of the agent or the first provider; what says that nobody did is not signed."""
        if turn.status not in _ANSWERED:
            return ""
        killed = texts.KILLED_AGENT if turn.killed_agent else ""
        spent = texts.hours_spent(turn.hours_spent) if turn.hours_spent else ""
        return killed + spent + self._substitute(turn)

    def _substitute(self, turn: Turn) -> str:
        order = list(self.names)
        if turn.provider not in order or turn.preferred not in order:
            return ""
        # One before it is no substitute: its key was set since the turn was prepared.
        is_substitute = order.index(turn.provider) > order.index(turn.preferred)
        return texts.signature(self.names[turn.provider]) if is_substitute else ""

    def _send(self, claim: TurnClaim, turn: Turn, parts: list[str]) -> Turn:
        before = turn.sending  # left over by a crash in the middle of sending
        uncertain = before is not None and self._in_doubt(claim, turn, parts)
        ambiguous = bool(turn.ambiguous) or uncertain
        for part in range(turn.sent if before is None else before + 1, len(parts)):
            if not self.turns.mark_sending(claim, part=part, after=before, uncertain=uncertain):
                raise StoreContended("another delivery is at work")
            before, uncertain = part, False
            try:
                self._send_part(claim, turn, parts[part], part)
            except DeliveryUncertain:
                uncertain = ambiguous = True
            except DeliveryRefused:
                return replace(turn, status=TurnStatus.FAILED, sent=len(parts), ambiguous=ambiguous or None)
        if ambiguous and not turn.noticed and self.turns.mark_noticed(claim):
            self._notice(claim, turn)
        return replace(turn, sent=len(parts), ambiguous=ambiguous or None)

    def _in_doubt(self, claim: TurnClaim, turn: Turn, parts: list[str]) -> bool:
        """Whether nobody knows if the part that a delivery died over has arrived."""
        if turn.sending != 0 or turn.preview_id is None:
            return True
        try:
            # Unless the message is gone: then the first part was perhaps sent in its stead.
            return not self.messenger.revise(claim.chat.chat_id, turn.preview_id, parts[0])
        except DeliveryRefused:
            return True
        except DeliveryDelayed as error:
            # The mark stays: without it, a part that was perhaps sent would be sent again.
            raise DeliveryFailed(str(error)) from error

    def _send_part(self, claim: TurnClaim, turn: Turn, text: str, part: int) -> None:
        chat_id, preview_id = claim.chat.chat_id, turn.preview_id if part == 0 else None
        answers = turn.group or turn.reminder is not None
        reply_to = turn.message_id if part == 0 and answers else None
        try:
            if preview_id is None or not self.messenger.revise(chat_id, preview_id, text):
                self.messenger.send(chat_id, text, thread_id=turn.thread_id, reply_to=reply_to)
        except DeliveryDelayed as error:
            wait = min(error.seconds, LONGEST_WAIT_SECONDS)
            self.turns.unmark_sending(claim, part=part, deliver_after=int(self.clock.now() + wait) + 1)
            raise
        except DeliveryFailed:
            self.turns.unmark_sending(claim, part=part, deliver_after=None)
            raise

    def _withdraw(self, claim: TurnClaim, turn: Turn, preview_id: int) -> Turn:
        """Take away what was shown of an answer that did not come; if that fails, the next try goes on there."""
        try:
            self.messenger.withdraw(claim.chat.chat_id, preview_id)
        except (DeliveryDelayed, DeliveryFailed, DeliveryRefused):
            return turn
        return replace(turn, preview_id=None)

    def _notice(self, claim: TurnClaim, turn: Turn) -> None:
        """Tell the user that a part may be missing: once, and not worth failing over."""
        try:
            self.messenger.send(claim.chat.chat_id, texts.MAY_BE_MISSING, thread_id=turn.thread_id, reply_to=None)
        except (DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused):
            return

    def _finish(self, claim: TurnClaim, turn: Turn) -> Delivered:
        finished, seconds = turn, None
        if turn.status == TurnStatus.ANSWERED:
            finished = replace(turn, status=TurnStatus.DELIVERED)
            seconds = round(self.clock.now() - turn.created_at, 3) if turn.text else None
        ambiguous = bool(finished.ambiguous)
        if self.turns.finish(claim, finished, hand_over=False):
            return Delivered("done", finished.status, ambiguous, seconds)
        if self.turns.finish(claim, finished, hand_over=True):
            self.executions.start(ChatClaim(claim.chat.chat_id, claim.chat.epoch + 1))
            return Delivered("more", finished.status, ambiguous, seconds)
        return self._handed_over(claim, finished.status)

    def _handed_over(self, claim: TurnClaim, status: str) -> Delivered:
        """The chat is no longer ours: perhaps an earlier try handed it over and died before it started the next."""
        holder = self.claims.holder(claim.chat.chat_id)
        if holder is not None and holder != claim.chat:
            self.executions.start(holder)
        return Delivered("done", status)

"""State DeliverReply: sends the turn's reply, each part at most once, and releases the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import TURN_SECONDS, logger
from assistant.turns.model import TurnClaim

if TYPE_CHECKING:
    from assistant.turns.delivering import Delivery


def handle(event: object, deliver: Delivery) -> dict[str, str]:
    """Deliver the turn's reply."""
    claim = TurnClaim.parse(event)
    delivered = deliver(claim)
    logger.info(
        "reply delivered",
        chat_id=claim.chat.chat_id,
        turn=claim.number,
        status=delivered.status,
        ambiguous=delivered.ambiguous,
        next=delivered.next,
        seconds=delivered.seconds,
    )
    if delivered.seconds is not None:
        TURN_SECONDS.emit(delivered.seconds)
    return delivered.as_state()


__getattr__ = wiring.entry_point(handle, wiring.delivery)

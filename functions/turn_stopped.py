"""Event "Step Functions Execution Status Change": an execution failed, timed out or was aborted.

Events are best effort (EventBridge documentation): what one does not bring, the sweep finds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from assistant import wiring
from assistant.observability import logger
from assistant.turns.model import ChatClaim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.waking import Recovery


def handle(event: Mapping[str, Any], recover: Recovery) -> None:
    """Put right the chat whose execution ended without releasing it."""
    detail = event["detail"]
    claim = ChatClaim.parse(json.loads(detail["input"]))
    done = recover(claim.chat_id)
    logger.warning(
        "execution stopped",
        chat_id=claim.chat_id,
        epoch=claim.epoch,
        status=detail["status"],
        done=done,
    )


__getattr__ = wiring.entry_point(handle, wiring.recovery)

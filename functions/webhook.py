"""Route POST /telegram: Telegram's updates come in.

200 means that the update is stored or refused for good. Everything else makes Telegram repeat it.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any

from assistant import wiring
from assistant.errors import UpdateInvalid
from assistant.observability import logger
from assistant.telegram.responses import webhook_call
from assistant.telegram.updates import Ignored, read_update
from assistant.turns.accepting import Moved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assistant.turns.accepting import Acceptance

SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 (its name, not the secret)


def handle(
    event: Mapping[str, Any], accept: Acceptance, secret: Callable[[], str], bot_username: str
) -> dict[str, Any]:
    """Check the secret, read the update, accept it, answer with at most one method call."""
    if not _authentic(_sent_secret(event), secret()):
        logger.warning("wrong webhook secret")
        return {"statusCode": 401}
    try:
        update = read_update(_body(event), bot_username)
    except UpdateInvalid as error:
        logger.warning("update refused", reason=str(error))
        return {"statusCode": 200}
    if isinstance(update, Ignored):
        logger.info("update ignored", update_id=update.update_id, kind=update.kind)
        return {"statusCode": 200}
    if isinstance(update, Moved):
        followed = accept.follow(update)
        logger.info("group moved", update_id=update.update_id, chat_id=update.old, to=update.new, followed=followed)
        return {"statusCode": 200}
    response = accept(update)
    logger.info(
        "update accepted",
        update_id=update.update_id,
        chat_id=update.chat_id,
        kind=update.kind,
        response=type(response).__name__,
    )
    return _answer(webhook_call(update, response))


def _sent_secret(event: Mapping[str, Any]) -> str:
    """The secret that came along: API Gateway writes headers' names in lower case, `sam local start-api` does not."""
    return next((value for name, value in event["headers"].items() if name.lower() == SECRET_HEADER), "")


def _authentic(sent: str, secret: str) -> bool:
    # Bytes: on text that is not ASCII, compare_digest raises.
    return bool(sent) and hmac.compare_digest(sent.encode(errors="surrogatepass"), secret.encode())


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    try:
        return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    except ValueError:
        raise UpdateInvalid("not text") from None


def _answer(call: Mapping[str, Any] | None) -> dict[str, Any]:
    if call is None:
        return {"statusCode": 200}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(call)}


__getattr__ = wiring.entry_point(handle, wiring.acceptance, wiring.webhook_secret, wiring.bot_username)

"""The bot at Telegram: who it is, and where its updates go. The token is part of every address, so none is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from operate.errors import RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = httpx.Timeout(10, connect=4)
ALLOWED_UPDATES = ("message",)
"""All that the webhook reads. Telegram keeps what was set last, so it is always said."""


@dataclass(frozen=True, slots=True)
class WebhookInfo:
    """Where Telegram sends updates (Bot API, WebhookInfo)."""

    url: str
    pending: int
    allowed_updates: tuple[str, ...]
    last_error: str = ""
    last_error_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot."""

    http: httpx.Client
    url: str
    token: str = field(repr=False)

    def username(self) -> str:
        """Its name without `@`. Errors: as `webhook`."""
        return str(self._call("getMe").get("username", ""))

    def webhook(self) -> WebhookInfo:
        """Where its updates go; an empty URL: nowhere.

        Raises:
            RefusedError: Telegram does not know the token, or refuses.
            UnreachableError: Telegram can't be reached, or does not answer.
        """
        info = self._call("getWebhookInfo")
        at = info.get("last_error_date")
        return WebhookInfo(
            url=str(info.get("url", "")),
            pending=int(info.get("pending_update_count", 0)),
            allowed_updates=tuple(info.get("allowed_updates", ())),
            last_error=str(info.get("last_error_message", "")),
            last_error_at=None if at is None else datetime.fromtimestamp(int(at), UTC),
        )

    def set_webhook(self, url: str, secret: str) -> None:
        """Send updates there. Those that wait are kept. Errors: as `webhook`."""
        self._call("setWebhook", {"url": url, "secret_token": secret, "allowed_updates": list(ALLOWED_UPDATES)})

    def delete_webhook(self) -> None:
        """Send updates nowhere; they wait at Telegram for a day. Errors: as `webhook`."""
        self._call("deleteWebhook")

    def _call(self, method: str, parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            response = self.http.post(
                f"{self.url}/bot{self.token}/{method}", json=dict(parameters or {}), timeout=TIMEOUT
            )
            body = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            raise UnreachableError("Telegram can't be reached, or does not answer.", "Try again.") from None
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND):
            advice = "Get the token from @BotFather (/mybots → API Token), then `python -m operate setup`."
            raise RefusedError(f"Telegram does not know this bot token (HTTP {response.status_code}).", advice)
        if not response.is_success or not isinstance(body, dict) or not body.get("ok"):
            raise RefusedError(f"Telegram refuses {method} (HTTP {response.status_code}){_why(body)}.")
        result = body.get("result")
        return result if isinstance(result, dict) else {}


def _why(body: object) -> str:
    return f": {body['description']}" if isinstance(body, dict) and "description" in body else ""

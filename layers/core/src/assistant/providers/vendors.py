"""What each vendor wants beyond its protocol."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Vendor(Protocol):
    """A vendor's own ways."""

    def headers(self) -> Mapping[str, str]:
        """Headers beside the protocol's."""
        ...

    def base_url(self, key: str) -> str:
        """Where to ask, without a trailing slash."""
        ...


@dataclass(frozen=True, slots=True)
class PlainVendor:
    """A vendor that wants nothing but its key."""

    url: str
    extra: Mapping[str, str]

    def headers(self) -> Mapping[str, str]:
        """Fixed headers."""
        return self.extra

    def base_url(self, key: str) -> str:  # noqa: ARG002 (the same for every key)
        """The one address."""
        return self.url


OPENROUTER_HEADERS = {"X-Title": "serverless-openclaw"}
"""How the account's activity page names us (OpenRouter docs, "App attribution")."""

COPILOT_HEADERS = {
    # As an editor sends them; without them the API refuses.
    "Copilot-Integration-Id": "vscode-chat",
    "Editor-Version": "vscode/1.107.0",
    "Editor-Plugin-Version": "copilot-chat/0.35.0",
    "User-Agent": "GitHubCopilotChat/0.35.0",
    "X-Initiator": "user",
}
_COPILOT_USER = "https://api.github.com/copilot_internal/user"
_DISCOVERY_SECONDS = 1800
_DISCOVERY_TIMEOUT = httpx.Timeout(5, connect=3)


class _Endpoints(msgspec.Struct):
    api: str | None = None


class _CopilotUser(msgspec.Struct):
    endpoints: _Endpoints = msgspec.field(default_factory=_Endpoints)


class Copilot:
    """GitHub Copilot: the account's plan decides where it is asked, and the GitHub token itself is the bearer.

    Args:
        http: the client to discover with.
        default_url: where to ask if GitHub names no place.
        fixed_url: where to ask without discovering; empty to discover.
    """

    def __init__(self, http: httpx.Client, default_url: str, fixed_url: str) -> None:
        self._http = http
        self._default = default_url
        self._fixed = fixed_url
        self._found: tuple[float, str] | None = None

    def headers(self) -> Mapping[str, str]:
        """As an editor sends them; a place of the owner's choice gets none."""
        return {} if self._fixed else COPILOT_HEADERS

    def base_url(self, key: str) -> str:
        """The account's endpoint, remembered for half an hour."""
        if self._fixed:
            return self._fixed
        now = time.monotonic()
        if self._found is None or now - self._found[0] > _DISCOVERY_SECONDS:
            self._found = (now, self._discover(key))
        return self._found[1]

    def _discover(self, key: str) -> str:
        with contextlib.suppress(httpx.HTTPError, msgspec.DecodeError):
            response = self._http.get(
                _COPILOT_USER, headers={"Authorization": f"token {key}"}, timeout=_DISCOVERY_TIMEOUT
            )
            if response.status_code == httpx.codes.OK:
                user = msgspec.json.decode(response.content, type=_CopilotUser)
                return (user.endpoints.api or self._default).rstrip("/")
        return self._default

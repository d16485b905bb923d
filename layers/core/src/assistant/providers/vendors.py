"""What each vendor wants beyond its protocol."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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


@dataclass(frozen=True, slots=True)
class _Found:
    since: float
    key: str = field(repr=False)
    url: str


class Copilot:
    """GitHub Copilot: the account's plan decides where it is asked, and the GitHub token itself is the bearer.

    Args:
        http: the client to discover with.
        default_url: where to ask if GitHub names no place.
        fixed_url: where to ask without discovering; empty to discover.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        http: httpx.Client,
        default_url: str,
        fixed_url: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._default = default_url
        self._fixed = fixed_url
        self._monotonic = monotonic
        self._found: _Found | None = None

    def headers(self) -> Mapping[str, str]:
        """As an editor sends them; a place of the owner's choice gets none."""
        return {} if self._fixed else COPILOT_HEADERS

    def base_url(self, key: str) -> str:
        """The account's endpoint, remembered for half an hour."""
        if self._fixed:
            return self._fixed
        found = self._found
        if found is None or found.key != key or self._monotonic() - found.since > _DISCOVERY_SECONDS:
            found = self._found = self._discover(key)
        return self._default if found is None else found.url

    def _discover(self, key: str) -> _Found | None:
        """Ask GitHub; None, and no memory of it, if it does not answer with a place that the token may be sent to."""
        with contextlib.suppress(httpx.HTTPError, msgspec.DecodeError, UnicodeError, RecursionError):
            response = self._http.get(
                _COPILOT_USER, headers={"Authorization": f"token {key}"}, timeout=_DISCOVERY_TIMEOUT
            )
            if response.status_code == httpx.codes.OK:
                user = msgspec.json.decode(response.content, type=_CopilotUser)
                url = (user.endpoints.api or self._default).rstrip("/")
                return _Found(self._monotonic(), key, url) if url.startswith("https://") else None
        return None

"""One tiny question to one provider, through the product's own client: whether its key and its model id are good."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from assistant.errors import ProviderDeclined, ProviderError, ProviderRejected, ProviderUnavailable
from assistant.providers.client import ProviderClient
from assistant.turns.model import Said
from assistant.wiring import SystemClock, protocol, vendor

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from assistant.turns.chain import Chain

MAX_TOKENS = 256
"""Models that think first need some for it."""

_REACHED = frozenset({"empty answer", "answer cut off"})
_SYSTEM = "Answer with the one word OK."
_QUESTION = (Said("user", "Are you there?"),)

type Verdict = Literal["good", "used up", "wrong", "unreachable"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it. `reason` is the provider's, in the few words of our own taxonomy."""

    verdict: Verdict
    model: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the provider knows the key."""
        return self.verdict in {"good", "used up"}


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks providers of the chain; `base_urls` by provider id, where they are not the chain's."""

    http: httpx.Client
    chain: Chain
    base_urls: Mapping[str, str]

    def __call__(self, provider_id: str, key: str) -> Asked:
        """Ask. It uses one request of the quota; with Claude, less than a cent."""
        provider = replace(self.chain.provider(provider_id), max_tokens=MAX_TOKENS)
        client = ProviderClient(
            provider,
            protocol(provider),
            vendor(provider, self.http, self.base_urls.get(provider_id, "")),
            self.http,
            self.chain.timeouts,
            SystemClock(),
        )
        began = time.monotonic()
        try:
            answer = client.ask(_SYSTEM, _QUESTION, key=key, seconds=30, on_text=lambda _text: None)
        except ProviderError as error:
            return _verdict(error, provider.model, time.monotonic() - began)
        return Asked("good", answer.model, seconds=time.monotonic() - began)


def _verdict(error: ProviderError, model: str, seconds: float) -> Asked:
    reason = error.reason + (f" (HTTP {error.status})" if error.status else "")
    if isinstance(error, ProviderRejected):
        return Asked("wrong", model, reason, seconds)
    if isinstance(error, ProviderUnavailable) and error.reason not in _REACHED:
        return Asked("unreachable", model, reason, seconds)
    if isinstance(error, (ProviderDeclined, ProviderUnavailable)):
        return Asked("good", model, reason, seconds)
    return Asked("used up", model, reason, seconds)

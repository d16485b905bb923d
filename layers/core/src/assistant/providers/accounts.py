"""What a provider says of the account itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from assistant.errors import ProviderUnavailable
from assistant.providers.failures import OPENAI_CHAT, translate
from assistant.providers.refusals import read_failure
from assistant.providers.transport import broken, exchange, read_body, usable_key
from assistant.turns.ledger import AccountQuota

if TYPE_CHECKING:
    from assistant.turns.ports import Clock

_SECONDS = 5
_TIMEOUT = httpx.Timeout(_SECONDS, connect=3)


class _FreeModelDailyRequests(msgspec.Struct):
    limit: int
    used: int


class _Key(msgspec.Struct):
    free_model_daily_requests: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    data: _Key


@dataclass(frozen=True, slots=True)
class OpenRouterAccount:
    """OpenRouter's count of the requests to free models, which ends with the UTC day.

    Source: OpenRouter docs, "Limits" and `FreeModelDailyRequests`.
    """

    http: httpx.Client
    base_url: str
    clock: Clock

    def read(self, key: str, provider_id: str) -> AccountQuota | None:
        """`GET /key`; None if it does not tell.

        Raises:
            ProviderError: it did not answer, of the classes that asking a question has.
        """
        deadline = time.monotonic() + _SECONDS
        try:
            request = self.http.build_request(
                "GET",
                f"{self.base_url}/key",
                headers={"Authorization": f"Bearer {usable_key(provider_id, key)}", "Accept-Encoding": "identity"},
                timeout=_TIMEOUT,
            )
            with exchange(self.http, request, deadline) as response:
                body = self._read(response, provider_id)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise broken(provider_id, error, late=time.monotonic() > deadline, may_cost=False) from None
        return _quota(body.data.free_model_daily_requests)

    def _read(self, response: httpx.Response, provider_id: str) -> _Body:
        content = read_body(response)
        failure = read_failure(response.status_code, response.headers, content)
        if failure is not None:
            raise translate(provider_id, failure, OPENAI_CHAT, self.clock.now())
        try:
            return msgspec.json.decode(content, type=_Body)
        except (ValueError, RecursionError):
            raise ProviderUnavailable(provider_id, "broken answer", status=response.status_code) from None


def _quota(raw: msgspec.Raw) -> AccountQuota | None:
    try:
        told = msgspec.json.decode(raw, type=_FreeModelDailyRequests)
    except msgspec.DecodeError:
        return None
    return AccountQuota(told.limit, told.used) if told.limit >= 0 and told.used >= 0 else None

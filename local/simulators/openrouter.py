"""OpenRouter's free models, simulated.

Sources: openrouter.ai/docs/api-reference/limits, …/errors and …/streaming; the body and headers of the
daily 429 as quoted in Gitlawb/openclaude#936 (message, `metadata.headers`, reset in epoch milliseconds at
the next 00:00 UTC) and Avarok-Cybersecurity/atlas#543 (`limit_source`); no Retry-After on these; an
upstream's 429 with `metadata.raw` and `provider_name`; mid-stream errors keep `choices` with
`finish_reason: "error"` (use-agent-os/agent-os#2215); the 400 of a context that is too long
(Aider-AI/aider#3721); the answer of `GET /key` (…/docs/limits, …/docs/client-sdks/python/components/
freemodeldailyrequests). Invented: that the minute is a calendar minute, and
the `limit_source` of the minute.
"""

from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from local.simulators import sse
from local.simulators.chat_completions import ChatCompletionsSimulator
from local.simulators.faults import Fault
from local.simulators.limits import Clock, Period, RequestWindow
from local.simulators.provider import Json, Refusal, unsupported

_HOST = "Simulated Upstream"
_KEY: Json = {
    "label": "simulated",
    "limit": None,
    "limit_reset": None,
    "limit_remaining": None,
    "usage": 0,
    "usage_daily": 0,
    "usage_weekly": 0,
    "usage_monthly": 0,
    "is_free_tier": True,
}


class OpenRouterSimulator(ChatCompletionsSimulator):
    """OpenRouter: 50 requests a day (1,000 once $10 were bought), 20 a minute, for all free models.

    Attributes:
        look_ups: How often `GET /api/v1/key` was answered.
    """

    provider_id = "openrouter"
    endpoint = "/api/v1/chat/completions"

    def __init__(
        self, clock: Clock, key: str, *, per_day: int = 50, per_minute: int = 20, hang_limit_s: float = 120.0
    ) -> None:
        super().__init__(clock, key, hang_limit_s=hang_limit_s)
        self.day = RequestWindow(per_day, Period.DAY)
        self.minute = RequestWindow(per_minute, Period.MINUTE)
        self.look_ups = 0

    @property
    def per_day(self) -> int | None:
        """Requests in a UTC day: 50, or 1,000 once $10 were bought. May be set; what was used stays used."""
        return self.day.limit

    @per_day.setter
    def per_day(self, limit: int | None) -> None:
        self.day.limit = limit

    def admit(self, request: Request, now: float) -> Refusal | None:
        """The day is looked at first: it is the refusal that lasts."""
        del request
        if self.day.is_full(now):
            return self.refusal(Fault.EXHAUSTED, {})
        if self.minute.is_full(now):
            return self.refusal(Fault.THROTTLED, {})
        self.day.add(now)
        self.minute.add(now)
        return None

    def refusal(self, fault: Fault, body: Json) -> Refusal:
        """Errors are `{"error": {"code", "message", "metadata"?}}`, the code being the status."""
        refusals = {
            Fault.THROTTLED: self._limit_refusal(self.minute, "free-models-per-min. ", "openrouter_free_tier_minute"),
            Fault.EXHAUSTED: self._limit_refusal(
                self.day,
                "free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
                "openrouter_free_tier_daily",
            ),
            Fault.UPSTREAM_THROTTLED: _refusal(429, "Provider returned error", _upstream(body)),
            Fault.UNAUTHORIZED: _refusal(401, "User not found."),
            Fault.PAYMENT_REQUIRED: _refusal(
                402, "Insufficient credits. Add more using https://openrouter.ai/settings/credits"
            ),
            Fault.FORBIDDEN: _refusal(403, "Key limit exceeded (total limit)."),
            Fault.NOT_FOUND: _refusal(404, f"No endpoints found for {body.get('model')}."),
            Fault.SERVER_ERROR: _refusal(500, "Internal Server Error"),
            Fault.UNAVAILABLE: _refusal(503, "No instances available"),
            Fault.TOO_LONG: _refusal(400, self._context_message(body), {"provider_name": _HOST}),
            Fault.ERROR_IN_200: Refusal(200, _refusal(429, "Provider returned error", _upstream(body)).body),
        }
        if fault not in refusals:
            raise unsupported(self.provider_id, fault)
        return refusals[fault]

    def _limit_refusal(self, window: RequestWindow, message: str, source: str) -> Refusal:
        headers = {
            "X-RateLimit-Limit": str(window.limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(window.resets_at(self.clock.now()) * 1000)),
        }
        metadata = {"headers": headers, "limit_source": source}
        return _refusal(429, f"Rate limit exceeded: {message}", metadata, headers)

    def _context_message(self, body: Json) -> str:
        tokens = self.requested_tokens(body)
        output = body.get("max_tokens", 0)
        return (
            f"This endpoint's maximum context length is {self.context_window} tokens. However, you requested about "
            f"{tokens + output} tokens ({tokens} of text input, {output} in the output). Please reduce the length of "
            'either one, or use the "middle-out" transform to compress your prompt automatically.'
        )

    def malformed(self, message: str) -> Refusal:
        """OpenRouter's 400."""
        return _refusal(400, message)

    def extras(self) -> Mapping[str, Any]:
        """OpenRouter says who answered."""
        return {"provider": _HOST}

    def preamble(self) -> list[bytes]:
        """Comments that keep the connection alive while the model thinks."""
        return [sse.comment("OPENROUTER PROCESSING")] * 2

    def always_reports_usage(self) -> bool:
        """Usage comes unasked (…/docs/use-cases/usage-accounting)."""
        return True

    def error_in_stream(self, body: Json) -> bytes:
        """The chunk with both `error` and a choice that ends with "error"."""
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        error = {"code": 502, "message": "Provider disconnected unexpectedly"}
        envelope = self._envelope(body, "chat.completion.chunk")
        return sse.event({**envelope, "error": error, "choices": [choice]})

    def look_up(self, path: str) -> Json | None:
        """`GET /api/v1/key` tells what is left of the day."""
        if path != "/api/v1/key":
            return None
        self.look_ups += 1
        now = self.clock.now()
        daily = {"used": self.day.used(now), "limit": self.day.limit, "remaining": self.day.remaining(now)}
        return {"data": {**_KEY, "free_model_daily_requests": daily}}


def _refusal(
    status: int, message: str, metadata: Json | None = None, headers: Mapping[str, str] | None = None
) -> Refusal:
    error: Json = {"message": message, "code": status}
    if metadata:
        error["metadata"] = metadata
    return Refusal(status, {"error": error}, headers or {})


def _upstream(body: Json) -> Json:
    raw = f"{body.get('model')} is temporarily rate-limited upstream. Please retry shortly."
    return {"raw": raw, "provider_name": _HOST, "error_type": "rate_limit_exceeded"}

"""Ollama Cloud's OpenAI-compatible endpoint, simulated.

Sources: 429 `timed out waiting for a concurrent request slot`, its `error` being a plain string
(devops-thiago/ThrillhouseBot#838, against the same endpoint); 429 `you've reached your weekly usage limit,
please wait or upgrade to continue` without Retry-After (HomericIntelligence/Scylla#346); 503 `Server
overloaded, please retry shortly (ref: …)` (ollama/ollama#15934); 400 `prompt too long; exceeded max context
length by … tokens (ref: …)` (dyad-sh/dyad#3498). Invented: a daily limit as a setting
(nothing is published), that a second request is refused at once (the real one queues it for minutes first),
and the texts of 401, 402, 403 and 500.
"""

from werkzeug.wrappers import Request

from local.simulators.chat_completions import ChatCompletionsSimulator
from local.simulators.faults import Fault
from local.simulators.limits import Clock, Period, RequestWindow, Slots
from local.simulators.provider import Json, Refusal, unsupported

_WEEK = "you've reached your weekly usage limit, please wait or upgrade to continue"
_REF = "(ref: 00000000-0000-0000-0000-000000000000)"


class OllamaCloudSimulator(ChatCompletionsSimulator):
    """Ollama Cloud: one request at a time; a daily limit only if set."""

    provider_id = "ollama-cloud"
    endpoint = "/v1/chat/completions"

    def __init__(
        self,
        clock: Clock,
        key: str,
        *,
        concurrency: int = 1,
        per_day: int | None = None,
        slot_wait_s: float = 0.0,
        hang_limit_s: float = 120.0,
    ) -> None:
        """Make one.

        Args:
            clock: Drives the daily limit.
            key: The only API key that is accepted.
            concurrency: Requests at a time.
            per_day: Requests in a UTC day; None for no limit.
            slot_wait_s: How long, in real seconds, a request waits for one under way before it is refused.
            hang_limit_s: Bound of the waiting faults, in real seconds.
        """
        super().__init__(clock, key, hang_limit_s=hang_limit_s)
        self.day = RequestWindow(per_day, Period.DAY)
        self.slots = Slots(concurrency)
        self.slot_wait_s = slot_wait_s

    @property
    def per_day(self) -> int | None:
        """Requests in a UTC day; None for no limit. May be set; what was used stays used."""
        return self.day.limit

    @per_day.setter
    def per_day(self, limit: int | None) -> None:
        self.day.limit = limit

    @property
    def most_in_flight(self) -> int:
        """The highest number of requests at a time, with those that were refused for it."""
        return self.slots.most_in_flight

    def admit(self, request: Request, now: float) -> Refusal | None:
        """Take a slot; `leave` gives it back when the answer has been sent."""
        del request
        if self.day.is_full(now):
            return self.refusal(Fault.EXHAUSTED, {})
        if not self.slots.acquire(self.slot_wait_s):
            return self.refusal(Fault.THROTTLED, {})
        self.day.add(now)
        return None

    def leave(self) -> None:
        """Give the slot back."""
        self.slots.release()

    def refusal(self, fault: Fault, body: Json) -> Refusal:
        """Errors of the cloud are `{"error": "<text>"}`: a string where OpenAI has an object."""
        excess = self.requested_tokens(body) - self.context_window
        texts = {
            Fault.THROTTLED: (429, "timed out waiting for a concurrent request slot"),
            Fault.EXHAUSTED: (429, _WEEK),
            Fault.UNAUTHORIZED: (401, "unauthorized"),
            Fault.PAYMENT_REQUIRED: (402, "this model is not included in your free usage"),
            Fault.FORBIDDEN: (
                403,
                "this model requires a subscription, upgrade for access: https://ollama.com/upgrade",
            ),
            Fault.NOT_FOUND: (404, f"model '{body.get('model')}' not found"),
            Fault.SERVER_ERROR: (500, f"Internal Server Error {_REF}"),
            Fault.UNAVAILABLE: (503, f"Server overloaded, please retry shortly {_REF}"),
            Fault.TOO_LONG: (400, f"prompt too long; exceeded max context length by {excess} tokens {_REF}"),
            Fault.ERROR_IN_200: (200, f"Server overloaded, please retry shortly {_REF}"),
        }
        if fault not in texts:
            raise unsupported(self.provider_id, fault)
        status, text = texts[fault]
        return Refusal(status, {"error": text})

    def malformed(self, message: str) -> Refusal:
        """Ollama's OpenAI layer has its own 400, with an object (ollama/ollama, openai/openai.go)."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return Refusal(400, {"error": error})

"""Anthropic's messages API, simulated.

Sources: platform.claude.com/docs on streaming (order of events, `ping`, `event: error`), errors (`{"type":
"error", "error": {"type", "message"}, "request_id"}`; 402 `billing_error`, 529 `overloaded_error`) and rate
limits (`retry-after` and `anthropic-ratelimit-…` headers; 429 with `details.error_code` =
`enforced_spend_limit_reached` and no `retry-after` until 00:00 UTC on the first of the next month); 400
`prompt is too long: … tokens > … maximum` (boldsoftware/exe.dev#62); prices: platform.claude.com/docs, pricing
(Claude Sonnet 5). The prompt cache is in `prefix_cache`. Two turns of one role in a row are joined by the real
API, so they are no error here. Token counts are estimates; `max_tokens` is not enforced.

Invented: that an answer which breaks on the way is billed as a whole.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from werkzeug.wrappers import Request

from local.simulators import sse
from local.simulators.answers import Saying, pieces_of, question_of, text_of, tokens_in
from local.simulators.faults import Fault
from local.simulators.limits import Clock, Period, RequestWindow
from local.simulators.prefix_cache import MINIMUM_TOKENS, InputTokens, PrefixCache, blocks_of, problem_of
from local.simulators.provider import Json, ProviderSimulator, Refusal, unsupported


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens, which is the same as micro-dollars for a token."""

    input: float = 2.0
    output: float = 10.0
    cached: float = 0.2
    written: float = 2.5
    written_1h: float = 4.0

    def of(self, used: InputTokens, output_tokens: int) -> float:
        """What an answer costs, in micro-dollars."""
        return (
            used.uncached * self.input
            + used.read * self.cached
            + used.written_5m * self.written
            + used.written_1h * self.written_1h
            + output_tokens * self.output
        )


class AnthropicSimulator(ProviderSimulator):
    """Anthropic: paid, and still limited per minute.

    Attributes:
        cache: The prompt cache.
        context_window: Input that is longer, in tokens, is refused. May be set.
        prices: What the bill is reckoned with.
        spent_micro_dollars: The bill so far, unrounded.
    """

    provider_id = "anthropic"
    endpoint = "/v1/messages"
    _ids = itertools.count(1)

    def __init__(
        self,
        clock: Clock,
        key: str,
        *,
        per_minute: int = 50,
        prices: Prices | None = None,
        minimum_tokens: Mapping[str, int] = MINIMUM_TOKENS,
        context_window: int = 200_000,
        hang_limit_s: float = 120.0,
    ) -> None:
        """Make one.

        Args:
            clock: Drives the limit, and the life of what is cached.
            key: The only API key that is accepted.
            per_minute: Requests in a minute.
            prices: What is charged; Claude Sonnet 5's prices if left out.
            minimum_tokens: The shortest prefix that is cached, by model id.
            context_window: Input that is longer, in tokens, is refused.
            hang_limit_s: Bound of the waiting faults, in real seconds.
        """
        super().__init__(clock, key, hang_limit_s=hang_limit_s)
        self.minute = RequestWindow(per_minute, Period.MINUTE)
        self.cache = PrefixCache(minimum_tokens)
        self.context_window = context_window
        self.prices = prices or Prices()
        self.spent_micro_dollars = 0.0

    def check_key(self, request: Request, key: str) -> Refusal | None:
        """The key comes in its own header."""
        return None if request.headers.get("x-api-key") == key else self.refusal(Fault.UNAUTHORIZED, {})

    def check(self, request: Request, body: Json) -> Refusal | None:
        """The version header, and the fields without which the API answers 400."""
        if not request.headers.get("anthropic-version"):
            return self._malformed("anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if not body.get(name):
                return self._malformed(f"{name}: Field required")
        blocks = blocks_of(body)
        problem = _problem_of(body) or problem_of(blocks)
        if problem:
            return self._malformed(problem)
        tokens = sum(block.tokens for block in blocks)
        return self._too_long(tokens) if tokens > self.context_window else None

    def admit(self, request: Request, now: float) -> Refusal | None:
        """Requests per minute."""
        del request
        if self.minute.is_full(now):
            return self.refusal(Fault.THROTTLED, {})
        self.minute.add(now)
        return None

    def refusal(self, fault: Fault, body: Json) -> Refusal:
        """Errors name their type; the status alone does not tell them apart."""
        now = self.clock.now()
        if fault is Fault.EXHAUSTED:
            return self._spend_limit(now)
        if fault is Fault.TOO_LONG:
            return self._too_long(sum(block.tokens for block in blocks_of(body)))
        wait = {"retry-after": str(int(self.minute.resets_at(now) - now) + 1)}
        refusals = {
            Fault.THROTTLED: (
                429,
                "rate_limit_error",
                "This request would exceed your organization's rate limit of requests per minute.",
            ),
            Fault.UNAUTHORIZED: (401, "authentication_error", "invalid x-api-key"),
            Fault.PAYMENT_REQUIRED: (
                402,
                "billing_error",
                "There is an issue with your billing or payment information.",
            ),
            Fault.FORBIDDEN: (
                403,
                "permission_error",
                "Your API key does not have permission to use this resource.",
            ),
            Fault.NOT_FOUND: (404, "not_found_error", f"model: {body.get('model')}"),
            Fault.SERVER_ERROR: (500, "api_error", "Internal server error"),
            Fault.UNAVAILABLE: (503, "api_error", "Service unavailable"),
            Fault.OVERLOADED: (529, "overloaded_error", "Overloaded"),
            Fault.ERROR_IN_200: (200, "overloaded_error", "Overloaded"),
        }
        if fault not in refusals:
            raise unsupported(self.provider_id, fault)
        status, kind, message = refusals[fault]
        headers = {**wait, **self.answer_headers(now)} if fault is Fault.THROTTLED else {}
        return self._error(status, kind, message, headers)

    def _spend_limit(self, now: float) -> Refusal:
        until = datetime.fromtimestamp(Period.MONTH.end(now), UTC)
        message = (
            "You have reached your API usage limits: your organization has crossed its monthly API usage "
            "threshold, set based on your organization's API tier. You will regain access on "
            f"{until:%Y-%m-%d} at 00:00 UTC."
        )
        return self._error(429, "rate_limit_error", message, {}, {"error_code": "enforced_spend_limit_reached"})

    def _too_long(self, tokens: int) -> Refusal:
        # Where it was ordered, the conversation may well be short; the sentence must be true all the same.
        said = max(tokens, self.context_window + 1)
        return self._malformed(f"prompt is too long: {said} tokens > {self.context_window} maximum")

    def _malformed(self, message: str) -> Refusal:
        return self._error(400, "invalid_request_error", message)

    def _error(
        self,
        status: int,
        kind: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        details: Json | None = None,
    ) -> Refusal:
        request_id = f"req_simulated_{next(self._ids)}"
        error: Json = {"type": kind, "message": message} | ({"details": details} if details else {})
        body = {"type": "error", "error": error, "request_id": request_id}
        return Refusal(status, body, {"request-id": request_id, **(headers or {})})

    def question(self, body: Json) -> str:
        """The user's messages since the last answer."""
        return question_of(body["messages"])

    def stream(self, body: Json, said: Saying) -> list[bytes]:
        """`message_start`, one content block, `message_delta` with the final usage, `message_stop`."""
        usage = self._charge(body, tokens_in(said)) | {"output_tokens": 1}
        start = {**self._message(body), "content": [], "stop_reason": None, "usage": usage}
        events: list[Json] = [{"type": "message_start", "message": start}]
        if said:
            events.append({"type": "content_block_start", "index": 0, "content_block": self._empty_block(said)})
        events.append({"type": "ping"})
        events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in _deltas(said)]
        if said:
            events.append({"type": "content_block_stop", "index": 0})
        stop = {"stop_reason": _stop_reason(said), "stop_sequence": None}
        events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": tokens_in(said)}})
        events.append({"type": "message_stop"})
        return [sse.event(data, data["type"]) for data in events]

    def complete(self, body: Json, said: Saying) -> Json:
        """A `message` object."""
        filled = {"text": said} if isinstance(said, str) else {"input": dict(said.arguments)}
        content = [self._empty_block(said) | filled] if said else []
        usage = self._charge(body, tokens_in(said))
        return {**self._message(body), "content": content, "stop_reason": _stop_reason(said), "usage": usage}

    def _empty_block(self, said: Saying) -> Json:
        if isinstance(said, str):
            return {"type": "text", "text": ""}
        return {"type": "tool_use", "id": f"toolu_simulated_{next(self._ids)}", "name": said.name, "input": {}}

    def error_in_stream(self, body: Json) -> bytes:
        """`event: error`, which may follow a 200."""
        del body
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return sse.event({"type": "error", "error": error}, "error")

    def answer_headers(self, now: float) -> Mapping[str, str]:
        """What is left of the minute; the reset is RFC 3339."""
        reset = datetime.fromtimestamp(self.minute.resets_at(now), UTC)
        return {
            "anthropic-ratelimit-requests-limit": str(self.minute.limit),
            "anthropic-ratelimit-requests-remaining": str(self.minute.remaining(now)),
            "anthropic-ratelimit-requests-reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _charge(self, body: Json, output_tokens: int) -> Json:
        with self._lock:
            used = self.cache.account(str(body["model"]), blocks_of(body), self.clock.now())
            self.spent_micro_dollars += self.prices.of(used, output_tokens)
        return {
            "input_tokens": used.uncached,
            "cache_creation_input_tokens": used.written_5m + used.written_1h,
            "cache_read_input_tokens": used.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": used.written_5m,
                "ephemeral_1h_input_tokens": used.written_1h,
            },
            "output_tokens": output_tokens,
        }

    def _message(self, body: Json) -> Json:
        return {
            "id": f"msg_simulated_{next(self._ids)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_sequence": None,
        }


def _deltas(said: Saying) -> list[Json]:
    if isinstance(said, str):
        return [{"type": "text_delta", "text": piece} for piece in pieces_of(said)]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces_of(said.text)]


def _stop_reason(said: Saying) -> str:
    return "end_turn" if isinstance(said, str) else "tool_use"


def _is_empty(content: object) -> bool:
    """Whether nothing is said; calls of tools and what they gave count as said."""
    blocks = content if isinstance(content, list) else []
    if any(isinstance(block, dict) and block.get("type") in {"tool_use", "tool_result"} for block in blocks):
        return False
    return not text_of(content).strip()


def _problem_of(body: Json) -> str | None:
    messages: list[Json] = body["messages"]
    if isinstance(body.get("system"), list) and not all(text_of([block]).strip() for block in body["system"]):
        return "system: text content blocks must be non-empty"
    for at, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant"}:
            return f'messages.{at}.role: Input should be "user" or "assistant"'
        if _is_empty(message.get("content")):
            return f"messages.{at}: text content blocks must be non-empty"
    if messages[0]["role"] != "user":
        return "messages: first message must use the user role"
    return None

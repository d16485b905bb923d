"""GitHub Copilot's chat completions, simulated.

Sources: 402 `You have no quota` with code `quota_exceeded` (github/copilot-cli#730); 429 with the plain
text `quota exceeded` and weeks of Retry-After (microsoft/copilot-intellij-feedback#331,
anomalyco/opencode#17682); 429 `user_global_rate_limited` with `x-ratelimit-exceeded` and a short
Retry-After, and the `x-quota-snapshot-…` header (as microsoft/vscode reads them); 400 without
`Editor-Version` and 403 without a known integration (BerriAI/litellm#18475); premium requests count by
calendar month, UTC, and only those with `X-Initiator: user` (docs.github.com, "Requests in GitHub
Copilot"); 400 `model_max_prompt_tokens_exceeded` (microsoft/vscode#289514). Invented: the texts of
401, 404, 500 and 503.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from werkzeug.wrappers import Request

from local.simulators.chat_completions import ChatCompletionsSimulator
from local.simulators.faults import Fault
from local.simulators.limits import Clock, Period, RequestWindow
from local.simulators.provider import Json, Refusal, unsupported


class CopilotSimulator(ChatCompletionsSimulator):
    """Copilot: a monthly allowance of premium requests."""

    provider_id = "copilot"
    endpoint = "/chat/completions"

    def __init__(
        self,
        clock: Clock,
        key: str,
        *,
        per_month: int = 2000,
        editors_only: bool = True,
        hang_limit_s: float = 120.0,
    ) -> None:
        """Make one.

        Args:
            clock: Drives the quota.
            key: The only token that is accepted.
            per_month: Premium requests in a month.
            editors_only: Whether an editor's headers are asked for. A place of one's own choice, such as
                GitHub Models, does not.
            hang_limit_s: Bound of the waiting faults, in real seconds.
        """
        super().__init__(clock, key, hang_limit_s=hang_limit_s)
        self.editors_only = editors_only
        self.month = RequestWindow(per_month, Period.MONTH)

    def admit(self, request: Request, now: float) -> Refusal | None:
        """Count the requests that the user initiated."""
        if request.headers.get("X-Initiator") == "agent":
            return None
        if self.month.is_full(now):
            return self.refusal(Fault.PAYMENT_REQUIRED, {})
        self.month.add(now)
        return None

    def check(self, request: Request, body: Json) -> Refusal | None:
        """Copilot answers editors only: their headers are asked for."""
        if not self.editors_only:
            return super().check(request, body)
        if not request.headers.get("Editor-Version"):
            return Refusal(400, "bad request: missing Editor-Version header for IDE auth\n")
        if not request.headers.get("Copilot-Integration-Id"):
            return self.refusal(Fault.FORBIDDEN, body)
        return super().check(request, body)

    def refusal(self, fault: Fault, body: Json) -> Refusal:
        """Copilot's errors: JSON for what its own code refuses, plain text for what the gateway does."""
        now = self.clock.now()
        until_reset = {"Retry-After": str(int(self.month.resets_at(now) - now) + 1)}
        refusals = {
            Fault.THROTTLED: Refusal(
                429,
                _error("Sorry, you've exceeded your rate limits.", "user_global_rate_limited:pro"),
                {"Retry-After": "2", "x-ratelimit-exceeded": "global-chat:global-user-tps"},
            ),
            Fault.EXHAUSTED: Refusal(429, "quota exceeded\n", until_reset),
            Fault.PAYMENT_REQUIRED: Refusal(402, _error("You have no quota", "quota_exceeded"), until_reset),
            Fault.UNAUTHORIZED: Refusal(401, "unauthorized: token expired\n"),
            Fault.FORBIDDEN: Refusal(403, "token not authorized for this integration\n"),
            Fault.NOT_FOUND: Refusal(404, "404 page not found\n"),
            Fault.SERVER_ERROR: Refusal(500, "Internal Server Error\n"),
            Fault.UNAVAILABLE: Refusal(503, "upstream connect error or disconnect/reset before headers"),
            Fault.TOO_LONG: Refusal(
                400,
                _error(
                    f"prompt token count of {self.requested_tokens(body)} exceeds the limit of {self.context_window}",
                    "model_max_prompt_tokens_exceeded",
                ),
            ),
            Fault.ERROR_IN_200: Refusal(200, _error("The server had an error", "server_error")),
        }
        if fault not in refusals:
            raise unsupported(self.provider_id, fault)
        return refusals[fault]

    def malformed(self, message: str) -> Refusal:
        """Copilot's 400."""
        return Refusal(400, _error(message, "invalid_request_body"))

    def answer_headers(self, now: float) -> Mapping[str, str]:
        """What is left of the month, as vscode reads it: allowance, share left in percent, reset."""
        limit = self.month.limit or 1
        left = 100 * (self.month.remaining(now) or 0) / limit
        reset = datetime.fromtimestamp(self.month.resets_at(now), UTC).isoformat()
        snapshot = f"ent={limit}&ov=0.0&ovPerm=false&rem={left:.1f}&rst={reset}"
        return {"x-quota-snapshot-premium_interactions": snapshot}


def _error(message: str, code: str) -> Json:
    return {"error": {"message": message, "code": code}}

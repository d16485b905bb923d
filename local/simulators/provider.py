"""What the four simulated providers have in common: record, check, count, answer, and go wrong on order."""

import http
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from local.simulators.answers import Saying, ToolCall, answer_to, delegation_of
from local.simulators.faults import HUGE_BYTES, Fault, FaultQueue, Waits, drop_connection, play
from local.simulators.limits import Clock

type Json = dict[str, Any]

_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})
_REFUSALS = {
    Fault.THROTTLED,
    Fault.EXHAUSTED,
    Fault.UPSTREAM_THROTTLED,
    Fault.UNAUTHORIZED,
    Fault.PAYMENT_REQUIRED,
    Fault.FORBIDDEN,
    Fault.NOT_FOUND,
    Fault.SERVER_ERROR,
    Fault.UNAVAILABLE,
    Fault.OVERLOADED,
    Fault.TOO_LONG,
    Fault.ERROR_IN_200,
}
# Stands for the byte that `Fault.INVALID_UTF8` puts in its place: a private character that no text has.
_BROKEN = "\ue000"
_CHUNK = 65_536


@dataclass(frozen=True)
class RecordedRequest:
    """A request that a simulator was asked, without its key.

    Attributes:
        at: Epoch seconds on the simulator's clock.
        method: HTTP method.
        path: Path below the simulator's mount point.
        headers: Names in lower case.
        body: The JSON body; empty if it was no object.
        fault: The ordered fault that it met.
    """

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: Json = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def messages(self) -> list[Json]:
        """The conversation that was sent."""
        return list(self.body.get("messages", []))


@dataclass(frozen=True)
class Refusal:
    """An error answer: status, body (JSON, or text) and headers."""

    status: int
    body: Json | str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """As HTTP."""
        if isinstance(self.body, str):
            html = self.body.startswith("<")
            return Response(self.body, self.status, dict(self.headers), mimetype="text/html" if html else "text/plain")
        return Response(json.dumps(self.body), self.status, dict(self.headers), mimetype="application/json")


class ProviderSimulator(ABC):
    """A simulated LLM provider: a WSGI application.

    A request that meets an ordered fault is not counted against the limits, unless it gets an answer.

    Attributes:
        compose: Makes the answer to a question.
        call_tool: What is done first, for a request's body; None to answer. A question that speaks of files or the web
            is handed over to the agent, where the tool for it is offered.
    """

    provider_id: ClassVar[str]
    endpoint: ClassVar[str]

    def __init__(self, clock: Clock, key: str, *, hang_limit_s: float = 120.0, slow_s: float = 3.0) -> None:
        """Make one.

        Args:
            clock: Drives the limits.
            key: The only API key that is accepted.
            hang_limit_s: Bound of the waiting faults, in real seconds.
            slow_s: How late `Fault.SLOW` answers, in real seconds.
        """
        self.clock = clock
        self.slow_s = slow_s
        self.huge_bytes = HUGE_BYTES
        self.compose: Callable[[str], str] = lambda question: answer_to(question, self.provider_id)
        self.call_tool: Callable[[Json], ToolCall | None] = lambda body: delegation_of(body, self.question(body))
        self.requests: list[RecordedRequest] = []
        self._key = key
        self._lock = threading.Lock()
        self._faults = FaultQueue[Fault]()
        self._waits = Waits(hang_limit_s)

    def order(self, fault: Fault, times: int | None = 1) -> None:
        """Let the next `times` requests meet a fault; None means until `clear`.

        Raises:
            ValueError: this vendor has no such fault.
        """
        if fault in _REFUSALS:
            self.refusal(fault, {})
        self._faults.order(fault, times)

    def clear(self) -> None:
        """Forget all ordered faults, and end the waits that they caused."""
        self._faults.clear()
        self._waits.release()

    def close(self) -> None:
        """Let go of every request that is kept waiting."""
        self.clear()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 (WSGI's own types)
        """The WSGI application."""
        request = Request(environ)
        is_question = request.method == "POST" and request.path == self.endpoint
        fault = self._faults.take() if is_question else None
        body = _json_object(request)
        self._record(request, body, fault)
        response = self._ask(request, body, fault) if is_question else self._look_up(request)
        return response(environ, start_response)

    def _record(self, request: Request, body: Json, fault: Fault | None) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        for name in _SECRET_HEADERS & headers.keys():
            del headers[name]
        entry = RecordedRequest(self.clock.now(), request.method, request.path, headers, body, fault)
        with self._lock:
            self.requests.append(entry)

    def _look_up(self, request: Request) -> Response:
        refusal = self.check_key(request, self._key)
        if refusal:
            return refusal.response()
        with self._lock:
            found = self.look_up(request.path) if request.method == "GET" else None
        if found is None:
            return self.refusal(Fault.NOT_FOUND, {}).response()
        return Response(json.dumps(found), mimetype="application/json")

    def _ask(self, request: Request, body: Json, fault: Fault | None) -> Response:
        if fault is Fault.HANG:
            self._waits.wait(request.environ)
        if fault in {Fault.HANG, Fault.CLOSED}:
            drop_connection(request.environ)
        if fault is Fault.BAD_GATEWAY:
            return bad_gateway_page().response()
        if fault in _REFUSALS:
            return self.refusal(fault, body).response()
        refusal = self.check_key(request, self._key) or self.check(request, body) or self._admit(request)
        return refusal.response() if refusal else self._answer(request, body, fault)

    def _admit(self, request: Request) -> Refusal | None:
        with self._lock:
            return self.admit(request, self.clock.now())

    def _answer(self, request: Request, body: Json, fault: Fault | None) -> Response:
        streamed = bool(body.get("stream"))
        said = self.call_tool(body) or _spoilt(self.compose(self.question(body)), fault)
        pieces = self._pieces(body, said, streamed=streamed)
        response = Response(
            play(
                pieces,
                fault,
                error=self.error_in_stream(body),
                waits=self._waits,
                environ=request.environ,
                slow_s=self.slow_s,
                # The middle of a stream is a piece of its text, and so is the middle of a large body.
                filler=pieces[(len(pieces) - 1) // 2] if streamed else b"x" * _CHUNK,
                huge_bytes=self.huge_bytes,
            ),
            mimetype="text/event-stream" if streamed else "application/json",
            headers=dict(self.answer_headers(self.clock.now())),
        )
        response.call_on_close(self.leave)
        return response

    def _pieces(self, body: Json, said: Saying, *, streamed: bool) -> list[bytes]:
        whole = (
            self.stream(body, said)
            if streamed
            else [json.dumps(self.complete(body, said), ensure_ascii=False).encode()]
        )
        pieces = [piece.replace(_BROKEN.encode(), b"\xff") for piece in whole]
        return pieces if streamed else _halves(pieces[0])

    @abstractmethod
    def refusal(self, fault: Fault, body: Json) -> Refusal:
        """The vendor's error answer for a fault.

        Raises:
            ValueError: this vendor has no such fault.
        """

    @abstractmethod
    def check_key(self, request: Request, key: str) -> Refusal | None:
        """Refuse a request without the right key."""

    @abstractmethod
    def check(self, request: Request, body: Json) -> Refusal | None:
        """Refuse a malformed request."""

    @abstractmethod
    def admit(self, request: Request, now: float) -> Refusal | None:
        """Count a request, or refuse it because a limit is reached. Called under a lock."""

    @abstractmethod
    def question(self, body: Json) -> str:
        """What the user asked."""

    @abstractmethod
    def stream(self, body: Json, said: Saying) -> list[bytes]:
        """The whole answer as server-sent events."""

    @abstractmethod
    def complete(self, body: Json, said: Saying) -> Json:
        """The whole answer as one object."""

    @abstractmethod
    def error_in_stream(self, body: Json) -> bytes:
        """The event that reports an error once a stream has begun."""

    def answer_headers(self, now: float) -> Mapping[str, str]:
        """Headers of a good answer."""
        del now
        return {}

    def look_up(self, path: str) -> Json | None:
        """What a GET answers; None if there is nothing. Called under a lock."""
        del path
        return None

    def leave(self) -> None:  # noqa: B027 (most vendors do not count requests in flight)
        """Called when an admitted request is over."""


def unsupported(provider_id: str, fault: Fault) -> ValueError:
    """The error for a fault that a vendor does not have."""
    return ValueError(f"{provider_id} has no fault {fault.value!r}")


def bad_gateway_page() -> Refusal:
    """The page with which nginx answers for a server behind it that is gone."""
    title = f"502 {http.HTTPStatus.BAD_GATEWAY.phrase}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return Refusal(502, page + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")


def _json_object(request: Request) -> Json:
    parsed = request.get_json(force=True, silent=True)
    return parsed if isinstance(parsed, dict) else {}


def _spoilt(text: str, fault: Fault | None) -> str:
    if fault is Fault.EMPTY:
        return ""
    if fault is Fault.INVALID_UTF8:
        return text[: len(text) // 2] + _BROKEN + text[len(text) // 2 :]
    return text + "x" * 4 * _CHUNK if fault is Fault.HUGE else text


def _halves(body: bytes) -> list[bytes]:
    middle = len(body) // 2
    return [body[:middle], body[middle:]]

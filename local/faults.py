"""Trouble on order: processes killed around their n-th call, transactions that conflict, calls that are let wait."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from werkzeug.wsgi import ClosingIterator

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.sandbox import Sandbox
from local.server import Environ, StartResponse, WsgiApp

type When = Literal["before", "in", "after"]


@dataclass
class Held:
    """Calls of AWS that are let wait. `count`: how many have come so far."""

    name: str
    count: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class KillPoint:
    """Where a function's process dies, once.

    Attributes:
        function: logical id.
        call: number of the outgoing call within an invocation, from 1; 0 is the moment the event arrives.
        when: `before` the call is performed; `in` between its effect and its answer; `after` its answer, with
            no further call and no result of the function getting through.
    """

    function: str
    call: int
    when: When


class Faults:
    """The faults that are ordered, and what happened: part of the front's path of every call a function makes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[KillPoint] = []
        self._conflicts: Counter[str] = Counter()
        self._calls: defaultdict[str, list[list[str]]] = defaultdict(list)
        self._held: list[Held] = []
        self.fired: list[KillPoint] = []

    def kill(self, function: str, *, call: int, when: When = "before") -> KillPoint:
        """Order the death of a function's process at its n-th outgoing call; it happens once."""
        if call < 0 or (call == 0 and when != "before"):
            raise ValueError("call 0 is the moment before the handler starts; calls count from 1")
        point = KillPoint(function, call, when)
        with self._lock:
            self._points.append(point)
        return point

    def transaction_conflict(self, function: str, times: int = 1) -> None:
        """Let the function's next `times` transactions be cancelled because of a conflict."""
        with self._lock:
            self._conflicts[function] += times

    @contextmanager
    def holding(self, name: str) -> Iterator[Held]:
        """Let calls of AWS of that name (`s3:PutObject`), whoever makes them, wait until the end of this."""
        held = Held(name)
        with self._lock:
            self._held.append(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)
            held.over.set()

    def wait(self, name: str) -> None:
        """Called before a call is answered: wait if such calls are held."""
        with self._lock:
            found = [held for held in self._held if held.name == name]
            for held in found:
                held.count += 1
        for held in found:
            held.over.wait()

    def clear(self) -> None:
        """Forget what is ordered; what happened stays recorded."""
        with self._lock:
            self._points.clear()
            self._conflicts.clear()

    def calls(self, function: str) -> list[tuple[str, ...]]:
        """The outgoing calls of each invocation of the function so far, the running one's included."""
        with self._lock:
            return [tuple(calls) for calls in self._calls[function]]

    def event_arrives(self, sandbox: Sandbox) -> None:
        """Called before a sandbox gets an event."""
        with self._lock:
            self._calls[sandbox.function.logical_id].append(sandbox.calls)
            point = self._taken(sandbox.function.logical_id, 0)
        if point is not None:
            sandbox.kill()

    def perform(
        self, sandbox: Sandbox, name: str, app: WsgiApp, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Perform a function's outgoing call, or what is ordered instead.

        Raises:
            ConnectionAbortedError: the caller is dead, and hears nothing.
        """
        point = self._recorded(sandbox, name)
        if point is None:
            return app(environ, start_response)
        if point.when == "in":
            _exhaust(app(environ, start_response))
        if point.when in {"before", "in"}:
            sandbox.kill()
            raise ConnectionAbortedError(f"{sandbox.name} is killed")
        sandbox.doomed = True
        answer: Iterable[bytes] = ClosingIterator(app(environ, start_response), sandbox.kill)
        return answer

    def conflicting(self, sandbox: Sandbox | None, request: AwsRequest) -> WsgiApp | None:
        """The answer to a transaction that has to conflict, or None."""
        if sandbox is None or request.name != "dynamodb:TransactWriteItems":
            return None
        with self._lock:
            if not self._conflicts[sandbox.function.logical_id]:
                return None
            self._conflicts[sandbox.function.logical_id] -= 1
        return _conflict(len(request.parameters.get("TransactItems", [])))

    def _recorded(self, sandbox: Sandbox, name: str) -> KillPoint | None:
        with self._lock:
            if sandbox.doomed:
                raise ConnectionAbortedError(f"{sandbox.name} is dead")
            sandbox.calls.append(name)
            return self._taken(sandbox.function.logical_id, len(sandbox.calls))

    def _taken(self, function: str, call: int) -> KillPoint | None:
        for point in self._points:
            if (point.function, point.call) == (function, call):
                self._points.remove(point)
                self.fired.append(point)
                return point
        return None


def _exhaust(answer: Iterable[bytes]) -> None:
    try:
        for _ in answer:
            pass
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()


def _conflict(count: int) -> WsgiApp:
    """TransactionCanceledException as DynamoDB words it: the first item conflicts, the others do not.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """
    reasons: list[dict[str, str]] = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    reasons += [{"Code": "None"}] * (count - 1)
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    code = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    return aws_error("dynamodb", code, message, HTTPStatus.BAD_REQUEST, CancellationReasons=reasons)

"""Lambda's Invoke API: waiting for the answer, or asynchronous with repeats and a failure destination."""

import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from werkzeug.wrappers import Response

from local.aws_errors import aws_error
from local.aws_request import AwsRequest, function_name
from local.clock import VirtualClock
from local.functions import Function
from local.role_client import send_to_queue
from local.runtime import Runtime
from local.sandbox import Answer, SandboxError
from local.server import Environ, WsgiApp
from local.template import REGION

_RETRY_DELAYS_S = (60, 120)
"""Lambda waits one minute before the second attempt and two before the third."""
ACCOUNT_SETTINGS_PATH = "/2016-08-19/account-settings"
_CONCURRENT_EXECUTIONS = 1000
_EVENT_LIMIT = 1024 * 1024
_ANSWER_LIMIT = 6 * 1024 * 1024


class LambdaApi:
    """Answers Invoke, and carries out asynchronous invocations.

    Args:
        runtime: runs the functions.
        clock: virtual time of delays and ages.
        time_scale: real seconds per virtual second of a retry's delay.
        assume_role: credentials of a function's role, with which the failure destination is written.
        endpoint: where that goes.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        clock: VirtualClock,
        time_scale: float,
        assume_role: Callable[[str], Mapping[str, Any]],
        endpoint: str,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._time_scale = time_scale
        self._assume_role = assume_role
        self._endpoint = endpoint
        self._pending = 0
        self._lock = threading.Lock()
        self._stopping = False

    @property
    def pending(self) -> int:
        """Asynchronous invocations accepted and not yet done with, waiting retries included."""
        with self._lock:
            return self._pending

    def account_settings(self) -> WsgiApp:
        """The answer to GetAccountSettings: the limits of an ordinary account."""
        limits = {"ConcurrentExecutions": _CONCURRENT_EXECUTIONS}
        body = json.dumps({"AccountLimit": limits, "AccountUsage": {"FunctionCount": len(self._runtime.functions)}})
        response: WsgiApp = Response(body, 200, content_type="application/json")
        return response

    def stop(self) -> None:
        """Give up waiting retries."""
        self._stopping = True
        self._clock.wake()

    def answer(self, request: AwsRequest, environ: Environ) -> WsgiApp:
        """The answer to an Invoke request.

        https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
        """
        name = request.invoked_function or ""
        if name not in self._runtime.functions:
            arn = f"arn:aws:lambda:{REGION}:function:{name}"
            return aws_error("lambda", "ResourceNotFoundException", f"Function not found: {arn}", 404, Type="User")
        if environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse") == "Event":
            return self._accept(name, request.body)
        return self._wait_for(name, request.body)

    def invoke_async(self, function: str, event: Any) -> None:  # noqa: ANN401 (an event is any JSON)
        """Queue an event for a function, named by its name or ARN.

        Raises:
            KeyError: there is no such function.
        """
        name = function_name(function)
        if name not in self._runtime.functions:
            raise KeyError(f"no function {function}")
        self._queue(name, json.dumps(event).encode())

    def _wait_for(self, name: str, payload: bytes) -> WsgiApp:
        try:
            answer = self._runtime.invoke(name, payload or b"{}")
        except SandboxError as error:
            return aws_error("lambda", "ServiceException", str(error), HTTPStatus.INTERNAL_SERVER_ERROR)
        if len(answer.payload) > _ANSWER_LIMIT:
            message = f"Response payload size exceeded maximum allowed payload size ({_ANSWER_LIMIT} bytes)."
            answer = Answer.failed("Function.ResponseSizeTooLarge", message)
        headers = {"x-amzn-RequestId": str(uuid.uuid4()), "X-Amz-Executed-Version": "$LATEST"}
        if answer.error_type is not None:
            headers["X-Amz-Function-Error"] = "Unhandled"
        response: WsgiApp = Response(answer.payload, 200, headers, content_type="application/json")
        return response

    def _accept(self, name: str, payload: bytes) -> WsgiApp:
        if len(payload) > _EVENT_LIMIT:
            message = f"{len(payload)} byte payload is too large for the Event invocation type"
            return aws_error("lambda", "RequestTooLargeException", message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._queue(name, payload or b"{}")
        response: WsgiApp = Response(b"", 202, {"x-amzn-RequestId": str(uuid.uuid4())})
        return response

    def _queue(self, name: str, payload: bytes) -> None:
        with self._lock:
            self._pending += 1
        threading.Thread(target=self._carry_out, args=(name, payload), name=f"async-{name}", daemon=True).start()

    def _carry_out(self, name: str, payload: bytes) -> None:
        try:
            self._attempts(name, payload)
        except Exception:
            # While all is being torn down anything can fail, and nobody waits for this any more.
            if not self._stopping:
                raise
        finally:
            with self._lock:
                self._pending -= 1

    def _attempts(self, name: str, payload: bytes) -> None:
        accepted = self._clock.now()
        attempt = 1
        while True:
            answer = self._runtime.invoke(name, payload)
            if answer.error_type is None:
                return
            function = self._runtime.functions[name]
            if attempt > function.invokes.retries:
                self._give_up(function, payload, answer, attempt, "RetriesExhausted")
                return
            self._delay(_RETRY_DELAYS_S[attempt - 1])
            if self._stopping:
                return
            if self._clock.now() - accepted > function.invokes.max_age_s:
                self._give_up(function, payload, answer, attempt, "EventAgeExceeded")
                return
            attempt += 1

    def _delay(self, seconds: float) -> None:
        # Unlike a Wait state, this does not move the clock on: nobody reads from it when a retry comes.
        end = self._clock.now() + seconds
        limit = seconds * self._time_scale
        self._clock.wait_until(end, real_limit_s=limit, stop=lambda: self._stopping)

    def _give_up(self, function: Function, payload: bytes, answer: Answer, attempts: int, why: str) -> None:
        """Send the invocation record to the failure destination, if there is one.

        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
        """
        destination = function.invokes.on_failure_arn
        if destination is None:
            return
        record = {
            "version": "1.0",
            "timestamp": dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).isoformat(timespec="milliseconds"),
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": f"{function.arn}:$LATEST",
                "condition": why,
                "approximateInvokeCount": attempts,
            },
            "requestPayload": json.loads(payload),
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": json.loads(answer.payload),
        }
        self._send(function, destination, json.dumps(record))

    def _send(self, function: Function, queue_arn: str, body: str) -> None:
        send_to_queue(queue_arn, body, self._endpoint, self._assume_role(function.role_arn))

"""An HTTP API in front of functions: requests become payload version 2.0 events, answers HTTP again.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from local.aws_request import function_name
from local.clock import VirtualClock
from local.runtime import Runtime
from local.sandbox import Answer
from local.server import Environ, StartResponse
from local.template import ACCOUNT, REGION

_TEXT = ("text/", "application/json", "application/javascript", "application/xml")
_BODY_LIMIT = 10 * 1024 * 1024


@dataclass(frozen=True)
class Route:
    """A route of an API: `POST /telegram` to a function."""

    api_id: str
    method: str
    path: str
    function: str

    @property
    def key(self) -> str:
        """The route's key, as in AWS."""
        return f"{self.method} {self.path}"


class HttpApi:
    """Serves the deployed routes as a WSGI application.

    Args:
        runtime: runs the functions.
        clock: virtual time of the events.
    """

    def __init__(self, runtime: Runtime, clock: VirtualClock) -> None:
        self._runtime = runtime
        self._clock = clock
        self.routes: dict[tuple[str, str], Route] = {}

    def add(self, route: Route) -> None:
        """Serve one more route."""
        self.routes[route.method.upper(), route.path] = route

    def remove(self, api_id: str) -> None:
        """Serve nothing of an API any more."""
        self.routes = {key: route for key, route in self.routes.items() if route.api_id != api_id}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; the path is the API's."""
        request = Request(environ)
        route = self.routes.get((request.method, request.path)) or self.routes.get(("ANY", request.path))
        if route is None:
            return _send(_message(404, "Not Found"), environ, start_response)
        body = request.get_data()
        if len(body) > _BODY_LIMIT:
            return _send(_message(413, "Request Entity Too Large"), environ, start_response)
        event = self._event(route, request, body)
        answer = self._runtime.invoke(function_name(route.function), json.dumps(event).encode())
        return _send(_response(answer), environ, start_response)

    def _event(self, route: Route, request: Request, body: bytes) -> dict[str, Any]:
        now = self._clock.now()
        # Repeated headers are joined; the names are always lower case.
        headers = {name.lower(): value for name, value in request.headers.items()}
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": route.key,
            "rawPath": request.path,
            "rawQueryString": request.query_string.decode(),
            "headers": headers,
            "requestContext": self._context(route, request, now),
            "isBase64Encoded": False,
        }
        if request.args:
            pairs = request.args.to_dict(flat=False)
            event["queryStringParameters"] = {name: ",".join(values) for name, values in pairs.items()}
        if cookies := headers.pop("cookie", None):
            event["cookies"] = [cookie.strip() for cookie in cookies.split(";")]
        if body:
            encoded = not _is_text(headers.get("content-type", ""), body)
            event["isBase64Encoded"] = encoded
            event["body"] = base64.b64encode(body).decode() if encoded else body.decode()
        return event

    def _context(self, route: Route, request: Request, now: float) -> dict[str, Any]:
        domain = f"{route.api_id}.execute-api.{REGION}.amazonaws.com"
        return {
            "accountId": ACCOUNT,
            "apiId": route.api_id,
            "domainName": domain,
            "domainPrefix": route.api_id,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.remote_addr,
                "userAgent": request.headers.get("User-Agent", ""),
            },
            "requestId": uuid.uuid4().hex[:15] + "=",
            "routeKey": route.key,
            "stage": "$default",
            "time": dt.datetime.fromtimestamp(now, dt.UTC).strftime("%d/%b/%Y:%H:%M:%S %z"),
            "timeEpoch": int(now * 1000),
        }


def _send(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    answer: Iterable[bytes] = response(environ, start_response)
    return answer


def _is_text(content_type: str, body: bytes) -> bool:
    """Whether the body goes into the event as it is: text by its type, or no type and valid UTF-8."""
    if content_type and not content_type.startswith(_TEXT):
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _response(answer: Answer) -> Response:
    if answer.error_type is not None:
        return _message(500, "Internal Server Error")
    result = json.loads(answer.payload)
    if not isinstance(result, Mapping) or "statusCode" not in result:
        # Format 2.0 takes anything else as the body of a 200.
        return Response(json.dumps(result), 200, content_type="application/json")
    body = result.get("body") or ""
    data = base64.b64decode(body) if result.get("isBase64Encoded") else str(body).encode()
    headers = {str(name): str(value) for name, value in (result.get("headers") or {}).items()}
    response = Response(data, int(result["statusCode"]), headers)
    if not any(name.lower() == "content-type" for name in headers):
        response.content_type = "text/plain; charset=utf-8"
    for cookie in result.get("cookies") or ():
        response.headers.add("Set-Cookie", str(cookie))
    return response


def _message(status: int, text: str) -> Response:
    return Response(json.dumps({"message": text}), status, content_type="application/json")

"""Meters the local cloud: who asked for what, and what of it AWS would charge for."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from moto.dynamodb.models import dynamodb_backends

from local import aws_request, units
from local.aws_request import AwsRequest
from local.front import API_PREFIX, CALLER_PREFIX
from local.server import Environ, StartResponse, WsgiApp
from local.template import ACCOUNT, REGION
from local.units import Counts, Item

INTERNET = "internet:Request"
_HEADERS_BYTES = 600
"""Of a request to a provider or Telegram, TLS not counted."""

_LOCAL = "_local"


class Call(NamedTuple):
    """A request: whose (a function's logical id, `Agent`, or nothing for the cloud itself), which, and its price."""

    caller: str
    name: str
    counts: Counts


class _Touched(NamedTuple):
    """An item that a request may write."""

    table: str
    key: Item


@dataclass
class Meter:
    """A WSGI middleware round the local cloud's front. Exact while one thing happens at a time.

    Attributes:
        calls: every request so far.
        caller_of: whose an access key is; None for an administrator's, who is not counted.
    """

    calls: list[Call]
    caller_of: Callable[[str], str | None] = lambda _key: None

    def around(self, app: WsgiApp) -> WsgiApp:
        """The application, metered."""

        def metered(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            path: str = environ["PATH_INFO"]
            first, _, rest = path.lstrip("/").partition("/")
            if first == _LOCAL:
                return app(environ, start_response)
            if path.startswith(API_PREFIX + "/"):
                self.calls.append(Call("", "apigateway:Request", {"api_requests": 1}))
                return app(environ, start_response)
            request = aws_request.parse(environ)
            if not request.service:
                caller = rest.partition(".")[0] if path.startswith(CALLER_PREFIX + "/") else "Agent"
                self.calls.append(Call(caller, INTERNET, {"out_bytes": len(request.body) + _HEADERS_BYTES}))
                return app(environ, start_response)
            return self._aws(request, app, environ, start_response)

        return metered

    def _aws(
        self, request: AwsRequest, app: WsgiApp, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        caller = self.caller_of(request.access_key)
        if caller is None:
            return app(environ, start_response)
        touched = list(_touched(request))
        before = [_item(each) for each in touched]
        answer = list(app(environ, start_response))
        after = [_item(each) for each in touched]
        self.calls.append(Call(caller, request.name, _counts(request, touched, before, after, b"".join(answer))))
        return answer


def _counts(
    request: AwsRequest,
    touched: Sequence[_Touched],
    before: Sequence[Item | None],
    after: Sequence[Item | None],
    answer: bytes,
) -> Counts:
    if request.service == "ssm":
        return {"key_requests": 1}
    if request.service == "s3":
        return units.of_s3(request.operation)
    if request.service != "dynamodb":
        return {}
    if not touched:
        found = json.loads(answer or b"{}")
        items = found.get("Items") or ([found["Item"]] if "Item" in found else [])
        consistent = bool(request.parameters.get("ConsistentRead"))
        return {"read_units": units.read_units(map(units.size, items), consistent=consistent)}
    transaction = request.operation == "TransactWriteItems"
    return {
        "write_units": sum(
            units.write_units(old, new, transaction=transaction)
            + sum(units.index_units(old, new, keys) for keys in _indexes(each.table))
            for each, old, new in zip(touched, before, after, strict=True)
        )
    }


def _touched(request: AwsRequest) -> Iterator[_Touched]:
    """What a request to DynamoDB may write."""
    given = request.parameters
    if request.service != "dynamodb":
        return
    if request.operation == "TransactWriteItems":
        for part in given["TransactItems"]:
            ((_, write),) = part.items()
            yield _of_write(write)
    elif request.operation in {"PutItem", "UpdateItem", "DeleteItem"}:
        yield _of_write(given)


def _of_write(write: dict[str, Any]) -> _Touched:
    key = write.get("Key") or {name: write["Item"][name] for name in ("pk", "sk")}
    return _Touched(write["TableName"], key)


def _tables() -> dict[str, Any]:
    found: dict[str, Any] = dynamodb_backends[ACCOUNT][REGION].tables
    return found


def _item(touched: _Touched) -> Item | None:
    found = dynamodb_backends[ACCOUNT][REGION].get_item(touched.table, dict(touched.key))
    return None if found is None else dict(found.to_json()["Attributes"])


def _indexes(table: str) -> list[tuple[str, ...]]:
    return [tuple(key["AttributeName"] for key in index.schema) for index in _tables()[table].all_indexes()]


def stored_bytes() -> int:
    """What all tables hold."""
    return sum(units.size(item.to_json()["Attributes"]) for table in _tables().values() for item in table.all_items())

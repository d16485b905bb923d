"""DynamoDB in dictionaries, as far as the stores use it: for tests and figures that need many thousand requests.

It keeps the promises that the stores build on: conditions, transactions that are made as a whole or not at all, sorted
and paged queries, the sparse index, and the refusal of requests that DynamoDB would not take. moto is the reference:
that both answer alike is tested, request by request (`tests/local/test_small_dynamodb.py`).
"""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError
from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from local import expressions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from types_boto3_dynamodb import DynamoDBClient

    from local.expressions import Item

PAGE_BYTES = 1_000_000
"""About what one page of a Query holds."""

LARGEST_ITEM_BYTES = 400 * 1024
MOST_WRITES = 100

_INDEXES = {"due": ("due_kind", "due_at")}
_OPERATIONS = ("Put", "Update", "Delete", "ConditionCheck")
_TYPES = {"pk": "S", "sk": "S", "due_kind": "S", "due_at": "N"}

type Key = tuple[str, str]
type Table = dict[Key, Item]


class _Refused(ClientError):
    """A condition failed."""


class Cancelled(ClientError):
    """A condition failed in a transaction."""


class SmallDynamoDb:
    """The calls that the stores make, as boto3's client has them; tables have the keys and index of template.yaml."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=_Refused, TransactionCanceledException=Cancelled)

    def __init__(self, *tables: str) -> None:
        self._tables: dict[str, Table] = {name: {} for name in tables}
        self._lock = threading.RLock()

    def as_client(self) -> DynamoDBClient:
        """Itself, as the stores' type for it."""
        return cast("DynamoDBClient", self)

    def create_table(self, **request: Any) -> None:  # noqa: ANN401 (boto3's own types)
        """CreateTable, of the one kind there is."""
        self._tables[request["TableName"]] = {}

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """GetItem."""
        with self._lock:
            item = self._table(request).get(_key(request["Key"]))
        return {} if item is None else {"Item": dict(item)}

    def scan(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """Scan, in one page."""
        with self._lock:
            return {"Items": [dict(item) for item in self._table(request).values()]}

    def query(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """Query of a table or its index."""
        _check(request, "KeyConditionExpression")
        keys = _INDEXES.get(request.get("IndexName", ""), ("pk", "sk"))
        wanted = expressions.condition(request["KeyConditionExpression"])
        with self._lock:
            items = [item for item in self._table(request).values() if all(name in item for name in keys)]
        found = [item for item in items if wanted(_scope(item, request))]
        found.sort(key=lambda item: _place(item, keys), reverse=not request.get("ScanIndexForward", True))
        if "ExclusiveStartKey" in request:
            last = _key(request["ExclusiveStartKey"])
            found = found[1 + [_key(item) for item in found].index(last) :]
        return _page(found, request, keys)

    def get_paginator(self, _operation: str) -> Any:  # noqa: ANN401 (boto3's own types)
        """The pages of a Query."""
        return SimpleNamespace(paginate=self._pages)

    def put_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """PutItem."""
        return self._single("Put", request)

    def delete_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """DeleteItem."""
        return self._single("Delete", request)

    def update_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """UpdateItem, which answers with all attributes, or refuses with those that were there."""
        return self._single("Update", request)

    def transact_write_items(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """TransactWriteItems: all of it, or nothing."""
        writes = [_operation(write) for write in request["TransactItems"]]
        touched = [(write["TableName"], _key(write.get("Key") or write["Item"])) for _, write in writes]
        if len(set(touched)) < len(touched):
            raise _invalid("Transaction request cannot include multiple operations on one item")
        if len(writes) > MOST_WRITES:
            raise _invalid("Member must have length less than or equal to 100")
        with self._lock:
            reasons = [_reason(write, self._refusal(write)) for _, write in writes]
            if any(reason["Code"] != "None" for reason in reasons):
                response: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
                raise Cancelled(response, "TransactWriteItems")
            after = [(write, self._after(kind, write)) for kind, write in writes if kind != "ConditionCheck"]
            for write, item in after:
                self._store(write, item)
        return {}

    def _pages(self, **request: Any) -> Iterator[Any]:  # noqa: ANN401 (boto3's own types)
        while True:
            page = self.query(**request)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _table(self, request: Mapping[str, Any]) -> Table:
        try:
            return self._tables[request["TableName"]]
        except KeyError:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "a table") from None

    def _single(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            refusal = self._refusal(request)
            if refusal is not None:
                response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, **_told(request, refusal)}
                raise _Refused(response, kind)
            item = self._after(kind, request)
            self._store(request, item)
        return {"Attributes": dict(item)} if item is not None and request.get("ReturnValues") == "ALL_NEW" else {}

    def _refusal(self, request: Mapping[str, Any]) -> Item | None:
        """The item as it is, if the request's condition does not hold; None if it does."""
        _check(request, "ConditionExpression", "UpdateExpression")
        item = self._table(request).get(_key(request.get("Key") or request["Item"])) or {}
        wanted = request.get("ConditionExpression")
        return None if wanted is None or expressions.condition(wanted)(_scope(item, request)) else item

    def _after(self, kind: str, request: Mapping[str, Any]) -> Item | None:
        """The item as the request leaves it; None: there is none."""
        if kind == "Delete":
            return None
        if kind == "Put":
            item: Item = dict(request["Item"])
        else:
            before = self._table(request).get(_key(request["Key"])) or {}
            try:
                changed = expressions.update(request["UpdateExpression"])(_scope(before, request))
            except expressions.AttributeMissing as error:
                raise _invalid(str(error)) from None
            item = {**changed, **request["Key"]}
        _check_item(item)
        return item

    def _store(self, request: Mapping[str, Any], item: Item | None) -> None:
        table, key = self._table(request), _key(request.get("Key") or request["Item"])
        if item is None:
            table.pop(key, None)
        else:
            table[key] = item


def transaction_of_one(update_item: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """TransactWriteItems of one update, which is that update: the ledger's way to have it made once."""
    (write,) = request["TransactItems"]
    try:
        update_item(**write["Update"])
    except ClientError as error:
        reason: Any = {**error.response, "Code": "ConditionalCheckFailed"}
        response: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [reason]}
        raise Cancelled(response, "TransactWriteItems") from None
    return {}


def _operation(write: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    ((kind, request),) = write.items()
    if kind not in _OPERATIONS:
        raise ValueError(f"not a write that is understood here: {kind}")
    return kind, request


def _reason(request: Mapping[str, Any], refusal: Item | None) -> dict[str, Any]:
    if refusal is None:
        return {"Code": "None"}
    return {"Code": "ConditionalCheckFailed", **_told(request, refusal)}


def _told(request: Mapping[str, Any], item: Item) -> dict[str, Any]:
    """What a refusal tells of the item that was there."""
    wanted = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return {"Item": dict(item)} if wanted and item else {}


def _key(key: Mapping[str, Any]) -> Key:
    return key["pk"]["S"], key["sk"]["S"]


def _place(item: Item, keys: tuple[str, str]) -> tuple[str | int, Key]:
    """Where an item stands in its partition: by its sort key, as DynamoDB sorts (UTF-8 bytes; numbers as such)."""
    ((kind, value),) = item[keys[1]].items()
    return (int(value) if kind == "N" else value), _key(item)


def _page(found: list[Item], request: Mapping[str, Any], keys: tuple[str, str]) -> dict[str, Any]:
    size, taken = 0, []
    for item in found:
        taken.append(item)
        size += _size(item)
        if len(taken) == request.get("Limit") or size >= PAGE_BYTES:
            break
    projected = [
        {name: item[name] for name in {*keys, "pk", "sk"}} if keys[0] != "pk" else dict(item) for item in taken
    ]
    page: dict[str, Any] = {"Items": projected, "Count": len(projected)}
    if taken and (len(taken) < len(found) or len(taken) == request.get("Limit")):
        page["LastEvaluatedKey"] = {name: taken[-1][name] for name in {*keys, "pk", "sk"}}
    return page


def _keys_only(item: Item, keys: tuple[str, str]) -> Item:
    return {name: item[name] for name in {*keys, "pk", "sk"}}


def _scope(item: Item, request: Mapping[str, Any]) -> expressions.Scope:
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    return expressions.Scope(item, names, values)


def _check(request: Mapping[str, Any], *kinds: str) -> None:
    """Refuse what DynamoDB refuses: placeholders that are not used or not there, reserved words, a path named twice."""
    texts = [request[kind] for kind in kinds if kind in request]
    used = {placeholder for text in texts for placeholder in expressions.placeholders(text)}
    given = {*request.get("ExpressionAttributeNames", {}), *request.get("ExpressionAttributeValues", {})}
    if used != given:
        raise _invalid(f"placeholders used and given differ: {sorted(used ^ given)}")
    reserved = ReservedKeywords.get_reserved_keywords()
    if any(name.upper() in reserved for text in texts for name in expressions.attributes(text)):
        raise _invalid(f"a reserved word is an attribute's name: {texts}")
    if "UpdateExpression" in request:
        names = request.get("ExpressionAttributeNames", {})
        changed = [names.get(path, path) for path in expressions.targets(request["UpdateExpression"])]
        if len(set(changed)) < len(changed) or {"pk", "sk"} & set(changed):
            raise _invalid("two paths overlap, or a key is changed")


def _check_item(item: Item) -> None:
    if any(name in item and kind not in item[name] for name, kind in _TYPES.items()):
        raise _invalid("an attribute of a key has another type")
    if not item["pk"]["S"] or not item["sk"]["S"]:
        raise _invalid("a key is empty")
    if _size(item) > LARGEST_ITEM_BYTES:
        raise _invalid("Item size has exceeded the maximum allowed size")


def _size(item: Item) -> int:
    return sum(len(name) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    return len(str(value["S"]).encode()) if "S" in value else len(json.dumps(value))


def _invalid(message: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "a request")

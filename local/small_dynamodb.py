"""A DynamoDB table in a dictionary, as far as the ledger uses one: for figures that need fifty thousand updates.

moto is the reference, and `DirectDynamoDb` the way to it; this answers the same (see the test).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from local import expressions

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_dynamodb import DynamoDBClient

    from local.expressions import Item

_RANGE = "pk = :pk AND sk BETWEEN :first AND :last"
"""The one key condition that the stores use."""


class _Refused(ClientError):
    """A condition failed."""


class Cancelled(ClientError):
    """A condition failed in a transaction."""


class SmallDynamoDb:
    """The calls that the ledger makes, as boto3's client has them, on one table of string keys `pk` and `sk`.

    Not thread-safe.
    """

    exceptions = SimpleNamespace(ConditionalCheckFailedException=_Refused, TransactionCanceledException=Cancelled)

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], Item] = {}

    def as_client(self) -> DynamoDBClient:
        """Itself, as the stores' type for it."""
        return cast("DynamoDBClient", self)

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """GetItem."""
        item = self._items.get(_key(request))
        return {} if item is None else {"Item": dict(item)}

    def query(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """Query of a part of a partition, in one page."""
        if request["KeyConditionExpression"] != _RANGE or "Limit" in request:
            raise ValueError("a query that is not understood here")
        pk, first, last = (request["ExpressionAttributeValues"][name]["S"] for name in (":pk", ":first", ":last"))
        found = sorted((key, item) for key, item in self._items.items() if key[0] == pk and first <= key[1] <= last)
        return {"Items": [dict(item) for _, item in found]}

    def update_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """UpdateItem, which answers with all attributes, or refuses with those that were there."""
        key = _key(request)
        before = self._items.get(key)
        scope = expressions.Scope(
            before or {},
            request.get("ExpressionAttributeNames", {}),
            request.get("ExpressionAttributeValues", {}),
        )
        wanted = request.get("ConditionExpression")
        if wanted is not None and not expressions.condition(wanted)(scope):
            item = {} if before is None else {"Item": dict(before)}
            response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, **item}
            raise _Refused(response, "UpdateItem")
        changed = expressions.update(request["UpdateExpression"])(scope)
        self._items[key] = {**changed, **request["Key"]}
        return {"Attributes": dict(self._items[key])}

    def transact_write_items(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """TransactWriteItems of one update."""
        return transaction_of_one(self.update_item, request)


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


def _key(request: dict[str, Any]) -> tuple[str, str]:
    return request["Key"]["pk"]["S"], request["Key"]["sk"]["S"]

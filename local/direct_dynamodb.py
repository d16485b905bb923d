"""moto's DynamoDB without botocore and HTTP between: a tenth of the cost of a call, for figures that need many.

The product's stores see a client; the expressions are evaluated by moto, as everywhere here.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError
from moto.dynamodb.exceptions import ConditionalCheckFailed
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.responses import DynamoHandler

from local.small_dynamodb import Cancelled, transaction_of_one

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_ACCOUNT = "123456789012"
_REGION = "eu-west-1"


class _Refused(ClientError):
    """A condition failed."""


class _Handler(DynamoHandler):  # type: ignore[misc]  # moto is not typed for us
    """Evaluates requests on tables of its own, which nobody else sees."""

    def __init__(self) -> None:
        super().__init__()
        self._backend = DynamoDBBackend(_REGION, _ACCOUNT)

    @property
    def dynamodb_backend(self) -> Any:  # noqa: ANN401 (moto is not typed for us)
        """The tables."""
        return self._backend


class DirectDynamoDb:
    """The calls that the ledger makes, as boto3's client has them.

    Not thread-safe.
    """

    exceptions = SimpleNamespace(ConditionalCheckFailedException=_Refused, TransactionCanceledException=Cancelled)

    def __init__(self) -> None:
        self._handler = _Handler()

    def as_client(self) -> DynamoDBClient:
        """Itself, as the stores' type for it."""
        return cast("DynamoDBClient", self)

    def create_table(self, name: str) -> None:
        """A table with the keys of template.yaml."""
        keys = {"pk": "HASH", "sk": "RANGE"}
        self._handler.dynamodb_backend.create_table(
            name,
            schema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
            throughput=None,
            attr=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            global_indexes=None,
            indexes=None,
            streams=None,
            billing_mode="PAY_PER_REQUEST",
            sse_specification=None,
            tags=[],
            deletion_protection_enabled=False,
            warm_throughput=None,
        )

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """GetItem."""
        return self._call("get_item", request)

    def query(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """Query."""
        return self._call("query", request)

    def update_item(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """UpdateItem."""
        return self._call("update_item", request)

    def transact_write_items(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """TransactWriteItems of one update."""
        return transaction_of_one(self.update_item, request)

    def _call(self, operation: str, request: dict[str, Any]) -> Any:  # noqa: ANN401
        self._handler.body = self._handler.params = request
        try:
            return getattr(self._handler, operation)().result
        except ConditionalCheckFailed as error:
            response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, **_item_of(error)}
            raise _Refused(response, operation) from None


def _item_of(error: Any) -> dict[str, Any]:  # noqa: ANN401 (moto is not typed for us)
    """The item as it was, which moto has only as a part of its answer's text."""
    told = json.loads(error.description)
    return {"Item": told["Item"]} if "Item" in told else {}

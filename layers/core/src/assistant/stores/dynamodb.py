"""DynamoDB as the stores use it: plain values in and out, conditions as answers, contention retried in one place."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from assistant.errors import StoreContended
from assistant.stores import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient

type Value = str | int | bool
type Plain = dict[str, Value]
type Attribute = dict[str, Any]
type Write = dict[str, Any]
"""One element of TransactItems."""

MOST_WRITES = 100
"""Of one transaction."""

CONTENTION_TRIES = 8
CONTENTION_SECONDS = 0.02
"""First pause after a collision; doubles with each, and is drawn at random up to that (full jitter)."""

_CONTENTION = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_CONTENTION_ERRORS = frozenset({"TransactionConflictException", "TransactionInProgressException"})


def to_attribute(value: Value) -> Attribute:
    """A value as DynamoDB takes it."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": str(value)}


def to_item(values: Mapping[str, Value | None]) -> Attribute:
    """A mapping as an item; None leaves its attribute out."""
    return {name: to_attribute(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> Plain:
    """An item as a mapping; attributes of types that we never write are left out."""
    plain: Plain = {}
    for name, attribute in item.items():
        match attribute:
            case {"N": number}:
                plain[name] = int(number)
            case {"S": value} | {"BOOL": value}:
                plain[name] = value
    return plain


@dataclass(frozen=True, slots=True)
class Update:
    """An UpdateItem in parts; `condition` and `also` are expressions over `values` (`:name`) and `names` (`#name`).

    Attributes:
        put: attributes to set to plain values; None removes the attribute.
        also: further SET clauses, such as `n = n + :one`.
    """

    put: Mapping[str, Value | None] = field(default_factory=dict)
    also: Sequence[str] = ()
    condition: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """The expressions, as UpdateItem and TransactWriteItems both take them."""
        names = dict(self.names)
        values = {f":{name}": to_attribute(value) for name, value in self.values.items()}
        sets, removes = list(self.also), []
        for number, (attribute, value) in enumerate(self.put.items()):
            names[f"#put{number}"] = attribute
            if value is None:
                removes.append(f"#put{number}")
            else:
                values[f":put{number}"] = to_attribute(value)
                sets.append(f"#put{number} = :put{number}")
        expression = (f"SET {', '.join(sets)}" if sets else "") + (f" REMOVE {', '.join(removes)}" if removes else "")
        parameters: dict[str, Any] = {"UpdateExpression": expression.strip()}
        if self.condition:
            parameters["ConditionExpression"] = self.condition
        if names:
            parameters["ExpressionAttributeNames"] = names
        if values:
            parameters["ExpressionAttributeValues"] = values
        return parameters


@dataclass(frozen=True, slots=True)
class Refused:
    """A condition failed. `items` are the items as they were, by place in the transaction, where one was there."""

    items: Sequence[Plain | None]
    failed: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    client: DynamoDBClient
    name: str

    def key(self, pk: str, sk: str) -> dict[str, Any]:
        """The key of an item, with its table."""
        return {"TableName": self.name, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}}

    def get(self, pk: str, sk: str) -> Plain | None:
        """An item, read consistently."""
        item = self.client.get_item(**self.key(pk, sk), ConsistentRead=True).get("Item")
        return None if item is None else from_item(item)

    def query(
        self, pk: str, first: str, last: str, *, limit: int | None = None, newest_first: bool = False
    ) -> list[Plain]:
        """Items of a partition with `first` ≤ sk ≤ `last`, read consistently, all pages up to `limit`."""
        request: dict[str, Any] = {
            **({} if limit is None else {"Limit": limit}),
            "TableName": self.name,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": to_item({":pk": pk, ":first": first, ":last": last}),
            "ScanIndexForward": not newest_first,
        }
        found: list[Plain] = []
        while limit is None or len(found) < limit:
            page = self.client.query(**request)
            found += [from_item(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        return found[:limit]

    def due(self, kind: str, now: float) -> Iterator[str]:
        """Partitions of what is due by now, the most overdue first, from the sparse index (eventually consistent)."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            IndexName=schema.DUE_INDEX,
            KeyConditionExpression="due_kind = :kind AND due_at <= :now",
            ExpressionAttributeValues=to_item({":kind": kind, ":now": int(now)}),
        )
        for page in pages:
            for item in page["Items"]:
                yield item["pk"]["S"]

    def update(self, pk: str, sk: str, update: Update) -> Plain | Refused:
        """Update an item; returns it as it is afterwards, or as it was when the condition failed."""

        def attempt() -> Plain | Refused:
            try:
                done = self.client.update_item(
                    **self.key(pk, sk),
                    **update.parameters(),
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as error:
                old: Any = error.response.get("Item")
                return Refused([from_item(old) if old else None], [True])
            return from_item(done["Attributes"])

        return _without_contention(attempt)

    def put_mark(self, pk: str, sk: str, *, now: int, ttl: int) -> bool:
        """Put an item that says "done", with an end; False if a mark is there that has not ended."""
        mark = self.mark(pk, sk, now=now, ttl=ttl)["Put"]
        try:
            self.client.put_item(**mark)
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def mark(self, pk: str, sk: str, *, now: int, ttl: int) -> Write:
        """`put_mark` for a transaction."""
        put = self.put(pk, sk, {"ttl": ttl}, "attribute_not_exists(pk) OR #ttl < :now")
        put["Put"] |= {
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": to_item({":now": now}),
        }
        return put

    def put(self, pk: str, sk: str, values: Mapping[str, Value | None], condition: str | None = None) -> Write:
        """A Put for a transaction."""
        item = {**to_item(values), "pk": {"S": pk}, "sk": {"S": sk}}
        return {"Put": {"TableName": self.name, "Item": item, **_condition(condition)}}

    def delete(self, pk: str, sk: str, condition: str | None = None) -> Write:
        """A Delete for a transaction."""
        return {"Delete": {**self.key(pk, sk), **_condition(condition)}}

    def change(self, pk: str, sk: str, update: Update) -> Write:
        """An Update for a transaction."""
        return {"Update": {**self.key(pk, sk), **update.parameters(), **_return_old(update)}}

    def transact(self, *writes: Write) -> Refused | None:
        """Write all or nothing; answers which conditions failed. At most 100 writes."""
        items: Any = list(writes)

        def attempt() -> Refused | None:
            try:
                self.client.transact_write_items(TransactItems=items)
            except self.client.exceptions.TransactionCanceledException as error:
                return _cancelled(error)
            return None

        return _without_contention(attempt)


def _condition(condition: str | None) -> dict[str, str]:
    return {} if condition is None else {"ConditionExpression": condition}


def _return_old(update: Update) -> dict[str, str]:
    return {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if update.condition else {}


def _cancelled(error: ClientError) -> Refused:
    """Which conditions failed; the error itself again if it was something else.

    Source: DynamoDB API reference, TransactionCanceledException, CancellationReasons (one per write, in order).
    """
    reasons: list[Any] = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    if "ConditionalCheckFailed" not in codes or not _CONTENTION.isdisjoint(codes):
        raise error
    items = [from_item(reason["Item"]) if reason.get("Item") else None for reason in reasons]
    return Refused(items, [code == "ConditionalCheckFailed" for code in codes])


def _contended(error: ClientError) -> bool:
    if error.response["Error"]["Code"] in _CONTENTION_ERRORS:
        return True
    reasons: list[Any] = error.response.get("CancellationReasons", [])
    return any(reason.get("Code") in _CONTENTION for reason in reasons)


def _without_contention[T](attempt: Callable[[], T]) -> T:
    """Repeat what collided with another transaction: the SDK does not."""
    for tried in range(CONTENTION_TRIES):
        try:
            return attempt()
        except ClientError as error:
            if not _contended(error):
                raise
        time.sleep(random.uniform(0, CONTENTION_SECONDS * 2**tried))  # noqa: S311 (jitter, not a secret)
    raise StoreContended("DynamoDB transactions kept colliding")

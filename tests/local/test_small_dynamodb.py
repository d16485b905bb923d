"""DynamoDB in dictionaries does what moto does: every request of a busy month and of random walks is made of both."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from io import StringIO
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.console import Console

from assistant.stores.dynamodb import Refused, Table, Update
from local import expressions
from local.direct_dynamodb import DirectDynamoDb
from local.expressions import Scope
from local.month import BUSY, Month
from local.simulators.faults import Fault
from local.small_dynamodb import Cancelled, SmallDynamoDb, transaction_of_one
from tests.doubles import create_table
from tests.unit.test_protocol_stateful import walk

N1 = {"N": "1"}
VALUES = {":one": N1, ":two": {"N": "2"}, ":three": {"S": "3"}}
QUIET = Console(file=StringIO())
REFUSED = "ConditionalCheckFailedException"


class BothRefused(ClientError):
    pass


class Both:
    """Makes each request of moto and of the small table, and compares the answers."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=BothRefused, TransactionCanceledException=Cancelled)

    def __init__(self) -> None:
        self.small, self.moto = SmallDynamoDb("runtime"), DirectDynamoDb()
        self.moto.create_table("runtime")
        self.compared: dict[str, int] = {}
        self.refused = 0

    def transact_write_items(self, **request: Any) -> Any:
        """A transaction of one write is that write; that the small table says so has a test of its own."""
        return transaction_of_one(partial(self.update_item, ReturnValues="ALL_NEW"), request)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            small, moto = _answer(self.small, operation, request), _answer(self.moto, operation, request)
            assert small == moto, request
            self.compared[operation] = self.compared.get(operation, 0) + 1
            if isinstance(small, dict) and "refused" in small:
                self.refused += 1
                response: Any = {"Error": {"Code": REFUSED}, **small["refused"]}
                raise BothRefused(response, operation)
            return small

        return call


def _answer(client: Any, operation: str, request: dict[str, Any]) -> Any:
    try:
        answer = getattr(client, operation)(**request)
    except client.exceptions.ConditionalCheckFailedException as error:
        item = error.response.get("Item")
        return {"refused": {"Item": item} if item else {}}
    return {name: answer[name] for name in ("Item", "Items", "Attributes") if name in answer}


@pytest.mark.parametrize("carry_over", [False, True])
def test_every_request_of_a_busy_month_gets_the_answer_that_moto_gives(*, carry_over: bool) -> None:
    both: Any = Both()
    few = replace(BUSY, days=1, messages_per_day=160, ollama_per_day=10, dollars=0.2, carry_over=carry_over)
    month = Month(few, client=both)
    month.vendors.openrouter.order(Fault.THROTTLED, 1)
    month.vendors.ollama.order(Fault.SERVER_ERROR, 3)
    month.vendors.anthropic.order(Fault.UNAUTHORIZED, 1)

    month.pass_by(QUIET)

    assert both.compared["update_item"] > 150
    assert both.compared["query"] > 150
    assert both.refused > 0


class BothWhole:
    """Makes every request that the stores make of moto, as boto3's client, and of the small one, and compares."""

    def __init__(self) -> None:
        self.small, self.moto = SmallDynamoDb(), boto3.client("dynamodb")
        self.exceptions = self.moto.exceptions
        self.compared: Counter[str] = Counter()

    def create_table(self, **request: Any) -> None:
        self.small.create_table(**request)
        self.moto.create_table(**request)

    def get_paginator(self, operation: str) -> Any:
        def paginate(**request: Any) -> Any:
            paged = [
                [item for page in client.get_paginator(operation).paginate(**request) for item in page["Items"]]
                for client in (self.small, self.moto)
            ]
            assert sorted(map(str, map(sorted, paged[0]))) == sorted(map(str, map(sorted, paged[1])))
            self.compared["paginate"] += 1
            return [{"Items": paged[1]}]

        return SimpleNamespace(paginate=paginate)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            small, moto = (_outcome(client, operation, deepcopy(request)) for client in (self.small, self.moto))
            assert small[0] == moto[0], request
            self.compared[small[0].get("code", operation)] += 1
            if moto[1] is not None:
                raise moto[1]
            return moto[0]

        return call


def _outcome(client: Any, operation: str, request: dict[str, Any]) -> tuple[dict[str, Any], ClientError | None]:
    """What came of a request, as far as the stores look at it."""
    try:
        answer = getattr(client, operation)(**request)
    except ClientError as error:
        told: Any = error.response
        reasons = [(each["Code"], each.get("Item")) for each in told.get("CancellationReasons", [])]
        return {"code": told["Error"]["Code"], "reasons": reasons, "item": told.get("Item")}, error
    return {name: answer[name] for name in ("Item", "Items", "Attributes") if name in answer}, None


@pytest.fixture
def both_whole() -> Iterator[Any]:
    with mock_aws():
        yield BothWhole()


def test_every_request_of_a_walk_with_crashes_gets_the_answer_that_moto_gives(both_whole: Any) -> None:
    walk(10, both_whole)

    assert both_whole.compared["get_item"] > 10
    assert both_whole.compared["TransactionCanceledException"] > 0
    assert both_whole.compared["ConditionalCheckFailedException"] > 0


INVALID = [
    {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": N1, ":b": N1}},
    {"UpdateExpression": "SET a = :a"},
    {"UpdateExpression": "SET status = :a", "ExpressionAttributeValues": {":a": N1}},
    {"UpdateExpression": "SET a = :a REMOVE a", "ExpressionAttributeValues": {":a": N1}},
    {"UpdateExpression": "SET sk = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}},
    {"UpdateExpression": "SET a = b"},
    {"UpdateExpression": "SET due_at = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}},
]


@pytest.mark.parametrize("update", INVALID)
def test_what_dynamodb_would_refuse_is_refused(both_whole: Any, update: dict[str, Any]) -> None:
    create_table(both_whole, "runtime")
    key = {"TableName": "runtime", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}}

    for client in (both_whole.small, both_whole.moto):
        with pytest.raises(ClientError) as refused:
            client.update_item(**key, **update)
        assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_a_query_comes_in_pages_either_way_round() -> None:
    small = SmallDynamoDb("runtime")
    table = Table(small.as_client(), "runtime")
    table.transact(*(table.put("p", f"{number:02d}", {"n": number}) for number in range(30)))
    table.transact(*(table.put("p", f"big{number}", {"text": "x" * 350_000}) for number in range(5)))

    assert [item["n"] for item in table.query("p", "05", "08")] == [5, 6, 7, 8]
    assert [item["n"] for item in table.query("p", "00", "99", limit=3, newest_first=True)] == [29, 28, 27]
    assert len(table.query("p", "big", "big~")) == 5


def test_a_transaction_of_one_update_is_made_or_refused_with_what_was_there() -> None:
    table = Table(SmallDynamoDb("runtime").as_client(), "runtime")
    add = Update(also=["n = if_not_exists(n, :zero) + :one"], condition="attribute_not_exists(closed)")

    def change(**put: bool) -> Refused | None:
        return table.transact(table.change("p", "s", replace(add, put=put, values={"zero": 0, "one": 1})))

    assert change() is None
    assert change(closed=True) is None
    assert change() == Refused([{"n": 2, "closed": True, "pk": "p", "sk": "s"}], [True])
    assert table.get("p", "s") == {"n": 2, "closed": True, "pk": "p", "sk": "s"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("attribute_exists(a) AND b = :two", True),
        ("attribute_not_exists(a) OR #n < :two", True),
        ("(attribute_not_exists(a) OR a = :two) AND b <= :two", False),
        ("attribute_not_exists(gone) AND (a <> :two OR gone = :two)", True),
        ("gone <= :two", False),
        ("word > :two", False),
        ("gone <> :two AND word <> :two AND NOT b <> :two", True),
        ("a IN (:one, :two) AND NOT a IN (:two)", True),
        ("b BETWEEN :one AND :two AND NOT a BETWEEN :two AND :two", True),
        ("begins_with(word, :three) AND NOT begins_with(gone, :three)", True),
    ],
)
def test_a_condition_is_read_as_it_stands(text: str, *, holds: bool) -> None:
    item = {"a": {"N": "1"}, "b": {"N": "2"}, "word": {"S": "3"}}

    assert expressions.condition(text)(Scope(item, {"#n": "a"}, VALUES)) is holds


@pytest.mark.parametrize("text", ["contains(a, :b)", "a =", "a = :b c", "a.b = :c", "a IN :b", ""])
def test_a_condition_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        expressions.condition(text)


@pytest.mark.parametrize("text", ["ADD a :b", "SET a", "SET a = list_append(a, :b)"])
def test_an_update_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        expressions.update(text)

"""The ledger's small table does what moto does: every request of a busy month is made of both."""

from dataclasses import replace
from functools import partial
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from assistant.stores.dynamodb import Refused, Table, Update
from local import expressions
from local.direct_dynamodb import DirectDynamoDb
from local.expressions import Scope
from local.month import BUSY, Month
from local.simulators.faults import Fault
from local.small_dynamodb import Cancelled, SmallDynamoDb, transaction_of_one

QUIET = Console(file=StringIO())
REFUSED = "ConditionalCheckFailedException"


class BothRefused(ClientError):
    pass


class Both:
    """Makes each request of moto and of the small table, and compares the answers."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=BothRefused, TransactionCanceledException=Cancelled)

    def __init__(self) -> None:
        self.small, self.moto = SmallDynamoDb(), DirectDynamoDb()
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


def test_a_transaction_of_one_update_is_made_or_refused_with_what_was_there() -> None:
    table = Table(SmallDynamoDb().as_client(), "runtime")
    add = Update(also=["n = if_not_exists(n, :zero) + :one"], condition="attribute_not_exists(full)")

    def change(**put: bool) -> Refused | None:
        return table.transact(table.change("p", "s", replace(add, put=put, values={"zero": 0, "one": 1})))

    assert change() is None
    assert change(full=True) is None
    assert change() == Refused([{"n": 2, "full": True, "pk": "p", "sk": "s"}], [True])
    assert table.get("p", "s") == {"n": 2, "full": True, "pk": "p", "sk": "s"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("attribute_exists(a) AND b = :two", True),
        ("attribute_not_exists(a) OR #n < :two", True),
        ("(attribute_not_exists(a) OR a = :two) AND b <= :two", False),
        ("attribute_not_exists(gone) AND (a <> :two OR gone = :two)", True),
        ("gone <= :two", False),
        ("word > :two", False),
    ],
)
def test_a_condition_is_read_as_it_stands(text: str, *, holds: bool) -> None:
    item = {"a": {"N": "1"}, "b": {"N": "2"}, "word": {"S": "3"}}

    assert expressions.condition(text)(Scope(item, {"#n": "a"}, {":two": {"N": "2"}})) is holds


@pytest.mark.parametrize("text", ["contains(a, :b)", "a =", "a = :b c", "a.b = :c", "NOT a = :b", ""])
def test_a_condition_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        expressions.condition(text)


@pytest.mark.parametrize("text", ["ADD a :b", "SET a", "SET a = list_append(a, :b)"])
def test_an_update_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        expressions.update(text)

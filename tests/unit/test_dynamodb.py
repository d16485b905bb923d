"""DynamoDB as the stores use it: conditions answer, collisions are repeated, all else is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from assistant.errors import StoreContended
from assistant.stores import dynamodb
from assistant.stores.dynamodb import Refused, Table, Update, from_item, to_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doubles import World


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stubber, Table]]:
    monkeypatch.setattr("assistant.stores.dynamodb.time.sleep", lambda _seconds: None)
    client = boto3.client("dynamodb")
    with Stubber(client) as stubber:
        yield stubber, Table(client, "t")


def cancelled(stubber: Stubber, *codes: str) -> None:
    stubber.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": code} for code in codes]},
    )


def test_a_collision_is_repeated(stubbed: tuple[Stubber, Table]) -> None:
    stubber, table = stubbed
    cancelled(stubber, "None", "TransactionConflict")
    cancelled(stubber, "ConditionalCheckFailed", "TransactionConflict")
    stubber.add_response("transact_write_items", {})

    assert table.transact(table.delete("p", "s")) is None
    stubber.assert_no_pending_responses()


def test_collisions_without_end_are_an_error(stubbed: tuple[Stubber, Table]) -> None:
    stubber, table = stubbed
    for _ in range(dynamodb.CONTENTION_TRIES):
        cancelled(stubber, "TransactionConflict")

    with pytest.raises(StoreContended):
        table.transact(table.delete("p", "s"))


def test_an_update_that_meets_a_transaction_is_repeated(stubbed: tuple[Stubber, Table]) -> None:
    stubber, table = stubbed
    stubber.add_client_error("update_item", "TransactionConflictException")
    stubber.add_response("update_item", {"Attributes": {"n": {"N": "1"}}})

    assert table.update("p", "s", Update(put={"n": 1})) == {"n": 1}


def test_a_failed_condition_is_an_answer(stubbed: tuple[Stubber, Table]) -> None:
    stubber, table = stubbed
    cancelled(stubber, "None", "ConditionalCheckFailed")

    assert table.transact(table.delete("p", "s"), table.delete("p", "t")) == Refused([None, None], [False, True])


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
def test_anything_else_is_an_error(stubbed: tuple[Stubber, Table], code: str) -> None:
    stubber, table = stubbed
    cancelled(stubber, code)

    with pytest.raises(ClientError):
        table.transact(table.delete("p", "s"))


def test_values_come_back_as_they_went() -> None:
    values: dict[str, Any] = {"text": "ü", "number": -7, "yes": True}

    assert from_item(to_item({**values, "absent": None})) == values
    assert from_item({"list": {"L": []}}) == {}


def test_a_query_reads_all_pages(world: World) -> None:
    for number in range(30):
        put = world.runtime.put("p", f"{number:02}", {"text": "x" * 100_000})["Put"]
        world.runtime.client.put_item(**put)

    assert len(world.runtime.query("p", "00", "99")) == 30
    assert [item["sk"] for item in world.runtime.query("p", "00", "99", limit=2, newest_first=True)] == ["29", "28"]


def test_a_mark_whose_time_is_over_counts_no_more(world: World) -> None:
    assert world.runtime.put_mark("p", "s", now=10, ttl=20)
    assert not world.runtime.put_mark("p", "s", now=19, ttl=30)
    assert world.runtime.put_mark("p", "s", now=21, ttl=30)

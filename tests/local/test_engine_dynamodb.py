"""What was checked of moto's DynamoDB and is right, with the corrections in place."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud
from tests.local.small_stack import small_cloud


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud() as started:
        yield started


def _key(pk: str, sk: str = "x") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _put(table: str, pk: str, sk: str = "x", **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": _key(pk, sk), **more}}


def test_a_cancelled_transaction_puts_back_what_it_changed(cloud: LocalCloud) -> None:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]
    dynamodb.put_item(TableName=table, Item=_key("kept") | {"n": {"N": "1"}})
    dynamodb.put_item(TableName=table, Item=_key("guard") | {"state": {"S": "old"}})

    with pytest.raises(ClientError) as refused:
        dynamodb.transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": table,
                        "Key": _key("kept"),
                        "UpdateExpression": "SET n = n + :one",
                        "ExpressionAttributeValues": {":one": {"N": "1"}},
                    }
                },
                _put(table, "new"),
                {"Delete": {"TableName": table, "Key": _key("guard")}},
                {
                    "ConditionCheck": {
                        "TableName": table,
                        "Key": _key("guard", "missing"),
                        "ConditionExpression": "attribute_exists(pk)",
                    }
                },
            ]
        )

    reasons = refused.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "None", "None", "ConditionalCheckFailed"]
    assert dynamodb.get_item(TableName=table, Key=_key("kept"))["Item"]["n"] == {"N": "1"}
    assert "Item" not in dynamodb.get_item(TableName=table, Key=_key("new"))
    assert dynamodb.get_item(TableName=table, Key=_key("guard"))["Item"]["state"] == {"S": "old"}


def test_a_cancelled_transaction_tells_the_old_item_when_asked(cloud: LocalCloud) -> None:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]
    dynamodb.put_item(TableName=table, Item=_key("claimed") | {"owner": {"S": "other"}})

    with pytest.raises(ClientError) as refused:
        dynamodb.transact_write_items(
            TransactItems=[
                _put(
                    table,
                    "claimed",
                    ConditionExpression="attribute_not_exists(pk)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            ]
        )

    (reason,) = refused.value.response["CancellationReasons"]
    assert reason["Item"] == _key("claimed") | {"owner": {"S": "other"}}


def test_a_refused_update_tells_the_old_item_when_asked(cloud: LocalCloud) -> None:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]
    dynamodb.put_item(TableName=table, Item=_key("one") | {"n": {"N": "5"}})

    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.update_item(
            TableName=table,
            Key=_key("one"),
            UpdateExpression="SET n = :new",
            ConditionExpression="n = :old",
            ExpressionAttributeValues={":new": {"N": "6"}, ":old": {"N": "4"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    assert refused.value.response["Item"]["n"] == {"N": "5"}


def test_the_sparse_index_holds_what_has_its_keys_in_order(cloud: LocalCloud) -> None:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]
    for name, due_at in (("late", "100"), ("early", "9"), ("middle", "20"), ("far", "1000")):
        attributes = {"due_kind": {"S": "turn"}, "due_at": {"N": due_at}, "more": {"S": "not projected"}}
        dynamodb.put_item(TableName=table, Item=_key(name, "due") | attributes)
    dynamodb.put_item(TableName=table, Item=_key("never", "due") | {"due_kind": {"S": "turn"}})

    def due(**more: Any) -> dict[str, Any]:
        found: dict[str, Any] = dynamodb.query(
            TableName=table,
            IndexName="due",
            KeyConditionExpression="due_kind = :kind AND due_at <= :now",
            ExpressionAttributeValues={":kind": {"S": "turn"}, ":now": {"N": "100"}},
            **more,
        )
        return found

    everything = due()["Items"]
    assert [item["pk"]["S"] for item in everything] == ["early", "middle", "late"]
    assert set(everything[0]) == {"pk", "sk", "due_kind", "due_at"}

    first = due(Limit=2)
    second = due(Limit=2, ExclusiveStartKey=first["LastEvaluatedKey"])
    assert [item["pk"]["S"] for page in (first, second) for item in page["Items"]] == ["early", "middle", "late"]

    dynamodb.update_item(TableName=table, Key=_key("early", "due"), UpdateExpression="REMOVE due_kind, due_at")
    assert [item["pk"]["S"] for item in due()["Items"]] == ["middle", "late"]


def test_no_acknowledged_write_is_lost_beside_cancelled_transactions(cloud: LocalCloud) -> None:
    """moto without a lock around it loses some: a cancelled transaction restores an old copy of the table."""
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]

    def write(worker: int) -> None:
        for number in range(30):
            dynamodb.put_item(TableName=table, Item=_key(f"load#{worker}", str(number)))

    def cancel() -> None:
        guard = {
            "TableName": table,
            "Key": _key("nothing", "here"),
            "ConditionExpression": "attribute_exists(pk)",
        }
        for number in range(30):
            with pytest.raises(ClientError, match="ConditionalCheckFailed"):
                dynamodb.transact_write_items(
                    TransactItems=[_put(table, f"load#{number % 4}", "cancelled"), {"ConditionCheck": guard}]
                )

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    threads.append(threading.Thread(target=cancel))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    for worker in range(4):
        found = dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"load#{worker}"}},
        )
        assert found["Count"] == 30

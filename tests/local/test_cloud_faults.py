"""Processes killed around their calls, and transactions that conflict."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.cloud import LocalCloud
from local.faults import Faults, When
from tests.local.small_stack import DEADLINE_S, Recorder, eventually, item_kinds, small_cloud


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud() as started:
        yield started


@pytest.fixture(autouse=True)
def _cleared(cloud: LocalCloud) -> Iterator[None]:
    yield
    cloud.faults.clear()


def _kinds_when_killed(cloud: LocalCloud, item: str, call: int, when: When) -> set[str]:
    """Invoke `effects` (SSM, a transaction, Telegram, a put) with one kill point; what it had stored by then."""
    cloud.faults.kill("Work", call=call, when=when)

    answer = cloud.client("lambda").invoke(
        FunctionName=cloud.resources["Work"], Payload=b'{"item": "%s", "do": "effects"}' % item.encode()
    )

    assert answer["FunctionError"] == "Unhandled"
    assert b"Runtime.ExitError" in answer["Payload"].read()
    return item_kinds(cloud, item)


@pytest.mark.parametrize(
    ("call", "when", "stored"),
    [
        (0, "before", set()),
        (1, "after", set()),
        (2, "before", set()),
        (2, "in", {"first", "second"}),
        (2, "after", {"first", "second"}),
        (3, "before", {"first", "second"}),
        (4, "before", {"first", "second"}),
        (4, "in", {"first", "second", "last"}),
        (4, "after", {"first", "second", "last"}),
    ],
)
def test_a_process_dies_at_the_point_that_is_ordered(
    cloud: LocalCloud, call: int, when: When, stored: set[str]
) -> None:
    assert _kinds_when_killed(cloud, f"{call}-{when}", call, when) == stored


@pytest.mark.parametrize(("when", "delivered"), [("before", 0), ("in", 1), ("after", 1)])
def test_a_simulators_call_is_a_point_too(cloud: LocalCloud, when: When, delivered: int) -> None:
    telegram = cloud._mounts["telegram"]
    assert isinstance(telegram, Recorder)
    before = len(telegram.paths)

    stored = _kinds_when_killed(cloud, f"telegram-{when}", 3, when)

    assert stored == {"first", "second"}
    assert telegram.paths[before:] == ["/bot1/sendMessage"] * delivered


def test_a_point_fires_once_and_the_execution_goes_on_in_a_fresh_process(cloud: LocalCloud) -> None:
    cloud.faults.kill("Work", call=2, when="in")

    cloud.post_update({"update_id": 70, "do": "effects"})
    cloud.wait_until_quiet(DEADLINE_S)

    execution = cloud.executions()[-1]
    assert (execution.status, execution.retries) == ("SUCCEEDED", 1)
    assert item_kinds(cloud, "70") == {"input", "first", "second", "last"}
    assert cloud.faults.calls("Work")[-2:] == [
        ("ssm:GetParameter", "dynamodb:TransactWriteItems"),
        ("ssm:GetParameter", "dynamodb:TransactWriteItems", "telegram:sendMessage", "dynamodb:PutItem"),
    ]
    assert cloud.faults.fired[-1].call == 2


def test_a_killed_webhook_is_an_error_to_the_caller(cloud: LocalCloud) -> None:
    cloud.faults.kill("Receive", call=2, when="before")

    status, _ = cloud.post_update({"update_id": 71})

    assert status == 500
    assert item_kinds(cloud, "71") == {"input"}
    assert "item-71" not in [one.name for one in cloud.executions()]


def test_transactions_conflict_as_often_as_ordered(cloud: LocalCloud) -> None:
    cloud.faults.transaction_conflict("Work", times=1)
    invoke = cloud.client("lambda").invoke
    event = b'{"item": "80", "do": "effects"}'

    failed = invoke(FunctionName=cloud.resources["Work"], Payload=event)["Payload"].read()
    assert b"TransactionCanceledException" in failed
    assert b"[TransactionConflict, None]" in failed
    assert item_kinds(cloud, "80") == set()

    assert "FunctionError" not in invoke(FunctionName=cloud.resources["Work"], Payload=event)
    assert item_kinds(cloud, "80") == {"first", "second", "last"}


def test_an_impossible_point_is_refused() -> None:
    with pytest.raises(ValueError, match="call 0"):
        Faults().kill("Work", call=0, when="after")


def test_a_call_that_is_held_is_answered_when_it_may(cloud: LocalCloud) -> None:
    invoke, work = cloud.client("lambda").invoke, cloud.resources["Work"]
    with ThreadPoolExecutor(1) as beside:
        with cloud.faults.holding("dynamodb:TransactWriteItems") as held:
            answer = beside.submit(invoke, FunctionName=work, Payload=b'{"item": "90", "do": "effects"}')
            eventually(lambda: held.count == 1)

            assert item_kinds(cloud, "90") == set()
            assert not answer.done()

        assert "FunctionError" not in answer.result(DEADLINE_S)
    assert item_kinds(cloud, "90") == {"first", "second", "last"}

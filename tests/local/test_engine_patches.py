"""Every correction of moto, with it and without it. Each test starts clouds of its own."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.core.models import MockAWS
from moto.stepfunctions.parser.asl.eval.callback.callback import CallbackEndpoint, CallbackOutcomeSuccess
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.models import StepFunctionsParserBackend, stepfunctions_parser_backends

from local.cloud import LocalCloud
from local.engine import PATCHES
from local.template import ACCOUNT, REGION
from tests.local.small_stack import DEADLINE_S, PASS, create_machine, eventually, lambda_task, run_to_end, small_cloud


def test_every_patch_has_a_test_here() -> None:
    assert set(PATCHES) == {
        "role_clients",
        "parsed_definitions",
        "virtual_waits",
        "virtual_timestamps",
        "started_once",
        "stopped_at_once",
        "early_answers",
        "fresh_tokens",
        "status_events",
        "small_transactions",
        "partition_queries",
        "no_mock_aws",
    }


def test_every_patch_is_taken_back() -> None:
    watched = [
        (AmazonStateLanguageParser, "parse"),
        (StepFunctionsParserBackend, "start_execution"),
        (MockAWS, "start"),
    ]
    before = [owner.__dict__[name] for owner, name in watched]

    with small_cloud():
        assert all(owner.__dict__[name] is not old for (owner, name), old in zip(watched, before, strict=True))

    assert [owner.__dict__[name] for owner, name in watched] == before


def test_an_unknown_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="no such patch: nothing"), small_cloud(without_patches=("nothing",)):
        pass


@pytest.mark.parametrize("without", [(), ("role_clients",)])
def test_tasks_run_with_the_state_machines_role(without: tuple[str, ...]) -> None:
    with small_cloud(without_patches=without) as cloud:
        machine = create_machine(cloud, "call", {"Call": lambda_task(cloud, "answer", End=True)})
        # moto's own credentials are nobody's, and its endpoint is not ours.
        run = _run_at_motos_port if without else run_to_end
        status = run(cloud, machine, name="a")["status"]

    assert status == ("FAILED" if without else "SUCCEEDED")


def _run_at_motos_port(cloud: LocalCloud, machine: str, **more: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOTO_PORT", cloud.endpoint.rpartition(":")[2])
        return run_to_end(cloud, machine, **more)


@pytest.mark.parametrize(("without", "parses"), [((), 1), (("parsed_definitions",), 4)])
def test_a_definition_is_parsed_once(without: tuple[str, ...], parses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = AmazonStateLanguageParser.parse

    def parse(definition: str) -> Any:
        seen.append(definition)
        return original(definition)

    monkeypatch.setattr(AmazonStateLanguageParser, "parse", staticmethod(parse))
    with small_cloud(without_patches=without) as cloud:
        machine = create_machine(cloud, "parsed", PASS)
        for name in ("a", "b", "c"):
            run_to_end(cloud, machine, name=name)

    assert sum('"Pass"' in text for text in seen) == parses


def test_a_wait_ends_when_the_clock_is_moved() -> None:
    with small_cloud(time_scale=1.0) as cloud:
        machine = create_machine(cloud, "waits", {"Rest": {"Type": "Wait", "Seconds": 3600, "Next": "Done"}, **PASS})
        states = cloud.client("stepfunctions")
        arn = states.start_execution(stateMachineArn=machine, name="a")["executionArn"]
        with pytest.raises(TimeoutError):
            cloud.wait_until_quiet(0.1)

        cloud.clock.advance(3601)
        cloud.wait_until_quiet(DEADLINE_S)

        assert states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED"


def test_a_scaled_wait_moves_the_clock_to_its_end() -> None:
    with small_cloud(start=1_800_000_000.0, time_scale=0.0) as cloud:
        machine = create_machine(cloud, "waits", {"Rest": {"Type": "Wait", "Seconds": 600, "Next": "Done"}, **PASS})

        described = run_to_end(cloud, machine, name="a")

        assert described["status"] == "SUCCEEDED"
        assert cloud.clock.now() >= 1_800_000_600


def test_without_the_patch_a_wait_takes_real_time_and_the_local_time_zone() -> None:
    with small_cloud(time_scale=0.0, without_patches=("virtual_waits",)) as cloud:
        machine = create_machine(cloud, "waits", {"Rest": {"Type": "Wait", "Seconds": 1, "Next": "Done"}, **PASS})
        began = time.monotonic()

        run_to_end(cloud, machine, name="a")

        assert time.monotonic() - began >= 1


def test_an_absolute_wait_is_by_the_virtual_clock_in_utc() -> None:
    with small_cloud(start=1_800_000_000.0, time_scale=0.0) as cloud:
        until = dt.datetime.fromtimestamp(1_800_000_300, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        machine = create_machine(
            cloud, "until", {"Rest": {"Type": "Wait", "TimestampPath": "$.until", "Next": "Done"}, **PASS}
        )

        run_to_end(cloud, machine, name="a", input=json.dumps({"until": until}))

        assert 1_800_000_299 <= cloud.clock.now() < 1_800_000_400


@pytest.mark.parametrize("without", [(), ("virtual_timestamps",)])
def test_times_are_the_virtual_clocks(without: tuple[str, ...]) -> None:
    with small_cloud(start=2_000_000_000.0, without_patches=without) as cloud:
        entered = {"Done": {"Type": "Pass", "Parameters": {"at.$": "$$.State.EnteredTime"}, "End": True}}

        described = run_to_end(cloud, create_machine(cloud, "times", entered), name="a")

        at = dt.datetime.fromisoformat(json.loads(described["output"])["at"]).timestamp()
        virtual = not without
        assert (2_000_000_000 <= described["startDate"].timestamp() < 2_000_000_100) is virtual
        assert (2_000_000_000 <= described["stopDate"].timestamp() < 2_000_000_100) is virtual
        assert (2_000_000_000 <= at < 2_000_000_100) is virtual


def test_without_the_patch_an_execution_stays_without_name() -> None:
    with small_cloud(without_patches=("started_once",)) as cloud:
        states = cloud.client("stepfunctions")
        arn = states.start_execution(stateMachineArn=create_machine(cloud, "nameless", PASS))["executionArn"]

    assert arn.endswith(":None")


@pytest.mark.parametrize(("without", "told"), [((), 1), (("status_events",), 0)])
def test_a_failed_execution_is_told_to_the_bus(without: tuple[str, ...], told: int) -> None:
    with small_cloud(without_patches=without) as cloud:
        cloud.post_update({"update_id": 1, "do": "refused"})
        cloud.wait_until_quiet(DEADLINE_S)

        assert sum(one.function == "Watch" for one in cloud.invocations) == told


def test_without_the_patch_mock_aws_starts_beside_the_cloud() -> None:
    with small_cloud(without_patches=("no_mock_aws",)):
        assert MockAWS.start.__module__ == "moto.core.models"


@pytest.mark.parametrize(("without", "status"), [((), "ABORTED"), (("stopped_at_once",), "FAILED")])
def test_a_stopped_execution_is_aborted_and_told(without: tuple[str, ...], status: str) -> None:
    with small_cloud(without_patches=without) as cloud:
        states = cloud.client("stepfunctions")
        arn = states.start_execution(
            stateMachineArn=cloud.resources["Machine"], name="s", input='{"item": "1", "do": "times_out"}'
        )["executionArn"]
        eventually(lambda: "working on 1: times_out" in cloud.logs("Work"))

        states.stop_execution(executionArn=arn)
        cloud.wait_until_quiet(DEADLINE_S)

        assert states.describe_execution(executionArn=arn)["status"] == status
        told = [line for line in cloud.logs("Watch") if line.startswith("watched ")]
        assert len(told) == 1
        assert f'"status": "{status}"' in told[0]


@pytest.mark.parametrize(("without", "woken"), [((), True), (("early_answers",), False)])
def test_an_answer_that_comes_before_anybody_waits_counts(without: tuple[str, ...], woken: bool) -> None:
    with small_cloud(without_patches=without):
        endpoint = CallbackEndpoint("token")
        endpoint.notify(CallbackOutcomeSuccess("token", "{}"))

        assert endpoint.setup_heartbeat_endpoint(0).clear_and_wait() is woken


@pytest.mark.parametrize(("without", "status"), [((), "SUCCEEDED"), (("fresh_tokens",), "FAILED")])
def test_a_retry_waits_for_an_answer_of_its_own(without: tuple[str, ...], status: str) -> None:
    retry = [{"ErrorEquals": ["Again"], "MaxAttempts": 1}]
    with small_cloud(without_patches=without) as cloud:
        task = lambda_task(cloud, "answer", Retry=retry, TimeoutSeconds=60, End=True)
        waiting = task | {"Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken"}
        machine, states = create_machine(cloud, "ask", {"Ask": waiting}), cloud.client("stepfunctions")
        arn = states.start_execution(stateMachineArn=machine)["executionArn"]

        eventually(lambda: _submitted(cloud, arn) == 1)
        states.send_task_failure(taskToken=_newest_token(), error="Again", cause="")
        eventually(lambda: _submitted(cloud, arn) == 2)
        if not without:
            states.send_task_success(taskToken=_newest_token(), output="{}")

        eventually(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING")
        assert states.describe_execution(executionArn=arn)["status"] == status


def _submitted(cloud: LocalCloud, execution: str) -> int:
    events = cloud.client("stepfunctions").get_execution_history(executionArn=execution)["events"]
    return sum(event["type"] == "TaskSubmitted" for event in events)


def _newest_token() -> str:
    (machine,) = [one for one in stepfunctions_parser_backends[ACCOUNT][REGION].state_machines if one.executions]
    pool = machine.executions[0].exec_worker.env.callback_pool_manager._pool
    return str(next(reversed(pool)))


def _fill(cloud: LocalCloud, count: int) -> None:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]
    for start in range(0, count, 25):
        puts = [
            {"PutRequest": {"Item": {"pk": {"S": f"fill#{n % 50}"}, "sk": {"S": str(n)}}}}
            for n in range(start, start + 25)
        ]
        dynamodb.batch_write_item(RequestItems={table: puts})


def _fastest_ms(action: Any, times: int = 5) -> float:
    """The quickest of some runs: others use this machine too."""
    best = float("inf")
    for number in range(times):
        began = time.perf_counter()
        action(number)
        best = min(best, time.perf_counter() - began)
    return best * 1000


@contextmanager
def _filled(*without: str) -> Iterator[LocalCloud]:
    with small_cloud(without_patches=without) as cloud:
        _fill(cloud, 1500)
        yield cloud


def _transaction_ms(cloud: LocalCloud) -> float:
    dynamodb, table = cloud.client("dynamodb"), cloud.resources["Items"]

    def transact(number: int) -> None:
        items = [{"pk": {"S": f"tx{number}"}, "sk": {"S": str(part)}} for part in range(3)]
        dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": item}} for item in items])

    return _fastest_ms(transact)


def _query_ms(cloud: LocalCloud) -> float:
    query, table = cloud.client("dynamodb").query, cloud.resources["Items"]
    values = {":pk": {"S": "fill#7"}}
    return _fastest_ms(
        lambda _: query(TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values, Limit=3)
    )


def test_transactions_and_queries_cost_what_they_touch_not_what_is_stored() -> None:
    with _filled() as cloud:
        transaction, query = _transaction_ms(cloud), _query_ms(cloud)
    with _filled("small_transactions") as cloud:
        assert _transaction_ms(cloud) > 3 * transaction
    with _filled("partition_queries") as cloud:
        assert _query_ms(cloud) > 2 * query

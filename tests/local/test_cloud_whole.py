"""The small stack as a whole: a request through API, function, state machine and function, as AWS would do it."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.cloud import LocalCloud, LocalCloudError
from tests.local.small_stack import DEADLINE_S, TEMPLATE, eventually, item_kinds, small_cloud


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud() as started:
        yield started


def _run(cloud: LocalCloud, update_id: int, do: str) -> Any:
    assert cloud.post_update({"update_id": update_id, "do": do}) == (200, {"ok": True})
    cloud.wait_until_quiet(DEADLINE_S)
    return next(one for one in cloud.executions() if one.name == f"item-{update_id}")


def test_a_request_goes_all_the_way(cloud: LocalCloud) -> None:
    execution = _run(cloud, 1, "effects")

    assert execution.status == "SUCCEEDED"
    assert execution.states == ("Work", "Again?", "Done")
    assert execution.transitions == 4
    assert json.loads(execution.input) == {"item": "1", "do": "effects"}
    assert item_kinds(cloud, "1") == {"input", "first", "second", "last"}
    assert cloud.denied == []


def test_calls_and_log_lines_are_recorded(cloud: LocalCloud) -> None:
    _run(cloud, 2, "effects")

    invocation = cloud.invocations[-1]
    assert invocation.calls == (
        "ssm:GetParameter",
        "dynamodb:TransactWriteItems",
        "telegram:sendMessage",
        "dynamodb:PutItem",
    )
    assert cloud.faults.calls("Work")[-1] == invocation.calls
    assert "working on 2: effects" in cloud.logs("Work")
    assert not any("(rapid)" in line for line in cloud.logs("Work"))


def test_a_retry_counts_as_a_transition(cloud: LocalCloud) -> None:
    execution = _run(cloud, 3, "throttled_once")

    assert (execution.status, execution.retries, execution.transitions) == ("SUCCEEDED", 1, 5)


@pytest.mark.parametrize(
    ("update_id", "do", "cause"), [(4, "refused", "Refused"), (5, "times_out", "Sandbox.Timedout")]
)
def test_a_failure_is_caught_by_its_name(cloud: LocalCloud, update_id: int, do: str, cause: str) -> None:
    execution = _run(cloud, update_id, do)

    assert (execution.status, execution.error, execution.cause) == ("FAILED", "GaveUp", cause)


def test_a_process_that_exits_is_replaced(cloud: LocalCloud) -> None:
    execution = _run(cloud, 6, "exits")

    assert (execution.error, execution.retries) == ("Runtime.ExitError", 2)
    assert _run(cloud, 7, "answer").status == "SUCCEEDED"
    assert [one for one in cloud.invocations if one.function == "Work"][-1].cold


def test_an_invocation_is_answered_as_lambda_does(cloud: LocalCloud) -> None:
    invoke = cloud.client("lambda").invoke
    name = cloud.resources["Work"]

    fine = invoke(FunctionName=name, Payload=b'{"item": "1", "do": "answer"}')
    failed = invoke(FunctionName=cloud.resources["Work.Arn"], Payload=b'{"item": "1", "do": "refused"}')

    assert "FunctionError" not in fine
    assert json.load(fine["Payload"]) == {"again": False, "text": "hello from the layer"}
    assert failed["FunctionError"] == "Unhandled"
    assert json.load(failed["Payload"])["errorType"] == "Refused"
    with pytest.raises(cloud.client("lambda").exceptions.ResourceNotFoundException):
        invoke(FunctionName="nobody", Payload=b"{}")


def test_a_process_sees_the_template_and_nothing_of_this_machine(cloud: LocalCloud, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_MACHINE", "x")

    seen = cloud.invoke("Work", {"item": "1", "do": "reports"})["environment"]

    assert "SECRET_OF_THIS_MACHINE" not in seen
    assert "HOME" not in seen
    assert seen["GREETING"] == "hello"
    assert seen["TABLE"] == cloud.resources["Items"]
    assert seen["AWS_ENDPOINT_URL"] == cloud.endpoint
    assert seen["TELEGRAM_API_URL"].startswith(f"{cloud.endpoint}/as/Work.")
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")


def test_a_function_reads_the_virtual_clock(cloud: LocalCloud) -> None:
    cloud.invoke("Work", {"item": "1", "do": "clocked"})
    cloud.clock.advance(86_400)

    assert cloud.invoke("Work", {"item": "1", "do": "clocked"})["now"] == pytest.approx(cloud.clock.now(), abs=1)


def test_the_api_hands_over_a_version_two_event(cloud: LocalCloud) -> None:
    status, body = cloud.post("/telegram?a=1&a=2", b"{", {"Content-Type": "application/json"})
    assert (status, json.loads(body)) == (500, {"message": "Internal Server Error"})

    status, body = cloud.post("/nowhere", b"", {})
    assert (status, json.loads(body)) == (404, {"message": "Not Found"})


def test_the_events_shape(cloud: LocalCloud) -> None:
    api = cloud._http_api
    seen: list[dict[str, Any]] = []
    original = api._event

    def remember(*given: Any) -> dict[str, Any]:
        seen.append(original(*given))
        return seen[-1]

    api._event = remember  # type: ignore[assignment, method-assign]
    cloud.post("/telegram?a=1&a=2", b"\xff\x00", {"Content-Type": "image/png", "X-Mixed-Case": "Kept"})
    cloud.post("/telegram", b'{"update_id": 900}', {"Content-Type": "application/json", "Cookie": "a=1; b=2"})
    del api._event
    binary, text = seen

    assert binary["isBase64Encoded"] is True
    assert base64.b64decode(binary["body"]) == b"\xff\x00"
    assert binary["headers"]["x-mixed-case"] == "Kept"
    assert binary["rawQueryString"] == "a=1&a=2"
    assert binary["queryStringParameters"] == {"a": "1,2"}
    assert (text["isBase64Encoded"], text["body"]) == (False, '{"update_id": 900}')
    assert text["cookies"] == ["a=1", "b=2"]
    assert text["version"] == "2.0"
    assert text["routeKey"] == "POST /telegram"
    assert text["requestContext"]["http"]["method"] == "POST"
    assert text["requestContext"]["timeEpoch"] == pytest.approx(cloud.clock.now() * 1000, abs=60_000)


def test_an_execution_that_fails_is_told_to_the_rule(cloud: LocalCloud) -> None:
    execution = _run(cloud, 20, "refused")

    events = [json.loads(line.removeprefix("watched ")) for line in cloud.logs("Watch") if line.startswith("watched ")]
    (event,) = [event for event in events if event.get("detail", {}).get("name") == "item-20"]
    detail = event["detail"]
    assert event["source"] == "aws.states"
    assert event["resources"] == [execution.arn]
    assert detail["executionArn"] == execution.arn
    assert detail["stateMachineArn"] == cloud.resources["Machine"]
    assert (detail["status"], detail["error"], detail["cause"]) == ("FAILED", "GaveUp", "Refused")
    assert json.loads(detail["input"]) == {"item": "20", "do": "refused"}
    assert detail["inputDetails"] == {"included": True}
    assert detail["stopDate"] >= detail["startDate"]
    assert "error" not in event["detail"]["input"]


def test_a_schedule_fires_when_the_clock_jumps(cloud: LocalCloud) -> None:
    before = sum(one.function == "Watch" for one in cloud.invocations)

    cloud.clock.advance(3600)
    cloud.wait_until_quiet(DEADLINE_S)

    assert sum(one.function == "Watch" for one in cloud.invocations) == before + 1
    assert 'watched {"sweep": true}' in cloud.logs("Watch")


def test_an_event_that_fails_for_good_goes_to_the_queue(cloud: LocalCloud) -> None:
    queue = cloud.resources["FailureQueue"]
    event = json.dumps({"fail": True}).encode()

    accepted = cloud.client("lambda").invoke(
        FunctionName=cloud.resources["Watch"], InvocationType="Event", Payload=event
    )
    cloud.wait_until_quiet(DEADLINE_S)

    assert accepted["StatusCode"] == 202
    (message,) = cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    record = json.loads(message["Body"])
    assert record["requestPayload"] == {"fail": True}
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responsePayload"]["errorType"] == "RuntimeError"


def test_calls_beyond_the_environments_wait_for_one(cloud: LocalCloud) -> None:
    for update_id in range(100, 120):
        assert cloud.post_update({"update_id": update_id})[0] == 200
    cloud.wait_until_quiet(DEADLINE_S)

    names = {f"item-{update_id}" for update_id in range(100, 120)}
    done = [one for one in cloud.executions() if one.name in names]
    assert {one.status for one in done} == {"SUCCEEDED"}
    assert len(done) == 20


def test_a_secret_is_a_secure_string(cloud: LocalCloud) -> None:
    name = "/serverless-openclaw/secrets/telegram-bot-token"
    ssm = cloud.client("ssm")

    clear = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    hidden = ssm.get_parameter(Name=name)["Parameter"]

    assert (clear["Type"], clear["Value"]) == ("SecureString", "123:token")
    assert hidden["Value"] != "123:token"


def test_waiting_tells_what_still_goes_on(cloud: LocalCloud) -> None:
    cloud.post_update({"update_id": 300, "do": "times_out"})

    with pytest.raises(TimeoutError, match="item-300"):
        cloud.wait_until_quiet(0.05)
    cloud.wait_until_quiet(DEADLINE_S)


def test_one_cloud_at_a_time_and_no_mock_beside_it(cloud: LocalCloud) -> None:
    with pytest.raises(LocalCloudError, match="another LocalCloud"):
        LocalCloud(TEMPLATE, mode="source").start()
    with pytest.raises(RuntimeError, match="mock_aws would wipe"), mock_aws():
        pass
    with pytest.raises(LocalCloudError, match="before the start"):
        cloud.mount("late", lambda _environ, _start_response: [])
    assert isinstance(boto3.Session(), boto3.Session)


def test_tasks_that_end_leave_nothing_pending(cloud: LocalCloud) -> None:
    eventually(lambda: cloud._lambda_api.pending == 0)

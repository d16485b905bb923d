"""What was checked of moto's Step Functions and is right, with the corrections in place."""

import threading
from collections.abc import Iterator

import pytest

from local.cloud import LocalCloud
from tests.local.small_stack import DEADLINE_S, PASS, create_machine, lambda_task, run_to_end, small_cloud


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud() as started:
        yield started


def test_a_role_that_may_not_invoke_is_denied(cloud: LocalCloud) -> None:
    task = lambda_task(cloud, "answer", End=True)
    task["Parameters"]["FunctionName"] = cloud.resources["Watch.Arn"]

    described = run_to_end(cloud, create_machine(cloud, "denied", {"Call": task}), name="a")

    assert (described["status"], described["error"]) == ("FAILED", "Lambda.AccessDeniedException")
    assert cloud.denied[-1].action == "lambda:InvokeFunction"


def test_an_execution_without_a_name_gets_one(cloud: LocalCloud) -> None:
    described = run_to_end(cloud, create_machine(cloud, "nameless", PASS))

    assert len(described["name"]) == 36
    assert described["executionArn"].endswith(described["name"])


def test_the_same_start_many_times_at_once_is_one_execution(cloud: LocalCloud) -> None:
    machine = create_machine(cloud, "once", {"Rest": {"Type": "Wait", "Seconds": 1000, "Next": "Done"}, **PASS})
    states = cloud.client("stepfunctions")
    arns: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: arns.append(
                states.start_execution(stateMachineArn=machine, name="same", input="{}")["executionArn"]
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(arns) == 8
    assert len(set(arns)) == 1
    assert [one.name for one in cloud.executions()].count("same") == 1
    cloud.wait_until_quiet(DEADLINE_S)


def test_a_name_is_taken_once_closed_or_with_other_input(cloud: LocalCloud) -> None:
    states = cloud.client("stepfunctions")
    rests = {"Rest": {"Type": "Wait", "SecondsPath": "$.s", "Next": "Done"}, **PASS}
    machine = create_machine(cloud, "taken", rests)
    taken = states.exceptions.ExecutionAlreadyExists

    run_to_end(cloud, machine, name="closed", input='{"s": 0}')
    with pytest.raises(taken):
        states.start_execution(stateMachineArn=machine, name="closed", input='{"s": 0}')

    states.start_execution(stateMachineArn=machine, name="open", input='{"s": 500}')
    with pytest.raises(taken):
        states.start_execution(stateMachineArn=machine, name="open", input='{"s": 501}')
    cloud.wait_until_quiet(DEADLINE_S)


def test_an_execution_that_does_not_exist(cloud: LocalCloud) -> None:
    states = cloud.client("stepfunctions")
    arn = cloud.resources["Machine"].replace(":stateMachine:", ":execution:") + ":never"

    with pytest.raises(states.exceptions.ExecutionDoesNotExist):
        states.describe_execution(executionArn=arn)


def test_a_state_entered_again_has_all_its_retries_again(cloud: LocalCloud) -> None:
    cloud.post_update({"update_id": 900, "do": "throttled_each_round"})
    cloud.wait_until_quiet(DEADLINE_S)

    execution = next(one for one in cloud.executions() if one.name == "item-900")
    assert execution.status == "SUCCEEDED"
    assert execution.states == ("Work", "Again?", "Rest", "Work", "Again?", "Done")
    assert (execution.retries, execution.transitions) == (4, 11)

"""A task of the agent is started on Spot, or on demand, once for a generation; those that run are found and stopped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from assistant.errors import AgentUnavailable
from assistant.stores.tasks import FargateFleet, FargateTasks, NoFleet
from assistant.turns.agents import Generation
from assistant.turns.hours import Ran
from assistant.turns.tending import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

ARN = "arn:aws:ecs:eu-west-1:123456789012:task/agents/1"
GENERATION = Generation("-42", 7)
STARTED = {"tasks": [{"taskArn": ARN}], "failures": []}
FULL = {"tasks": [], "failures": [{"arn": "x", "reason": "Capacity is unavailable at this time."}]}


class Ecs:
    """RunTask, stubbed; what was warned of."""

    def __init__(self) -> None:
        client: Any = boto3.client("ecs", aws_access_key_id="a", aws_secret_access_key="b")
        self.stub = Stubber(client)
        self.warned: list[str] = []
        self.fleet = FargateFleet(client, "cluster")
        self.tasks = FargateTasks(client, "cluster", "agent:3", ["subnet-1", "subnet-2"], "sg-1", self.warn)

    def warn(self, message: str, **names: str) -> None:
        self.warned.append(f"{message}: {names['reason']}")


@pytest.fixture
def ecs() -> Iterator[Ecs]:
    world = Ecs()
    with world.stub:
        yield world
        world.stub.assert_no_pending_responses()


def expected(capacity: str) -> dict[str, Any]:
    return {
        "cluster": "cluster",
        "taskDefinition": "agent:3",
        "clientToken": ANY,
        "capacityProviderStrategy": [{"capacityProvider": capacity, "weight": 1}],
        "count": 1,
        "startedBy": "agent-7",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "ENABLED",
            }
        },
        "overrides": {
            "containerOverrides": [
                {
                    "name": "agent",
                    "environment": [{"name": "CHAT_ID", "value": "-42"}, {"name": "GENERATION", "value": "7"}],
                }
            ]
        },
        "propagateTags": "TASK_DEFINITION",
    }


def test_spot_is_asked_first(ecs: Ecs) -> None:
    ecs.stub.add_response("run_task", STARTED, expected("FARGATE_SPOT"))

    assert ecs.tasks.run(GENERATION) == ARN
    assert ecs.warned == []


def test_without_spot_capacity_a_task_on_demand_is_started(ecs: Ecs) -> None:
    ecs.stub.add_response("run_task", FULL, expected("FARGATE_SPOT"))
    ecs.stub.add_response("run_task", STARTED, expected("FARGATE"))

    assert ecs.tasks.run(GENERATION) == ARN
    assert ecs.warned == ["no capacity for an agent: FARGATE_SPOT: Capacity is unavailable at this time."]


def test_a_refusal_of_both_says_why(ecs: Ecs) -> None:
    ecs.stub.add_client_error("run_task", "AccessDeniedException", "not allowed", http_status_code=400)
    ecs.stub.add_response("run_task", {"tasks": [], "failures": []}, expected("FARGATE"))

    with pytest.raises(AgentUnavailable, match="FARGATE_SPOT: AccessDeniedException; FARGATE: nothing started"):
        ecs.tasks.run(GENERATION)


def test_what_may_pass_is_not_taken_for_a_lack_of_capacity(ecs: Ecs) -> None:
    ecs.stub.add_client_error("run_task", "ThrottlingException", "slowly", http_status_code=400)

    with pytest.raises(ClientError, match="Throttling"):
        ecs.tasks.run(GENERATION)


def test_a_generation_has_one_client_token_per_kind_of_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs()
    tokens: list[str] = []

    def run_task(**call: Any) -> Any:
        tokens.append(call["clientToken"])
        return FULL

    monkeypatch.setattr(ecs.tasks.client, "run_task", run_task)
    for generation in (GENERATION, GENERATION, Generation("-42", 8)):
        with pytest.raises(AgentUnavailable):
            ecs.tasks.run(generation)

    assert tokens[:2] == tokens[2:4]
    assert len(set(tokens)) == 4
    assert all(len(token) <= 64 for token in tokens)


def described(arn: str, *environment: tuple[str, str]) -> dict[str, Any]:
    override = {"name": "agent", "environment": [{"name": name, "value": value} for name, value in environment]}
    return {"taskArn": arn, "overrides": {"containerOverrides": [override]}}


def test_the_tasks_that_run_are_those_that_have_a_generation(ecs: Ecs) -> None:
    asked = {"cluster": "cluster", "desiredStatus": "RUNNING"}
    ecs.stub.add_response("list_tasks", {"taskArns": [ARN, "by-hand"], "nextToken": "more"}, asked)
    ecs.stub.add_response(
        "describe_tasks",
        {"tasks": [described(ARN, ("CHAT_ID", "-42"), ("GENERATION", "7")), described("by-hand")], "failures": []},
        {"cluster": "cluster", "tasks": [ARN, "by-hand"]},
    )
    ecs.stub.add_response("list_tasks", {"taskArns": []}, asked | {"nextToken": "more"})

    assert list(ecs.fleet.tasks()) == [Task(GENERATION, ARN)]


@pytest.mark.parametrize(
    ("moments", "ran"),
    [
        ({"createdAt": 0, "pullStartedAt": 10, "startedAt": 30, "stoppedAt": 100}, Ran(10, 100)),
        ({"createdAt": 0, "startedAt": 30, "stoppedAt": 100}, Ran(30, 100)),
        ({"createdAt": 0, "stoppedAt": 100}, Ran(100, 100)),  # its image was never fetched
        ({"createdAt": 0, "pullStartedAt": 10, "stoppingAt": 90}, None),
    ],
)
def test_a_task_that_has_ended_tells_when_it_ran(ecs: Ecs, moments: dict[str, int], ran: Ran | None) -> None:
    task = described(ARN, ("CHAT_ID", "-42"), ("GENERATION", "7")) | {
        name: datetime.fromtimestamp(moment, UTC) for name, moment in moments.items()
    }
    ecs.stub.add_response("list_tasks", {"taskArns": [ARN]}, {"cluster": "cluster", "desiredStatus": "STOPPED"})
    ecs.stub.add_response("describe_tasks", {"tasks": [task, described("by-hand")], "failures": []})

    assert list(ecs.fleet.ended()) == ([(GENERATION, ran)] if ran else [])


def test_a_task_is_stopped_with_the_reason(ecs: Ecs) -> None:
    ecs.stub.add_response("stop_task", {}, {"cluster": "cluster", "task": ARN, "reason": "idle"})

    ecs.fleet.stop(Task(GENERATION, ARN), "idle")


def test_without_a_cluster_there_is_no_task() -> None:
    fleet = NoFleet()

    fleet.stop(Task(GENERATION, ARN), "idle")
    assert list(fleet.tasks()) == []
    assert list(fleet.ended()) == []

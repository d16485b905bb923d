"""StartAgent and AgentStopped as Lambda calls them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from assistant.errors import AgentUnavailable, TurnInvalid
from assistant.observability import logger
from assistant.stores.tasks import CAPACITY, CONTAINER
from assistant.turns.agents import START_SECONDS
from assistant.turns.tending import LATE_SECONDS, OBEY_SECONDS
from tests.payloads import EVENTS, STOPPED_TASKS, USER_ID, agent_files, task_stopped

if TYPE_CHECKING:
    from tests.handlers.conftest import Deployed

FAMILY = "serverless-openclaw-agent"
CRASHED = {"crashed", "not_started"}
KEY = {"pk": {"S": f"AGENT#{USER_ID}"}, "sk": {"S": "AGENT"}}


def _event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    (handler,) = logger._logger.handlers
    monkeypatch.setattr(handler, "stream", stream)
    return stream


def _last_line(log: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(log.getvalue().splitlines()[-1])
    return line


@pytest.fixture
def without_agent(deployed: Deployed) -> Deployed:
    """The template without an image, and an open turn."""
    for name in ("CLUSTER", "TASK_DEFINITION", "SUBNETS", "SECURITY_GROUP"):
        deployed.environment.setenv(f"AGENT_{name}", "")
    deployed.environment.setenv("AGENT_MODE", "auto")
    deployed.allow(USER_ID)
    deployed.post(deployed.outside.updates.text(USER_ID, "do something"))
    deployed.call("prepare_turn", deployed.claim())
    return deployed


@pytest.fixture
def fargate(without_agent: Deployed) -> Deployed:
    """The template with an image."""
    ecs = boto3.client("ecs")
    cluster = ecs.create_cluster(clusterName="agents", capacityProviders=list(CAPACITY))["cluster"]["clusterArn"]
    # Without awsvpc moto needs no EC2, which takes longer to set up than all else; the local cloud's tests have it.
    ecs.register_task_definition(
        family=FAMILY, containerDefinitions=[{"name": CONTAINER, "image": "agent:1", "memory": 2048}]
    )
    for name, value in {
        "CLUSTER": cluster,
        "TASK_DEFINITION": FAMILY,
        "SUBNETS": "subnet-1,subnet-2",
        "SECURITY_GROUP": "sg-1",
    }.items():
        without_agent.environment.setenv(f"AGENT_{name}", value)
    return without_agent


def _agent() -> dict[str, Any]:
    item: dict[str, Any] = boto3.client("dynamodb").get_item(TableName="runtime", Key=KEY)["Item"]
    return {name: next(iter(value.values())) for name, value in item.items()}


def _put_agent(**changed: dict[str, str]) -> None:
    dynamodb = boto3.client("dynamodb")
    item = dynamodb.get_item(TableName="runtime", Key=KEY)["Item"]
    dynamodb.put_item(TableName="runtime", Item={**item, **changed})


def _tasks() -> list[Any]:
    ecs = boto3.client("ecs")
    arns = ecs.list_tasks(cluster="agents")["taskArns"]
    found: list[Any] = ecs.describe_tasks(cluster="agents", tasks=arns)["tasks"] if arns else []
    return found


def test_the_stored_events_are_those_that_are_built() -> None:
    stored = {name: (EVENTS / name).read_text("utf-8") for name in agent_files()}

    assert stored == agent_files(), "write them anew: python -m tests.payloads"


def test_a_turn_starts_a_task_that_knows_its_chat_and_generation(fargate: Deployed) -> None:
    assert fargate.call("start_agent", _event("start_agent")) == "started"

    (task,) = _tasks()
    (override,) = task["overrides"]["containerOverrides"]
    assert override["name"] == CONTAINER
    assert override["environment"] == [
        {"name": "CHAT_ID", "value": str(USER_ID)},
        {"name": "GENERATION", "value": "1"},
    ]
    assert _agent()["task_arn"] == task["taskArn"]
    assert _agent()["pending"] == "1"


def _woken() -> dict[str, Any]:
    return {name: value for name, value in _event("start_agent").items() if name != "token"} | {"wake": True}


def test_an_agent_is_woken_once_without_any_mail(fargate: Deployed, log: io.StringIO) -> None:
    assert fargate.call("start_agent", _woken()) == "started"
    assert [fargate.call("start_agent", _woken()) for _ in range(3)] == ["running"] * 3

    assert len(_tasks()) == 1
    assert "pending" not in _agent()
    assert _last_line(log)["message"] == "agent woken"


def test_that_an_agent_can_not_be_woken_is_no_failure(without_agent: Deployed) -> None:
    assert "no agent is deployed" in without_agent.call("start_agent", _woken())


def test_a_message_wakes_the_agent_and_goes_on_when_that_fails(fargate: Deployed, log: io.StringIO) -> None:
    fargate.environment.setenv("AGENT_MODE", "eager")
    fargate.environment.setenv("START_AGENT_FUNCTION", "not-deployed")

    fargate.modules.remove("prepare_turn")  # it came up in another mode
    prepared = fargate.call("prepare_turn", fargate.claim())

    assert prepared["route"] == "copilot"
    assert "agent not woken" in log.getvalue()


def test_a_second_turn_finds_the_agent_that_starts(fargate: Deployed) -> None:
    fargate.call("start_agent", _event("start_agent"))

    assert fargate.call("start_agent", {**_event("start_agent"), "token": "another"}) == "running"
    assert len(_tasks()) == 1


def test_without_an_image_the_agent_is_unavailable(without_agent: Deployed) -> None:
    with pytest.raises(AgentUnavailable, match="no agent is deployed"):
        without_agent.call("start_agent", _event("start_agent"))

    assert (_agent()["status"], _agent()["pending"]) == ("STOPPED", "0")


def test_switched_off_nothing_is_started(fargate: Deployed) -> None:
    fargate.environment.setenv("AGENT_MODE", "off")

    with pytest.raises(AgentUnavailable, match="switched off"):
        fargate.call("start_agent", _event("start_agent"))

    assert _tasks() == []


@pytest.mark.parametrize("token", [{}, {"token": ""}, {"token": None}])
def test_without_a_token_nothing_is_handed_over(fargate: Deployed, token: dict[str, Any]) -> None:
    event = {name: value for name, value in _event("start_agent").items() if name != "token"} | token

    with pytest.raises(TurnInvalid):
        fargate.call("start_agent", event)

    assert _tasks() == []


@pytest.mark.parametrize("name", sorted(STOPPED_TASKS.keys() - {"run_by_hand"}))
def test_a_task_that_ended_makes_room_for_the_next(fargate: Deployed, log: io.StringIO, name: str) -> None:
    fargate.call("start_agent", _event("start_agent"))

    fargate.call("agent_stopped", _event(f"agent_stopped_{name}"))

    assert (_agent()["status"], _agent()["pending"]) == ("STOPPED", "0")
    assert ("crashes" in _agent()) == (name in CRASHED)
    line = _last_line(log)
    assert (line["done"], line["crashed"]) == ("stopped", name in CRASHED)
    assert line["level"] == ("WARNING" if name in CRASHED else "INFO")
    assert fargate.call("start_agent", _event("start_agent")) == "started"
    assert _agent()["generation"] == "2"


def _hours() -> dict[str, Any]:
    key = {"pk": {"S": "LEDGER"}, "sk": {"S": "agent"}}
    item: dict[str, Any] = boto3.client("dynamodb").get_item(TableName="runtime", Key=key)["Item"]
    return {name: value["N"] for name, value in item.items() if ":" in name}


def test_a_task_is_counted_by_the_times_of_its_event_however_often_that_comes(fargate: Deployed) -> None:
    fargate.call("start_agent", _event("start_agent"))
    assert _hours().keys() == {f"running:{USER_ID}#1"}

    for name in ("crashed", "idle", "idle"):
        fargate.call("agent_stopped", _event(f"agent_stopped_{name}"))

    assert _hours() == {"seconds:2026-11": "1190"}


def test_past_the_months_hours_nothing_is_started(fargate: Deployed) -> None:
    fargate.environment.setenv("AGENT_HOURS_PER_MONTH", "0.3")
    fargate.call("start_agent", _event("start_agent"))
    fargate.call("agent_stopped", _event("agent_stopped_idle"))

    with pytest.raises(AgentUnavailable, match="hours are used up"):
        fargate.call("start_agent", _event("start_agent"))


def test_the_log_says_what_aws_says(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("agent_stopped", _event("agent_stopped_crashed"))

    said = str(_last_line(log)["reason"]).split("; ")
    assert said == [
        "Essential container in task exited",
        "OutOfMemoryError: Container killed due to memory usage",
        "exit code 137",
    ]


def test_an_exit_by_itself_with_an_error_is_a_crash(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("agent_stopped", task_stopped("EssentialContainerExited", "", 1))

    assert _last_line(log)["crashed"] is True


def test_the_end_of_an_old_task_is_no_news(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("start_agent", _event("start_agent"))
    fargate.call("agent_stopped", _event("agent_stopped_idle"))
    fargate.call("start_agent", _event("start_agent"))

    fargate.call("agent_stopped", _event("agent_stopped_crashed"))

    assert _last_line(log)["done"] == "replaced"
    assert _agent()["status"] == "STARTING"


def test_a_task_that_somebody_ran_by_hand_is_nobodys(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("agent_stopped", _event("agent_stopped_run_by_hand"))

    assert _last_line(log)["done"] == "not an agent's"


# What tends agents


def test_the_sweep_gives_up_an_agent_that_never_came(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("start_agent", _event("start_agent"))
    fargate.clock.advance(START_SECONDS)

    fargate.call("sweep", {})

    assert _last_line(log)["agents"] == {"agent given up": 1}
    assert (_agent()["status"], _agent()["pending"], _agent()["crashes"]) == ("STOPPED", "0", "1")


def test_a_task_that_runs_on_after_its_life_is_stopped(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("start_agent", _event("start_agent"))
    fargate.call("agent_stopped", _event("agent_stopped_idle"))
    event = _event("shut_down_idle_schedule")
    fargate.call("shut_down_idle", event)
    assert _last_line(log)["tasks"] == {"goes on": 1}
    fargate.clock.advance(OBEY_SECONDS)

    fargate.call("shut_down_idle", event)

    assert _last_line(log)["tasks"] == {"stopped": 1}
    fargate.call("shut_down_idle", event)
    assert _last_line(log)["tasks"] == {}


def test_without_an_image_there_is_no_task_to_look_at(without_agent: Deployed, log: io.StringIO) -> None:
    without_agent.call("shut_down_idle", _event("shut_down_idle_schedule"))

    assert _last_line(log)["tasks"] == {}


def test_an_agent_without_backups_is_asked_for_one(fargate: Deployed, log: io.StringIO) -> None:
    fargate.call("start_agent", _event("start_agent"))
    fargate.clock.advance(START_SECONDS)
    event = _event("back_up_schedule")
    fargate.call("back_up", event)
    assert _last_line(log)["agents"] == {"not at work": 1}
    now = int(fargate.clock.now())
    _put_agent(status={"S": "RUNNING"}, lease_until={"N": f"{now + 90}"}, kept_at={"N": f"{now - LATE_SECONDS}"})

    fargate.call("back_up", event)

    assert _last_line(log)["agents"] == {"late": 1}
    assert _agent()["backup_asked_at"] == str(now)
    _put_agent(generation={"S": "no number"})
    with pytest.raises(ExceptionGroup, match="some backups could not be looked at"):
        fargate.call("back_up", event)


def test_in_warm_hours_chats_are_looked_at(fargate: Deployed, log: io.StringIO) -> None:
    event = _event("warm_up_schedule")
    fargate.environment.setenv("WARM_HOURS", "0-24 UTC")

    fargate.call("warm_up", event)

    assert _last_line(log)["chats"] == {"left asleep": 1}
    boto3.client("dynamodb").delete_table(TableName="conversations")
    with pytest.raises(ExceptionGroup, match="some chats could not be looked at"):
        fargate.call("warm_up", event)


def test_a_task_that_cannot_be_looked_at_fails_the_schedule(fargate: Deployed) -> None:
    fargate.call("start_agent", _event("start_agent"))
    boto3.client("dynamodb").delete_table(TableName="runtime")

    with pytest.raises(ExceptionGroup, match="some tasks could not be looked at"):
        fargate.call("shut_down_idle", _event("shut_down_idle_schedule"))

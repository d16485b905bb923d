"""Tasks of ECS as processes: a stand-in for the agent's container, started by StartAgent on the deployed template."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from assistant.stores import schema
from assistant.stores.agents import DynamoAgents
from assistant.stores.dynamodb import Table
from assistant.stores.tasks import CAPACITY, CONTAINER
from assistant.stores.turns import DynamoTurns
from assistant.turns.agents import START_SECONDS
from assistant.turns.model import Turn, TurnStatus
from assistant.turns.tending import OBEY_SECONDS
from assistant.turns.waking import SWEEP_SECONDS
from local import network
from local.cloud import LocalCloud
from local.fargate import Image
from tests.local.small_stack import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.turns.agents import Agent


ROOT = Path(__file__).parents[2]
STAND_IN = "stand-in:1"
WARM = "999"
FAMILY = "serverless-openclaw-agent"
DEFINITION = {
    "StartAt": "AskAgent",
    "States": {
        "AskAgent": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {
                "FunctionName": "",
                "Payload": {
                    "chat_id.$": "$.chat_id",
                    "epoch.$": "$.epoch",
                    "turn.$": "$.turn",
                    "token.$": "$$.Task.Token",
                },
            },
            "TimeoutSeconds": 600,
            "HeartbeatSeconds": 240,
            "End": True,
        }
    },
}


def stand_in_image() -> Image:
    folders = (Path(__file__).parent / "fixtures" / "agent", ROOT / "layers" / "core" / "src", ROOT)
    command = (sys.executable, "-m", "local.clocked", "stand_in")
    return Image(command, {"PYTHONPATH": os.pathsep.join(map(str, folders))})


@dataclass
class Site:
    """A cloud in which AskAgent is the whole state machine; each test has a chat of its own."""

    cloud: LocalCloud
    chats: int = 0
    warm_turns: int = 0

    def warm(self, text: str) -> int:
        """Have a turn answered by the container that several tests share; gives the turn's number."""
        self.warm_turns += 1
        assert self.ended(self.ask(WARM, text, self.warm_turns))["status"] == "SUCCEEDED"
        return self.warm_turns

    def processes(self) -> list[int]:
        """What all containers said of their processes."""
        logs = [self.cloud.fargate.logs(task["taskArn"]) for task in self.cloud.fargate.tasks]
        return [int(line.split()[1]) for lines in logs for line in lines if line.startswith(("pid ", "child "))]

    def chat(self) -> str:
        self.chats += 1
        for capacity in CAPACITY:
            self.cloud.fargate.refuse(capacity, 0)
        return str(1000 + self.chats)

    def table(self, name: str) -> Table:
        return Table(self.cloud.client("dynamodb"), self.cloud.resources[name])

    @property
    def turns(self) -> DynamoTurns:
        return DynamoTurns(self.table("ConversationsTable"), self.cloud.clock, 7)

    def agent(self, chat: str) -> Agent:
        return DynamoAgents(self.table("RuntimeTable"), self.cloud.clock).read(chat)

    def open_turn(self, chat: str, text: str, number: int = 1) -> dict[str, Any]:
        """An open turn; gives the input of the state."""
        now = int(self.cloud.clock.now())
        turn = Turn(number, TurnStatus.OPEN, 1, text, 1, 1, 0, now, now + 1500)
        table = self.table("ConversationsTable")
        assert table.transact(table.put(chat, schema.turn_key(number), asdict(turn))) is None
        return {"chat_id": chat, "epoch": 1, "turn": number}

    def ask(self, chat: str, text: str, number: int = 1) -> str:
        """Start the execution of a turn for the agent; gives its ARN."""
        given = self.open_turn(chat, text, number)
        started = self.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.cloud.resources["TurnStateMachine"], input=json.dumps(given)
        )
        return str(started["executionArn"])

    def ended(self, execution: str) -> dict[str, Any]:
        states = self.cloud.client("stepfunctions")
        eventually(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
        described: dict[str, Any] = states.describe_execution(executionArn=execution)
        return described

    def tasks(self, chat: str) -> list[dict[str, Any]]:
        return [task for task in self.cloud.fargate.tasks if _given(task).get("CHAT_ID") == chat]

    def task(self, chat: str) -> dict[str, Any]:
        eventually(lambda: self.tasks(chat))
        return self.tasks(chat)[-1]

    def stopped(self, chat: str) -> dict[str, Any]:
        eventually(lambda: self.task(chat)["lastStatus"] == "STOPPED")
        self.cloud.wait_until_quiet(20)
        return self.task(chat)

    def said(self, chat: str, word: str) -> str:
        """What the chat's container wrote after a word, once it did."""

        def found() -> list[str]:
            lines = self.cloud.fargate.logs(self.task(chat)["taskArn"])
            return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]

        eventually(found)
        return found()[-1]


def _given(task: dict[str, Any]) -> dict[str, str]:
    overrides = task["overrides"].get("containerOverrides", [])
    return {one["name"]: one["value"] for override in overrides for one in override.get("environment", [])}


@contextmanager
def _site() -> Iterator[Site]:
    cloud = LocalCloud(
        mode="source",
        time_scale=0.02,
        parameters={"BotUsername": "a_bot", "AgentImage": STAND_IN},
        secrets={"telegram-bot-token": "1:bot", "copilot-api-key": "a-key"},
        images={STAND_IN: stand_in_image()},
        max_environments=2,
    )
    with cloud:
        role = _role(cloud, "machine", "states.amazonaws.com", "lambda:InvokeFunction")
        definition = json.loads(json.dumps(DEFINITION))
        definition["States"]["AskAgent"]["Parameters"]["FunctionName"] = cloud.resources["StartAgent.Arn"]
        cloud.client("stepfunctions").update_state_machine(
            stateMachineArn=cloud.resources["TurnStateMachine"], definition=json.dumps(definition), roleArn=role
        )
        yield Site(cloud)


def _role(cloud: LocalCloud, name: str, service: str, action: str) -> str:
    iam = cloud.client("iam")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(allowed))
    return arn


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with _site() as started:
        yield started
        left = started.processes()
    # Whether anything outlives the cloud can be seen only after its end.
    assert [pid for pid in left if _alive(pid)] == []


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# A turn through a container


def test_a_turn_is_answered_by_a_container_with_the_task_roles_credentials(site: Site) -> None:
    site.chat()
    refused = len(site.cloud.denied)

    number = site.warm("hello")

    turn = site.turns.read(WARM, number)
    assert turn is not None
    assert (turn.status, turn.reply) == (TurnStatus.ANSWERED, "done: hello")
    task = site.task(WARM)
    assert (task["lastStatus"], task["capacityProviderName"]) == ("RUNNING", "FARGATE_SPOT")
    assert site.agent(WARM).task_arn == task["taskArn"]
    assert len(site.cloud.denied) == refused


def test_a_second_turn_goes_to_the_container_that_runs(site: Site) -> None:
    site.warm("one")
    site.warm("child")  # still there at the end of the cloud

    assert len(site.tasks(WARM)) == 1


def test_the_task_role_can_do_what_the_container_does_and_nothing_else(site: Site) -> None:
    site.warm("permissions")

    lines = site.cloud.fargate.logs(site.task(WARM)["taskArn"])
    assert [line for line in lines if line.startswith(("allowed", "failed"))] == []
    assert len([line for line in lines if line.startswith("denied")]) == 8
    assert {"key a-key", "object kept"} <= set(lines)


def test_a_hundred_calls_at_once_start_one_task(site: Site) -> None:
    chat = site.chat()
    event = json.dumps(site.open_turn(chat, "wait") | {"token": "nobody's"})
    function = site.cloud.resources["StartAgent"]
    answers: list[str] = []

    def invoke() -> None:
        answer = site.cloud.client("lambda").invoke(FunctionName=function, Payload=event)
        answers.append(answer["Payload"].read().decode())

    threads = [threading.Thread(target=invoke) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(site.tasks(chat)) == 1
    assert set(answers) <= {'"started"', '"running"'}
    assert len(answers) == 100
    assert site.agent(chat).pending == 1


# Capacity


def test_without_any_capacity_the_agent_is_unavailable(site: Site) -> None:
    chat = site.chat()
    for capacity in CAPACITY:
        site.cloud.fargate.refuse(capacity)

    described = site.ended(site.ask(chat, "hello"))

    assert (described["status"], described["error"]) == ("FAILED", "AgentUnavailable")
    assert site.tasks(chat) == []
    agent = site.agent(chat)
    assert (agent.status, agent.pending) == ("STOPPED", 0)


# How a container ends


def test_a_killed_process_gives_its_turn_back_and_leaves_nothing_behind(site: Site) -> None:
    chat = site.chat()
    execution = site.ask(chat, "wait with a child")
    site.said(chat, "taken")
    child = int(site.said(chat, "child"))
    assert _alive(child)

    os.kill(int(site.said(chat, "pid")), signal.SIGKILL)

    described = site.ended(execution)
    assert (described["status"], described["error"]) == ("FAILED", "AgentInterrupted")
    task = site.stopped(chat)
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("EssentialContainerExited", 137)
    agent = site.agent(chat)
    assert (agent.status, agent.pending, agent.crashes) == ("STOPPED", 0, 1)
    assert not _alive(child)


def test_a_stopped_task_hands_its_turn_back_by_itself(site: Site) -> None:
    chat = site.chat()
    execution = site.ask(chat, "wait")
    site.said(chat, "taken")
    task = site.task(chat)

    ecs = site.cloud.client("ecs")
    answer = ecs.stop_task(cluster=task["clusterArn"], task=task["taskArn"], reason="by a test")["task"]

    assert (answer["desiredStatus"], answer["stopCode"]) == ("STOPPED", "UserInitiated")
    assert site.ended(execution)["error"] == "AgentInterrupted"
    ended = site.stopped(chat)
    assert (ended["stoppedReason"], ended["containers"][0]["exitCode"]) == ("by a test", 0)
    assert site.agent(chat).crashes is None
    described = ecs.describe_tasks(cluster=task["clusterArn"], tasks=[task["taskArn"], "none"])
    assert [one["lastStatus"] for one in described["tasks"]] == ["STOPPED"]
    assert [one["reason"] for one in described["failures"]] == ["MISSING"]


def test_spot_takes_its_capacity_back(site: Site) -> None:
    chat = site.chat()
    execution = site.ask(chat, "wait")
    site.said(chat, "taken")

    site.cloud.fargate.interrupt(site.task(chat)["taskArn"])

    assert site.ended(execution)["error"] == "AgentInterrupted"
    assert site.stopped(chat)["stopCode"] == "SpotInterruption"
    assert site.agent(chat).crashes is None


def test_without_spot_a_task_runs_on_demand_and_what_does_not_end_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.cloud.fargate, "stop_limit_s", 0.2)
    chat = site.chat()
    site.cloud.fargate.refuse("FARGATE_SPOT", 1)
    execution = site.ask(chat, "stay")
    site.said(chat, "taken")

    task = site.task(chat)
    assert task["capacityProviderName"] == "FARGATE"
    site.cloud.client("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"])

    assert site.stopped(chat)["containers"][0]["exitCode"] == 137
    assert site.ended(execution)["error"] == "AgentInterrupted"  # AgentStopped's work: the container did nothing


# The API


@pytest.fixture(scope="module")
def request_of_a_task(site: Site) -> dict[str, Any]:
    """A RunTask of an image that nobody has."""
    resources = site.cloud.resources
    ecs = site.cloud.client("ecs")
    family = ecs.describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    given = {
        name: family[name] for name in ("requiresCompatibilities", "networkMode", "cpu", "memory", "taskRoleArn")
    } | {"containerDefinitions": [{"name": CONTAINER, "image": "nobody-has:1"}]}
    ecs.register_task_definition(family="unknown", **given)
    place = {"subnets": [resources["AgentSubnetA"]], "securityGroups": [resources["AgentSecurityGroup"]]}
    return {
        "cluster": resources["AgentCluster"],
        "taskDefinition": "unknown",
        "networkConfiguration": {"awsvpcConfiguration": place},
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}],
    }


def test_an_image_that_cannot_be_pulled_is_a_task_that_did_not_start(
    site: Site, request_of_a_task: dict[str, Any]
) -> None:
    chat = site.chat()
    generation = [{"name": "CHAT_ID", "value": chat}, {"name": "GENERATION", "value": "1"}]
    overrides = {"containerOverrides": [{"name": CONTAINER, "environment": generation}]}
    agents = DynamoAgents(site.table("RuntimeTable"), site.cloud.clock)
    agents.begin(chat, starter="test")

    site.cloud.client("ecs").run_task(**request_of_a_task, overrides=overrides)

    task = site.stopped(chat)
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError")
    assert "exitCode" not in task["containers"][0]
    assert (site.agent(chat).status, site.agent(chat).crashes) == ("STOPPED", 1)


def test_a_client_token_starts_one_task_and_only_with_the_same_parameters(
    site: Site, request_of_a_task: dict[str, Any]
) -> None:
    ecs = site.cloud.client("ecs")
    once = ecs.run_task(**request_of_a_task, clientToken="a")["tasks"][0]["taskArn"]

    assert ecs.run_task(**request_of_a_task, clientToken="a")["tasks"][0]["taskArn"] == once
    assert ecs.run_task(**request_of_a_task, clientToken="b")["tasks"][0]["taskArn"] != once
    with pytest.raises(ClientError) as refused:
        ecs.run_task(**request_of_a_task, clientToken="a", startedBy="another")
    assert refused.value.response["Error"]["Code"] == "ConflictException"
    assert refused.value.response["resourceIds"] == [once]  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"taskDefinition": "nothing"}, "ClientException"),
        ({"cluster": "nowhere"}, "ClusterNotFoundException"),
        ({"networkConfiguration": {}}, "InvalidParameterException"),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-x"], "securityGroups": ["sg-x"]}}},
            "InvalidParameterException",
        ),
    ],
)
def test_what_ecs_would_refuse_is_refused(
    site: Site, request_of_a_task: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError, match=code):
        site.cloud.client("ecs").run_task(**(request_of_a_task | change))


def test_tasks_are_listed_by_what_they_shall_be(site: Site, request_of_a_task: dict[str, Any]) -> None:
    ecs, cluster = site.cloud.client("ecs"), site.cloud.resources["AgentCluster"]
    arn = ecs.run_task(**request_of_a_task)["tasks"][0]["taskArn"]
    site.cloud.wait_until_quiet(20)

    assert arn in ecs.list_tasks(cluster=cluster, desiredStatus="STOPPED")["taskArns"]
    assert arn not in ecs.list_tasks(cluster=cluster)["taskArns"]


def _ecs_as(site: Site, role_arn: str) -> Any:
    given = site.cloud.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
    return boto3.client(
        "ecs",
        region_name="eu-west-1",
        endpoint_url=site.cloud.endpoint,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def test_start_agent_runs_one_family_in_one_cluster(site: Site, request_of_a_task: dict[str, Any]) -> None:
    ecs = _ecs_as(site, site.cloud.resources["StartAgentRole.Arn"])

    with pytest.raises(ClientError, match="not authorized to perform: ecs:RunTask"):
        ecs.run_task(**request_of_a_task)  # another family
    site.cloud.client("ecs").create_cluster(clusterName="other")
    with pytest.raises(ClientError, match="not authorized to perform: ecs:RunTask"):
        ecs.run_task(**(request_of_a_task | {"taskDefinition": FAMILY, "cluster": "other"}))
    with pytest.raises(ClientError, match="not authorized to perform: ecs:StopTask"):
        ecs.stop_task(cluster=request_of_a_task["cluster"], task="any")


def test_who_may_run_tasks_may_not_thereby_hand_out_their_roles(site: Site, request_of_a_task: dict[str, Any]) -> None:
    ecs = _ecs_as(site, _role(site.cloud, "runner", "ecs-tasks.amazonaws.com", "ecs:RunTask"))

    with pytest.raises(ClientError, match="not authorized to perform: iam:PassRole"):
        ecs.run_task(**request_of_a_task)


# The container


def test_a_container_ends_as_its_command_does() -> None:
    codes = []
    for code in ("raise SystemExit(7)", "import os; os.kill(os.getpid(), 9)"):
        with subprocess.Popen(_contained(code), stdin=subprocess.PIPE) as process:
            codes.append(process.wait(20))

    assert codes == [7, 137]


def test_a_container_dies_with_who_started_it() -> None:
    spawn = "subprocess.Popen(['sleep', '600'], start_new_session=True).pid"
    code = f"import subprocess, time; print({spawn}, flush=True); time.sleep(600)"
    with subprocess.Popen(_contained(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert _alive(child)

        process.stdin.close()

        assert process.wait(20) == 137
    assert not _alive(child)


def _contained(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(ROOT / "local" / "container.py"), sys.executable, "-c", code]


# The template's resources


def test_the_agents_place_is_what_the_template_says(site: Site) -> None:
    resources, ec2 = site.cloud.resources, site.cloud.client("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=[resources["AgentSecurityGroup"]])["SecurityGroups"]
    (cluster,) = site.cloud.client("ecs").describe_clusters(clusters=[resources["AgentCluster"]])["clusters"]
    endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]

    assert group["IpPermissions"] == []
    assert {rule["FromPort"] for rule in group["IpPermissionsEgress"]} == {80, 443}
    assert cluster["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert {endpoint["ServiceName"].rpartition(".")[2] for endpoint in endpoints} == {"s3", "dynamodb"}


def test_the_bucket_is_what_the_template_says(site: Site) -> None:
    s3, name = site.cloud.client("s3"), site.cloud.resources["WorkspacesBucket"]

    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()) == {True}
    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert {rule["ID"] for rule in rules} == {"noncurrent-versions", "incomplete-uploads"}
    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::EC2::VPC", {"CidrBlock": "10.0.0.0/16", "InstanceTenancy": "default"}),
        ("AWS::EC2::SecurityGroup", {"GroupDescription": "x", "VpcId": "vpc", "SecurityGroupIngress": []}),
    ],
)
def test_a_property_that_is_not_known_is_refused(site: Site, kind: str, properties: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not know the properties"):
        network.create(site.cloud.client("ec2"), kind, "x", properties)


# The schedules; the last of all, since they look at every task there is


def test_a_container_that_lost_its_lease_and_runs_on_is_given_up_and_then_stopped(site: Site) -> None:
    """The stand-in renews no lease: the sweep gives back what it holds, ShutDownIdle has its task stopped."""
    chat = site.chat()
    execution = site.ask(chat, "wait")
    site.said(chat, "taken")
    refused = len(site.cloud.denied)

    site.cloud.clock.advance(START_SECONDS + SWEEP_SECONDS)  # both schedules fire

    assert site.ended(execution)["status"] == "FAILED"
    eventually(lambda: (site.agent(chat).status, site.agent(chat).pending) == ("STOPPED", 0))  # whoever was first
    site.cloud.clock.advance(OBEY_SECONDS + SWEEP_SECONDS)
    task = site.stopped(chat)
    assert task["stopCode"] == "UserInitiated"
    assert task["stoppedReason"] in {"its lease ended", "replaced"}
    assert len(site.cloud.denied) == refused

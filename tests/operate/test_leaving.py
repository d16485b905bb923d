"""What is asked of AWS while something is taken down or carried out: agents, kept data, CloudFormation's answers."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from local.fargate import Image
from operate.errors import OperateError, RefusedError, StateError, UnreachableError
from operate.estimating import month, storage
from operate.kept import Kept, check_table
from operate.leaving import Leaving
from operate.operations import ChangeSet, Operations, Wanted
from operate.parameters import Parameters
from operate.registry import Registry
from operate.stack import Resource
from operate.templates import Packaged, Retained
from tests.local.system import a_system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.local.system import System
    from tests.operate.terminal import Terminal

SAVES = (
    "import signal, sys, time\n"
    "def end(*_): print('saved', flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end); print('at work', flush=True)\n"
    "while True: time.sleep(60)"
)


def test_destroy_lets_an_agent_save_its_work(system: System, terminal: Terminal) -> None:
    """And then the cluster, which can't be deleted before, is deleted."""
    ecs, resources = system.cloud.client("ecs"), system.cloud.resources
    network = {"subnets": [resources["AgentSubnetA"]], "securityGroups": [resources["AgentSecurityGroup"]]}
    (task,) = ecs.run_task(
        cluster=resources["AgentCluster"],
        taskDefinition=resources["AgentTaskDefinition"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )["tasks"]
    system.until(lambda: "at work" in system.cloud.fargate.logs(task["taskArn"]))

    ran = terminal.run("destroy", "--confirm", "serverless-openclaw")

    assert ran.code == 0, ran.err
    assert "let agents save their work" in ran.out
    assert system.cloud.fargate.logs(task["taskArn"]) == ["at work", "saved"]
    assert not system.cloud.stack.exists


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    image = Image((sys.executable, "-c", SAVES))
    given = {"AgentImage": "saving:1"}
    with a_system(given, mode="source", max_environments=1, images={"saving:1": image}) as running:
        yield running


@dataclass
class Service:
    """A client whose operations answer what a test puts in, in order; the last answer stays."""

    answers: dict[str, list[Any]]
    asked: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def answer(**given: Any) -> Any:
            self.asked[operation].append(given)
            queue = (
                self.answers[operation] if operation in self.answers or isinstance(self.answers, defaultdict) else [{}]
            )
            found = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    def get_paginator(self, operation: str) -> Any:
        service = self

        class Pages:
            def paginate(self, **given: Any) -> Iterator[Any]:
                yield from getattr(service, operation)(**given)

        return Pages()

    def __call__(self, *_service: str) -> Service:
        return self


def _refusal(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Any")


def _tasks(names: list[str], status: str) -> dict[str, Any]:
    return {"tasks": [{"taskArn": name, "lastStatus": status} for name in names]}


def test_all_agents_are_stopped_however_many_there_are() -> None:
    names = [f"task-{number}" for number in range(150)]
    pages = [{"taskArns": names[:100]}, {"taskArns": names[100:]}]
    running, stopped = (_tasks(names[:100], status) for status in ("DEACTIVATING", "STOPPED"))
    ecs = Service({"list_tasks": [pages], "describe_tasks": [running, {"tasks": []}, stopped]})

    assert Leaving(ecs, 0).stop_agents("cluster") == 150
    assert len(ecs.asked["stop_task"]) == 150
    assert [len(each["tasks"]) for each in ecs.asked["describe_tasks"]] == [100, 50, 100]


def test_an_agent_that_does_not_stop_is_told_of() -> None:
    ecs = Service({"list_tasks": [[{"taskArns": ["one"]}]], "describe_tasks": [_tasks(["one"], "STOPPING")]})

    with pytest.raises(OperateError, match="1 of 1 agents have not stopped"):
        Leaving(ecs, 0).stop_agents("cluster", seconds=0)


def test_a_cluster_that_is_gone_has_no_agents() -> None:
    assert Leaving(Service({"list_tasks": [_refusal("ClusterNotFoundException")]}), 0).agents("cluster") == []
    with pytest.raises(ClientError):
        Leaving(Service({"list_tasks": [_refusal("AccessDenied")]}), 0).agents("cluster")


BUCKET = Resource("Bucket", "a-bucket", "AWS::S3::Bucket", "")
TABLE = Resource("Table", "a-table", "AWS::DynamoDB::Table", "")


def test_data_that_is_gone_is_gone() -> None:
    Leaving(Service({"delete_table": [_refusal("ResourceNotFoundException")]}), 0).delete(TABLE)
    Leaving(Service({"list_object_versions": [_refusal("NoSuchBucket")]}), 0).delete(BUCKET)
    with pytest.raises(ClientError):
        Leaving(Service({"delete_table": [_refusal("AccessDeniedException")]}), 0).delete(TABLE)


def test_an_object_that_s3_does_not_delete_is_told_of() -> None:
    page = {"Versions": [{"Key": "k", "VersionId": "1"}], "DeleteMarkers": [{"Key": "k", "VersionId": "2"}]}
    s3 = Service({"list_object_versions": [[page, {}]], "delete_objects": [{"Errors": [{"Code": "AccessDenied"}]}]})

    with pytest.raises(RefusedError, match="does not delete 1 objects"):
        Leaving(s3, 0).delete(BUCKET)
    assert len(s3.asked["delete_objects"][0]["Delete"]["Objects"]) == 2
    assert "delete_bucket" not in s3.asked


KEYED = {"KeySchema": [{"KeyType": "HASH", "AttributeName": "pk"}, {"KeyType": "RANGE", "AttributeName": "sk"}]}
DUE = {"GlobalSecondaryIndexes": [{"IndexName": "due", **KEYED}]}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"TableStatus": "DELETING"}, "is being deleted"),
        ({"TableStatus": "CREATING"}, "is CREATING"),
        ({"KeySchema": KEYED["KeySchema"][:1]}, "its key is not"),
        ({"GlobalSecondaryIndexes": []}, "indexes are not those"),
    ],
)
def test_a_table_that_can_not_be_taken_over(found: dict[str, Any], said: str) -> None:
    table = {"TableName": "t", "TableStatus": "ACTIVE", **KEYED, **DUE}

    check_table(table, {**KEYED, **DUE})
    with pytest.raises(StateError, match=said):
        check_table({**table, **found}, {**KEYED, **DUE})


def test_a_bucket_may_be_there_or_not_or_somebody_elses() -> None:
    wanted = [Retained("Bucket", "AWS::S3::Bucket", "b", {})]

    assert Kept(Service({})).of(wanted) == wanted
    assert Kept(Service({"head_bucket": [_refusal("404")]})).of(wanted) == []
    with pytest.raises(RefusedError, match="may not look at it"):
        Kept(Service({"head_bucket": [_refusal("403")]})).of(wanted)
    with pytest.raises(ClientError):
        Kept(Service({"head_bucket": [_refusal("SlowDown")]})).of(wanted)
    with pytest.raises(ClientError):
        Kept(Service({"describe_table": [_refusal("SlowDown")]})).of([Retained("T", "AWS::DynamoDB::Table", "t", {})])


def test_what_is_gone_takes_no_room() -> None:
    assert Kept(Service({"describe_table": [{"Table": {"TableSizeBytes": 7}}]})).bytes_of(TABLE.type, "t") == 7
    assert Kept(Service({"list_object_versions": [_refusal("NoSuchBucket")]})).bytes_of(BUCKET.type, "b") == 0
    with pytest.raises(ClientError):
        Kept(Service({"describe_table": [_refusal("SlowDown")]})).bytes_of(TABLE.type, "t")


def _stack(status: str) -> dict[str, Any]:
    return {"Stacks": [{"StackStatus": status, "StackId": "arn:stack"}]}


def _event(number: int, status: str, reason: str = "", kind: str = "AWS::Lambda::Function") -> dict[str, Any]:
    return {
        "EventId": str(number),
        "LogicalResourceId": f"R{number}",
        "ResourceType": kind,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


class Follows(Service):
    """CloudFormation; its events carry the token that it was given."""

    def describe_stack_events(self, **_given: Any) -> list[Any]:
        token = next(each["ClientRequestToken"] for name, each in self._last() if name)
        events = [{**each, "ClientRequestToken": token} for each in self.answers["events"]]
        return [{"StackEvents": [*events, _event(0, "CREATE_FAILED", "of long ago")]}]

    def _last(self) -> list[tuple[str, dict[str, Any]]]:
        return [(name, asked[-1]) for name, asked in self.asked.items() if "ClientRequestToken" in asked[-1]]


MADE = ChangeSet("arn:change", "arn:stack", (), unwanted_stack=False)


def test_why_an_operation_failed_is_told_and_what_only_follows_is_not() -> None:
    events = [
        _event(4, "CREATE_FAILED", "Resource creation cancelled"),
        _event(3, "CREATE_FAILED", "Resource limit exceeded"),
        _event(2, "CREATE_FAILED", "The following resource(s) failed", "AWS::CloudFormation::Stack"),
        _event(1, "CREATE_COMPLETE"),
    ]
    states = [_stack("CREATE_IN_PROGRESS"), EndpointConnectionError(endpoint_url="x"), _stack("ROLLBACK_COMPLETE")]
    cloudformation, told = Follows({"describe_stacks": states, "events": events}), list[str]()

    with pytest.raises(OperateError) as failed:
        Operations(cloudformation, "s", 0).execute(MADE, lambda event: told.append(event.id))

    assert str(failed.value).splitlines()[1:] == ["  R3 (AWS::Lambda::Function): Resource limit exceeded"]
    assert "begins again" in failed.value.advice
    assert told == ["1", "2", "3", "4"]  # once each, and nothing of another operation


def test_aws_may_be_silent_for_a_while_but_not_for_ever() -> None:
    silent = Follows({"describe_stacks": [EndpointConnectionError(endpoint_url="x")], "events": []})

    with pytest.raises(UnreachableError, match="goes on by itself"):
        Operations(silent, "s", 0).execute(MADE, lambda _event: None)
    assert len(silent.asked["describe_stacks"]) == 6


def test_a_stack_that_can_not_be_deleted_says_what_stands_in_the_way() -> None:
    events = [_event(1, "DELETE_FAILED", "The Cluster cannot be deleted while Tasks are active")]
    cloudformation = Follows(
        {"describe_stacks": [_stack("CREATE_COMPLETE"), _stack("DELETE_FAILED")], "events": events}
    )

    with pytest.raises(OperateError, match=r"while Tasks are active"):
        Operations(cloudformation, "s", 0).delete(lambda _event: None)


def test_a_change_set_that_fails_leaves_no_empty_stack() -> None:
    made = {"Id": "arn:change", "StackId": "arn:stack"}
    failed = {"Status": "FAILED", "StatusReason": "Template error"}
    states = {"create_change_set": [made], "describe_change_set": [{"Status": "CREATE_PENDING"}, failed]}
    cloudformation = Service({**states, "describe_stacks": [_stack("REVIEW_IN_PROGRESS")]})

    with pytest.raises(OperateError, match="Template error"):
        Operations(cloudformation, "s", 0).change_set(Wanted("https://t", {"A": "1"}, creates=True))
    assert cloudformation.asked["delete_stack"] == [{"StackName": "arn:stack"}]
    assert cloudformation.asked["delete_change_set"]


def test_a_name_is_spelt_out_only_where_it_can_be() -> None:
    table = {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Retain"}
    whole = {**table, "Properties": {"TableName": {"Fn::Sub": "${AWS::StackName}-${AWS::Region}"}}}
    other = {**table, "Properties": {"TableName": {"Fn::Sub": "${Parameter}-t"}}}

    named = Packaged({"Resources": {"A": whole, "B": other}}).named("s", "1", "eu-west-1")

    assert [(each.logical_id, each.name) for each in named.retained] == [("A", "s-eu-west-1")]
    with pytest.raises(OperateError, match="uploaded nothing"):
        assert named.bucket


def test_a_month_goes_by_parameters_and_resources() -> None:
    image = {"AgentImage": "i:1"}
    without, with_one = month({}, []), month(image, [])

    assert without.expected < with_one.expected < with_one.at_most
    assert month({**image, "AgentMode": "off"}, []).at_most < with_one.at_most
    assert month({**image, "AgentHoursPerMonth": "0"}, []).at_most < with_one.at_most
    assert month({"ClaudeDollarsPerMonth": "0"}, []).at_most == pytest.approx(without.expected)
    assert month({}, ["AWS::CloudWatch::Alarm"] * 12).expected - without.expected == pytest.approx(
        200_000
    )  # 10 are free
    assert sum(each.net for each in storage(1024**3, 1024**3)) == pytest.approx(223_000)  # 25 GB of tables are free


def _denied(operation: Callable[[], object]) -> None:
    with pytest.raises(ClientError):
        operation()


def test_what_aws_refuses_of_keys_and_images_is_passed_on() -> None:
    denied = Service(defaultdict(lambda: [_refusal("AccessDeniedException")]))
    absent = Service(defaultdict(lambda: [_refusal("ParameterNotFound")]))
    registry, parameters = Registry(denied, "r"), Parameters(denied)

    for operation in (registry.address, registry.delete, registry.password, lambda: registry.digest("t")):
        _denied(operation)
    _denied(lambda: parameters.read("k"))
    _denied(lambda: parameters.delete("k"))
    assert Parameters(absent).read("k") is None
    Parameters(absent).delete("k")
    gone = Registry(Service(defaultdict(lambda: [_refusal("RepositoryNotFoundException")])), "r")
    assert (gone.delete(), gone.address(), gone.digest("t")) == (False, None, None)

"""EventBridge Scheduler on the local cloud: what is refused, when a schedule fires, and under which role."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud
from tests.local.small_stack import DEADLINE_S, item_kinds, small_cloud

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
START = datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp()
"""The day before the clocks go forward in Berlin."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud(start=START) as started:
        yield started


def role(cloud: LocalCloud, name: str, *actions: str) -> str:
    iam = cloud.client("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    if actions:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=document)
    return arn


def create(cloud: LocalCloud, name: str, expression: str, role_arn: str, **more: Any) -> None:
    target = {
        "Arn": cloud.resources["Work.Arn"],
        "RoleArn": role_arn,
        "Input": json.dumps({"item": f"{name} <aws.scheduler.scheduled-time>", "do": "effects"}),
        **more.pop("target", {}),
    }
    cloud.client("scheduler").create_schedule(
        Name=name, ScheduleExpression=expression, FlexibleTimeWindow={"Mode": "OFF"}, Target=target, **more
    )


def pass_hours(cloud: LocalCloud, hours: int) -> None:
    for _ in range(hours):
        cloud.clock.advance(3600)
        cloud.wait_until_quiet(DEADLINE_S)


def names(cloud: LocalCloud) -> set[str]:
    return {schedule["Name"] for schedule in cloud.client("scheduler").list_schedules()["Schedules"]}


def test_schedules_fire_by_the_virtual_clock_of_their_zone_and_are_deleted_when_they_are_over(
    cloud: LocalCloud,
) -> None:
    may = role(cloud, "may-invoke", "lambda:InvokeFunction")
    create(cloud, "once", "at(2027-03-27T14:00:00)", may, ActionAfterCompletion="DELETE")
    create(cloud, "daily", "cron(30 2 * * ? *)", may, ScheduleExpressionTimezone="Europe/Berlin")
    create(cloud, "gone", "cron(30 14 * * ? *)", may)
    cloud.client("scheduler").delete_schedule(Name="gone")

    pass_hours(cloud, 38)  # over the night in which there is no 02:30 in Berlin, into the next

    assert item_kinds(cloud, "once 2027-03-27T14:00:00Z") >= {"first"}
    assert item_kinds(cloud, "daily 2027-03-29T00:30:00Z") >= {"first"}
    invoked = [one.function for one in cloud.invocations]
    assert invoked.count("Work") == 2
    assert names(cloud) == {"daily"}


def test_what_a_role_may_not_do_goes_to_the_dead_letter_queue(cloud: LocalCloud) -> None:
    may_not = role(cloud, "may-not-invoke", "sqs:SendMessage")
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="dead")["QueueUrl"]
    dead = f"arn:aws:sqs:eu-west-1:{cloud.resources['Work.Arn'].split(':')[4]}:dead"
    create(cloud, "denied", "rate(1 hour)", may_not, target={"DeadLetterConfig": {"Arn": dead}})
    create(cloud, "lost", "rate(1 hour)", role(cloud, "may-nothing"))

    pass_hours(cloud, 1)

    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(message["Body"])["do"] == "effects"
    assert "not authorized" in message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]
    assert {denied.action for denied in cloud.denied} == {"lambda:InvokeFunction"}


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("at(2027-13-27T14:00:00)", "UTC"),
        ("at(tomorrow)", "UTC"),
        ("cron(0 7 * *)", "UTC"),
        ("cron(0 7 * * ? *)", "Europe/Gotham"),
        ("cron(0 7 * * ? *)", "../etc"),
    ],
)
def test_what_aws_refuses_is_refused(cloud: LocalCloud, expression: str, zone: str) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        create(cloud, "bad", expression, "arn", ScheduleExpressionTimezone=zone)


def test_a_role_that_scheduler_may_not_assume_is_refused(cloud: LocalCloud) -> None:
    for arn in (cloud.resources["WorkRole.Arn"], "arn:aws:iam::123456789012:role/none"):
        with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler to assume the role"):
            create(cloud, "bad", "rate(1 hour)", arn)

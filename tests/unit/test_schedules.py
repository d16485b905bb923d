"""EventBridge Scheduler as reminders use it: what exactly is asked of it, and what its errors mean."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from assistant.stores.schedules import EventBridgeSchedules, ScheduleGroup
from assistant.turns.model import Reminder

if TYPE_CHECKING:
    from collections.abc import Iterator

DAILY = Reminder(
    number=3,
    key="u77",
    text="nobody else's business",
    schedule="cron(0 7 * * ? *)",
    time_zone="Europe/Berlin",
    first=1_795_388_400,
    message_id=5,
    sender_id="42",
    group=True,
    created_at=1_795_348_800,
)
PARAMETERS: dict[str, Any] = {
    "Name": "chat-1001-u77",
    "GroupName": "reminders",
    "ScheduleExpression": "cron(0 7 * * ? *)",
    "ScheduleExpressionTimezone": "Europe/Berlin",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "ActionAfterCompletion": "DELETE",
    "Target": {
        "Arn": "arn:fire",
        "RoleArn": "arn:role",
        "Input": json.dumps({"chat_id": "-1001", "key": "u77", "moment": "<aws.scheduler.scheduled-time>"}),
        "RetryPolicy": {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185},
        "DeadLetterConfig": {"Arn": "arn:failures"},
    },
}


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EventBridgeSchedules, Stubber]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("scheduler", region_name="eu-west-1")
    with Stubber(client) as stubber:
        yield EventBridgeSchedules(client, "reminders", "arn:fire", "arn:role", "arn:failures"), stubber
        stubber.assert_no_pending_responses()


def test_a_schedule_knows_ids_and_no_text(stubbed: tuple[EventBridgeSchedules, Stubber]) -> None:
    schedules, stubber = stubbed
    stubber.add_response("create_schedule", {"ScheduleArn": "arn"}, PARAMETERS)

    assert schedules.create("-1001", DAILY)
    assert DAILY.text not in json.dumps(PARAMETERS)


def test_a_rate_has_a_start_without_which_it_would_fire_at_once(
    stubbed: tuple[EventBridgeSchedules, Stubber],
) -> None:
    schedules, stubber = stubbed
    expected = {
        **PARAMETERS,
        "ScheduleExpression": "rate(2 hours)",
        "ScheduleExpressionTimezone": "UTC",
        "StartDate": datetime.fromtimestamp(DAILY.first, UTC),
    }
    stubber.add_response("create_schedule", {"ScheduleArn": "arn"}, expected)

    assert schedules.create("-1001", replace(DAILY, schedule="rate(2 hours)", time_zone="UTC"))


@pytest.mark.parametrize(("code", "created"), [("ConflictException", True), ("ValidationException", False)])
def test_one_that_is_there_is_as_good_as_made_and_a_refused_one_is_told(
    stubbed: tuple[EventBridgeSchedules, Stubber], code: str, created: bool
) -> None:
    schedules, stubber = stubbed
    stubber.add_client_error("create_schedule", code)

    assert schedules.create("-1001", DAILY) is created


def test_deleting_twice_is_harmless(stubbed: tuple[EventBridgeSchedules, Stubber]) -> None:
    schedules, stubber = stubbed
    named = {"GroupName": "reminders", "Name": "chat-1001-u77"}
    stubber.add_response("delete_schedule", {}, named)
    stubber.add_client_error("delete_schedule", "ResourceNotFoundException", expected_params=named)

    group = ScheduleGroup(schedules.client, schedules.group)
    group.delete("-1001", "u77")
    group.delete("-1001", "u77")

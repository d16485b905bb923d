"""The schedules of EventBridge Scheduler that let reminders fire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_scheduler import EventBridgeSchedulerClient

    from assistant.turns.model import Reminder

RETRY_SECONDS = 86_400
"""What can't be delivered for so long waits in the failure queue for a person."""


@dataclass(frozen=True, slots=True)
class ScheduleGroup:
    """The stack's own group of schedules."""

    client: EventBridgeSchedulerClient
    group: str

    def delete(self, chat_id: str, key: str) -> None:
        """Delete the schedule of a reminder, if it is there."""
        try:
            self.client.delete_schedule(GroupName=self.group, Name=_name(chat_id, key))
        except self.client.exceptions.ResourceNotFoundException:
            return


@dataclass(frozen=True, slots=True)
class EventBridgeSchedules(ScheduleGroup):
    """Makes schedules, too; each invokes the one function, with ids and the moment alone.

    Attributes:
        function: its ARN.
        role: ARN of the one that Scheduler takes on; it may invoke that function and no other.
        failures: ARN of the queue for what could not be delivered.
    """

    function: str
    role: str
    failures: str

    def create(self, chat_id: str, reminder: Reminder) -> bool:
        """Create the schedule of a reminder, or find that it is there.

        Source: EventBridge Scheduler API reference, CreateSchedule; user guide, "Adding context attributes".
        """
        due = {"chat_id": chat_id, "key": reminder.key, "moment": "<aws.scheduler.scheduled-time>"}
        parameters: dict[str, Any] = {
            "Name": _name(chat_id, reminder.key),
            "GroupName": self.group,
            "ScheduleExpression": reminder.schedule,
            "ScheduleExpressionTimezone": reminder.time_zone,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self.function,
                "RoleArn": self.role,
                "Input": json.dumps(due),
                "RetryPolicy": {"MaximumEventAgeInSeconds": RETRY_SECONDS, "MaximumRetryAttempts": 185},
                "DeadLetterConfig": {"Arn": self.failures},
            },
        }
        if reminder.schedule.startswith("rate("):  # without, it would fire at once
            parameters["StartDate"] = datetime.fromtimestamp(reminder.first, UTC)
        try:
            self.client.create_schedule(**parameters)
        except self.client.exceptions.ConflictException:
            return True
        except self.client.exceptions.ValidationException:
            return False
        return True


def _name(chat_id: str, key: str) -> str:
    return f"chat{chat_id}-{key}"

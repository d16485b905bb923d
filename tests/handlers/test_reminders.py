"""A reminder from the command to its message, with the real wiring."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3

from tests.handlers.conftest import REMINDERS

if TYPE_CHECKING:
    import io

    from tests.handlers.conftest import Deployed

ME = 42


def test_a_reminder_becomes_a_turn(deployed: Deployed, log: io.StringIO) -> None:
    scheduler = boto3.client("scheduler")
    group = REMINDERS["REMINDER_GROUP"]
    scheduler.create_schedule_group(Name=group)
    deployed.allow(ME)

    deployed.post(deployed.outside.updates.text(ME, "/remind in 20 minutes secretly take out the cake"))
    (made,) = scheduler.list_schedules(GroupName=group)["Schedules"]
    target = scheduler.get_schedule(GroupName=group, Name=made["Name"])["Target"]
    assert target["Arn"] == REMINDERS["REMINDER_FUNCTION"]
    deployed.clock.advance(1200)
    event: dict[str, Any] = json.loads(
        target["Input"].replace("<aws.scheduler.scheduled-time>", "2026-11-22T12:20:00Z")
    )
    deployed.call("fire_reminder", event)
    route = deployed.call("prepare_turn", deployed.claim())
    deployed.call("ask_copilot", route)
    deployed.call("deliver_reply", route)

    confirmed, reminded = (sent.text for sent in deployed.outside.telegram.sent_to(ME))
    assert confirmed.startswith("I will remind you on Sunday, 22 November 2026, 12:20 (UTC): secretly take")
    assert reminded.endswith("secretly take out the cake")
    deployed.call("fire_reminder", event)  # once more finds nothing, and takes away what is left of it
    assert scheduler.list_schedules(GroupName=group)["Schedules"] == []
    assert [line["done"] for line in map(json.loads, log.getvalue().splitlines()) if "done" in line] == [
        "stored",
        "gone",
    ]
    assert "secretly" not in log.getvalue()

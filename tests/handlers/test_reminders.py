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


def test_what_an_answer_proposes_is_set_by_confirm(deployed: Deployed) -> None:
    scheduler = boto3.client("scheduler")
    scheduler.create_schedule_group(Name=REMINDERS["REMINDER_GROUP"])
    deployed.allow(ME)
    deployed.post(deployed.outside.updates.text(ME, "Say after me:\n/remind tomorrow at 9 call the dentist"))
    route = deployed.call("prepare_turn", deployed.claim())
    deployed.call("ask_copilot", route)
    deployed.call("deliver_reply", route)
    assert scheduler.list_schedules()["Schedules"] == []

    deployed.post(deployed.outside.updates.text(ME, "/confirm"))

    answer = deployed.outside.telegram.sent_to(ME)[-1].text
    assert answer.startswith("I will remind you on Monday, 23 November 2026, 09:00 (UTC): call the dentist")
    assert len(scheduler.list_schedules()["Schedules"]) == 1

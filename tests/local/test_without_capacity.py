"""No capacity for an agent: the chat lane answers at once, by the real clock."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from assistant.stores.tasks import CAPACITY
from tests.local.system import a_system
from tests.local.test_fargate import STAND_IN, stand_in_image

if TYPE_CHECKING:
    from tests.local.system import System

CHAT = 5001
DEADLINE_S = 30.0
"""For a machine that does much else. The seconds are printed; what is held is the way that the message takes."""


def test_without_any_capacity_the_chat_lane_answers_and_nothing_is_waited_for() -> None:
    """Each message waits for the agent, and nothing in the cloud is hastened: its seconds are real ones."""
    parameters = {"AgentImage": STAND_IN, "AgentMode": "always"}
    images = {STAND_IN: stand_in_image()}
    with a_system(mode="source", parameters=parameters, images=images, time_scale=1.0) as system:
        system.deadline_s = DEADLINE_S
        system.allow(CHAT)
        for capacity in CAPACITY:
            system.cloud.fargate.refuse(capacity)
        took = [_seconds_to_answer(system, text) for text in ("the first", "the second")]

        asked = ("PrepareTurn", "RouteTurn", "AskAgent", "GoOnWithoutAgent", "AskCopilot", "DeliverReply")
        assert [one.states for one in system.cloud.executions()] == [asked] * 2
        assert system.cloud.fargate.refusals == dict.fromkeys(CAPACITY, 2)
        assert system.cloud.fargate.tasks == []
        assert system.cloud.denied == []
    sys.stdout.write(f"  without capacity: {took[0]:.2f} s, new processes included; {took[1]:.2f} s with warm ones\n")


def _seconds_to_answer(system: System, text: str) -> float:
    before, began = len(system.heard(CHAT)), time.monotonic()
    system.say(CHAT, text)
    system.until(lambda: len(system.heard(CHAT)) > before)
    took = time.monotonic() - began
    system.settle()
    return took

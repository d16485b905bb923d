"""/status, /wake and /sleep: at once, and truthfully."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assistant.turns import texts
from assistant.turns.accepting import Say
from assistant.turns.agents import LEASE_SECONDS, PATIENCE, Backups, Generation
from assistant.turns.controlling import VERSION
from tests.doubles import CHAT, small_world
from tests.unit.test_agents import IDLE_SECONDS, Fleet
from tests.unit.test_tending import Tended

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet() -> Tended:
    return Tended(small_world(agent_mode="auto"))


def said(fleet: Fleet, command: str) -> str:
    response = fleet.world.say(command)
    assert isinstance(response, Say)
    return response.text


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "layers/core/pyproject.toml").read_text("utf-8"))["project"]

    assert project["version"] == VERSION


def test_without_an_agent_there_is_none() -> None:
    fleet = Tended(small_world())

    assert [said(fleet, command) for command in ("/wake", "/sleep")] == [texts.NO_AGENT] * 2
    assert said(fleet, "/status") == f"{texts.NO_AGENT}\n\nVersion {VERSION}"


def test_an_agent_is_woken_once_for_each_message(fleet: Tended) -> None:
    incoming = fleet.world.incoming("/wake")
    fleet.world.accept(incoming)
    fleet.world.accept(incoming)  # as Telegram repeats it

    assert fleet.world.waker.chats == [(CHAT, f"update-{incoming.update_id}")] * 2
    assert [fleet.start.for_somebody(*asked) for asked in fleet.world.waker.chats] == ["started", "running"]
    assert said(fleet, "/wake") == texts.WAKING
    fleet.container()
    assert said(fleet, "/wake") == texts.AWAKE


def test_an_agent_that_keeps_failing_is_not_woken(fleet: Tended) -> None:
    for _ in range(PATIENCE[0][0]):
        fleet.start.wake(CHAT, starter="somebody")
        fleet.die()

    assert said(fleet, "/wake").startswith("My agent has failed 3 times in a row")
    assert fleet.world.waker.chats == []
    assert fleet.start.for_somebody(CHAT, "somebody").startswith("unavailable")
    assert "failing, left alone until" in said(fleet, "/status")


def test_an_agent_goes_to_sleep_when_it_has_done_what_it_is_doing(fleet: Tended) -> None:
    assert said(fleet, "/sleep") == texts.ASLEEP
    box = fleet.runs()
    assert said(fleet, "/sleep") == texts.SLEEPS
    kept = box.renew(idle_after=IDLE_SECONDS)
    assert kept is not None
    assert kept.stop_asked_at is not None
    fleet.hand_over(fleet.turn())
    box.next()
    assert said(fleet, "/sleep") == texts.SLEEPS_AFTERWARDS


def test_an_agent_that_is_being_started_can_be_sent_to_sleep(fleet: Tended) -> None:
    fleet.start.wake(CHAT, starter="somebody")
    said(fleet, "/sleep")
    kept = fleet.container().renew(idle_after=IDLE_SECONDS)

    assert kept is not None
    assert kept.stop_asked_at is not None


def _never_started(fleet: Tended) -> None:
    pass


def _starting(fleet: Tended) -> None:
    fleet.start.wake(CHAT, starter="somebody")


def _booting(fleet: Tended) -> None:
    fleet.start.wake(CHAT, starter="somebody")
    fleet.agents.occupy(Generation(CHAT, 1), "task/1", idle_after=900)


def _awake(fleet: Tended) -> None:
    fleet.runs()


def _working(fleet: Tended) -> None:
    fleet.hand_over(fleet.turn())
    fleet.container().next()


def _stopping(fleet: Tended) -> None:
    fleet.agents.stop(fleet.runs().generation)


def _asleep(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.stop(box.generation)
    fleet.agents.release(box.generation)
    fleet.world.clock.advance(2 * 86400)


def _lost(fleet: Tended) -> None:
    fleet.runs()
    fleet.world.clock.advance(LEASE_SECONDS)


@pytest.mark.parametrize(
    ("happened", "agent", "lane"),
    [
        (_never_started, "asleep", "language models"),
        (_starting, "waking up since 12:00 UTC", "language models"),
        (_booting, "waking up since 12:00 UTC", "language models"),
        (_awake, "awake since 12:00 UTC", "the agent"),
        (_working, "awake since 12:00 UTC, working", "the agent"),
        (_stopping, "going to sleep since 12:00 UTC", "language models"),
        (_asleep, "asleep since 22 Nov, 12:00 UTC", "language models"),
        (_lost, "lost; the next message starts another", "language models"),
    ],
)
def test_the_status_says_how_the_agent_is_and_who_answers(
    fleet: Tended, happened: Callable[[Tended], None], agent: str, lane: str
) -> None:
    happened(fleet)

    assert said(fleet, "/status").split("\n")[:3] == [
        f"Agent: {agent}",
        f"Answers come from: {lane}",
        "Last backup: none yet",
    ]


def test_the_status_says_when_the_last_backup_was(fleet: Tended) -> None:
    moment = int(fleet.world.clock.now()) - 600
    item = {"pk": {"S": f"AGENT#{CHAT}"}, "sk": {"S": "SNAPSHOT#0000000007"}, "created_at": {"N": str(moment)}}
    fleet.world.runtime.client.put_item(TableName=fleet.world.runtime.name, Item=item)

    assert "Last backup: 11:50 UTC\n" in said(fleet, "/status")
    box = fleet.runs()
    fleet.keep(box, 600)
    box.renew(idle_after=900, backups=Backups(int(fleet.world.clock.now())))
    fleet.keep(box, 300)
    assert "Last backup: 11:50 UTC, nothing new at 12:10 UTC\n" in said(fleet, "/status")
    fleet.agents.stop(box.generation)
    fleet.agents.release(box.generation)
    assert "Last backup: 11:50 UTC\n" in said(fleet, "/status")

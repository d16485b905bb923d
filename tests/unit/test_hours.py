"""The hours that agents may run: each second counts once, and past the last one language models answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import AgentUnavailable
from assistant.turns import notices, texts
from assistant.turns.agents import AgentStatus, Generation
from assistant.turns.hours import LOST_SECONDS, Hours, Ran, by_month, hours, task_name
from assistant.turns.model import Notice, TurnClaim
from assistant.turns.tending import OBEY_SECONDS, Task
from tests.doubles import CHAT, NOON, a_world, small_world
from tests.unit.test_lanes import in_mode, routed, warm_up
from tests.unit.test_tending import Tended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doubles import World

HOUR = 3600
DECEMBER = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
FIRST = Generation(CHAT, 1)


@pytest.fixture
def fleet() -> Iterator[Tended]:
    with a_world(agent_mode="auto", agent_hours=1) as world:
        yield Tended(world)


@pytest.fixture
def world(fleet: Tended) -> World:
    return fleet.world


def spend(world: World, seconds: int = HOUR) -> None:
    """Let another chat's agent have run."""
    now = world.clock.now()
    other = Generation("another", 1)
    world.hours.begin(other)
    assert world.hours.end(task_name(other), Ran(now - seconds, now))


def standing(world: World) -> Hours:
    return hours(world.ledger.entries(), world.agent_hours, world.clock.now())


def run_to_its_end(fleet: Tended, seconds: float, number: int = 1) -> Ran:
    """A task that runs, and the times that ECS tells of it."""
    fleet.start.wake(CHAT, starter="somebody")
    began = fleet.world.clock.now() + 7  # until the download of its image begins
    fleet.world.clock.advance(7 + seconds)
    fleet.agents.close(Generation(CHAT, number), crashed=False, killer=None, kills=None)
    return Ran(began, began + seconds)


def end(fleet: Tended, ran: Ran, number: int = 1) -> str:
    return fleet.stopped(Generation(CHAT, number), crashed=False, reason="", ran=ran)


# What is counted


@given(began=st.floats(NOON, NOON + 90 * 86400), seconds=st.floats(0, 70 * 86400))
def test_each_second_lies_in_one_month(began: float, seconds: float) -> None:
    ran = Ran(began, began + seconds)

    counted = by_month(ran)

    assert 0 <= sum(counted.values()) - (ran.ended - ran.began) < 2
    assert all(0 < amount <= 31 * 86400 for amount in counted.values())
    assert all(one < other for one, other in pairwise(counted))


@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 3)), min_size=1, max_size=8), st.randoms())
def test_the_sum_is_that_of_all_tasks_however_often_and_in_which_order_their_ends_are_told(
    tasks: list[tuple[int, int]], order: object
) -> None:
    world = small_world()
    ends = []
    for number, (seconds, repeats) in enumerate(tasks):
        generation = Generation(CHAT, number)
        world.hours.begin(generation)
        ends += [(task_name(generation), Ran(NOON, NOON + seconds))] * (1 + repeats)
    order.shuffle(ends)  # type: ignore[attr-defined]

    told = [world.hours.end(task, ran) for task, ran in ends]

    assert told.count(True) == len(tasks)
    counts = world.hours.read()
    assert sum(counts.values()) == sum(seconds for seconds, _ in tasks)
    assert Hours(40, counts, NOON).running == {}


def test_a_task_counts_from_its_start_and_is_corrected_by_what_ecs_says(fleet: Tended, world: World) -> None:
    ran = run_to_its_end(fleet, 600)

    assert standing(world).used == 607
    assert end(fleet, ran) == "stopped"
    assert standing(world).used == 600


def test_an_end_that_is_told_after_the_next_start_counts_for_its_own_task(fleet: Tended, world: World) -> None:
    first = run_to_its_end(fleet, 60)
    fleet.start.wake(CHAT, starter="somebody else")

    assert [end(fleet, first), end(fleet, first)] == ["replaced", "replaced"]

    assert list(standing(world).running) == [task_name(Generation(CHAT, 2))]
    assert standing(world).used == 60


def test_a_task_that_runs_over_the_months_end_counts_in_both(fleet: Tended, world: World) -> None:
    world.clock.moment = DECEMBER - 600
    ran = run_to_its_end(fleet, 1000)
    assert standing(world).used == 407

    end(fleet, ran)

    assert world.hours.read() == {"seconds:2026-11": 593, "seconds:2026-12": 407}
    assert (standing(world).used, standing(world).month) == (407, "2026-12")


def test_what_did_not_start_is_not_counted(fleet: Tended, world: World) -> None:
    fleet.tasks.full = True

    with pytest.raises(AgentUnavailable):
        fleet.start.wake(CHAT, starter="somebody")

    world.clock.advance(300)
    assert standing(world).used == 0


def test_a_start_that_is_tried_again_counts_from_the_first_time(fleet: Tended, world: World) -> None:
    world.hours.begin(FIRST)
    world.clock.advance(60)
    world.hours.begin(FIRST)

    assert standing(world).used == 60


def test_the_end_that_no_event_told_is_asked_of_ecs(fleet: Tended, world: World) -> None:
    fleet.running.known = [(Generation("unknown", 9), Ran(NOON, NOON + 1)), (FIRST, run_to_its_end(fleet, 600))]

    fleet.shut_down()

    assert world.hours.read() == {"seconds:2026-11": 600}
    assert not world.hours.end(task_name(FIRST), Ran(NOON, NOON + 600))


def test_the_end_of_a_second_task_of_a_generation_leaves_the_count_of_the_first_alone(
    fleet: Tended, world: World
) -> None:
    box = fleet.runs()
    world.clock.advance(600)
    short, long = Ran(NOON, NOON + 5), Ran(NOON, NOON + 600)

    assert fleet.stopped(FIRST, crashed=True, reason="", task_arn="task/other", ran=short) == "another task"

    assert standing(world).used == 600
    fleet.agents.close(box.generation, crashed=False, killer=None, kills=None)
    fleet.running.listed.clear()
    fleet.running.known = [(FIRST, short), (FIRST, long)]
    fleet.shut_down()
    assert (standing(world).used, standing(world).running) == (600, {})


def test_a_task_that_ecs_does_not_know_long_after_its_start_has_never_run(fleet: Tended, world: World) -> None:
    world.hours.begin(FIRST)  # and StartAgent died
    world.clock.advance(LOST_SECONDS - 1)
    fleet.shut_down()
    assert standing(world).running

    world.clock.advance(1)
    fleet.shut_down()

    assert (standing(world).running, standing(world).used) == ({}, 0)


# Past the last of them


def test_no_agent_is_started_and_the_turn_is_not_left_with_it(fleet: Tended, world: World) -> None:
    claim = fleet.turn()
    spend(world)

    with pytest.raises(AgentUnavailable, match="the month's 1 hours are used up"):
        fleet.hand_over(claim)

    assert (fleet.agent.status, fleet.agent.generation, fleet.agent.pending) == (AgentStatus.STOPPED, 0, 0)
    assert fleet.tasks.started == {}


def test_a_running_agent_gets_no_more_and_is_asked_to_stop_after_its_run(fleet: Tended, world: World) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    fleet.running.listed.append(Task(box.generation, "task/1"))
    mail = box.next()
    spend(world)

    fleet.shut_down()

    assert fleet.running.stopped == []
    assert fleet.agent.stop_asked_at == NOON
    assert mail is not None
    assert world.turn().is_open(claim.chat.epoch)
    with pytest.raises(AgentUnavailable):
        fleet.start.wake(CHAT, starter="somebody")


def test_one_that_does_not_obey_is_stopped(fleet: Tended, world: World) -> None:
    box = fleet.runs()
    spend(world)
    fleet.shut_down()
    fleet.keep(box, OBEY_SECONDS)

    fleet.shut_down()

    assert fleet.running.stopped == [(1, "it did not stop by itself")]


def test_the_owner_is_told_once_a_month(fleet: Tended, world: World) -> None:
    spend(world)
    for _ in range(3):
        fleet.shut_down()
    world.clock.moment = DECEMBER
    fleet.shut_down()
    assert world.owner.told == [Notice("agent_hours", reason="1")]

    world.clock.advance(HOUR)
    spend(world)
    fleet.shut_down()

    assert len(world.owner.told) == 2


def test_what_the_owner_is_told_names_the_parameter() -> None:
    said = notices.text(notices.parse({"kind": "agent_hours", "provider": "", "reason": "40"}))

    assert said is not None
    assert "40 hours" in said
    assert "AgentHoursPerMonth" in said


def test_without_any_hours_nobody_is_told_and_nothing_starts(fleet: Tended, world: World) -> None:
    fleet.hours = replace(fleet.hours, limit=0)
    fleet.shut_down = replace(fleet.shut_down, keep_hours=replace(fleet.shut_down.keep_hours, hours=fleet.hours))

    fleet.shut_down()

    assert world.owner.told == []
    with pytest.raises(AgentUnavailable):
        fleet.hours.check()


def test_hours_that_can_not_be_read_keep_no_idle_agent_running(fleet: Tended, monkeypatch: pytest.MonkeyPatch) -> None:
    box = fleet.runs()
    fleet.keep(box, 900)

    def broken(_: object) -> None:
        raise ConnectionError("DynamoDB is throttled")

    monkeypatch.setattr(type(fleet.world.hours), "read", broken)

    swept = fleet.shut_down()

    assert swept.done == {"asked": 1}
    assert [str(error) for error in swept.failures] == ["DynamoDB is throttled"]


# What a chat hears of it


def said(world: World, text: str = "hello") -> str:
    """The answer to a message."""
    routed(world, text)
    claim = TurnClaim(world.executions.started[-1], world.claims.read(CHAT).open_turn or 0)
    world.ask("copilot")(claim)
    world.deliver(claim)
    return world.texts()[-1]


NOTICE = texts.hours_spent("2026-11")


@pytest.mark.parametrize("mode", ["auto", "eager", "always"])
def test_a_language_model_answers_and_says_so_once_a_chat_and_month(world: World, mode: str) -> None:
    in_mode(world, mode)  # type: ignore[arg-type]
    warm_up(world)
    spend(world)

    assert [said(world) for _ in range(2)] == [f"copilot: hello{NOTICE}", "copilot: hello"]

    assert world.turn(2).may_delegate is None
    assert world.waker.woken == []
    assert "until 1 December" in NOTICE


def test_whoever_asks_for_the_agent_is_told_each_time(world: World) -> None:
    spend(world)

    assert [said(world, "/agent tidy up") for _ in range(2)] == [f"copilot: tidy up{NOTICE}"] * 2


def test_whoever_asks_for_a_model_or_has_no_agent_is_not_told(world: World) -> None:
    spend(world)

    assert said(world, "/ask why?") == "copilot: why?"
    in_mode(world, "off")
    assert said(world) == "copilot: hello"


def test_in_the_next_month_the_agent_answers_again(world: World) -> None:
    spend(world)
    said(world)
    world.clock.moment = DECEMBER
    warm_up(world)

    assert routed(world).route == "agent"
    assert world.turn(2).hours_spent is None


def test_a_turn_that_is_prepared_again_says_it_still(world: World) -> None:
    spend(world)
    first = routed(world)
    again = world.claims.steal(first.claim, recoveries=1)
    assert again is not None

    assert world.prepare(first.claim).route == "idle"
    assert world.prepare(again).route == "copilot"
    assert world.turn().hours_spent == "2026-11"


def test_a_larger_limit_counts_at_once(world: World) -> None:
    spend(world)
    world.prepare = replace(world.prepare, agent_hours=2)
    warm_up(world)

    assert routed(world).route == "agent"


def test_usage_shows_the_hours(world: World) -> None:
    spend(world, 1800)
    report = replace(world.reporting, agent_hours=1)

    assert "Agent\nMonth: 0.5 of 1 hours, 0.5 left" in report("usage")
    spend(world, 3600)
    assert "Agent\nMonth: 1.5 of 1 hours, none left" in report("usage")
    assert "Agent" not in world.reporting("usage")


def test_wake_says_that_it_can_not(world: World) -> None:
    spend(world)

    assert world.controlling("wake", CHAT, 1) == texts.stays_asleep("2026-11")
    assert world.waker.chats == []

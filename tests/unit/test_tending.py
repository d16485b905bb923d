"""Agents are tended from outside: nothing that a dead one held stays with it, and none runs on for nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import AgentUnavailable
from assistant.turns import notices
from assistant.turns.agents import LEASE_SECONDS, PATIENCE, START_SECONDS, AgentStatus, Backups, Generation
from assistant.turns.hours import KeepingHours, Ran
from assistant.turns.model import Notice, TurnClaim, TurnStatus
from assistant.turns.tending import (
    DEAF_SECONDS,
    KEEPING_SECONDS,
    LATE_SECONDS,
    OBEY_SECONDS,
    RUN_SECONDS,
    STALE_SECONDS,
    AgentRecovery,
    BackUp,
    ShutDownIdle,
    SweepingAgents,
    Task,
)
from tests.doubles import CHAT, a_world
from tests.unit.test_agents import IDLE_SECONDS, Fleet, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.turns.agents import Agent, Mailbox


@dataclass
class ListedTasks:
    """The tasks that run; `broken` ones can't be stopped."""

    listed: list[Task] = field(default_factory=list)
    stopped: list[tuple[int, str]] = field(default_factory=list)
    known: list[tuple[Generation, Ran]] = field(default_factory=list)
    broken: bool = False

    def tasks(self) -> Iterator[Task]:
        yield from self.listed

    def ended(self) -> Iterator[tuple[Generation, Ran]]:
        yield from self.known

    def stop(self, task: Task, reason: str) -> None:
        if self.broken:
            self.broken = False
            raise ConnectionError("ECS is throttled")
        self.stopped.append((task.generation.number, reason))


class Tended(Fleet):
    """A world with an agent lane and the schedules that tend it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.running = ListedTasks()
        self.sweep = SweepingAgents(self.agents, AgentRecovery(self.agents, self.stopped, self.world.clock))
        keep_hours = KeepingHours(self.hours, self.agents, self.running, self.world.owner)
        self.shut_down = ShutDownIdle(self.agents, self.running, keep_hours, self.world.clock, IDLE_SECONDS)
        self.back_up = BackUp(self.agents, self.world.owner, self.world.clock)

    @property
    def agent(self) -> Agent:
        return self.agents.read(CHAT)

    def runs(self) -> Mailbox:
        """An agent that runs and has nothing to do."""
        self.start.wake(CHAT, starter="somebody")
        box = self.container()
        self.running.listed.append(Task(box.generation, f"task/{box.generation.number}"))
        return box

    def keep(self, box: Mailbox, seconds: float) -> None:
        """Let time pass for an agent that does nothing but renew its lease."""
        while seconds > 0:
            self.world.clock.advance(min(seconds, 30))
            box.renew(idle_after=IDLE_SECONDS)
            seconds -= 30

    def die(self, number: int | None = None, reason: str = "exit code 137") -> None:
        self.stopped(Generation(CHAT, number or self.agent.generation), crashed=True, reason=reason)


@pytest.fixture
def fleet() -> Iterator[Tended]:
    with a_world() as world:
        yield Tended(world)


# The sweep


def test_mail_of_an_agent_that_never_came_is_handed_back_to_be_tried_again(fleet: Tended) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    assert fleet.sweep().done == {}
    fleet.world.clock.advance(START_SECONDS)

    assert fleet.sweep().done == {"agent given up": 1}

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert (fleet.agent.status, fleet.agent.crashes) == (AgentStatus.STOPPED, 1)
    assert fleet.hand_over(claim, "again") == "started"


def test_an_agent_that_was_not_heard_of_again_is_given_up(fleet: Tended) -> None:
    fleet.hand_over(fleet.turn())
    fleet.container().next()
    fleet.world.clock.advance(START_SECONDS)

    assert fleet.sweep().done == {"agent given up": 1}

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert (fleet.agent.killer, fleet.agent.kills) == (1, 1)
    assert fleet.sweep().done == {}


def test_an_agent_that_runs_is_looked_at_and_nothing_is_written(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, 3600)
    before = fleet.agent

    assert fleet.sweep().done == {"agent at work": 1}

    assert fleet.agent == before


def test_an_agent_at_rest_is_in_no_index(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.stop(box.generation)
    fleet.agents.release(box.generation)
    fleet.world.clock.advance(86400)

    assert fleet.sweep().done == {}
    assert fleet.agent.due_at is None


def test_an_agent_that_could_not_be_started_is_laid_to_rest(fleet: Tended) -> None:
    fleet.tasks.full = True
    with pytest.raises(AgentUnavailable):
        fleet.hand_over(fleet.turn())
    fleet.world.clock.advance(START_SECONDS)

    assert fleet.sweep().done == {"agent at rest": 1}
    assert fleet.sweep().done == {}
    assert fleet.agent.crashes is None


def test_mail_that_nobody_started_an_agent_for_is_handed_back(fleet: Tended) -> None:
    claim = fleet.turn()
    fleet.tokens.waiting.add("token")
    fleet.agents.register(claim, "token", deadline=0)  # and StartAgent died
    fleet.world.clock.advance(START_SECONDS)

    assert fleet.sweep().done == {"agent given up": 1}

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert fleet.agent.crashes is None


def test_one_agent_that_cannot_be_put_right_keeps_no_other_waiting(
    fleet: Tended, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chat in (CHAT, "43"):
        fleet.start.wake(chat, starter="somebody")
    fleet.world.clock.advance(START_SECONDS)
    read = fleet.agents.read

    def unreadable(agents: Any, chat_id: str) -> Agent:
        if chat_id == CHAT:
            raise ConnectionError("no answer")
        return read(chat_id)

    monkeypatch.setattr(type(fleet.agents), "read", unreadable)
    swept = fleet.sweep()

    assert (swept.done, [str(error) for error in swept.failures]) == ({"agent given up": 1}, ["no answer"])


# Crashes


def crash_over(fleet: Tended, claim: TurnClaim, token: str) -> None:
    assert fleet.hand_over(claim, token) == "started"
    assert fleet.container().next() is not None
    fleet.die(reason="OutOfMemoryError; exit code 137")


def test_a_turn_that_killed_two_agents_is_handed_to_no_third(fleet: Tended) -> None:
    claim = fleet.turn()
    crash_over(fleet, claim, "first")
    crash_over(fleet, claim, "second")

    assert fleet.tokens.ended == [("first", "AgentInterrupted"), ("second", "AgentFailed")]
    assert fleet.world.prepare(claim.chat).route == "copilot"
    fleet.world.ask("copilot")(claim)
    fleet.world.deliver(claim)
    (reply,) = fleet.world.texts()
    assert reply.startswith("copilot: do something\n\nMy agent broke down over this twice")
    (notice,) = fleet.world.owner.told
    said = notices.text(notice) or ""
    assert "died twice" in said
    assert "OutOfMemoryError" in said


def test_a_turn_that_killed_two_agents_is_not_run_by_one_that_began_meanwhile(fleet: Tended) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    fleet.world.turns.keep_from_agent(claim)

    assert fleet.container().next() is None

    assert fleet.tokens.ended == [("token", "AgentFailed")]
    assert fleet.agent.pending == 0


def test_only_the_turn_that_was_running_is_kept_from_agents(fleet: Tended) -> None:
    claim = fleet.turn()
    crash_over(fleet, claim, "first")
    fleet.hand_over(claim, "second")
    fleet.tokens.waiting.add("other")
    fleet.agents.register(TurnClaim(claim.chat, 99), "other", deadline=0)
    fleet.agents.take(fleet.container().generation, claim.number)
    fleet.die()

    assert fleet.tokens.ended[1:] == [("second", "AgentFailed"), ("other", "AgentInterrupted")]


def test_an_agent_that_was_replaced_just_now_is_left_alone(fleet: Tended, monkeypatch: pytest.MonkeyPatch) -> None:
    box = fleet.runs()
    monkeypatch.setattr(type(fleet.agents), "close", lambda *_, **__: None)

    assert fleet.stopped(box.generation, crashed=False, reason="") == "replaced"
    assert fleet.agent.status == AgentStatus.RUNNING


def test_an_agent_that_went_to_sleep_just_now_is_woken(fleet: Tended, monkeypatch: pytest.MonkeyPatch) -> None:
    box = fleet.runs()
    begin = type(fleet.agents).begin

    def too_early(agents: Any, chat_id: str, *, starter: str) -> Any:
        refused = begin(agents, chat_id, starter=starter)
        monkeypatch.undo()
        fleet.agents.stop(box.generation)
        fleet.agents.release(box.generation)
        return refused

    monkeypatch.setattr(type(fleet.agents), "begin", too_early)

    assert fleet.start.wake(CHAT, starter="another") == "started"


def test_a_turn_that_killed_two_agents_keeps_no_other_from_them(fleet: Tended) -> None:
    claim = fleet.turn()
    crash_over(fleet, claim, "first")
    crash_over(fleet, claim, "second")
    fleet.world.ask("copilot")(claim)
    fleet.world.deliver(claim)
    other = fleet.turn("something else")

    assert fleet.hand_over(other, "third") == "started"
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    assert box.answer(mail, answered())
    assert (fleet.agent.crashes, fleet.agent.crashed_at) == (None, None)


def test_two_turns_that_killed_an_agent_each_are_tried_again(fleet: Tended) -> None:
    one = fleet.turn()
    crash_over(fleet, one, "first")
    fleet.world.ask("copilot")(one)
    fleet.world.deliver(one)
    other = fleet.turn("something else")
    crash_over(fleet, other, "second")

    assert fleet.tokens.ended[-1] == ("second", "AgentInterrupted")
    assert (fleet.agent.killer, fleet.agent.kills) == (2, 1)


def test_an_event_that_comes_twice_counts_once(fleet: Tended) -> None:
    claim = fleet.turn()
    crash_over(fleet, claim, "first")
    fleet.die()

    assert (fleet.agent.crashes, fleet.agent.kills) == (1, 1)
    assert fleet.tokens.ended == [("first", "AgentInterrupted")]


def test_the_end_of_a_second_task_of_a_generation_leaves_the_one_at_work_alone(fleet: Tended) -> None:
    fleet.hand_over(fleet.turn())
    box = fleet.container()
    box.next()
    assert not fleet.agents.note_task(box.generation, "task/second")  # of a start that was repeated

    assert fleet.stopped(box.generation, crashed=False, reason="", task_arn="task/second") == "another task"

    assert fleet.tokens.ended == []
    assert fleet.agent.is_held(fleet.world.clock.now())
    assert fleet.stopped(box.generation, crashed=False, reason="", task_arn="task/1") == "stopped"
    assert fleet.tokens.ended == [("token", "AgentInterrupted")]


def test_what_died_in_the_middle_of_giving_back_gives_back_when_it_is_repeated(
    fleet: Tended, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = fleet.turn()
    crash_over(fleet, claim, "first")
    fleet.hand_over(claim, "second")
    fleet.container().next()
    monkeypatch.setattr(type(fleet.agents), "mail", _unreadable)
    with pytest.raises(ConnectionError):
        fleet.die()
    monkeypatch.undo()

    fleet.die()

    assert fleet.tokens.ended[-1] == ("second", "AgentFailed")
    assert fleet.world.turn().killed_agent


def _unreadable(*_: object) -> Any:
    raise ConnectionError


def test_an_agent_that_keeps_failing_is_left_alone_for_longer_and_longer(fleet: Tended) -> None:
    for _ in range(PATIENCE[0][0]):
        assert fleet.start.wake(CHAT, starter="somebody") == "started"
        fleet.die(reason="exit code 1")
    (notice,) = fleet.world.owner.told
    assert "failed 3 times in a row" in (notices.text(notice) or "")

    for seconds in (60, 300, 900, 900):
        fleet.world.clock.advance(seconds - 1)
        with pytest.raises(AgentUnavailable, match="by its own fault"):
            fleet.start.wake(CHAT, starter="somebody")
        fleet.world.clock.advance(1)
        assert fleet.start.wake(CHAT, starter="somebody") == "started"
        fleet.die(reason="exit code 1")
    assert len(fleet.world.owner.told) == 1


def test_while_it_is_left_alone_a_turn_goes_to_the_chat_lane_at_once(fleet: Tended) -> None:
    for _ in range(PATIENCE[0][0]):
        fleet.start.wake(CHAT, starter="somebody")
        fleet.die()
    claim = fleet.turn()

    with pytest.raises(AgentUnavailable):
        fleet.hand_over(claim)

    assert (fleet.agent.pending, fleet.agents.mail(CHAT)) == (0, [])
    assert fleet.tasks.calls == PATIENCE[0][0]


def test_an_orderly_end_ends_the_series_and_one_by_a_fault_goes_on_with_it(fleet: Tended) -> None:
    for _ in range(2):
        box = fleet.runs()
        fleet.agents.stop(box.generation)
        assert fleet.agents.release(box.generation, crashed=True)
        fleet.die()  # its task's exit code says the same
    series = [fleet.agent.crashes]
    box = fleet.runs()
    fleet.agents.stop(box.generation)

    assert fleet.agents.release(box.generation)

    assert [*series, fleet.agent.crashes, fleet.agent.crashed_at] == [2, None, None]


# The shutdown of what is idle


def test_an_idle_agent_is_asked_once_and_stopped_if_it_does_not_obey(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, IDLE_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}
    fleet.keep(box, 30)
    assert fleet.shut_down().done == {"asked": 1}
    asked = box.renew(idle_after=IDLE_SECONDS)
    assert asked is not None
    assert asked.stop_asked_at == fleet.world.clock.now()

    fleet.keep(box, OBEY_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}
    fleet.keep(box, 30)
    assert fleet.shut_down().done == {"stopped": 1}

    assert fleet.running.stopped == [(1, "it did not stop by itself")]
    assert fleet.agent.status == AgentStatus.STOPPING


def test_an_agent_says_itself_how_long_it_stays(fleet: Tended) -> None:
    box = fleet.runs()
    for _ in range(45):
        fleet.world.clock.advance(30)
        box.renew(idle_after=2 * IDLE_SECONDS)

    assert fleet.shut_down().done == {"goes on": 1}


def test_work_annuls_the_request_to_stop(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.ask_to_stop(box.generation)
    fleet.hand_over(fleet.turn())
    assert box.next() is not None
    fleet.keep(box, OBEY_SECONDS)

    assert fleet.shut_down().done == {"goes on": 1}
    assert fleet.agent.stop_asked_at is None


def test_a_run_is_never_stopped_while_somebody_waits_for_it(fleet: Tended) -> None:
    fleet.hand_over(fleet.turn())
    box = fleet.runs()
    box.next()
    fleet.agents.ask_to_stop(box.generation)
    fleet.keep(box, RUN_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}

    fleet.keep(box, 30)
    assert fleet.shut_down().done == {"stopped": 1}


def test_an_agent_that_is_being_stopped_takes_nothing_any_more(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.ask_to_stop(box.generation)
    fleet.keep(box, OBEY_SECONDS)
    fleet.shut_down()
    claim = fleet.turn()
    assert fleet.hand_over(claim) == "running"

    assert box.next() is None
    assert not fleet.agents.go_on(box.generation)
    box.hand_back()
    assert fleet.agents.release(box.generation)
    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert fleet.hand_over(claim, "again") == "started"


def test_one_that_took_work_just_now_is_not_stopped(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, IDLE_SECONDS)
    seen = fleet.agent
    fleet.hand_over(fleet.turn())
    box.next()

    assert not fleet.agents.force_to_stop(box.generation, seen)
    assert fleet.agent.status == AgentStatus.RUNNING


def test_one_that_took_work_in_the_same_second_is_not_stopped(fleet: Tended) -> None:
    box = fleet.runs()
    seen = fleet.agent
    fleet.hand_over(fleet.turn())
    box.next()

    assert fleet.agent.last_activity == seen.last_activity
    assert not fleet.agents.force_to_stop(box.generation, seen)


def test_an_agent_that_does_not_take_its_mail_is_stopped(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, 600)
    fleet.hand_over(fleet.turn())
    fleet.keep(box, DEAF_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}
    fleet.keep(box, 30)

    assert fleet.shut_down().done == {"stopped": 1}


def test_a_last_backup_is_left_longer_while_it_is_under_way_and_no_longer(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, 30)
    fleet.agents.ask_to_stop(box.generation)
    fleet.agents.stop(box.generation)
    began = int(fleet.world.clock.now())
    fleet.keep(box, KEEPING_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}

    box.renew(idle_after=IDLE_SECONDS, backups=Backups(began))

    assert fleet.shut_down().done == {"stopped": 1}


def test_a_last_backup_has_its_end(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, 30)
    fleet.agents.stop(box.generation)
    fleet.keep(box, KEEPING_SECONDS)

    assert fleet.shut_down().done == {"stopped": 1}


def test_a_shutdown_that_does_not_end_is_ended(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.stop(box.generation)
    fleet.keep(box, OBEY_SECONDS - 30)
    assert fleet.shut_down().done == {"goes on": 1}
    fleet.keep(box, 30)

    assert fleet.shut_down().done == {"stopped": 1}


def _released(fleet: Tended, box: Mailbox) -> None:
    fleet.agents.stop(box.generation)
    fleet.agents.release(box.generation)


def _frozen(fleet: Tended, _: Mailbox) -> None:
    fleet.world.clock.advance(LEASE_SECONDS)


@pytest.mark.parametrize("end", [_released, _frozen])
def test_a_task_that_runs_on_after_its_life_is_stopped_but_left_time_to_end(
    fleet: Tended, end: Callable[[Tended, Mailbox], None]
) -> None:
    box = fleet.runs()
    end(fleet, box)
    assert fleet.shut_down().done == {"goes on": 1}
    fleet.world.clock.advance(OBEY_SECONDS)

    assert fleet.shut_down().done == {"stopped": 1}
    assert fleet.running.stopped == [(1, "its lease ended")]


def test_a_task_that_was_replaced_is_stopped_at_once_and_its_successor_is_not(fleet: Tended) -> None:
    fleet.runs()
    fleet.world.clock.advance(LEASE_SECONDS)
    fleet.runs()

    assert fleet.shut_down().done == {"stopped": 1, "goes on": 1}
    assert fleet.running.stopped == [(1, "replaced")]


def test_a_task_that_is_being_started_is_waited_for(fleet: Tended) -> None:
    fleet.start.wake(CHAT, starter="somebody")
    fleet.running.listed.append(Task(Generation(CHAT, 1), "task/1"))
    fleet.world.clock.advance(START_SECONDS - 1)

    assert fleet.shut_down().done == {"goes on": 1}


def test_a_task_that_cannot_be_stopped_now_is_stopped_the_next_time(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.agents.ask_to_stop(box.generation)
    fleet.keep(box, OBEY_SECONDS)
    fleet.running.broken = True
    assert [str(error) for error in fleet.shut_down().failures] == ["ECS is throttled"]

    assert fleet.shut_down().done == {"stopped": 1}


def test_a_turn_whose_agent_was_given_up_can_still_be_answered(fleet: Tended) -> None:
    fleet.hand_over(fleet.turn())
    fleet.container().next()
    fleet.world.clock.advance(START_SECONDS)
    fleet.sweep()

    assert fleet.world.turn().status == TurnStatus.OPEN


# Backups


def test_an_agent_that_keeps_what_there_is_is_left_alone(fleet: Tended) -> None:
    box = fleet.runs()
    assert fleet.back_up().done == {}  # it was started just now
    fleet.keep(box, START_SECONDS)
    before = fleet.agent

    assert fleet.back_up().done == {"kept": 1}

    assert fleet.agent == before


def test_an_agent_whose_backups_are_late_is_asked_and_the_owner_told_once_if_none_comes(fleet: Tended) -> None:
    box = fleet.runs()
    began = int(fleet.world.clock.now())
    fleet.keep(box, LATE_SECONDS)
    assert fleet.back_up().done == {"late": 1}
    asked = box.renew(idle_after=IDLE_SECONDS)
    assert asked is not None
    assert (asked.backup_asked_at, asked.backups_told) == (began + LATE_SECONDS, None)
    assert fleet.world.owner.told == []

    fleet.keep(box, STALE_SECONDS - LATE_SECONDS)
    assert [fleet.back_up().done for _ in range(2)] == [{"stale": 1}] * 2
    assert fleet.world.owner.told == [Notice("backups_late", reason="15", chat_id=CHAT)]
    said = notices.text(notices.parse({"kind": "backups_late", "provider": "", "reason": "15", "chat_id": CHAT}))
    assert said is not None
    assert f"chat {CHAT}" in said
    assert "15 minutes old" in said

    box.renew(idle_after=IDLE_SECONDS, backups=Backups(int(fleet.world.clock.now())))
    assert fleet.back_up().done == {"kept": 1}
    fleet.keep(box, STALE_SECONDS)
    assert fleet.back_up().done == {"stale": 1}
    assert len(fleet.world.owner.told) == 1


def test_what_the_container_has_told_the_owner_is_not_told_again(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, STALE_SECONDS)
    box.renew(idle_after=IDLE_SECONDS, backups=Backups(fleet.agent.kept_at or 0, told=True))

    assert fleet.back_up().done == {"stale": 1}
    assert fleet.world.owner.told == []


def test_the_next_life_begins_anew(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, STALE_SECONDS)
    fleet.back_up()
    fleet.agents.stop(box.generation)
    assert fleet.agents.release(box.generation)
    box = fleet.runs()

    assert (fleet.agent.kept_at, fleet.agent.backup_asked_at, fleet.agent.backups_told) == (
        fleet.world.clock.now(),
        None,
        None,
    )
    fleet.keep(box, STALE_SECONDS)
    fleet.back_up()
    assert len(fleet.world.owner.told) == 2


def test_who_does_not_run_is_asked_for_nothing(fleet: Tended) -> None:
    box = fleet.runs()
    fleet.keep(box, STALE_SECONDS)
    fleet.agents.stop(box.generation)
    assert not fleet.agents.ask_to_back_up(box.generation, told=False)

    assert fleet.back_up().done == {"not at work": 1}
    fleet.world.clock.advance(LEASE_SECONDS)
    assert fleet.back_up().done == {"not at work": 1}

"""The agent's protocol: one per chat, fenced by its generation, and no turn lost between two of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import AgentInterrupted, AgentUnavailable
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.turns.agents import (
    LEASE_SECONDS,
    START_SECONDS,
    AgentStatus,
    Generation,
    Mailbox,
    MailStatus,
    StartAgent,
)
from assistant.turns.hours import AgentHours
from assistant.turns.lanes import AGENT_SECONDS
from assistant.turns.model import Answer, Answered, ChatClaim, TurnClaim, TurnStatus
from assistant.turns.tending import AgentStopped
from tests.doubles import CHAT, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_SECONDS = 900


class RecordedTasks:
    """ECS, as far as RunTask goes: the same client token starts nothing twice."""

    def __init__(self) -> None:
        self.started: dict[Generation, str] = {}
        self.calls = 0
        self.full = False
        self.dies = False

    def run(self, generation: Generation) -> str:
        self.calls += 1
        if self.full:
            raise AgentUnavailable("no capacity")
        arn = self.started.setdefault(generation, f"task/{generation.number}")
        if self.dies:
            self.dies = False
            raise ConnectionError("the function died after RunTask")
        return arn


class RecordedTokens:
    """Waiting states by token; a token that is not among `waiting` is gone."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.ended: list[tuple[str, str]] = []
        self.beats: list[str] = []

    def succeed(self, token: str) -> bool:
        return self._end(token, "success")

    def fail(self, token: str, error: Exception) -> bool:
        return self._end(token, type(error).__name__)

    def heartbeat(self, token: str) -> bool:
        self.beats.append(token)
        return token in self.waiting

    def _end(self, token: str, how: str) -> bool:
        if token not in self.waiting:
            return False
        self.waiting.remove(token)
        self.ended.append((token, how))
        return True


@dataclass
class Fleet:
    """A world with an agent lane."""

    world: World
    tasks: RecordedTasks = field(default_factory=RecordedTasks)
    tokens: RecordedTokens = field(default_factory=RecordedTokens)

    def __post_init__(self) -> None:
        self.agents = DynamoAnsweringAgents(self.world.runtime, self.world.clock, self.world.turns)
        world, clock = self.world, self.world.clock
        self.stopped = AgentStopped(self.agents, world.turns, self.tokens, world.owner, world.hours)
        self.hours = AgentHours(world.hours, world.agent_hours, clock)
        self.start = StartAgent(self.agents, world.turns, self.tasks, self.tokens, self.stopped, self.hours, clock)

    def turn(self, text: str = "do something") -> TurnClaim:
        """An open turn, with the agent's time."""
        self.world.say(text)
        route = replace(self.world.prepare, mode="always")(self.world.executions.started[-1])
        return TurnClaim(route.claim, route.turn or 0)

    def resumed(self, claim: TurnClaim) -> TurnClaim:
        """The same turn, with another execution: that of its claim has ended."""
        self.world.executions.ended.add(claim.chat.execution)
        assert self.world.recover(claim.chat.chat_id) == "restarted"
        route = self.world.prepare(self.world.executions.started[-1])
        assert route.turn == claim.number
        return TurnClaim(route.claim, claim.number)

    def hand_over(self, claim: TurnClaim, token: str = "token") -> str:
        self.tokens.waiting.add(token)
        return self.start(claim, token)

    def container(self, number: int | None = None, chat: str = CHAT) -> Mailbox:
        """The container of a generation, the newest by default, which takes messages."""
        generation = Generation(chat, number or self.agents.read(chat).generation)
        box = Mailbox(generation, self.agents, self.world.turns, self.tokens, self.world.clock)
        box.open(f"task/{generation.number}", idle_after=IDLE_SECONDS)
        box.renew(idle_after=IDLE_SECONDS, ready=True)
        return box


def answered(text: str = "done") -> Answered:
    return Answered(Answer(text, "model"), "do something", "copilot", 0, 0)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with a_world() as world:
        yield Fleet(world)


@pytest.fixture
def own_fleet() -> Iterator[Fleet]:
    """One whose client is its own, and may be changed."""
    with a_world(own_client=True) as world:
        yield Fleet(world)


def test_a_turn_starts_the_agent_is_run_and_answered_once(fleet: Fleet) -> None:
    claim = fleet.turn()

    assert fleet.hand_over(claim) == "started"
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    assert fleet.agents.read(CHAT).in_flight == claim.number
    assert box.answer(mail, answered())

    assert fleet.tokens.ended == [("token", "success")]
    assert fleet.agents.mail(CHAT) == []
    agent = fleet.agents.read(CHAT)
    assert (agent.pending, agent.in_flight, agent.status) == (0, None, AgentStatus.RUNNING)
    fleet.world.deliver(claim)
    assert fleet.world.texts() == ["done"]


def test_a_turn_for_an_agent_that_runs_starts_nothing(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    fleet.container()

    assert fleet.hand_over(fleet.turn()) == "running"
    assert fleet.tasks.calls == 1


def test_a_retry_counts_a_turn_once_and_repeats_a_start_that_came_to_nothing(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.tasks.dies = True
    with pytest.raises(ConnectionError):
        fleet.hand_over(claim)

    assert fleet.hand_over(claim, "second") == "started"

    assert list(fleet.tasks.started) == [Generation(CHAT, 1)]
    assert fleet.agents.read(CHAT).pending == 1
    assert [mail.task_token for mail in fleet.agents.mail(CHAT)] == ["second"]


def test_a_hundred_starts_at_once_start_one_task(own_fleet: Fleet) -> None:
    """Each on a thread of its own; moto takes one request at a time, as DynamoDB does for one item."""
    fleet = own_fleet
    client: Any = fleet.world.runtime.client
    lock = threading.Lock()
    for name in ("update_item", "get_item"):
        setattr(client, name, _serial(getattr(client, name), lock))
    together = threading.Barrier(100)
    done: list[str] = []

    def start(number: int) -> None:
        together.wait(timeout=20)
        done.append(fleet.start.wake(CHAT, starter=str(number)))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(done) == ["running"] * 99 + ["started"]
    assert fleet.tasks.calls == 1


def _serial(call: Any, lock: threading.Lock) -> Any:
    def one_at_a_time(**request: Any) -> Any:
        with lock:
            return call(**request)

    return one_at_a_time


def test_without_capacity_nothing_stays_registered(fleet: Fleet) -> None:
    fleet.tasks.full = True
    claim = fleet.turn()

    with pytest.raises(AgentUnavailable):
        fleet.hand_over(claim)

    agent = fleet.agents.read(CHAT)
    assert (agent.status, agent.pending, fleet.agents.mail(CHAT)) == (AgentStatus.STOPPED, 0, [])
    fleet.tasks.full = False
    assert fleet.hand_over(claim) == "started"


def test_a_turn_that_was_interrupted_until_its_time_was_over_starts_nothing(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.world.clock.advance(AGENT_SECONDS + 1)

    with pytest.raises(AgentUnavailable):
        fleet.hand_over(claim)

    assert fleet.tasks.calls == 0
    assert fleet.agents.mail(CHAT) == []


def test_a_turn_that_has_its_answer_starts_nothing(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.world.ask("copilot")(claim)

    assert fleet.hand_over(claim) == "answered"
    assert fleet.tasks.calls == 0
    assert fleet.tokens.ended == [("token", "success")]


def test_an_answer_that_comes_late_changes_nothing(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    fleet.world.ask("copilot")(claim)  # the state gave up waiting, and the chat lane answered
    fleet.tokens.waiting.clear()

    assert not box.answer(mail, answered("too late"))

    assert fleet.world.turn().reply == "copilot: do something"
    assert fleet.agents.read(CHAT).pending == 0


def test_mail_whose_turn_was_answered_elsewhere_is_not_run(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    fleet.world.ask("copilot")(claim)

    assert fleet.container().next() is None
    assert fleet.agents.read(CHAT).pending == 0


def test_only_the_generation_that_was_started_may_open(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="one")
    fleet.world.clock.advance(START_SECONDS + 1)
    fleet.start.wake(CHAT, starter="two")

    assert not fleet.container(1).agents.occupy(Generation(CHAT, 1), "task/1", idle_after=IDLE_SECONDS)
    assert fleet.agents.read(CHAT).status == AgentStatus.STARTING
    assert fleet.agents.occupy(Generation(CHAT, 2), "task/2", idle_after=IDLE_SECONDS)
    assert fleet.agents.occupy(Generation(CHAT, 2), "task/2", idle_after=IDLE_SECONDS)
    assert not fleet.agents.occupy(Generation(CHAT, 2), "task/another", idle_after=IDLE_SECONDS)


def test_a_generation_that_was_replaced_writes_nothing_any_more(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    old = fleet.container()
    mail = old.next()
    assert mail is not None
    fleet.world.clock.advance(LEASE_SECONDS + 1)  # paused through a change of the lease
    assert fleet.start.wake(CHAT, starter="another") == "started"
    new = fleet.container()
    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert fleet.hand_over(claim, "again") == "running"

    assert not old.renew(idle_after=IDLE_SECONDS)
    assert not old.answer(mail, answered("of the dead"))
    assert old.next() is None
    old.fail(mail, AgentInterrupted("dying"))
    old.agents.stop(old.generation)
    old.agents.release(old.generation)

    assert fleet.world.turn().status == TurnStatus.OPEN
    assert fleet.agents.read(CHAT).status == AgentStatus.RUNNING
    taken = new.next()
    assert taken is not None
    assert new.answer(taken, answered("of the living"))
    assert fleet.world.turn().reply == "of the living"


def test_a_lease_that_has_run_out_is_lost_before_anybody_takes_the_place(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    fleet.world.clock.advance(LEASE_SECONDS)

    assert not box.renew(idle_after=IDLE_SECONDS)
    assert not box.answer(mail, answered())


def test_a_lease_is_kept_by_renewing_it(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="one")
    box = fleet.container()
    for _ in range(10):
        fleet.world.clock.advance(LEASE_SECONDS - 1)
        assert box.renew(idle_after=IDLE_SECONDS)
    assert fleet.start.wake(CHAT, starter="two") == "running"


def test_what_a_dead_task_held_is_given_back(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    box.next()

    assert fleet.stopped(box.generation, crashed=True, reason="exit code 137") == "stopped"
    assert fleet.stopped(box.generation, crashed=True, reason="exit code 137") == "stopped"

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    agent = fleet.agents.read(CHAT)
    assert (agent.status, agent.pending, agent.crashes) == (AgentStatus.STOPPED, 0, 1)
    assert fleet.hand_over(claim, "again") == "started"
    assert fleet.agents.read(CHAT).generation == 2


def test_a_task_that_died_between_the_answer_and_its_report_is_reported_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    monkeypatch.setattr(fleet.tokens, "succeed", _dead)
    with pytest.raises(SystemExit):
        box.answer(mail, answered())
    monkeypatch.undo()
    assert [mail.status for mail in fleet.agents.mail(CHAT)] == [MailStatus.ANSWERED]

    fleet.stopped(box.generation, crashed=True, reason="exit code 137")

    assert fleet.tokens.ended == [("token", "success")]
    assert fleet.world.turn().reply == "done"


def _dead(*_: object) -> bool:
    raise SystemExit


def test_the_event_of_an_old_task_leaves_the_new_one_alone(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="one")
    fleet.world.clock.advance(START_SECONDS + 1)
    fleet.start.wake(CHAT, starter="two")
    fleet.hand_over(fleet.turn())
    fleet.container()

    assert fleet.stopped(Generation(CHAT, 1), crashed=True, reason="exit code 137") == "replaced"
    assert fleet.agents.read(CHAT).status == AgentStatus.RUNNING
    assert fleet.tokens.ended == []


def test_an_agent_with_mail_does_not_stop(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    fleet.agents.stop(box.generation)

    assert not fleet.agents.release(box.generation)
    assert fleet.agents.go_on(box.generation)
    mail = box.next()
    assert mail is not None
    box.answer(mail, answered())
    assert fleet.agents.stop(box.generation)
    assert fleet.agents.release(box.generation)
    assert fleet.start.wake(CHAT, starter="later") == "started"


def test_a_message_that_comes_while_the_agent_stops_is_registered_with_it(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="one")
    box = fleet.container()
    fleet.agents.stop(box.generation)

    assert fleet.hand_over(fleet.turn()) == "running"
    assert not fleet.agents.release(box.generation)


def test_a_shutdown_hands_its_turns_back(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    box.next()

    box.hand_back()
    fleet.agents.stop(box.generation)

    assert fleet.agents.release(box.generation)
    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert fleet.world.turn().status == TurnStatus.OPEN


def test_a_run_that_failed_leaves_by_its_class(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    box = fleet.container()
    mail = box.next()
    assert mail is not None

    box.fail(mail, AgentUnavailable("gateway"))

    assert fleet.tokens.ended == [("token", "AgentUnavailable")]
    assert fleet.agents.read(CHAT).pending == 0


def test_the_state_that_waits_now_is_told_not_the_one_that_waited_before(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "first")
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    assert box.heartbeat(claim.number)
    fleet.tokens.waiting.clear()  # timed out, and retried by the state machine
    assert not box.heartbeat(claim.number)
    fleet.hand_over(claim, "second")

    assert box.heartbeat(claim.number)
    assert box.answer(mail, answered())

    assert fleet.tokens.ended == [("second", "success")]


def test_mail_of_an_older_claim_takes_over_nothing(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "new")
    older = TurnClaim(ChatClaim(CHAT, claim.chat.epoch - 1), claim.number)

    assert fleet.hand_over(older, "old") == "answered"
    assert [mail.task_token for mail in fleet.agents.mail(CHAT)] == ["new"]


def test_mail_that_was_taken_by_one_that_died_is_taken_by_the_next(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    dead = fleet.container()
    dead.next()
    fleet.agents.close(dead.generation, crashed=True, killer=1, kills=1)  # and nothing was given back yet
    fleet.start.wake(CHAT, starter="two")

    assert fleet.container().next() is not None
    assert dead.next() is None


def test_withdrawn_mail_was_taken_by_nobody(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    fleet.container().next()

    assert not fleet.agents.withdraw(claim)
    assert fleet.agents.read(CHAT).pending == 1


def test_a_shutdown_hands_back_nothing_that_has_its_answer(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    box = fleet.container()
    fleet.world.ask("copilot")(claim)

    box.hand_back()

    assert fleet.tokens.ended == [("token", "success")]


def test_a_state_that_was_retried_is_told_of_the_failure(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "first")
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    fleet.hand_over(claim, "second")

    box.fail(mail, AgentUnavailable("gateway"))

    assert fleet.tokens.ended == [("second", "AgentUnavailable")]


def test_a_turn_that_another_execution_resumes_is_run_again_by_the_agent_that_has_it(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "of the one that ended")
    box = fleet.container()
    box.next()
    resumed = fleet.resumed(claim)
    fleet.hand_over(resumed, "token")

    mail = box.next()  # the run was aborted: its claim had lost the turn

    assert mail is not None
    assert mail.epoch == resumed.chat.epoch
    assert box.answer(mail, answered())
    assert fleet.tokens.ended == [("token", "success")]


@pytest.mark.parametrize("end", ["answer", "fail"])
def test_the_end_of_a_run_is_not_told_to_who_waits_for_the_next_one(fleet: Fleet, end: str) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "of the one that ended")
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    fleet.hand_over(fleet.resumed(claim), "token")

    if end == "answer":
        assert not box.answer(mail, answered())
    else:
        box.fail(mail, AgentUnavailable("gateway"))

    assert fleet.tokens.ended == []
    assert box.next() is not None


def test_the_answer_of_a_generation_that_was_replaced_ends_no_state(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "first")
    replaced = fleet.container()
    mail = replaced.next()
    assert mail is not None
    fleet.world.clock.advance(LEASE_SECONDS + 1)
    fleet.hand_over(claim, "second")  # is given back with what the dead one held
    fleet.hand_over(claim, "third")
    fleet.container().next()

    assert not replaced.answer(mail, answered())

    assert "third" in fleet.tokens.waiting
    assert fleet.agents.read(CHAT).pending == 1


def test_mail_is_not_removed_under_who_waits_for_it_anew(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim, "first")
    box = fleet.container()
    seen = fleet.agents.mail(CHAT)[0]
    fleet.hand_over(claim, "second")

    assert not fleet.agents.discard(box.generation, seen)

    assert [mail.task_token for mail in fleet.agents.mail(CHAT)] == ["second"]


def test_an_answer_whose_mail_was_given_back_meanwhile_is_stored(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.hand_over(fleet.turn())
    box = fleet.container()
    mail = box.next()
    assert mail is not None
    monkeypatch.setattr(DynamoAnsweringAgents, "mail", lambda self, chat_id: [])

    assert box.answer(mail, answered())

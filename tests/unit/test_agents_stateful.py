"""The life of a chat's agent, walked at random: whoever dies, hangs, comes twice or late, no turn is left behind.

StartAgent, AgentStopped, the schedules and each container run as activities that stop before every call to a store or
to Step Functions. The walk lets them go on in any order, kills them between any two calls, freezes containers, loses,
repeats and delays events, and takes capacity away; messages, /wake and /sleep come in between. Then everything is left
to settle, and what must hold always is checked.

More walks than those of `make test`, and how much they explored: `python -m tests.unit.test_agents_stateful 2000`
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import AgentFailed, AgentUnavailable
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.stores.dynamodb import Table
from assistant.stores.hours import DynamoHours
from assistant.stores.turns import DynamoTurns
from assistant.turns import texts
from assistant.turns.agents import LEASE_SECONDS, AgentStatus, Mailbox, StartAgent
from assistant.turns.hours import SECONDS, TOLD, AgentHours, Hours, KeepingHours, Ran
from assistant.turns.lanes import AGENT_SECONDS
from assistant.turns.model import TURN_SECONDS, Answer, Answered, TurnClaim, TurnStatus
from assistant.turns.preparing import AGENT
from assistant.turns.tending import (
    KILLS,
    RUN_SECONDS,
    AgentRecovery,
    AgentStopped,
    ShutDownIdle,
    SweepingAgents,
    Task,
)
from assistant.turns.waking import SWEEP_SECONDS
from tests.doubles import CHAT, small_world
from tests.unit.test_protocol_stateful import Activity, GatedClient, Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.turns.agents import Generation

IDLE_SECONDS = 900
STOP_SECONDS = 120
RENEWAL_SECONDS = LEASE_SECONDS // 3
INTERRUPTED_RETRIES = CRASHED_RETRIES = 2
"""Of AskAgent in turn.asl.json."""

SEEDS = range(40)
ACTIONS = 150
POISON = "poison"


class Ended(Exception):
    """The container's process ends before its time: SIGTERM (`orderly`), or its lease is lost."""

    def __init__(self, *, orderly: bool) -> None:
        self.orderly = orderly


class Container:
    """A container as the bridge is: it takes mail, runs it, answers it, and gives back what it holds at SIGTERM."""

    def __init__(self, walk: Walk, generation: Generation, arn: str) -> None:
        self.walk, self.generation, self.arn = walk, generation, arn
        self.box = Mailbox(generation, walk.agents, walk.turns, walk, walk.world.clock)
        self.opened = self.lost = self.frozen = self.over = False
        self.term_at: float | None = None
        self.exit_code: int | None = None
        self.running: int | None = None
        self.running_since = self.active_at = self.began = self.ended = walk.world.clock.now()
        self.stop_asked = False
        self.activity = walk.activity(f"container {generation.number}", self.live)

    def live(self) -> int:
        self.opened = self.box.open(self.arn, idle_after=IDLE_SECONDS)
        if not self.opened:
            return 0
        self.walk.opened[self.generation.number].add(self.arn)
        try:
            while not self.stopped():
                self.rest()
        except Ended as end:
            if not end.orderly:
                return 1
            self.running = None
            self.walk.agents.stop(self.generation)
            self.box.hand_back()
            self.walk.agents.release(self.generation)
        return 0

    def rest(self) -> None:
        """Nothing happens for a moment: what was asked of the process meanwhile is noticed."""
        self.walk.gate()
        if self.lost:
            raise Ended(orderly=False)
        if self.term_at is not None:
            raise Ended(orderly=True)

    def stopped(self) -> bool:
        self.rest()
        mail = self.box.next()
        if mail is not None:
            self.run(mail)
            self.active_at = self.walk.world.clock.now()
            return False
        if not self.stop_asked and self.walk.world.clock.now() - self.active_at < IDLE_SECONDS:
            return False
        self.walk.agents.stop(self.generation)
        if not self.walk.agents.mail(CHAT) and self.walk.agents.release(self.generation):
            return True
        self.stop_asked = False
        self.active_at = self.walk.world.clock.now()
        self.walk.agents.go_on(self.generation)
        return False

    def run(self, mail: Any) -> None:
        if self.walk.newest() != self.generation.number:
            self.walk.violations.append("an old generation took mail")
        self.running, self.running_since = mail.number, self.walk.world.clock.now()
        turn = self.walk.turns.read(CHAT, mail.number)
        if turn is not None and turn.text == POISON:
            self.walk.deaths[mail.number] += self.term_at is None  # else it ends for another's reason
            raise Killed
        for _ in range(self.walk.random.randrange(6)):
            self.rest()
        if self.walk.random.randrange(12) == 0:
            self.box.fail(mail, AgentFailed("every provider failed"))
        else:
            text = turn.text if turn is not None else ""
            self.box.answer(mail, Answered(Answer(f"agent: {text}", "model"), text, "copilot", 0, 0))
        self.running = None

    def renew(self) -> None:
        """What goes on beside the work: the lease, and heartbeats while a turn is worked on."""
        if self.over or self.frozen or not self.opened or self.lost:
            return
        kept = self.box.renew(idle_after=IDLE_SECONDS, ready=True)
        self.lost = kept is None
        if kept is not None:
            self.stop_asked = kept.stop_asked_at is not None
            if self.running is not None:
                for mail in self.walk.agents.mail(CHAT):
                    self.walk.beat(mail.task_token)

    @property
    def ran(self) -> Ran:
        return Ran(self.began, self.ended)

    @property
    def in_a_wanted_run(self) -> bool:
        """One whose turn has its answer is over, although the container hangs before it has said so."""
        if self.running is None or self.lost or self.walk.world.turn(self.running).status != TurnStatus.OPEN:
            return False
        return self.walk.world.clock.now() - self.running_since < RUN_SECONDS


@dataclass
class Ask:
    """A turn in the state machine, from RouteTurn on."""

    claim: TurnClaim
    heartbeat: int
    began: float
    token: str = ""
    activity: Activity | None = None
    beat_at: float = 0
    interrupted: int = 0
    crashed: int = 0
    outcome: str | None = None
    over: bool = False


class Walk:
    """One walk; `calm`: nothing fails any more."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.current: Activity | None = None
        self.calm = False
        self.steps = 0
        self.world = world = small_world(
            agent_mode=self.random.choice(["auto", "always", "always"]), agent_hours=self.random.choice([40, 40, 0.1])
        )
        world.accept = replace(world.accept, messages_per_minute=10_000)
        gated: Any = GatedClient(world.runtime.client, self.gate)
        runtime, conversations = Table(gated, world.runtime.name), Table(gated, world.conversations.name)
        self.turns = DynamoTurns(conversations, world.clock, 7)
        self.agents = DynamoAnsweringAgents(runtime, world.clock, self.turns)
        book = DynamoHours(runtime, world.clock)
        hours = AgentHours(book, world.agent_hours, world.clock)
        self.bury = AgentStopped(self.agents, self.turns, self, world.owner, book)
        self.start = StartAgent(self.agents, self.turns, self, self, self.bury, hours, world.clock)
        self.sweep = SweepingAgents(self.agents, AgentRecovery(self.agents, self.bury, world.clock))
        keep_hours = KeepingHours(hours, self.agents, self, world.owner)
        self.shut_down = ShutDownIdle(self.agents, self, keep_hours, world.clock, IDLE_SECONDS)
        self.containers: dict[str, Container] = {}
        self.full = False
        self.asks: list[Ask] = []
        self.others: list[Activity] = []
        self.events: list[tuple[Container, bool]] = []
        self.opened: dict[int, set[str]] = defaultdict(set)
        self.deaths: Counter[int] = Counter()
        self.said: list[str] = []
        self.tokens = 0
        self.violations: list[str] = []
        """What an activity saw: an error there would be taken for one of what it does."""

    # What stands outside

    def gate(self) -> None:
        if self.current is not None:
            self.current.stop()

    def run(self, generation: Generation) -> str:
        """RunTask: the same generation starts nothing twice."""
        self.gate()
        arn = f"task/{generation.number}"
        if arn not in self.containers:
            if self.full:
                raise AgentUnavailable("no capacity")
            self.containers[arn] = Container(self, generation, arn)
        self.gate()
        return arn

    def tasks(self) -> Iterator[Task]:
        self.gate()
        yield from [Task(each.generation, each.arn) for each in self.containers.values() if not each.over]

    def ended(self) -> Iterator[tuple[Generation, Ran]]:
        self.gate()
        yield from [(each.generation, each.ran) for each in self.containers.values() if each.over]

    def stop(self, task: Task, reason: str) -> None:
        """StopTask: SIGTERM, and SIGKILL two minutes later."""
        self.gate()
        container = self.containers[task.arn]
        if container.over:
            return
        gone = container.generation.number != self.newest() or not self.held()
        if container.in_a_wanted_run and not gone:
            self.violations.append(f"stopped in the middle of a run: {reason}")
        if container.term_at is None:
            container.term_at = self.world.clock.now()

    def succeed(self, token: str) -> bool:
        return self.end(token, "success")

    def fail(self, token: str, error: Exception) -> bool:
        return self.end(token, type(error).__name__)

    def heartbeat(self, token: str) -> bool:
        self.gate()
        return self.beat(token)

    def beat(self, token: str) -> bool:
        ask = self.waiting(token)
        if ask is not None:
            ask.beat_at = self.world.clock.now()
        return ask is not None

    def end(self, token: str, how: str) -> bool:
        self.gate()
        ask = self.waiting(token)
        if ask is not None:
            ask.outcome = how
        return ask is not None

    def waiting(self, token: str) -> Ask | None:
        return next((ask for ask in self.asks if ask.token == token and ask.outcome is None and not ask.over), None)

    def newest(self) -> int:
        return self.world.agents.read(CHAT).generation

    def held(self) -> bool:
        return self.world.agents.read(CHAT).is_held(self.world.clock.now())

    # What may happen

    def act(self) -> None:
        """Let one thing happen."""
        happenings: tuple[tuple[Callable[[], None], int], ...] = (
            (self.say, 8),
            (self.wake, 2),
            (self.sleep, 3),
            (self.go_on, 110),
            (self.crash, 4),
            (self.kill_container, 2),
            (self.terminate, 3),
            (self.freeze, 2),
            (self.tell, 12),
            (self.schedule, 5),
            (self.change_capacity, 2),
            (self.pass_time, 7),
        )
        happen = self.random.choices([what for what, _ in happenings], [weight for _, weight in happenings])[0]
        happen()
        self.steps += 1
        self.check_always()

    def say(self) -> None:
        text = POISON if self.random.randrange(6) == 0 else f"words{len(self.said)}"
        self.said.append(text)
        self.world.say(text)

    def wake(self) -> None:
        self.others.append(self.activity("wake", lambda: self.start.wake(CHAT, starter=f"wake{self.steps}")))

    def sleep(self) -> None:
        agent = self.world.agents.read(CHAT)
        generation = next(
            (c.generation for c in self.containers.values() if c.generation.number == agent.generation), None
        )
        if generation is not None:
            self.world.agents.ask_to_stop(generation)

    def activity(self, name: str, run: Callable[[], Any]) -> Activity:
        return Activity(name, run, self.world.clock.now())

    def go_on(self) -> None:
        self.begin_turns()
        calls = self.random.choice([1, 2, 4, 8, 30])
        activities = [*(each.activity for each in self.live()), *self.others]
        ready = [partial(self.resume, each, calls) for each in activities]
        ready += [partial(self.go_on_asking, each, calls) for each in self.asks if not each.over]
        if ready:
            self.random.choice(ready)()
        self.bury_activities()

    def live(self) -> list[Container]:
        return [each for each in self.containers.values() if not each.over and not each.frozen]

    def resume(self, activity: Activity, calls: int) -> None:
        self.current = activity
        for _ in range(calls):
            if activity.over:
                break
            self.steps += 1
            activity.resume()
        self.current = None

    def bury_activities(self) -> None:
        for other in self.others:
            assert other.error is None or isinstance(other.error, Killed | AgentUnavailable), repr(other.error)
        self.others = [each for each in self.others if not each.over]
        for container in self.containers.values():
            if container.activity.over and not container.over:
                error = container.activity.error
                assert error is None or isinstance(error, Killed), repr(error)
                self.container_ended(container, 137 if error else container.activity.result)

    def container_ended(self, container: Container, code: int) -> None:
        container.over, container.running, container.exit_code = True, None, code
        container.ended = self.world.clock.now()
        by_itself = container.term_at is None
        self.events.append((container, code != 0 and by_itself))

    def crash(self) -> None:
        """A Lambda function dies where it is."""
        victims = [
            *self.others,
            *(ask.activity for ask in self.asks if ask.activity is not None and not ask.activity.over),
        ]
        if victims:
            self.kill(self.random.choice(victims))
            self.bury_activities()

    def kill(self, activity: Activity) -> None:
        self.current = activity
        activity.kill()
        self.current = None

    def kill_container(self) -> None:
        self.end_somehow(lambda container: self.kill(container.activity))

    def terminate(self) -> None:
        def signal(container: Container) -> None:
            container.term_at = container.term_at or self.world.clock.now()

        self.end_somehow(signal)

    def freeze(self) -> None:
        def stop_or_go(container: Container) -> None:
            container.frozen = not container.frozen

        self.end_somehow(stop_or_go)

    def end_somehow(self, end: Callable[[Container], None]) -> None:
        running = [each for each in self.containers.values() if not each.over]
        if running:
            end(self.random.choice(running))
        self.bury_activities()

    def tell(self) -> None:
        """An event of a task's end arrives, gets lost, or comes twice."""
        if not self.events:
            return
        container, crashed = self.events.pop(self.random.randrange(len(self.events)))
        for _ in range(self.random.choice([0, 1, 1, 1, 1, 2])):
            self.others.append(self.bury_later(container, crashed=crashed))

    def bury_later(self, container: Container, *, crashed: bool) -> Activity:
        generation = container.generation
        ran = container.ran
        return self.activity("event", lambda: self.bury(generation, crashed=crashed, reason="exit code", ran=ran))

    def schedule(self) -> None:
        due: Callable[[], Any] = self.sweep if self.random.randrange(2) else self.shut_down
        self.others.append(self.activity("schedule", due))

    def change_capacity(self) -> None:
        self.full = not self.full and self.random.randrange(6) == 0

    def pass_time(self) -> None:
        self.let_pass(self.random.choice([1, 1, 5, 5, 20, 31, 31, 95, 200, 1000]))

    def let_pass(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, RENEWAL_SECONDS)
            self.world.clock.advance(step)
            seconds -= step
            for container in self.containers.values():
                container.renew()
                self.kill_late(container)
            self.lapse()
        self.bury_activities()

    def kill_late(self, container: Container) -> None:
        late = container.term_at is not None and self.world.clock.now() - container.term_at >= STOP_SECONDS
        if late and not container.over:
            self.kill(container.activity)
            self.bury_activities()

    # The state machine

    def begin_turns(self) -> None:
        for claim in self.world.executions.started:
            if claim.execution in self.world.executions.ended:
                continue
            self.world.executions.ended.add(claim.execution)
            route = self.world.prepare(claim)
            if route.turn is None:
                continue
            ask = Ask(TurnClaim(route.claim, route.turn), route.seconds, self.world.clock.now())
            self.asks.append(ask)
            if route.route == AGENT or self.delegates(ask.claim):
                self.invoke(ask)
            else:
                ask.outcome = "chat"

    def delegates(self, claim: TurnClaim) -> bool:
        """Whether the model that is asked hands the turn over."""
        if not self.world.turn(claim.number).may_delegate or self.random.randrange(2):
            return False
        deadline = int(self.world.clock.now()) + AGENT_SECONDS + TURN_SECONDS
        return self.world.turns.delegate(claim, "do it", deadline=deadline)

    def invoke(self, ask: Ask) -> None:
        self.tokens += 1
        ask.token, ask.outcome = f"token{self.tokens}", None
        ask.beat_at = self.world.clock.now()
        ask.activity = self.activity("StartAgent", lambda: self.start(ask.claim, ask.token))

    def go_on_asking(self, ask: Ask, calls: int) -> None:
        if ask.activity is not None:
            self.resume(ask.activity, calls)
            if not ask.activity.over:
                return
            error, ask.activity = ask.activity.error, None
            if error is not None and ask.outcome is None:
                self.invocation_failed(ask, error)
                return
        if ask.outcome is not None:
            self.after(ask, ask.outcome)

    def invocation_failed(self, ask: Ask, error: BaseException) -> None:
        assert isinstance(error, Killed | AgentUnavailable), repr(error)
        if isinstance(error, Killed) and ask.crashed < CRASHED_RETRIES:
            ask.crashed += 1
            self.invoke(ask)
        else:
            self.after(ask, "unavailable")

    def after(self, ask: Ask, outcome: str) -> None:
        if outcome == "AgentInterrupted" and ask.interrupted < INTERRUPTED_RETRIES:
            ask.interrupted += 1
            self.invoke(ask)
            return
        turn = self.world.turn(ask.claim.number)
        if outcome != "success":  # the chat lane; a turn that has its answer by then keeps it
            answer = Answer(f"copilot: {turn.text}", "model")
            self.world.turns.answer(ask.claim, Answered(answer, turn.text, "copilot", 0, 0))
        ask.over = True
        self.world.deliver(ask.claim)

    def lapse(self) -> None:
        """Heartbeats that did not come, and the state's own time."""
        now = self.world.clock.now()
        for ask in self.asks:
            if ask.over or ask.outcome is not None:
                continue
            if now - ask.beat_at > ask.heartbeat or now - ask.began > AGENT_SECONDS:
                if ask.activity is not None:
                    self.kill(ask.activity)
                    ask.activity = None
                ask.outcome = "timeout"

    # What must hold

    def check_always(self) -> None:
        assert self.violations == []
        assert all(len(arns) == 1 for arns in self.opened.values()), "two holders of one generation"
        agent = self.world.agents.read(CHAT)
        assert agent.pending == len(self.world.agents.mail(CHAT)), "pending is not the number of mails"
        assert all(deaths <= KILLS for deaths in self.deaths.values()), "a turn killed a third agent"

    def settle(self) -> None:
        """Nothing fails any more; what hangs goes on hanging, time passes, the schedules run."""
        self.calm, self.full = True, False
        for round_ in range(120):
            self.finish_all()
            if self.quiet():
                return
            self.let_pass(60)
            if round_ * 60 % SWEEP_SECONDS == 0:
                self.others += [self.activity("sweep", self.sweep), self.activity("idle", self.shut_down)]
        raise AssertionError("it does not settle")

    def finish_all(self) -> None:
        for _ in range(400):
            self.begin_turns()
            while self.events:
                container, crashed = self.events.pop()
                self.others.append(self.bury_later(container, crashed=crashed))
            for activity in self.others:
                self.resume(activity, 200)
            for ask in [each for each in self.asks if not each.over]:
                self.go_on_asking(ask, 200)
            for container in self.live():
                self.resume(container.activity, 3)
            self.bury_activities()
            busy = self.events or any(ask.activity or ask.outcome for ask in self.asks if not ask.over)
            if not busy and not any(each.running for each in self.live()):
                break

    def quiet(self) -> bool:
        agent = self.world.agents.read(CHAT)
        at_rest = (agent.status, agent.pending, agent.due_at) == (AgentStatus.STOPPED, 0, None)
        began = all(claim.execution in self.world.executions.ended for claim in self.world.executions.started)
        settled = all(ask.over for ask in self.asks) and all(each.over for each in self.containers.values())
        counted = not Hours(0, self.world.hours.read(), 0).running
        return at_rest and began and settled and counted and not self.events and not self.others

    def check(self) -> None:
        chat = self.world.claims.read(CHAT)
        assert chat.claimed_at is None
        assert chat.waiting == 0
        real = sum(each.ended - each.began for each in self.containers.values())
        counts = self.world.hours.read()
        assert sum(seconds for name, seconds in counts.items() if name.startswith(SECONDS)) == real
        told = [notice for notice in self.world.owner.told if notice.kind == "agent_hours"]
        assert len(told) == len([name for name in counts if name.startswith(TOLD)])
        answered = "\n".join(self.world.texts())
        turns = [self.world.turn(number) for number in range(1, chat.turn_counter + 1)]
        assert {turn.status for turn in turns} <= {TurnStatus.DELIVERED}
        assert "\n\n".join(self.said) == "\n\n".join(turn.text for turn in turns)
        assert len(self.world.texts()) == len(turns), "an answer was lost or given twice"
        assert [turn.number for turn in turns if (turn.reply or "") not in answered] == []
        assert answered.count(texts.KILLED_AGENT.strip()) == sum(bool(turn.killed_agent) for turn in turns)


def walk(seed: int) -> Walk:
    taken = Walk(seed)
    for _ in range(ACTIONS):
        taken.act()
    taken.settle()
    taken.check()
    return taken


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_no_turn_is_left_and_no_run_is_stopped(seed: int) -> None:
    assert walk(seed).steps > ACTIONS


if __name__ == "__main__":
    walks = int(sys.argv[1]) if len(sys.argv) > 1 else len(SEEDS)
    explored = sum(walk(seed).steps for seed in range(walks))
    sys.stdout.write(f"{walks} walks, {explored} steps explored, 0 violations\n")

"""The protocol of a turn, walked at random: whatever crashes, hangs or comes twice, it settles and keeps its word.

Every request, state, event and sweep is an activity that stops before each of its calls to a store, a provider,
Telegram or Step Functions. The walk lets them go on in any order, kills them between any two calls, declares them dead
while they live on (zombies), and loses events; the state machine's Retry and Catch are those of `turn.asl.json`. Then
everything is left to settle, and what must hold always is checked.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from assistant.errors import (
    DeliveryDelayed,
    DeliveryFailed,
    DeliveryRefused,
    DeliveryUncertain,
    ProviderDeclined,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.stores.dynamodb import Table
from assistant.stores.ledger import DynamoLedger
from assistant.stores.stops import DynamoStops
from assistant.stores.turns import DynamoTurns
from assistant.turns.chain import Budget
from assistant.turns.failing import FailureReport
from assistant.turns.ledger import window_kind, window_name
from assistant.turns.model import Answer, ChatClaim, Turn, TurnClaim, TurnStatus, Usage
from assistant.turns.stopping import Stopped
from local.small_dynamodb import SmallDynamoDb
from tests.doubles import World, create_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assistant.errors import ProviderError
    from assistant.turns.accepting import Incoming
    from assistant.turns.chain import Provider
    from assistant.turns.ledger import Block, Reservation
    from assistant.turns.model import Chat, InboxMessage, Said, Tool

CHATS = ("42", "43")
MACHINE = json.loads((Path(__file__).parents[2] / "statemachine" / "turn.asl.json").read_text("utf-8"))
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
LONGEST_LAMBDA_SECONDS = 75
CRASHES = ("Runtime.ExitError", "Lambda.Unknown", "Sandbox.Timedout")
CALLS = frozenset({"get_item", "put_item", "query", "transact_write_items", "update_item", "get_paginator"})
SEEDS = (*range(12), 39, 97, 115, 152)
"""The last four broke what this file was written against: chats held up for ever, parts sent twice, empty questions."""
ACTIONS = 70
MOST_EXECUTIONS = 30
"""Until two chats are settled: a few for what waits, and those that look for parked turns."""

DAY = 86400


class Killed(BaseException):
    """The process is gone."""


class Activity:
    """Something that runs in a Lambda function, one call at a time."""

    def __init__(self, name: str, run: Callable[[], Any], began: float) -> None:
        self.name, self.began = name, began
        self.result: Any = None
        self.error: BaseException | None = None
        self.over = False
        self._killed = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._run = run
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Go on until the next call, or the end."""
        self._go.release()
        assert self._stopped.acquire(timeout=30), f"{self.name} hangs"

    def kill(self) -> None:
        """The process ends where it is."""
        self._killed = True
        while not self.over:
            self.resume()

    def stop(self) -> None:
        """Called by the activity itself, before a call."""
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def _body(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self.result = self._run()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it belongs to the walk)
            self.error = error
        self.over = True
        self._stopped.release()


@dataclass
class Execution:
    """An execution of the state machine, state by state."""

    claim: ChatClaim
    began: float
    state: str = MACHINE["StartAt"]
    data: dict[str, Any] = field(default_factory=dict)
    running: bool = True
    activity: Activity | None = None
    wait_until: float = 0
    retries: Counter[int] = field(default_factory=Counter)

    def enter(self, state: str, now: float) -> None:
        """Go to a state; Choice and Wait are gone through, Succeed and Fail end the execution."""
        self.state, self.retries = state, Counter()
        kind = STATES[state]["Type"]
        if kind == "Choice":
            (following,) = [c["Next"] for c in STATES[state]["Choices"] if c["StringEquals"] == self.data["route"]]
            self.enter(following, now)
        elif kind == "Wait":
            self.wait_until = now + self.data["seconds"]
            self.enter(STATES[state]["Next"], now)
        elif kind in ("Succeed", "Fail"):
            self.running = False

    def succeeded(self, result: Any, now: float) -> None:
        """The state's function answered."""
        state = STATES[self.state]
        if state.get("OutputPath") == "$.Payload" and "Next" in state:
            self.data = result
        if "Next" in state:
            self.enter(state["Next"], now)
        else:
            self.running = False

    def failed(self, name: str, now: float) -> bool:
        """The state's function failed: Retry, then Catch; False if the execution failed with it."""
        state = STATES[self.state]
        for number, retrier in enumerate(state.get("Retry", [])):
            if not _matches(retrier, name):
                continue
            if self.retries[number] < retrier["MaxAttempts"]:
                self.retries[number] += 1
                return True
            break
        caught = next(catcher["Next"] for catcher in state["Catch"] if _matches(catcher, name))
        self.enter(caught, now)
        return self.running


def _matches(rule: dict[str, Any], name: str) -> bool:
    return name in rule["ErrorEquals"] or "States.ALL" in rule["ErrorEquals"]


class GatedClient:
    """DynamoDB's client, stopping before each call."""

    def __init__(self, client: Any, gate: Callable[[], None]) -> None:
        self._client, self._gate = client, gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in CALLS:
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._gate()
            return found(*args, **more)

        return call


class CountedLedger(DynamoLedger):
    """The ledger, with what it gave out, and what that cost, counted apart from it."""

    __slots__ = ()
    out: ClassVar[Counter[tuple[str, str]]] = Counter()

    def reserve(self, provider: Provider, *, holder: str, micro_dollars: int = 0) -> Reservation:
        reservation = super().reserve(provider, holder=holder, micro_dollars=micro_dollars)
        self.out.update({(provider.id, window): amount for window, amount in reservation.windows.items()})
        return reservation

    def succeeded(self, reservation: Reservation, *, micro_dollars: int | None) -> None:
        super().succeeded(reservation, micro_dollars=micro_dollars)
        if micro_dollars is not None:
            self._back(reservation, money=reservation.micro_dollars - micro_dollars)

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        block = super().failed(reservation, error)
        unused = 0 if error.may_cost and error.asked else reservation.micro_dollars
        self._back(reservation, requests=0 if error.asked else 1, money=unused)
        return block

    def _back(self, reservation: Reservation, *, requests: int = 0, money: int = 0) -> None:
        for window in reservation.windows:
            back = money if "micro_dollars" in window else requests
            self.out[reservation.provider.id, window] -= back


class WatchedTurns(DynamoTurns):
    """Turns, with the claims under which something was sent, in that order."""

    __slots__ = ()
    senders: ClassVar[list[ChatClaim]] = []

    def mark_sending(self, turn: TurnClaim, *, part: int, after: int | None, uncertain: bool) -> bool:
        marked = super().mark_sending(turn, part=part, after=after, uncertain=uncertain)
        if marked:
            self.senders.append(turn.chat)
        return marked


class WatchedStops(DynamoStops):
    """Stops, with the words of messages that were dropped, and the turns that were stopped."""

    __slots__ = ()
    dropped: ClassVar[Counter[str]] = Counter()
    stopped: ClassVar[set[tuple[str, int]]] = set()

    def stop(self, chat_id: str, update_id: int, chat: Chat, turn: Turn, *, unsaid: bool) -> Stopped:
        done = super().stop(chat_id, update_id, chat, turn, unsaid=unsaid)
        if done is Stopped.NOW:
            self.stopped.add((chat_id, turn.number))
        return done

    def drop(self, chat_id: str, update_id: int, messages: Sequence[InboxMessage]) -> Stopped:
        done = super().drop(chat_id, update_id, messages)
        if done is Stopped.NOW:
            self.dropped.update(message.text for message in messages if message.text)
        return done


class Walk:
    """One walk; `calm`: nothing fails any more."""

    def __init__(self, seed: int, client: Any) -> None:
        self.random = random.Random(seed)
        self.current: Activity | None = None
        self.calm = False
        self.steps = 0
        names = f"conversations{seed}", f"runtime{seed}"
        for name in names:
            create_table(client, name)
        gated: Any = GatedClient(client, self.gate)
        self.world = world = World(Table(gated, names[0]), Table(gated, names[1]))
        world.allow(*CHATS)
        world.messenger.limit = 12
        world.chain = replace(
            world.chain,
            providers=tuple(
                replace(
                    provider,
                    budgets=(
                        Budget(3 + number, "minute"),
                        Budget(9 + number, "day"),
                        *(() if provider.price.free else (Budget(200_000, "month", "micro_dollars"),)),
                    ),
                )
                for number, provider in enumerate(world.chain.providers)
            ),
        )
        CountedLedger.out.clear()
        WatchedTurns.senders.clear()
        WatchedStops.dropped.clear()
        WatchedStops.stopped.clear()
        world.turns = WatchedTurns(world.conversations, world.clock, world.history_days)
        world.ledger = CountedLedger(world.runtime, world.clock)
        world.prepare = replace(world.prepare, turns=world.turns, ledger=world.ledger, chain=world.chain)
        world.report = FailureReport(world.turns, world.ledger, world.chain, world.clock)
        executions: Any = self
        world.waking = replace(world.waking, executions=executions)
        stops = WatchedStops(world.conversations, world.clock)
        world.stopping = replace(world.stopping, turns=world.turns, stops=stops, waking=world.waking)
        world.accept = replace(world.accept, waking=world.waking)
        world.deliver = replace(world.deliver, turns=world.turns, executions=executions)
        world.recover = replace(world.recover, executions=executions)
        world.messenger.send = self.send  # type: ignore[method-assign]
        for provider_id, model in world.models.items():
            model.ask = self.answerer(provider_id)  # type: ignore[method-assign]
        if self.random.randrange(3) == 0:
            world.secrets.values.clear()  # nobody can be asked: every turn fails at once
        self.executions: dict[str, Execution] = {}
        self.requests: list[tuple[Incoming, Activity]] = []
        self.unanswered: list[Incoming] = []
        self.repeatable: list[Incoming] = []
        self.others: list[Activity] = []
        self.events: list[ChatClaim] = []
        self.said: dict[str, list[str]] = defaultdict(list)
        self.sent: list[tuple[str, str]] = []
        self.doubts: set[str] = set()
        self.answers = 0

    # What stands outside

    def gate(self) -> None:
        if self.current is not None:
            self.current.stop()

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        self.gate()
        fate = 9 if self.calm else self.random.randrange(40)
        match fate:
            case 0:
                raise DeliveryDelayed(self.random.choice([1, 30, 4000]))
            case 1 | 2:
                raise DeliveryFailed("not reached")
            case 3:
                self.doubts.add(text)
                raise DeliveryUncertain("neither sent nor answered")
            case 4:
                raise DeliveryRefused("blocked")
        self.sent.append((chat_id, text))
        if fate == 5:
            self.doubts.add(text)
            raise DeliveryUncertain("sent, not answered")
        self.gate()

    def answerer(self, provider_id: str) -> Callable[..., Answer]:
        def ask(
            system: str,
            conversation: Sequence[Said],
            *,
            key: str,
            seconds: float,
            on_text: Callable[[str], None],
            tool: Tool | None = None,
        ) -> Answer:
            self.gate()
            now = self.world.clock.now()
            fate = 9 if self.calm else self.random.randrange(18)
            failure = failures(provider_id, now, self.random).get(fate)
            if failure is not None:
                raise failure
            self.answers += 1
            return Answer(f"={self.answers}.one ={self.answers}.two", "model", Usage(input=900, output=100))

        return ask

    def start(self, claim: ChatClaim) -> None:
        self.gate()
        if not self.calm and self.random.randrange(30) == 0:
            raise ConnectionError("Step Functions is throttled")
        self.executions.setdefault(claim.execution, Execution(claim, self.world.clock.now(), data=_input(claim)))

    def running(self, claim: ChatClaim) -> bool | None:
        self.gate()
        execution = self.executions.get(claim.execution)
        return None if execution is None else execution.running

    # What may happen

    def act(self) -> None:
        """Let one thing happen."""
        happenings = (
            (self.say, 14),
            (self.repeat, 2),
            (self.go_on, 60),
            (self.crash, 6),
            (self.declare_dead, 4),
            (self.abort, 2),
            (self.notify, 4),
            (self.sweep, 3),
            (self.pass_time, 10),
        )
        happen = self.random.choices([what for what, _ in happenings], [weight for _, weight in happenings])[0]
        happen()
        self.check_ledger()

    def say(self) -> None:
        chat = self.random.choice(CHATS)
        words = self.random.choice(["", "", "", "", "", "", "/retry", "/again", "/new", "/stop"])
        incoming = self.world.incoming(words or f"words{self.steps}.{len(self.said[chat])}", chat)
        if words:
            incoming = replace(incoming, text="")
        if not words:
            assert incoming.text
            self.said[chat].append(incoming.text)
        self.post(incoming)

    def repeat(self) -> None:
        if self.repeatable:
            self.post(self.random.choice(self.repeatable))

    def post(self, incoming: Incoming) -> None:
        self.repeatable.append(incoming)
        self.requests.append((incoming, self.activity("webhook", lambda: self.world.accept(incoming))))

    def activity(self, name: str, run: Callable[[], Any]) -> Activity:
        return Activity(name, run, self.world.clock.now())

    def go_on(self) -> None:
        """Some activity, or the next state of some execution, goes on for a few calls or to its end."""
        calls = self.random.choice([1, 1, 2, 4, 100])
        doing: list[Callable[[int], None]] = [self.request_goes_on] * bool(self.requests)
        doing += [self.other_goes_on] * bool(self.others)
        doing += [self.execution_goes_on] * (3 * bool(self.ready()))
        if doing:
            self.random.choice(doing)(calls)

    def ready(self) -> list[Execution]:
        now = self.world.clock.now()
        return [e for e in self.executions.values() if e.running and (e.activity or e.wait_until <= now)]

    def request_goes_on(self, calls: int) -> None:
        number = self.random.randrange(len(self.requests))
        incoming, activity = self.requests[number]
        if self.run(activity, calls):
            del self.requests[number]
            if activity.error is not None:
                self.unanswered.append(incoming)

    def other_goes_on(self, calls: int) -> None:
        activity = self.random.choice(self.others)
        if self.run(activity, calls):
            self.others.remove(activity)

    def execution_goes_on(self, calls: int) -> None:
        execution = self.random.choice(self.ready())
        if execution.activity is None:
            run = self.function(execution)
            execution.activity = self.activity(execution.state, run)
        if self.run(execution.activity, calls):
            self.end_state(execution)

    def function(self, execution: Execution) -> Callable[[], Any]:
        world, data = self.world, execution.data
        match execution.state:
            case "PrepareTurn":
                return lambda: world.prepare(ChatClaim.parse(data)).as_state()
            case "ReportFailure":
                return lambda: world.report(TurnClaim.parse(data))
            case "DeliverReply":
                return lambda: world.deliver(TurnClaim.parse(data)).as_state()
        (provider,) = [provider.id for provider in world.chain.providers if provider.state == execution.state]
        return lambda: world.ask(provider)(TurnClaim.parse(data))

    def run(self, activity: Activity, calls: int) -> bool:
        """Whether the activity is over after so many calls."""
        self.current = activity
        for _ in range(calls):
            if activity.over:
                break
            activity.resume()
            self.steps += 1
        self.current = None
        return activity.over

    def end_state(self, execution: Execution) -> None:
        activity, execution.activity = execution.activity, None
        assert activity is not None
        now = self.world.clock.now()
        lost = not self.calm and self.random.randrange(25) == 0
        if activity.error is None and not lost:
            execution.succeeded(activity.result, now)
            return
        self.fail(execution, self.random.choice(CRASHES) if lost else _error_name(activity, self.random))

    def fail(self, execution: Execution, name: str) -> None:
        if not execution.failed(name, self.world.clock.now()):
            self.events += [execution.claim] * self.random.choice([0, 1, 1, 1, 2])

    def crash(self) -> None:
        """A process ends in the middle."""
        alive = [e for e in self.executions.values() if e.activity is not None]
        what = self.random.randrange(3)
        if what == 0 and self.requests:
            incoming, activity = self.requests.pop(self.random.randrange(len(self.requests)))
            activity.kill()
            self.unanswered.append(incoming)
        elif what == 1 and self.others:
            self.others.pop(self.random.randrange(len(self.others))).kill()
        elif alive:
            execution = self.random.choice(alive)
            assert execution.activity is not None
            execution.activity.kill()
            self.end_state(execution)

    def declare_dead(self) -> None:
        """A state's time is over, or its function is not heard of any more: but it lives on."""
        alive = [e for e in self.executions.values() if e.activity is not None]
        if alive:
            execution = self.random.choice(alive)
            self.bury(execution)
            self.fail(execution, self.random.choice(["States.Timeout", "Lambda.Unknown"]))

    def bury(self, execution: Execution) -> None:
        if execution.activity is not None:
            self.others.append(execution.activity)
            execution.activity = None

    def abort(self) -> None:
        """Somebody stops an execution."""
        alive = [e for e in self.executions.values() if e.running]
        if alive:
            self.end(self.random.choice(alive))

    def end(self, execution: Execution) -> None:
        self.bury(execution)
        execution.running = False
        self.events += [execution.claim] * self.random.choice([0, 1, 1, 2])

    def notify(self) -> None:
        """An event is delivered."""
        if self.events:
            claim = self.events.pop(self.random.randrange(len(self.events)))
            self.others.append(self.activity("TurnStopped", lambda: self.world.recover(claim.chat_id)))

    def sweep(self) -> None:
        """As the schedule's function does."""
        world = self.world
        self.others.append(self.activity("Sweep", lambda: [world.recover(chat) for chat in world.claims.due()]))

    def pass_time(self) -> None:
        self.world.clock.advance(self.random.choice([-1, 1, 5, 20, 61, 61, 301, 3600]))
        now = self.world.clock.now()
        for execution in self.executions.values():
            if execution.activity and now - execution.activity.began > LONGEST_LAMBDA_SECONDS:
                execution.activity.kill()
                self.end_state(execution)
            if execution.running and now - execution.began > MACHINE["TimeoutSeconds"]:
                self.end(execution)
        for activity in [a for a in self.others if now - a.began > LONGEST_LAMBDA_SECONDS]:
            activity.kill()
            self.others.remove(activity)
        for request in [r for r in self.requests if now - r[1].began > LONGEST_LAMBDA_SECONDS]:
            request[1].kill()
            self.requests.remove(request)
            self.unanswered.append(request[0])

    # The end

    def settle(self) -> None:
        """Nothing fails any more: what is under way ends, and time passes until nothing is left to do."""
        self.calm = True
        before = len(self.executions)
        self.finish()
        for _ in range(60):
            if all(self.world.claims.read(chat).due_at is None for chat in CHATS) and not self.unanswered:
                assert len(self.executions) - before < MOST_EXECUTIONS, "that would cost money"
                return
            self.world.clock.advance(3600)
            self.pass_time()
            self.sweep()
            self.finish()
        raise AssertionError("the chats do not settle")

    def finish(self) -> None:
        """Everything that is under way goes on to its end, in any order."""
        while True:
            for incoming in self.unanswered:
                self.post(incoming)  # Telegram repeats what it got no 200 for
            self.unanswered.clear()
            while self.events:
                self.notify()
            doing: list[Callable[[int], None]] = [self.request_goes_on] * bool(self.requests)
            doing += [self.other_goes_on] * bool(self.others) + [self.execution_goes_on] * bool(self.ready())
            waiting = [e.wait_until for e in self.executions.values() if e.running]
            if doing:
                self.random.choice(doing)(self.random.choice([1, 3, 100]))
            elif waiting:
                self.world.clock.moment = max(self.world.clock.moment, min(waiting))
            else:
                return

    # What must hold

    def check(self) -> None:
        for chat_id in CHATS:
            chat, inbox = self.world.turns.waiting(chat_id, limit=100)
            left = (chat.claimed_at, chat.due_at, chat.due_kind, chat.open_turn, chat.waiting, inbox)
            assert left == (None, None, None, None, 0, [])
            turns = [self.world.turn(number, chat_id) for number in range(1, chat.turn_counter + 1)]
            self.check_turns(turns)
            epochs = [claim.epoch for claim in WatchedTurns.senders if claim.chat_id == chat_id]
            assert epochs == sorted(epochs), "two executions sent at the same time"
            in_turns = Counter(word for turn in turns for word in turn.text.split("\n\n") if word)
            dropped = {word: times for word, times in WatchedStops.dropped.items() if word in self.said[chat_id]}
            assert in_turns + Counter(dropped) == Counter(self.said[chat_id])
            self.check_sent(chat_id, turns)

    def check_turns(self, turns: Sequence[Turn]) -> None:
        assert {turn.status for turn in turns} <= {TurnStatus.DELIVERED, TurnStatus.FAILED}
        assert all(turn.ttl is not None for turn in turns)
        assert all(turn.text for turn in turns if turn.model), "nobody is asked nothing"

    def check_sent(self, chat_id: str, turns: Sequence[Turn]) -> None:
        sent = [text for to, text in self.sent if to == chat_id]
        answers = [text for text in sent if text.startswith("=")]
        wished = Counter(part for turn in turns for part in self.parts(turn))
        twice = {part: times for part, times in Counter(answers).items() if times > max(1, wished[part])}
        assert twice == {}, "only /again sends a part again"
        certain = [turn for turn in turns if not turn.ambiguous and turn.status == TurnStatus.DELIVERED]
        for turn in certain:
            assert [p for p in self.parts(turn) if p not in answers or (p in self.doubts and wished[p] == 1)] == []
        by_claim = sorted(certain, key=lambda turn: turn.epoch)
        ordered = [part for turn in by_claim for part in self.parts(turn) if wished[part] == 1]
        assert [part for part in answers if part in ordered] == ordered

    def parts(self, turn: Turn) -> list[str]:
        reply = turn.reply or ""
        return self.world.messenger.parts(reply) if reply.startswith("=") else []

    def check_ledger(self) -> None:
        budgets = {
            (provider.id, window_kind(window_name(budget, 0))): budget.limit
            for provider in self.world.chain.providers
            for budget in provider.budgets
        }
        for (provider, window), used in CountedLedger.out.items():
            assert used <= budgets[provider, window_kind(window)]


def failures(provider_id: str, now: float, lots: random.Random) -> dict[int, ProviderError]:
    """What may become of a request, by lot."""
    return {
        0: ProviderThrottled(provider_id, "rate limit"),
        1: ProviderExhausted(provider_id, "quota", block_until=now + lots.choice([90, 4000, DAY])),
        2: ProviderUnavailable(provider_id, "timeout"),
        3: ProviderUnavailable(provider_id, "unreachable", asked=False),
        4: ProviderUnavailable(provider_id, "server error"),
        5: ProviderRejected(provider_id, "key"),
        6: ProviderUnavailable(provider_id, "cut off", may_cost=True),
        7: ProviderDeclined(provider_id, "moderated"),
    }


def _input(claim: ChatClaim) -> dict[str, Any]:
    return {"chat_id": claim.chat_id, "epoch": claim.epoch}


def _error_name(activity: Activity, lots: random.Random) -> str:
    if isinstance(activity.error, Killed):
        return lots.choice(CRASHES)
    return type(activity.error).__name__


def walk(seed: int, client: Any) -> Walk:
    taken = Walk(seed, client)
    for _ in range(ACTIONS):
        taken.act()
    taken.settle()
    taken.check()
    return taken


@pytest.fixture
def client() -> SmallDynamoDb:
    return SmallDynamoDb()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_chats_settle_and_nothing_is_lost_or_said_twice(seed: int, client: Any) -> None:
    assert walk(seed, client).steps > ACTIONS

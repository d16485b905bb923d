"""Test doubles of what stands outside, and a world of real stores on moto around them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from assistant.errors import ProviderError, SecretMissing
from assistant.stores.access import DynamoAccess
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.stores.claims import DynamoClaims
from assistant.stores.dynamodb import Table
from assistant.stores.errands import DynamoErrands
from assistant.stores.hours import DynamoHours
from assistant.stores.inbox import DynamoInbox
from assistant.stores.ledger import DynamoLedger
from assistant.stores.reminders import DynamoReminders
from assistant.stores.stops import DynamoStops
from assistant.stores.turns import DynamoTurns
from assistant.stores.usage import DynamoUsage
from assistant.telegram import parts
from assistant.turns.accepting import Acceptance, Incoming, Response
from assistant.turns.asking import Asking, Attempt
from assistant.turns.chain import load_chain
from assistant.turns.controlling import Controlling
from assistant.turns.delivering import Delivered, Delivery
from assistant.turns.errands import Document, HandingOver
from assistant.turns.failing import FailureReport
from assistant.turns.firing import Due, Firing
from assistant.turns.hours import hours
from assistant.turns.metering import Metering
from assistant.turns.model import (
    Answer,
    ChatClaim,
    Delegation,
    Notice,
    Preview,
    Reminder,
    Said,
    Show,
    Tool,
    Turn,
    TurnClaim,
    Usage,
)
from assistant.turns.preparing import Preparation, Route
from assistant.turns.reminding import Reminding
from assistant.turns.reporting import Reporting
from assistant.turns.stopping import Stopping
from assistant.turns.waking import Recovery, Waking
from local.small_dynamodb import SmallDynamoDb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assistant.turns.chain import Provider
    from assistant.turns.errands import Asked, Runner
    from assistant.turns.lanes import AgentMode
    from assistant.turns.ledger import Reservation

NOON = 1_795_348_800  # 2026-11-22 12:00:00 UTC
CHAT = "42"


class DrivenClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.moment = now

    def now(self) -> float:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += seconds


class RecordedExecutions:
    """Executions that are only noted; `ended` are those that are not running any more."""

    def __init__(self) -> None:
        self.started: list[ChatClaim] = []
        self.ended: set[str] = set()

    def start(self, claim: ChatClaim) -> None:
        if claim not in self.started:
            self.started.append(claim)

    def running(self, claim: ChatClaim) -> bool | None:
        if claim not in self.started:
            return None
        return claim.execution not in self.ended


class RecordedMessenger:
    """A chat service that keeps what it is sent; `trouble` holds what to raise, or call, for the next sends."""

    def __init__(self, limit: int = parts.PART_UNITS) -> None:
        self.sent: list[tuple[str, str]] = []
        self.calls: list[dict[str, Any]] = []
        self.documents: list[tuple[str, Document]] = []
        self.trouble: list[BaseException | None] = []
        self.limit = limit
        self.typing_shown = 0
        self.wanted: Callable[[], bool] = lambda: True
        self.shown: list[str] = []
        self.taken_back = 0
        self.revised: list[tuple[str, int, str]] = []
        self.gone: set[int] = set()
        self.withdrawn: list[tuple[str, int]] = []

    def parts(self, text: str) -> list[str]:
        return parts.split(text, self.limit)

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None:
            raise trouble
        self.sent.append((chat_id, text))
        self.calls.append({"chat_id": chat_id, "text": text, "thread_id": thread_id, "reply_to": reply_to})

    def revise(self, chat_id: str, message_id: int, text: str) -> bool:
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None:
            raise trouble
        if message_id in self.gone:
            return False
        self.revised.append((chat_id, message_id, text))
        return True

    def withdraw(self, chat_id: str, message_id: int) -> None:
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None:
            raise trouble
        self.withdrawn.append((chat_id, message_id))

    def send_document(
        self, chat_id: str, document: Document, *, caption: str, thread_id: int | None, reply_to: int | None
    ) -> None:
        self.send(chat_id, caption, thread_id=thread_id, reply_to=reply_to)
        self.documents.append((chat_id, document))

    @contextlib.contextmanager
    def composing(
        self, chat_id: str, thread_id: int | None, preview: Preview | None, wanted: Callable[[], bool]
    ) -> Iterator[Show]:
        self.wanted = wanted
        self.typing_shown += 1
        show: Show = self.shown.append if preview is not None else lambda text: None
        try:
            yield show
        except BaseException:
            self.taken_back += 1
            raise


class ScriptedModel:
    """A provider that answers by a script: texts to say, errors to raise; after that it repeats the question."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: list[str | ProviderError | Delegation | Callable[[], object]] = []
        self.offered: list[Tool | None] = []
        self.asked: list[list[Said]] = []
        self.seconds: list[float] = []
        self.usage: Usage | None = Usage(input=10, output=5)

    def ask(
        self,
        system: str,
        conversation: Sequence[Said],
        *,
        key: str,
        seconds: float,
        on_text: Callable[[str], None],
        tool: Tool | None = None,
    ) -> Answer | Delegation:
        self.asked.append(list(conversation))
        self.offered.append(tool)
        self.seconds.append(seconds)
        act = self.script.pop(0) if self.script else f"{self.name}: {conversation[-1].text}"
        if callable(act):
            done = act()
            act = done if isinstance(done, Delegation) else f"{self.name}: {conversation[-1].text}"
        if isinstance(act, ProviderError):
            raise act
        if isinstance(act, Delegation):
            return act
        on_text(act)
        return Answer(act, f"{self.name}-model", self.usage)


class ListedOwner:
    """What the owner was told."""

    def __init__(self) -> None:
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)


class ListedRunners:
    """Functions that were handed commands, and have not carried them out; `trouble`: what to raise instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[Runner, Asked]] = []
        self.trouble: list[Exception] = []

    def run(self, runner: Runner, asked: Asked) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.asked.append((runner, asked))


class ListedSchedules:
    """Schedules by name; those whose expression is in `refused` are."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], Reminder] = {}
        self.refused: set[str] = set()

    def create(self, chat_id: str, reminder: Reminder) -> bool:
        if reminder.schedule in self.refused:
            return False
        self.there.setdefault((chat_id, reminder.key), reminder)
        return True

    def delete(self, chat_id: str, key: str) -> None:
        self.there.pop((chat_id, key), None)


class ListedWaker:
    """Whose agents were to be woken, and for which turns."""

    def __init__(self) -> None:
        self.woken: list[TurnClaim] = []
        self.chats: list[tuple[str, str]] = []

    def wake_chat(self, chat_id: str, *, starter: str) -> None:
        self.chats.append((chat_id, starter))

    def wake(self, claim: TurnClaim) -> None:
        self.woken.append(claim)


class PlainSecrets:
    """Secrets in a dictionary."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def read(self, name: str) -> str:
        try:
            return self.values[name]
        except KeyError:
            raise SecretMissing(f"no {name}") from None


class ListedJournal:
    """Attempts in a list."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def attempted(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


def create_table(client: Any, name: str) -> None:
    """A table as template.yaml has it; tests/contract compares the keys."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "due_kind", "AttributeType": "S"},
            {"AttributeName": "due_at", "AttributeType": "N"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due_kind", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )


@dataclass
class World:
    """The rules over real stores, with everything outside AWS as doubles."""

    conversations: Table
    runtime: Table
    clock: DrivenClock = field(default_factory=DrivenClock)
    executions: RecordedExecutions = field(default_factory=RecordedExecutions)
    messenger: RecordedMessenger = field(default_factory=RecordedMessenger)
    journal: ListedJournal = field(default_factory=ListedJournal)
    owner: ListedOwner = field(default_factory=ListedOwner)
    waker: ListedWaker = field(default_factory=ListedWaker)
    schedules: ListedSchedules = field(default_factory=ListedSchedules)
    runners: ListedRunners = field(default_factory=ListedRunners)
    history_messages: int = 20
    history_days: int = 7
    stream: bool = True
    agent_mode: AgentMode = "off"
    agent_hours: float = 40

    def __post_init__(self) -> None:
        self.chain = load_chain()
        self.models = {provider.id: ScriptedModel(provider.id) for provider in self.chain.providers}
        self.secrets = PlainSecrets({provider.secret: "key" for provider in self.chain.providers})
        self.claims = DynamoClaims(self.conversations, self.clock)
        self.inbox = DynamoInbox(self.conversations, self.clock)
        self.turns = DynamoTurns(self.conversations, self.clock, self.history_days)
        self.ledger = DynamoLedger(self.runtime, self.clock)
        self.usage = DynamoUsage(self.runtime, self.clock)
        self.reporting = Reporting(self.chain, self.ledger, self.usage, self.clock)
        self.access = DynamoAccess(self.runtime, self.clock)
        self.waking = Waking(self.claims, self.executions)
        self.errands = DynamoErrands(self.conversations, self.clock)
        self.reminders = DynamoReminders(self.runtime, self.conversations, self.clock)
        self.reminding = Reminding(self.reminders, self.schedules, self.inbox, self.claims, self.turns, self.clock)
        self.fire = Firing(self.reminders, self.schedules, self.access, self.waking)
        self.stops = DynamoStops(self.conversations, self.clock)
        self.stopping = Stopping(self.turns, self.stops, self.waking, None)
        self.accept = Acceptance(
            self.access,
            self.inbox,
            self.waking,
            20,
            self.agent_mode != "off",
            lambda: self.reporting,
            lambda: self.reminding,
            lambda: self.stopping,
            lambda: HandingOver(self.errands, self.runners, self.inbox, self.clock, self.agent_mode != "off"),
            lambda: self.controlling,
        )
        self.agents = DynamoAnsweringAgents(self.runtime, self.clock, self.turns)
        self.hours = DynamoHours(self.runtime, self.clock)
        self.controlling = Controlling(
            self.agents,
            self.waker,
            self.agent_mode,
            lambda: hours(self.ledger.entries(), self.agent_hours, self.clock.now()),
            self.clock,
        )
        self.prepare = Preparation(
            self.claims,
            self.turns,
            self.ledger,
            self.agents,
            self.chain,
            self.agent_mode,
            self.agent_hours,
            self.clock,
            self.waker,
        )
        self.report = FailureReport(self.turns, self.ledger, self.chain, self.clock)
        self.deliver = Delivery(self.claims, self.turns, self.executions, self.messenger, self.clock)
        self.recover = Recovery(self.claims, self.executions, self.clock)
        self._updates = self._requests = 0
        self.allow(CHAT)

    def ask(self, provider_id: str) -> Asking:
        provider = self.chain.provider(provider_id)
        return Asking(
            provider=provider,
            timeouts=self.chain.timeouts,
            model=self.models[provider_id],
            turns=self.turns,
            metering=Metering(provider, self.ledger, self.usage, self.secrets, self.owner, self.clock),
            messenger=self.messenger,
            journal=self.journal,
            clock=self.clock,
            history_messages=self.history_messages,
            history_days=self.history_days,
            stream=self.stream,
        )

    def reserve(self, provider: Provider, *, micro_dollars: int = 0) -> Reservation:
        """A request of its own, taken out of the ledger."""
        self._requests += 1
        return self.ledger.reserve(provider, holder=f"request {self._requests}", micro_dollars=micro_dollars)

    def allow(self, *ids: str) -> None:
        for who in ids:
            self.runtime.client.put_item(TableName=self.runtime.name, Item={"pk": {"S": "ALLOWED"}, "sk": {"S": who}})

    def incoming(self, text: str | None = "hello", chat: str = CHAT, **changes: Any) -> Incoming:
        """A message, as Telegram's update would be read; `/word` is a command, and what follows it is the text."""
        self._updates += 1
        command = None
        if text and text.startswith("/"):
            command, _, text = text[1:].partition(" ")
        plain = Incoming(
            update_id=self._updates,
            message_id=self._updates,
            date=int(self.clock.now()),
            chat_id=chat,
            sender_id=chat,
            group=False,
            addressed=True,
            command=command,
            text=text,
            kind="text" if text is not None else "voice",
        )
        return replace(plain, **changes)

    def say(self, text: str | None = "hello", chat: str = CHAT, **changes: Any) -> Response:
        return self.accept(self.incoming(text, chat, **changes))

    def turn(self, number: int = 1, chat: str = CHAT) -> Turn:
        turn = self.turns.read(chat, number)
        assert turn is not None
        return turn

    def run(self, claim: ChatClaim | None = None) -> Route:
        """Walk one execution as the state machine does, without its retries; the newest started one by default."""
        route = self.prepare(claim or self.executions.started[-1])
        if route.turn is None or route.route in ("idle", "wait"):
            return self._ended(route)
        turn = TurnClaim(route.claim, route.turn)
        ids = [provider.id for provider in self.chain.providers]
        if route.route in ids:
            for provider_id in ids[ids.index(route.route) :]:
                with contextlib.suppress(ProviderError):
                    self.ask(provider_id)(turn)
                    break
            else:
                self.report(turn)
        elif route.route == "fail":
            self.report(turn)
        self.deliver(turn)
        return self._ended(route)

    def run_all(self) -> None:
        """Run every started execution, those that are started meanwhile too."""
        for claim in self.executions.started:
            if claim.execution not in self.executions.ended:
                self.run(claim)

    def due(self) -> list[Due]:
        """What every schedule that has come would send now."""
        now = int(self.clock.now())
        return [
            Due(chat, key, reminder.first)
            for (chat, key), reminder in self.schedules.there.items()
            if reminder.first <= now
        ]

    def ring(self, due: Sequence[Due] | None = None) -> list[str]:
        """Let due reminders fire; by default all of them, as their schedules do, those left over too."""
        ringing = due if due is not None else self.due() or [Due(*one, NOON) for one in self.schedules.there]
        return [self.fire(one) for one in ringing]

    def sweep(self) -> list[str]:
        """What the schedule does, and then every execution that it started."""
        done = [self.recover(chat_id) for chat_id in self.claims.due()]
        self.run_all()
        return done

    def deliver_turn(self, number: int = 1) -> Delivered:
        return self.deliver(TurnClaim(ChatClaim(CHAT, self.turn(number).epoch), number))

    def texts(self, chat: str = CHAT) -> list[str]:
        return [text for to, text in self.messenger.sent if to == chat]

    def _ended(self, route: Route) -> Route:
        self.executions.ended.add(route.claim.execution)
        return route


TABLES = ("conversations", "runtime")


def small_world(**parts_of_it: Any) -> World:
    """A world with empty tables in dictionaries: a hundredth of moto's time, with the same answers."""
    client = SmallDynamoDb(*TABLES).as_client()
    return World(Table(client, TABLES[0]), Table(client, TABLES[1]), **parts_of_it)


@contextlib.contextmanager
def a_world(*, own_client: bool = False, **parts_of_it: Any) -> Iterator[World]:
    """A world with empty tables; with `own_client` they are moto's, for a test that listens to boto3's client."""
    if not own_client:
        yield small_world(**parts_of_it)
        return
    with mock_aws():
        client = boto3.client("dynamodb")
        for name in TABLES:
            create_table(client, name)
        yield World(Table(client, TABLES[0]), Table(client, TABLES[1]), **parts_of_it)

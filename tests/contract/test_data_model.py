"""docs/data-model.md ↔ assistant.stores.schema ↔ what the stores really write."""

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from assistant import stores
from assistant.errors import (
    DeliveryDelayed,
    DeliveryFailed,
    DeliveryRefused,
    DeliveryUncertain,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderThrottled,
    ProviderUnavailable,
    TurnError,
)
from assistant.stores import schema
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.stores.conversations import DynamoConversations
from assistant.stores.snapshots import DynamoSnapshots
from assistant.turns.agents import Generation
from assistant.turns.errands import CarryingOut, Reply
from assistant.turns.firing import Due
from assistant.turns.hours import Ran, month_of, task_name
from assistant.turns.ledger import AccountQuota
from assistant.turns.model import Answer, Answered, TurnClaim, Usage
from assistant.workspace.model import Snapshot
from tests.contract import data_model
from tests.doubles import CHAT, World, a_world

ITEMS = data_model.read()
WRITTEN = [item for item in ITEMS if not item.planned]
STORES = Path(stores.__file__).parent
OWNER = "the owner"
GROUP = "-1001234"

type Stored = dict[str, dict[str, Any]]
"""An item as DynamoDB has it: a type and a value by attribute."""

type Key = tuple[str, str, str]
"""Table, partition, sort key."""


# The page and the schema


def test_the_pages_items_are_the_schemas_items() -> None:
    assert {(item.name, item.table) for item in WRITTEN} == {(item.name, item.table) for item in schema.ITEMS}


@pytest.mark.parametrize("item", WRITTEN, ids=lambda item: item.name)
def test_an_items_attributes_on_the_page_are_those_of_the_schema(item: data_model.Item) -> None:
    (code,) = [known for known in schema.ITEMS if known.name == item.name]

    page = {row.name.partition("<")[0] for row in item.attributes if not row.planned}
    assert page == code.attributes


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_an_items_rows_have_known_types_and_names_of_their_own(item: data_model.Item) -> None:
    assert [row.name for row in item.attributes if row.type not in {"S", "N", "BOOL", "M", "L"}] == []
    assert len({row.name for row in item.attributes}) == len(item.attributes)


@pytest.mark.parametrize("item", WRITTEN, ids=lambda item: item.name)
def test_the_writers_on_the_page_are_modules_of_the_stores(item: data_model.Item) -> None:
    modules = {file.stem for file in STORES.glob("*.py")} | {OWNER}
    named = item.writers.union(*(row.writers for row in item.attributes))

    assert named
    assert named - modules == set()


def test_no_two_items_of_a_table_can_have_the_same_key() -> None:
    for table in ("Conversations", "Runtime"):
        shapes = [(item.pk.pattern, item.sk.pattern) for item in ITEMS if item.table == table]
        assert len(set(shapes)) == len(shapes)


# The page and what is written


@dataclass
class Observer:
    """Looks at every write: which module writes which attributes, and what its items are afterwards."""

    world: World
    items: dict[str, set[str]] = field(default_factory=lambda: {"Conversations": set(), "Runtime": set()})
    writers: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def watch(self) -> None:
        """Begin to look."""
        client: Any = self.world.conversations.client
        for operation in ("put_item", "update_item", "transact_write_items"):
            setattr(client, operation, partial(self._write, getattr(client, operation)))

    def _write(self, operation: Callable[..., Any], **request: Any) -> Any:
        module = _writing_module()
        writes = [request] if "TableName" in request else [next(iter(w.values())) for w in request["TransactItems"]]
        for write in writes:
            kind = _kind(*_key(write))
            for name in _attributes(write):
                row = kind.attribute(name) if kind else None
                if kind and row:
                    self.writers.setdefault((kind.name, row.name), set()).add(module)
        answer = operation(**request)
        for table, pk, sk in map(_key, writes):
            key = {"pk": {"S": pk}, "sk": {"S": sk}}
            found = self.world.conversations.client.get_item(TableName=table.lower(), Key=key, ConsistentRead=True)
            if "Item" in found:
                self.items[table].add(json.dumps(found["Item"], sort_keys=True))
        return answer


def _key(write: dict[str, Any]) -> Key:
    key = write.get("Key") or write["Item"]
    return write["TableName"].capitalize(), key["pk"]["S"], key["sk"]["S"]


def _attributes(write: dict[str, Any]) -> set[str]:
    """What a Put, an Update or (nothing) a Delete sets or removes."""
    if "Item" in write:
        return set(write["Item"]) - {"pk", "sk"}
    names = re.findall(r"(?:SET|REMOVE|,)\s*(#?\w+)", write.get("UpdateExpression", ""))
    return {write.get("ExpressionAttributeNames", {}).get(name, name) for name in names}


def _writing_module() -> str:
    """The store module that is at work: the innermost but `dynamodb`, through which all of them write."""
    frame = inspect.currentframe()
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.parent == STORES and file.stem != "dynamodb":
            return file.stem
        frame = frame.f_back
    return OWNER


def _kind(table: str, pk: str, sk: str) -> data_model.Item | None:
    fitting = [item for item in ITEMS if item.table == table and item.pk.fullmatch(pk) and item.sk.fullmatch(sk)]
    assert len(fitting) <= 1, (pk, sk)
    return fitting[0] if fitting else None


# What happens in the observed world


def _answered(world: World) -> None:
    for words in ("one", "two", "three"):
        world.say(words)
    world.run_all()
    world.models["copilot"].script = ["x" * 9000]
    world.say("something long")
    world.run_all()
    world.say("/again")
    world.run_all()


def _talked_in_a_group(world: World) -> None:
    world.allow(GROUP)
    world.say("hello", GROUP, sender_id=CHAT, group=True, thread_id=7)
    world.say("/again", GROUP, sender_id=CHAT, group=True, thread_id=7)
    world.run_all()


def _forgotten(world: World) -> None:
    world.say("/new")
    world.allow("43")
    world.say("/new", "43")
    world.say("hello", "43")
    world.run_all()


def _refused(world: World) -> None:
    world.say("hello", "99")
    world.say(None)
    world.clock.advance(120)
    twice_a_minute = replace(world.accept, messages_per_minute=2)
    for text in ("one", "two", "too many", "again too many"):
        twice_a_minute(world.incoming(text))
    world.run_all()


def _fail_all(world: World, failure: Callable[[str], ProviderError]) -> None:
    for provider in world.chain.providers:
        world.models[provider.id].script = [failure(provider.id)]
    world.say("does nobody answer?")
    world.run_all()


def _parked(world: World) -> None:
    until = world.clock.now() + 3600
    _fail_all(world, lambda provider: ProviderExhausted(provider, "quota", block_until=until))
    assert world.claims.read(CHAT).open_turn is not None
    world.say("still there?")
    world.run_all()
    world.clock.advance(3700)
    world.recover(CHAT)
    world.run_all()
    assert world.claims.read(CHAT).open_turn is None


def _given_up(world: World) -> None:
    until = world.clock.now() + 2 * 86400
    _fail_all(world, lambda provider: ProviderExhausted(provider, "quota", block_until=until))
    assert world.claims.read(CHAT).failed_turn is not None
    world.clock.advance(3 * 86400)
    world.say("/retry")
    world.run_all()


def _cooled_down(world: World) -> None:
    _fail_all(world, lambda provider: ProviderUnavailable(provider, "timeout"))
    _fail_all(world, lambda provider: ProviderThrottled(provider, "rate_limit"))
    world.clock.advance(7200)
    world.recover(CHAT)
    world.run_all()


def _without_keys(world: World) -> None:
    keys, world.secrets.values = world.secrets.values, {}
    world.say("hello?")
    world.run_all()
    world.secrets.values = keys
    world.clock.advance(7200)
    world.say("/retry")
    world.run_all()


def _delivered_badly(world: World) -> None:
    for trouble in (DeliveryDelayed(5), DeliveryFailed("down"), DeliveryUncertain("silence"), DeliveryRefused("gone")):
        world.messenger.trouble = [trouble]
        world.say("can you hear me?")
        with contextlib.suppress(TurnError):
            world.run()
        with contextlib.suppress(TurnError):
            world.run()
        world.clock.advance(60)
        world.run()


def _recovered(world: World) -> None:
    world.say("hello")
    for _ in range(4):
        world.executions.ended.add(world.executions.started[-1].execution)
        world.recover(CHAT)
    world.clock.advance(7200)
    world.recover(CHAT)
    world.run_all()
    world.say("and again")
    world.recover(CHAT)
    world.run_all()


def _handed_over(world: World) -> None:
    def interrupt() -> None:
        world.say("second")

    world.say("first")
    world.models["copilot"].script = [interrupt]
    world.run_all()


def _asked_claude(world: World) -> None:
    """By a turn that the others refuse, whose answer is seen growing in a group."""
    for provider in world.chain.providers[:3]:
        world.models[provider.id].script = [ProviderDeclined(provider.id, "moderated")]
    world.models["anthropic"].usage = Usage(1000, 2000, 300, 100)
    world.say("a question of some", GROUP, sender_id=CHAT, group=True)
    route = world.prepare(world.executions.started[-1])
    turn = TurnClaim(route.claim, route.turn or 0)
    world.turns.show_preview(turn, 77)
    for provider in world.chain.providers[:3]:
        with contextlib.suppress(ProviderDeclined):
            world.ask(provider.id)(turn)
    world.ask("anthropic")(turn)
    world.deliver(turn)


def _spent(world: World) -> None:
    world.ledger.succeeded(world.reserve(world.chain.providers[-1], micro_dollars=4_990_000), micro_dollars=4_990_000)
    for provider in world.chain.providers[:3]:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 600)
    world.say("is there money left?")
    world.run_all()
    world.clock.advance(1200)
    world.recover(CHAT)
    world.run_all()


def _reminded(world: World) -> None:
    """Once, in a topic, and every hour; with and without somebody to ask."""
    world.say("/timezone Berlin")
    world.say("/remind in 1 minute call")
    world.say("/remind every hour drink", GROUP, sender_id=CHAT, group=True, thread_id=7)
    for chat, key in list(world.schedules.there):
        world.clock.advance(3600)
        world.fire(Due(chat, key, int(world.clock.now())))
        world.run_all()


def _corrected(world: World) -> None:
    openrouter = world.chain.provider("openrouter")
    world.clock.advance(86400)
    world.ledger.succeeded(world.reserve(openrouter), micro_dollars=0)
    assert world.ledger.claim_check(openrouter)
    world.ledger.correct(openrouter, AccountQuota(1000, 20))


def _stopped(world: World) -> None:
    """While a turn is open and another message waits, and before any turn is."""
    for text in ("first", "second"):
        world.say(text)
        world.prepare(world.executions.started[-1])
    world.say("/stop")
    world.say("third")
    world.say("/stop")
    world.run_all()
    world.say("fourth")
    world.say("/stop")
    world.run_all()


def _handed_to_the_agent(world: World) -> None:
    agents = world.agents
    world.prepare = replace(world.prepare, mode="auto")
    world.say("hello")
    world.run_all()
    world.say("/ask something")
    route = world.prepare(world.executions.started[-1])
    turn = TurnClaim(route.claim, route.turn or 0)
    world.turns.delegate(turn, "do it", deadline=int(world.clock.now()) + 60)
    agents.register(turn, "token", deadline=int(world.clock.now()) + 60)
    _agent_at_work(agents, turn, "somebody")
    generation = _agent_at_work(agents, turn, "somebody else")
    world.turns.keep_from_agent(turn)
    agents.ask_to_stop(generation)
    agents.force_to_stop(generation, agents.read(CHAT))
    agents.answer(generation, agents.mail(CHAT)[0], Answered(Answer("done", "m"), "something", "copilot", 0, 0))
    agents.discard(generation, agents.mail(CHAT)[0])
    agents.stop(generation)
    agents.release(generation)
    world.deliver(turn)


def _hours_are_used_up(world: World) -> None:
    """A task that has ended, one that runs still, and a message after the last hour."""
    ran = Ran(world.clock.now(), world.clock.now() + 40 * 3600)
    for number in (1, 2):
        world.hours.begin(Generation(CHAT, number))
    world.hours.end(task_name(Generation(CHAT, 1)), ran)
    world.hours.tell(month_of(world.clock.now()))
    world.say("hello")
    world.run_all()
    world.hours.end(task_name(Generation(CHAT, 2)), None)


def _agent_at_work(agents: DynamoAnsweringAgents, turn: TurnClaim, starter: str) -> Generation:
    """The next generation, which has taken the turn; the one before has crashed."""
    agents.close(Generation(CHAT, agents.read(CHAT).generation), crashed=True, killer=turn.number, kills=1)
    generation = agents.begin(CHAT, starter=starter)
    assert generation
    agents.note_task(generation, "task")
    agents.occupy(generation, "task", idle_after=900)
    agents.renew(generation, idle_after=900, ready=True)
    agents.take(generation, turn.number)
    return generation


def _backed_up(world: World) -> None:
    snapshots = DynamoSnapshots(world.runtime)
    head = snapshots.head(CHAT)
    snapshot = Snapshot(1, head.generation, "0000000001-0000000001-f.json", "f", int(world.clock.now()), 1, 2, 0, 3)
    assert snapshots.commit(Generation(CHAT, head.generation), snapshot, head)
    assert snapshots.is_news(Generation(CHAT, head.generation), "2026-11-27 a content is missing")
    snapshots.raise_epoch(CHAT)
    snapshots.forget(CHAT, by="u1", now=int(world.clock.now()))
    snapshots.drop(CHAT, 1)


def _asked_for_more(world: World) -> None:
    """/export, whose answer is in doubt; in a topic, and not carried out; /forget with everything there is."""
    world.say("/export")
    asked = world.runners.asked[-1][1]
    world.errands.mark_sending(asked)
    world.errands.unmark_sending(asked)
    world.messenger.trouble = [DeliveryUncertain("silence")]
    carry_out = CarryingOut(world.errands, world.messenger, lambda _asked, _errand: Reply("here"))
    for _ in range(2):
        with contextlib.suppress(DeliveryUncertain):
            carry_out(asked)
    world.say("/export", thread_id=7)
    world.say("something that is worked on")
    world.prepare(world.executions.started[-1])
    world.say("something that waits")
    world.say("/forget")
    world.say("/forget yes")
    asked = world.runners.asked[-1][1]
    errand = world.errands.read(asked)
    assert errand
    conversations = DynamoConversations(world.conversations, world.clock)
    conversations.fence(asked, errand)
    found = {"exchanges": 1, "reminders": 2, "snapshots": 3, "files": 4, "bytes": 5}
    world.errands.note(asked, found)
    conversations.erase(asked, errand.until or 0)


def _noted(world: World) -> None:
    owner = {"pk": {"S": "SETTINGS"}, "sk": {"S": "OWNER"}, "chat_id": {"N": "42"}}
    world.runtime.client.put_item(TableName=world.runtime.name, Item=owner)
    item = {"pk": {"S": "ALLOWED"}, "sk": {"S": "77"}, "note": {"S": "a friend"}}
    world.runtime.client.put_item(TableName=world.runtime.name, Item=item)
    world.access.follow("77", "-10077")


SCENARIO = (
    _answered,
    _talked_in_a_group,
    _forgotten,
    _refused,
    _parked,
    _given_up,
    _cooled_down,
    _without_keys,
    _delivered_badly,
    _recovered,
    _handed_over,
    _asked_claude,
    _spent,
    _reminded,
    _corrected,
    _stopped,
    _handed_to_the_agent,
    _hours_are_used_up,
    _backed_up,
    _asked_for_more,
    _noted,
)


@pytest.fixture(scope="module")
def observer() -> Iterator[Observer]:
    with a_world() as world:
        watching = Observer(world)
        watching.watch()
        for happening in SCENARIO:
            happening(world)
            world.clock.advance(120)
        yield watching


def _seen(observer: Observer) -> Iterator[tuple[str, data_model.Item | None, Stored]]:
    for table, texts in observer.items.items():
        for text in sorted(texts):
            item: Stored = json.loads(text)
            yield table, _kind(table, item["pk"]["S"], item["sk"]["S"]), item


def test_every_key_that_is_written_is_on_the_page(observer: Observer) -> None:
    assert [(table, item["pk"], item["sk"]) for table, kind, item in _seen(observer) if kind is None] == []


def test_no_planned_item_is_written(observer: Observer) -> None:
    assert {kind.name for _, kind, _ in _seen(observer) if kind and kind.planned} == set()


def test_every_attribute_that_is_written_is_on_the_page_with_its_type(observer: Observer) -> None:
    wrong = {
        f"{kind.name}.{name}: {value}"
        for _, kind, item in _seen(observer)
        if kind
        for name, value in item.items()
        if name not in ("pk", "sk")
        and ((row := kind.attribute(name)) is None or row.planned or value.keys() != {row.type})
    }

    assert wrong == set()


def test_every_attribute_that_the_page_requires_is_always_there(observer: Observer) -> None:
    absent = {
        f"{kind.name}.{row.name}"
        for _, kind, item in _seen(observer)
        if kind
        for row in kind.attributes
        if not (row.optional or row.planned or row.name in item)
    }

    assert absent == set()


def test_every_attribute_on_the_page_is_written_by_somebody(observer: Observer) -> None:
    rows = {(item.name, row.name) for item in WRITTEN for row in item.attributes if not row.planned}

    assert rows - observer.writers.keys() == set(), "nothing in the scenario writes these"


def test_every_attribute_that_the_page_calls_optional_is_sometimes_absent(observer: Observer) -> None:
    optional = {
        (item.name, row.name) for item in WRITTEN for row in item.attributes if row.optional and not row.planned
    }
    absent = {
        (kind.name, row.name)
        for _, kind, item in _seen(observer)
        if kind
        for row in kind.attributes
        if not any(row.pattern.fullmatch(name) for name in item)
    }

    assert optional - absent == set()


def test_every_attribute_is_written_by_the_modules_that_the_page_names(observer: Observer) -> None:
    page = {(item.name, row.name): set(row.writers) for item in WRITTEN for row in item.attributes if not row.planned}

    assert {key: writers for key, writers in observer.writers.items() if not writers <= page[key]} == {}


def test_every_writer_of_the_chat_that_the_page_names_writes(observer: Observer) -> None:
    (chat,) = [item for item in WRITTEN if item.name == "Chat"]

    assert {row.name: set(row.writers) for row in chat.attributes} == {
        row.name: observer.writers.get(("Chat", row.name), set()) for row in chat.attributes
    }

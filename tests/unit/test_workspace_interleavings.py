"""Two processes and one chat: every order in which their calls can reach AWS, and after each everything is there.

The calls of two actors are put in every possible order: each runs in a thread that waits, before each call, until the
order says it is its turn. An order is a prefix of choices; what follows it is found by running.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from local.workspace_trials import CHAT, Calls, Cloud, Ground, Machine, State, all_there, ground, history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.workspace.backing_up import BackedUp

DEADLINE_S = 20


class Turnstile:
    """Lets one call of one actor through at a time."""

    def __init__(self, prefix: tuple[int, ...]) -> None:
        self.taken: list[int] = []
        self.choices: list[tuple[int, ...]] = []
        self._prefix = prefix
        self._waiting: set[int] = set()
        self._running: set[int] = set()
        self._turn: int | None = None
        self._changed = threading.Condition()

    def run(self, *actors: Callable[[Calls], object]) -> None:
        self._running = set(range(len(actors)))
        threads = [threading.Thread(target=self._act, args=(each, actor)) for each, actor in enumerate(actors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def pass_through(self, actor: int) -> None:
        with self._changed:
            self._waiting.add(actor)
            self._choose()
            assert self._changed.wait_for(lambda: self._turn == actor, DEADLINE_S)
            self._turn = None
            self._waiting.discard(actor)

    def _act(self, actor: int, act: Callable[[Calls], object]) -> None:
        try:
            act(Gated(self, actor))
        finally:
            with self._changed:
                self._running.discard(actor)
                self._choose()

    def _choose(self) -> None:
        """Once every actor that runs waits before a call, let one of them make it."""
        if self._turn is not None or not self._waiting or self._waiting != self._running:
            return
        choices = tuple(sorted(self._waiting))
        place = len(self.taken)
        chosen = self._prefix[place] if place < len(self._prefix) else choices[0]
        self.taken.append(chosen)
        self.choices.append(choices)
        self._turn = chosen
        self._changed.notify_all()


class Gated(Calls):
    """Calls that wait for their turn."""

    def __init__(self, turnstile: Turnstile, actor: int) -> None:
        super().__init__()
        self._turnstile = turnstile
        self._actor = actor

    def make(self, name: str, perform: Callable[[], Any]) -> Any:
        self._turnstile.pass_through(self._actor)
        return super().make(name, perform)


class Unread(Calls):
    """Calls of which reading an object waits for no turn: none is ever changed, so when it is read is all the same."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def make(self, name: str, perform: Callable[[], Any]) -> Any:
        return perform() if name == "get_object" else self._calls.make(name, perform)


def every_order(run: Callable[[Turnstile], None]) -> Iterator[tuple[int, ...]]:
    """Run it in every order; each is given once it was run."""
    prefixes: list[tuple[int, ...]] = [()]
    while prefixes:
        prefix = prefixes.pop()
        turnstile = Turnstile(prefix)
        run(turnstile)
        for place in range(len(prefix), len(turnstile.taken)):
            others = (each for each in turnstile.choices[place] if each != turnstile.taken[place])
            prefixes += [(*turnstile.taken[:place], each) for each in others]
        yield tuple(turnstile.taken)


@dataclass
class Outcome:
    old: BackedUp | None = None
    found: State = field(default_factory=dict)
    kept: State = field(default_factory=dict)


def test_an_older_agent_commits_nothing_once_a_newer_one_has_begun() -> None:
    orders = replaced = 0
    with ground() as on:
        _only_a_note(on)
        for outcome, cloud in _replacements(on):
            orders += 1
            assert outcome.old is not None
            if outcome.old.came == "replaced":
                replaced += 1
                assert outcome.found == on.first
            else:
                assert outcome.found == on.second
            assert on.restored_state(cloud) == outcome.kept

    assert orders > 100
    assert 0 < replaced < orders


def _only_a_note(on: Ground) -> None:
    """A ground where little differs, so that there are few calls: one content, one manifest, one commit."""
    machine = Machine(on.cloud, on.a_disk(), on.cloud.begin())
    machine.restore()
    for path in ("notes/gone.txt", "large.bin", "link"):
        (machine.workspace / path).unlink()
    (machine.workspace / "notes" / "a.txt").write_text("as it was")
    machine.memory.unlink()
    machine.back_up()
    on.machine, on.first = machine, machine.state()
    on.restored = machine.resumable()
    (machine.workspace / "same.txt").write_text("as it is")
    on.second = machine.state()


def _replacements(on: Ground) -> Iterator[tuple[Outcome, Cloud]]:
    found: list[tuple[Outcome, Cloud]] = []

    def run(turnstile: Turnstile) -> None:
        cloud, outcome = on.cloud.copied(), Outcome()

        def older(calls: Calls) -> None:
            outcome.old = on.again(cloud, calls).back_up()

        def newer(calls: Calls) -> None:
            machine = Machine(cloud, on.a_disk(), calls.make("begin", cloud.begin), Unread(calls))
            machine.restore()
            outcome.found = machine.state()
            (machine.workspace / "successor.txt").write_text("another agent was here")
            assert machine.back_up().came == "committed"
            outcome.kept = machine.state()

        turnstile.run(older, newer)
        found.append((outcome, cloud))

    for _ in every_order(run):
        yield found.pop()


def test_a_collection_takes_nothing_that_a_backup_of_old_content_needs() -> None:
    orders = again = 0
    with ground() as on:
        _only_a_note(on)
        states = history(on, 3)
        (on.machine.workspace / "notes" / "a.txt").write_text("note 1")
        wanted = on.machine.state()
        found: list[tuple[Cloud, list[BackedUp], Calls]] = []
        assert _has_content(on.cloud, b"note 1")
        alone = on.cloud.copied()
        alone.collection()(CHAT)
        assert not _has_content(alone, b"note 1")

        def run(turnstile: Turnstile) -> None:
            cloud = on.cloud.copied()
            done: list[BackedUp] = []
            counted: list[Calls] = []

            def back_up(calls: Calls) -> None:
                counted.append(calls)
                done.append(on.again(cloud, calls).back_up())

            turnstile.run(back_up, lambda calls: cloud.collection(Unread(calls))(CHAT))
            found.append((cloud, done, counted[0]))

        for _ in every_order(run):
            cloud, done, calls = found.pop()
            orders += 1
            again += calls.made.count("transact_write_items") > 1
            assert [each.came for each in done] == ["committed"]
            assert max(snapshot.number for snapshot in cloud.archive().listed()) == done[0].number
            assert all_there(cloud, states | {done[0].number: on.without_memory(wanted)})

    assert orders > 30
    assert again > 0  # somewhere the collection came in between, and all went up anew


def _has_content(cloud: Cloud, data: bytes) -> bool:
    return any(version.data == data for versions in cloud.s3.objects.values() for version in versions)


def test_every_order_is_run_once() -> None:
    def run(turnstile: Turnstile) -> None:
        def actor(times: int, calls: Calls) -> None:
            for _ in range(times):
                calls.make("call", lambda: None)

        turnstile.run(partial(actor, 2), partial(actor, 3))

    orders = list(every_order(run))
    assert len(orders) == len(set(orders)) == 10

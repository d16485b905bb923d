"""Agents with workspaces on a small S3 and a small DynamoDB, and everything that can go wrong with a call of theirs.

A trial stops a backup, a restore or a collection at one call; afterwards what was committed last has to be there, to
the byte. The tests run all trials, and `make bench` prints how many there were.
"""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError, ReadTimeoutError

from assistant.errors import BackupFailed, SnapshotUnreadable
from assistant.stores.dynamodb import Table, Update
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs, S3Shelves
from assistant.turns.agents import Generation
from assistant.workspace.archive import Archive
from assistant.workspace.backing_up import BackedUp, Backup
from assistant.workspace.collecting import Collection
from assistant.workspace.databases import Databases
from assistant.workspace.manifest import MEMORY, STATE_FILES
from assistant.workspace.model import NOTHING, Contained, File, Folder, Link, Root, Snapshot
from assistant.workspace.restoring import Places, Restored, Restoring
from assistant.workspace.scanning import Scanner
from assistant.workspace.transfers import Transfers
from local.small_dynamodb import SmallDynamoDb
from local.small_s3 import SmallS3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHAT = "42"
BUCKET = "workspaces"
RUNTIME = "runtime"
OWNER = Path("/proc/self").stat().st_uid
SMALL_BYTES = 1000
PART_BYTES = 5000
NOON = 1_795_348_800

type State = dict[str, tuple[str, int, bytes]]
"""What a folder holds: kind, mode and content by path."""


class Crash(Exception):
    """The process has died: none of its calls is made any more. s3transfer would wait for ever over a BaseException."""


class Mode(StrEnum):
    """What happens at a call."""

    BEFORE = "dies before"
    AFTER = "dies after"
    ERROR = "error, not done"
    LOST = "done, answer lost"
    LATE = "done late: the next generation committed meanwhile"


class Calls:
    """Counts the calls of a process to AWS, and has one go wrong.

    Args:
        at: which one, from 0; None for none.
        mode: how.
        meanwhile: what happens elsewhere while a call is late.
    """

    def __init__(
        self, at: int | None = None, mode: Mode = Mode.BEFORE, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self.made: list[str] = []
        self._at = at
        self._mode = mode
        self._meanwhile = meanwhile
        self._dead = False

    def through(self, client: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """The client, with its calls counted."""
        return _Through(client, self)

    def make(self, name: str, perform: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Make a call, or have it go wrong."""
        if self._dead:
            raise Crash
        number = len(self.made)
        self.made.append(name)
        if number != self._at:
            return perform()
        return self._go_wrong(perform)

    def _go_wrong(self, perform: Callable[[], Any]) -> Any:  # noqa: ANN401
        if self._mode == Mode.ERROR:
            response: Any = {"Error": {"Code": "InternalError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}
            raise ClientError(response, "a call")
        if self._mode == Mode.LATE:
            self._meanwhile()
        answer = None if self._mode == Mode.BEFORE else perform()
        if self._mode in (Mode.BEFORE, Mode.AFTER):
            self._dead = True
            raise Crash
        if self._mode == Mode.LOST:
            raise ReadTimeoutError(endpoint_url="https://aws.test")
        return answer


class _Through:
    def __init__(self, client: Any, calls: Calls) -> None:  # noqa: ANN401
        self._client = client
        self._calls = calls

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        found = getattr(self._client, name)
        if name == "get_paginator":
            return lambda operation: SimpleNamespace(
                paginate=lambda **request: iter([getattr(self, operation)(**request)])
            )
        if not callable(found) or name == "exceptions":
            return found
        return lambda **request: self._calls.make(name, lambda: found(**request))


class PlainDatabases(Databases):
    """Copies databases as files: for thousands of backups, none of which is about SQLite."""

    def _run(self, database: str, copied: str) -> int:
        shutil.copyfile(database, copied)
        return 0


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    moment: float = NOON

    def now(self) -> float:
        """Epoch seconds."""
        return self.moment


@dataclass
class Cloud:
    """One bucket and one table."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.s3 = SmallS3(self.clock.now)
        self.dynamodb = SmallDynamoDb(RUNTIME)

    def copied(self) -> Cloud:
        """Another one that holds the same."""
        other = Cloud(Clock(self.clock.moment))
        other.s3.objects = {key: list(versions) for key, versions in self.s3.objects.items()}
        for item in self.dynamodb.scan(TableName=RUNTIME)["Items"]:
            other.dynamodb.put_item(TableName=RUNTIME, Item=item)
        return other

    def begin(self) -> Generation:
        """The next generation of the chat's agent."""
        raised = Update(also=["generation = if_not_exists(generation, :zero) + :one"], values={"zero": 0, "one": 1})
        item = self.table(Calls()).update(f"AGENT#{CHAT}", "AGENT", raised)
        return Generation(CHAT, int(cast("Any", item)["generation"]))

    def table(self, calls: Calls) -> Table:
        """The table, through counted calls."""
        return Table(calls.through(self.dynamodb), RUNTIME)

    def snapshots(self, calls: Calls | None = None) -> DynamoSnapshots:
        """The pointers."""
        return DynamoSnapshots(self.table(calls or Calls()))

    def blobs(self, calls: Calls | None = None) -> S3Blobs:
        """The contents."""
        return S3Blobs((calls or Calls()).through(self.s3), BUCKET, CHAT, part_bytes=PART_BYTES)

    def archive(self, calls: Calls | None = None) -> Archive:
        """What is kept."""
        return Archive(CHAT, self.blobs(calls), self.snapshots(calls))

    def collection(self, calls: Calls | None = None, *, grace_seconds: float = 0) -> Collection:
        """What tidies up; nothing is too young for it."""
        calls = calls or Calls()
        shelves = S3Shelves(calls.through(self.s3), BUCKET)
        return Collection(shelves, self.snapshots(calls), self.clock, grace_seconds)


@dataclass
class Machine:
    """A container's disk, with an agent of a generation."""

    cloud: Cloud
    folder: Path
    generation: Generation
    calls: Calls = field(default_factory=Calls)
    threads: int = 1

    def __post_init__(self) -> None:
        self.places = Places(self.folder / "workspace" / "files", self.folder / "state", OWNER)
        self._backup: Backup | None = None

    @property
    def workspace(self) -> Path:
        """The agent's folder."""
        return self.places.workspace

    @property
    def memory(self) -> Path:
        """OpenClaw's memory."""
        return self.folder / "state" / MEMORY

    def restore(self) -> Restored:
        """Put the last snapshot in place."""
        transfers = Transfers(self.threads, SMALL_BYTES)
        snapshots, blobs = self.cloud.snapshots(self.calls), self.cloud.blobs(self.calls)
        restored = Restoring(self.places, blobs, snapshots, transfers)(CHAT)
        self.resume(restored)
        return restored

    def resume(self, restored: Restored) -> None:
        """Go on from a restore."""
        databases = PlainDatabases(OWNER, self.folder)
        state = self.folder / "state"
        scanners = [
            Scanner(Root.WORKSPACE, self.workspace, OWNER, databases),
            Scanner(Root.STATE, state, OWNER, databases, only=STATE_FILES),
        ]
        self._backup = Backup(
            self.generation,
            restored,
            scanners,
            databases,
            blobs=self.cloud.blobs(self.calls),
            snapshots=self.cloud.snapshots(self.calls),
            clock=self.cloud.clock,
            transfers=Transfers(self.threads, SMALL_BYTES),
        )

    def back_up(self, contained: Contained = NOTHING, *, if_changed: Root | None = None) -> BackedUp:
        """Keep what there is."""
        assert self._backup is not None, "no backup before a restore"  # noqa: S101 (a test double)
        return self._backup(contained, if_changed=if_changed)

    def resumable(self) -> Restored:
        """What another could go on from: the last commit."""
        newest = self.cloud.archive().newest()
        made = None if newest is None else self.cloud.archive().manifest(newest)
        return Restored(self.cloud.snapshots().head(CHAT), made)

    def state(self) -> State:
        """What its disk holds of workspace and memory."""
        found = state_of(self.workspace)
        if self.memory.exists():
            found["memory"] = ("file", 0, self.memory.read_bytes())
        return found


def state_of(folder: Path) -> State:
    """Everything in a folder."""
    found: State = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name, status = str(path.relative_to(folder)), path.lstat()
        if path.is_symlink():
            found[name] = ("link", 0, os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", status.st_mode & 0o777, b"")
        else:
            found[name] = ("file", status.st_mode & 0o777, path.read_bytes())
    return found


# Trials


@dataclass
class Tally:
    """What came of trials. `lost`: those after which something else was there than what was committed last."""

    tried: int = 0
    lost: list[str] = field(default_factory=list)

    def judge(self, name: str, *, good: bool) -> None:
        """Count one check of a trial."""
        if not good:
            self.lost.append(name)


@dataclass
class Ground:
    """Where trials begin: a first snapshot that is committed, and a disk on which more has been done since.

    Attributes:
        folder: where disks may be.
        cloud: with the first snapshot.
        machine: whose disk is ahead of it.
        restored: what its backups go on from.
        first: what the snapshot holds.
        second: what the disk holds.
    """

    folder: Path
    cloud: Cloud
    machine: Machine
    restored: Restored
    first: State
    second: State
    disks: Iterator[int] = field(default_factory=itertools.count)

    def a_disk(self) -> Path:
        """A fresh one."""
        disk = self.folder / f"disk-{next(self.disks)}"
        disk.mkdir()
        return disk

    def again(self, cloud: Cloud, calls: Calls) -> Machine:
        """The machine, on a cloud of its own."""
        machine = Machine(cloud, self.machine.folder, self.machine.generation, calls)
        machine.resume(self.restored)
        return machine

    @staticmethod
    def without_memory(state: State) -> State:
        """The workspace's part of a state."""
        return {path: what for path, what in state.items() if path != "memory"}

    def restored_state(self, cloud: Cloud) -> State:
        """What the next generation finds, and whether it can go on from there."""
        machine = Machine(cloud, self.a_disk(), cloud.begin())
        machine.restore()
        return machine.state()

    def succeed(self, cloud: Cloud) -> State:
        """Have the next generation restore, do something and commit it; what its disk holds then."""
        machine = Machine(cloud, self.a_disk(), cloud.begin())
        machine.restore()
        (machine.workspace / "successor.txt").write_text("another agent was here")
        machine.back_up()
        return machine.state()


@contextmanager
def ground() -> Iterator[Ground]:
    """A place for trials."""
    memory = Path("/dev/shm")  # noqa: S108 (thousands of folders, none of which anybody needs afterwards)
    with TemporaryDirectory(prefix="trials-", dir=memory if memory.is_dir() else None) as name:
        folder, cloud = Path(name), Cloud()
        machine = Machine(cloud, folder, cloud.begin())
        machine.restore()
        fill(machine)
        machine.back_up(Contained(1, {0: 1}))
        first = machine.state()
        restored = machine.resumable()
        cloud.clock.moment += 60
        edit(machine)
        yield Ground(folder, cloud, machine, restored, first, machine.state())


def fill(machine: Machine) -> None:
    """A workspace with something of everything."""
    inside = machine.workspace / "notes"
    inside.mkdir()
    (machine.workspace / "empty").mkdir()
    (inside / "a.txt").write_text("as it was")
    (inside / "gone.txt").write_text("will be deleted")
    (machine.workspace / "same.txt").write_text("as it was")
    (machine.workspace / "link").symlink_to("notes/a.txt")
    (machine.workspace / "large.bin").write_bytes(b"0123456789" * 1200)
    machine.memory.parent.mkdir(parents=True, exist_ok=True)
    machine.memory.write_bytes(b"remembered")


def edit(machine: Machine) -> None:
    """Something of everything that may be done to one."""
    inside = machine.workspace / "notes"
    (inside / "a.txt").write_text("as it is")
    (inside / "gone.txt").unlink()
    (inside / "new.txt").write_text("new")
    (machine.workspace / "link").unlink()
    (machine.workspace / "link").symlink_to("notes/new.txt")
    (machine.workspace / "large.bin").write_bytes(b"9876543210" * 1200)
    machine.memory.write_bytes(b"remembered better")


def try_backups() -> Tally:
    """Stop a backup at each of its calls, in every way."""
    tally = Tally()
    with ground() as on:
        undisturbed = Calls()
        on.again(on.cloud.copied(), undisturbed).back_up(Contained(2, {0: 2}))
        last = len(undisturbed.made) - 1
        for at, mode in itertools.product(range(last + 1), Mode):
            cloud, after = on.cloud.copied(), list[State]()
            calls = Calls(at, mode, partial(_note, after, partial(on.succeed, cloud)))
            machine = on.again(cloud, calls)
            name = f"backup: {undisturbed.made[at]} ({at}) {mode}"
            tally.tried += 1
            outlived = _outlived(partial(machine.back_up, Contained(2, {0: 2})))
            committed = at == last and mode in (Mode.AFTER, Mode.LOST)
            (wanted,) = after or [on.second if committed else on.first]
            tally.judge(name, good=on.restored_state(cloud.copied()) == wanted)
            if outlived and mode != Mode.LATE:
                machine.back_up(Contained(2, {0: 2}))
                tally.judge(f"{name}, and again", good=on.restored_state(cloud) == on.second)
    return tally


def try_restores() -> Tally:
    """Stop a restore at each of its calls, in every way."""
    tally = Tally()
    with ground() as on:
        undisturbed = Calls()
        Machine(on.cloud.copied(), on.a_disk(), on.machine.generation, undisturbed).restore()
        for at, mode in itertools.product(range(len(undisturbed.made)), Mode):
            cloud = on.cloud.copied()
            calls = Calls(at, mode, partial(on.succeed, cloud))
            machine = Machine(cloud, on.a_disk(), on.machine.generation, calls)
            name = f"restore: {undisturbed.made[at]} ({at}) {mode}"
            tally.tried += 1
            _outlived(machine.restore)
            whole = machine.workspace.exists()
            tally.judge(name, good=not machine.state() if not whole else machine.state() == on.first or at == 0)
            if mode != Mode.LATE:
                tally.judge(f"{name}, next", good=on.restored_state(cloud) == on.first)
            elif whole and machine._backup is not None:  # noqa: SLF001 (of the same module)
                (machine.workspace / "late.txt").write_text("too late")
                tally.judge(f"{name}, late", good=machine.back_up().came == "replaced" or at == 0)
    return tally


def try_collections() -> Tally:
    """Stop a collection at each of its calls, in every way; a late one is overtaken by a backup of old content."""
    tally = Tally()
    with ground() as on:
        states = history(on)
        undisturbed = Calls()
        on.cloud.copied().collection(undisturbed)(CHAT)
        for at, mode in itertools.product(range(len(undisturbed.made)), Mode):
            cloud, later = on.cloud.copied(), dict(states)
            calls = Calls(at, mode, partial(_bring_old_content_back, on, cloud, later))
            name = f"collection: {undisturbed.made[at]} ({at}) {mode}"
            tally.tried += 1
            _outlived(partial(cloud.collection(calls), CHAT))
            tally.judge(name, good=all_there(cloud, later))
            cloud.collection()(CHAT)
            tally.judge(f"{name}, and again", good=all_there(cloud, later) and _is_tidy(cloud))
    return tally


def try_returns() -> Tally:
    """Stop bringing an earlier state back at each of its calls; a late one is overtaken by a collection."""
    tally = Tally()
    with ground() as on:
        states = history(on)
        undisturbed = Calls()
        _bring_back(on.cloud.copied(), undisturbed, 2)
        for at, mode in itertools.product(range(len(undisturbed.made)), Mode):
            cloud = on.cloud.copied()
            calls = Calls(at, mode, partial(cloud.collection(), CHAT))
            name = f"bringing back: {undisturbed.made[at]} ({at}) {mode}"
            tally.tried += 1
            newest = max(states)
            _outlived(partial(_bring_back, cloud, calls, 2))
            tally.judge(name, good=all_there(cloud, states | {newest + 1: states[2]}))
            cloud.collection()(CHAT)
            tally.judge(f"{name}, collected", good=all_there(cloud, states | {newest + 1: states[2]}))
    return tally


def _bring_back(cloud: Cloud, calls: Calls, number: int) -> None:
    archive = cloud.archive(calls)
    for wanted in archive.listed():
        if wanted.number == number:
            with suppress(BackupFailed, SnapshotUnreadable):
                archive.bring_back(wanted, cloud.begin(), cloud.clock)


def _note(after: list[State], act: Callable[[], State]) -> None:
    after.append(act())


def _outlived(act: Callable[[], object]) -> bool:
    try:
        act()
    except Crash:
        return False
    except (ClientError, ReadTimeoutError):
        return True
    return True


def history(on: Ground, snapshots: int = 12) -> dict[int, State]:
    """Many snapshots over two months, of which a collection drops some; what each holds of the workspace."""
    states, machine = {1: on.without_memory(on.first)}, on.again(on.cloud, Calls())
    for number in range(snapshots):
        on.cloud.clock.moment += 86_400 * 5 if number % 2 else 3600
        (machine.workspace / "diary.txt").write_text(f"entry {number}")
        (machine.workspace / "notes" / "a.txt").write_text(f"note {number}")
        states[machine.back_up().number] = state_of(machine.workspace)
    on.cloud.clock.moment += 86_400 * 2
    on.restored = machine.resumable()
    return states


def _bring_old_content_back(on: Ground, cloud: Cloud, states: dict[int, State]) -> None:
    machine = on.again(cloud, Calls())
    (machine.workspace / "notes" / "a.txt").write_text("note 1")  # no kept snapshot has it
    done = machine.back_up()
    states[done.number] = state_of(machine.workspace)
    (machine.workspace / "notes" / "a.txt").write_text("note 11")


def all_there(cloud: Cloud, states: dict[int, State]) -> bool:
    """Whether every snapshot that is listed can be had, as it was, and the pointer's is one of them."""
    archive, listed = cloud.archive(), cloud.archive().listed()
    for snapshot in listed:
        if _state_kept(archive, snapshot) != states[snapshot.number]:
            return False
    return listed[-1].key == cloud.snapshots().head(CHAT).key == max(listed, key=lambda each: each.number).key


def _state_kept(archive: Archive, snapshot: Snapshot) -> State:
    """What a restore would make, from contents that are there and proven."""
    found: State = {}
    for entry in archive.manifest(snapshot).tree(Root.WORKSPACE).values():
        match entry:
            case File():
                found[entry.path] = ("file", entry.mode, archive.content(entry))
            case Link():
                found[entry.path] = ("link", 0, entry.target.encode())
            case Folder():
                found[entry.path] = ("folder", entry.mode, b"")
    return found


def _is_tidy(cloud: Cloud) -> bool:
    """Whether nothing is there that no snapshot needs."""
    archive = cloud.archive()
    needed = {f"blobs/{digest}" for snapshot in archive.listed() for digest in archive.manifest(snapshot).digests}
    needed |= {f"snapshots/{snapshot.key}" for snapshot in archive.listed()}
    return {key.removeprefix(f"workspaces/{CHAT}/") for key in cloud.s3.objects} == needed

"""What is taken into a snapshot: everything that may be, as it was at one moment, and nothing that was not meant."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from assistant.errors import SnapshotUnreadable
from assistant.workspace import scanning
from assistant.workspace.databases import Databases
from assistant.workspace.ignoring import Ignoring
from assistant.workspace.manifest import MEMORY
from assistant.workspace.model import Contained, File, Folder, LeftOut, Link, Root, Why
from assistant.workspace.scanning import Scanner
from local.workspace_trials import OWNER, Calls, Cloud, Machine, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECOND = 1_000_000_000

as_root = pytest.mark.skipif(os.getuid() != 0, reason="files of other users are made by root")


class Scans:
    """A scanner of a folder; the clock is an hour ahead, so that every file has been left alone for long."""

    def __init__(self, folder: Path, *, ahead: int = 3600 * SECOND, only: str | None = None) -> None:
        self.folder = folder / "root"
        self.folder.mkdir()
        self.read: list[str] = []
        self.databases = Databases(OWNER, folder)
        self.scanner = Scanner(
            Root.WORKSPACE,
            self.folder,
            OWNER,
            self.databases,
            only=only,
            now_ns=lambda: time.time_ns() + ahead,
        )

    def scan(self) -> dict[str, File | Link | Folder]:
        return self.scanner.scan(()).entries

    def left_out(self) -> dict[str, Why]:
        return {one.path: one.why for one in self.scanner.scan(()).left_out}


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    return Scans(tmp_path)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was read."""
    sizes: list[int] = []
    read = scanning.digest_of_file

    def counted(opened: int) -> tuple[str, int]:
        found = read(opened)
        sizes.append(found[1])
        return found

    monkeypatch.setattr(scanning, "digest_of_file", counted)
    return sizes


def test_a_file_that_did_not_change_is_read_once(scans: Scans, hashed: list[int]) -> None:
    (scans.folder / "a").write_text("12345")

    assert scans.scan() == scans.scan()
    assert hashed == [5]

    (scans.folder / "a").write_text("54321")
    scans.scan()
    assert hashed == [5, 5]


def test_a_file_that_was_changed_shortly_before_it_was_read_is_read_again(tmp_path: Path, hashed: list[int]) -> None:
    """Changed again within the same tick of the file system's clock, it would look the same."""
    scans = Scans(tmp_path, ahead=0)
    (scans.folder / "a").write_text("12345")
    scans.scan()
    scans.scan()

    assert hashed == [5, 5]


def test_a_change_that_hides_its_time_is_seen(scans: Scans) -> None:
    path = scans.folder / "a"
    path.write_text("12345")
    before = path.stat()
    found = scans.scan()
    path.write_text("54321")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert scans.scan() != found


def test_a_new_file_of_the_same_name_size_and_time_is_read(scans: Scans, hashed: list[int]) -> None:
    path = scans.folder / "a"
    path.write_text("12345")
    before = path.stat()
    scans.scan()
    (scans.folder / "b").write_text("54321")
    os.utime(scans.folder / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    (scans.folder / "b").replace(path)
    scans.scan()

    assert hashed == [5, 5]


def test_what_can_be_made_again_is_ignored_and_an_own_file_adds_rules(scans: Scans) -> None:
    for name in ("node_modules/x/y.js", "a/node_modules/z.js", "tmp/x", "a/tmp/x", "a/x.log", "keep/x.log", "b/c.pyc"):
        (scans.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (scans.folder / name).write_text("")
    (scans.folder / ".clawignore").write_text("*.log\n!keep/x.log\n!\n/b/\n")

    files = {path for path, entry in scans.scan().items() if isinstance(entry, File)}
    assert files == {".clawignore", "a/tmp/x", "keep/x.log"}

    (scans.folder / ".clawignore").write_text("!node_modules/\n")
    assert "a/node_modules/z.js" in scans.scan()


def test_a_rule_is_looked_up_once_for_a_path() -> None:
    ignoring = Ignoring()

    assert [ignoring("node_modules/"), ignoring("node_modules/"), ignoring("src/")] == [True, True, False]


def test_rules_in_a_link_are_not_read(scans: Scans, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("*\n")
    (scans.folder / "a").write_text("")
    (scans.folder / ".clawignore").symlink_to(tmp_path / "rules")

    assert scans.scan().keys() == {"a"}


def test_what_is_no_file_folder_or_inner_link_is_left_out_and_named(scans: Scans) -> None:
    os.mkfifo(scans.folder / "pipe")
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        here = os.open(".", os.O_RDONLY)
        os.chdir(scans.folder)  # a socket's path is short
        bound.bind("socket")
        os.fchdir(here)
        os.close(here)
    (scans.folder / "absolute").symlink_to("/etc/passwd")
    (scans.folder / "above").symlink_to("../other")
    (scans.folder / "inner").symlink_to("nowhere")
    (scans.folder / "folder").mkdir()
    (scans.folder / "folder" / "up").symlink_to("..")
    (scans.folder / "chain").symlink_to("folder/up/../other")

    assert scans.scan().keys() == {"inner", "folder", "folder/up"}
    assert scans.left_out() == {
        "pipe": Why.SPECIAL,
        "socket": Why.SPECIAL,
        "absolute": Why.LEADS_OUT,
        "above": Why.LEADS_OUT,
        "chain": Why.LEADS_OUT,
    }


@as_root
def test_a_file_of_another_user_is_left_out_also_under_a_hard_link(scans: Scans, tmp_path: Path) -> None:
    """The agent's user could link to what only its owner may read; the bridge, being root, would read it."""
    (tmp_path / "secret").write_text("the bridge's")
    os.chown(tmp_path / "secret", 65534, 65534)
    os.link(tmp_path / "secret", scans.folder / "linked")

    assert scans.scan() == {}
    assert scans.left_out() == {"linked": Why.FOREIGN}


def test_a_file_system_that_was_mounted_inside_is_left_out(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    (scans.folder / "a").write_text("")
    fstat = os.fstat

    def elsewhere(opened: int) -> os.stat_result:
        found = fstat(opened)
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]])

    monkeypatch.setattr(os, "fstat", elsewhere)

    assert scans.left_out() == {"a": Why.ELSEWHERE}


def test_a_root_that_became_a_link_is_an_error_and_not_an_empty_workspace(scans: Scans, tmp_path: Path) -> None:
    scans.folder.rename(tmp_path / "moved")
    scans.folder.symlink_to(tmp_path / "moved")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        scans.scan()

    scans.folder.unlink()
    with pytest.raises(FileNotFoundError):
        scans.scan()


# While somebody writes


def between_listing_and_reading(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Do something right before a file is opened to be read."""
    opening = os.open

    def changed(path: object, flags: int, *args: int, **kwargs: int) -> int:
        if path == name:
            act()
        return opening(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", changed)


@pytest.mark.parametrize("target", ["/proc/self/environ", "secret"])
def test_a_file_that_is_swapped_for_a_link_between_listing_and_reading_is_not_followed(
    target: str, scans: Scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("the bridge's environment")
    (scans.folder / "a").write_text("harmless")
    place = tmp_path / target if target == "secret" else target

    def swap() -> None:
        (scans.folder / "a").unlink()
        (scans.folder / "a").symlink_to(place)

    between_listing_and_reading(monkeypatch, "a", swap)

    found = scans.scanner.scan(())
    assert found.entries == {}
    assert found.left_out == [LeftOut(Root.WORKSPACE, "a", Why.CHANGING)]


def test_a_folder_that_is_swapped_for_a_link_is_not_entered(
    scans: Scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("the bridge's")
    (scans.folder / "a").mkdir()

    def swap() -> None:
        (scans.folder / "a").rmdir()
        (scans.folder / "a").symlink_to(tmp_path / "outside")

    between_listing_and_reading(monkeypatch, "a", swap)

    assert scans.scan().keys() == {"a"}
    assert not any(isinstance(entry, File) for entry in scans.scan().values())


def test_what_vanishes_is_named_and_the_rest_is_there(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    (scans.folder / "a").write_text("")
    (scans.folder / "b").write_text("")
    between_listing_and_reading(monkeypatch, "a", (scans.folder / "a").unlink)

    found = scans.scanner.scan(())
    assert found.entries.keys() == {"b"}
    assert found.left_out == [LeftOut(Root.WORKSPACE, "a", Why.VANISHED)]


def test_a_file_that_never_holds_still_is_named(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    (scans.folder / "log").write_text("line\n")
    read = scanning.digest_of_file

    def written_meanwhile(opened: int) -> tuple[str, int]:
        with (scans.folder / "log").open("a") as log:
            log.write("line\n")
        return read(opened)

    monkeypatch.setattr(scanning, "digest_of_file", written_meanwhile)

    assert scans.left_out() == {"log": Why.CHANGING}


# In snapshots


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    cloud = Cloud()
    made = Machine(cloud, tmp_path / "disk", cloud.begin())
    made.restore()
    return made


def restored(machine: Machine, tmp_path: Path) -> Machine:
    other = Machine(machine.cloud, tmp_path / "other", machine.cloud.begin())
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    other.restore()
    return other


def test_what_can_not_be_read_now_stays_in_the_snapshot_as_it_was(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.workspace / "log").write_text("as it was")
    (machine.workspace / "folder").mkdir()
    (machine.workspace / "folder" / "inner").write_text("as it was, too")
    machine.back_up()
    (machine.workspace / "other").write_text("new")
    opening = os.open

    def failing(path: object, flags: int, *args: int, **kwargs: int) -> int:
        if path in ("log", "folder"):
            raise PermissionError(13, "no")
        return opening(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", failing)
    monkeypatch.setattr(scanning.Known, "is_as_it_was", lambda *_: False)
    done = machine.back_up()
    monkeypatch.undo()

    assert (done.came, done.left_out) == ("committed", 2)
    newest = machine.cloud.archive().newest()
    assert newest is not None
    assert machine.cloud.archive().manifest(newest).left_out == [
        LeftOut(Root.WORKSPACE, "log", Why.UNREADABLE, kept=True),
        LeftOut(Root.WORKSPACE, "folder", Why.UNREADABLE, kept=True),
    ]
    assert state_of(restored(machine, tmp_path).workspace) == state_of(machine.workspace)


@pytest.mark.parametrize("size", [10, 12_000])
def test_a_file_that_changes_between_scan_and_upload_goes_up_as_it_is_then(
    size: int, machine: Machine, tmp_path: Path
) -> None:
    path = machine.workspace / "a"
    path.write_text("1" * size)
    changed: list[str] = []
    put = machine.cloud.s3.put_object

    def change() -> None:
        if not changed:  # once: a file that never comes to rest is another test's
            changed.append("b is read after it changed")
            (machine.workspace / "b").write_text("3" * size)

    def change_then_put(**request: object) -> object:
        change()
        return put(**request)

    (machine.workspace / "b").write_text("2" * (size - 1))
    machine.cloud.s3.put_object = change_then_put  # type: ignore[method-assign]
    machine.cloud.s3.create_multipart_upload = _before(  # type: ignore[method-assign]
        machine.cloud.s3.create_multipart_upload, change
    )
    machine.back_up()

    assert state_of(restored(machine, tmp_path).workspace) == state_of(machine.workspace)


def _before(call: Callable[..., object], act: Callable[[], object]) -> Callable[..., object]:
    def both(**request: object) -> object:
        act()
        return call(**request)

    return both


def test_a_file_that_changes_with_every_upload_is_left_out_and_what_was_uploaded_of_it_is_not_used(
    machine: Machine, tmp_path: Path
) -> None:
    path = machine.workspace / "log"
    path.write_text("0" * 12_000)
    machine.back_up()
    rounds = iter(range(1, 100))
    scan = machine._backup._scanners[Root.WORKSPACE].scan  # type: ignore[union-attr]

    def scan_then_change(held: frozenset[str]) -> object:
        found = scan(held)
        path.write_text(str(next(rounds)) * 12_000)
        return found

    machine._backup._scanners[Root.WORKSPACE].scan = scan_then_change  # type: ignore[union-attr,method-assign]
    (machine.workspace / "b").write_text("still")
    path.write_text("x" * 12_000)
    done = machine.back_up()

    assert (done.came, done.left_out) == ("committed", 1)
    found = state_of(restored(machine, tmp_path).workspace)
    assert found["log"][2] == b"0" * 12_000
    assert found["b"][2] == b"still"
    assert machine.cloud.s3.uploads == {}


# Databases


def written(path: Path, rows: int) -> sqlite3.Connection:
    """A database in WAL mode whose rows are in the log only, as long as the connection is open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=wal")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("CREATE TABLE IF NOT EXISTS said (words)")
    database.executemany("INSERT INTO said VALUES (?)", [(str(row),) for row in range(rows)])
    database.commit()
    return database


def rows_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM said").fetchone()[0])


class RealDatabases(Machine):
    """A machine whose databases are copied by SQLite."""

    def resume(self, restored: object) -> None:
        super().resume(restored)  # type: ignore[arg-type]
        assert self._backup is not None
        self._backup._databases._run = Databases(OWNER, self.folder)._run  # type: ignore[method-assign]


def test_a_database_that_is_open_is_kept_with_all_that_was_committed_to_it(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = RealDatabases(cloud, tmp_path / "disk", cloud.begin())
    machine.restore()
    with closing(written(machine.memory, 50)), closing(written(machine.workspace / "own.db", 20)):
        machine.back_up(Contained(7, {0: 3}))
        other = restored(machine, tmp_path)
        committed = machine.back_up(Contained(7, {0: 3}))

    assert committed.came == "unchanged"
    assert (rows_of(other.memory), rows_of(other.workspace / "own.db")) == (50, 20)
    assert sorted(path.name for path in other.workspace.iterdir()) == ["own.db"]
    newest = cloud.archive().newest()
    assert newest is not None
    assert newest.turn == 7
    assert list((tmp_path / "disk").glob("snapshot-*")) == []


def test_a_damaged_memory_is_not_committed_and_neither_is_what_it_had_seen(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = RealDatabases(cloud, tmp_path / "disk", cloud.begin())
    machine.restore()
    written(machine.memory, 2000).close()
    machine.back_up(Contained(1, {0: 1}))
    with machine.memory.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    (machine.workspace / "a").write_text("a")
    done = machine.back_up(Contained(2, {0: 2}))

    assert (done.came, done.left_out) == ("committed", 1)
    newest = cloud.archive().newest()
    assert newest is not None
    made = cloud.archive().manifest(newest)
    assert made.contained == Contained(1, {0: 1})
    assert [(one.why, one.kept) for one in made.left_out] == [(Why.DAMAGED, True)]
    assert rows_of(restored(machine, tmp_path).memory) == 2000


def test_a_memory_that_is_no_database_is_not_kept(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = RealDatabases(cloud, tmp_path / "disk", cloud.begin())
    machine.restore()
    machine.memory.parent.mkdir(parents=True)
    machine.memory.write_text("no database")
    machine.back_up(Contained(1, {0: 1}))

    newest = cloud.archive().newest()
    assert newest is not None
    made = cloud.archive().manifest(newest)
    assert (made.left_out, made.contained) == ([LeftOut(Root.STATE, MEMORY, Why.DAMAGED)], Contained())


def test_a_database_whose_rules_use_functions_of_its_own_is_sound(tmp_path: Path) -> None:
    """OpenClaw's memory has rules with functions that the SQLite of a Debian does not know."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.create_function("its_own", 1, lambda value: value is not None, deterministic=True)
        database.execute("CREATE TABLE said (words TEXT CHECK (its_own(words)))")
        database.execute("INSERT INTO said VALUES ('hello')")
        database.commit()
    databases = Databases(OWNER, tmp_path)

    copy = databases.copy(tmp_path / "a.db")
    assert rows_of(copy) == 1
    databases.close()


def test_a_file_beside_something_called_a_journal_is_kept_as_a_file(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = RealDatabases(cloud, tmp_path / "disk", cloud.begin())
    machine.restore()
    (machine.workspace / "trip").write_text("no database")
    (machine.workspace / "trip-journal").write_text("a word that ends so")
    machine.back_up()

    assert state_of(restored(machine, tmp_path).workspace).keys() == {"trip", "trip-journal"}


@as_root
def test_a_database_is_copied_with_the_rights_of_its_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "private").mkdir(mode=0o700)
    written(tmp_path / "private" / "a.db", 1).close()
    databases = Databases(65534, tmp_path)

    with pytest.raises(Exception, match=Why.UNREADABLE):
        databases.copy(tmp_path / "private" / "a.db")
    databases.close()


# Restoring where something is


def test_a_restore_does_not_touch_what_is_there(machine: Machine, tmp_path: Path) -> None:
    (machine.workspace / "a").write_text("a")
    machine.back_up()
    other = Machine(machine.cloud, tmp_path / "other", machine.cloud.begin(), Calls())
    other.workspace.mkdir(parents=True)
    (other.workspace / "mine").write_text("precious")

    with pytest.raises(Exception, match="not empty"):
        other.restore()
    assert state_of(other.workspace) == {"mine": ("file", 0o644, b"precious")}

    (other.workspace / "mine").unlink()
    other.memory.parent.mkdir(parents=True)
    other.memory.write_text("a memory")
    with pytest.raises(Exception, match="has a memory"):
        other.restore()
    assert other.memory.read_text() == "a memory"


def test_a_restore_that_was_cut_off_is_no_hindrance(machine: Machine, tmp_path: Path) -> None:
    (machine.workspace / "a").write_text("a")
    machine.back_up()
    other = Machine(machine.cloud, tmp_path / "other", machine.cloud.begin())
    for folder in (other.workspace.parent, other.folder / "state"):
        (folder / ".restoring" / "half").mkdir(parents=True)
    other.restore()

    assert state_of(other.workspace).keys() == {"a"}
    assert [path.name for path in other.workspace.parent.iterdir()] == ["files"]


def test_a_snapshot_that_does_not_fit_is_refused_before_anything_is_fetched(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.workspace / "a").write_text("a" * 100)
    machine.back_up()
    calls = Calls()
    other = Machine(machine.cloud, tmp_path / "other", machine.cloud.begin(), calls)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 50, 50))

    with pytest.raises(Exception, match="room for 50"):
        other.restore()
    assert calls.made == ["get_item", "get_object"]


def test_no_word_of_a_user_is_in_an_error(machine: Machine, tmp_path: Path) -> None:
    (machine.workspace / "private-diary").write_text("dear diary")
    machine.back_up()
    (key,) = [key for key in machine.cloud.s3.objects if "/blobs/" in key]
    del machine.cloud.s3.objects[key]

    with pytest.raises(SnapshotUnreadable) as refused:
        Machine(machine.cloud, tmp_path / "other", machine.cloud.begin()).restore()
    assert "diary" not in str(refused.value)

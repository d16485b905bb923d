"""What the trials do not reach: many threads, an end that is asked for, what is in the way at the last moment."""

from __future__ import annotations

import threading
from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from assistant.errors import BackupFailed
from assistant.stores.workspaces import S3Shelves
from assistant.turns import notices
from assistant.turns.model import Notice
from assistant.workspace import sqlite_copy
from assistant.workspace.model import Folder
from assistant.workspace.planning import changes
from assistant.workspace.ports import Version
from assistant.workspace.restoring import Restoring
from assistant.workspace.transfers import Stopped, Transfers
from local.workspace_trials import CHAT, Calls, Cloud, Machine, ground, state_of
from tests.unit.test_workspace_scanning import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    cloud = Cloud()
    made = Machine(cloud, tmp_path / "disk", cloud.begin(), threads=8)
    made.restore()
    return made


def another(machine: Machine, tmp_path: Path) -> Machine:
    return Machine(machine.cloud, tmp_path / "other", machine.cloud.begin(), threads=8)


def test_many_files_come_back_through_many_threads_and_equal_ones_are_fetched_once(
    machine: Machine, tmp_path: Path
) -> None:
    for number in range(60):
        (machine.workspace / f"small-{number}").write_text(str(number % 20))
        (machine.workspace / f"large-{number}").write_text(str(number % 3) * 20_000)
    done = machine.back_up()
    other = another(machine, tmp_path)
    other.restore()

    assert done.uploaded == 23
    assert len([key for key in machine.cloud.s3.objects if "/blobs/" in key]) == 23
    assert other.calls.made.count("get_object") < 60
    assert state_of(other.workspace) == state_of(machine.workspace)


def test_the_first_that_goes_wrong_ends_all() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(part: int) -> int:
        begun.append(part)
        if part == 0:
            gate.set()
            raise ValueError("the first")
        assert gate.wait(10)
        return part

    with pytest.raises(ValueError, match="the first"):
        Transfers(2).each(work, range(100))
    assert len(begun) < 100


def test_an_end_that_is_asked_for_comes_with_the_next_part() -> None:
    transfers, done = Transfers(2), list[int]()

    def work(part: int) -> None:
        done.append(part)
        transfers.stop()

    with pytest.raises(Stopped):
        transfers.each(work, range(100))
    assert 1 <= len(done) <= 2
    with pytest.raises(Stopped):
        transfers.each(work, [1])
    assert transfers.each(work, []) == []


def test_a_backup_that_is_stopped_commits_nothing(machine: Machine) -> None:
    (machine.workspace / "a").write_text("a")
    assert machine._backup is not None
    machine._backup.stop()

    with pytest.raises(Stopped):
        machine.back_up()
    assert machine.cloud.archive().listed() == []
    assert machine._backup.head.key is None


def test_a_backup_that_collections_always_overtake_gives_up(machine: Machine) -> None:
    commit = machine.cloud.dynamodb.transact_write_items

    def overtaken(**request: Any) -> Any:
        machine.cloud.collection()(CHAT)
        return commit(**request)

    machine.cloud.dynamodb.transact_write_items = overtaken  # type: ignore[method-assign]
    with pytest.raises(BackupFailed, match="kept coming"):
        machine.back_up()


def test_what_comes_in_the_way_at_the_last_moment_stays_and_nothing_else_is_there(tmp_path: Path) -> None:
    with ground() as on:
        other = Machine(on.cloud, tmp_path / "other", on.cloud.begin())
        move: Callable[..., None] = Restoring._move

        def late(self: Restoring, beside: Any) -> None:
            other.workspace.mkdir()
            (other.workspace / "mine").write_text("precious")
            move(self, beside)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Restoring, "_move", late)
            with pytest.raises(OSError, match="not empty"):
                other.restore()

    assert other.state() == {"mine": ("file", 0o644, b"precious")}


def test_an_answer_that_broke_off_is_asked_for_again(machine: Machine, tmp_path: Path) -> None:
    (machine.workspace / "a").write_text("whole")
    machine.back_up()
    get, broken = machine.cloud.s3.get_object, list[str]()

    def breaking(**request: Any) -> Any:
        found = get(**request)
        if "/blobs/" in request["Key"] and len(broken) < 2:
            broken.append(request["Key"])
            return found | {"Body": StreamingBody(BytesIO(b"wh"), 5)}
        return found

    machine.cloud.s3.get_object = breaking  # type: ignore[method-assign]
    other = another(machine, tmp_path)
    other.restore()
    assert state_of(other.workspace)["a"][2] == b"whole"

    def always_broken(**request: Any) -> Any:
        return get(**request) | {"Body": StreamingBody(BytesIO(b""), 5)}

    machine.cloud.s3.get_object = always_broken  # type: ignore[method-assign]
    with pytest.raises(IncompleteReadError):
        machine.cloud.blobs().get_manifest(str(machine.cloud.snapshots().head(CHAT).key))


def test_versions_that_s3_does_not_delete_are_an_error() -> None:
    class Refusing:
        def delete_objects(self, **_: Any) -> Any:
            return {"Errors": [{"Code": "AccessDenied"}, {"Code": "InternalError"}]}

    client: Any = Refusing()
    with pytest.raises(BackupFailed, match="2 versions: AccessDenied"):
        S3Shelves(client, "b").delete("42", [Version("blobs/x", "v", 1, 0)])


def test_a_database_is_copied_by_a_program_that_says_how_it_went(tmp_path: Path) -> None:
    with closing(written(tmp_path / "a.db", 100)):
        assert sqlite_copy.main(str(tmp_path / "a.db"), str(tmp_path / "copy")) == sqlite_copy.COPIED
    (tmp_path / "none").write_text("no database")
    (tmp_path / "broken").write_bytes((tmp_path / "copy").read_bytes()[:4096] + b"\xff" * 4096)

    assert sqlite_copy.main(str(tmp_path / "none"), str(tmp_path / "2")) == sqlite_copy.NO_DATABASE
    assert sqlite_copy.main(str(tmp_path / "broken"), str(tmp_path / "3")) == sqlite_copy.DAMAGED
    assert sqlite_copy.main(str(tmp_path / "absent"), str(tmp_path / "4")) == sqlite_copy.FAILED


def test_changes_are_false_when_there_are_none() -> None:
    tree = {"a": Folder("a", 0o755)}

    assert not changes(tree, tree)
    assert changes(tree, {}).removed == ("a",)


@pytest.mark.parametrize("kind", ["workspace_unreadable", "backups_fail"])
def test_the_owner_reads_whose_workspace_it_is_and_why(kind: Any) -> None:
    event = {"kind": kind, "provider": "", "reason": "a content is missing", "chat_id": "42"}
    notice = notices.parse(event)

    assert notice == Notice(kind, reason="a content is missing", chat_id="42")
    text = notices.text(notice)
    assert text is not None
    assert "chat 42" in text
    assert "a content is missing" in text


def test_a_collection_that_does_not_find_the_newest_on_the_list_deletes_nothing(machine: Machine) -> None:
    machine.back_up()
    machine.cloud.dynamodb.delete_item(
        TableName="runtime", Key={"pk": {"S": f"AGENT#{CHAT}"}, "sk": {"S": "SNAPSHOT#0000000001"}}
    )
    before = dict(machine.cloud.s3.objects)

    with pytest.raises(Exception, match="not on the list"):
        machine.cloud.collection(Calls())(CHAT)
    assert machine.cloud.s3.objects == before

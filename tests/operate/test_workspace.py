"""`workspace` and `export`, against the local cloud; and what the chat's own commands come to on it."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from assistant.stores import schema
from assistant.stores.dynamodb import Table, Update
from assistant.stores.errands import DynamoErrands, LambdaRunners
from assistant.stores.workspaces import S3Shelves
from assistant.turns.agents import AgentStatus
from assistant.turns.errands import Asked, Errand
from operate.errors import UsageError
from operate.workspaces import moment
from tests.doubles import NOON
from tests.workspaces import back_up

if TYPE_CHECKING:
    from pathlib import Path

    from assistant.workspace.model import Snapshot
    from tests.local.system import System
    from tests.operate.terminal import Terminal

DAY = 86_400
CHATS = itertools.count(8001)
"""Nothing is said in them: no day has to pass."""

OLD = {"notes/today.md": b"milk", "gone.txt": b"old", "same.txt": b"same"}
NEW = {"notes/today.md": b"milk and eggs", "new.txt": b"new", "same.txt": b"same"}


class Kept:
    """A chat whose agent has backed up twice: a day ago, and now."""

    def __init__(self, system: System, terminal: Terminal) -> None:
        self.system, self.terminal = system, terminal
        self.chat = str(next(CHATS))
        self.old = self.back_up(OLD, ago=DAY)
        self.new = self.back_up(NEW)

    @property
    def runtime(self) -> Table:
        return Table(self.system.cloud.client("dynamodb"), self.system.cloud.resources["RuntimeTable"])

    @property
    def bucket(self) -> str:
        return self.system.cloud.resources["WorkspacesBucket"]

    def back_up(self, files: dict[str, bytes], ago: int = 0) -> Snapshot:
        s3: Any = self.system.cloud.client("s3")
        at = self.system.cloud.clock.now() - ago
        return back_up(self.runtime, s3, self.chat, files, at=at, bucket=self.bucket)

    def at(self, seconds: int) -> str:
        """A time after the older backup, as people write it; the command line's clock is the machine's."""
        return f"{datetime.fromtimestamp(self.old.created_at + seconds, UTC):%Y-%m-%d %H:%M:%S}"

    def run(self, command: str, *arguments: str) -> Any:
        return self.terminal.run("workspace", command, "--chat", self.chat, *arguments)

    def agent(self, **attributes: Any) -> None:
        self.runtime.update(schema.agent_partition(self.chat), schema.AGENT_ITEM, Update(put=attributes))

    def ask_for_files(self, text: str) -> None:
        """What the webhook does at `/files` where an agent is deployed."""
        cloud, now = self.system.cloud, int(self.system.cloud.clock.now())
        table = Table(cloud.client("dynamodb"), cloud.resources["ConversationsTable"])
        asked, errand = Asked(self.chat, 1), Errand("files", text, 1, now, now, now + 60)
        assert DynamoErrands(table, cloud.clock).add(asked, errand)
        runners = LambdaRunners(cloud.client("lambda"), {"documents": cloud.resources["SendDocument"]})
        runners.run("documents", asked)

    def spoil(self, digest: str) -> None:
        """Put another content where one was."""
        key = f"workspaces/{self.chat}/blobs/{digest}"
        self.system.cloud.client("s3").put_object(Bucket=self.bucket, Key=key, Body=b"spoilt")


@pytest.fixture
def kept(system: System, terminal: Terminal) -> Kept:
    return Kept(system, terminal)


def test_snapshots_are_listed_of_a_chat_and_of_all(kept: Kept) -> None:
    listed = kept.run("list", "--json").data["snapshots"]

    assert [(one["number"], one["files"], one["bytes"]) for one in listed] == [(1, 3, 11), (2, 3, 20)]
    assert "20 bytes" in kept.run("list").out
    assert kept.terminal.run("workspace", "list", "--json").data["chats"][kept.chat]["number"] == 2
    assert kept.chat in kept.terminal.run("workspace", "list").out


def test_a_snapshot_is_shown_by_time_and_by_number(kept: Kept) -> None:
    assert "new.txt" in kept.run("show").out
    for which in (["--at", kept.at(60)], ["--number", "1"]):
        shown = kept.run("show", *which, "--json").data
        assert [one["path"] for one in shown["entries"]] == ["gone.txt", "notes", "notes/today.md", "same.txt"]
    assert shown["entries"][0].keys() == {"path", "kind", "size", "changed", "sha256"}


def test_a_difference_is_that_to_the_one_before_or_between_two_times(kept: Kept) -> None:
    for which in ([], ["--from", kept.at(60)]):
        found = kept.run("diff", *which, "--json").data
        assert found["added"] == ["new.txt"]
        assert found["removed"] == ["gone.txt"]
        assert found["changed"] == ["notes/today.md"]
    assert "+ new.txt" in " ".join(kept.run("diff").out.split())
    assert "Nothing differs." in kept.run("diff", "--from", kept.at(60), "--to", kept.at(61)).out


def test_a_workspace_is_downloaded_whole(kept: Kept, tmp_path: Path) -> None:
    done = kept.run("download", str(tmp_path / "there"), "--at", kept.at(0), "--json")

    assert done.code == 0
    found = {str(file.relative_to(tmp_path / "there")): file for file in (tmp_path / "there").rglob("*.*")}
    assert {name: file.read_bytes() for name, file in found.items()} == OLD
    assert kept.run("download", str(tmp_path / "there")).code == UsageError.code


def test_an_earlier_state_is_brought_back_and_nothing_is_lost(kept: Kept) -> None:
    tried = kept.run("restore", "--number", "1", "--dry-run")
    assert "would be the newest" in tried.out
    assert len(kept.run("list", "--json").data["snapshots"]) == 2

    done = kept.run("restore", "--number", "1", "--yes", "--json")

    assert done.data["restored"]["number"] == 3
    assert "gone.txt" in kept.run("show").out
    assert kept.run("restore", "--number", "2", "--yes").code == 0
    assert "new.txt" in kept.run("show").out


def test_without_a_terminal_nobody_confirms(kept: Kept) -> None:
    refused = kept.run("restore", "--number", "1")

    assert refused.code == UsageError.code
    assert "--yes" in refused.err
    assert len(kept.run("list", "--json").data["snapshots"]) == 2


def test_while_the_agent_runs_nothing_is_brought_back(kept: Kept) -> None:
    kept.agent(status=AgentStatus.RUNNING, lease_until=4_000_000_000)

    refused = kept.run("restore", "--number", "1", "--yes")

    assert refused.code == 7
    assert "/sleep" in refused.err


def test_what_is_damaged_is_neither_brought_back_nor_downloaded(kept: Kept, tmp_path: Path) -> None:
    shown = kept.run("show", "--number", "1", "--json").data["entries"]
    kept.spoil(next(one["sha256"] for one in shown if one["path"] == "gone.txt"))

    for refused in (
        kept.run("restore", "--number", "1", "--yes"),
        kept.run("download", str(tmp_path / "there"), "--number", "1"),
    ):
        assert refused.code == 1
        assert "Nothing was changed" in refused.err
    assert not (tmp_path / "there").exists()
    assert len(kept.run("list", "--json").data["snapshots"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "--chat", "999"], 4, "workspace list"),
        (["show", "--number", "77"], 4, "workspace list"),
        (["show", "--at", "2020-01-01"], 4, "workspace list"),
        (["show", "--at", "yesterday"], 2, "90m"),
        (["show", "--at", "3h", "--number", "1"], 2, "one of them"),
        (["restore"], 2, "--at or --number"),
    ],
)
def test_a_refusal_says_what_to_do(kept: Kept, arguments: list[str], code: int, says: str) -> None:
    given = arguments if "--chat" in arguments else [*arguments, "--chat", kept.chat]

    refused = kept.terminal.run("workspace", *given)

    assert refused.code == code
    assert says in refused.err


def test_there_is_nothing_before_the_oldest(kept: Kept) -> None:
    refused = kept.run("diff", "--to", kept.at(60))

    assert refused.code == 4
    assert "the oldest that is kept" in refused.err


def test_a_place_that_can_not_be_written_is_refused(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    refused = kept.run("download", str(tmp_path / "file" / "there"))

    assert refused.code == UsageError.code
    assert "Name another folder" in refused.err


def test_of_several_chats_one_has_to_be_named(system: System, terminal: Terminal, kept: Kept) -> None:
    other = Kept(system, terminal)

    refused = terminal.run("workspace", "show")

    assert refused.code == UsageError.code
    assert kept.chat in refused.err
    assert other.chat in refused.err


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("3h", NOON - 3 * 3600),
        ("2 d", NOON - 2 * DAY),
        ("2026-11-22T11:00Z", NOON - 3600),
        ("2026-11-22 12:00", NOON),
        ("2026-11-22 13:00+01:00", NOON),
        ("2026-11-21", NOON - DAY // 2 - 1),
    ],
)
def test_times(said: str, at: float) -> None:
    assert moment(said, NOON) == at


def test_a_chat_that_nothing_is_kept_of_is_not_exported(terminal: Terminal) -> None:
    assert terminal.run("export", "--chat", "999").code == 4


def test_a_chat_is_exported_and_forgotten_with_the_roles_of_the_template(
    system: System, kept: Kept, tmp_path: Path
) -> None:
    chat = int(kept.chat)
    system.allow(chat)
    system.say(chat, "remember this")
    system.settle()

    printed = kept.terminal.run("export", "--chat", kept.chat)
    written = kept.terminal.run("export", "--chat", kept.chat, "--to", str(tmp_path / "chat.json"))
    refused = kept.terminal.run("export", "--chat", kept.chat, "--to", str(tmp_path / "chat.json" / "x"))
    system.say(chat, "/export")
    system.settle()
    kept.ask_for_files("today.md")
    system.settle()
    system.say(chat, "/forget")
    system.say(chat, "/forget yes")
    system.settle()

    document, file = [one for one in system.outside.telegram.documents if one.chat_id == chat]
    assert (file.name, file.data) == ("today.md", b"milk and eggs")
    assert [one["user"] for one in printed.data["exchanges"]] == ["remember this"]
    assert json.loads(document.data)["exchanges"] == printed.data["exchanges"]
    assert json.loads((tmp_path / "chat.json").read_text("utf-8"))["exchanges"] == printed.data["exchanges"]
    assert [written.code, refused.code] == [0, UsageError.code]
    assert "- the workspace (3 files, 20 bytes) with 2 backups" in system.heard(chat)[-1]
    assert {key for key in system.items(chat) if not key.startswith("UPDATE#")} == {"CHAT"}
    s3: Any = system.cloud.client("s3")
    left = [*S3Shelves(s3, kept.bucket).versions(kept.chat)]
    assert [one for one in left if one.modified_at <= system.cloud.clock.now()] == []
    assert kept.run("list").code == 4

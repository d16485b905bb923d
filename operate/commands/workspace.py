"""`workspace`: the agents' files as they were backed up; and `export`: a chat's conversation."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from assistant.errors import BackupFailed, SnapshotUnreadable, WorkspaceRefused
from assistant.turns.exporting import encoded
from assistant.workspace.browsing import shown, size
from assistant.workspace.model import File, Link, Root
from assistant.workspace.planning import changes, total, uploads
from operate.commands import session
from operate.errors import MissingError, OperateError, StateError, UsageError
from operate.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistant.workspace.model import Entry, Manifest, Snapshot, Tree
    from assistant.workspace.planning import Changes
    from operate.workspaces import Workspaces

app = typer.Typer(
    help="Look into the backups of an agent's workspace, and bring an earlier state back.", no_args_is_help=True
)

Chat = Annotated[str | None, typer.Option("--chat", help="The chat's id; not needed if only one chat has a workspace.")]
At = Annotated[
    str | None,
    typer.Option("--at", help="As it was at that time: 2026-11-26, '2026-11-26 14:00' (UTC), or 3h, 2d ago."),
]
Number = Annotated[int | None, typer.Option("--number", help="The snapshot of that number.")]


@app.command("list")
def list_(context: typer.Context, chat: Chat = None) -> None:
    """List the snapshots that are kept of a chat; without --chat, of every chat the newest."""
    run = session.of(context)
    workspaces = run.operator.workspaces
    if chat is None:
        newest = {each: workspaces.archive(each).newest() for each in workspaces.chats()}
        rows = [(each, *_row(one)) for each, one in newest.items() if one is not None]
        data: dict[str, Any] = {"chats": {each: _plain(one) for each, one in newest.items() if one is not None}}
        columns = ("chat", "number", "backed up (UTC)", "files", "size", "left out")
        run.output.show(data, table(*columns, rows=rows, right=(1, 3, 4, 5)) if rows else "No workspace yet.")
        return
    kept = workspaces.archive(workspaces.chat(chat)).listed()
    run.output.show(
        {"chat": chat, "snapshots": [_plain(one) for one in kept]},
        table("number", "backed up (UTC)", "files", "size", "left out", rows=map(_row, kept), right=(0, 2, 3, 4)),
    )


@app.command()
def show(context: typer.Context, chat: Chat = None, at: At = None, number: Number = None) -> None:
    """Show what a snapshot holds, and what it does not; by default the newest."""
    run = session.of(context)
    workspaces = run.operator.workspaces
    chat_id, snapshot, made = _found(workspaces, chat, at, number)
    tree = {shown(path): entry for path, entry in sorted(made.tree(Root.WORKSPACE).items())}
    left_out = [{"path": shown(one.path), "why": str(one.why), "as_before": one.kept} for one in made.left_out]
    run.output.show(
        {
            "chat": chat_id,
            "snapshot": _plain(snapshot),
            "entries": [{"path": path, **_entry(entry)} for path, entry in tree.items()],
            "left_out": left_out,
        },
        f"Chat {chat_id}, snapshot {snapshot.number}, backed up {_moment(snapshot.created_at)} UTC",
        "",
        table("path", "size", "changed (UTC)", rows=[_line(path, entry) for path, entry in tree.items()], right=(1,)),
        *(f"left out: {one['path']}: {one['why']}" for one in left_out),
    )


@app.command()
def diff(
    context: typer.Context,
    chat: Chat = None,
    since: Annotated[str | None, typer.Option("--from", help="The earlier time; default: one snapshot before.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The later time; default: now.")] = None,
) -> None:
    """Show what was added, changed and deleted between two times."""
    run = session.of(context)
    workspaces = run.operator.workspaces
    chat_id = workspaces.chat(chat)
    newer = workspaces.snapshot(chat_id, at=to, number=None)
    older = _older(workspaces, chat_id, newer, since)
    found, after = _differences(workspaces, chat_id, older, newer)
    rows = [
        *(("+", shown(path), _size(after[path])) for path in found.added),
        *(("~", shown(path), _size(after[path])) for path in found.changed),
        *(("-", shown(path), "") for path in found.removed),
    ]
    names = {"added": found.added, "changed": found.changed, "removed": found.removed}
    run.output.show(
        {
            "chat": chat_id,
            "from": _plain(older),
            "to": _plain(newer),
            **{name: [shown(path) for path in paths] for name, paths in names.items()},
        },
        f"Chat {chat_id}: from {older.number} ({_moment(older.created_at)}) to {newer.number} "
        f"({_moment(newer.created_at)}) UTC",
        table("", "path", "size", rows=rows, right=(2,)) if rows else "Nothing differs.",
    )


@app.command()
def restore(
    context: typer.Context,
    chat: Chat = None,
    at: At = None,
    number: Number = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make an earlier state of a workspace, with OpenClaw's memory, the newest one.

    The agent must not run; its next start finds that state. Every content is read and proven before. What came after
    is not lost: it stays on the list, and can be brought back in the same way.
    """
    run = session.of(context)
    workspaces = run.operator.workspaces
    if at is None and number is None:
        raise UsageError("Say which state: --at or --number.", "`python -m operate workspace list` shows them.")
    chat_id, snapshot, made = _found(workspaces, chat, at, number)
    newest = workspaces.archive(chat_id).newest() or snapshot
    found, _ = _differences(workspaces, chat_id, newest, snapshot)
    generation = workspaces.idle(chat_id)
    summary = (
        f"Snapshot {snapshot.number} of {_moment(snapshot.created_at)} UTC would be the newest of chat {chat_id}: "
        f"files and folders that come back: {len(found.added)}, that change: {len(found.changed)}, "
        f"that go: {len(found.removed)}."
    )
    data: dict[str, Any] = {"chat": chat_id, "snapshot": _plain(snapshot), "restored": None}
    data |= {name: [shown(path) for path in getattr(found, name)] for name in ("added", "changed", "removed")}
    if dry_run:
        run.output.show(data, summary)
        return
    _confirmed(summary, yes=yes)
    with run.output.progress("proving", _bytes(made)) as advance, _readable(snapshot):
        workspaces.prove(chat_id, made, advance)
    try:
        restored = workspaces.archive(chat_id).bring_back(snapshot, generation, workspaces.clock)
    except BackupFailed as error:
        raise StateError(f"Nothing was changed: {error}.", "Repeat the command.") from None
    run.output.show(
        data | {"restored": _plain(restored)},
        f"Done: it is snapshot {restored.number} now. The agent finds it at its next start.",
    )


@app.command()
def download(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to put it: a folder that is absent or empty.")],
    chat: Chat = None,
    at: At = None,
    number: Number = None,
) -> None:
    """Download a workspace as it was: all of it, each file proven by its hash; or nothing."""
    run = session.of(context)
    workspaces = run.operator.workspaces
    chat_id, snapshot, made = _found(workspaces, chat, at, number)
    needed = _bytes(made, Root.WORKSPACE)
    try:
        with run.output.progress("downloading", needed) as advance, _readable(snapshot):
            workspaces.archive(chat_id, advance).download(snapshot, folder, owner=os.getuid())
    except WorkspaceRefused as error:
        raise UsageError(f"{folder} can't be used: {error}.", "Name a folder that does not exist yet.") from None
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror}.", "Name another folder.") from None
    files = total(entry for entry in made.tree(Root.WORKSPACE).values() if isinstance(entry, File))
    run.output.show(
        {"chat": chat_id, "snapshot": _plain(snapshot), "folder": str(folder), "bytes": files},
        f"The workspace of chat {chat_id} as of {_moment(snapshot.created_at)} UTC is in {folder} ({size(files)}).",
    )


def export(
    context: typer.Context,
    chat: Annotated[str, typer.Option("--chat", help="The chat's id.")],
    to: Annotated[Path | None, typer.Option("--to", help="A file to write; default: print it.")] = None,
) -> None:
    """Export what is kept of a chat's conversation as JSON, as /export does in the chat."""
    run = session.of(context)
    found = run.operator.exporting.export(chat)
    if not any(found[name] for name in ("exchanges", "unanswered", "waiting")):
        raise MissingError(
            f"Nothing is kept of a chat {chat}.", "Conversations are kept for HistoryDays, 7 by default."
        )
    if to is None:
        sys.stdout.write(encoded(found).decode() + "\n")
        return
    try:
        to.write_bytes(encoded(found))
    except OSError as error:
        raise UsageError(f"{to} can't be written: {error.strerror}.") from None
    number = len(found["exchanges"])
    run.output.show(
        {"chat": chat, "file": str(to), "exchanges": number}, f"{number} questions and answers are in {to}."
    )


def _found(
    workspaces: Workspaces, chat: str | None, at: str | None, number: int | None
) -> tuple[str, Snapshot, Manifest]:
    chat_id = workspaces.chat(chat)
    snapshot = workspaces.snapshot(chat_id, at=at, number=number)
    with _readable(snapshot):
        return chat_id, snapshot, workspaces.archive(chat_id).manifest(snapshot)


def _older(workspaces: Workspaces, chat_id: str, newer: Snapshot, since: str | None) -> Snapshot:
    if since is not None:
        return workspaces.snapshot(chat_id, at=since, number=None)
    listed = [one for one in workspaces.archive(chat_id).listed() if one.number < newer.number]
    if not listed:
        raise MissingError(f"Snapshot {newer.number} is the oldest that is kept: there is nothing to compare it with.")
    return listed[-1]


def _differences(workspaces: Workspaces, chat_id: str, older: Snapshot, newer: Snapshot) -> tuple[Changes, Tree]:
    """What differs but for times alone; and the newer workspace."""
    archive = workspaces.archive(chat_id)
    with _readable(older):
        before = archive.manifest(older).tree(Root.WORKSPACE)
    with _readable(newer):
        after = archive.manifest(newer).tree(Root.WORKSPACE)
    found = changes(_timeless(before), _timeless(after))
    return found, after


def _timeless(tree: Tree) -> Tree:
    return {
        path: msgspec.structs.replace(entry, modified=0) if isinstance(entry, File) else entry
        for path, entry in tree.items()
    }


@contextlib.contextmanager
def _readable(snapshot: Snapshot) -> Iterator[None]:
    try:
        yield
    except SnapshotUnreadable as error:
        raise OperateError(
            f"Snapshot {snapshot.number} can't be read whole: {error}. Nothing was changed.",
            "Another one may be whole (`workspace list`). S3 keeps what was overwritten or deleted for 30 days "
            "as earlier versions.",
        ) from None


def _confirmed(summary: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to confirm on.", f"Give --yes. {summary}")
    typer.confirm(f"{summary}\nDo it?", abort=True, err=True)


def _bytes(made: Manifest, *roots: Root) -> int:
    """What has to be read."""
    trees = {root: made.tree(root) for root in roots or made.trees}
    return sum(upload.size for upload in uploads(trees, ()))


def _plain(snapshot: Snapshot) -> Mapping[str, Any]:
    return msgspec.structs.asdict(snapshot) | {"created_at": _moment(snapshot.created_at).replace(" ", "T") + "Z"}


def _row(snapshot: Snapshot) -> tuple[object, ...]:
    return (
        snapshot.number,
        _moment(snapshot.created_at),
        f"{snapshot.files:,}",
        size(snapshot.bytes),
        snapshot.left_out or "",
    )


def _entry(entry: Entry) -> Mapping[str, Any]:
    match entry:
        case File():
            return {
                "kind": "file",
                "size": entry.size,
                "changed": _moment(entry.modified / 1e9),
                "sha256": entry.digest,
            }
        case Link():
            return {"kind": "link", "target": shown(entry.target)}
    return {"kind": "folder"}


def _line(path: str, entry: Entry) -> tuple[object, ...]:
    match entry:
        case File():
            return path, size(entry.size), _moment(entry.modified / 1e9)
        case Link():
            return f"{path} → {shown(entry.target)}", "", ""
    return f"{path}/", "", ""


def _size(entry: Entry) -> str:
    return size(entry.size) if isinstance(entry, File) else ""


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"

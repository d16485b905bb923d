"""A state for OpenClaw to begin with: what its first start finds out about itself, found out when the image was built.

With an empty state folder OpenClaw spends a quarter of its start on preparing a database and on migrating what is not
there. It notes that, with a fingerprint of its configuration and of its plugins, in `state/openclaw.sqlite`; a start
that finds the note with its own fingerprint goes on at once, and any other does everything again. So what is put there
can be useless, but not wrong, as long as nothing is there that another version would have to migrate.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from agent.atomic_file import opened, opened_inside, write_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATABASE = Path("state/openclaw.sqlite")
_AGENT = Path("agents/main/agent")
_AGENTS_DATABASE = "openclaw-agent.sqlite"
_VERSION = "openclaw-version"
_KEPT = {"schema_meta", "config_machine_state", "migration_runs", "migration_sources"}
"""Tables without a key: neither the device's, nor who owns the lease, nor a session."""

_NOTE = "SELECT app_version, updated_at FROM schema_meta WHERE meta_key = 'startup-migrations'"


def make(state: Path, folder: Path, openclaw: Path) -> None:
    """Take from the state folder of an OpenClaw that has ended what the next one may begin with.

    Args:
        state: its state folder.
        folder: where that is kept; made.
        openclaw: its `openclaw.mjs`, beside which its version is written.

    Raises:
        sqlite3.Error, OSError: it is not kept as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / _DATABASE.name
    copy.unlink(missing_ok=True)
    with _database(state / _DATABASE) as theirs, _database(copy) as ours:
        theirs.backup(ours)
        tables = [name for (name,) in ours.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in tables:
            if name not in _KEPT and not name.startswith("sqlite_"):
                ours.execute(f'DELETE FROM "{name}"')  # noqa: S608 (its own names)
        ours.commit()
        ours.execute("PRAGMA journal_mode = DELETE")
        ours.execute("VACUUM")  # what was deleted is not in the file any more
    package = json.loads((openclaw.parent / "package.json").read_text("utf-8"))
    (folder / _VERSION).write_text(package["version"], "utf-8")


def put(folder: Path, state: Path, owner: int | None) -> None:
    """Put it into a state folder that OpenClaw was not started in, unless its agent comes from another version.

    Args:
        folder: where `make` has kept it.
        state: the state folder.
        owner: the user that OpenClaw runs as, if not ours.

    Raises:
        OSError: something can't be written.
    """
    version = (folder / _VERSION).read_bytes()
    with ExitStack() as stack:
        agent = below = stack.enter_context(opened(state))
        for name in _AGENT.parts:
            agent = stack.enter_context(opened_inside(agent, name, owner))
        if not _comes_from(agent, version):
            return
        write_inside(agent, _VERSION, version, owner)
        place = stack.enter_context(opened_inside(below, _DATABASE.parent.name, owner))
        if not _has(place, _DATABASE.name):
            write_inside(place, _DATABASE.name, (folder / _DATABASE.name).read_bytes(), owner)


def was_taken(folder: Path, state: Path) -> bool:
    """Whether the OpenClaw that ran in that state folder found the note to be its own: it wrote no other."""
    kept, found = _note(folder / _DATABASE.name), _note(state / _DATABASE)
    return kept is not None and kept == found


def _note(database: Path) -> tuple[str, int] | None:
    """A start's fingerprint, and when it was noted."""
    with _database(database) as connection:
        found = connection.execute(_NOTE).fetchone()
    return None if found is None else (str(found[0]), int(found[1]))


def _comes_from(agent: int, version: bytes) -> bool:
    """Whether the agent's folder is new, or of that version. The agent may say anything there: it is its own start."""
    if not _has(agent, _AGENTS_DATABASE):
        return True
    try:
        descriptor = os.open(_VERSION, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=agent)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        return file.read(len(version) + 1) == version


def _has(folder: int, name: str) -> bool:
    return name in os.listdir(folder)


@contextlib.contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection, closed at the end, which sqlite3's own context manager does not do."""
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()

"""Databases that are written to while they are kept: copied by SQLite itself, in a process of the agent's user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.workspace import sqlite_copy
from assistant.workspace.model import Unkept, Why

if TYPE_CHECKING:
    from typing import Any

_PROGRAM = str(Path(sqlite_copy.__file__).resolve())
_SECONDS = 60


class NoDatabase(Exception):
    """The file is no database."""


class Databases:
    """Makes consistent copies, in a folder that is removed at the end.

    Args:
        user: number of the user who may read the databases, and whose the copies are.
        temporary: where the copies' folder is made.
    """

    def __init__(self, user: int, temporary: Path) -> None:
        self._user = user
        self._temporary = temporary
        self._folder: Path | None = None
        self._made = 0

    def copy(self, database: Path) -> Path:
        """Copy a database; the copy was checked.

        Raises:
            NoDatabase: it is none.
            Unkept: it is damaged, or could not be read in time.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self._temporary))
            os.chown(self._folder, self._user, -1)
        self._made += 1
        copy = self._folder / str(self._made)
        match self._run(str(database), str(copy)):
            case sqlite_copy.COPIED:
                return copy
            case sqlite_copy.NO_DATABASE:
                raise NoDatabase
            case sqlite_copy.DAMAGED:
                raise Unkept(Why.DAMAGED)
        raise Unkept(Why.UNREADABLE)

    def close(self) -> None:
        """Remove the copies."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _run(self, database: str, copy: str) -> int:
        other: dict[str, Any] = {}
        if self._user != os.getuid():
            other = {"user": self._user, "group": self._user, "extra_groups": []}
        try:
            done = subprocess.run(  # noqa: S603 (our own program; the paths are arguments, no shell reads them)
                [sys.executable, "-I", "-S", _PROGRAM, database, copy],
                env={},
                cwd="/",
                umask=0o077,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
                **other,
            )
        except (OSError, subprocess.SubprocessError):
            return sqlite_copy.FAILED
        return done.returncode

"""A consistent copy of a database that others write to: `python sqlite_copy.py DATABASE COPY`, both absolute paths.

A program of its own, for it runs as the agent's user: whatever lies at that path, it reads no more than the agent may.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

COPIED, DAMAGED, NO_DATABASE, FAILED = 0, 3, 4, 5
_SECONDS = 10.0
_MAGIC = b"SQLite format 3\0"
"""How every database begins (SQLite, "Database File Format", 1.3)."""


def main(database: str, copy: str) -> int:
    """Copy, and check the copy; the exit status."""
    try:
        with Path(database).open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return NO_DATABASE
        with (
            contextlib.closing(
                sqlite3.connect(f"file:{quote(database)}?mode=ro", uri=True, timeout=_SECONDS)
            ) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # the copy is one file, whoever opens it
            target.execute("PRAGMA ignore_check_constraints=1")  # the owner's rules, in functions that may be its own
            return COPIED if target.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",) else DAMAGED
    except OSError:
        return FAILED
    except sqlite3.Error as error:
        return _STATUS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, FAILED)


_STATUS = {sqlite3.SQLITE_CORRUPT: DAMAGED, sqlite3.SQLITE_NOTADB: NO_DATABASE}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

"""Files opened relative to descriptors of their folders, one name at a time, and never through a link.

Who owns the files may change them at any moment: a path that was looked at is not the path that is opened. Each step
here is one system call on one name in a folder that is held open, so that nothing can be put in between.
"""

from __future__ import annotations

import contextlib
import os
import stat
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from assistant.workspace.model import Unkept, Why

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in a file's place must not hold us up
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

type OwnFile = AbstractContextManager[tuple[int, os.stat_result]]


@contextlib.contextmanager
def folder(root: Path | int, names: Sequence[str] = ()) -> Iterator[int]:
    """Open a folder below a root; OSError if one of the names is a link, or no folder."""
    opened = os.dup(root) if isinstance(root, int) else os.open(root, _FOLDER)
    try:
        for name in names:
            inner = os.open(name, _FOLDER, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)


@contextlib.contextmanager
def reading(name: str, within: int) -> Iterator[int]:
    """Open what is to be read; OSError if it is a link."""
    opened = os.open(name, _READ, dir_fd=within)
    try:
        yield opened
    finally:
        os.close(opened)


@contextlib.contextmanager
def own_file(name: str, within: int, owner: int) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file of a user, with its status.

    Raises:
        Unkept: it is not a regular file, or another user's: a hard link to a file that its owner alone may read.
        OSError: it can't be opened.
    """
    with reading(name, within) as opened:
        status = os.fstat(opened)
        if not is_regular(status):
            raise Unkept(Why.SPECIAL)
        if status.st_uid != owner:
            raise Unkept(Why.FOREIGN)
        yield opened, status


def make(name: str, within: int) -> int:
    """Make a file that was not there, for its owner only; the caller closes it."""
    return os.open(name, _MAKE, 0o600, dir_fd=within)


def is_regular(status: os.stat_result) -> bool:
    """Whether it is a regular file."""
    return stat.S_ISREG(status.st_mode)

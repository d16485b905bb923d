"""Files that are there whole or not at all, and for their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


def write_private(path: Path, text: str) -> None:
    """Put the text where `path` is, at once, with mode 0600. A link there is replaced, not followed.

    Raises:
        OSError: the folder is missing or can't be written to; nothing is left behind.
    """
    with opened(path.parent) as folder:
        write_inside(folder, path.name, text.encode())


def write_inside(folder: int, name: str, content: bytes, owner: int | None = None) -> None:
    """The same in a folder that is held open: whatever links its path is made of meanwhile, it is that one.

    Args:
        folder: its descriptor.
        name: of the file.
        content: what is to be in it.
        owner: number of the user, and of the group, that the file is for; by default ours.

    Raises:
        OSError: the folder can't be written to; nothing is left behind.
    """
    temporary = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, owner, owner)
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The descriptor of a folder."""
    descriptor = os.open(path, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_inside(folder: int, name: str, owner: int | None = None) -> Iterator[int]:
    """The descriptor of a folder in a folder: made for its owner if it is not there, never one that a link leads to.

    Raises:
        OSError: it can't be made; or there is something else, such as a link.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if owner is not None:
            os.fchown(descriptor, owner, owner)
        yield descriptor
    finally:
        os.close(descriptor)

"""What lies in a folder now. Content that can't have changed since the last look is not read again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assistant.workspace import descriptors
from assistant.workspace.databases import NoDatabase
from assistant.workspace.ignoring import MOST_RULES_BYTES, RULES_FILE, Ignoring
from assistant.workspace.links import leading_out
from assistant.workspace.manifest import MEMORY, as_name, as_text
from assistant.workspace.model import File, Folder, LeftOut, Link, Root, Unkept, Why

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from assistant.workspace.databases import Databases
    from assistant.workspace.model import Entry

READ_BYTES = 1 << 20
SETTLED_NS = 100_000_000
"""A file system's clock ticks every 1 to 10 ms: what was changed so shortly before it was read may be changed again
within the same tick, and look the same."""

_TRIES = 3
_JOURNALS = ("-wal", "-journal")
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of a file changes whenever its content does; `changed` (ctime) can't be set by anybody."""

    size: int
    modified: int
    changed: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """A file's stamp."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


@dataclass(frozen=True, slots=True)
class Known:
    """Content that was read.

    Attributes:
        stamp: of the file.
        size: of the content; a database's copy has another than the database.
        digest: of the content.
        settled: whether the file had been left alone for long enough before it was read.
        journal: the stamp of a database's journal.
    """

    stamp: Stamp
    size: int
    digest: str
    settled: bool
    journal: Stamp | None = None

    def is_as_it_was(self, stamp: Stamp, journal: Stamp | None) -> bool:
        """Whether what has these stamps now can only hold what it held."""
        return self.settled and (self.stamp, self.journal) == (stamp, journal)


@dataclass(slots=True)
class Scanned:
    """What was found in a root, by path; `copies`: where the consistent copy of a database lies."""

    entries: dict[str, Entry] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    copies: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in a folder that is held open; `path` as the manifest has it. `journal`: the name of one beside it."""

    within: int
    name: str
    path: str
    journal: str | None = None

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.within, follow_symlinks=False)

    def journal_stamp(self) -> Stamp | None:
        """The stamp of a database's journal, if there is something in one; without ctime: to copy it changes that."""
        if self.journal is None:
            return None
        with contextlib.suppress(OSError):
            status = os.stat(self.journal, dir_fd=self.within, follow_symlinks=False)
            if status.st_size and stat.S_ISREG(status.st_mode):
                return replace(Stamp.of(status), changed=status.st_mtime_ns)
        return None


class Scanner:
    """Looks at a root, again and again.

    Args:
        root: which one it is.
        folder: where it is.
        owner: the user whose files are taken in, and nobody else's.
        databases: copies what is being written to.
        only: paths of what is taken in; None for everything that is not ignored.
        now_ns: nanoseconds of the clock that the file system's stamps are by.
    """

    def __init__(
        self,
        root: Root,
        folder: Path,
        owner: int,
        databases: Databases,
        *,
        only: Collection[str] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = root
        self.folder = folder
        self.owner = owner
        self._databases = databases
        self._only = only
        self._now_ns = now_ns
        self._known: dict[str, Known] = {}
        self._ignoring = Ignoring()

    def scan(self, held: Collection[str]) -> Scanned:
        """Look at everything. Whatever can't be taken in is left out and named; the rest is not disturbed by it.

        Args:
            held: contents that need not be there to be read again.

        Raises:
            OSError: the root is no folder, or can't be read.
        """
        scanned, known = Scanned(), self._known
        self._known = {}
        with descriptors.folder(self.folder) as top:
            device = os.fstat(top).st_dev
            self._read_rules(top)
            waiting = [""]
            while waiting:
                path = waiting.pop()
                try:
                    with descriptors.folder(top, as_name(path).split("/") if path else ()) as within:
                        for place in self._places(within, path):
                            self._take(place, device, scanned, known, held)
                            if isinstance(scanned.entries.get(place.path), Folder):
                                waiting.append(place.path)
                except OSError as error:
                    if not path:
                        raise
                    scanned.left_out.append(LeftOut(self.root, path, _why(error)))
        for link in [*leading_out(scanned.entries.values())]:
            del scanned.entries[link.path]
            scanned.left_out.append(LeftOut(self.root, link.path, Why.LEADS_OUT))
        return scanned

    def _read_rules(self, top: int) -> None:
        rules = ""
        try:
            with descriptors.reading(RULES_FILE, top) as opened:
                if descriptors.is_regular(os.fstat(opened)) and os.fstat(opened).st_uid == self.owner:
                    rules = os.read(opened, MOST_RULES_BYTES).decode("utf-8", "replace")
        except OSError:
            pass  # none, or none that may be read: what it is, the scan says
        if rules != self._ignoring.rules:
            self._ignoring = Ignoring(rules)

    def _places(self, within: int, path: str) -> Iterator[_Place]:
        with os.scandir(within) as found:
            names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in found}
        for name, is_folder in sorted(names.items()):
            inner = f"{path}/{as_text(name)}" if path else as_text(name)
            if self._is_wanted(inner, is_folder=is_folder):
                journal = next((name + suffix for suffix in _JOURNALS if name + suffix in names), None)
                yield _Place(within, name, inner, journal)

    def _is_wanted(self, path: str, *, is_folder: bool) -> bool:
        if self._only is not None:
            return any(wanted == path or wanted.startswith(f"{path}/") for wanted in self._only)
        return not self._ignoring(f"{path}/" if is_folder else path)

    def _take(
        self, place: _Place, device: int, scanned: Scanned, known: dict[str, Known], held: Collection[str]
    ) -> None:
        try:
            scanned.entries[place.path] = self._entry(place, device, scanned, known.get(place.path), held)
        except Unkept as unkept:
            scanned.left_out.append(LeftOut(self.root, place.path, unkept.why))
        except OSError as error:
            scanned.left_out.append(LeftOut(self.root, place.path, _why(error)))

    def _entry(self, place: _Place, device: int, scanned: Scanned, known: Known | None, held: Collection[str]) -> Entry:
        status = place.status()
        if status.st_dev != device:
            raise Unkept(Why.ELSEWHERE)
        if stat.S_ISDIR(status.st_mode):
            return Folder(place.path, status.st_mode & 0o777)
        if stat.S_ISLNK(status.st_mode):
            return Link(place.path, as_text(os.readlink(place.name, dir_fd=place.within)))
        if not stat.S_ISREG(status.st_mode):
            raise Unkept(Why.SPECIAL)
        return self._regular(place, status, scanned, known, held)

    def _regular(
        self, place: _Place, status: os.stat_result, scanned: Scanned, known: Known | None, held: Collection[str]
    ) -> File:
        journal = place.journal_stamp()
        is_memory = self.root == Root.STATE and place.path == MEMORY
        if journal is not None or is_memory:
            try:
                return self._database(place, journal, scanned, known, held)
            except NoDatabase:
                if is_memory:
                    raise Unkept(Why.DAMAGED) from None
        elif known is not None and known.is_as_it_was(Stamp.of(status), None):
            return self._remembered(place, known, status)
        return self._file(place)

    def _file(self, place: _Place) -> File:
        """Read it; once more if it was changed meanwhile."""
        for _ in range(_TRIES):
            began = self._now_ns()
            with self._opened(place) as (opened, status):
                stamp = Stamp.of(status)
                digest, size = digest_of_file(opened)
                if (size, Stamp.of(os.fstat(opened))) == (stamp.size, stamp):
                    read = Known(stamp, size, digest, stamp.changed < began - SETTLED_NS)
                    return self._remembered(place, read, status)
        raise Unkept(Why.CHANGING)

    def _database(
        self, place: _Place, journal: Stamp | None, scanned: Scanned, known: Known | None, held: Collection[str]
    ) -> File:
        """A copy's content stands for the database's: what is being written to can't be read as it is."""
        began = self._now_ns()
        with self._opened(place) as (_, status):
            stamp = Stamp.of(status)
        if known is not None and known.is_as_it_was(stamp, journal) and known.digest in held:
            return self._remembered(place, known, status)
        copy = self._databases.copy(self.folder / as_name(place.path))
        with (
            descriptors.folder(copy.parent) as within,
            self._opened(_Place(within, copy.name, place.path)) as (opened, _),
        ):
            digest, size = digest_of_file(opened)
        scanned.copies[place.path] = copy
        changed = max(stamp.changed, journal.changed if journal else 0)
        return self._remembered(place, Known(stamp, size, digest, changed < began - SETTLED_NS, journal), status)

    def _opened(self, place: _Place) -> descriptors.OwnFile:
        return descriptors.own_file(place.name, place.within, self.owner)

    def _remembered(self, place: _Place, known: Known, status: os.stat_result) -> File:
        self._known[place.path] = known
        return File(place.path, known.size, status.st_mode & 0o777, status.st_mtime_ns, known.digest)


def digest_of_file(opened: int) -> tuple[str, int]:
    """SHA-256 in hexadecimal and length of what an open file holds."""
    digest, size = hashlib.sha256(), 0
    while data := os.read(opened, READ_BYTES):
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def _why(error: OSError) -> Why:
    if error.errno in _GONE:
        return Why.VANISHED
    return Why.CHANGING if error.errno == errno.ELOOP else Why.UNREADABLE

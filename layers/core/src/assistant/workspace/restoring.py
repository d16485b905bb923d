"""A restore: everything is fetched and proven in folders beside, then moved in place; or nothing is.

"There is no backup yet" is a pointer that names none. Whatever else keeps a snapshot from being read is an error, and
no backup follows it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import SnapshotUnreadable, WorkspaceRefused
from assistant.workspace import descriptors, manifest
from assistant.workspace.manifest import as_name
from assistant.workspace.model import NOTHING, File, Folder, Link, Root
from assistant.workspace.planning import total, uploads
from assistant.workspace.scanning import digest_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from assistant.workspace.model import Contained, Head, Manifest, Trees
    from assistant.workspace.planning import Upload
    from assistant.workspace.ports import Blobs, Snapshots
    from assistant.workspace.transfers import Transfers

BESIDE = ".restoring"
"""Where a restore is prepared: a folder beside the workspace, and one in the state."""

_TRIES = 2
_SPARE_BYTES = 64 << 20
_COPY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to: what was committed last, and is in place now. Without a manifest there was no backup."""

    head: Head
    manifest: Manifest | None

    @property
    def contained(self) -> Contained:
        """How much of the conversation OpenClaw's memory has seen."""
        return NOTHING if self.manifest is None else self.manifest.contained


@dataclass(frozen=True, slots=True)
class Places:
    """Where a chat's workspace and OpenClaw's state are.

    Attributes:
        workspace: absent, or an empty folder; what it is in is on the same file system.
        state: OpenClaw's, without a memory; None to restore the workspace alone.
        owner: the user whose everything becomes.
    """

    workspace: Path
    state: Path | None
    owner: int

    def beside(self) -> dict[Root, Path]:
        """Where a restore is prepared."""
        found = {Root.WORKSPACE: self.workspace.parent / BESIDE}
        return found if self.state is None else found | {Root.STATE: self.state / BESIDE}

    @property
    def memory(self) -> Path | None:
        """Where OpenClaw's memory belongs."""
        return None if self.state is None else self.state / manifest.MEMORY

    def moves(self) -> list[tuple[Path, Path]]:
        """What of the state is moved from where it is prepared to where it belongs."""
        if self.state is None:
            return []
        return [(self.state / BESIDE / name, self.state / name) for name in sorted(manifest.STATE_FILES)]


class Restoring:
    """Puts a chat's last snapshot in place.

    Args:
        places: where.
        blobs: the chat's.
        snapshots: where the pointer is.
        transfers: the threads.
    """

    def __init__(self, places: Places, blobs: Blobs, snapshots: Snapshots, transfers: Transfers) -> None:
        self._places = places
        self._blobs = blobs
        self._snapshots = snapshots
        self._transfers = transfers

    def __call__(self, chat_id: str) -> Restored:
        """Restore; a chat without a backup gets an empty workspace.

        Raises:
            SnapshotUnreadable: there is a backup, and it can't be read whole.
            WorkspaceRefused: there is something in the way, or no room.
            OSError: the disk did not do it.
        """
        head = self._snapshots.head(chat_id)
        made = None if head.key is None else self.read(head, chat_id)
        trees = {} if made is None else {root: made.tree(root) for root in made.trees}
        self.put(trees)
        return Restored(head, made)

    def read(self, head: Head, chat_id: str) -> Manifest:
        """The manifest that a pointer names; SnapshotUnreadable if it may not be believed."""
        return manifest.read(self._blobs.get_manifest(str(head.key)), head, chat_id)

    def put(self, trees: Trees) -> None:
        """Fetch, prove and put in place. Whatever goes wrong, nothing of it is in place."""
        beside = self._places.beside()
        for folder in beside.values():
            folder.parent.mkdir(parents=True, exist_ok=True)
        self._check_ways()
        self._check_room(trees)
        try:
            for folder in beside.values():
                _remove(folder)  # of a restore that was cut off
                folder.mkdir(mode=0o700)
            self._fill(beside, trees)
            self._transfers.check()
            self._move(beside)
        finally:
            for folder in beside.values():
                _remove(folder)

    def _check_ways(self) -> None:
        workspace, memory = self._places.workspace, self._places.memory
        if workspace.is_symlink() or (workspace.exists() and any(workspace.iterdir())):
            raise WorkspaceRefused("the workspace's folder is not empty")
        if memory is not None and (memory.is_symlink() or memory.exists()):
            raise WorkspaceRefused("OpenClaw has a memory already")

    def _check_room(self, trees: Trees) -> None:
        size = total(entry for tree in trees.values() for entry in tree.values() if isinstance(entry, File))
        free = shutil.disk_usage(self._places.workspace.parent).free
        if size + _SPARE_BYTES > free:
            raise WorkspaceRefused(f"the snapshot has {size} bytes; the disk has room for {free}")

    def _fill(self, beside: Mapping[Root, Path], trees: Trees) -> None:
        with contextlib.ExitStack() as stack:
            filling = _Filling(
                {root: stack.enter_context(descriptors.folder(folder)) for root, folder in beside.items()},
                trees,
                self._places.owner,
                self._blobs,
                self._transfers.small_bytes,
            )
            filling.make_folders()
            self._transfers.each(filling.fetch, uploads(trees, ()))
            filling.make_links()
            filling.settle_folders()

    def _move(self, beside: Mapping[Root, Path]) -> None:
        """The workspace last, in one step: who finds it, finds all."""
        moves = [(source, target) for source, target in self._places.moves() if source.exists()]
        try:
            for source, target in moves:
                self._make_way(beside[Root.STATE].parent, target)
                source.rename(target)
            beside[Root.WORKSPACE].rename(self._places.workspace)
        except OSError:
            for _, target in moves:
                target.unlink(missing_ok=True)
            raise

    def _make_way(self, state: Path, target: Path) -> None:
        for folder in reversed(target.relative_to(state).parents[:-1]):
            with contextlib.suppress(FileExistsError):
                (state / folder).mkdir(mode=0o700)
                _give(state / folder, self._places.owner)


@dataclass(frozen=True, slots=True)
class _Filling:
    """Makes what trees say, in folders that are empty and held open. Links come last: nothing is made through one."""

    tops: Mapping[Root, int]
    trees: Trees
    owner: int
    blobs: Blobs
    small_bytes: int

    def make_folders(self) -> None:
        """All folders, for us alone, so that everything can be put into them."""
        for root, entry in self._each(Folder):
            with self._within(root, entry.path) as (within, name):
                os.mkdir(name, 0o700, dir_fd=within)

    def fetch(self, upload: Upload) -> None:
        """Fetch a content into every place that has it."""
        if upload.size <= self.small_bytes:
            data = self._proven(upload)
            for root, path in upload.places:
                with self._made(root, path) as opened:
                    _write(opened, data)
            return
        with self._made(*upload.places[0]) as first:
            self._fetch_into(upload, first)
            for place in upload.places[1:]:
                with self._made(*place) as opened:
                    _copy(first, opened, upload.size)

    def make_links(self) -> None:
        """All links."""
        for root, entry in self._each(Link):
            with self._within(root, entry.path) as (within, name):
                os.symlink(as_name(entry.target), name, dir_fd=within)
                if self.owner != os.getuid():
                    os.chown(name, self.owner, self.owner, dir_fd=within, follow_symlinks=False)

    def settle_folders(self) -> None:
        """The folders get their owner and mode, the innermost first; and the roots themselves."""
        for root, entry in reversed([*self._each(Folder)]):
            with self._within(root, entry.path) as (within, name), descriptors.folder(within, [name]) as opened:
                self._settle(opened, entry.mode)
        for top in self.tops.values():
            self._settle(top, 0o700)

    def _each[E: (Folder, Link)](self, kind: type[E]) -> Iterator[tuple[Root, E]]:
        for root, tree in self.trees.items():
            for path in sorted(tree):
                entry = tree[path]
                if isinstance(entry, kind):
                    yield root, entry

    @contextlib.contextmanager
    def _within(self, root: Root, path: str) -> Iterator[tuple[int, str]]:
        *folders, name = as_name(path).split("/")
        with descriptors.folder(self.tops[root], folders) as within:
            yield within, name

    @contextlib.contextmanager
    def _made(self, root: Root, path: str) -> Iterator[int]:
        """A new file, which becomes what its entry says."""
        with self._within(root, path) as (within, name):
            opened = descriptors.make(name, within)
            try:
                yield opened
                entry = self.trees[root][path]
                if isinstance(entry, File):
                    self._settle(opened, entry.mode)
                    os.utime(opened, ns=(entry.modified, entry.modified))
            finally:
                os.close(opened)

    def _settle(self, opened: int, mode: int) -> None:
        _give(opened, self.owner)
        os.fchmod(opened, mode)

    def _proven(self, upload: Upload) -> bytes:
        for _ in range(_TRIES):  # the second, for what went wrong on the way
            data = self.blobs.get(upload.digest, upload.size)
            if manifest.digest_of(data) == upload.digest and len(data) == upload.size:
                return data
        raise SnapshotUnreadable("a content is not what its name says")

    def _fetch_into(self, upload: Upload, opened: int) -> None:
        for _ in range(_TRIES):
            os.ftruncate(opened, 0)
            with os.fdopen(os.dup(opened), "r+b") as file:
                file.seek(0)
                self.blobs.get_into(upload.digest, file)
            os.lseek(opened, 0, os.SEEK_SET)
            if digest_of_file(opened) == (upload.digest, upload.size):
                return
        raise SnapshotUnreadable("a content is not what its name says")


def _give(what: int | Path, owner: int) -> None:
    """Make it the agent's user's, who has a group of the same number."""
    if owner != os.getuid():
        os.chown(what, owner, owner)


def _write(opened: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(opened, left) :]


def _copy(source: int, target: int, size: int) -> None:
    place = 0
    while place < size:
        place += os.sendfile(target, source, place, min(_COPY_BYTES, size - place))


def _remove(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder)

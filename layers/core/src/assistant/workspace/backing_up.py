"""A backup: scan, plan, upload, commit. Until the pointer moves, nothing has happened; then everything has.

The order is what makes it safe (`docs/decisions`): contents first, then the manifest, the pointer last, on the
condition that the chat is still ours, that nobody committed, and that no collection began since the pointer was read.
A content is taken for kept only if the committed parent holds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import BackupFailed
from assistant.workspace import descriptors, manifest
from assistant.workspace.manifest import MEMORY, as_name
from assistant.workspace.model import NOTHING, Head, LeftOut, Manifest, Root, Snapshot, Unkept, Why
from assistant.workspace.planning import kept_back, listed, total, uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from assistant.turns.agents import Generation
    from assistant.turns.ports import Clock
    from assistant.workspace.databases import Databases
    from assistant.workspace.model import Contained, Entry, Tree, Trees
    from assistant.workspace.planning import Upload
    from assistant.workspace.ports import Blobs, Snapshots
    from assistant.workspace.restoring import Restored
    from assistant.workspace.scanning import Scanner
    from assistant.workspace.transfers import Transfers

_ROUNDS = 3
"""So often a workspace is looked at again when something in it changed before it was uploaded."""

_COMMITS = 3


class Came(StrEnum):
    """What a backup came to."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup came to.

    Attributes:
        came: `REPLACED`: the chat is another generation's, or its workspace was forgotten; nothing was committed.
        number: of the snapshot that is the newest now.
        uploaded: how many contents.
        bytes: of them.
        left_out: how many things the snapshot does not hold as they were found.
    """

    came: Came
    number: int
    uploaded: int = 0
    bytes: int = 0
    left_out: int = 0


class ContentChanged(Exception):
    """A file no longer holds what was found in it."""


class Backup:
    """Backs up one chat's workspace, again and again; one at a time.

    Args:
        generation: the agent's.
        restored: what its restore came to: there is no backup before one.
        scanners: of both roots.
        databases: of the scanners.
        blobs: where contents and manifests go.
        snapshots: where the pointer is.
        clock: the time.
        transfers: the threads.
    """

    def __init__(
        self,
        generation: Generation,
        restored: Restored,
        scanners: Sequence[Scanner],
        databases: Databases,
        *,
        blobs: Blobs,
        snapshots: Snapshots,
        clock: Clock,
        transfers: Transfers,
    ) -> None:
        self._generation = generation
        self._head = restored.head
        self._parent = restored.manifest
        self._scanners = {scanner.root: scanner for scanner in scanners}
        self._databases = databases
        self._blobs = blobs
        self._snapshots = snapshots
        self._clock = clock
        self._transfers = transfers
        self._copies: dict[tuple[Root, str], Path] = {}
        self._doubtful: tuple[Snapshot, Manifest] | None = None

    def __call__(self, contained: Contained, *, if_changed: Root | None = None) -> BackedUp:
        """Keep what there is now.

        Args:
            contained: how much of the conversation the memory has seen by now, at least.
            if_changed: only if something of this root has changed.

        Raises:
            BackupFailed: a root is no folder any more, or a collection was always quicker.
            Stopped: an end was asked for.
            OSError: a root can't be read.
        """
        self._clear_doubt()
        try:
            if if_changed is not None and not self._has_changed(if_changed):
                return BackedUp(Came.UNCHANGED, self._head.number)
            for _ in range(_COMMITS):
                done = self._tried(contained)
                if done is not None:
                    return done
        finally:
            self._databases.close()
            self._copies.clear()
        raise BackupFailed("collections kept coming in between")

    def stop(self) -> None:
        """Have a backup that is under way end at its next step, with Stopped; for good."""
        self._transfers.stop()

    @property
    def head(self) -> Head:
        """What was committed last."""
        return self._head

    def _has_changed(self, root: Root) -> bool:
        tree, _ = self._found(self._scanners[root], self._held)
        return self._parent is None or tree != self._parent.tree(root)

    @property
    def _held(self) -> frozenset[str]:
        return frozenset() if self._parent is None else self._parent.digests

    def _before(self, root: Root) -> Tree:
        return {} if self._parent is None else self._parent.tree(root)

    def _tried(self, contained: Contained) -> BackedUp | None:
        """One try; None if a collection began meanwhile: then all that was not the parent's has to go up again."""
        trees, left_out, uploaded = self._kept()
        contained = self._really(contained, trees[Root.STATE], left_out)
        if self._is_same(trees, contained):
            return BackedUp(Came.UNCHANGED, self._head.number, left_out=len(left_out))
        made = Manifest(
            chat_id=self._generation.chat_id,
            number=self._head.number + 1,
            generation=self._generation.number,
            created_at=int(self._clock.now()),
            parent=self._head.key,
            gc_epoch=self._head.gc_epoch,
            contained=contained,
            trees={root: listed(tree) for root, tree in trees.items()},
            left_out=left_out,
        )
        snapshot = self._put(made)
        self._doubtful = snapshot, made
        if not self._snapshots.commit(self._generation, snapshot, self._head):
            now = self._snapshots.head(self._generation.chat_id)
            if now.key != snapshot.key:  # else an earlier try of the same was made, and its answer was lost
                return self._refused(now)
        self._settle(snapshot, made)
        size = sum(upload.size for upload in uploaded)
        return BackedUp(Came.COMMITTED, made.number, len(uploaded), size, len(left_out))

    def _put(self, made: Manifest) -> Snapshot:
        data = manifest.encoded(made)
        snapshot = entry_of(made, manifest.digest_of(data))
        self._transfers.check()
        self._blobs.put_manifest(snapshot.key, data)
        self._transfers.check()
        return snapshot

    def _clear_doubt(self) -> None:
        """Find out whether a commit was made whose end nobody knows: its answer was lost."""
        if self._doubtful is not None:
            snapshot, made = self._doubtful
            if self._snapshots.head(self._generation.chat_id).key == snapshot.key:
                self._settle(snapshot, made)
            self._doubtful = None

    def _settle(self, snapshot: Snapshot, made: Manifest) -> None:
        self._head, self._parent, self._doubtful = head_of(snapshot, self._head), made, None

    def _refused(self, now: Head) -> BackedUp | None:
        self._doubtful = None
        if now.generation != self._generation.number or now.key != self._head.key:
            return BackedUp(Came.REPLACED, now.number)
        self._head = now
        return None

    def _is_same(self, trees: Trees, contained: Contained) -> bool:
        if self._parent is None:
            return False
        return contained == self._parent.contained and all(
            tree == self._parent.tree(root) for root, tree in trees.items()
        )

    def _really(self, contained: Contained, state: Tree, left_out: Sequence[LeftOut]) -> Contained:
        """What the memory in the snapshot has seen: nothing if it is not there; if it is an older one, less."""
        if MEMORY not in state:
            return NOTHING
        older = any(one.root == Root.STATE and one.kept for one in left_out)
        return self._parent.contained if older and self._parent is not None else contained

    def _kept(self) -> tuple[Trees, list[LeftOut], list[Upload]]:
        """Scan and upload until what was uploaded is what was found; what never comes to rest stays as it was."""
        uploaded: dict[str, Upload] = {}
        for _ in range(_ROUNDS):
            held = self._held | uploaded.keys()
            found = {root: self._found(scanner, held) for root, scanner in self._scanners.items()}
            planned = uploads({root: tree for root, (tree, _) in found.items()}, held)
            went = self._transfers.each(self._upload, planned)
            uploaded |= {each.digest: each for each, kept in zip(planned, went, strict=True) if kept}
            restless = [each for each, kept in zip(planned, went, strict=True) if not kept]
            if not restless:
                break
        trees: dict[Root, Tree] = {}
        left_out: list[LeftOut] = []
        for root, (tree, named) in found.items():
            trees[root], more = self._without(root, tree, restless)
            left_out += named + more
        return trees, left_out, list(uploaded.values())

    def _found(self, scanner: Scanner, held: frozenset[str]) -> tuple[dict[str, Entry], list[LeftOut]]:
        scanned = scanner.scan(held)
        self._copies |= {(scanner.root, path): copy for path, copy in scanned.copies.items()}
        return kept_back(self._before(scanner.root), scanned.entries, scanned.left_out)

    def _without(self, root: Root, tree: dict[str, Entry], restless: Sequence[Upload]) -> tuple[Tree, list[LeftOut]]:
        """A tree in which the files that changed again and again are as they were before, if they were."""
        paths = [path for upload in restless for where, path in upload.places if where == root]
        calm = {path: entry for path, entry in tree.items() if path not in paths}
        return kept_back(self._before(root), calm, [LeftOut(root, path, Why.CHANGING) for path in paths])

    def _upload(self, upload: Upload) -> bool:
        """Keep a content, from any place that still has it; False if none has."""
        return any(self._uploaded_from(root, path, upload) for root, path in upload.places)

    def _uploaded_from(self, root: Root, path: str, upload: Upload) -> bool:
        with contextlib.ExitStack() as stack:
            try:
                opened, _ = stack.enter_context(self._opened(root, path))
            except (Unkept, OSError):
                return False
            source = Proven(opened, upload, self._transfers.check)
            try:
                if upload.size <= self._transfers.small_bytes:
                    self._blobs.put(upload.digest, source.whole())
                else:
                    self._blobs.put_from(upload.digest, source)
            except ContentChanged:
                return False
        return True

    @contextlib.contextmanager
    def _opened(self, root: Root, path: str) -> Iterator[tuple[int, os.stat_result]]:
        """A file that was found, or its copy."""
        scanner = self._scanners[root]
        copy = self._copies.get((root, path))
        top, names = (scanner.folder, as_name(path).split("/")) if copy is None else (copy.parent, [copy.name])
        with (
            descriptors.folder(top) as root_folder,
            descriptors.folder(root_folder, names[:-1]) as within,
            descriptors.own_file(names[-1], within, scanner.owner) as opened,
        ):
            yield opened


class Proven:
    """A content that is read once, from an open file, and ends only if it was the one that it should be."""

    def __init__(self, opened: int, upload: Upload, check: Callable[[], None]) -> None:
        self._opened = opened
        self._wanted = upload.digest
        self._left = upload.size
        self._check = check
        self._digest = hashlib.sha256()

    def read(self, most: int = -1, /) -> bytes:
        """The next bytes; ContentChanged instead of the end of something else."""
        self._check()
        limit = self._left + 1  # one more than there should be
        try:
            data = os.read(self._opened, limit if most < 0 else min(most, limit))
        except OSError as error:
            raise ContentChanged from error
        self._digest.update(data)
        self._left -= len(data)
        if self._left < 0 or (not data and (self._left or self._digest.hexdigest() != self._wanted)):
            raise ContentChanged
        return data

    def whole(self) -> bytes:
        """All of it."""
        return b"".join(iter(self.read, b""))


def entry_of(made: Manifest, digest: str) -> Snapshot:
    """A manifest as it is listed."""
    files = made.files
    return Snapshot(
        number=made.number,
        generation=made.generation,
        key=manifest.key_of(made, digest),
        digest=digest,
        created_at=made.created_at,
        files=len(files),
        bytes=total(files),
        left_out=len(made.left_out),
        turn=made.contained.turn,
    )


def head_of(snapshot: Snapshot, before: Head) -> Head:
    """The pointer after a commit."""
    return msgspec.structs.replace(before, key=snapshot.key, digest=snapshot.digest, number=snapshot.number)

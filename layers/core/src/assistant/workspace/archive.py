"""What was kept, for who looks for something in it: lists, single files, whole states of earlier times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import BackupFailed, SnapshotUnreadable
from assistant.workspace import manifest
from assistant.workspace.backing_up import entry_of
from assistant.workspace.model import Head, Root
from assistant.workspace.restoring import Places, Restoring
from assistant.workspace.transfers import Transfers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from assistant.turns.agents import Generation
    from assistant.turns.ports import Clock
    from assistant.workspace.model import File, Manifest, Snapshot
    from assistant.workspace.ports import Blobs, Snapshots


@dataclass(frozen=True, slots=True)
class Archive:
    """The snapshots of one chat."""

    chat_id: str
    blobs: Blobs
    snapshots: Snapshots

    def listed(self) -> Sequence[Snapshot]:
        """What is kept, oldest first."""
        return self.snapshots.listed(self.chat_id)

    def newest(self) -> Snapshot | None:
        """What was committed last; None if there was never a backup."""
        return max(self.listed(), key=lambda snapshot: snapshot.number, default=None)

    def at(self, moment: float) -> Snapshot | None:
        """The state of a time in epoch seconds: the last snapshot made by then."""
        return max(
            (snapshot for snapshot in self.listed() if snapshot.created_at <= moment),
            key=lambda snapshot: snapshot.number,
            default=None,
        )

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """What a snapshot holds; SnapshotUnreadable if it can't be read."""
        pointer = Head(key=snapshot.key, digest=snapshot.digest)
        return manifest.read(self.blobs.get_manifest(snapshot.key), pointer, self.chat_id)

    def content(self, file: File) -> bytes:
        """A file's content, in memory; SnapshotUnreadable if it is not what it was."""
        data = self.blobs.get(file.digest, file.size)
        if len(data) != file.size or manifest.digest_of(data) != file.digest:
            raise SnapshotUnreadable("a content is not what its name says")
        return data

    def download(self, snapshot: Snapshot, folder: Path, *, owner: int, transfers: Transfers | None = None) -> Manifest:
        """Put the workspace of a snapshot into a folder that is absent or empty: all of it, or nothing.

        Raises:
            SnapshotUnreadable: it can't be read whole.
            WorkspaceRefused: the folder is not empty, or there is no room.
        """
        made = self.manifest(snapshot)
        places = Places(workspace=folder, state=None, owner=owner)
        restoring = Restoring(places, self.blobs, self.snapshots, transfers or Transfers())
        restoring.put({Root.WORKSPACE: made.tree(Root.WORKSPACE)})
        return made

    def bring_back(self, snapshot: Snapshot, generation: Generation, clock: Clock) -> Snapshot:
        """Make an earlier state the newest one; nothing that came after it is lost, it stays on the list.

        Args:
            snapshot: the state, which is still kept.
            generation: of the agent, which must not run: its next backup would be refused.
            clock: the time.

        Raises:
            BackupFailed: an agent runs, a backup or a collection came in between, or the snapshot is kept no longer.
        """
        head = self.snapshots.head(self.chat_id)
        old = self.manifest(snapshot)
        made = msgspec.structs.replace(
            old,
            number=head.number + 1,
            generation=generation.number,
            created_at=int(clock.now()),
            parent=head.key,
            gc_epoch=head.gc_epoch,
        )
        data = manifest.encoded(made)
        entry = entry_of(made, manifest.digest_of(data))
        self.blobs.put_manifest(entry.key, data)
        if not self.snapshots.commit(generation, entry, head, holding=[snapshot.number]):
            raise BackupFailed("something else was committed meanwhile, or the snapshot is kept no longer")
        return entry

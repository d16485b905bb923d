"""The collection of what no snapshot needs any more: it can never take what a kept or a coming snapshot needs.

In this order, which is the whole of the proof (`docs/decisions`):

1. List every version there is. Nothing that comes later is ever deleted.
2. Take the snapshots that are not kept off the list: from then on nobody brings one back.
3. Raise `gc_epoch`: a backup that relies on anything from before fails at its end and uploads anew.
4. Read the list again and the manifests on it: what they need stays.
5. Delete of the versions of step 1 what is not needed and not of today.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from assistant.errors import SnapshotUnreadable
from assistant.workspace import manifest
from assistant.workspace.keeping import kept
from assistant.workspace.model import Head

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.turns.ports import Clock
    from assistant.workspace.ports import Shelves, Snapshots

GRACE_SECONDS = 86_400
"""So old is what is deleted at least: no backup takes that long, and so none is disturbed."""

BLOBS, SNAPSHOTS = "blobs/", "snapshots/"


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did.

    Attributes:
        dropped: snapshots.
        kept: snapshots.
        deleted: versions of contents and manifests.
        bytes: of them.
    """

    dropped: int
    kept: int
    deleted: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Collection:
    """Tidies up chats. `grace_seconds`: see `GRACE_SECONDS`."""

    shelves: Shelves
    snapshots: Snapshots
    clock: Clock
    grace_seconds: float = GRACE_SECONDS

    def chats(self) -> list[str]:
        """Every chat that has anything."""
        return [*self.shelves.chats()]

    def __call__(self, chat_id: str) -> Collected:
        """Tidy up a chat.

        Raises:
            SnapshotUnreadable: a manifest that is kept can't be read; nothing was deleted.
        """
        listed = [*self.shelves.versions(chat_id)]
        dropped = self._drop(chat_id)
        head = self.snapshots.raise_epoch(chat_id)
        needed, kept_number = self._needed(chat_id, head)
        latest = self.clock.now() - self.grace_seconds
        unneeded = [each for each in listed if each.name not in needed and each.modified_at <= latest]
        self.shelves.delete(chat_id, unneeded)
        return Collected(dropped, kept_number, len(unneeded), sum(each.size for each in unneeded))

    def everywhere(self, *, log: Callable[..., None]) -> None:
        """Tidy up every chat.

        Args:
            log: takes a message and fields.

        Raises:
            SnapshotUnreadable: of so many chats a manifest that is kept can't be read; the others are tidied up.
        """
        unreadable = 0
        for chat_id in self.chats():
            try:
                done = self(chat_id)
            except SnapshotUnreadable as error:
                unreadable += 1
                log("not collected", chat_id=chat_id, reason=str(error))
            else:
                log("collected", chat_id=chat_id, **asdict(done))
        if unreadable:
            raise SnapshotUnreadable(f"the snapshots of {unreadable} chats can't all be read")

    def forget(self, chat_id: str, *, by: str) -> Collected:
        """Delete everything that there is of a chat, for good; an agent that runs commits nothing any more.

        Again with the same `by` it goes on where it died, and leaves alone what a later agent has made. What the
        agent that ran was just uploading belongs to no snapshot: the next collection deletes it.
        """
        forgotten = self.snapshots.forget(chat_id, by=by, now=int(self.clock.now()))
        numbers = [
            snapshot.number
            for snapshot in self.snapshots.listed(chat_id)
            if snapshot.generation <= forgotten.generation
        ]
        versions = [each for each in self.shelves.versions(chat_id) if each.modified_at <= forgotten.at]
        for number in numbers:
            self.snapshots.drop(chat_id, number, until=forgotten.generation)
        self.shelves.delete(chat_id, versions)
        return Collected(len(numbers), 0, len(versions), sum(each.size for each in versions))

    def _drop(self, chat_id: str) -> int:
        snapshots = self.snapshots.listed(chat_id)
        keeping = kept(snapshots, self.clock.now())
        dropped = [snapshot.number for snapshot in snapshots if snapshot.number not in keeping]
        for number in dropped:
            self.snapshots.drop(chat_id, number)
        return len(dropped)

    def _needed(self, chat_id: str, head: Head) -> tuple[frozenset[str], int]:
        """Names of the objects that kept snapshots need."""
        snapshots = self.snapshots.listed(chat_id)
        if head.key is not None and head.key not in {snapshot.key for snapshot in snapshots}:
            raise SnapshotUnreadable("the snapshot that was committed last is not on the list")
        blobs, needed = self.shelves.blobs(chat_id), set[str]()
        for snapshot in snapshots:
            pointer = Head(key=snapshot.key, digest=snapshot.digest)
            made = manifest.read(blobs.get_manifest(snapshot.key), pointer, chat_id)
            needed |= {f"{BLOBS}{digest}" for digest in made.digests}
            needed.add(f"{SNAPSHOTS}{snapshot.key}")
        return frozenset(needed), len(snapshots)

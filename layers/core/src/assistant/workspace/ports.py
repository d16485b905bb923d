"""What snapshots need from outside. The adapters live in `stores`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

    from assistant.turns.agents import Generation
    from assistant.workspace.model import Forgotten, Head, Snapshot


class Readable(Protocol):
    """Where a blob's content comes from."""

    def read(self, most: int = -1, /) -> bytes:
        """The next bytes; empty at the end. May refuse to end: then nothing is kept."""
        ...


class Blobs(Protocol):
    """The content and the manifests of one chat's snapshots. What a name holds is never changed."""

    def put(self, digest: str, data: bytes) -> None:
        """Keep a content under its digest."""
        ...

    def put_from(self, digest: str, source: Readable) -> None:
        """The same, piece by piece; whatever reading raises leaves nothing behind."""
        ...

    def get(self, digest: str, size: int) -> bytes:
        """A content, unverified, and no more than a byte beyond its size; SnapshotUnreadable if it is missing."""
        ...

    def get_into(self, digest: str, file: BinaryIO) -> None:
        """All of it, into a file that is empty."""
        ...

    def put_manifest(self, key: str, data: bytes) -> None:
        """Keep a manifest, never over another; again is harmless."""
        ...

    def get_manifest(self, key: str) -> bytes:
        """A manifest, unverified; SnapshotUnreadable if it is missing."""
        ...


class Snapshots(Protocol):
    """The pointer of each chat, and what was ever committed and is not dropped."""

    def head(self, chat_id: str) -> Head:
        """The pointer as it is now (consistent read)."""
        ...

    def commit(self, generation: Generation, snapshot: Snapshot, parent: Head, *, holding: Sequence[int] = ()) -> bool:
        """Move the pointer from the parent to a snapshot, in one transaction with its entry in the list.

        False, and nothing is changed, unless the chat is still this generation's, the pointer and `gc_epoch` are still
        the parent's, and the snapshots of the numbers in `holding` are still kept.
        """
        ...

    def listed(self, chat_id: str) -> Sequence[Snapshot]:
        """What is kept, oldest first (consistent read)."""
        ...

    def drop(self, chat_id: str, number: int, *, until: int | None = None) -> None:
        """Take a snapshot off the list: from now on nobody brings it back. `until`: if no later generation made it."""
        ...

    def raise_epoch(self, chat_id: str) -> Head:
        """Make every backup that is under way fail at its end; the pointer as it is from then on."""
        ...

    def forget(self, chat_id: str, *, by: str, now: int) -> Forgotten:
        """Have no pointer any more, once by each command; every backup that is under way fails at its end.

        An agent that runs loses its place. Answers the same when it is called again, though there may be a new agent.
        """
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object of a chat. `name`: `blobs/…` or `snapshots/…`; `modified_at`: epoch seconds."""

    name: str
    id: str
    size: int
    modified_at: float


class Shelves(Protocol):
    """All chats' objects, for who tidies them up."""

    def chats(self) -> Iterator[str]:
        """The chats that have any."""
        ...

    def blobs(self, chat_id: str) -> Blobs:
        """A chat's."""
        ...

    def versions(self, chat_id: str) -> Iterator[Version]:
        """Every version of every object of a chat, and the marks of deletion."""
        ...

    def delete(self, chat_id: str, versions: Iterable[Version]) -> None:
        """Delete these versions, and no other; what is gone already is no harm."""
        ...

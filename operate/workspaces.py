"""The chats' workspaces as the operator reaches them: what is kept, read with progress, proven, brought back."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, BinaryIO

from assistant.errors import SnapshotUnreadable
from assistant.stores.workspaces import S3Blobs, S3Shelves
from assistant.turns.agents import Generation
from assistant.workspace.archive import Archive
from assistant.workspace.planning import uploads
from assistant.workspace.scanning import digest_of_file
from assistant.workspace.transfers import Transfers
from operate.errors import MissingError, StateError, UsageError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from assistant.stores.agents import DynamoAgents
    from assistant.stores.snapshots import DynamoSnapshots
    from assistant.turns.ports import Clock
    from assistant.workspace.model import Manifest, Snapshot
    from assistant.workspace.planning import Upload

type Read = Callable[[int], None]
"""Is told of bytes that were read."""

_AGO = re.compile(r"(\d{1,5})\s*(m|h|d|w)")
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LIST = "`python -m operate workspace list` shows what there is."


class CountedBlobs(S3Blobs):
    """A chat's contents; `read` is told of every byte."""

    def __init__(self, client: S3Client, bucket: str, chat_id: str, read: Read) -> None:
        super().__init__(client, bucket, chat_id)
        self._told = read

    def get(self, digest: str, size: int) -> bytes:
        """A content, unverified."""
        data = super().get(digest, size)
        self._told(len(data))
        return data

    def get_into(self, digest: str, file: BinaryIO) -> None:
        """A content into a file."""
        before = file.tell()
        super().get_into(digest, file)
        self._told(file.seek(0, 2) - before)


@dataclass(frozen=True, slots=True)
class Workspaces:
    """All chats' workspaces."""

    s3: S3Client
    bucket: str
    snapshots: DynamoSnapshots
    agents: DynamoAgents
    clock: Clock

    def chats(self) -> list[str]:
        """The chats that have a workspace."""
        return sorted(S3Shelves(self.s3, self.bucket).chats(), key=int)

    def chat(self, given: str | None) -> str:
        """The chat that is meant: the one that is named, or the only one there is.

        Raises:
            MissingError: it has no workspace, or none has.
            UsageError: there are several.
        """
        if given is not None:
            if not self.snapshots.listed(given):
                raise MissingError(f"The chat {given} has no workspace that was backed up.", _LIST)
            return given
        chats = self.chats()
        if not chats:
            raise MissingError(
                "No chat has a workspace yet.", "An agent backs its workspace up every few minutes while it works."
            )
        if len(chats) > 1:
            raise UsageError(f"There are workspaces of several chats: {', '.join(chats)}.", "Say which: --chat.")
        return chats[0]

    def archive(self, chat_id: str, read: Read = lambda _: None) -> Archive:
        """A chat's snapshots; `read` is told of every byte of their contents that comes in."""
        return Archive(chat_id, CountedBlobs(self.s3, self.bucket, chat_id, read), self.snapshots)

    def snapshot(self, chat_id: str, *, at: str | None, number: int | None) -> Snapshot:
        """The snapshot that is meant: by its number, the last one made by a time, or the newest.

        Raises:
            MissingError: there is none.
            UsageError: the time can't be read, or both are given.
        """
        archive = self.archive(chat_id)
        if at is not None and number is not None:
            raise UsageError("A time and a number are given.", "Say one of them.")
        if number is not None:
            found = next((one for one in archive.listed() if one.number == number), None)
        elif at is not None:
            found = archive.at(moment(at, self.clock.now()))
        else:
            found = archive.newest()
        if found is None:
            what = f"the number {number}" if number is not None else f"a time before {at}"
            raise MissingError(f"Of the chat {chat_id} no snapshot with {what} is kept.", _LIST)
        return found

    def prove(self, chat_id: str, made: Manifest, read: Read) -> None:
        """Read every content of a snapshot and prove it.

        Raises:
            SnapshotUnreadable: one is missing, or is not what it was.
        """
        archive = self.archive(chat_id, read)
        trees = {root: made.tree(root) for root in made.trees}
        Transfers().each(lambda one: _proven(archive, one), uploads(trees, ()))

    def idle(self, chat_id: str) -> Generation:
        """The generation of an agent that does not run.

        Raises:
            StateError: it runs, or is being started.
        """
        agent = self.agents.read(chat_id)
        if agent.is_held(self.clock.now()):
            raise StateError(
                f"The agent of the chat {chat_id} is {agent.status}: it works with the present state.",
                "Send /sleep in the chat, or wait until it stops by itself (AgentIdleMinutes); then repeat.",
            )
        return Generation(chat_id, agent.generation)


def _proven(archive: Archive, wanted: Upload) -> None:
    with tempfile.TemporaryFile() as file:
        archive.blobs.get_into(wanted.digest, file)
        file.seek(0)
        if digest_of_file(file.fileno()) != (wanted.digest, wanted.size):
            raise SnapshotUnreadable("a content is not what its name says")


def moment(said: str, now: float) -> float:
    """A time in epoch seconds: ISO 8601, UTC if no zone is said, a day alone as it was at its end; or `3h` ago.

    Raises:
        UsageError: it is none.
    """
    ago = _AGO.fullmatch(said.strip())
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        read = datetime.fromisoformat(said.strip())
    except ValueError:
        raise UsageError(
            f"{said!r} is no time.", "Say `2026-11-26`, `2026-11-26 14:00` (UTC), or how long ago: `90m`, `3h`, `2d`."
        ) from None
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    if len(said.strip()) <= len("2026-11-26") and read.time() == time():
        read += timedelta(days=1) - timedelta(seconds=1)
    return read.timestamp()

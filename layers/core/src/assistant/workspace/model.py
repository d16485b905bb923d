"""What a workspace and a snapshot of it are, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

FORMAT = 1
"""Of the manifests that are written. One that is higher is refused: what it means is not known here."""

MOST_ENTRIES = 1_000_000

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""SHA-256 in hexadecimal: a blob's name and proof."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o777)]


class Root(StrEnum):
    """A snapshot's two places: the agent's folder, and OpenClaw's state, of which it holds the memory only."""

    WORKSPACE = "workspace"
    STATE = "state"


class File(msgspec.Struct, frozen=True, tag="file"):
    """A regular file. `path` is relative to its root, with `/`; `modified` in nanoseconds of the epoch."""

    path: str
    size: Count
    mode: Mode
    modified: int
    digest: Digest


class Link(msgspec.Struct, frozen=True, tag="link"):
    """A symbolic link, relative, that stays within its root."""

    path: str
    target: str


class Folder(msgspec.Struct, frozen=True, tag="folder"):
    """A folder; one that is empty is kept, too."""

    path: str
    mode: Mode


type Entry = File | Link | Folder
type Tree = Mapping[str, Entry]
"""By path."""

type Trees = Mapping[Root, Tree]


class Why(StrEnum):
    """Why something is not in a snapshot, or only as it was before (`KEPT`)."""

    CHANGING = "it kept changing while it was read"
    UNREADABLE = "it could not be read"
    DAMAGED = "the database is damaged"
    VANISHED = "it vanished while it was read"
    LEADS_OUT = "the link leads out of the workspace"
    FOREIGN = "it belongs to another user"
    ELSEWHERE = "it lies on another file system"
    SPECIAL = "it is neither a file, a folder nor a link"


KEPT = frozenset({Why.CHANGING, Why.UNREADABLE, Why.DAMAGED})
"""What is left out so is there, and was not deleted: a snapshot goes on holding it as the one before did."""


class LeftOut(msgspec.Struct, frozen=True):
    """Something that the snapshot does not hold as it was found. `kept`: it holds what the one before held."""

    root: Root
    path: str
    why: Why
    kept: bool = False


class Contained(msgspec.Struct, frozen=True):
    """How much of the conversation OpenClaw's memory in a snapshot has seen; the rest is told to the agent anew.

    Attributes:
        turn: the newest turn in it; 0 for none.
        seen: by conversation (its `history_after`), the position of the first exchange that is not in it.
    """

    turn: Count = 0
    seen: dict[int, Count] = {}


NOTHING = Contained()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A snapshot: everything that was there, and where its content lies.

    Attributes:
        chat_id: whose.
        number: counts the snapshots of a chat, from 1.
        generation: of the agent that made it.
        created_at: epoch seconds.
        parent: key of the manifest before it.
        gc_epoch: when it was made. A manifest that was put before a collection began may be deleted by it, and so must
            not be the same one that is committed afterwards.
        contained: of the conversation.
        trees: the entries of each root, by path.
        left_out: what it does not hold.
    """

    chat_id: str
    number: Annotated[int, msgspec.Meta(ge=1)]
    generation: Count
    created_at: Count
    parent: str | None
    gc_epoch: Count
    contained: Contained
    trees: dict[Root, list[Entry]]
    left_out: list[LeftOut]
    format: int = FORMAT

    def tree(self, root: Root) -> Tree:
        """A root's entries by path."""
        return {entry.path: entry for entry in self.trees.get(root, ())}

    @property
    def files(self) -> list[File]:
        """All regular files."""
        return [entry for entries in self.trees.values() for entry in entries if isinstance(entry, File)]

    @property
    def digests(self) -> frozenset[str]:
        """The blobs that it needs."""
        return frozenset(file.digest for file in self.files)


class Head(msgspec.Struct, frozen=True):
    """A chat's pointer: what was committed last.

    Attributes:
        key: of the manifest; None if there was never a backup.
        digest: of the manifest.
        number: of the snapshot; 0 for none.
        generation: the chat's newest.
        gc_epoch: raised by every collection.
    """

    key: str | None = None
    digest: str | None = None
    number: int = 0
    generation: int = 0
    gc_epoch: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """A committed snapshot as it is listed: what one wants to know of it without reading its manifest.

    Attributes:
        number: of the snapshot.
        generation: of the agent that made it.
        key: of its manifest.
        digest: of its manifest.
        created_at: epoch seconds.
        files: how many files it holds.
        bytes: their size.
        left_out: how many things it does not hold.
        turn: the newest turn in it.
    """

    number: int
    generation: int
    key: str
    digest: str
    created_at: int
    files: int
    bytes: int
    left_out: int
    turn: int


class Forgotten(msgspec.Struct, frozen=True):
    """What of a workspace is forgotten: the generations up to `generation`, and what was there `at` that time."""

    generation: int
    at: int


class Unkept(Exception):
    """Something can't be taken into a snapshot as it is."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why

"""`/files`: what the newest backup of a workspace holds, in lines that fit a phone; and one file of it."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import SnapshotUnreadable
from assistant.turns.errands import Document, Reply
from assistant.turns.exporting import MOST_BYTES
from assistant.workspace.manifest import as_name
from assistant.workspace.model import File, Link, Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from assistant.turns.errands import Asked, Errand
    from assistant.turns.ports import Clock
    from assistant.workspace.archive import Archive
    from assistant.workspace.model import Entry, Manifest, Snapshot

SHOWN = 8
"""Files of one list: what a phone shows at a glance."""

LONGEST_NAME = 120
"""Characters that are shown of a path."""

NOTHING = (
    "My agent's workspace is empty: nothing has been backed up yet. Files appear here some minutes after it made them."
)
UNREADABLE = (
    "The last backup of my workspace can't be read. My owner can look: python -m operate workspace list shows the "
    "earlier ones, and restore brings one back."
)


@dataclass(frozen=True, slots=True)
class Browsing:
    """Lists a workspace's files, and gives one. `archive`: a chat's."""

    archive: Callable[[str], Archive]
    clock: Clock

    def __call__(self, asked: Asked, errand: Errand) -> Reply:
        """The answer to `/files`, or to `/files <path>`."""
        archive = self.archive(asked.chat_id)
        newest = archive.newest()
        if newest is None:
            return Reply(NOTHING)
        try:
            shelf = _Shelf(archive, newest, archive.manifest(newest), self.clock.now())
            wanted = errand.text.strip().strip("`'\"").removeprefix("./").strip("/")
            return shelf.one(wanted) if wanted else Reply(shelf.listed())
        except SnapshotUnreadable:
            return Reply(UNREADABLE)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """One snapshot's workspace."""

    archive: Archive
    snapshot: Snapshot
    manifest: Manifest
    now: float

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What there is, by paths as people see them."""
        return {shown(path): entry for path, entry in self.manifest.tree(Root.WORKSPACE).items()}

    @property
    def files(self) -> dict[str, File]:
        return {path: entry for path, entry in self.entries.items() if isinstance(entry, File)}

    def listed(self) -> str:
        files = self.files
        backed_up = f"Last backup: {ago(self.now - self.snapshot.created_at)}"
        if not files:
            return f"No files yet. {backed_up}."
        head = f"{count(len(files), 'file')}, {size(sum(file.size for file in files.values()))}\n{backed_up}"
        newest = sorted(files, key=lambda path: files[path].modified, reverse=True)
        if len(files) <= SHOWN:
            return "\n\n".join([head, *self._lines(newest), _how_to(newest[0])])
        biggest = sorted(files, key=lambda path: files[path].size, reverse=True)
        return "\n\n".join(
            [
                head,
                "Newest:",
                *self._lines(newest[:SHOWN]),
                "Biggest:",
                *self._lines(biggest[: SHOWN // 2]),
                _how_to(newest[0]),
            ]
        )

    def _lines(self, paths: Iterable[str]) -> list[str]:
        files = self.files
        return [
            f"{shortened(path)}\n{size(files[path].size)}, {ago(self.now - files[path].modified / 1e9)}"
            for path in paths
        ]

    def one(self, wanted: str) -> Reply:
        """The file of a path, or of a name that only one has."""
        entries, files = self.entries, self.files
        named = [path for path in files if path.rpartition("/")[2].casefold() == wanted.casefold()]
        path = named[0] if wanted not in entries and len(named) == 1 else wanted
        match entries.get(path):
            case File() as file if file.size > MOST_BYTES:
                return Reply(
                    f"{shortened(path)} has {size(file.size)}; I may send at most 50 MB here. "
                    "My owner can fetch it: python -m operate workspace download."
                )
            case File() as file:
                return self._sent(path, file)
            case Link(target=target):
                return Reply(f"{shortened(path)} is a link to {shortened(shown(target))}. Ask for that.")
            case None:
                return Reply(self._missing(wanted))
        return Reply(self._folder(path))

    def _sent(self, path: str, file: File) -> Reply:
        if not file.size:
            return Reply(f"{shortened(path)} is empty, and an empty file can't be sent.")
        caption = f"{shortened(path)}\nas backed up {ago(self.now - self.snapshot.created_at)}"
        return Reply(caption, Document(path.rpartition("/")[2], self.archive.content(file)))

    def _folder(self, path: str) -> str:
        inside = sorted(each for each in self.files if each.startswith(f"{path}/"))
        if not inside:
            return f"{shortened(path)} is a folder without files."
        more = f"\n… and {len(inside) - SHOWN:,} more" if len(inside) > SHOWN else ""
        listed = "\n".join(f"/files {shortened(each)}" for each in inside[:SHOWN])
        return (
            f"{shortened(path)} is a folder with {count(len(inside), 'file')}. I send one at a time:\n\n{listed}{more}"
        )

    def _missing(self, wanted: str) -> str:
        near = self._near(wanted)
        if not near:
            return f"There is no {shortened(wanted)} in my workspace. /files lists what there is."
        listed = "\n".join(f"/files {shortened(path)}" for path in near)
        return f"There is no {shortened(wanted)} in my workspace. Did you mean:\n\n{listed}"

    def _near(self, wanted: str) -> list[str]:
        """Paths that hold what was asked for, or look like it."""
        word = wanted.casefold()
        by_name = {path.casefold(): path for path in self.files}
        holding = [path for low, path in sorted(by_name.items()) if word in low]
        names = {low.rpartition("/")[2]: path for low, path in by_name.items()}
        alike = [
            known[match]
            for known in (by_name, names)
            for match in difflib.get_close_matches(word, known, n=SHOWN // 2, cutoff=0.6)
        ]
        return list(dict.fromkeys([*holding, *alike]))[: SHOWN // 2]


def shown(path: str) -> str:
    """A path of a manifest as people see it: what is no UTF-8 becomes a question mark, and so do line breaks."""
    text = os.fsencode(as_name(path)).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def shortened(path: str) -> str:
    """A path of which a message can hold many; its end says most."""
    return path if len(path) <= LONGEST_NAME else f"…{path[1 - LONGEST_NAME :]}"


def size(number: int) -> str:
    """A number of bytes, as people say it."""
    if number < 1000:  # noqa: PLR2004 (a kilobyte)
        return count(number, "byte")
    amount = float(number)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":  # noqa: PLR2004 (what would be written as 1000)
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"  # noqa: PLR2004 (two digits)


def ago(seconds: float) -> str:
    """How long ago, in one unit: no clock of anybody's has to be known for it."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return "just now"


def count(number: int, what: str) -> str:
    """So many of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _how_to(path: str) -> str:
    return f"To get one: /files {shortened(path)}"

"""What there is to do, as plain data: what differs between two trees, what has to be uploaded, what stays as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from assistant.workspace.model import KEPT, File, Root

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from assistant.workspace.model import Entry, LeftOut, Tree


@dataclass(frozen=True, slots=True)
class Changes:
    """How a tree differs from one before it: paths, sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class Upload:
    """A content that has to be kept, and the places where it was found."""

    digest: str
    size: int
    places: tuple[tuple[Root, str], ...]


def changes(before: Tree, after: Tree) -> Changes:
    """What was done to a tree."""
    return Changes(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        tuple(sorted(before.keys() - after.keys())),
    )


def uploads(trees: Mapping[Root, Tree], held: Collection[str]) -> list[Upload]:
    """What has to be uploaded, each content once, the largest first: they take longest.

    Args:
        trees: what shall be kept.
        held: contents of the committed parent. Nothing else is known to be there when the pointer has moved.
    """
    places: dict[tuple[str, int], list[tuple[Root, str]]] = {}
    for root, tree in trees.items():
        for entry in tree.values():
            if isinstance(entry, File) and entry.digest not in held:
                places.setdefault((entry.digest, entry.size), []).append((root, entry.path))
    found = [Upload(digest, size, tuple(where)) for (digest, size), where in places.items()]
    return sorted(found, key=lambda upload: (-upload.size, upload.digest))


def kept_back(
    before: Tree, found: Mapping[str, Entry], left_out: Sequence[LeftOut]
) -> tuple[dict[str, Entry], list[LeftOut]]:
    """The tree that a snapshot holds: what was found, and as it was before what is there but could not be taken in."""
    tree, named = dict(found), []
    for one in left_out:
        back = _below(one.path, before) if one.why in KEPT else {}
        tree |= {path: entry for path, entry in back.items() if path not in tree and _has_folder(path, tree, back)}
        named.append(msgspec.structs.replace(one, kept=bool(back)))
    return tree, named


def listed(tree: Mapping[str, Entry]) -> list[Entry]:
    """A tree's entries, by path."""
    return [tree[path] for path in sorted(tree)]


def _below(path: str, tree: Tree) -> dict[str, Entry]:
    found = {path: tree[path]} if path in tree else {}
    return found | {inner: tree[inner] for inner in tree if inner.startswith(f"{path}/")}


def _has_folder(path: str, *trees: Mapping[str, Entry]) -> bool:
    folder, _, _ = path.rpartition("/")
    return not folder or any(folder in tree and not isinstance(tree[folder], File) for tree in trees)


def total(files: Iterable[File]) -> int:
    """Their bytes."""
    return sum(file.size for file in files)

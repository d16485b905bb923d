"""Manifests as bytes, and why one that was read may be believed: nothing in it leads out of its folder."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import msgspec

from assistant.errors import SnapshotUnreadable
from assistant.workspace.links import leading_out
from assistant.workspace.model import FORMAT, MOST_ENTRIES, Folder, Link, Manifest, Root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from assistant.workspace.model import Entry, Head

MEMORY = "agents/main/agent/openclaw-agent.sqlite"
"""OpenClaw's memory, in its state."""

VERSION = "agents/main/agent/openclaw-version"
"""Of the OpenClaw that wrote the memory; written by the bridge."""

STATE_FILES = frozenset({MEMORY, VERSION})
"""All of the state that a snapshot holds."""

_STATE = STATE_FILES | {MEMORY.rsplit("/", number)[0] for number in (1, 2, 3)}
_NAME_BYTES = 255
_ESCAPED = re.compile("\0([89a-f][0-9a-f])")
_FOREIGN = re.compile("[\udc80-\udcff]")
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Manifest)


class _Format(msgspec.Struct):
    format: int


def as_text(name: str) -> str:
    """A name of the file system as JSON can hold it: a byte that is no UTF-8 becomes NUL and two digits."""
    return _FOREIGN.sub(lambda found: f"\0{ord(found[0]) - 0xDC00:02x}", name)


def as_name(text: str) -> str:
    """The name that `as_text` made a text of."""
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def encoded(manifest: Manifest) -> bytes:
    """The manifest as it is stored."""
    return _ENCODER.encode(manifest)


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def key_of(manifest: Manifest, digest: str) -> str:
    """Its name among the chat's snapshots: sorted by number; the digest makes it the only one of its kind."""
    return f"{manifest.number:010d}-{manifest.generation:010d}-{digest}.json"


def read(data: bytes, head: Head, chat_id: str) -> Manifest:
    """The manifest that a pointer names.

    Raises:
        SnapshotUnreadable: it is not what the pointer says, not whole, of a later format, of another chat, or would
            have something written outside of its folders.
    """
    if digest_of(data) != head.digest:
        raise SnapshotUnreadable("the manifest is not the one that was committed")
    try:
        written_in = msgspec.json.decode(data, type=_Format).format
        if written_in > FORMAT:
            raise SnapshotUnreadable(f"the manifest has format {written_in}; the highest that is known is {FORMAT}")
        manifest = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise SnapshotUnreadable("the manifest is broken") from None  # not its words: they quote
    if manifest.chat_id != chat_id:
        raise SnapshotUnreadable("the manifest is another chat's")
    for root, entries in manifest.trees.items():
        _check(root, entries)
    return manifest


def _check(root: Root, entries: Sequence[Entry]) -> None:
    if len(entries) > MOST_ENTRIES:
        raise SnapshotUnreadable("the manifest has too many entries")
    for wrong in _wrongs(root, entries):
        raise SnapshotUnreadable(f"the manifest is refused: {wrong}")


def _wrongs(root: Root, entries: Sequence[Entry]) -> Iterator[str]:
    """What is wrong with the entries of a root, without a word of theirs."""
    folders = {entry.path for entry in entries if isinstance(entry, Folder)}
    links = [entry for entry in entries if isinstance(entry, Link)]
    if len({entry.path for entry in entries}) < len(entries):
        yield "two entries have one path"
    if not all(_is_plain(entry.path) for entry in entries):
        yield "a path leads out of its folder"
    if not all(folder in folders for entry in entries for folder in _folder_of(entry.path)):
        yield "a path goes through something that is not a folder"
    if root == Root.STATE and any(entry.path not in _STATE or isinstance(entry, Link) for entry in entries):
        yield "the state holds more than the memory"
    if not all(link.target and _is_name(link.target) for link in links) or any(leading_out(links)):
        yield "a link leads out of its folder"


def _folder_of(path: str) -> list[str]:
    """The folder that a path is in, if it is not the root."""
    folder, _, _ = path.rpartition("/")
    return [folder] if folder else []


def _is_plain(path: str) -> bool:
    """Whether a path can only name something below its root."""
    parts = path.split("/")
    return _is_name(path) and not any(
        part in ("", ".", "..") or len(os.fsencode(as_name(part))) > _NAME_BYTES for part in parts
    )


def _is_name(text: str) -> bool:
    """Whether a text is what `as_text` makes of the name that it stands for: no two texts are one name."""
    name = as_name(text)
    try:
        return "\0" not in name and as_text(os.fsdecode(os.fsencode(name))) == text
    except UnicodeEncodeError:
        return False

"""A manifest is believed only if it is the committed one, of a known format, and writes nothing outside."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import SnapshotUnreadable
from assistant.turns.agents import Generation
from assistant.workspace import manifest
from assistant.workspace.backing_up import entry_of
from assistant.workspace.links import leading_out
from assistant.workspace.model import NOTHING, File, Folder, Link, Manifest, Root
from local.workspace_trials import CHAT, Calls, Cloud, Machine, fill

if TYPE_CHECKING:
    from assistant.workspace.model import Entry

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def a_file(path: str) -> File:
    return File(path, 0, 0o644, 0, EMPTY)


def made_of(*entries: Entry, root: Root = Root.WORKSPACE) -> Manifest:
    return Manifest(CHAT, 1, 1, 0, None, 0, NOTHING, {root: list(entries)}, [])


def committed(cloud: Cloud, data: bytes) -> None:
    """Commit bytes as a manifest, as only somebody who may write everything could."""
    cloud.blobs().put(EMPTY, b"")
    snapshot = entry_of(made_of(), manifest.digest_of(data))
    cloud.blobs().put_manifest(snapshot.key, data)
    assert cloud.snapshots().commit(Generation(CHAT, 1), snapshot, cloud.snapshots().head(CHAT))


def refusal(tmp_path: Path, data: bytes) -> str:
    """Why a restore of it is refused; nothing may have been written."""
    cloud = Cloud()
    machine = Machine(cloud, tmp_path, cloud.begin())
    committed(cloud, data)

    with pytest.raises(SnapshotUnreadable) as refused:
        machine.restore()
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert not machine.workspace.exists()
    return str(refused.value)


HOSTILE: dict[str, list[Entry]] = {
    "above": [a_file("../../etc/cron.d/x")],
    "absolute": [a_file("/etc/cron.d/x")],
    "within": [Folder("a", 0o755), a_file("a/../../x")],
    "dot": [a_file("./x")],
    "empty": [a_file("")],
    "double slash": [Folder("a", 0o755), a_file("a//x")],
    "nul": [a_file("a\0x")],
    "too long": [a_file("x" * 256)],
    "twice": [a_file("x"), Link("x", "y")],
    "alias": [a_file("\0c3\0a9")],
    "through nothing": [a_file("a/x")],
    "through a file": [a_file("a"), a_file("a/x")],
    "through a link": [Link("a", "b"), Folder("b", 0o755), a_file("a/x")],
    "link above": [Link("a", "..")],
    "link absolute": [Link("a", "/etc")],
    "link to nothing": [Link("a", "")],
    "link there and back": [Link("a", "../files/a")],
    "link chain": [Folder("d", 0o755), Folder("d/e", 0o755), Link("a", "d/e"), Link("b", "a/../../..")],
    "link chain by a dot": [Link("a", "."), Link("b", "a/../x")],
    "link chain of three": [Folder("d", 0o755), Link("d/up", ".."), Link("b", "d/up/c"), Link("c", "d/up/..")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    words = refusal(tmp_path, manifest.encoded(made_of(*HOSTILE[name])))

    assert words.startswith("the manifest is")
    assert "cron" not in words


@pytest.mark.parametrize(
    "entries",
    [
        [a_file("openclaw.json")],
        [Folder("agents", 0o755), Folder("agents/main", 0o755), Link("agents/main/agent", "..")],
        [Folder("extensions", 0o755)],
    ],
)
def test_the_state_gets_nothing_but_the_memory(entries: list[Entry], tmp_path: Path) -> None:
    words = refusal(tmp_path, manifest.encoded(made_of(*entries, root=Root.STATE)))

    assert words == "the manifest is refused: the state holds more than the memory"


def changed(**values: Any) -> bytes:
    plain = json.loads(manifest.encoded(made_of(a_file("x"))))
    return json.dumps(plain | values).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(format=2), "the manifest has format 2; the highest that is known is 1"),
        (changed(format=2, trees="in another way"), "the manifest has format 2; the highest that is known is 1"),
        (changed()[:-20], "the manifest is broken"),
        (b"", "the manifest is broken"),
        (b"\xff\xfe", "the manifest is broken"),
        (b"[" * 100_000, "the manifest is broken"),
        (changed(more=1), "the manifest is broken"),
        (changed(trees={"elsewhere": []}), "the manifest is broken"),
        (changed(number=0), "the manifest is broken"),
        (changed(chat_id="43"), "the manifest is another chat's"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data) == words


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "file", "path": "x", "size": -1, "mode": 0, "modified": 0, "digest": EMPTY},
        {"type": "file", "path": "x", "size": 0, "mode": 0o4755, "modified": 0, "digest": EMPTY},
        {"type": "file", "path": "x", "size": 0, "mode": 0, "modified": 0, "digest": "../" + EMPTY[3:]},
        {"type": "file", "path": "x", "size": 0, "mode": 0, "modified": 0, "digest": EMPTY + "\n"},
        {"type": "device", "path": "x"},
        {"type": "file", "path": "\ud800"},
    ],
)
def test_an_entry_that_no_scan_makes_is_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    assert refusal(tmp_path, changed(trees={"workspace": [entry]})) == "the manifest is broken"


def test_a_manifest_that_is_not_the_committed_one_is_refused(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = Machine(cloud, tmp_path / "a", cloud.begin())
    machine.restore()
    fill(machine)
    machine.back_up()
    (key,) = [key for key in cloud.s3.objects if "/snapshots/" in key]
    cloud.s3.put_object(Key=key, Body=cloud.s3.objects[key][-1].data + b" ")

    with pytest.raises(SnapshotUnreadable, match="not the one that was committed"):
        Machine(cloud, tmp_path / "b", cloud.begin()).restore()


def test_a_manifest_that_is_missing_is_not_the_same_as_no_backup_yet(tmp_path: Path) -> None:
    cloud = Cloud()
    machine = Machine(cloud, tmp_path / "a", cloud.begin())
    restored = machine.restore()
    assert restored.manifest is None
    assert list(machine.workspace.iterdir()) == []
    machine.back_up()
    cloud.s3.objects.clear()

    with pytest.raises(SnapshotUnreadable, match="a manifest is missing"):
        Machine(cloud, tmp_path / "b", cloud.begin()).restore()
    assert not (tmp_path / "b" / "workspace" / "files").exists()


@pytest.mark.parametrize("size", [9, 12_000], ids=["small", "large"])
@pytest.mark.parametrize("damage", ["missing", "changed", "cut off", "longer"])
def test_a_content_that_is_not_what_it_was_is_refused_and_nothing_is_written(
    damage: str, size: int, tmp_path: Path
) -> None:
    cloud = Cloud()
    machine = Machine(cloud, tmp_path / "a", cloud.begin())
    machine.restore()
    fill(machine)
    machine.back_up()
    (key,) = [key for key, versions in cloud.s3.objects.items() if len(versions[-1].data) == size and "/blobs/" in key]
    data = cloud.s3.objects[key][-1].data
    if damage == "missing":
        del cloud.s3.objects[key]
    else:
        changes = {"changed": data[:-1] + b"!", "cut off": data[:-1], "longer": data + b"!"}
        cloud.s3.put_object(Key=key, Body=changes[damage])
    calls = Calls()
    other = Machine(cloud, tmp_path / "b", cloud.begin(), calls)

    with pytest.raises(SnapshotUnreadable, match="a content is"):
        other.restore()
    assert other.state() == {}
    assert [path for path in (tmp_path / "b").rglob("*") if not path.is_dir()] == []


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
) | st.binary(min_size=1, max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"").replace(b"/", b"") or b"x"))


@given(names)
def test_any_name_survives_being_text(name: str) -> None:
    text = manifest.as_text(name)

    assert manifest.as_name(text) == name
    text.encode()


links = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map("/".join),
        st.lists(st.sampled_from(["..", ".", "a", "b", "c", ""]), min_size=1, max_size=6).map("/".join),
    ),
    max_size=5,
    unique_by=lambda pair: pair[0],
)


@settings(max_examples=40)
@given(links)
def test_a_link_that_stays_inside_is_never_followed_out_by_the_kernel(pairs: list[tuple[str, str]]) -> None:
    """The kernel is asked, wherever the path exists; what does not exist it can't be asked about."""
    entries = [Link(path, target) for path, target in pairs if target]
    made: list[Link] = []
    out = {link.path for link in leading_out(entries)}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "outer" / "root"
        root.mkdir(parents=True)
        for folder in ("a", "b", "c"):
            (root.parent / folder).mkdir()  # somewhere to get out to
        for link in sorted(entries, key=lambda link: link.path):
            place = root / link.path
            if _is_free(root, place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(link.target)
                made.append(link)
        for link in made:
            place = root / link.path
            if link.path not in out and place.exists():
                assert place.resolve().is_relative_to(root), (entries, link)


def _is_free(root: Path, place: Path) -> bool:
    """Whether nothing on the way to a place is a link or taken."""
    ways = [place, *place.parents][: len(place.relative_to(root).parts)]
    return not any(way.is_symlink() for way in ways) and not place.exists()

"""Any tree survives snapshot and restore, and any history of edits can be had again at every kept point.

With WORKSPACE_EXAMPLES=1000 more and larger ones are tried (docs/workspace.md says what that came to).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from local.workspace_trials import CHAT, Cloud, Machine, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.workspace_trials import State

EXAMPLES = int(os.environ.get("WORKSPACE_EXAMPLES", "25"))
MEMORY = Path("/dev/shm")

names = (
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
    | st.sampled_from(["a", "b", "ä", "a\u0308", "日本語", " ", "-", "~", "x" * 255, "é" * 127, ".hidden", "new\nline"])
    | st.just(os.fsdecode(b"\xff\xfe"))
).filter(lambda name: name not in (".", "..", ".clawignore") and len(os.fsencode(name)) <= 255)
paths = st.lists(names, min_size=1, max_size=5).map(tuple)
modes = st.sampled_from([0o600, 0o644, 0o755, 0o444, 0o000])
contents = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.integers(900, 1100).map(lambda size: b"s" * size),
    st.integers(4990, 12_000).map(lambda size: b"l" * size),
)
things = st.one_of(
    st.tuples(st.just("file"), contents, modes),
    st.tuples(st.just("folder"), st.just(b""), st.sampled_from([0o700, 0o755, 0o500])),
    st.tuples(st.just("link"), paths.map(lambda path: os.fsencode(path[-1])), st.just(0)),
)
trees = st.dictionaries(paths, things, max_size=max(12, EXAMPLES // 10))


@contextmanager
def a_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


def make(root: Path, tree: dict[tuple[str, ...], tuple[str, bytes, int]]) -> None:
    """What can be made of it: where a folder would have to be in a file's place, it is not."""
    late: list[tuple[Path, int]] = []
    for names_of_it, (kind, data, mode) in tree.items():
        path = root.joinpath(*names_of_it)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink() or path.exists():
                continue
            if kind == "file":
                path.write_bytes(data)
                late.append((path, mode))
            elif kind == "folder":
                path.mkdir()
                late.append((path, mode))
            else:
                path.symlink_to(os.fsdecode(data))
        except OSError:
            continue
    for path, mode in late:
        path.chmod(mode)


def expected(state: State) -> State:
    """What the defaults do not ignore."""
    return {path: what for path, what in state.items() if not path.endswith(("-wal", "-shm", ".pyc"))}


@settings(max_examples=EXAMPLES)
@given(trees)
def test_any_tree_survives(tree: dict[tuple[str, ...], tuple[str, bytes, int]]) -> None:
    with a_folder() as folder:
        cloud = Cloud()
        machine = Machine(cloud, folder / "a", cloud.begin())
        machine.restore()
        make(machine.workspace, tree)
        before = state_of(machine.workspace)
        times = {path: (machine.workspace / path).lstat().st_mtime_ns for path in before if before[path][0] == "file"}
        done = machine.back_up()

        other = Machine(cloud, folder / "b", cloud.begin())
        other.restore()
        assert state_of(other.workspace) == expected(before)
        assert {path: (other.workspace / path).lstat().st_mtime_ns for path in times} == times
        assert done.left_out == 0
        assert other.back_up().came == "unchanged"


edits = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "empty"]), st.sampled_from("abcd"), st.binary(max_size=8)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=EXAMPLES)
@given(st.lists(edits, min_size=1, max_size=6), st.integers(0, 5))
def test_a_history_of_edits_is_there_at_every_kept_point(history: list[list[tuple[str, str, bytes]]], at: int) -> None:
    with a_folder() as folder:
        cloud = Cloud()
        machine = Machine(cloud, folder / "a", cloud.begin())
        machine.restore()
        states: dict[float, State] = {}
        for number, steps in enumerate(history):
            cloud.clock.moment += 3600 * 7
            for kind, name, data in steps:
                _edit(machine.workspace / name, kind, data)
            machine.back_up()
            states[cloud.clock.moment] = state_of(machine.workspace)
            if number == at:
                cloud.collection()(CHAT)
        cloud.collection()(CHAT)

        listed = cloud.archive().listed()
        assert len(listed) >= min(2, len({str(state) for state in states.values()}))
        for snapshot in listed:
            found = cloud.archive().at(snapshot.created_at)
            assert found == snapshot
            cloud.archive().download(found, folder / str(snapshot.number) / "files", owner=os.getuid())
            assert state_of(folder / str(snapshot.number) / "files") == states[snapshot.created_at]


def _edit(path: Path, kind: str, data: bytes) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "put":
        path.write_bytes(data)
    elif kind == "empty":
        path.mkdir()

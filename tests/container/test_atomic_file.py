"""Files that are there whole or not at all."""

import stat
from pathlib import Path

import pytest

from agent.atomic_file import write_private


def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o666)

    write_private(path, "new é")

    assert path.read_text("utf-8") == "new é"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a.json").symlink_to(tmp_path / "precious")

    write_private(tmp_path / "a.json", "new")

    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")

    with pytest.raises(UnicodeEncodeError):
        write_private(tmp_path / "a.json", "half a character \ud800")

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]

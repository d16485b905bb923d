"""A state to begin with: what is kept of a first start, and when the next may have it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from agent import prepared_state

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "2026.9.6"
SECRET = "the-device-key-of-this-start"


@pytest.fixture
def openclaw(tmp_path: Path) -> Path:
    (tmp_path / "openclaw").mkdir()
    (tmp_path / "openclaw" / "package.json").write_text(json.dumps({"version": VERSION}))
    return tmp_path / "openclaw" / "openclaw.mjs"


@pytest.fixture
def kept(tmp_path: Path, openclaw: Path) -> Path:
    """What is kept of a start."""
    state = tmp_path / "first"
    (state / "state").mkdir(parents=True)
    with closing(sqlite3.connect(state / "state" / "openclaw.sqlite")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE schema_meta (meta_key TEXT, app_version TEXT, updated_at INTEGER)")
        database.execute("INSERT INTO schema_meta VALUES ('startup-migrations', 'fingerprint', 7)")
        database.execute("CREATE TABLE device_identities (private_key TEXT)")
        database.execute("INSERT INTO device_identities VALUES (?)", (SECRET,))
        database.commit()
        prepared_state.make(state, tmp_path / "kept", openclaw)
    return tmp_path / "kept"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "second").mkdir()
    return tmp_path / "second"


def test_no_key_is_kept(kept: Path) -> None:
    assert {path.name for path in kept.iterdir()} == {"openclaw.sqlite", "openclaw-version"}
    assert SECRET.encode() not in (kept / "openclaw.sqlite").read_bytes()
    with closing(sqlite3.connect(kept / "openclaw.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM schema_meta").fetchone() == (1,)


def test_a_new_state_begins_with_it(kept: Path, state: Path) -> None:
    prepared_state.put(kept, state, None)

    assert (state / "state" / "openclaw.sqlite").read_bytes() == (kept / "openclaw.sqlite").read_bytes()
    assert prepared_state.was_taken(kept, state)


def test_what_is_noted_anew_was_not_taken(kept: Path, state: Path) -> None:
    prepared_state.put(kept, state, None)
    with closing(sqlite3.connect(state / "state" / "openclaw.sqlite")) as database:
        database.execute("UPDATE schema_meta SET updated_at = 8")
        database.commit()
    assert not prepared_state.was_taken(kept, state)

    with closing(sqlite3.connect(kept / "openclaw.sqlite")) as database:
        database.execute("DELETE FROM schema_meta")
        database.commit()
    assert not prepared_state.was_taken(kept, kept.parent / "first")


@pytest.mark.parametrize(("written", "begins"), [(VERSION, True), ("2026.9.5", False), ("", False)])
def test_an_agent_of_another_version_is_left_to_be_migrated(
    written: str, begins: bool, kept: Path, state: Path
) -> None:
    agent = state / "agents" / "main" / "agent"
    agent.mkdir(parents=True)
    (agent / "openclaw-agent.sqlite").write_bytes(b"restored")
    if written:
        (agent / "openclaw-version").write_text(written)

    prepared_state.put(kept, state, None)

    assert (state / "state" / "openclaw.sqlite").exists() == begins


def test_a_state_that_is_there_stays(kept: Path, state: Path) -> None:
    (state / "state").mkdir()
    (state / "state" / "openclaw.sqlite").write_bytes(b"its own")

    prepared_state.put(kept, state, None)

    assert (state / "state" / "openclaw.sqlite").read_bytes() == b"its own"


def test_a_link_for_the_version_is_not_followed(kept: Path, state: Path, tmp_path: Path) -> None:
    agent = state / "agents" / "main" / "agent"
    agent.mkdir(parents=True)
    (agent / "openclaw-agent.sqlite").write_bytes(b"restored")
    (agent / "openclaw-version").symlink_to(kept / "openclaw-version")

    prepared_state.put(kept, state, None)

    assert not (state / "state").exists()

"""What the bridge's process may do, and from whom it is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent import privileges
from agent.privileges import Capability

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
RESTRICTED = """
import json, subprocess, sys
from pathlib import Path
from agent import privileges
def told(text): return dict(line.split(":\\t", 1) for line in text.splitlines() if ":\\t" in line)
privileges.restrict()
before, child = Path("/proc/self/status").read_text(), subprocess.check_output(["cat", "/proc/self/status"], text=True)
print(json.dumps([told(before), told(child)]))
sys.stdout.flush()
sys.stdin.read()
"""


@ROOT_ONLY
def test_root_keeps_few_rights_and_so_does_what_it_starts() -> None:
    said = subprocess.run([sys.executable, "-c", RESTRICTED], input="", capture_output=True, text=True, check=True)

    for status in json.loads(said.stdout):
        effective, bounding = int(status["CapEff"], 16), int(status["CapBnd"], 16)
        assert effective == bounding
        assert effective & ~sum(1 << each for each in Capability) == 0
        assert status["CapInh"].strip("0") == ""
        assert status["NoNewPrivs"] == "1"


@ROOT_ONLY
def test_another_user_reads_nothing_of_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RESTRICTED],
        env={**os.environ, "KEY": "planted"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as bridge:
        assert bridge.stdout is not None
        bridge.stdout.readline()
        for name in ("environ", "mem", "fd/", "root/", "cwd/"):
            tried = subprocess.run(
                ["ls" if name.endswith("/") else "cat", f"/proc/{bridge.pid}/{name}"],
                user=65_533, group=65_533, extra_groups=(), capture_output=True, check=False,
            )  # fmt: skip
            assert tried.returncode != 0, name
            assert b"planted" not in tried.stdout


@pytest.mark.parametrize(("euid", "wanted", "user"), [(0, 10_001, 10_001), (0, 0, None), (1000, 10_001, None)])
def test_the_user_is_another_one_if_root_is_told_which(
    euid: int, wanted: int, user: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: euid)

    assert privileges.separate_user(wanted) == user
    assert (privileges.not_separate(wanted) == "") == (user is not None)


def test_why_nothing_is_separate_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "AGENT_USER" in privileges.not_separate(0)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in privileges.not_separate(10_001)


@ROOT_ONLY
def test_as_root_without_docker_the_bridge_and_openclaw_are_two_users() -> None:
    """The very command, with a stand-in for OpenClaw that tries to read its parent."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        folder = Path(made)
        folder.chmod(0o711)
        script = folder / "openclaw.sh"
        script.write_text(
            'id -u >"$OPENCLAW_STATE_DIR/user"; '
            'cat /proc/$PPID/environ >"$OPENCLAW_STATE_DIR/stolen" 2>"$OPENCLAW_STATE_DIR/refused"; env >"$HOME/env"'
        )
        places = {"STATE_FOLDER": "state", "WORKSPACE_FOLDER": "workspace", "TEMPORARY_FOLDER": "tmp"}
        environment = {name: str(folder / below) for name, below in places.items()} | {
            "NODE": "/bin/sh",
            "OPENCLAW": str(script),
            "PORT": "0",
            "AGENT_USER": "65533",
            "OPENROUTER_API_KEY": "planted",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

        done = subprocess.run(
            [sys.executable, "-m", "agent"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

        assert done.returncode == 1  # such an OpenClaw is none
        assert "No separation" not in done.stdout
        state = folder / "state"
        assert (state / "user").read_text() == "65533\n"
        assert (state / "stolen").read_text() == ""
        assert "ermission denied" in (state / "refused").read_text()
        assert "planted" not in (state / "env").read_text()
        assert state.stat().st_uid == (state / "openclaw.json").stat().st_uid == 65_533

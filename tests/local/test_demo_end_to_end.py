"""The demo and the chat run through the whole local cloud, as a person starts them, and leave nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BUILT = PROJECT / ".aws-sam" / "build" / ".built"
DEADLINE_S = 120
FUNCTIONS_AT_WORK = 8
"""Processes, two for each: the day has begun."""

pytestmark = [
    pytest.mark.skipif(not BUILT.exists(), reason="no build: run `make build`"),
    pytest.mark.skipif(sys.platform != "linux", reason="the runtime interface emulator runs on Linux"),
]


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local", *arguments, "--simulated"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a process says up to the line that holds `text`; all of it if it ends before, as it must by the deadline."""
    assert process.stdout is not None
    told = ""
    too_late = threading.Timer(DEADLINE_S, process.kill)
    too_late.start()
    for line in process.stdout:
        told += line
        if text in line:
            break
    too_late.cancel()
    return told


def end(process: subprocess.Popen[str], ending: signal.Signals) -> set[int]:
    """End a process, expect no traceback, and tell which processes it had."""
    functions = children_of(process.pid)
    process.send_signal(ending)
    rest, _ = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in rest
    return functions


def all_gone(pids: set[int]) -> bool:
    """Whether the processes end within seconds: what was killed may not have been reaped by init yet."""
    deadline = time.monotonic() + 5
    while living := {pid for pid in pids if is_alive(pid)}:
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
        pids = living
    return True


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> set[int]:
    """Every process below one, through /proc."""
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            for child in map(int, listing.read_text().split()):
                found |= {child} | children_of(child)
    return found


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "demo.json"


def test_a_short_day_on_which_a_provider_is_out_of_order(output: Path) -> None:
    fault = ("--fault", "copilot=500")
    demo = started("demo", "--messages", "4", "--chats", "2", *fault, "--output", str(output))
    told, _ = demo.communicate(timeout=DEADLINE_S)

    assert demo.returncode == 0, told
    figures = json.loads(output.read_text())
    assert (figures["messages"], figures["answered"], figures["lost"]) == (4, 4, 0)
    assert figures["by_provider"] == {"copilot": 0, "openrouter": 4, "ollama-cloud": 0, "anthropic": 0}
    assert figures["fallbacks"] >= 1
    assert "Telegram is simulated" in told


def test_a_chat_through_a_pipe_until_ctrl_c() -> None:
    chat = started("chat")
    assert chat.stdin is not None
    chat.stdin.write("What is a turtle?\n")
    chat.stdin.flush()
    told = read_until(chat, "anthropic $5.00 of $5.00 this month")

    functions = end(chat, signal.SIGINT)

    assert chat.returncode == 0
    assert "simulated" in told
    assert "assistant> [simulated copilot] You said: What is a turtle?" in told
    assert "PrepareTurn → RouteTurn → AskCopilot → DeliverReply" in told
    assert "copilot 65 of 66 today" in told
    assert len(functions) >= 4
    assert all_gone(functions)


def test_a_demo_that_is_ended_leaves_nothing_behind(output: Path) -> None:
    demo = started("demo", "--messages", "1000", "--output", str(output))
    deadline = time.monotonic() + DEADLINE_S
    while len(children_of(demo.pid)) < FUNCTIONS_AT_WORK:
        assert time.monotonic() < deadline
        assert demo.poll() is None
        os.sched_yield()

    functions = end(demo, signal.SIGTERM)

    assert demo.returncode == 130
    assert len(functions) >= 4
    assert all_gone(functions)
    assert not output.exists()

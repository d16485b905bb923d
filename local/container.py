"""A container without Docker: runs one command, and nothing it started outlives it.

Run as a script, `python container.py COMMAND…`. It passes SIGTERM on as an init process does, adopts what is orphaned
(Linux), and when the command has ended kills whatever is left. Closing its standard input is SIGKILL for everything:
so it also ends when whoever started it is gone, however that came. Exit code as Docker's: the command's own, or 128 + n
for signal n.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""

_SIGNALLED = 128


def main(command: list[str]) -> int:
    """Run the command to its end and answer its exit code."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Held back until there is somebody to pass it on to; the command starts without.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_unblock)  # noqa: PLW1509 (no thread yet)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    _unblock()
    threading.Thread(target=_end_with_input, daemon=True).start()
    code = process.wait()
    _kill_what_is_left()
    return code if code >= 0 else _SIGNALLED - code


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _kill(descendants(os.getpid()))


def _kill_what_is_left() -> None:
    while left := descendants(os.getpid()):
        _kill(left)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _kill(processes: list[int]) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and what they started."""
    children: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in file.read_text(encoding="ascii").split()]
    return children + [below for child in children for below in descendants(child)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

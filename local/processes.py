"""What runs on this machine, read from /proc (Linux)."""

from dataclasses import dataclass
from pathlib import Path

from local.container import descendants


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        pid: Its number.
        command: Its program and arguments.
        rss_mb: The memory that it holds, in MB; what it shares with others counts in full.
    """

    pid: int
    command: tuple[str, ...]
    rss_mb: float


def below(pid: int) -> list[Process]:
    """Everything that a process has started, and what that started."""
    found = [_read(child) for child in descendants(pid)]
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    """The process; None if it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        command = folder.joinpath("cmdline").read_bytes()
        status = folder.joinpath("status").read_text("ascii", "replace")
    except OSError:
        return None
    resident = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), "0")
    words = command.decode(errors="replace").rstrip("\0").split("\0")
    return Process(pid, tuple(words), round(int(resident) * 1024 / 1e6, 1))

"""Other programs that a deployment needs: SAM and Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from operate.errors import MissingError, OperateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Runner(Protocol):
    """Runs programs."""

    def __call__(self, *command: str, stdin: str | None = None, seconds: float = 900) -> str:
        """Run one to its end; gives what it wrote.

        Raises:
            MissingError: there is no such program here.
            OperateError: it failed, or took too long.
        """
        ...


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs in the project's folder; what they write goes to stderr as it comes."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(self, *command: str, stdin: str | None = None, seconds: float = 900) -> str:
        """Run one to its end; gives what it wrote to stdout. Errors: as `Runner`."""
        program = shutil.which(command[0]) or shutil.which(command[0], path=str(self.folder / ".venv" / "bin"))
        if program is None:
            raise MissingError(f"There is no {command[0]} here.", _WHERE.get(command[0], "Install it."))
        try:
            done = subprocess.run(  # noqa: S603 (our own command lines)
                [program, *command[1:]],
                cwd=self.folder,
                env={**os.environ, "SAM_CLI_TELEMETRY": "0", **self.environment},
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=sys.stderr if _is_a_file() else subprocess.DEVNULL,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OperateError(f"`{command[0]} {command[1]}` took more than {seconds:.0f} s.", _AGAIN) from None
        if done.returncode:
            tail = "\n".join(done.stdout.strip().splitlines()[-15:])
            raise OperateError(f"`{command[0]} {command[1]}` failed ({done.returncode}).\n{tail}".rstrip(), _AGAIN)
        return done.stdout


_AGAIN = "What was done stays done: the same command goes on from here."
_WHERE = {
    "sam": "`make build` sets it up in .venv.",
    "docker": "Docker builds the agent's image; without an agent (--no-agent) it is not needed.",
}


def _is_a_file() -> bool:
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # captured by a test
        return False
    return True

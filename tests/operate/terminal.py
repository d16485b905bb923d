"""The command line as a person or a script runs it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from operate.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def everything(self) -> str:
        return self.out + self.err


@dataclass
class Terminal:
    """Runs commands, and remembers all that they printed."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    printed: str = ""

    def set(self, **environment: str) -> None:
        for name, value in environment.items():
            self.monkeypatch.setenv(name, value)

    def run(self, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Ran:
        with self.monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO(stdin))
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            self.capsys.readouterr()
            code = main(list(arguments))
        caught = self.capsys.readouterr()
        self.printed += caught.out + caught.err
        assert "Traceback" not in caught.err + ("" if "logs" in arguments else caught.out)
        return Ran(code, caught.out, caught.err)

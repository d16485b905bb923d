"""`make audit`: what is known is a failure; that nothing can be known is said, and is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local.audit import NOT_REACHED, judged, main

if TYPE_CHECKING:
    from pathlib import Path

CLEAN = {"name": "h11", "version": "0.16.0", "vulns": []}
WEAK = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.3"], "aliases": ["CVE-2014-1402"], "description": "…"}],
}
SKIPPED = {"name": "anyio", "skip_reason": "Dependency not found on PyPI and could not be audited: anyio (4.16.0)"}
NO_WAY = "Traceback …\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(…): Max retries exceeded"


def answer(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("code", "out", "err", "verdict"),
    [
        (0, answer(CLEAN), "", "clean"),
        (1, answer(CLEAN, WEAK), "Found 1 known vulnerability in 1 package", "weak"),
        (1, answer(WEAK, SKIPPED), "", "weak"),
        (0, answer(CLEAN, SKIPPED), "", "failed"),
        (0, answer(SKIPPED, SKIPPED), "", "unreachable"),
        (1, "", NO_WAY, "unreachable"),
        (1, "", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed", "unreachable"),
        (1, "", "Traceback …\nKeyError: 'id'", "failed"),
        (2, "", "usage: pip-audit", "failed"),
        (1, answer(CLEAN), "", "failed"),
        (1, "[]", "", "failed"),
    ],
)
def test_only_what_can_not_be_known_passes(code: int, out: str, err: str, verdict: str) -> None:
    assert judged(code, out, err).verdict == verdict


def test_a_weakness_is_named_with_what_mends_it() -> None:
    assert judged(1, answer(WEAK), "").lines == ("jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.3",)


@pytest.mark.parametrize(
    ("second", "status", "said"),
    [(answer(CLEAN), 0, "b.txt: clean"), (answer(SKIPPED), 0, f"{NOT_REACHED} b.txt"), (answer(WEAK), 1, "2.7.3")],
)
def test_every_list_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str, status: int, said: str
) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncase $* in *b.txt) echo '{second}';; *) echo '{answer(CLEAN)}';; esac\n", "utf-8")
    program.chmod(0o755)

    assert main([str(program), "a.txt", "b.txt"]) == status

    out = capsys.readouterr().out
    assert "a.txt: clean" in out
    assert said in out

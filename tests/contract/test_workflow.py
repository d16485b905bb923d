"""The workflow for forks does what `.ci/run` does, with actions that nobody can exchange."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.contract import template

TEXT = (template.ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]

PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def test_every_action_is_pinned_by_commit_and_says_its_version() -> None:
    lines = [line.strip().removeprefix("- ") for line in TEXT.splitlines() if "uses:" in line]

    assert len(lines) == sum("uses" in step for step in STEPS)
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_it_runs_the_commands_of_everybody_else() -> None:
    commands = [step["run"] for step in STEPS if "run" in step]

    assert [command for command in commands if not command.startswith("docker pull ")] == [".ci/run", "make audit"]


def test_nothing_beside_the_project_is_needed() -> None:
    """Whatever lies beside it is used only where it is there."""
    assert "../" not in TEXT
    for script in (template.ROOT / ".ci").iterdir():
        used = [line for line in script.read_text("utf-8").splitlines() if "../shared" in line]
        guarded = [line for line in used if "-x ../shared" in line or line.startswith(("up=", "  ../shared"))]
        assert used == guarded


def test_it_may_read_and_nothing_else_and_ends() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in JOBS.items() if "permissions" in job or "timeout-minutes" not in job] == []
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert {step["with"]["persist-credentials"] for step in checkouts} == {False}

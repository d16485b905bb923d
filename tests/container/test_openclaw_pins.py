"""What the agent runs on is pinned to the byte, in one place, and the place of no machine is written down."""

import json

from tests.container.openclaw import PINS, pinned


def test_the_lock_is_of_the_pinned_version_and_names_no_registry() -> None:
    lock = json.loads((PINS / "package-lock.json").read_text("utf-8"))

    packages = {path: package for path, package in lock["packages"].items() if path}
    assert packages["node_modules/openclaw"]["version"] == pinned()[1]
    assert not any("resolved" in package for package in packages.values())
    assert [
        path for path, package in packages.items() if "integrity" not in package and "inBundle" not in package
    ] == []


def test_openclaw_runs_on_the_pinned_node() -> None:
    lock = json.loads((PINS / "package-lock.json").read_text("utf-8"))

    wanted = lock["packages"]["node_modules/openclaw"]["engines"]["node"]
    major, minor, _ = map(int, pinned()[0].split("."))
    assert wanted == ">=24.16.0 <25 || >=26.1.0"
    assert major == 26
    assert minor >= 1

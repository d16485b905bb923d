"""What the container's Python brings ↔ what the agent imports ↔ what it is tested with."""

import ast
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "container"
CHAINS_PACKAGE = ROOT / "layers" / "core" / "src" / "requirements.txt"


def pins(file: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(each.name): str(each.specifier) for each in requirements}


def imported() -> set[str]:
    found = set()
    for file in (CONTAINER / "agent").glob("**/*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return {name for name in found - sys.stdlib_module_names - {"agent", "assistant"} if not name.startswith("types_")}


def test_what_is_installed_is_what_is_tested() -> None:
    container = pins(CONTAINER / "requirements.txt")

    assert all(version.startswith("==") for version in container.values())
    assert container.items() <= pins(ROOT / "requirements-dev.txt").items()
    assert pins(CHAINS_PACKAGE).items() <= container.items()


def test_what_is_imported_is_installed() -> None:
    container = pins(CONTAINER / "requirements.txt")
    distributions = packages_distributions()

    assert [name for name in imported() if canonicalize_name(distributions[name][0]) not in container] == []


def test_what_is_needed_by_what_is_installed_is_installed() -> None:
    container = pins(CONTAINER / "requirements.txt")
    needed = [Requirement(each) for name in container for each in requires(name) or []]

    assert {
        canonicalize_name(each.name) for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})
    } <= set(container)

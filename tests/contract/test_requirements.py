"""What the layer ships ↔ what the package imports ↔ what it is tested with; and no place of one machine in any file."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract import template

LAYER = template.ROOT / "layers" / "core" / "src" / "requirements.txt"
TOOLS = template.ROOT / "requirements-dev.txt"
PACKAGE = template.ROOT / "layers" / "core" / "src" / "assistant"
RUNTIMES_OWN = {"boto3", "botocore", "s3transfer"}
"""What Lambda's Python runtime brings (Lambda developer guide, "Runtime-included SDK versions")."""

ELSEWHERE = re.compile(
    "|".join(["pypi[./]", "pythonhosted", "npmjs", "find-links", "index-url", "/work/", "/root/", r"/home/\w"]),
    re.IGNORECASE,
)


def _pins(file: Path) -> dict[str, str]:
    pins: dict[str, str] = {}
    for line in file.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line.partition(" #")[0])
            pins[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return pins


def _imported(file: Path) -> Iterator[str]:
    """Top-level packages that a module imports when it runs: what it imports for types only is left out."""
    for node in _at_run_time(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _at_run_time(child)


@pytest.mark.parametrize("file", [LAYER, TOOLS], ids=lambda file: file.parent.name + "/" + file.name)
def test_every_requirement_is_pinned(file: Path) -> None:
    assert [name for name, specifier in _pins(file).items() if not re.fullmatch(r"==[\w.]+", specifier)] == []


def test_the_layer_ships_what_is_tested() -> None:
    tested = _pins(TOOLS)

    assert {name: tested.get(name) for name in _pins(LAYER)} == _pins(LAYER)


def test_the_layer_holds_what_the_package_imports() -> None:
    distributions = packages_distributions()
    imported = {name for file in PACKAGE.rglob("*.py") for name in _imported(file)} - sys.stdlib_module_names
    wanted = {canonicalize_name(distributions[name][0]) for name in imported - RUNTIMES_OWN - {"assistant"}}

    assert wanted - _pins(LAYER).keys() == set()


def test_the_layer_holds_what_its_distributions_need() -> None:
    needed = {
        (name, canonicalize_name(requirement.name))
        for name in _pins(LAYER)
        for requirement in map(Requirement, requires(name) or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }

    assert {(name, need) for name, need in needed if need not in _pins(LAYER)} == set()


def test_the_layer_does_not_ship_what_the_runtime_brings() -> None:
    assert _pins(LAYER).keys() & RUNTIMES_OWN == set()


def test_no_file_names_a_registry_or_a_place_on_one_machine() -> None:
    git = shutil.which("git")
    assert git is not None
    listed = subprocess.run(
        [git, "ls-files", "-z"], cwd=template.ROOT, capture_output=True, check=True, timeout=30
    ).stdout.decode()
    this = str(Path(__file__).relative_to(template.ROOT))
    found = [
        f"{name}:{number}: {match[0]}"
        for name in listed.split("\0")
        if name and name != this and (template.ROOT / name).is_file()
        for number, line in enumerate((template.ROOT / name).read_text("utf-8", "replace").splitlines(), start=1)
        if (match := ELSEWHERE.search(line))
    ]

    assert found == []

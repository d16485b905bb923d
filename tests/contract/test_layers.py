"""Who may import whom: the contracts of pyproject.toml hold, and hold back what they should."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant import errors

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "layers" / "core" / "src"
PACKAGE = SOURCE / "assistant"
FUNCTIONS = ROOT / "functions"

MAY_IMPORT = (
    "assistant.wiring",
    "assistant.errors",
    "assistant.observability",
    "assistant.turns",
    "assistant.telegram",
    "assistant.workspace",
)
"""What a function may import of the package: no adapter of a store or a provider."""

CLIENTS = {"boto3", "botocore", "httpx", "httpx_sse", "aws_lambda_powertools"}


def _lint(source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--no-cache",
            "--no-logo",
            "--config",
            ROOT / "pyproject.toml",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT / 'container'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_import_contracts_hold() -> None:
    linted = _lint(SOURCE)

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("utils.py", ""),
        ("turns/model.py", "import boto3"),
        ("turns/model.py", "from assistant.stores import schema"),
        ("stores/claims.py", "from assistant.telegram import parts"),
        ("providers/client.py", "import botocore"),
        ("errors.py", "from assistant import settings"),
    ],
)
def test_the_import_contracts_hold_back(file: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "assistant", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "assistant" / file).open("a") as changed:
        changed.write(f"\n{line}\n")

    linted = _lint(tmp_path)

    assert linted.returncode != 0
    assert "assistant." + file.removesuffix(".py").replace("/", ".") in linted.stdout + linted.stderr


def _imports(file: Path) -> Iterator[str]:
    """What a module imports, for types too, as `package.module` or `package.module.name`."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", sorted(FUNCTIONS.glob("*.py")), ids=lambda file: file.stem)
def test_a_function_imports_rules_and_wiring_but_no_adapter_and_no_client(file: Path) -> None:
    imported = list(_imports(file))

    own = [name for name in imported if name.partition(".")[0] == "assistant"]
    assert [name for name in own if not f"{name}.".startswith(tuple(f"{module}." for module in MAY_IMPORT))] == []
    assert [name for name in imported if name.partition(".")[0] in CLIENTS] == []
    assert [name for name in imported if name.partition(".")[0] in {path.stem for path in FUNCTIONS.iterdir()}] == []


@pytest.mark.parametrize("file", sorted(FUNCTIONS.glob("*.py")), ids=lambda file: file.stem)
def test_a_handler_lets_typed_errors_leave(file: Path) -> None:
    """What the state machine retries and catches must get there: nothing broad is caught, and none of those."""
    held_back = {"Exception", "BaseException", "AssistantError"}
    held_back |= {name for name, kind in vars(errors).items() if _is_turn_error(kind)}
    caught = {
        name.id
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler)
        for name in ast.walk(node.type or ast.Name("BaseException"))
        if isinstance(name, ast.Name)
    }

    assert caught & held_back == set()


def _is_turn_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.TurnError)


def test_only_settings_reads_the_environment() -> None:
    files = [*PACKAGE.rglob("*.py"), *FUNCTIONS.glob("*.py")]

    assert [str(file.relative_to(ROOT)) for file in files if _reads_environment(file)] == [
        "layers/core/src/assistant/settings.py"
    ]


def _reads_environment(file: Path) -> bool:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            return True
    return False


def test_only_wiring_makes_aws_clients() -> None:
    makers = [file.stem for file in PACKAGE.rglob("*.py") if any(name == "boto3" for name in _imports(file))]

    assert makers == ["wiring"]

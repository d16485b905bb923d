"""`sam build` for both architectures: what comes out runs there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""e_machine of an ELF header (System V ABI: EM_X86_64, EM_AARCH64)."""

LAYER_LIMIT = 25 * 1024 * 1024


@pytest.fixture(scope="module", params=list(ELF_MACHINES))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An architecture and what was built for it."""
    architecture: str = request.param
    folder = tmp_path_factory.mktemp(architecture)
    sam = shutil.which("sam")
    assert sam, "aws-sam-cli is not installed: make build"
    done = subprocess.run(
        [
            *(sam, "build", "--build-dir", folder / "build", "--cache-dir", folder / "cache", "--no-cached"),
            *("--parameter-overrides", f"Architecture={architecture}"),
        ],
        cwd=ROOT,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "SAM_CLI_CONTAINER_CONNECTION_TIMEOUT": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return architecture, folder / "build"


def test_every_shared_object_is_of_the_architecture(built: tuple[str, Path]) -> None:
    architecture, folder = built
    machines = {
        path.relative_to(folder): int.from_bytes(path.read_bytes()[18:20], "little") for path in folder.rglob("*.so*")
    }

    assert machines, "msgspec has at least one"
    assert set(machines.values()) == {ELF_MACHINES[architecture]}, machines


def test_the_layer_is_small_and_brings_no_sdk(built: tuple[str, Path]) -> None:
    layer = built[1] / "CoreLayer" / "python"

    assert sum(path.stat().st_size for path in layer.rglob("*") if path.is_file()) < LAYER_LIMIT
    assert {"assistant", "httpx", "msgspec"} <= {path.name for path in layer.iterdir()}
    assert not {"boto3", "botocore"} & {path.name for path in layer.iterdir()}


def test_every_function_is_built(built: tuple[str, Path]) -> None:
    modules = {path.name for path in (ROOT / "functions").glob("*.py")}
    folders = [path for path in built[1].iterdir() if path.is_dir() and path.name != "CoreLayer"]

    assert len(folders) == len(modules)
    assert all(modules <= {path.name for path in folder.iterdir()} for folder in folders)

"""`sam build` for both architectures: what comes out runs there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import artefact

ROOT = Path(__file__).parents[2]
MACHINE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""e_machine of an ELF header (System V ABI: EM_X86_64, EM_AARCH64)."""

BUILD_DIR = ROOT / ".aws-sam" / "build"


FOREIGN = next(machine for machine in ELF_MACHINES if machine != MACHINE)


def build(architecture: str, folder: Path) -> Path:
    """`sam build` for an architecture."""
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
    return folder / "build"


@pytest.fixture(scope="module", params=[MACHINE, pytest.param(FOREIGN, marks=pytest.mark.deploy)])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An architecture and what was built for it: for this machine's, what `make build` made."""
    architecture: str = request.param
    if architecture == MACHINE:
        assert (BUILD_DIR / ".built").exists(), "nothing is built: make build"
        return architecture, BUILD_DIR
    return architecture, build(architecture, tmp_path_factory.mktemp(architecture))


def test_every_shared_object_is_of_the_architecture(built: tuple[str, Path]) -> None:
    architecture, folder = built
    machines = {
        path.relative_to(folder): int.from_bytes(path.read_bytes()[18:20], "little") for path in folder.rglob("*.so*")
    }

    assert machines, "msgspec has at least one"
    assert set(machines.values()) == {ELF_MACHINES[architecture]}, machines


def test_the_layer_is_small_and_brings_no_sdk(built: tuple[str, Path]) -> None:
    layer = built[1] / artefact.LAYER / "python"

    assert artefact.size(layer) < artefact.LAYER_LIMIT
    assert {"assistant", "httpx", "msgspec"} <= {path.name for path in layer.iterdir()}
    assert not {"boto3", "botocore"} & {path.name for path in layer.iterdir()}


@pytest.mark.deploy
def test_a_second_build_is_the_same(tmp_path: Path) -> None:
    """Against that of `make build`, for this machine."""
    again = build(MACHINE, tmp_path)
    kind = ("--invalidation-mode", "unchecked-hash")
    compiled = [sys.executable, "-m", "compileall", "-q", "-s", str(again), *kind, str(again)]
    subprocess.run(compiled, check=True, timeout=120)

    assert _parts(again) == _parts(BUILD_DIR)


def _parts(folder: Path) -> dict[str, str]:
    """The hash of the layer and of each function: the template has the paths of its build folder."""
    return {path.name: artefact.digest(path) for path in folder.iterdir() if path.is_dir()}


def test_every_function_is_built(built: tuple[str, Path]) -> None:
    modules = {path.name for path in (ROOT / "functions").glob("*.py")}
    folders = [path for path in built[1].iterdir() if path.is_dir() and path.name != "CoreLayer"]

    assert len(folders) == len(modules)
    assert all(modules <= {path.name for path in folder.iterdir()} for folder in folders)

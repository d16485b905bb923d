"""`operate` as a program of its own with the real SAM, in a project's folder, against an empty local cloud."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.cloud import LocalCloud
from local.simulators.outside import BOT_USERNAME, CONNECTIONS, Outside
from operate.settings import BASE_URLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.ecr import Ecr

ROOT = Path(__file__).parents[1]
BUILD_DIR = ROOT / ".aws-sam" / "build"
COMMAND_S = 900

_SAM = """\
#!/bin/sh
[ "$1" = build ] && exit 0
exec "{real}" "$@"
"""


@contextmanager
def an_empty_account(ecr: Ecr | None = None) -> Iterator[tuple[LocalCloud, Outside]]:
    """An account in which nothing is deployed yet."""
    made = LocalCloud(parameters={"BotUsername": BOT_USERNAME}, deployed=False, ecr=ecr)
    outside = Outside(made.clock)
    made.secrets |= outside.secrets
    for prefix, simulator in outside.mounts.items():
        made.mount(prefix, simulator)
    with made:
        yield made, outside
    outside.close()


def a_built_project(folder: Path) -> Path:
    """A folder in which `sam build` has been done already: `sam` builds nothing there, and deploys for real."""
    assert (BUILD_DIR / ".built").exists(), "nothing is built: make build"
    shutil.copytree(BUILD_DIR, folder / ".aws-sam" / "deploy")
    shutil.copytree(ROOT / "statemachine", folder / "statemachine")
    (folder / "bin").mkdir()
    program(folder, "sam", _SAM)
    return folder


def program(project: Path, name: str, script: str) -> None:
    """Put a script before a program: `{real}` in it is the program's path."""
    real = shutil.which(name)
    assert real, f"there is no {name} here"
    path = project / "bin" / name
    path.write_text(script.replace("{real}", real), "utf-8")
    path.chmod(0o755)


def operate(
    cloud: LocalCloud, project: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m operate` as an administrator."""
    return run(cloud, project, sys.executable, "-m", "operate", *arguments, environment=environment)


def run(
    cloud: LocalCloud, project: Path, *command: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as an administrator."""
    variables = {
        **os.environ,
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_ACCESS_KEY_ID": cloud.admin_key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        "SAM_CLI_TELEMETRY": "0",
        "TELEGRAM_API_URL": f"{cloud.endpoint}/telegram",
        "OPERATE_PROJECT": str(project),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "layers" / "core" / "src"), str(ROOT)]),
        "PATH": f"{project / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{
            variable: f"{cloud.endpoint}/{CONNECTIONS[provider].prefix}{CONNECTIONS[provider].base_path}"
            for provider, variable in BASE_URLS.items()
        },
        **(environment or {}),
    }
    return subprocess.run(
        command, cwd=project, env=variables, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )

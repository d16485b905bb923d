"""The agent's container as the local cloud runs it: the work tree's own code, and the OpenClaw that make installs."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from local.fargate import Image

ROOT = Path(__file__).parent.parent
INSTALLED = ROOT / ".node"
NODE = INSTALLED / "runtime" / "node_modules" / "node" / "bin" / "node"
OPENCLAW = INSTALLED / "openclaw" / "node_modules" / "openclaw" / "openclaw.mjs"
COMPILE_CACHE = INSTALLED / "compile-cache"

NAME = "agent:local"
"""Parameter `AgentImage` of a local cloud that runs it."""

_PRETENDED = ROOT / "tests" / "local" / "fixtures" / "agent" / "pretend_gateway.py"


def is_installed() -> bool:
    """Whether Node and OpenClaw are there: without them a task ends as soon as it wants to start its gateway."""
    return NODE.is_file() and OPENCLAW.is_file()


def image() -> Image:
    """The container without its isolation, and with any port: several run beside each other."""
    folders = (ROOT / "container", ROOT / "layers" / "core" / "src", ROOT)
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "NODE": str(NODE),
        "OPENCLAW": str(OPENCLAW),
        "COMPILE_CACHE": str(COMPILE_CACHE),
        "PORT": "0",
    }
    return Image((sys.executable, "-m", "local.clocked", "agent"), environment)


def pretended() -> Image:
    """The whole bridge, over a gateway without Node that is there in half a second."""
    real = image()
    program = {"NODE": sys.executable, "OPENCLAW": str(_PRETENDED), "COMPILE_CACHE": ""}
    return replace(real, environment={**real.environment, **program})

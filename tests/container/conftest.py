"""Fixtures of the tests of the agent's container."""

import subprocess

import pytest

from tests.container.openclaw import ROOT

IMAGE = "serverless-openclaw:local"
BUILD_S = 1200


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as the container does."""
    return "asyncio"


@pytest.fixture(scope="session")
def image() -> str:
    """As `make image` builds it; no engine, or no image, is a failure."""
    done = subprocess.run(
        ["make", "--no-print-directory", "image"],
        cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return IMAGE

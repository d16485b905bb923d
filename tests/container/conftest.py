"""Fixtures of the tests of the agent's container."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as the container does."""
    return "asyncio"

"""The command line against the local cloud, with Telegram and the providers simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.loaders import create_loader

from local.simulators.outside import CONNECTIONS
from operate.settings import BASE_URLS
from tests.local.system import a_system
from tests.operate.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.local.system import System


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    """Each command makes its own session, which would read the services' models again: half a second each."""
    shared = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda _path: shared)
        yield


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system(mode="source", max_environments=1) as running:
        yield running


@pytest.fixture
def terminal(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:
    """A terminal signed in as the administrator of the local cloud."""
    system.outside.clear()
    system.cloud.stack.status = "CREATE_COMPLETE"
    system.cloud.stack.events.clear()
    made = Terminal(monkeypatch, capsys)
    made.set(
        AWS_ENDPOINT_URL=system.cloud.endpoint,
        AWS_ACCESS_KEY_ID=system.cloud.admin_key,
        AWS_SECRET_ACCESS_KEY="local",
        AWS_DEFAULT_REGION="eu-west-1",
        AWS_CONFIG_FILE=str(tmp_path / "config"),
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        TELEGRAM_API_URL=f"{system.cloud.endpoint}/telegram",
        OPERATE_PROJECT=str(tmp_path),
        OPERATE_POLL_SECONDS="0.01",
        COLUMNS="200",
    )
    for provider, variable in BASE_URLS.items():
        connection = CONNECTIONS[provider]
        made.set(**{variable: f"{system.cloud.endpoint}/{connection.prefix}{connection.base_path}"})
    return made

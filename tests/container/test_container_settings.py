"""The container's settings: complete at the start, and silent about secrets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent import settings
from agent.__main__ import main
from agent.gateway import INHERITED
from agent.settings import AloneSettings, ChatSettings, read
from assistant.errors import SettingMissing
from tests.doubles import DrivenClock

if TYPE_CHECKING:
    from pathlib import Path

PLACE = {"NODE": "/n/node", "OPENCLAW": "/o/openclaw.mjs"}
CHAT = {
    "CHAT_ID": "42",
    "GENERATION": "3",
    "CONVERSATIONS_TABLE": "conversations",
    "RUNTIME_TABLE": "runtime",
    "WORKSPACES_BUCKET": "bucket",
    "SECRETS_PATH": "/serverless-openclaw/secrets/",
    "HISTORY_MESSAGES": "20",
    "HISTORY_DAYS": "7",
    "IDLE_MINUTES": "15",
    "CLAUDE_DOLLARS_PER_MONTH": "5",
    "CARRY_OVER": "off",
}
KEY = {"OLLAMA_API_KEY": "a-key-of-ollama"}


def test_for_a_chat() -> None:
    found = read(PLACE | CHAT | KEY | {"COPILOT_BASE_URL": "http://127.0.0.1:1/copilot", "LANG": "C", "SECRET": "x"})

    assert isinstance(found.work, ChatSettings)
    assert (found.work.chat_id, found.work.generation, found.work.idle_minutes) == ("42", 3, 15)
    assert found.keys == {}  # those come from SSM
    assert found.base_urls == {"copilot": "http://127.0.0.1:1/copilot"}
    assert found.inherited == {"LANG": "C"}
    assert set(found.inherited) <= set(INHERITED)


@pytest.mark.parametrize("missing", list(CHAT))
def test_a_missing_name_is_said(missing: str) -> None:
    with pytest.raises(SettingMissing, match=rf"\b{missing}\b"):
        read(PLACE | {name: value for name, value in CHAT.items() if name != missing})


@pytest.mark.parametrize(("name", "value"), [("GENERATION", "x"), ("CARRY_OVER", "maybe"), ("PORT", "http")])
def test_a_value_of_the_wrong_kind_is_said(name: str, value: str) -> None:
    with pytest.raises(SettingMissing, match=name):
        read(PLACE | CHAT | {name: value})


def test_by_itself() -> None:
    found = read(PLACE | KEY | {"OPENROUTER_API_KEY": "", "BRIDGE_AUTH_TOKEN": "t" * 20})

    assert found.work == AloneSettings(bridge_auth_token="t" * 20)
    assert found.keys == {"ollama-api-key": "a-key-of-ollama"}
    assert "a-key-of-ollama" not in repr(found)
    assert "t" * 20 not in repr(found)
    assert replace(found.place, port=1).port == 1


def test_by_itself_it_needs_a_key() -> None:
    with pytest.raises(SettingMissing, match="COPILOT_API_KEY, OPENROUTER_API_KEY, OLLAMA_API_KEY, ANTHROPIC_API_KEY"):
        read(PLACE)


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CHAT, DrivenClock()) == 2
    assert capsys.readouterr().err == "the environment variable NODE is not set\n"


def test_the_health_check_reads_the_port_only() -> None:
    assert settings.read_port({}) == 8080
    assert settings.read_port({"PORT": "81"}) == 81


def test_nothing_else_reads_the_environment(request: pytest.FixtureRequest) -> None:
    folder: Path = request.config.rootpath / "container" / "agent"
    readers = {path.name for path in folder.glob("*.py") if "os.environ" in path.read_text("utf-8")}

    # The commands hand theirs to `settings`; the gateway takes the process's if it is given none.
    assert readers == {"__main__.py", "health.py", "gateway.py", "prove.py"}

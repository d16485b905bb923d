"""Settings are complete and say what is missing."""

from __future__ import annotations

import pytest

from assistant.errors import SettingMissing
from assistant.settings import AskSettings, ConversationSettings, from_environment


def test_a_missing_name_is_named() -> None:
    with pytest.raises(SettingMissing, match="HISTORY_DAYS is not set"):
        from_environment(ConversationSettings, {"CONVERSATIONS_TABLE": "c"})


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(SettingMissing, match="HISTORY_DAYS is not a whole number"):
        from_environment(ConversationSettings, {"CONVERSATIONS_TABLE": "c", "HISTORY_DAYS": "seven"})


def test_the_processs_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVERSATIONS_TABLE", "c")
    monkeypatch.setenv("HISTORY_DAYS", "7")

    assert from_environment(ConversationSettings) == ConversationSettings("c", 7)


def test_what_has_a_default_may_be_absent() -> None:
    environment = {
        "CONVERSATIONS_TABLE": "c",
        "HISTORY_DAYS": "7",
        "RUNTIME_TABLE": "r",
        "SECRETS_PATH": "/s/",
        "HISTORY_MESSAGES": "20",
    }

    assert from_environment(AskSettings, environment).telegram_api_url == "https://api.telegram.org"

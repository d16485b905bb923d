"""Settings are complete and say what is missing."""

from __future__ import annotations

import pytest

from assistant.errors import SettingMissing
from assistant.settings import AskSettings, ChainSettings, ConversationSettings, from_environment


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
        "STREAM_REPLIES": "on",
        "TELL_OWNER_FUNCTION": "f",
    }

    assert from_environment(AskSettings, environment).telegram_api_url == "https://api.telegram.org"


@pytest.mark.parametrize(("value", "kind"), [("maybe", "on or off"), ("", "on or off"), ("True", "on or off")])
def test_a_switch_is_on_or_off(value: str, kind: str) -> None:
    with pytest.raises(SettingMissing, match=f"CARRY_OVER is not {kind}"):
        from_environment(ChainSettings, {"CLAUDE_DOLLARS_PER_MONTH": "5", "CARRY_OVER": value})


@pytest.mark.parametrize("value", ["five", "-1", "nan", "inf", ""])
def test_an_amount_is_a_number_that_is_not_negative(value: str) -> None:
    with pytest.raises(SettingMissing, match="CLAUDE_DOLLARS_PER_MONTH is not an amount"):
        from_environment(ChainSettings, {"CLAUDE_DOLLARS_PER_MONTH": value, "CARRY_OVER": "off"})


def test_amounts_and_switches_are_read() -> None:
    read = from_environment(ChainSettings, {"CLAUDE_DOLLARS_PER_MONTH": "2.5", "CARRY_OVER": "on"})

    assert (read.claude_dollars_per_month, read.carry_over) == (2.5, True)

"""What the assistant says of itself agrees with what it can do, and what providers are told stays as it is."""

from __future__ import annotations

import re

from assistant.turns import texts
from assistant.turns.chain import load_chain

COMMAND = re.compile(r"(?<![\w/])/([a-z]+)\b")
LISTED = re.compile(r"^/([a-z]+)\b", re.MULTILINE)
COMMANDS = [
    "new",
    "stop",
    "retry",
    "again",
    "remind",
    "confirm",
    "reminders",
    "timezone",
    "usage",
    "providers",
    "status",
    "export",
    "forget",
    "help",
]
AGENT_COMMANDS = ["agent", "ask", "files", "wake", "sleep"]


def test_help_names_each_command_once() -> None:
    assert LISTED.findall(texts.HELP) == COMMANDS


def test_the_first_words_show_the_help() -> None:
    assert texts.at_once("start", "text").endswith(texts.HELP)


def test_where_there_is_an_agent_the_help_names_its_commands() -> None:
    assert LISTED.findall(texts.at_once("help", "text", agents=True)) == COMMANDS + AGENT_COMMANDS
    assert texts.at_once("help", "text") == texts.HELP
    assert texts.at_once("start", "text", agents=True).endswith(texts.AGENT_HELP)


def test_an_unknown_command_leads_to_the_help() -> None:
    assert COMMAND.findall(texts.at_once("weather", "text")) == ["help"]


def test_no_text_names_a_command_that_does_not_exist() -> None:
    said = [value for name, value in vars(texts).items() if isinstance(value, str) and not name.startswith("__")]

    assert {command for text in said for command in COMMAND.findall(text)} <= {*COMMANDS, *AGENT_COMMANDS}


def test_the_system_prompt_names_every_command_and_no_other() -> None:
    assert set(COMMAND.findall(texts.SYSTEM_PROMPT)) == set(COMMANDS)
    assert set(COMMAND.findall(texts.SYSTEM_PROMPT_WITH_AGENT)) == {*COMMANDS, *AGENT_COMMANDS}


def test_the_prompt_of_a_model_that_may_delegate_says_so_instead_of_saying_that_it_has_no_tools() -> None:
    assert "Here you have no tools" in texts.SYSTEM_PROMPT
    assert "Here you have no tools" not in texts.SYSTEM_PROMPT_WITH_AGENT
    assert "delegate_to_agent" in texts.SYSTEM_PROMPT_WITH_AGENT
    assert set(COMMAND.findall(texts.SYSTEM_PROMPT_WITH_AGENT)) == {*COMMANDS, *AGENT_COMMANDS}


def test_the_system_prompt_is_worth_caching_for_every_model_that_caches_on_demand() -> None:
    tokens_at_least = len(texts.SYSTEM_PROMPT.encode()) / 5  # English has four bytes a token, at most about five
    minimums = [provider.cache_minimum_tokens for provider in load_chain().providers]

    assert tokens_at_least >= 1100
    assert tokens_at_least >= max(minimum for minimum in minimums if minimum is not None)
    assert len(texts.SYSTEM_PROMPT.encode()) <= 8192, "every message pays for it"
    assert len(texts.SYSTEM_PROMPT_WITH_AGENT.encode()) <= 9216


def test_the_system_prompt_holds_nothing_that_changes() -> None:
    assert isinstance(texts.SYSTEM_PROMPT, str)
    for prompt in (texts.SYSTEM_PROMPT, texts.SYSTEM_PROMPT_WITH_AGENT):
        assert not re.search(r"\b20\d\d\b|\{|\}|%[sd]", prompt)
    assert "[Now: …]" in texts.SYSTEM_PROMPT


def test_the_system_prompt_follows_its_own_rule_of_plain_text() -> None:
    assert not re.search(r"[*#`_]|</?\w+>", texts.SYSTEM_PROMPT)
    assert max(len(line) for line in texts.SYSTEM_PROMPT.split("\n\n")) < 4096
    assert "  " not in texts.SYSTEM_PROMPT


def test_amounts_read_as_money() -> None:
    assert [texts.dollars(amount) for amount in (0, 412_300, 5_000_000, 1_234_560_000)] == [
        "$0.00",
        "$0.41",
        "$5.00",
        "$1,234.56",
    ]

"""OpenClaw's configuration from the user's file and the chain: as data, and as a command."""

from __future__ import annotations

import io
import json
import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.openclaw_config import (
    AGENT_SETTINGS,
    ConfigRefused,
    as_text,
    key_variable,
    parse,
    patched,
    removed_secrets,
    write_agent_settings,
    write_instructions,
)
from agent.openclaw_config_command import DIFFERS, NO_FILE, REFUSED, main
from assistant.turns.chain import load_chain

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = load_chain()
RELAY = "http://127.0.0.1:8091"
PLANTED = "planted-hunter2-value"

names = st.text("abcdefgKT_", min_size=1, max_size=6)
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab é", max_size=5)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
OURS = ["gateway", "models", "agents", "tools", "plugins", "channels", "telegram", "auth", "llm", "update", "logging"]
sections = st.sampled_from([*OURS, "defaults", "entries", "main", "providers", "anthropic", "params", "model", "mine"])
configs = st.dictionaries(
    sections | names,
    trees | st.dictionaries(sections | names, trees | st.dictionaries(sections | names, trees, max_size=3), max_size=3),
    max_size=5,
)
secret_names = st.sampled_from(
    ["apiKey", "token", "botToken", "password", "OPENAI_API_KEY", "x-api-key", "clientSecret"]
)


def patch(config: dict[str, Any], **options: Any) -> dict[str, Any]:
    return patched(config, CHAIN, **{"port": 18789, "relay_url": None, **options})


def test_the_chain_becomes_providers_with_models_and_prices() -> None:
    models = patch({})["models"]

    assert models["mode"] == "merge"
    assert list(models["providers"]) == ["copilot", "openrouter", "ollama-cloud", "anthropic"]
    claude = models["providers"]["anthropic"]
    assert claude == {
        "baseUrl": "https://api.anthropic.com",
        "apiKey": "${ANTHROPIC_API_KEY}",
        "api": "anthropic-messages",
        "timeoutSeconds": 65,
        "models": [
            {
                "id": "claude-sonnet-5",
                "name": "Claude",
                "reasoning": False,
                "input": ["text"],
                "cost": {"input": 2.0, "output": 10.0, "cacheRead": 0.2, "cacheWrite": 2.5},
                "contextWindow": 200000,
                "maxTokens": 4096,
            }
        ],
    }
    assert [each["api"] for each in models["providers"].values()].count("openai-completions") == 3
    assert models["providers"]["copilot"]["headers"]["Copilot-Integration-Id"] == "vscode-chat"


def test_models_are_asked_in_the_chains_order() -> None:
    assert patch({})["agents"]["defaults"]["model"] == {
        "primary": "copilot/gemini-3.6-flash",
        "fallbacks": ["openrouter/openrouter/free", "ollama-cloud/gpt-oss:120b", "anthropic/claude-sonnet-5"],
    }
    shortened = replace(CHAIN, providers=CHAIN.providers[2:])
    assert patched({}, shortened, port=1, relay_url=None)["agents"]["defaults"]["model"] == {
        "primary": "ollama-cloud/gpt-oss:120b",
        "fallbacks": ["anthropic/claude-sonnet-5"],
    }


def test_with_a_relay_every_provider_is_asked_there_with_its_token() -> None:
    providers = patch({}, relay_url=RELAY + "/")["models"]["providers"]

    assert {name: each["baseUrl"] for name, each in providers.items()} == {
        name: f"{RELAY}/{name}" for name in providers
    }
    token = {"source": "env", "provider": "default", "id": "OPENCLAW_RELAY_TOKEN"}
    assert [each["apiKey"] for each in providers.values()] == [token] * len(providers)
    assert not any("headers" in each for each in providers.values())


def test_the_gateway_is_on_loopback_behind_its_token() -> None:
    config = {
        "gateway": {
            "port": 1,
            "bind": "lan",
            "auth": {"mode": "none", "password": "p"},
            "tailscale": {"mode": "funnel"},
            "tls": {"enabled": True},
            "http": {"endpoints": {}},
        }
    }

    gateway = patch(config, port=20000)["gateway"]

    assert gateway["port"] == 20000
    assert gateway["bind"] == "loopback"
    assert gateway["auth"] == {"mode": "token"}
    assert gateway["http"] == {"endpoints": {}}
    assert not {"tailscale", "tls"} & set(gateway)


def test_what_costs_quota_or_boot_time_is_off() -> None:
    result = patch(
        {
            "agents": {
                "defaults": {"heartbeat": {"every": "30m"}, "params": {"temperature": 0.2}},
                "entries": {"main": {"model": "openai/gpt", "heartbeat": {"every": "5m"}, "name": "Jo"}},
            },
            "tools": {"web": {"search": {"enabled": True}}},
        }
    )

    defaults = result["agents"]["defaults"]
    assert defaults["heartbeat"] == {"every": "0m"}
    assert defaults["skipBootstrap"] is True
    assert defaults["params"] == {"temperature": 0.2, "cacheRetention": "short"}
    assert result["agents"]["entries"] == {"main": {"name": "Jo"}}
    assert result["tools"]["web"]["search"]["enabled"] is False


def test_what_the_user_says_goes_before_our_defaults() -> None:
    config = {"cron": {"enabled": True}, "plugins": {"allow": ["mine"]}, "agents": {"defaults": {"timeoutSeconds": 9}}}

    result = patch(config)

    assert result["cron"]["enabled"] is True
    assert result["plugins"]["allow"] == ["mine"]
    assert result["agents"]["defaults"]["timeoutSeconds"] == 9


def test_telegram_and_the_old_places_of_secrets_are_removed() -> None:
    config = {
        "telegram": {"botToken": "1"},
        "channels": {"telegram": {"enabled": True}, "discord": {"enabled": True}},
        "plugins": {"entries": {"telegram": {"enabled": True}, "mine": {}}},
        "auth": {"token": "t", "order": {}},
        "llm": {"apiKey": "k", "model": "claude-sonnet-5"},
    }

    result = patch(config)

    assert "telegram" not in json.dumps(result)
    assert result["channels"] == {"discord": {"enabled": True}}
    assert result["plugins"]["entries"] == {"mine": {}}
    assert result["auth"] == {"order": {}}
    assert "llm" not in result


@pytest.mark.parametrize(
    ("config", "options", "primary"),
    [
        ({"llm": {"model": "anthropic/claude-sonnet-5"}}, {}, "anthropic/claude-sonnet-5"),
        ({"llm": {"model": "gpt-oss:120b"}}, {}, "ollama-cloud/gpt-oss:120b"),
        ({"llm": {"model": "gpt-oss:120b"}}, {"model": "claude-sonnet-5"}, "anthropic/claude-sonnet-5"),
        ({"llm": {"model": ""}}, {}, "copilot/gemini-3.6-flash"),
        ({"llm": {"model": 7}}, {}, "copilot/gemini-3.6-flash"),
        ({}, {"model": "claude-sonnet-5", "relay_url": RELAY}, "anthropic/claude-sonnet-5"),
        ({}, {"model": "anthropic/claude-haiku-4-5"}, "anthropic/claude-haiku-4-5"),
        ({"models": {"providers": {"mine": {}}}}, {"model": "mine/m"}, "mine/m"),
    ],
)
def test_another_model_may_be_asked_first(config: dict[str, Any], options: dict[str, Any], primary: str) -> None:
    result = patch(config, **options)

    model = result["agents"]["defaults"]["model"]
    chain = [f"{each.id}/{each.model}" for each in CHAIN.providers]
    assert model == {"primary": primary, "fallbacks": [each for each in chain if each != primary]}
    provider, _, name = primary.partition("/")
    if provider != "mine":
        assert name in [each["id"] for each in result["models"]["providers"][provider]["models"]]


@pytest.mark.parametrize(
    "options",
    [{"model": "gpt-99"}, {"model": "other/m"}, {"model": "anthropic/"}, {"model": "anthropic/x", "relay_url": RELAY}],
)
def test_a_model_that_nobody_offers_is_refused_with_what_there_is(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigRefused, match="there are: copilot/"):
        patch({}, **options)


def test_the_workspace_is_ours_if_given() -> None:
    config = {"agents": {"defaults": {"workspace": "~/mine"}}}

    assert patch(config)["agents"]["defaults"]["workspace"] == "~/mine"
    assert patch(config, workspace="/data")["agents"]["defaults"]["workspace"] == "/data"


@pytest.mark.parametrize("config", [{"$include": "x"}, {"a": [{"$include": ["y"]}]}])
def test_files_that_include_others_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigRefused, match=r"\$include"):
        patch(config)


@given(configs, st.sampled_from([None, RELAY]), st.sampled_from([None, "claude-sonnet-5"]))
def test_doing_it_twice_changes_nothing_more(config: dict[str, Any], relay: str | None, model: str | None) -> None:
    config.pop("llm", None)  # llm.model is used up: see the next test
    once = patch(config, relay_url=relay, model=model)

    assert patch(once, relay_url=relay, model=model) == once


def test_the_files_own_model_is_used_up() -> None:
    once = patch({"llm": {"model": "claude-sonnet-5", "provider": "x"}})

    assert once["llm"] == {"provider": "x"}
    assert patch(once)["agents"]["defaults"]["model"]["primary"] == "copilot/gemini-3.6-flash"


@given(configs, st.text("abc", min_size=1, max_size=4).map("unrelated-".__add__), trees)
def test_an_unrelated_key_is_kept(config: dict[str, Any], name: str, value: object) -> None:
    inside = {"gateway": {name: value}, "agents": {"defaults": {name: value}, "entries": {"x": {name: value}}}}

    assert patch(config | {name: value})[name] == value
    result = patch(config | inside)
    assert result["gateway"][name] == value
    assert result["agents"]["defaults"][name] == value
    assert result["agents"]["entries"]["x"][name] == value


@given(configs, secret_names, st.sampled_from([(), ("models", "providers", "mine"), ("env", "vars"), ("a", "gateway")]))
def test_no_planted_secret_survives(config: dict[str, Any], name: str, path: tuple[str, ...]) -> None:
    section: dict[str, Any] = {name: PLANTED}
    for part in reversed(path):
        section = {part: [section] if part == "a" else section}
    planted = config | section

    assert PLANTED not in as_text(patch(planted))
    assert any(name in each for each in removed_secrets(planted))
    assert PLANTED not in "".join(removed_secrets(planted))


@given(configs)
def test_the_argument_stays_as_it_is(config: dict[str, Any]) -> None:
    before = json.dumps(config)

    patch(config)

    assert json.dumps(config) == before


def test_every_key_has_a_variable() -> None:
    assert [key_variable(provider) for provider in CHAIN.providers] == [
        "COPILOT_API_KEY",
        "OPENROUTER_API_KEY",
        "OLLAMA_API_KEY",
        "ANTHROPIC_API_KEY",
    ]


def test_json5_is_read_as_openclaw_reads_it() -> None:
    assert parse("// mine\n{a: 'b', c: [1, 0x10,], /* no */ d: +1,}") == {"a": "b", "c": [1, 16], "d": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n a: 1,\n b: !\n}", "line 3, column 5"),
        ("{", "line 1"),
        ("", "no JSON5"),
        ("[1]", "no object"),
        ("null", "no object"),
        ("[" * 100_000, "no JSON5"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigRefused, match=message):
        parse(text)


def test_a_message_does_not_quote_the_file() -> None:
    with pytest.raises(ConfigRefused) as refused:
        parse('{"apiKey": "hunter2" hunter3}')

    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_has_not_is_refused(value: object) -> None:
    with pytest.raises(ConfigRefused):
        as_text({"a": value})


def test_a_provider_is_asked_once(tmp_path: Path) -> None:
    write_agent_settings(tmp_path)

    assert json.loads((tmp_path / AGENT_SETTINGS).read_text()) == {"retry": {"provider": {"maxRetries": 0}}}


def test_instructions_are_written_where_there_are_none(tmp_path: Path) -> None:
    write_instructions(tmp_path)
    assert "conversation_history" in (tmp_path / "AGENTS.md").read_text()

    (tmp_path / "AGENTS.md").write_text("mine")
    write_instructions(tmp_path)
    assert (tmp_path / "AGENTS.md").read_text() == "mine"


def test_instructions_do_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").symlink_to(tmp_path / "elsewhere")

    write_instructions(tmp_path)

    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json5"
    path.write_text("{ui: {seam: 'é'}, channels: {discord: {token: 'hunter2'}},}", "utf-8")
    return path


def test_the_command_shows_the_result_and_names_what_it_left_out(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([str(file), "--port", "2000", "--relay", RELAY, "--model", "claude-sonnet-5"])

    out, err = capsys.readouterr()
    assert status == 0
    assert json.loads(out) == patch(parse(file.read_text("utf-8")), port=2000, relay_url=RELAY, model="claude-sonnet-5")
    assert "channels.discord.token" in err
    assert "hunter2" not in out + err


def test_the_command_writes_for_the_owner_only(file: Path, tmp_path: Path) -> None:
    output = tmp_path / "openclaw.json"
    output.write_text("old")
    output.chmod(0o644)

    assert main([str(file), "--output", str(output)]) == 0

    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json5", "openclaw.json"]
    assert main([str(output), "--check"]) == 0
    assert main([str(file), "--check"]) == DIFFERS


def test_the_command_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))

    assert main(["-"]) == 0
    assert json.loads(capsys.readouterr().out) == patch({})


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"a":\n}')
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe{")

    assert main([str(tmp_path / "none.json")]) == NO_FILE
    assert main([str(bad)]) == REFUSED
    assert main([str(binary)]) == REFUSED
    assert main([str(bad.with_name("mine")), "--output", "x"]) == NO_FILE
    bad.write_text("{}")
    assert main([str(bad), "--output", str(tmp_path / "no" / "such")]) == NO_FILE
    assert main([str(bad), "--model", "none"]) == REFUSED
    err = capsys.readouterr().err
    assert "none.json: No such file" in err
    assert "line 2" in err
    assert "not UTF-8" in err


@pytest.mark.parametrize("arguments", [[], ["x", "--port", "0"], ["x", "--port", "70000"], ["x", "--port", "n"]])
def test_wrong_options_are_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    out = capsys.readouterr().out
    assert "examples:" in out
    assert "exit status" in out

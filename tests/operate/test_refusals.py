"""What a person reads when something is wrong: a sentence, what to do, and an exit code; never a traceback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local.server import WebServer
from local.simulators.faults import Fault, TelegramFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from local.server import Environ, StartResponse
    from tests.local.system import System
    from tests.operate.terminal import Terminal

COMMANDS = (
    ["status"],
    ["usage"],
    ["cost"],
    ["logs"],
    ["allow"],
    ["deny", "1"],
    ["redrive"],
    ["redrive", "--queue"],
    ["setup", "--env"],
    ["webhook", "set"],
    ["webhook", "show"],
    ["webhook", "delete"],
    ["workspace", "list"],
    ["workspace", "restore", "--number", "1"],
    ["export", "--chat", "1"],
)
_names = [" ".join(command) for command in COMMANDS]
NOWHERE = "http://127.0.0.1:9"


def _refusing(code: str, status: int) -> object:
    """AWS that answers everything with one error, in both of its forms."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_X_AMZ_TARGET"):
            start_response(f"{status} Refused", [("Content-Type", "application/x-amz-json-1.0")])
            return [json.dumps({"__type": code, "message": "The security token included in the request"}).encode()]
        start_response(f"{status} Refused", [("Content-Type", "text/xml")])
        text = f"<ErrorResponse><Error><Code>{code}</Code><Message>token</Message></Error></ErrorResponse>"
        return [text.encode()]

    return app


@pytest.fixture
def expired(terminal: Terminal) -> Iterator[Terminal]:
    server = WebServer(_refusing("ExpiredToken", 403))  # type: ignore[arg-type]
    server.start()
    terminal.set(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
    yield terminal
    server.stop()


@pytest.mark.parametrize("command", COMMANDS, ids=_names)
def test_no_credentials(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    ran = terminal.run(*command)

    assert ran.code == 3
    assert "no AWS credentials" in ran.err
    assert "aws configure" in ran.err


@pytest.mark.parametrize("command", COMMANDS, ids=_names)
def test_an_expired_token(expired: Terminal, command: list[str]) -> None:
    ran = expired.run(*command)

    assert ran.code == 3
    assert "ExpiredToken" in ran.err
    assert "Sign in again" in ran.err


def test_the_doctor_goes_no_further_without_credentials(expired: Terminal) -> None:
    ran = expired.run("doctor", "--json")

    assert ran.code == 1
    states = {each["link"]: each["state"] for each in ran.data["findings"]}
    assert states["credentials"] == "bad"
    assert states["stack"] == "skipped"


@pytest.mark.parametrize("command", COMMANDS, ids=_names)
def test_no_network(terminal: Terminal, command: list[str]) -> None:
    terminal.set(AWS_ENDPOINT_URL=NOWHERE)

    ran = terminal.run(*command, "--json")

    assert ran.code == 6
    assert ran.data["kind"] == "UnreachableError"


def test_the_network_goes_in_the_middle(terminal: Terminal, system: System) -> None:
    terminal.set(TELEGRAM_API_URL=NOWHERE)

    ran = terminal.run("webhook", "set")

    assert ran.code == 6
    assert "Telegram can't be reached" in ran.err
    assert system.cloud.secrets["telegram-bot-token"] not in ran.everything


@pytest.mark.parametrize("command", [each for each in COMMANDS if each[0] != "setup"], ids=str)
def test_no_stack(terminal: Terminal, command: list[str]) -> None:
    ran = terminal.run(*command, "--stack", "another")

    if command == ["webhook", "delete"]:  # the bot's own: needs no stack
        assert ran.code == 0
        return
    assert ran.code == 4
    assert "There is no stack another" in ran.err


@pytest.mark.parametrize("command", [["status"], ["usage"], ["allow"], ["webhook", "set"], ["redrive"]], ids=str)
def test_a_stack_in_rollback(terminal: Terminal, system: System, command: list[str]) -> None:
    system.cloud.stack.failed("ROLLBACK_COMPLETE", "Webhook", "Resource limit exceeded")

    ran = terminal.run(*command)

    assert ran.code == 7
    assert "ROLLBACK_COMPLETE" in ran.err


def test_the_doctor_says_why_a_stack_was_rolled_back(terminal: Terminal, system: System) -> None:
    system.cloud.stack.failed("ROLLBACK_COMPLETE", "Webhook", "Resource limit exceeded")

    ran = terminal.run("doctor")

    assert ran.code == 1
    assert "Webhook: Resource limit exceeded" in ran.out


@pytest.fixture
def without_token(system: System) -> Iterator[None]:
    ssm, name = system.cloud.client("ssm"), "/serverless-openclaw/secrets/telegram-bot-token"
    ssm.delete_parameter(Name=name)
    yield
    ssm.put_parameter(Name=name, Value=system.cloud.secrets["telegram-bot-token"], Type="SecureString", Overwrite=True)


@pytest.mark.usefixtures("without_token")
def test_a_missing_parameter(terminal: Terminal) -> None:
    ran, found = terminal.run("webhook", "set"), terminal.run("doctor")

    assert ran.code == 4
    assert "telegram-bot-token does not exist" in ran.err
    assert "operate setup" in ran.err
    assert found.code == 1
    assert "telegram-bot-token does not exist" in found.out


def test_a_wrong_bot_token_is_not_stored(terminal: Terminal, system: System) -> None:
    ran = terminal.run("setup", "--env", environment={"TELEGRAM_BOT_TOKEN": "123456789:not-the-right-one"})

    name = "/serverless-openclaw/secrets/telegram-bot-token"
    stored = system.cloud.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    assert ran.code == 5
    assert "does not know this bot token" in ran.everything
    assert "not-the-right-one" not in ran.everything
    assert stored == system.cloud.secrets["telegram-bot-token"]


def test_a_wrong_provider_key_keeps_no_other_from_being_stored(terminal: Terminal) -> None:
    ran = terminal.run(
        "setup",
        "--env",
        environment={"OPENROUTER_API_KEY": "planted-wrong-key", "OLLAMA_API_KEY": "simulated-key-of-ollama-cloud"},
    )

    assert ran.code == 5
    assert "OpenRouter refuses the key" in ran.everything
    assert "gpt-oss:120b answers" in ran.everything
    assert "planted-wrong-key" not in ran.everything


def test_a_provider_that_is_used_up_knows_the_key(terminal: Terminal, system: System) -> None:
    system.outside.order("openrouter", Fault("429"))

    ran = terminal.run("setup", "--env", environment={"OPENROUTER_API_KEY": "simulated-key-of-openrouter"})

    assert ran.code == 0
    assert "known, but now" in ran.everything


def test_a_key_that_can_not_be_checked_is_stored_only_on_demand(terminal: Terminal) -> None:
    terminal.set(OLLAMA_BASE_URL=NOWHERE)
    key = {"OLLAMA_API_KEY": "simulated-key-of-ollama-cloud"}

    refused, stored = (
        terminal.run("setup", "--env", environment=key),
        terminal.run("setup", "--env", "--unchecked", environment=key),
    )

    assert (refused.code, stored.code) == (6, 0)
    assert "--unchecked" in refused.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing", "not JSON"),
        ('["a"]', "not an object"),
        ('{"no-such-key": "x"}', "There is no key no-such-key"),
        ('{"telegram-bot-token": "planted with spaces"}', "a space"),
        ('{"telegram-bot-token": "plantedtoken"}', "looks like"),
        ('{"telegram-webhook-secret": "short"}', "16 to 256"),
    ],
)
def test_keys_that_can_not_be_right(terminal: Terminal, given: str, said: str) -> None:
    ran = terminal.run("setup", "--stdin", stdin=given)

    assert ran.code == 2
    assert said in ran.everything
    assert "planted" not in ran.everything


def test_setup_without_a_terminal_says_how(terminal: Terminal) -> None:
    ran = terminal.run("setup")

    assert ran.code == 2
    assert "--stdin" in ran.err


def test_a_webhook_that_points_elsewhere(terminal: Terminal, system: System) -> None:
    system.outside.telegram.webhook.url = "https://elsewhere.example/hook"

    shown, found = terminal.run("webhook", "show"), terminal.run("doctor")

    assert "https://elsewhere.example/hook, and not to this stack" in shown.out
    assert found.code == 1
    assert "webhook set" in found.out


def test_telegram_that_fails(terminal: Terminal, system: System) -> None:
    system.outside.telegram.order(TelegramFault.SERVER_ERROR, method="setWebhook")

    ran = terminal.run("webhook", "set")

    assert ran.code == 5
    assert "Telegram refuses setWebhook (HTTP 500)" in ran.err


def test_a_role_that_may_not(terminal: Terminal, system: System) -> None:
    """With the credentials of a function that may read nothing of the stack."""
    role = system.cloud.client("iam").list_roles()["Roles"][0]["Arn"]
    given = system.cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    terminal.set(
        AWS_ACCESS_KEY_ID=given["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=given["SecretAccessKey"],
        AWS_SESSION_TOKEN=given["SessionToken"],
    )

    ran = terminal.run("status")

    assert ran.code == 3
    assert "may not do DescribeStacks" in ran.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["logs", "--turn", "3"], "Add --chat"),
        (["logs", "--since", "yesterday"], "no span of time"),
        (["logs", 'a" || "b'], "can't be searched for"),
        (["logs", "--function", "Nobody"], "Nothing called Nobody"),
        (["status", "--bogus"], "No such option"),
        (["bogus"], "No such command"),
        (["usage", "--days", "0"], "greater than or equal to 1"),
        (["setup", "--key", "bogus"], "There is no key bogus"),
        (["allow", "ada"], "no Telegram id"),
        (["status", "--profile", "nobody"], "nobody"),
    ],
    ids=str,
)
def test_what_can_not_be_meant(terminal: Terminal, command: list[str], said: str) -> None:
    ran = terminal.run(*command)

    assert ran.code in {2, 3, 4}
    assert said in ran.err


def test_a_mistake_of_the_program_is_a_sentence_too(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operate.commands.people.table", lambda *_columns, rows: 1 / 0)
    terminal.run("allow", "1")

    ran = terminal.run("allow")

    assert ran.code == 70
    assert "mistake in the program: ZeroDivisionError" in ran.err


def test_samconfig_that_is_broken(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text("[default", "utf-8")

    ran = terminal.run("status")

    assert ran.code == 2
    assert "samconfig.toml" in ran.err


def test_the_last_error_of_telegram_is_shown(terminal: Terminal, system: System) -> None:
    terminal.run("webhook", "set")
    webhook = system.outside.telegram.webhook
    webhook.pending = 30
    webhook.last_error = (datetime.now(UTC) - timedelta(minutes=1), "Wrong response from the webhook: 403 Forbidden")

    ran = terminal.run("webhook", "show")
    webhook.pending, webhook.last_error = 0, None

    assert "403 Forbidden" in ran.out
    assert "30 updates wait" in ran.out

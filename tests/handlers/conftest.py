"""The functions as Lambda calls them: real wiring, AWS on moto, the outside as simulators on loopback."""

from __future__ import annotations

import importlib
import io
import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from assistant.observability import logger
from local.server import WebServer
from local.simulators.outside import BOT_USERNAME, CONNECTIONS, Outside
from tests.doubles import DrivenClock, create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS_PATH = "/serverless-openclaw/secrets/"
RUNNERS = {"DOCUMENTS_FUNCTION": "send-document", "FORGET_FUNCTION": "forget-chat"}
REMINDERS = {
    "REMINDER_GROUP": "stack-reminders",
    "REMINDER_FUNCTION": "arn:aws:lambda:eu-west-1:123456789012:function:fire-reminder",
    "REMINDER_ROLE": "arn:aws:iam::123456789012:role/reminder",
    "FAILURE_QUEUE": "arn:aws:sqs:eu-west-1:123456789012:failures",
}


@pytest.fixture(autouse=True)
def _context_logged_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation's context is in every line from then on; the logger is one for all tests."""
    formatter = logger.registered_formatter
    monkeypatch.setattr(formatter, "log_format", dict(vars(formatter)["log_format"]))


class _ByPrefix:
    """The simulators under one address."""

    def __init__(self, mounts: dict[str, Any]) -> None:
        self._mounts = mounts

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        _, prefix, rest = environ["PATH_INFO"].split("/", 2)
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = f"/{prefix}", f"/{rest}"
        return self._mounts[prefix](environ, start_response)


@dataclass
class Deployed:
    """What the template would have deployed; `call` invokes a function by its module's name."""

    outside: Outside
    clock: DrivenClock
    environment: pytest.MonkeyPatch
    state_machine_arn: str
    url: str
    modules: list[str] = field(default_factory=list)

    def call(self, module: str, event: Any) -> Any:
        for connection in CONNECTIONS.values():
            if connection.function == "".join(word.capitalize() for word in module.split("_")):
                url = f"{self.url}/{connection.prefix}{connection.base_path}"
                self.environment.setenv("PROVIDER_BASE_URL", url)
        if module not in self.modules:
            self.modules.append(module)
            sys.modules.pop(module, None)
        context = SimpleNamespace(
            function_name=module, memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="r"
        )
        return importlib.import_module(module).handler(event, context)

    def post(self, update: dict[str, Any], secret: str | None = None) -> Any:
        """An update through the webhook; what it answers is carried out, as Telegram does."""
        secret = self.outside.secrets["telegram-webhook-secret"] if secret is None else secret
        event = {
            "headers": {"x-telegram-bot-api-secret-token": secret},
            "body": json.dumps(update),
            "isBase64Encoded": False,
        }
        answer = self.call("webhook", event)
        self.outside.telegram.perform(json.loads(answer["body"]) if "body" in answer else None)
        return answer

    def claim(self, number: int = -1) -> dict[str, Any]:
        """The input of an execution that was started; the newest by default."""
        client = boto3.client("stepfunctions")
        listed = client.list_executions(stateMachineArn=self.state_machine_arn)["executions"]
        newest = sorted(listed, key=lambda execution: execution["name"])[number]
        claim: dict[str, Any] = json.loads(client.describe_execution(executionArn=newest["executionArn"])["input"])
        return claim

    def allow(self, chat_id: int) -> None:
        item = {"pk": {"S": "ALLOWED"}, "sk": {"S": str(chat_id)}}
        boto3.client("dynamodb").put_item(TableName="runtime", Item=item)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions log."""
    stream = io.StringIO()
    (handler,) = logger._logger.handlers
    monkeypatch.setattr(handler, "stream", stream)
    return stream


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    from assistant import wiring  # noqa: PLC0415 (after the environment is clean)

    clock = DrivenClock()
    outside = Outside(clock)
    server = WebServer(_ByPrefix(outside.mounts))
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    with mock_aws():
        arn = _deploy(outside)
        for name, value in {
            "CONVERSATIONS_TABLE": "conversations",
            "RUNTIME_TABLE": "runtime",
            "STATE_MACHINE_ARN": arn,
            "SECRETS_PATH": SECRETS_PATH,
            "BOT_USERNAME": BOT_USERNAME,
            "MESSAGES_PER_MINUTE": "20",
            "HISTORY_MESSAGES": "20",
            "HISTORY_DAYS": "7",
            "CLAUDE_DOLLARS_PER_MONTH": "5",
            "CARRY_OVER": "off",
            "AGENT_MODE": "off",
            "AGENT_HOURS_PER_MONTH": "40",
            "START_AGENT_FUNCTION": "",
            "WARM_HOURS": "",
            "AGENT_CLUSTER": "",
            "AGENT_IDLE_MINUTES": "15",
            "STREAM_REPLIES": "on",
            "NAME_OTHER_PROVIDERS": "on",
            "TELL_OWNER_FUNCTION": "tell-owner",
            **REMINDERS,
            **RUNNERS,
            "WORKSPACES_BUCKET": "workspaces",
            "TELEGRAM_API_URL": f"{url}/telegram",
        }.items():
            monkeypatch.setenv(name, value)
        wiring.install_clock(clock)
        try:
            yield Deployed(outside, clock, monkeypatch, arn, url)
        finally:
            wiring.install_clock(wiring.SystemClock())
            wiring._http().close()
            wiring._http.cache_clear()
            wiring._client.cache_clear()
            outside.close()
            server.stop()


def _deploy(outside: Outside) -> str:
    client = boto3.client("dynamodb")
    create_table(client, "conversations")
    create_table(client, "runtime")
    for name, value in outside.secrets.items():
        boto3.client("ssm").put_parameter(Name=SECRETS_PATH + name, Value=value, Type="SecureString")
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    machine = boto3.client("stepfunctions").create_state_machine(
        name="turn", definition=definition, roleArn="arn:aws:iam::123456789012:role/turn"
    )
    return machine["stateMachineArn"]

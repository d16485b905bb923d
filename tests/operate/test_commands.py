"""Every command against the local cloud: what it does, and what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from moto.core.exceptions import JsonRESTError
from moto.servicequotas.models import ServiceQuotasBackend

from assistant.turns import texts
from local.simulators.faults import Fault
from operate.keys import KEYS

if TYPE_CHECKING:
    from tests.local.system import System
    from tests.operate.terminal import Terminal

PLANTED = {
    "telegram-bot-token": "7000000000:simulated-bot-token",
    "openrouter-api-key": "simulated-key-of-openrouter",
    "anthropic-api-key": "simulated-key-of-anthropic",
}


def _parameter(system: System, name: str) -> dict[str, str]:
    found = system.cloud.client("ssm").get_parameter(Name=f"/serverless-openclaw/secrets/{name}", WithDecryption=True)
    parameter: dict[str, str] = found["Parameter"]
    return parameter


def test_allow_and_deny_decide_with_the_next_message(system: System, terminal: Terminal) -> None:
    stranger = 777_001

    terminal.run("allow", str(stranger), "--note", "Ada")
    system.say(stranger, "hello")
    system.settle()
    listed = terminal.run("allow", "--json").data["allowed"]
    denied = terminal.run("deny", str(stranger))
    system.say(stranger, "and now?")
    system.settle()

    assert {"id": str(stranger), "note": "Ada"} in listed
    assert denied.code == 0
    assert str(stranger) in denied.out
    assert len(system.heard(stranger)) == 2  # an answer, and what strangers are told
    assert terminal.run("deny", str(stranger)).code == 4


def test_a_group_is_allowed_after_two_dashes(terminal: Terminal) -> None:
    assert terminal.run("allow", "--note", "family", "--", "-1001234567890").code == 0
    assert "-1001234567890" in terminal.run("allow").out
    assert terminal.run("allow", "--", "@ada").code == 2


def test_a_group_that_became_a_supergroup_is_listed_so_and_denied_under_both_ids(
    system: System, terminal: Terminal
) -> None:
    terminal.run("allow", "--note", "club", "--", "-6001")
    system.insist(system.outside.updates.migration(-6001, -1000000006001, user_id=42))

    listed = {each["id"]: each["note"] for each in terminal.run("allow", "--json").data["allowed"]}
    terminal.run("allow", "--note", "book club", "--", "-1000000006001")
    again = terminal.run("allow").out
    denied = terminal.run("deny", "--", "-1000000006001")

    assert listed["-1000000006001"] == "club; was -6001 before it became a supergroup"
    assert "book club; was -6001" in again
    assert denied.code == 0
    assert "-6001" not in terminal.run("allow").out


def test_the_owner_is_told_of_alarms(system: System, terminal: Terminal) -> None:
    owner = system.chat()

    assert terminal.run("allow", str(owner), "--owner", "--json").data["owner"] == str(owner)

    for state in ("OK", "ALARM"):
        system.cloud.set_alarm("NoneLeftAlarm", state)
        system.settle()
    raised = terminal.run("status")
    system.cloud.set_alarm("NoneLeftAlarm", "OK")
    assert any("language model" in text for text in system.heard(owner))
    assert raised.code == 1
    assert "serverless-openclaw-none-left" in raised.out


def test_status_shows_stack_providers_and_chats(system: System, terminal: Terminal) -> None:
    chat = system.chat()
    system.say(chat, "hello")
    system.settle()

    ran = terminal.run("status", "--json")

    assert ran.code == 0
    assert ran.data["stack"]["status"] == "CREATE_COMPLETE"
    assert ran.data["providers"]["GitHub Copilot"] == "ready"
    assert ran.data["chats"]["chats"] >= 1
    assert "Claude" in terminal.run("status").out


def test_usage_counts_what_was_asked(system: System, terminal: Terminal) -> None:
    chat = system.chat()
    # The command's clock is this machine's, the cloud's is its own: the first day of the cloud is the one they share.
    before = terminal.run("usage", "--json", "--days", "400").data["providers"]["copilot"]
    usage = {"pk": {"S": "USAGE"}, "sk": {"S": f"{datetime.now(UTC):%Y-%m-%d}#copilot"}, "requests": {"N": "3"}}
    system.cloud.client("dynamodb").put_item(TableName=system.cloud.resources["RuntimeTable"], Item=usage)

    after = terminal.run("usage", "--json").data["providers"]["copilot"]

    assert after["today"]["requests"] == 3
    assert set(before["left"]) == {"today", "this month"}
    assert "GitHub Copilot" in terminal.run("usage").out
    assert chat


def test_cost_adds_models_and_what_was_metered(system: System, terminal: Terminal) -> None:
    cloudwatch, now = system.cloud.client("cloudwatch"), datetime.now(UTC)
    for name, value in (("Invocations", 3_000_000), ("Duration", 1_000_000_000)):
        cloudwatch.put_metric_data(
            Namespace="AWS/Lambda",
            MetricData=[
                {
                    "MetricName": name,
                    "Dimensions": [{"Name": "FunctionName", "Value": system.cloud.resources["Webhook"]}],
                    "Value": value,
                    "Timestamp": now,
                }
            ],
        )
    usage = {
        "pk": {"S": "USAGE"},
        "sk": {"S": f"{now:%Y-%m-%d}#anthropic"},
        "requests": {"N": "1"},
        "micro_dollars": {"N": "1230000"},
    }
    system.cloud.client("dynamodb").put_item(TableName=system.cloud.resources["RuntimeTable"], Item=usage)

    ran = terminal.run("cost", "--json").data

    metered = {each["what"]: each for each in ran["aws"]}
    assert ran["models_micro_dollars"]["Claude"] == 1_230_000
    assert metered["invocations"]["micro_dollars"] == 600_000
    assert metered["invocations"]["after_free"] == 400_000  # a million is free
    assert metered["gib_seconds"]["amount"] == 500_000
    assert ran["total_micro_dollars"] == 1_230_000 + 400_000 + round(100_000 * 13.3334)
    assert "$1.23" in terminal.run("cost").out


def test_cost_counts_the_agents_hours_and_what_runs_now(system: System, terminal: Terminal) -> None:
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = max(first.timestamp(), now.timestamp() - 3600)
    entry = {
        "pk": {"S": "LEDGER"},
        "sk": {"S": "agent"},
        f"seconds:{now:%Y-%m}": {"N": "36000"},
        "running:42#7": {"N": f"{since:.0f}"},
        "seconds:2020-01": {"N": "999999"},
    }
    table = system.cloud.resources["RuntimeTable"]
    system.cloud.client("dynamodb").put_item(TableName=table, Item=entry)

    ran = terminal.run("cost", "--json").data
    shown = terminal.run("cost").out
    system.cloud.client("dynamodb").delete_item(TableName=table, Key={key: entry[key] for key in ("pk", "sk")})

    hours = ran["agents"]["hours"]
    metered = {each["what"]: each for each in ran["aws"]}
    assert 10 <= hours <= 11.1
    assert (ran["agents"]["limit"], ran["agents"]["running"]) == (40, 1)
    assert metered["agent_vcpu_hours"]["amount"] == hours
    assert metered["agent_gib_hours"]["amount"] == 2 * hours
    assert metered["address_hours"]["micro_dollars"] == round(hours * 5000)
    assert "Fargate Spot, CPU" in shown
    assert "of 40 hours" in shown


def test_logs_by_words_by_chat_and_by_turn(system: System, terminal: Terminal) -> None:
    chat = system.chat()
    system.outside.order("copilot", Fault("500"))
    system.say(chat, "a question that nobody may read in a log")
    system.settle()

    fallback = terminal.run("logs", "fallback", "--chat", str(chat), "--json")
    turn = terminal.run("logs", "--chat", str(chat), "--turn", "1", "--since", "1d")
    one = terminal.run("logs", "--function", "webhook", "--json")

    lines = [json.loads(line) for line in fallback.out.splitlines()]
    assert {line["message"] for line in lines} >= {"fallback answered"}
    assert {line["chat_id"] for line in lines} == {str(chat)}
    assert "reply delivered" in turn.out
    assert {json.loads(line)["from"] for line in one.out.splitlines()} == {"Webhook"}
    assert "nobody may read" not in terminal.printed


def test_logs_are_followed_until_interrupted(
    system: System, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = system.chat()
    polls = iter((lambda: system.say(chat, "hello"), system.settle))

    def pause() -> bool:
        poll = next(polls, None)
        if poll is None:
            raise KeyboardInterrupt
        poll()
        return True

    monkeypatch.setattr("operate.commands.logs._waits", pause)

    ran = terminal.run("logs", "--follow", "--chat", str(chat))

    assert ran.code == 130
    assert ran.out.count("update accepted") == 1


def test_the_webhook_is_set_shown_and_deleted(system: System, terminal: Terminal) -> None:
    url = system.cloud.outputs["WebhookUrl"]
    system.outside.telegram.webhook.allowed_updates.clear()

    first = terminal.run("webhook", "set")
    shown = terminal.run("webhook", "show", "--json").data

    webhook = system.outside.telegram.webhook
    assert first.code == 0
    assert (webhook.url, webhook.secret_token) == (url, system.cloud.secrets["telegram-webhook-secret"])
    assert webhook.allowed_updates == ["message"]
    assert shown["right"]
    assert terminal.run("webhook", "delete").code == 0
    assert "nowhere" in terminal.run("webhook", "show").out


def test_what_nobody_answered_is_asked_again(system: System, terminal: Terminal) -> None:
    chat = system.chat()
    for provider in system.outside.providers:
        system.outside.order(provider, Fault("500"))
    system.say(chat, "hello?")
    system.settle()
    table = system.cloud.resources["ConversationsTable"]
    give_up = {":f": {"N": "1"}, ":s": {"S": "FAILED"}}
    dynamodb = system.cloud.client("dynamodb")
    dynamodb.update_item(
        TableName=table,
        Key={"pk": {"S": str(chat)}, "sk": {"S": "CHAT"}},
        UpdateExpression="SET failed_turn = :f REMOVE open_turn, due_kind, due_at, claimed_at",
        ExpressionAttributeValues={":f": {"N": "1"}},
    )
    dynamodb.update_item(
        TableName=table,
        Key={"pk": {"S": str(chat)}, "sk": {"S": "TURN#0000000001"}},
        UpdateExpression="SET #s = :s, sent = :f",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues=give_up,
    )
    system.outside.clear()
    system.cloud.clock.advance(86_400)
    system.settle()

    would = terminal.run("redrive", "--dry-run", "--json").data
    done = terminal.run("redrive", "--chat", str(chat), "--json").data
    system.settle()

    assert {"chat": str(chat), "turn": 1} in would["unanswered"]
    assert would["asked_again"] == []
    assert done["asked_again"] == [{"chat": str(chat), "turn": 1}]
    assert system.heard(chat)[-1] != texts.NOTHING_TO_RETRY
    assert terminal.run("redrive", "--chat", str(chat)).code == 4


def test_events_that_failed_are_run_again(system: System, terminal: Terminal) -> None:
    queue = system.cloud.resources["FailureQueue"]
    arn = system.cloud.resources["Sweep.Arn"]
    record = {
        "requestContext": {"functionArn": f"{arn}:$LATEST", "condition": "RetriesExhausted"},
        "requestPayload": {},
        "responsePayload": {"errorType": "StoreContended"},
    }
    system.cloud.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(record))
    before = sum(each.function == "Sweep" for each in system.cloud.invocations)

    broken = terminal.run("status")
    ran = terminal.run("redrive", "--queue", "--json").data
    system.settle()

    assert broken.code == 1
    assert ran["events"][0]["run_again"]
    assert ran["events"][0]["error"] == "StoreContended"
    assert sum(each.function == "Sweep" for each in system.cloud.invocations) == before + 1
    assert "empty" in terminal.run("redrive", "--queue").out


def test_setup_takes_keys_from_stdin_checks_and_stores_them(system: System, terminal: Terminal) -> None:
    ssm = system.cloud.client("ssm")
    for name in (*PLANTED, "telegram-webhook-secret"):
        ssm.delete_parameter(Name=f"/serverless-openclaw/secrets/{name}")

    ran = terminal.run("setup", "--stdin", "--json", stdin=json.dumps(PLANTED))

    assert ran.code == 0
    assert set(ran.data["stored"]) == {*PLANTED, "telegram-webhook-secret"}
    for name, value in PLANTED.items():
        assert _parameter(system, name)["Value"] == value
        assert _parameter(system, name)["Type"] == "SecureString"
    system.cloud.secrets["telegram-webhook-secret"] = _parameter(system, "telegram-webhook-secret")["Value"]
    assert not any(value in terminal.printed for value in [*PLANTED.values(), *system.cloud.secrets.values()])


def test_setup_takes_keys_from_the_environment(system: System, terminal: Terminal) -> None:
    ran = terminal.run("setup", "--env", environment={"OLLAMA_API_KEY": "simulated-key-of-ollama-cloud"})

    assert ran.code == 0
    assert "gpt-oss:120b answers" in ran.everything
    assert "simulated-key" not in ran.everything


def test_setup_asks_for_what_is_missing_and_shows_nothing(
    system: System, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.cloud.client("ssm").delete_parameter(Name="/serverless-openclaw/secrets/openrouter-api-key")
    asked: list[dict[str, object]] = []

    def prompt(_text: str, **options: object) -> str:
        asked.append(options)
        return PLANTED["openrouter-api-key"]

    monkeypatch.setattr("operate.commands.setup.typer.prompt", prompt)
    monkeypatch.setattr("operate.commands.setup._interactive", lambda: True)

    ran = terminal.run("setup")
    again = terminal.run("setup")

    assert ran.code == 0
    assert [each["hide_input"] for each in asked] == [True]
    assert "openrouter.ai/keys" in ran.out
    assert PLANTED["openrouter-api-key"] not in ran.everything
    assert "Every key is set" in again.out


def test_the_doctor_finds_all_well(system: System, terminal: Terminal) -> None:
    chat = system.chat()
    terminal.run("allow", str(chat), "--owner")
    terminal.run("webhook", "set")

    ran = terminal.run("doctor", "--ask", "--json")

    links = {each["link"] for each in ran.data["findings"]}
    assert ran.code == 0, ran.data
    assert {"credentials", "clock", "stack", "keys", "bot", "webhook", "people", "alarms", "quotas"} <= links
    assert {f"provider {key.title}" for key in KEYS if key.provider} <= links
    assert "All is well" in terminal.run("doctor").out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Mock(return_value={"Value": 6.0}), "3 agents may run at once on Fargate Spot (6 vCPU)"),
        (None, "does not say how many agents may run on Fargate On-Demand"),  # moto knows none of Fargate's
        (Mock(side_effect=JsonRESTError("AccessDeniedException", "no")), "may not do GetServiceQuota"),
    ],
    ids=["few", "unknown", "denied"],
)
def test_the_doctor_looks_at_fargates_quotas_for_the_agent(
    answer: object, said: str, system: System, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("AgentImage", "agent:1"), ("AgentCpu", "2048")):
        monkeypatch.setitem(system.cloud._template.parameters, name, value)
    if answer is not None:
        monkeypatch.setattr(ServiceQuotasBackend, "get_service_quota", answer)

    found = terminal.run("doctor", "--json").data["findings"]

    quotas = [each for each in found if each["link"] == "quotas"]
    assert any(said in each["what"] and each["state"] == "note" and each["advice"] for each in quotas), quotas


@pytest.mark.parametrize("command", [[], ["webhook"]])
def test_help_is_shown_for_nothing(terminal: Terminal, command: list[str]) -> None:
    ran = terminal.run(*command)

    assert ran.code == 2
    assert "Commands" in ran.everything


def test_no_key_was_ever_printed(system: System, terminal: Terminal) -> None:
    for command in (["status"], ["doctor", "--ask"], ["usage"], ["cost"], ["logs", "--json"], ["webhook", "show"]):
        terminal.run(*command)

    stored = {name: _parameter(system, name)["Value"] for name in (key.name for key in KEYS)}
    assert [name for name, value in stored.items() if value in terminal.printed] == []


def test_no_key_is_anywhere_but_in_its_parameter(system: System, terminal: Terminal) -> None:
    """After all that this module did: logs, states, items, failed events, the template as it is deployed."""
    cloud = system.cloud
    functions = [name.removesuffix("LogGroup") for name in cloud.resources if name.endswith("LogGroup")]
    states = cloud.client("stepfunctions")
    everything = [
        *(line for name in functions for line in cloud.lines_of(name)),
        *(json.dumps(states.get_execution_history(executionArn=each.arn), default=str) for each in cloud.executions()),
        *(json.dumps(states.describe_execution(executionArn=each.arn), default=str) for each in cloud.executions()),
        *(
            json.dumps(cloud.client("dynamodb").scan(TableName=cloud.resources[table]), default=str)
            for table in ("ConversationsTable", "RuntimeTable")
        ),
        json.dumps(cloud.client("sqs").receive_message(QueueUrl=cloud.resources["FailureQueue"]), default=str),
        cloud.template_text,
        terminal.printed,
    ]

    stored = {key.name: _parameter(system, key.name)["Value"] for key in KEYS}
    assert len(cloud.executions()) > 3
    assert [name for name, value in stored.items() if any(value in each for each in everything)] == []

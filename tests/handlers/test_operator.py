"""What the operator gets from the functions: metrics, messages to the owner, a ledger that agrees with the account."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from assistant.errors import DeliveryUncertain, ProviderError, SnapshotUnreadable
from assistant.observability import METRICS
from assistant.stores.dynamodb import Table, Update
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs
from assistant.turns.agents import Generation
from assistant.workspace.backing_up import entry_of
from assistant.workspace.manifest import digest_of, encoded
from assistant.workspace.model import NOTHING, File, Manifest, Root
from local.simulators.faults import TelegramFault
from local.simulators.outside import CONNECTIONS
from tests.handlers.conftest import SECRETS_PATH
from tests.payloads import EVENTS

if TYPE_CHECKING:
    import io

    from tests.handlers.conftest import Deployed

OWNER = 77
MODULES = {
    "copilot": "ask_copilot",
    "openrouter": "ask_open_router",
    "ollama-cloud": "ask_ollama_cloud",
    "anthropic": "ask_claude",
}


def _event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text("utf-8"))


def _said(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


# Metrics


def _prepared(deployed: Deployed, chat: int) -> dict[str, Any]:
    """A chat's first turn; chats in rising order, so that the newest execution is its."""
    deployed.allow(chat)
    deployed.post(deployed.outside.updates.text(chat, "a question"))
    turn: dict[str, Any] = deployed.call("prepare_turn", deployed.claim())
    return turn


def _emitted(printed: str) -> dict[tuple[str, str], str]:
    """Unit by metric and value of its dimension, as CloudWatch would make them of what was printed."""
    found: dict[tuple[str, str], str] = {}
    for line in [json.loads(text) for text in printed.splitlines() if '"_aws"' in text]:
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for dimensions in directive["Dimensions"]:
                value = "/".join(f"{name}={line[name]}" for name in dimensions)
                found |= {(metric["Name"], value): metric["Unit"] for metric in directive["Metrics"]}
    return found


def test_the_functions_emit_the_declared_metrics_and_no_other(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "serverless-openclaw")
    for chat, module in enumerate(MODULES.values(), 1):
        turn = _prepared(deployed, chat)
        deployed.call(module, turn)
        deployed.call("deliver_reply", turn)
    deployed.call("report_failure", _prepared(deployed, 5))
    _forget_keys(deployed)
    turn = _prepared(deployed, 6)
    for module in MODULES.values():
        with contextlib.suppress(ProviderError):
            deployed.call(module, turn)
    deployed.call("report_failure", turn)

    declared = {
        (metric.name, f"{metric.dimension}={value}" if value else ""): metric.unit.value
        for metric in METRICS
        for value in metric.values or (None,)
    }
    assert _emitted(capsys.readouterr().out) == declared


def _forget_keys(deployed: Deployed) -> None:
    from assistant import wiring  # noqa: PLC0415 (after the environment is clean)

    for connection in CONNECTIONS.values():
        boto3.client("ssm").delete_parameter(Name=SECRETS_PATH + connection.secret)
    wiring._client.cache_clear()
    deployed.modules.clear()  # their keys are cached


# The owner


@pytest.fixture
def owner(deployed: Deployed) -> Deployed:
    """Somebody who has set their chat, as docs/monitoring.md says."""
    item = {"pk": {"S": "SETTINGS"}, "sk": {"S": "OWNER"}, "chat_id": {"N": str(OWNER)}}
    boto3.client("dynamodb").put_item(TableName="runtime", Item=item)
    return deployed


def test_an_alarm_is_told(owner: Deployed) -> None:
    owner.call("tell_owner", _event("tell_owner_alarm"))

    (sent,) = owner.outside.telegram.sent_to(OWNER)
    assert sent.text.startswith("No language model was left to answer a message")


def test_a_refused_key_is_told(owner: Deployed) -> None:
    owner.call("tell_owner", _event("tell_owner_notice"))

    (sent,) = owner.outside.telegram.sent_to(OWNER)
    assert sent.text.startswith("GitHub Copilot refuses to answer me: unauthorized.")


def test_without_an_owner_the_log_says_how_to_set_one(deployed: Deployed, log: io.StringIO) -> None:
    assert deployed.call("tell_owner", _event("tell_owner_alarm")) is None

    assert [line["message"] for line in _said(log) if "SETTINGS/OWNER" in line["message"]] != []


@pytest.mark.parametrize("item", [{}, {"chat_id": {"S": "@me"}}, {"chat_id": {"S": ""}}, {"chat_id": {"BOOL": True}}])
def test_an_owner_that_was_set_wrongly_is_none(deployed: Deployed, log: io.StringIO, item: dict[str, Any]) -> None:
    key = {"pk": {"S": "SETTINGS"}, "sk": {"S": "OWNER"}}
    boto3.client("dynamodb").put_item(TableName="runtime", Item={**key, **item})

    assert deployed.call("tell_owner", _event("tell_owner_alarm")) is None

    assert [line["message"] for line in _said(log) if "SETTINGS/OWNER" in line["message"]] != []


def test_an_owner_who_blocked_the_bot_is_in_the_log_and_nothing_comes_again(owner: Deployed, log: io.StringIO) -> None:
    owner.outside.telegram.blocked_by.add(OWNER)

    assert owner.call("tell_owner", _event("tell_owner_alarm")) is None

    assert [line["level"] for line in _said(log) if "takes no message" in line["message"]] == ["WARNING"]


def test_a_failure_of_telegram_leaves_the_function_so_that_the_event_comes_again(owner: Deployed) -> None:
    owner.outside.telegram.order(TelegramFault.SERVER_ERROR)

    with pytest.raises(DeliveryUncertain):
        owner.call("tell_owner", _event("tell_owner_alarm"))


# The account


@pytest.fixture
def used(deployed: Deployed) -> Deployed:
    """OpenRouter has answered a message today."""
    deployed.environment.setenv("PROVIDER_BASE_URL", f"{deployed.url}/openrouter/api/v1")
    deployed.call("ask_open_router", _prepared(deployed, 1))
    return deployed


def _correct(deployed: Deployed) -> None:
    deployed.environment.setenv("PROVIDER_BASE_URL", f"{deployed.url}/openrouter/api/v1")
    assert deployed.call("correct_ledger", _event("correct_ledger_schedule")) is None


def test_nothing_is_read_of_an_account_that_was_not_used(deployed: Deployed, log: io.StringIO) -> None:
    _correct(deployed)

    assert deployed.outside.providers["openrouter"].look_ups == 0  # type: ignore[attr-defined]
    assert [line["done"] for line in _said(log)] == ["not due"]


def test_the_ledger_learns_the_accounts_own_limit(used: Deployed, log: io.StringIO) -> None:
    _correct(used)

    key = {"pk": {"S": "LEDGER"}, "sk": {"S": "openrouter"}}
    item = boto3.client("dynamodb").get_item(TableName="runtime", Key=key)["Item"]
    assert item["day_limit"] == {"N": "50"}
    assert _said(log)[-1]["done"] == "corrected"


def test_a_refused_key_is_logged_and_raises_nothing(used: Deployed, log: io.StringIO) -> None:
    name = SECRETS_PATH + "openrouter-api-key"
    boto3.client("ssm").put_parameter(Name=name, Value="wrong", Type="SecureString", Overwrite=True)

    _correct(used)

    assert _said(log)[-1]["done"].startswith("ProviderRejected: ")


# Workspaces


def _kept(chat: str, number: int, data: bytes) -> None:
    """A snapshot of one file, committed."""
    snapshots = DynamoSnapshots(Table(boto3.client("dynamodb"), "runtime"))
    s3: Any = boto3.client("s3")
    blobs = S3Blobs(s3, "workspaces", chat)
    head, file = snapshots.head(chat), File("a", len(data), 0o644, 0, digest_of(data))
    made = Manifest(chat, number, head.generation, number, head.key, 0, NOTHING, {Root.WORKSPACE: [file]}, [])
    blobs.put(file.digest, data)
    entry = entry_of(made, digest_of(encoded(made)))
    blobs.put_manifest(entry.key, encoded(made))
    if head.generation == 0:
        agent = Update(put={"generation": 1})
        Table(boto3.client("dynamodb"), "runtime").update(f"AGENT#{chat}", "AGENT", agent)
    assert snapshots.commit(Generation(chat, 1), entry, head)


def test_every_chat_is_tidied_up_although_one_can_not_be_read(deployed: Deployed, log: io.StringIO) -> None:
    bucket = boto3.client("s3")
    bucket.create_bucket(Bucket="workspaces", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    bucket.put_bucket_versioning(Bucket="workspaces", VersioningConfiguration={"Status": "Enabled"})
    for chat in ("1", "2", "3"):
        _kept(chat, 1, b"old")
        _kept(chat, 2, b"new")
    (lost,) = (
        each["Key"]
        for each in bucket.list_objects_v2(Bucket="workspaces", Prefix="workspaces/2/snapshots/0000000002")["Contents"]
    )
    bucket.delete_object(Bucket="workspaces", Key=lost)

    with pytest.raises(SnapshotUnreadable, match="of 1 chats"):
        deployed.call("collect_snapshots", _event("collect_snapshots_schedule"))

    said = {line["chat_id"]: line for line in _said(log) if "collected" in line["message"]}
    assert [said[chat]["message"] for chat in ("1", "2", "3")] == ["collected", "not collected", "collected"]
    assert (said["1"]["dropped"], said["1"]["kept"]) == (1, 1)

"""Each state's function, called as the state machine calls it."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from assistant.errors import DeliveryDelayed, ProviderExhausted, ProviderRejected, TurnInvalid
from assistant.observability import logger
from local.simulators.faults import Fault, TelegramFault
from local.simulators.outside import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.handlers.conftest import Deployed

CHAT = 4242
ASK = {
    "copilot": "ask_copilot",
    "openrouter": "ask_open_router",
    "ollama-cloud": "ask_ollama_cloud",
    "anthropic": "ask_claude",
}
SECRET_WORDS = "my most secret diary"


@pytest.fixture
def turn(deployed: Deployed) -> dict[str, Any]:
    """A prepared turn: what PrepareTurn handed on."""
    deployed.allow(CHAT)
    deployed.post(deployed.outside.updates.text(CHAT, SECRET_WORDS))
    prepared: dict[str, Any] = deployed.call("prepare_turn", deployed.claim())
    return prepared


def test_prepare_turn_hands_on_ids_and_nothing_else(turn: dict[str, Any]) -> None:
    assert turn == {"chat_id": str(CHAT), "epoch": 1, "turn": 1, "route": "copilot", "seconds": 240}


@pytest.mark.parametrize("provider", list(ASK))
def test_each_provider_answers_and_the_answer_is_delivered(
    deployed: Deployed, turn: dict[str, Any], provider: str
) -> None:
    assert deployed.call(ASK[provider], turn) == "answered"
    assert deployed.call("deliver_reply", turn) == {"next": "done"}

    sent = deployed.outside.telegram.sent_to(CHAT)
    assert len(sent) == 1
    assert SECRET_WORDS in sent[0].text
    assert provider.split("-", maxsplit=1)[0] in sent[0].text


def test_no_library_logs_a_key_or_a_word_at_any_level(
    deployed: Deployed, caplog: pytest.LogCaptureFixture, log: io.StringIO
) -> None:
    """httpx would write Telegram's address, with the token, and botocore what SSM answers."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger=logger.name)

    deployed.allow(CHAT)
    deployed.post(deployed.outside.updates.text(CHAT, SECRET_WORDS))
    turn = deployed.call("prepare_turn", deployed.claim())
    deployed.call("ask_copilot", turn)
    deployed.call("deliver_reply", turn)

    said = caplog.text + log.getvalue()
    assert "reply delivered" in said
    assert [words for words in (SECRET_WORDS, *deployed.outside.secrets.values()) if words in said] == []


@pytest.mark.parametrize("provider", list(ASK))
def test_a_provider_without_a_key_is_not_asked(deployed: Deployed, turn: dict[str, Any], provider: str) -> None:
    boto3.client("ssm").delete_parameter(Name="/serverless-openclaw/secrets/" + CONNECTIONS[provider].secret)

    with pytest.raises(ProviderExhausted, match="not configured"):
        deployed.call(ASK[provider], turn)
    assert deployed.outside.providers[provider].requests == []


def test_a_refused_key_is_said_by_its_class_name(deployed: Deployed, turn: dict[str, Any]) -> None:
    name = "/serverless-openclaw/secrets/openrouter-api-key"
    boto3.client("ssm").put_parameter(Name=name, Value="wrong", Type="SecureString", Overwrite=True)

    with pytest.raises(ProviderRejected):
        deployed.call("ask_open_router", turn)
    with pytest.raises(ProviderExhausted, match="blocked: rejected"):
        deployed.call("ask_open_router", turn)
    assert len(deployed.outside.providers["openrouter"].requests) == 1


def test_nobody_answers_and_the_turn_is_parked(deployed: Deployed, turn: dict[str, Any]) -> None:
    assert deployed.call("report_failure", turn) is None
    deployed.call("deliver_reply", turn)

    assert "none of the language models can answer" in deployed.outside.telegram.sent_to(CHAT)[0].text


def test_the_next_execution_is_started_when_a_message_waits(deployed: Deployed, turn: dict[str, Any]) -> None:
    deployed.call("ask_copilot", turn)
    deployed.post(deployed.outside.updates.text(CHAT, "one more"))

    assert deployed.call("deliver_reply", turn) == {"next": "more"}
    assert deployed.claim()["epoch"] == 2


def test_sweep_starts_what_was_stored_and_not_started(deployed: Deployed) -> None:
    deployed.allow(CHAT)
    arn = deployed.state_machine_arn
    deployed.environment.setenv("STATE_MACHINE_ARN", arn + "-gone")
    with pytest.raises(Exception, match=r"(?i)state ?machine does not exist"):
        deployed.post(deployed.outside.updates.text(CHAT, "hello"))
    deployed.environment.setenv("STATE_MACHINE_ARN", arn)
    deployed.clock.advance(61)

    deployed.call("sweep", {})

    assert deployed.claim() == {"chat_id": str(CHAT), "epoch": 1}


def test_turn_stopped_replaces_the_execution_that_failed(deployed: Deployed, turn: dict[str, Any]) -> None:
    claim = deployed.claim()
    client = boto3.client("stepfunctions")
    arn = client.list_executions(stateMachineArn=deployed.state_machine_arn)["executions"][0]["executionArn"]
    client.stop_execution(executionArn=arn)

    deployed.call("turn_stopped", {"detail": {"input": json.dumps(claim), "status": "ABORTED"}})

    assert deployed.claim()["epoch"] == 2


@pytest.mark.parametrize("module", ["prepare_turn", "ask_copilot", "deliver_reply", "report_failure"])
def test_an_input_without_ids_is_invalid(deployed: Deployed, module: str) -> None:
    with pytest.raises(TurnInvalid):
        deployed.call(module, {"unexpected": True})


def test_a_module_has_no_other_surprises(deployed: Deployed) -> None:
    deployed.call("sweep", {})
    import sweep  # noqa: PLC0415 (functions/ is on the path)

    with pytest.raises(AttributeError):
        _ = sweep.something_else


def test_telegrams_429_leaves_by_its_class_name(deployed: Deployed, turn: dict[str, Any]) -> None:
    deployed.call("ask_copilot", turn)
    deployed.outside.telegram.order(TelegramFault("429"))

    with pytest.raises(DeliveryDelayed):
        deployed.call("deliver_reply", turn)
    assert deployed.call("prepare_turn", deployed.claim())["route"] == "wait"


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """What the functions log, as CloudWatch would get it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logger.registered_formatter)
    logging.getLogger("serverless-openclaw").addHandler(handler)
    yield stream
    logging.getLogger("serverless-openclaw").removeHandler(handler)


def test_logs_hold_ids_and_never_what_was_said_or_a_key(
    deployed: Deployed, turn: dict[str, Any], printed: io.StringIO
) -> None:
    for module in ASK.values():
        deployed.call(module, turn)
    deployed.call("report_failure", turn)
    deployed.call("deliver_reply", turn)

    lines = printed.getvalue()
    assert '"turn":1' in lines
    assert not [secret for secret in [SECRET_WORDS, *deployed.outside.secrets.values()] if secret in lines]


def test_a_fallback_can_be_found_by_that_word(deployed: Deployed, turn: dict[str, Any], printed: io.StringIO) -> None:
    deployed.outside.order("copilot", Fault.EXHAUSTED, 1)
    with pytest.raises(ProviderExhausted):
        deployed.call("ask_copilot", turn)
    deployed.call("ask_open_router", turn)

    lines = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert [(line["message"], line["provider"]) for line in lines if "fallback" in json.dumps(line)] == [
        ("provider failed, fallback follows", "copilot"),
        ("fallback answered", "openrouter"),
    ]


def test_a_chat_that_can_not_be_put_right_keeps_no_other_waiting(deployed: Deployed) -> None:
    client = boto3.client("dynamodb")
    for chat, claimed_at in (("1", {"S": "nonsense"}), ("2", None)):
        item = {"pk": {"S": chat}, "sk": {"S": "CHAT"}, "due_kind": {"S": "chat"}, "due_at": {"N": chat}}
        client.put_item(TableName="conversations", Item=item | ({"claimed_at": claimed_at} if claimed_at else {}))

    with pytest.raises(ExceptionGroup, match="some could not be put right"):
        deployed.call("sweep", {})

    assert deployed.claim() == {"chat_id": "2", "epoch": 1}

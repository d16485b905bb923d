"""A state that waits is told, and one that waits no longer is no error."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from assistant.errors import AgentInterrupted
from assistant.stores.tokens import StepFunctionsTokens


@pytest.fixture
def client() -> Any:
    return boto3.client("stepfunctions", aws_access_key_id="a", aws_secret_access_key="b")


def test_a_state_is_told_how_it_ended_and_nothing_that_was_said(client: Any) -> None:
    tokens = StepFunctionsTokens(client)
    with Stubber(client) as stub:
        stub.add_response("send_task_success", {}, {"taskToken": "t", "output": "{}"})
        stub.add_response("send_task_failure", {}, {"taskToken": "t", "error": "AgentInterrupted"})
        stub.add_response("send_task_heartbeat", {}, {"taskToken": "t"})

        assert tokens.succeed("t")
        assert tokens.fail("t", AgentInterrupted("the reason stays here"))
        assert tokens.heartbeat("t")
        stub.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_state_that_waits_no_longer_is_no_error(client: Any, code: str) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("send_task_success", code)

        assert not StepFunctionsTokens(client).succeed("t")


def test_any_other_refusal_is_one(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("send_task_heartbeat", "AccessDeniedException")

        with pytest.raises(ClientError):
            StepFunctionsTokens(client).heartbeat("t")

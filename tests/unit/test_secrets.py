"""Secrets: absent is one thing, unreadable another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.parameters.ssm import SSMProvider
from botocore.stub import Stubber

from assistant.errors import SecretMissing
from assistant.stores.secrets import SsmSecrets

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = {"Name": "/s/key", "WithDecryption": True}


@pytest.fixture
def ssm() -> Iterator[tuple[Stubber, SsmSecrets]]:
    client = boto3.client("ssm")
    with Stubber(client) as stubber:
        yield stubber, SsmSecrets(SSMProvider(boto3_client=client), "/s/")


def test_a_secret_is_read_once_and_remembered(ssm: tuple[Stubber, SsmSecrets]) -> None:
    stubber, secrets = ssm
    stubber.add_response("get_parameter", {"Parameter": {"Value": "v"}}, ASKED)

    assert [secrets.read("key"), secrets.read("key")] == ["v", "v"]


def test_an_absent_parameter_is_a_missing_secret(ssm: tuple[Stubber, SsmSecrets]) -> None:
    stubber, secrets = ssm
    stubber.add_client_error("get_parameter", "ParameterNotFound", expected_params=ASKED)

    with pytest.raises(SecretMissing, match="/s/key does not exist"):
        secrets.read("key")


def test_a_parameter_that_may_not_be_read_is_not_missing(ssm: tuple[Stubber, SsmSecrets]) -> None:
    stubber, secrets = ssm
    stubber.add_client_error("get_parameter", "AccessDeniedException", expected_params=ASKED)

    with pytest.raises(GetParameterError):
        secrets.read("key")

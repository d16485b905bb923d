"""Clients that the local cloud's own services use under a role, so that the gate judges them as AWS would."""

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from local.template import REGION


def as_role(service: str, endpoint: str, credentials: Mapping[str, Any]) -> Any:  # noqa: ANN401 (typed by name)
    """A boto3 client of a service with the credentials that STS gave."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=Config(connect_timeout=5, read_timeout=30),
    )


def send_to_queue(queue_arn: str, body: str, endpoint: str, credentials: Mapping[str, Any], **more: Any) -> None:  # noqa: ANN401
    """Send a message to a queue that is named by its ARN."""
    account, name = queue_arn.split(":")[4:6]
    url = f"{endpoint}/{account}/{name}"
    as_role("sqs", endpoint, credentials).send_message(QueueUrl=url, MessageBody=body, **more)

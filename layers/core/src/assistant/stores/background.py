"""Functions that are invoked in the background: Lambda keeps the event and tries again, and nobody waits for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_lambda import LambdaClient


def hand_over(client: LambdaClient, function: str, event: Mapping[str, object]) -> None:
    """Invoke a function asynchronously.

    Raises:
        BotoCoreError, ClientError: Lambda did not take the event.
    """
    client.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())

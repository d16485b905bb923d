"""Which ECS task this is."""

from __future__ import annotations

import uuid

import httpx
import msgspec

_TIMEOUT = httpx.Timeout(2)


class _Task(msgspec.Struct):
    arn: str = msgspec.field(default="", name="TaskARN")


def task_arn(metadata_uri: str) -> str:
    """The task's ARN, or a name that no other process has if nobody tells it.

    Source: Amazon ECS developer guide, "Task metadata endpoint version 4", `${ECS_CONTAINER_METADATA_URI_V4}/task`.
    """
    made_up = f"process/{uuid.uuid4()}"
    if not metadata_uri:
        return made_up
    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT) as http:
            response = http.get(f"{metadata_uri.rstrip('/')}/task").raise_for_status()
        return msgspec.json.decode(response.content, type=_Task).arn or made_up
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, UnicodeError):
        return made_up

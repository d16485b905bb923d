"""Everything that a run leaves where somebody may read it, and what of that must not be in it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.cloud import LocalCloud


def leaks(cloud: LocalCloud, secrets: Mapping[str, str], **further: str) -> list[str]:
    """Which secret is in what: logs, states, templates, items, objects, and further texts by their names."""
    places = {name: text.encode() for name, text in further.items()} | dict(_written(cloud))
    assert {"template", "states", "log"} <= {place.partition(" ")[0] for place in places}, sorted(places)
    return [
        f"{name} in {place}"
        for place, content in places.items()
        for name, secret in secrets.items()
        if secret.encode() in content
    ]


def _written(cloud: LocalCloud) -> Iterator[tuple[str, bytes]]:
    yield "template", cloud.template_text.encode()
    yield "parameters and outputs", repr((cloud.parameters, cloud.outputs)).encode()
    yield "stack's events", repr(cloud.stack.events).encode()
    for function in {one.function for one in cloud.invocations}:
        yield f"log of {function}", "\n".join(cloud.logs(function)).encode()
    yield "answers", b"\n".join(one.payload for one in cloud.invocations)
    for task in cloud.fargate.tasks:
        yield f"log of {task['taskArn']}", "\n".join(cloud.fargate.logs(task["taskArn"])).encode()
        yield f"task {task['taskArn']}", repr(task).encode()
    yield from _states(cloud)
    yield from _items(cloud)
    yield from _objects(cloud)


def _states(cloud: LocalCloud) -> Iterator[tuple[str, bytes]]:
    """Input, output and error of each state."""
    pages = cloud.client("stepfunctions").get_paginator("get_execution_history")
    for one in cloud.executions():
        events = [event for page in pages.paginate(executionArn=one.arn) for event in page["events"]]
        yield f"states of {one.name}", json.dumps(events, default=str).encode()


def _items(cloud: LocalCloud) -> Iterator[tuple[str, bytes]]:
    pages = cloud.client("dynamodb").get_paginator("scan")
    for table in ("ConversationsTable", "RuntimeTable"):
        for page in pages.paginate(TableName=cloud.resources[table]):
            yield f"items of {table}", repr(page["Items"]).encode()
    queued = cloud.client("sqs").receive_message(QueueUrl=cloud.resources["FailureQueue"], MaxNumberOfMessages=10)
    yield "failure queue", repr(queued.get("Messages")).encode()


def _objects(cloud: LocalCloud) -> Iterator[tuple[str, bytes]]:
    """What lies in S3: workspaces, and what SAM uploads. Archives are opened."""
    s3: Any = cloud.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for each in page.get("Contents", []):
                body: bytes = s3.get_object(Bucket=bucket["Name"], Key=each["Key"])["Body"].read()
                yield from _opened(f"{bucket['Name']}/{each['Key']}", body)


def _opened(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for inside in packed.namelist():
                yield f"{name}: {inside}", packed.read(inside)

"""The small stack of fixtures/, started as a local cloud, for the tests of the local cloud itself."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.cloud import LocalCloud
from local.server import Environ, StartResponse

TEMPLATE = Path(__file__).parent / "fixtures" / "template.yaml"
DEADLINE_S = 20


class Recorder:
    """Stands for Telegram: keeps the paths it is asked for, and answers with its name."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "application/json")])
        yield b'{"ok": true, "mounted": "' + environ["SCRIPT_NAME"].encode() + b'"}'


@contextmanager
def small_cloud(**settings: Any) -> Iterator[LocalCloud]:
    settings.setdefault("time_scale", 0.001)
    settings.setdefault("mode", "source")
    settings.setdefault("secrets", {"telegram-bot-token": "123:token", "copilot-api-key": "hidden"})
    cloud = LocalCloud(TEMPLATE, **settings)
    cloud.mount("telegram", Recorder())
    with cloud:
        yield cloud


def item_kinds(cloud: LocalCloud, item: str) -> set[str]:
    """The sort keys stored for an item."""
    found = cloud.client("dynamodb").query(
        TableName=cloud.resources["Items"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"item#{item}"}},
    )
    return {stored["sk"]["S"] for stored in found["Items"]}


def eventually(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


PASS = {"Done": {"Type": "Pass", "End": True}}


def create_machine(cloud: LocalCloud, name: str, states: dict[str, Any]) -> str:
    created = cloud.client("stepfunctions").create_state_machine(
        name=name,
        roleArn=cloud.resources["MachineRole.Arn"],
        definition=json.dumps({"StartAt": next(iter(states)), "States": states}),
    )
    return str(created["stateMachineArn"])


def run_to_end(cloud: LocalCloud, machine: str, **more: Any) -> dict[str, Any]:
    states = cloud.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine, **more)["executionArn"]
    eventually(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING")
    described: dict[str, Any] = states.describe_execution(executionArn=arn)
    return described


def lambda_task(cloud: LocalCloud, do: str, **more: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": cloud.resources["Work.Arn"], "Payload": {"item": "e", "do": do}},
        **more,
    }

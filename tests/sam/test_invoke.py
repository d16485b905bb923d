"""`sam local`, in Docker: every function with a real event, and the API with a real update, against the local cloud."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from assistant.stores.claims import DynamoClaims
from assistant.stores.dynamodb import Table
from assistant.stores.inbox import DynamoInbox
from assistant.stores.turns import DynamoTurns
from assistant.turns.model import Answer, Answered, InboxMessage, Turn, TurnClaim, TurnStatus
from local import sam
from local.cloud import LocalCloud
from local.simulators.outside import BOT_USERNAME, Outside
from tests.payloads import EVENTS, SECRET, USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
BUILD_DIR = ROOT / ".aws-sam" / "build"
ARCHITECTURE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
IN_DOCKER = ("--skip-pull-image", *sam.IN_DOCKER)
DEADLINE_S = 180
ANOTHER_ID = 43
INIT_MS = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
EVENT_MS = re.compile(r"INVOKE RTDONE\(.*duration: ([\d.]+)ms\)")
"""The emulator's own lines. In its REPORT, `Init Duration` is of nothing, and `Duration` of both together."""

WITH_THOSE_LINES = {"SAM_CLI_RIE_DEV": "1"}


def _module(function: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", function).lower()


FUNCTIONS = sam.functions(BUILD_DIR) if (BUILD_DIR / "template.yaml").exists() else []


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[LocalCloud, Outside]]:
    assert FUNCTIONS, "nothing is built: make build"
    parameters = {"BotUsername": BOT_USERNAME, "Architecture": ARCHITECTURE}
    made = LocalCloud(parameters=parameters, build_dir=BUILD_DIR, also_on=sam.gateway())
    outside = Outside(made.clock)
    made.secrets |= outside.secrets | {"telegram-webhook-secret": SECRET}
    for prefix, simulator in outside.mounts.items():
        made.mount(prefix, simulator)
    with made:
        for user in (USER_ID, ANOTHER_ID):
            item = {"pk": {"S": "ALLOWED"}, "sk": {"S": str(user)}}
            made.client("dynamodb").put_item(TableName=made.resources["RuntimeTable"], Item=item)
        sam.write(made, BUILD_DIR)
        yield made, outside
    outside.close()


def _sam(*command: str | Path) -> list[str | Path]:
    program = shutil.which("sam")
    assert program, "aws-sam-cli is not installed: make build"
    return [program, "local", *command, "-t", BUILD_DIR / sam.NAME, *IN_DOCKER]


def _as(cloud: LocalCloud, function: str) -> dict[str, str]:
    """This environment with the credentials of the function's own role.

    The address is for SAM itself: it asks for the account's number, and waits for an internet that is not there.
    """
    ours = {"SAM_CLI_TELEMETRY": "0", "AWS_ENDPOINT_URL_STS": cloud.endpoint}
    return {**os.environ, **ours, **cloud.credentials_of(function)}


def _begun(cloud: LocalCloud, event: dict[str, Any], *, answered: bool) -> None:
    """A chat in which the turn of the event waits to be worked on, as the states before have left it."""
    table = Table(cloud.client("dynamodb"), cloud.resources["ConversationsTable"])
    inbox, claims = DynamoInbox(table, cloud.clock), DynamoClaims(table, cloud.clock)
    turns, now = DynamoTurns(table, cloud.clock, 7), int(cloud.clock.now())
    message = InboxMessage("text", "What is the capital of Norway?", 7, now, 500_000_001, sender_id=event["chat_id"])
    inbox.store(event["chat_id"], message, limit=20)
    claim = claims.claim(event["chat_id"])
    assert claim is not None
    if "turn" not in event:
        return
    turn = Turn(1, TurnStatus.OPEN, claim.epoch, message.text, 1, 7, 0, now, now + 240, preferred="copilot")
    assert turns.open(claim, turn, [message], before=None)
    if answered:
        oslo = Answered(Answer("Oslo.", "a-model"), message.text, "copilot", 0, 0)
        assert turns.answer(TurnClaim(claim, 1), oslo)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_takes_a_real_event(
    cloud: tuple[LocalCloud, Outside], function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = cloud[0]
    events = sorted(EVENTS.glob(f"{_module(function)}*.json"))
    assert events, f"{function} has no event in tests/events/: add {_module(function)}.json"
    event = next((each for each in events if each.name == "webhook_text.json"), events[0])
    given = json.loads(event.read_text("utf-8"))
    if "epoch" in given and function != "StartAgent":
        _begun(running, given, answered=function == "DeliverReply")

    command = _sam("invoke", function, "--event", event)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=_as(running, function) | WITH_THOSE_LINES,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    answer = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "null"
    said = json.loads(answer)
    failed = said.get("errorType") if isinstance(said, dict) else None
    assert done.returncode == 0, done.stderr
    assert failed is None, done.stdout + done.stderr
    assert running.denied == []
    init, took = INIT_MS.search(done.stderr), EVENT_MS.search(done.stderr)
    assert init is not None, done.stderr
    assert took is not None, done.stderr
    with capsys.disabled():
        sys.stdout.write(
            f"  {function:<16} init {float(init[1]):6.0f} ms   {float(took[1]):6.0f} ms for {event.name}\n"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _api(cloud: LocalCloud) -> Iterator[str]:
    """`sam local start-api`, with the webhook's role."""
    port = _free_port()
    command = [*_sam("start-api"), "--port", str(port)]
    environment = _as(cloud, "Webhook")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as api:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE_S
            while not _answers(url):
                assert api.poll() is None, api.stderr.read().decode() if api.stderr else ""
                assert time.monotonic() < deadline, "sam local start-api did not start"
                time.sleep(0.1)
            yield url
        finally:
            api.terminate()
            with suppress(subprocess.TimeoutExpired):
                api.communicate(timeout=30)
            api.kill()


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5)
    except URLError as error:
        return not isinstance(error.reason, OSError)
    return True


def test_the_api_answers_a_real_update(cloud: tuple[LocalCloud, Outside]) -> None:
    running, outside = cloud
    update = outside.updates.text(ANOTHER_ID, "What is the capital of Norway?")
    headers = {"Content-Type": "application/json", "X-Telegram-Bot-Api-Secret-Token": SECRET}
    before = len(outside.telegram.sent_to(ANOTHER_ID))

    with _api(running) as url:
        posted = Request(f"{url}/telegram", json.dumps(update).encode(), headers, method="POST")
        with urlopen(posted, timeout=DEADLINE_S) as response:
            typing = json.load(response)

    assert typing["method"] == "sendChatAction"
    assert outside.telegram.wait_for(lambda _sent: len(outside.telegram.sent_to(ANOTHER_ID)) > before, 60)
    running.wait_until_quiet(60)
    assert running.denied == []

"""Two agents of one chat as processes: the older one is stopped in the middle of its backup, and goes on too late."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from werkzeug.wrappers import Request, Response

from local.server import WebServer
from local.small_s3_server import SmallS3App
from local.workspace_trials import Cloud, Machine, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.server import Environ, StartResponse
    from local.small_dynamodb import SmallDynamoDb

DEADLINE_S = 60
KEEPER = Path(__file__).parent / "fixtures" / "agent" / "keeper.py"
ROOT = Path(__file__).parents[2]


class DynamoDbApp:
    """The small DynamoDB over HTTP: boto3's parameters are the protocol's."""

    def __init__(self, table: SmallDynamoDb) -> None:
        self._table = table

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", request.headers["X-Amz-Target"].partition(".")[2]).lower()
        try:
            answer, status = getattr(self._table, operation)(**json.loads(request.get_data())), 200
        except ClientError as error:
            plain: Any = error.response
            answer, status = {"__type": plain["Error"]["Code"], **plain}, 400
        found: Iterable[bytes] = Response(json.dumps(answer), status)(environ, start_response)
        return found


@contextmanager
def served(app: Any) -> Iterator[str]:
    server = WebServer(app)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def test_an_agent_that_was_stopped_through_a_change_of_generation_commits_nothing(tmp_path: Path) -> None:
    cloud = Cloud()
    stopped, older_pid = threading.Event(), list[int]()

    def stop_at_its_manifest(method: str, key: str) -> None:
        if method == "PUT" and "/snapshots/" in key and not stopped.is_set():
            os.kill(older_pid[0], signal.SIGSTOP)
            stopped.set()

    app = SmallS3App(before=stop_at_its_manifest)
    cloud.s3 = app.s3
    with served(app) as s3, served(DynamoDbApp(cloud.dynamodb)) as dynamodb:
        first = cloud.begin()

        def keeper(generation: int, file: str) -> subprocess.Popen[str]:
            environment = {
                **os.environ,
                "AWS_ENDPOINT_URL_S3": s3,
                "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
                "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("layers/core/src", "container", ".")),
            }
            command = [sys.executable, str(KEEPER), str(tmp_path / str(generation)), str(generation), file]
            return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

        with keeper(first.number, "older.txt") as older:
            older_pid.append(older.pid)
            try:
                assert stopped.wait(DEADLINE_S)
                second = cloud.begin()
                with keeper(second.number, "newer.txt") as newer:
                    assert json.loads(newer.communicate(timeout=DEADLINE_S)[0]) == {"committed": 1}
                older.send_signal(signal.SIGCONT)
                assert json.loads(older.communicate(timeout=DEADLINE_S)[0]) == {"replaced": 1}
            finally:
                older.kill()

    assert [snapshot.generation for snapshot in cloud.archive().listed()] == [second.number]
    machine = Machine(cloud, tmp_path / "third", cloud.begin())
    machine.restore()
    assert state_of(machine.workspace) == {"newer.txt": ("file", 0o644, b"by generation 2")}

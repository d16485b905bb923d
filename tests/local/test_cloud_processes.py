"""Function processes: started when needed, none left behind."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.local.small_stack import TEMPLATE, eventually, small_cloud

_ROOT = Path(__file__).parents[2]
_DRIVER = """
import sys
from tests.local.small_stack import small_cloud
with small_cloud() as cloud:
    cloud.invoke("Work", {"item": "1", "do": "answer"})
    print(cloud.endpoint, flush=True)
    sys.stdin.read()
"""


def _processes_calling(endpoint: str) -> list[int]:
    """Function processes of the local cloud at this endpoint."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"AWS_ENDPOINT_URL={endpoint}".encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def test_stop_leaves_no_process() -> None:
    with small_cloud() as cloud:
        endpoint = cloud.endpoint
        cloud.invoke("Work", {"item": "1", "do": "answer"})
        assert len(_processes_calling(endpoint)) == 2  # the emulator and the runtime

    assert _processes_calling(endpoint) == []


def test_nothing_is_started_before_it_is_needed() -> None:
    with small_cloud() as cloud:
        assert _processes_calling(cloud.endpoint) == []


def test_a_cloud_can_start_again_and_has_forgotten_everything() -> None:
    with small_cloud() as first:
        table = first.resources["Items"]
        first.client("dynamodb").put_item(TableName=table, Item={"pk": {"S": "a"}, "sk": {"S": "b"}})
        first.post_update({"update_id": 1})
        first.wait_until_quiet(20)

    with small_cloud() as second:
        assert second.client("dynamodb").scan(TableName=table)["Count"] == 0
        assert second.executions() == []


def test_a_driver_that_is_killed_takes_its_processes_along() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert driver.stdout is not None
        endpoint = driver.stdout.readline().strip()
        assert len(_processes_calling(endpoint)) == 2

        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(10)

        eventually(lambda: _processes_calling(endpoint) == [])
    finally:
        driver.kill()
        driver.communicate()


def test_a_build_runs_with_its_layer_and_lambdas_own_packages_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures = TEMPLATE.parent
    for name in ("Receive", "Work", "Watch"):
        shutil.copytree(fixtures / "functions", tmp_path / "build" / name)
    shutil.copytree(fixtures / "layer" / "src", tmp_path / "build" / "SampleLayer" / "python")
    monkeypatch.chdir(tmp_path)

    with small_cloud(mode="build", build_dir=Path("build")) as cloud:
        names = ["sample", "boto3", "moto", "httpx", "pytest"]
        found = cloud.invoke("Work", {"item": "1", "do": "importable", "names": names})

    assert found == {"sample": True, "boto3": True, "moto": False, "httpx": False, "pytest": False}


def test_initialisation_does_not_count_against_the_timeout() -> None:
    with small_cloud(environment={"Work": {"SLOW_INIT_S": "2.2"}}) as cloud:  # its timeout is 2 s
        seen = cloud.invoke("Work", {"item": "1", "do": "reports"})

        (invocation,) = cloud.invocations
    assert 1500 < seen["remaining"] <= 2000
    assert invocation.cold
    assert invocation.init_ms is not None
    assert invocation.init_ms > 2200


def test_a_module_that_cannot_be_imported_is_the_first_events_error() -> None:
    with small_cloud(environment={"Work": {"SLOW_INIT_S": "not a number"}}) as cloud:
        answer = cloud.client("lambda").invoke(FunctionName=cloud.resources["Work"], Payload=b"{}")

        assert answer["FunctionError"] == "Unhandled"
        assert b"could not convert string to float" in answer["Payload"].read()

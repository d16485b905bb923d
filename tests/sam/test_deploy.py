"""The real `sam deploy`, by `operate deploy`, against the local cloud: what was uploaded is what then answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.change_sets import MANAGED_BUCKET
from local.cloud import LocalCloud
from local.simulators.outside import BOT_USERNAME, CONNECTIONS, Outside
from operate.settings import BASE_URLS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
BUILD_DIR = ROOT / ".aws-sam" / "build"
STACK = "serverless-openclaw"
YOU = 4242


@pytest.fixture
def cloud() -> Iterator[tuple[LocalCloud, Outside]]:
    """An account in which nothing is deployed yet."""
    made = LocalCloud(parameters={"BotUsername": BOT_USERNAME}, deployed=False)
    outside = Outside(made.clock)
    made.secrets |= outside.secrets
    for prefix, simulator in outside.mounts.items():
        made.mount(prefix, simulator)
    with made:
        yield made, outside
    outside.close()


def _operate(cloud: LocalCloud, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_ACCESS_KEY_ID": cloud.admin_key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        "TELEGRAM_API_URL": f"{cloud.endpoint}/telegram",
        "OPERATE_PROJECT": str(project),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "layers" / "core" / "src"), str(ROOT)]),
        "PATH": f"{project / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{
            variable: f"{cloud.endpoint}/{CONNECTIONS[provider].prefix}{CONNECTIONS[provider].base_path}"
            for provider, variable in BASE_URLS.items()
        },
    }
    command = [sys.executable, "-m", "operate", *arguments]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which `sam build` has been done already: `sam` builds nothing here, and deploys for real."""
    if not (BUILD_DIR / ".built").exists():
        pytest.skip("nothing is built: make build")
    shutil.copytree(BUILD_DIR, tmp_path / ".aws-sam" / "deploy")
    shutil.copytree(ROOT / "statemachine", tmp_path / "statemachine")
    real = shutil.which("sam")
    (tmp_path / "bin").mkdir()
    sam = tmp_path / "bin" / "sam"
    sam.write_text(f'#!/bin/sh\n[ "$1" = build ] && exit 0\nexec "{real}" "$@"\n', "utf-8")
    sam.chmod(0o755)
    return tmp_path


def test_keys_in_deploy_and_say_hello(cloud: tuple[LocalCloud, Outside], project: Path) -> None:
    running, outside = cloud

    deployed = _operate(running, project, "deploy", "--json")
    allowed = _operate(running, project, "allow", str(YOU), "--owner")
    status, call = running.post_update(outside.updates.text(YOU, "hello"))
    running.wait_until_quiet(60)
    again = _operate(running, project, "deploy", "--json")
    found = _operate(running, project, "doctor", "--json")

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    assert json.loads(deployed.stdout)["steps"] == ["build", "stack", "webhook"]
    assert outside.telegram.webhook.url == running.outputs["WebhookUrl"]
    assert allowed.returncode == 0, allowed.stderr
    assert (status, call["method"]) == (200, "sendChatAction")
    assert outside.telegram.sent_to(YOU)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["steps"] == ["build", "stack"]
    assert _executed(running) == 1  # the second change set had no changes
    assert found.returncode == 0, found.stdout
    assert running.denied == []
    everything = deployed.stdout + deployed.stderr + again.stdout + again.stderr + "".join(_uploaded(running))
    assert [name for name, value in running.secrets.items() if value in everything] == []


def test_a_deployment_that_fails_is_rolled_back_and_begun_again(
    cloud: tuple[LocalCloud, Outside], project: Path
) -> None:
    running, outside = cloud
    template = project / ".aws-sam" / "deploy" / "template.yaml"
    whole = template.read_text("utf-8")
    template.write_text(whole.replace("AWS::SQS::Queue\n", "AWS::SQS::Unheard\n", 1), "utf-8")

    failed = _operate(running, project, "deploy")
    status = _operate(running, project, "status")
    template.write_text(whole, "utf-8")
    done = _operate(running, project, "deploy", "--json")

    assert failed.returncode == 1
    assert "`sam deploy` failed" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert status.returncode == 7
    assert "ROLLBACK_COMPLETE" in status.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["steps"] == ["clear", "build", "stack", "webhook"]
    assert outside.telegram.webhook.url


def _executed(cloud: LocalCloud) -> int:
    events: list[Any] = cloud.client("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
    return sum(each["ResourceStatus"].endswith("_IN_PROGRESS") and each["LogicalResourceId"] == STACK
               for each in events if each["ResourceStatus"] != "REVIEW_IN_PROGRESS")  # fmt: skip


def _uploaded(cloud: LocalCloud) -> Iterator[str]:
    """Everything that lies in SAM's bucket: templates and code."""
    s3 = cloud.client("s3")
    for each in s3.list_objects_v2(Bucket=MANAGED_BUCKET)["Contents"]:
        yield s3.get_object(Bucket=MANAGED_BUCKET, Key=each["Key"])["Body"].read().decode("latin-1")

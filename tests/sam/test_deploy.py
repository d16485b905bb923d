"""The real SAM against the local cloud, by `operate deploy` and by itself: what was uploaded is what then answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local.simulators.faults import Fault
from local.simulators.outside import BOT_USERNAME
from tests.deploying import a_built_project, an_empty_account, operate, run
from tests.written import leaks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from local.cloud import LocalCloud
    from local.simulators.outside import Outside

pytestmark = pytest.mark.deploy

STACK = "serverless-openclaw"
YOU = 4242


@pytest.fixture
def cloud() -> Iterator[tuple[LocalCloud, Outside]]:
    with an_empty_account() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return a_built_project(tmp_path)


def test_keys_in_deploy_and_say_hello(cloud: tuple[LocalCloud, Outside], project: Path) -> None:
    """And, at its end: what all of that has left says nothing of any key."""
    running, outside = cloud

    deployed = operate(running, project, "deploy", "--json")
    allowed = operate(running, project, "allow", str(YOU), "--owner")
    status, call = _said(cloud, "hello")
    again = operate(running, project, "deploy", "--json")
    found = operate(running, project, "doctor", "--ask", "--json")

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    assert json.loads(deployed.stdout)["steps"] == ["build", "stack", "webhook"]
    assert outside.telegram.webhook.url == running.outputs["WebhookUrl"]
    assert allowed.returncode == 0, allowed.stderr
    assert (status, call["method"]) == (200, "sendChatAction")
    assert len(outside.telegram.sent_to(YOU)) == 1
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["steps"] == ["build", "stack"]
    assert _executed(running) == 1  # the second change set had no changes
    assert found.returncode == 0, found.stdout
    assert running.denied == []

    outside.order("copilot", Fault.UNAUTHORIZED, 1)
    _said(cloud, "and again")
    for provider in outside.providers:
        outside.order(provider, Fault.FORBIDDEN)
    _said(cloud, "and once more")
    assert {"ReportFailure", "AskClaude"} <= {one.function for one in running.invocations}
    seen = [operate(running, project, name) for name in ("status", "usage", "logs")]
    assert "AskClaude" in seen[-1].stdout
    output = "".join(each.stdout + each.stderr for each in (deployed, allowed, again, found, *seen))
    assert leaks(running, running.secrets, output=output) == []
    assert leaks(running, {"what was said": "and once more"})  # what is looked for in the same way is found


def _said(cloud: tuple[LocalCloud, Outside], text: str) -> tuple[int, Any]:
    running, outside = cloud
    answer = running.post_update(outside.updates.text(YOU, text))
    running.wait_until_quiet(60)
    return answer


def _sam_deploy(cloud: LocalCloud, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    template = str(project / ".aws-sam" / "deploy" / "template.yaml")
    return run(
        *(cloud, project, "sam", "deploy", "--template-file", template, "--stack-name", STACK, "--resolve-s3"),
        *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--parameter-overrides", *arguments),
    )


def test_plain_sam_deploy_creates_changes_and_rolls_back(cloud: tuple[LocalCloud, Outside], project: Path) -> None:
    running, _ = cloud
    template, name = project / ".aws-sam" / "deploy" / "template.yaml", f"BotUsername={BOT_USERNAME}"

    created = _sam_deploy(running, project, name)
    changed = _sam_deploy(running, project, name, "HistoryDays=9")
    broken = template.read_text("utf-8").replace("BillingMode: PAY_PER_REQUEST", "BillingMode: PROVISIONED", 1)
    template.write_text(broken, "utf-8")
    failed = _sam_deploy(running, project, name, "HistoryDays=3")

    assert created.returncode == 0, created.stdout + created.stderr
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert "* Modify" in changed.stdout
    assert "+ Add" not in changed.stdout
    assert failed.returncode == 1
    assert "can't change BillingMode" in " ".join(failed.stdout.split())
    assert running.stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert running.deployed_parameters["HistoryDays"] == "9"


def _executed(cloud: LocalCloud) -> int:
    """How many change sets of the stack."""
    begun = {"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"}
    events = [(event["LogicalResourceId"], event["ResourceStatus"]) for event in cloud.stack.events]
    return sum(resource == STACK and status in begun for resource, status in events)

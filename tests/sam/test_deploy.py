"""The real `sam deploy`, by `operate deploy`, against the local cloud: what was uploaded is what then answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local.simulators.faults import Fault
from tests.deploying import a_built_project, an_empty_account, operate
from tests.written import leaks

if TYPE_CHECKING:
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


def test_a_deployment_that_fails_is_rolled_back_and_begun_again(
    cloud: tuple[LocalCloud, Outside], project: Path
) -> None:
    running, outside = cloud
    template = project / ".aws-sam" / "deploy" / "template.yaml"
    whole = template.read_text("utf-8")
    template.write_text(whole.replace("AWS::SQS::Queue\n", "AWS::SQS::Unheard\n", 1), "utf-8")

    failed = operate(running, project, "deploy")
    status = operate(running, project, "status")
    template.write_text(whole, "utf-8")
    done = operate(running, project, "deploy", "--json")

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

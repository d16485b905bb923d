"""`deploy` and `destroy`: what is planned, what is run, what happens when it breaks off. SAM and Docker are doubles."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from local.simulators.faults import TelegramFault
from operate.bot import WebhookInfo
from operate.deploying import Facts, Step, architecture, content_tag, parameters, removal, steps
from operate.errors import StateError
from operate.keys import KEYS
from operate.stack import Resource, Stack
from tests.local.system import a_system
from tests.operate.programs import KEPT, URL, Doubles, taken_down

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.local.system import System
    from tests.operate.terminal import Terminal

HERE = WebhookInfo(URL, 0, ("message",))
NOWHERE = WebhookInfo("", 0, ())


def _stack(status: str = "CREATE_COMPLETE", **parameters: str) -> Stack:
    return Stack("s", status, "", None, parameters, {"WebhookUrl": URL})


@pytest.mark.parametrize(
    ("facts", "planned"),
    [
        (Facts(None, "a_bot", NOWHERE), ["build", "stack", "webhook"]),
        (Facts(None, "a_bot", NOWHERE, "r:c-1"), ["build", "image", "stack", "webhook"]),
        (Facts(_stack(), "a_bot", HERE), ["build", "stack"]),
        (Facts(_stack(), "a_bot", HERE, "r:c-1", "sha256:1"), ["build", "stack"]),
        (Facts(_stack(), "a_bot", HERE, "r:c-2"), ["build", "image", "stack"]),
        (Facts(_stack(), "a_bot", WebhookInfo("https://else", 0, ())), ["build", "stack", "webhook"]),
        (Facts(_stack("ROLLBACK_COMPLETE"), "a_bot", NOWHERE), ["clear", "build", "stack", "webhook"]),
        (Facts(_stack("UPDATE_ROLLBACK_COMPLETE"), "a_bot", HERE), ["build", "stack"]),
    ],
)
def test_only_what_is_needed_is_planned(facts: Facts, planned: list[Step]) -> None:
    assert steps(facts) == planned


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"])
def test_nothing_is_planned_while_a_person_or_cloudformation_is_to_act(status: str) -> None:
    with pytest.raises(StateError, match=status):
        steps(Facts(_stack(status), "a_bot", HERE))


def test_the_image_is_deployed_by_its_digest() -> None:
    repository = "1.dkr.ecr.eu-west-1.amazonaws.com/s-agent"
    facts = Facts(None, "a_bot", NOWHERE, f"{repository}:c-1", "sha256:ab", given={"HistoryDays": "9"})

    assert parameters(facts) == {
        "BotUsername": "a_bot",
        "AgentImage": "1.dkr.ecr.eu-west-1.amazonaws.com/s-agent@sha256:ab",
        "HistoryDays": "9",
    }
    assert "AgentImage" not in parameters(Facts(None, "a_bot", NOWHERE))


def test_what_it_runs_on_is_as_given_or_as_it_was() -> None:
    assert architecture(None, {}) == "arm64"
    assert architecture(_stack(Architecture="x86_64"), {}) == "x86_64"
    assert architecture(_stack(Architecture="x86_64"), {"Architecture": "arm64"}) == "arm64"


def test_a_tag_is_of_the_content_and_of_how_it_is_built(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one").write_text("1", "utf-8")
    first, second = (content_tag((tmp_path / each).iterdir(), tmp_path / each) for each in "ab")
    (tmp_path / "b" / "one").write_text("2", "utf-8")

    assert first == second
    assert content_tag((tmp_path / "b").iterdir(), tmp_path / "b") != first
    (tmp_path / "a" / "one").chmod(0o755)
    assert content_tag((tmp_path / "a").iterdir(), tmp_path / "a") != first
    arm, intel = (content_tag((tmp_path / "b").iterdir(), tmp_path / "b", [each]) for each in ("arm64", "x86_64"))
    assert arm != intel


def test_data_is_apart_from_what_a_deployment_brings_back() -> None:
    table = Resource("T", "t", "AWS::DynamoDB::Table", "CREATE_COMPLETE")
    function = Resource("F", "f", "AWS::Lambda::Function", "CREATE_COMPLETE")

    planned = removal([table, function])

    assert (planned.deleted, planned.data) == ([function], [table])


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """With nothing deployed."""
    with a_system(mode="source", max_environments=1, deployed=False) as running:
        yield running


@pytest.fixture
def doubles(system: System, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doubles:
    """Without a stack, and without anything left of one."""
    taken_down(system)
    made = Doubles(system, tmp_path)
    monkeypatch.setattr("operate.wiring.Programs", lambda *_given: made)
    (tmp_path / "container").mkdir()
    (tmp_path / "container" / "Dockerfile").write_text("FROM scratch", "utf-8")
    system.outside.telegram.webhook.url = ""
    assert terminal
    return made


@pytest.fixture
def deployed(doubles: Doubles, terminal: Terminal) -> Doubles:
    """With a stack."""
    assert terminal.run("deploy").code == 0
    doubles.commands.clear()
    return doubles


def _done(data: Any) -> dict[str, str]:
    return {each["logical_id"]: each["done"] for each in data["changes"]}


def _unreadable(template: dict[str, Any]) -> None:
    """A dashboard that fails once other things are done."""
    body = {"Fn::Sub": "not JSON ${RuntimeTable}"}
    template["Resources"]["Broken"] = {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": body}}


def test_from_nothing_to_nothing_and_back(doubles: Doubles, terminal: Terminal, system: System) -> None:
    """One life, with all of the template: a conversation outlives its stack."""
    cloud, you, doubles.whole = system.cloud, 4243, True

    first = terminal.run("deploy", "--json")
    assert first.code == 0, first.err
    assert {each["logical_id"] for each in first.data["changes"]} == {
        name for name in cloud.resources if "." not in name
    }
    assert system.outside.telegram.webhook.url == cloud.outputs["WebhookUrl"]
    system.allow(you)
    system.say(you, "the word is heron")
    system.settle()

    would = terminal.run("deploy", "--dry-run", "-p", "HistoryDays=9", "--json").data
    updated = terminal.run("deploy", "-p", "HistoryDays=9", "--json")
    assert updated.code == 0, updated.err
    assert set(_done(would).values()) == {"change"}
    assert _done(would).keys() == {each["logical_id"] for each in updated.data["changes"]} >= {"PrepareTurn"}

    gone = terminal.run("destroy", "--confirm", "serverless-openclaw", "--json")
    assert gone.code == 0, gone.err
    assert (cloud.stack.exists, cloud.resources) == (False, {})

    back = terminal.run("deploy", "--json")
    assert back.code == 0, back.err
    assert {each["logical_id"] for each in back.data["changes"] if each["action"] == "Import"} == set(KEPT)
    system.say(you, "what is the word?")  # nobody had to allow them again
    system.settle()
    asked = system.outside.providers["copilot"].requests[-1].body
    assert "the word is heron" in json.dumps(asked)
    assert cloud.denied == []


def test_a_first_deployment(doubles: Doubles, terminal: Terminal, system: System) -> None:
    ran = terminal.run("deploy")

    assert ran.code == 0, ran.err
    assert doubles.names == ["sam build", "sam package"]
    assert system.cloud.deployed_parameters["BotUsername"] == "simulated_bot"
    assert system.outside.telegram.webhook.url == URL
    assert "5 to create." in ran.out
    assert "Say hello to @simulated_bot" in ran.out


def test_a_second_deployment_changes_nothing(doubles: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("deploy", "--agent", "-p", "HistoryDays=9")
    before = system.cloud.stack.events[0], len(doubles.commands)

    ran = terminal.run("deploy", "--agent")

    assert ran.code == 0, ran.err
    assert "Nothing has changed" in ran.out
    assert doubles.names[-2:] == ["sam build", "sam package"]
    assert "docker" not in {command[0] for command in doubles.commands[before[1] :]}
    assert system.cloud.stack.events[0] == before[0]


def test_parameters_keep_their_values(deployed: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("deploy", "-p", "HistoryDays=9")

    ran = terminal.run("deploy", "-p", "LogLevel=DEBUG", "--json")

    assert [(each["logical_id"], each["properties"]) for each in ran.data["changes"]] == [("Mark", ["Value"])]
    assert (
        system.cloud.client("ssm").get_parameter(Name=system.cloud.resources["Mark"])["Parameter"]["Value"] == "9 DEBUG"
    )


def test_an_update_that_fails_is_taken_back(deployed: Doubles, terminal: Terminal, system: System) -> None:
    deployed.change = _unreadable

    failed = terminal.run("deploy", "-p", "HistoryDays=3")

    mark = system.cloud.client("ssm").get_parameter(Name=system.cloud.resources["Mark"])["Parameter"]["Value"]
    assert failed.code == 1
    assert "UPDATE_ROLLBACK_COMPLETE" in failed.err
    assert "Broken (AWS::CloudWatch::Dashboard): its body is not JSON" in failed.err
    assert "What was there before goes on serving" in failed.err
    assert mark == "7 INFO"
    assert "the last update was rolled back: Broken" in terminal.run("doctor").out


def test_the_agents_image_is_pushed_under_its_content_and_deployed_by_digest(
    doubles: Doubles, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "container" / "new").write_text("content", "utf-8")
    ecr = doubles.system.cloud.client("ecr")
    with contextlib.suppress(ecr.exceptions.RepositoryNotFoundException):
        ecr.delete_repository(repositoryName="serverless-openclaw-agent", force=True)

    ran = terminal.run("deploy", "--agent", "-p", "AgentMode=always")

    push = next(command for command in doubles.commands if command[:2] == ("docker", "push"))
    (repository,) = ecr.describe_repositories()["repositories"]
    deployed = doubles.system.cloud.deployed_parameters
    assert ran.code == 0, ran.err
    assert doubles.names == ["sam build", "docker build", "docker login", "docker push", "docker logout", "sam package"]
    assert push[2].startswith(f"{repository['repositoryUri']}:c-")
    assert deployed["AgentImage"].startswith(f"{repository['repositoryUri']}@sha256:")
    assert deployed["AgentMode"] == "always"
    login = doubles.commands.index(next(command for command in doubles.commands if command[1] == "login"))
    password = doubles.stdin[login]
    assert password
    assert password not in str(doubles.commands)


def test_another_architecture_or_another_build_is_another_image(doubles: Doubles, terminal: Terminal) -> None:
    terminal.run("deploy", "--agent")

    terminal.run("deploy", "--agent", "-p", "Architecture=x86_64")
    terminal.run("deploy", "--agent", environment={"DOCKER_BUILD_FLAGS": "--build-arg 'BASE=node@sha256:1'"})
    wrong = terminal.run("deploy", "--agent", environment={"DOCKER_BUILD_FLAGS": "--label 'open"})

    builds = [command for command in doubles.commands if command[:2] == ("docker", "build")]
    assert len({command[command.index("-t") + 1] for command in builds}) == len(builds) >= 2
    assert ("--build-arg", "BASE=node@sha256:1") in zip(builds[-1], builds[-1][1:], strict=False)
    assert wrong.code == 2
    assert "DOCKER_BUILD_FLAGS" in wrong.err


def test_files_that_hold_keys_make_no_other_image(doubles: Doubles, terminal: Terminal, tmp_path: Path) -> None:
    terminal.run("deploy", "--agent")
    before = len(doubles.commands)
    for name in (".env", ".aws/credentials", "agent/.netrc"):
        path = tmp_path / "container" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a-key", "utf-8")

    ran = terminal.run("deploy", "--agent", "--json")

    assert ran.data["steps"] == ["build", "stack"]
    assert [command for command in doubles.commands[before:] if command[0] == "docker"] == []


def test_docker_forgets_the_password_also_when_the_push_fails(
    doubles: Doubles, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "container" / "new").write_text("unpushed", "utf-8")
    doubles.failing = "docker push"

    terminal.run("deploy", "--agent")

    assert doubles.names[-2:] == ["docker push", "docker logout"]


def test_an_image_that_is_not_there_after_its_push_is_not_deployed(
    doubles: Doubles, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "container" / "new").write_text("lost", "utf-8")
    doubles.losing = True

    ran = terminal.run("deploy", "--agent")

    assert ran.code == 1
    assert "is not there" in ran.err
    assert "sam package" not in doubles.names


def test_an_agent_is_taken_away_again(doubles: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("deploy", "--agent")

    kept, gone = terminal.run("deploy", "--json"), terminal.run("deploy", "--no-agent", "--json")

    assert kept.data["changes"] == []
    assert [(each["logical_id"], each["action"]) for each in gone.data["changes"]] == [("AgentCluster", "Remove")]
    assert "Agents that run save their work" in gone.err
    (cluster,) = system.cloud.client("ecs").describe_clusters(clusters=["serverless-openclaw-AgentCluster-C1E63C76"])[
        "clusters"
    ]
    assert cluster["status"] == "INACTIVE"


@pytest.mark.parametrize("broken", ["sam build", "docker push", "sam package"])
def test_a_half_done_deployment_is_continued(
    doubles: Doubles, terminal: Terminal, tmp_path: Path, system: System, broken: str
) -> None:
    (tmp_path / "container" / "new").write_text(broken, "utf-8")
    doubles.failing = broken

    failed = terminal.run("deploy", "--agent")
    doubles.failing = ""
    before = len(doubles.names)
    done = terminal.run("deploy", "--agent")

    assert failed.code == 1
    assert "goes on from here" in failed.err
    assert done.code == 0, done.err
    assert ("docker build" in doubles.names[before:]) is (broken != "sam package")  # an image that is there is kept
    assert system.outside.telegram.webhook.url


def test_telegram_goes_away_in_the_middle(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.outside.telegram.order(TelegramFault.CLOSED, method="setWebhook")

    failed, done = terminal.run("deploy"), terminal.run("deploy")

    assert failed.code == 6
    assert done.code == 0
    assert system.outside.telegram.webhook.url == URL


def test_the_network_goes_while_cloudformation_works(
    deployed: Doubles, terminal: Terminal, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack is changed all the same; the next run finds nothing to do."""

    def deaf(_self: object, _stack: str) -> str:
        raise EndpointConnectionError(endpoint_url="https://cloudformation.eu-west-1.amazonaws.com")

    with monkeypatch.context() as patch:
        patch.setattr("operate.operations.Operations._status", deaf)
        gone = terminal.run("deploy", "-p", "LogLevel=ERROR")
    again = terminal.run("deploy")

    assert gone.code == 6
    assert "CloudFormation goes on by itself" in gone.err
    assert again.code == 0
    assert "Nothing has changed" in again.out
    assert system.cloud.deployed_parameters["LogLevel"] == "ERROR"


def test_a_failed_first_deployment_is_begun_again_and_takes_over_what_it_has_left(
    doubles: Doubles, terminal: Terminal
) -> None:
    doubles.change = _unreadable

    failed = terminal.run("deploy")
    status, would = terminal.run("status"), terminal.run("deploy", "--dry-run", "--json").data
    shown = terminal.run("deploy", "--dry-run")
    doubles.change = lambda _template: None
    done = terminal.run("deploy")

    assert (failed.code, status.code) == (1, 7)
    assert "could not create the stack serverless-openclaw (ROLLBACK_COMPLETE)" in failed.err
    assert "Broken (AWS::CloudWatch::Dashboard)" in failed.err
    assert would["steps"][0] == "clear"
    assert would["changes"] is None
    assert "only once the failed stack is deleted" in shown.out
    assert done.code == 0, done.err
    assert "taken over with all that is in it: serverless-openclaw-conversations" in done.out


def test_a_dry_run_of_a_first_deployment_leaves_nothing(doubles: Doubles, terminal: Terminal, system: System) -> None:
    doubles.whole = True
    (doubles.project / "container" / "new").write_text("dry", "utf-8")

    with_agent = terminal.run("deploy", "--dry-run", "--agent", "--json").data
    shown, every = terminal.run("deploy", "--dry-run"), terminal.run("deploy", "--dry-run", "--all")

    assert with_agent["steps"] == ["build", "image", "stack", "webhook"]
    assert "serverless-openclaw-agent:c-" in with_agent["image"]
    assert _done(with_agent)["AgentCluster"] == "create"
    assert 100_000 < with_agent["month_micro_dollars"] < 2_000_000
    assert with_agent["month_at_most_micro_dollars"] > 5_000_000
    assert [name for name in doubles.names if name.startswith("docker")] == []
    assert not system.cloud.stack.exists
    assert not system.outside.telegram.webhook.url
    assert "120 to create" in shown.out
    assert "create  AWS::DynamoDB::Table" in shown.out
    assert "a month" in shown.out
    assert ("WebhookRole" in shown.out, "WebhookRole" in every.out) == (False, True)


def test_a_dry_run_of_an_update_says_what_it_changes_and_what_that_costs(
    deployed: Doubles, terminal: Terminal, system: System
) -> None:
    before = len(system.cloud.stack.events)

    agent = terminal.run("deploy", "--dry-run", "--agent", "--json").data
    shown = terminal.run("deploy", "--dry-run", "-p", "LogLevel=DEBUG")

    assert len(system.cloud.stack.events) == before
    assert _done(agent) == {"AgentCluster": "create"}
    assert agent["month_now_micro_dollars"] < agent["month_micro_dollars"]
    assert "change  AWS::SSM::Parameter  Mark      Value" in shown.out
    assert "as it is now" in shown.out


def test_a_change_set_that_nobody_executed_is_no_stack(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.cloud.stack.exists, system.cloud.stack.status = True, "REVIEW_IN_PROGRESS"

    status, would = terminal.run("status"), terminal.run("deploy", "--dry-run", "--json")
    left = system.cloud.stack.exists
    done = terminal.run("deploy", "--json")

    assert status.code == 7
    assert "nobody executed" in status.err
    assert would.code == 0, would.err
    assert left  # it was not this dry run that has made it
    assert done.data["steps"] == ["build", "stack", "webhook"]


def test_a_parameter_that_the_template_refuses(doubles: Doubles, terminal: Terminal, system: System) -> None:
    refused = terminal.run("deploy", "-p", "HistoryDays=4000")

    assert refused.code == 5
    assert "must be a number not greater than 365" in refused.err
    assert not system.cloud.stack.exists


def test_only_some_of_what_is_kept_is_there(deployed: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("destroy", "--confirm", "serverless-openclaw")
    system.cloud.client("dynamodb").delete_table(TableName="serverless-openclaw-runtime")

    would = _done(terminal.run("deploy", "--dry-run", "--json").data)

    assert {name: would[name] for name in KEPT} == {
        "ConversationsTable": "take over",
        "RuntimeTable": "create",
        "WorkspacesBucket": "take over",
    }


def test_a_table_of_somebody_else_is_left_alone(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.cloud.client("dynamodb").create_table(
        TableName="serverless-openclaw-runtime",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    refused = terminal.run("deploy")

    assert refused.code == 7
    assert "its key is not that of the assistant's" in refused.err
    assert not system.cloud.stack.exists


def test_keys_come_first(doubles: Doubles, terminal: Terminal, system: System) -> None:
    ssm, name = system.cloud.client("ssm"), "/serverless-openclaw/secrets/telegram-webhook-secret"
    ssm.delete_parameter(Name=name)

    ran = terminal.run("deploy")
    ssm.put_parameter(Name=name, Value=system.cloud.secrets["telegram-webhook-secret"], Type="SecureString")

    assert ran.code == 4
    assert "telegram-webhook-secret" in ran.err
    assert doubles.commands == []


@pytest.mark.parametrize("parameter", ["HistoryDays", "=3", "a b=c"])
def test_a_parameter_that_is_none(doubles: Doubles, terminal: Terminal, parameter: str) -> None:
    assert terminal.run("deploy", "-p", parameter).code == 2
    assert doubles.commands == []


def test_a_missing_program_is_named(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    ran = terminal.run("deploy")

    assert ran.code == 4
    assert "There is no sam here" in ran.err


def test_a_program_that_fails_is_told_with_its_last_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sam"
    program.write_text("#!/bin/sh\necho 'the template is broken'\nexit 3\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    ran = terminal.run("deploy")

    assert ran.code == 1
    assert "`sam build` failed (3)" in ran.err
    assert "the template is broken" in ran.err


def _exists(system: System) -> bool:
    return system.cloud.stack.exists


def test_destroy_asks_for_the_name_and_keeps_data(deployed: Doubles, terminal: Terminal, system: System) -> None:
    dry, every = terminal.run("destroy", "--dry-run"), terminal.run("destroy", "--dry-run", "--all")
    would = terminal.run("destroy", "--dry-run", "--json").data
    wrong = terminal.run("destroy", "--confirm", "another")
    assert _exists(system)
    ran = terminal.run("destroy", "--confirm", "serverless-openclaw", "--json")

    tables = system.cloud.client("dynamodb").list_tables()["TableNames"]
    assert (dry.code, wrong.code, ran.code) == (0, 2, 0)
    assert "serverless-openclaw-conversations" in dry.out
    assert "a month" in dry.out
    assert ("-Mark-" in dry.out, "-Mark-" in every.out) == (False, True)
    assert set(would["deleted"]) == {"Mark", "Code"}
    assert would["month_then_micro_dollars"] < would["month_now_micro_dollars"]
    assert not _exists(system)
    assert not system.outside.telegram.webhook.url
    assert sorted(tables) == ["serverless-openclaw-conversations", "serverless-openclaw-runtime"]
    assert set(ran.data["data"].values()) == {"kept"}


def test_destroying_nothing_says_so(doubles: Doubles, terminal: Terminal) -> None:
    assert terminal.run("destroy", "--confirm", "serverless-openclaw").code == 4
    assert doubles.commands == []


def test_destroy_without_telegram(deployed: Doubles, terminal: Terminal, system: System) -> None:
    terminal.set(TELEGRAM_API_URL="http://127.0.0.1:9")

    ran = terminal.run("destroy", "--confirm", "serverless-openclaw")

    assert ran.code == 0, ran.err
    assert "left as it is" in ran.out
    assert not system.cloud.stack.exists


@pytest.fixture
def secrets(system: System) -> Iterator[None]:
    yield
    system.cloud._put_secrets()


@pytest.mark.usefixtures("secrets")
def test_destroy_with_data_leaves_nothing(doubles: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("deploy", "--agent")
    bucket = system.cloud.resources["WorkspacesBucket"]
    s3: Any = system.cloud.client("s3")
    for _ in range(2):
        s3.put_object(Bucket=bucket, Key="workspaces/1/blobs/a", Body=b"x")
    (repository,) = system.cloud.client("ecr").describe_repositories()["repositories"]
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}

    would = terminal.run("destroy", "--delete-data", "--dry-run", "--json").data
    ran = terminal.run("destroy", "--delete-data", "--confirm", "serverless-openclaw")

    stored = system.cloud.client("ssm").describe_parameters()["Parameters"]
    assert ran.code == 0, ran.err
    assert would["bytes"][bucket] == 2
    assert would["month_then_micro_dollars"] == 0
    assert system.cloud.client("dynamodb").list_tables()["TableNames"] == []
    assert bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert system.cloud.client("ecr").describe_repositories()["repositories"] == []
    assert not {each["Name"].rpartition("/")[2] for each in stored} & {key.name for key in KEYS}

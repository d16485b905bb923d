"""`deploy` and `destroy`: what is planned, what is run, what happens when it breaks off. SAM and Docker are doubles."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from local.simulators.faults import TelegramFault
from operate.bot import WebhookInfo
from operate.deploying import Facts, Step, architecture, content_tag, parameters, removal, steps
from operate.errors import OperateError, StateError
from operate.keys import KEYS
from operate.stack import Resource, Stack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.system import System
    from tests.operate.terminal import Terminal

URL = "https://api.example/telegram"
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


@dataclass
class Doubles:
    """SAM and Docker: they note their command lines, do what those would do here, and fail when told to."""

    system: System
    commands: list[tuple[str, ...]] = field(default_factory=list)
    failing: str = ""
    losing: bool = False
    stdin: list[str | None] = field(default_factory=list)

    def __call__(self, *command: str, stdin: str | None = None, seconds: float = 900) -> str:
        assert seconds <= 3600
        self.commands.append(command)
        self.stdin.append(stdin)
        name = " ".join(command[:2])
        if name == self.failing:
            raise OperateError(f"`{name}` failed (1).", "the same command goes on from here")
        if name == "sam deploy":
            self.system.cloud.stack.exists, self.system.cloud.stack.status = True, "CREATE_COMPLETE"
        if name == "docker push" and not self.losing:
            repository, _, tag = command[2].partition("/")[2].partition(":")
            kind = "application/vnd.oci.image.manifest.v1+json"
            manifest = json.dumps(
                {"schemaVersion": 2, "mediaType": kind, "config": {"digest": f"sha256:{'0' * 64}"}, "layers": []}
            )
            ecr = self.system.cloud.client("ecr")
            ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)
        return ""

    @property
    def names(self) -> list[str]:
        return [" ".join(command[:2]) for command in self.commands if command[0] in {"sam", "docker"}]

    def given(self, name: str) -> dict[str, str]:
        """The parameters of the last `sam deploy`."""
        last = next(command for command in reversed(self.commands) if " ".join(command[:2]) == name)
        pairs = (each.partition("=") for each in last[last.index("--parameter-overrides") + 1 :])
        return {key: value for key, _, value in pairs}


@pytest.fixture
def doubles(system: System, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doubles:
    made = Doubles(system)
    monkeypatch.setattr("operate.wiring.Programs", lambda *_given: made)
    (tmp_path / "container").mkdir()
    (tmp_path / "container" / "Dockerfile").write_text("FROM scratch", "utf-8")
    system.cloud.stack.exists = True
    system.outside.telegram.webhook.url = ""
    assert terminal
    return made


def test_a_first_deployment(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.cloud.stack.exists = False

    ran = terminal.run("deploy")

    assert ran.code == 0, ran.err
    assert doubles.names == ["sam build", "sam deploy"]
    assert doubles.given("sam deploy") == {"BotUsername": "simulated_bot"}
    assert "--no-fail-on-empty-changeset" in doubles.commands[-1]
    assert system.outside.telegram.webhook.url == system.cloud.outputs["WebhookUrl"]
    assert "Say hello to @simulated_bot" in ran.out


def test_a_second_deployment_sets_no_webhook_and_builds_no_image(doubles: Doubles, terminal: Terminal) -> None:
    terminal.run("deploy", "--agent")
    before = len(doubles.commands)

    ran = terminal.run("deploy", "--agent", "--json")

    assert ran.data["steps"] == ["build", "stack"]
    assert [" ".join(command[:2]) for command in doubles.commands[before:] if command[0] == "docker"] == []


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
    assert ran.code == 0, ran.err
    assert doubles.names == ["sam build", "docker build", "docker login", "docker push", "docker logout", "sam deploy"]
    assert push[2].startswith(f"{repository['repositoryUri']}:c-")
    assert doubles.given("sam deploy")["AgentImage"].startswith(f"{repository['repositoryUri']}@sha256:")
    assert doubles.given("sam deploy")["AgentMode"] == "always"
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
    assert "sam deploy" not in doubles.names


@pytest.mark.parametrize("broken", ["sam build", "docker push", "sam deploy"])
def test_a_half_done_deployment_is_continued(
    doubles: Doubles, terminal: Terminal, tmp_path: Path, system: System, broken: str
) -> None:
    (tmp_path / "container" / "new").write_text(broken, "utf-8")
    system.cloud.stack.exists = False
    doubles.failing = broken

    failed = terminal.run("deploy", "--agent")
    doubles.failing = ""
    before = len(doubles.names)
    done = terminal.run("deploy", "--agent")

    assert failed.code == 1
    assert "goes on from here" in failed.err
    assert done.code == 0, done.err
    assert ("docker build" in doubles.names[before:]) is (broken != "sam deploy")  # an image that is there is kept
    assert system.outside.telegram.webhook.url


def test_telegram_goes_away_in_the_middle(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.outside.telegram.order(TelegramFault.CLOSED, method="setWebhook")

    failed, done = terminal.run("deploy"), terminal.run("deploy")

    assert failed.code == 6
    assert done.code == 0
    assert system.outside.telegram.webhook.url == system.cloud.outputs["WebhookUrl"]


def test_a_failed_first_deployment_is_cleared_away(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.cloud.stack.failed("ROLLBACK_COMPLETE", "Webhook", "Resource limit exceeded")

    ran = terminal.run("deploy", "--json")

    assert ran.data["steps"][0] == "clear"
    assert doubles.names == ["sam build", "sam deploy"]


def test_a_dry_run_does_nothing(doubles: Doubles, terminal: Terminal, system: System, tmp_path: Path) -> None:
    (tmp_path / "container" / "dry").write_text("run", "utf-8")
    system.cloud.stack.exists = False

    ran = terminal.run("deploy", "--dry-run", "--agent", "--json")
    shown = terminal.run("deploy", "--dry-run")

    assert ran.data["steps"] == ["build", "image", "stack", "webhook"]
    assert 0 < ran.data["month_micro_dollars"] < 2_000_000
    assert doubles.commands == []
    assert "a month" in shown.out
    assert not system.outside.telegram.webhook.url


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


def test_destroy_asks_for_the_name_and_keeps_data(doubles: Doubles, terminal: Terminal, system: System) -> None:
    terminal.run("webhook", "set")

    dry = terminal.run("destroy", "--dry-run")
    dry_data = terminal.run("destroy", "--dry-run", "--json").data
    wrong = terminal.run("destroy", "--confirm", "another")
    assert _exists(system)
    ran = terminal.run("destroy", "--confirm", "serverless-openclaw", "--json")

    tables = system.cloud.client("dynamodb").list_tables()["TableNames"]
    assert (dry.code, wrong.code, ran.code) == (0, 2, 0)
    assert "AWS::DynamoDB::Table" in dry.out
    assert "kept" in dry.out
    assert "Webhook" in dry_data["deleted"]
    assert not _exists(system)
    assert not system.outside.telegram.webhook.url
    assert system.cloud.resources["ConversationsTable"] in tables
    assert set(ran.data["data"].values()) == {"kept"}
    assert doubles.commands == []


def test_destroying_nothing_says_so(doubles: Doubles, terminal: Terminal, system: System) -> None:
    system.cloud.stack.exists = False

    assert terminal.run("destroy", "--confirm", "serverless-openclaw").code == 4
    assert doubles.commands == []


def test_destroy_with_data_leaves_nothing(doubles: Doubles, terminal: Terminal, system: System) -> None:
    """The last of this module: the tables are gone then."""
    bucket = system.cloud.resources["WorkspacesBucket"]
    s3: Any = system.cloud.client("s3")
    for _ in range(2):
        s3.put_object(Bucket=bucket, Key="workspaces/1/blobs/a", Body=b"x")
    terminal.run("deploy", "--agent")
    (repository,) = system.cloud.client("ecr").describe_repositories()["repositories"]
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}

    ran = terminal.run("destroy", "--delete-data", "--confirm", "serverless-openclaw")

    stored = system.cloud.client("ssm").describe_parameters()["Parameters"]
    assert ran.code == 0, ran.err
    assert system.cloud.client("dynamodb").list_tables()["TableNames"] == []
    assert bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert system.cloud.client("ecr").describe_repositories()["repositories"] == []
    assert not {each["Name"].rpartition("/")[2] for each in stored} & {key.name for key in KEYS}

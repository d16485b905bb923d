"""The image on its way into the account: built, pushed and deployed by the real `operate deploy --agent`.

Docker, SAM and the registry are real; ECR's API is a double over that registry (`local/ecr.py`). Keys lie wherever a
careless person has them, and none may get into the image.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.simulators.outside import CONNECTIONS
from operate.commands.deploy import _content
from tests.container.image_registry import ImageRegistry, an_image_registry, found_in
from tests.container.openclaw import ROOT
from tests.container.test_image import docker
from tests.deploying import a_built_project, an_empty_account, operate, program
from tests.written import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.cloud import LocalCloud

pytestmark = [pytest.mark.docker]

MACHINE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
YOU = 4242
NAME = "serverless-openclaw-agent"
OF_THE_IMAGE = (".dockerignore", "container", "layers/core/src/assistant")
CARELESS = (
    ".env",
    ".aws/credentials",
    "container/.env",
    "container/agent/.env",
    "container/agent/.aws/credentials",
    "container/openclaw/.env",
    "layers/core/src/assistant/.env",
)
"""Where keys are that nobody thinks of."""

_DOCKER = """\
#!/bin/sh
echo "$1" >>"{log}"
exec "{real}" "$@"
"""
_CONTROLS = {
    "a label": "An OpenClaw agent that takes its work from a mailbox",
    "a file": "You are a personal assistant with tools.",
}
"""What is in the image, and has to be found."""


@dataclass
class Deployment:
    """What was done, and what came of it."""

    cloud: LocalCloud
    registry: ImageRegistry
    project: Path
    secrets: Mapping[str, str]
    environment: Mapping[str, str]
    output: list[str] = field(default_factory=list)

    def operate(self, *arguments: str) -> str:
        done = operate(self.cloud, self.project, *arguments, environment=self.environment)
        self.output += [done.stdout, done.stderr]
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    @property
    def docker_commands(self) -> list[str]:
        return (self.project / "docker.log").read_text("utf-8").split()

    @property
    def image(self) -> str:
        """As the stack has it."""
        return str(self.cloud.parameters["AgentImage"])


def _secrets(cloud: LocalCloud, registry: ImageRegistry) -> dict[str, str]:
    login = base64.b64encode(f"AWS:{registry.ecr.password}".encode()).decode()
    account = {"secret access key": "planted-secret-access-key-51f0", "session token": "planted-session-token-9b3e"}
    return {**cloud.secrets, **account, "registry's password": registry.ecr.password, "registry's login": login}


def _variables(secrets: Mapping[str, str]) -> dict[str, str]:
    """As a person exports them."""
    return {
        **{each.variable: secrets[each.secret] for each in CONNECTIONS.values()},
        "TELEGRAM_BOT_TOKEN": secrets["telegram-bot-token"],
        "TELEGRAM_WEBHOOK_SECRET": secrets["telegram-webhook-secret"],
        "AWS_SECRET_ACCESS_KEY": secrets["secret access key"],
        "AWS_SESSION_TOKEN": secrets["session token"],
    }


def _project(folder: Path, secrets: Mapping[str, str]) -> Path:
    project = a_built_project(folder)
    for name in OF_THE_IMAGE:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, project / name)
        else:
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in CARELESS:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("\n".join(f"{name}={value}" for name, value in secrets.items()), "utf-8")
    program(project, "docker", _DOCKER.replace("{log}", str(project / "docker.log")))
    return project


@pytest.fixture(scope="module")
def deployed(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The first deployment into an empty account; the image's layers are those that `make image` has made."""
    assert image
    folder = tmp_path_factory.mktemp("project")
    with (
        an_image_registry() as registry,
        an_empty_account(registry.ecr) as (cloud, outside),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_CONFIG", str(tmp_path_factory.mktemp("docker")))
        secrets = _secrets(cloud, registry)
        made = Deployment(cloud, registry, _project(folder, secrets), secrets, _variables(secrets))
        try:
            made.operate("deploy", "--agent", "-p", f"Architecture={MACHINE}", "--json")
            made.operate("allow", str(YOU), "--owner")
            cloud.post_update(outside.updates.text(YOU, "hello"))
            cloud.wait_until_quiet(60)
            yield made
        finally:
            for each in docker(
                "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{registry.host}/{NAME}"
            ).split():
                docker("image", "rm", each)


def test_it_is_pushed_under_its_content_and_deployed_by_its_digest(deployed: Deployment) -> None:
    (tag,) = json.loads(deployed.registry.ecr.ask("GET", f"/v2/{NAME}/tags/list")[2])["tags"]
    found = deployed.registry.manifest(NAME, tag)

    assert json.loads(deployed.output[0])["steps"] == ["build", "image", "stack", "webhook"]
    assert deployed.docker_commands == ["build", "login", "push", "logout"]
    assert tag.startswith("c-")
    assert found is not None
    assert deployed.image == f"{deployed.registry.host}/{NAME}@{found[0]}"
    tasks = deployed.cloud.client("ecs").describe_task_definition(
        taskDefinition=deployed.cloud.resources["AgentTaskDefinition"]
    )
    assert [each["image"] for each in tasks["taskDefinition"]["containerDefinitions"]] == [deployed.image]


def test_docker_has_forgotten_the_password(deployed: Deployment) -> None:
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"

    assert json.loads(config.read_text("utf-8")).get("auths", {}) == {}


def test_one_more_deployment_builds_and_pushes_nothing(deployed: Deployment) -> None:
    before = list(deployed.docker_commands), deployed.image

    again = deployed.operate("deploy", "--json")

    assert json.loads(again)["steps"] == ["build", "stack"]
    assert (deployed.docker_commands, deployed.image) == before


def test_what_is_pulled_by_the_digest_is_what_was_built(deployed: Deployment) -> None:
    (tag,) = docker("image", "ls", "--format", "{{.Tag}}", f"{deployed.registry.host}/{NAME}").split()
    built = docker("image", "inspect", "--format", "{{.Id}}", f"{deployed.registry.host}/{NAME}:{tag}")
    docker("image", "rm", f"{deployed.registry.host}/{NAME}:{tag}")
    docker(
        "login", "--username", "AWS", "--password-stdin", deployed.registry.host, given=deployed.registry.ecr.password
    )

    docker("pull", "--quiet", deployed.image)

    docker("logout", deployed.registry.host)
    assert docker("image", "inspect", "--format", "{{.Id}}", deployed.image) == built
    docker("image", "tag", deployed.image, f"{deployed.registry.host}/{NAME}:{tag}")


def test_no_key_is_in_the_image(deployed: Deployment) -> None:
    """In its configuration with its history, nor in any file of a layer, as they lie in the registry."""
    looked_for = {**deployed.secrets, **_CONTROLS}
    parts = deployed.registry.parts(NAME, deployed.image.rpartition("@")[2])

    found = {(name, place.partition(" ")[0]) for place, pieces in parts for name in found_in(pieces, looked_for)}

    assert {name for name, _ in found} == set(_CONTROLS)
    assert len(found) == 2


def test_what_docker_is_sent_is_what_the_tag_is_made_of(deployed: Deployment, tmp_path: Path) -> None:
    """So the other files of the folder, and all with keys, do not leave it."""
    probe = docker("build", "--quiet", "--file", "-", str(deployed.project), given="FROM scratch\nCOPY . /\n").strip()
    container = docker("create", probe, "nothing").strip()
    docker("export", "--output", str(tmp_path / "sent.tar"), container)
    docker("rm", container)
    docker("image", "rm", probe)

    with tarfile.open(tmp_path / "sent.tar") as packed:
        sent = {each.name for each in packed if each.isfile() and each.name.startswith(("container/", "layers/"))}
    assert sent == {path.relative_to(deployed.project).as_posix() for path in _content(deployed.project)}
    assert sent.isdisjoint(CARELESS)


def test_no_key_is_in_anything_else_that_was_written(deployed: Deployment) -> None:
    template = (deployed.project / ".aws-sam/deploy/template.yaml").read_text("utf-8")

    found = leaks(deployed.cloud, deployed.secrets, output="".join(deployed.output), built=template)

    assert found == []


# The last one.
def test_it_goes_with_the_rest(deployed: Deployment) -> None:
    digest = deployed.image.rpartition("@")[2]

    deployed.operate("destroy", "--confirm", "serverless-openclaw", "--json")

    assert deployed.registry.ecr.repositories == {}
    assert deployed.registry.manifest(NAME, digest) is None
    assert not [
        name for name, secret in deployed.secrets.items() if secret in deployed.output[-2] + deployed.output[-1]
    ]

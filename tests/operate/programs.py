"""SAM and Docker as the command line calls them, without either: what they upload is what the local cloud deploys."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.change_sets import MANAGED_BUCKET
from local.template import Template
from operate.errors import OperateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.system import System

ROOT = Path(__file__).parents[2]
URL = "https://a-short-stack.example/telegram"
KEPT = ("ConversationsTable", "RuntimeTable", "WorkspacesBucket")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@cache
def _source() -> str:
    """The project's template in its long forms."""
    return json.dumps(Template(ROOT / "template.yaml").source, default=str)


@cache
def _zipped(folder: str, below: str) -> bytes:
    """A folder as SAM uploads it; a layer's lies below `python`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, below + path.relative_to(ROOT / folder).as_posix())
    return packed.getvalue()


@dataclass
class Doubles:
    """Note their command lines, do what those would do here, and fail when told to.

    Attributes:
        whole: deploy all of the template; else what is kept, a cluster where an agent is, and something to change.
        failing: `sam build`, for instance.
        losing: whether what is pushed does not arrive.
        change: is given the template as `sam package` writes it.
    """

    system: System
    project: Path
    whole: bool = False
    commands: list[tuple[str, ...]] = field(default_factory=list)
    failing: str = ""
    losing: bool = False
    stdin: list[str | None] = field(default_factory=list)
    change: Callable[[dict[str, Any]], object] = lambda _template: None

    def __call__(self, *command: str, stdin: str | None = None, seconds: float = 900) -> str:
        assert seconds <= 3600
        self.commands.append(command)
        self.stdin.append(stdin)
        name = " ".join(command[:2])
        if name == self.failing:
            raise OperateError(f"`{name}` failed (1).", "the same command goes on from here")
        if name == "sam package":
            s3 = self.system.cloud.client("s3")
            if MANAGED_BUCKET not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
                s3.create_bucket(Bucket=MANAGED_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
            self._package(self.project / command[command.index("--output-template-file") + 1])
        if name == "docker push" and not self.losing:
            self._push(command[2])
        return ""

    @property
    def names(self) -> list[str]:
        return [" ".join(command[:2]) for command in self.commands if command[0] in {"sam", "docker"}]

    def _package(self, output: Path) -> None:
        template = json.loads(_source())
        if self.whole:
            self._upload(template)
        else:
            _shorten(template)
        self.change(template)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(template), "utf-8")

    def _upload(self, template: dict[str, Any]) -> None:
        template["Globals"]["Function"]["CodeUri"] = self._uploaded(_zipped("functions", ""))
        resources = template["Resources"]
        layer = _zipped("layers/core/src", "python/")
        resources["CoreLayer"]["Properties"]["ContentUri"] = self._uploaded(layer)
        (machine,) = [each for each in resources.values() if each["Type"] == "AWS::Serverless::StateMachine"]
        definition = (ROOT / machine["Properties"]["DefinitionUri"]).read_bytes()
        machine["Properties"]["DefinitionUri"] = self._uploaded(definition)

    def _uploaded(self, content: bytes) -> str:
        key = hashlib.md5(content).hexdigest()
        s3 = self.system.cloud.client("s3")
        s3.put_object(Bucket=MANAGED_BUCKET, Key=key, Body=content)
        return f"s3://{MANAGED_BUCKET}/{key}"

    def _push(self, image: str) -> None:
        repository, _, tag = image.partition("/")[2].partition(":")
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": _MANIFEST, "config": {"digest": f"sha256:{'0' * 64}"}, "layers": []}
        )
        ecr = self.system.cloud.client("ecr")
        ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)


def _shorten(template: dict[str, Any]) -> None:
    kept = {name: template["Resources"][name] for name in (*KEPT, "AgentCluster")}
    mark = {"Type": "String", "Value": {"Fn::Sub": "${HistoryDays} ${LogLevel}"}}
    code = {"Type": "String", "Value": f"s3://{MANAGED_BUCKET}/code"}
    further = {
        name: {"Type": "AWS::SSM::Parameter", "Properties": one} for name, one in {"Mark": mark, "Code": code}.items()
    }
    template["Resources"] = kept | further
    template["Outputs"] = {"WebhookUrl": {"Value": URL}}
    del template["Globals"]


def taken_down(system: System) -> None:
    """Delete the stack, and all that it has retained."""
    if system.cloud.stack.exists:
        system.cloud.client("cloudformation").delete_stack(StackName="serverless-openclaw")
    dynamodb, s3 = system.cloud.client("dynamodb"), system.cloud.client("s3")
    for table in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=table)
    for bucket in {each["Name"] for each in s3.list_buckets()["Buckets"]} - {MANAGED_BUCKET}:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
        s3.delete_bucket(Bucket=bucket)

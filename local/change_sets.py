"""CloudFormation as `sam deploy` uses it: change sets of a stack that does not exist yet, and their execution.

A change set's template is what SAM uploaded, and so is the code: both are read from S3, and the deployer creates what
they say. A stack that exists is not changed in place here: a change set without changes says so, as in AWS; one with
changes fails when it is executed, and is rolled back.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/ and, for what is said when nothing has changed,
samcli/lib/deploy/deployer.py.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from local.template import REGION, Template, TemplateError

MANAGED = "aws-sam-cli-managed-default"
"""SAM's own stack: the bucket for what is uploaded."""

MANAGED_BUCKET = f"{MANAGED}-samclisourcebucket-local"
UNCHANGED = "The submitted information didn't contain changes. Submit different information to create a change set."

_PATHS = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Serverless::StateMachine": "DefinitionUri",
}

type Asked = Mapping[str, str]
type Deploy = Callable[[Template, Path], None]
"""Creates what a template says, with the code in a folder; DeploymentError if it can't."""


@dataclass
class ChangeSet:
    """One change set.

    Attributes:
        text: of the template.
        parameters: all of them, with those that keep their values.
        changes: action by logical id, with the type.
    """

    name: str
    stack: str
    text: str
    parameters: Mapping[str, str]
    changes: Mapping[str, tuple[str, str]]

    @property
    def described(self) -> Mapping[str, Any]:
        """As DescribeChangeSet answers."""
        failed = {} if self.changes else {"StatusReason": UNCHANGED}
        return {
            "ChangeSetName": self.name,
            "ChangeSetId": self.arn,
            "StackName": self.stack,
            "Status": "CREATE_COMPLETE" if self.changes else "FAILED",
            "ExecutionStatus": "AVAILABLE" if self.changes else "UNAVAILABLE",
            **failed,
            "Changes": [
                {
                    "Type": "Resource",
                    "ResourceChange": {"Action": action, "LogicalResourceId": name, "ResourceType": kind},
                }
                for name, (action, kind) in self.changes.items()
            ],
        }

    @property
    def arn(self) -> str:
        """Its id."""
        return f"arn:aws:cloudformation:{REGION}:123456789012:changeSet/{self.name}/local"


@dataclass
class ChangeSets:
    """The change sets of SAM's own stack and of ours.

    Attributes:
        client: gives an administrator's client.
        deploy: creates what a template says.
        deployed: text and parameters of what is deployed.
        managed: whether SAM's own stack exists.
    """

    client: Callable[[str], Any]
    deploy: Deploy
    deployed: tuple[str, Mapping[str, str]] = ("", {})
    managed: bool = False
    _made: dict[str, ChangeSet] = field(default_factory=dict)
    _folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="local-deployed-"))

    def stop(self) -> None:
        """Remove what was unpacked."""
        self._folder.cleanup()

    def create(self, asked: Asked) -> ChangeSet:
        """Make a change set. TemplateError if its template can't be read."""
        stack, name = asked["StackName"], asked["ChangeSetName"]
        text = asked.get("TemplateBody") or self._uploaded(asked["TemplateURL"])
        if stack == MANAGED:
            changes = {"SamCliSourceBucket": ("Add", "AWS::S3::Bucket")}
            made = ChangeSet(name, stack, text, {}, changes)
        else:
            given = dict(self._parameters(asked))
            made = ChangeSet(name, stack, text, given, self._changes(text, given))
        self._made[name] = self._made[made.arn] = made
        return made

    def find(self, name: str) -> ChangeSet:
        """A change set, by name or id; KeyError if there is none."""
        return self._made[name]

    def execute(self, made: ChangeSet) -> None:
        """Do what a change set says. DeploymentError or TemplateError if that can't be done."""
        if made.stack == MANAGED:
            where = {"LocationConstraint": REGION}
            self.client("s3").create_bucket(Bucket=MANAGED_BUCKET, CreateBucketConfiguration=where)
            self.managed = True
            return
        if self.deployed[0]:
            raise TemplateError("a stack that exists is not changed in place on the local cloud")
        folder = Path(self._folder.name) / made.name
        template = self._unpacked(made, folder)
        self.deploy(template, folder)
        self.deployed = (made.text, made.parameters)

    def _parameters(self, asked: Asked) -> Iterator[tuple[str, str]]:
        for place in range(1, 200):
            prefix = f"Parameters.member.{place}."
            name = asked.get(f"{prefix}ParameterKey")
            if name is None:
                return
            if asked.get(f"{prefix}UsePreviousValue") == "true":
                if name in self.deployed[1]:  # else it has its default
                    yield name, self.deployed[1][name]
            else:
                yield name, asked.get(f"{prefix}ParameterValue", "")

    def _changes(self, text: str, given: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
        if (text, dict(given)) == (self.deployed[0], dict(self.deployed[1])):
            return {}
        action = "Modify" if self.deployed[0] else "Add"
        resources: Mapping[str, Any] = _read(text)["Resources"]
        return {name: (action, resource["Type"]) for name, resource in resources.items()}

    def _uploaded(self, url: str) -> str:
        """A template that SAM has put into its bucket: the address is path-style."""
        bucket, _, key = unquote(urlparse(url).path).lstrip("/").partition("/")
        return self._object(bucket, key).decode()

    def _object(self, bucket: str, key: str) -> bytes:
        body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def _unpacked(self, made: ChangeSet, folder: Path) -> Template:
        """The change set's template with everything that it refers to, as files."""
        folder.mkdir(parents=True)
        written = _read(made.text)
        for name, resource in written["Resources"].items():
            attribute = _PATHS.get(resource["Type"])
            if attribute is not None:
                resource["Properties"][attribute] = self._fetched(resource["Properties"][attribute], folder, name)
        path = folder / "template.yaml"
        path.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        return Template(path, made.parameters)

    def _fetched(self, place: Any, folder: Path, name: str) -> str:  # noqa: ANN401 (an address, or its parts)
        if isinstance(place, Mapping):
            bucket, key = place["Bucket"], place["Key"]
        else:
            match = re.fullmatch(r"s3://([^/]+)/(.+)", str(place))
            if match is None:
                raise TemplateError(f"{name}: {place} is not in S3")
            bucket, key = match[1], match[2]
        content = self._object(bucket, key)
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                packed.extractall(folder / name)
            return name
        (folder / f"{name}.json").write_bytes(content)
        return f"{name}.json"


def event(stack: str, status: str, logical_id: str, kind: str, reason: str = "") -> Mapping[str, Any]:
    """One event of a stack, as DescribeStackEvents tells it."""
    now = datetime.now(UTC)
    return {
        "EventId": f"{logical_id}-{status}-{now.timestamp()}",
        "StackId": f"arn:aws:cloudformation:{REGION}:123456789012:stack/{stack}/local",
        "StackName": stack,
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": f"arn:aws:cloudformation:{REGION}:123456789012:stack/{stack}/local"
        if logical_id == stack
        else logical_id,
        "ResourceType": kind,
        "ResourceStatus": status,
        **({"ResourceStatusReason": reason} if reason else {}),
        "Timestamp": now.isoformat(),
    }


def _read(text: str) -> dict[str, Any]:
    """A template's text as written, in its long forms."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.yaml"
        path.write_text(text, encoding="utf-8")
        source = Template(path).source
    copied: dict[str, Any] = json.loads(json.dumps(source))
    return copied

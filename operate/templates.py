"""The template that `sam package` has made: what a change set needs to know of it, and what is written into it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from operate.errors import OperateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {"AWS::DynamoDB::Table": "TableName", "AWS::S3::Bucket": "BucketName"}
_IN_S3 = re.compile(r'"s3://([^/"]+)/')


@dataclass(frozen=True, slots=True)
class Retained:
    """A table or a bucket that outlives its stack.

    Attributes:
        logical_id: its name in the template.
        type: of CloudFormation.
        name: under which it exists.
        properties: as the template has them.
    """

    logical_id: str
    type: str
    name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Packaged:
    """A template whose code lies in S3."""

    body: dict[str, Any]

    @property
    def text(self) -> str:
        """As CloudFormation is given it: the same text for the same template."""
        return json.dumps(self.body, indent=1)

    @property
    def bucket(self) -> str:
        """Where SAM has put the code.

        Raises:
            OperateError: nowhere.
        """
        found = _IN_S3.search(self.text)
        if found is None:
            raise OperateError("`sam package` has uploaded nothing.", "Run it by hand: it says why.")
        return found[1]

    @property
    def key(self) -> str:
        """Where the template goes in that bucket, by its content."""
        return f"{hashlib.sha256(self.text.encode()).hexdigest()[:32]}.template"

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(self.body.get("Parameters", {}))

    @property
    def retained(self) -> list[Retained]:
        """What outlives the stack and has a name that is spelt out."""
        found = []
        for logical_id, resource in self.body["Resources"].items():
            properties = resource.get("Properties", {})
            name = properties.get(_NAMES.get(resource["Type"], ""))
            if resource.get("DeletionPolicy") == "Retain" and isinstance(name, str):
                found.append(Retained(logical_id, resource["Type"], name, properties))
        return found

    def named(self, stack: str, account: str, region: str) -> Packaged:
        """The same with the names of tables and buckets spelt out.

        CloudFormation takes over what exists only under a name in which no function is left (user guide, "Import AWS
        resources into a CloudFormation stack automatically").
        """
        known = {"AWS::StackName": stack, "AWS::AccountId": account, "AWS::Region": region}
        body: dict[str, Any] = json.loads(self.text)
        for resource in body["Resources"].values():
            properties, key = resource.get("Properties", {}), _NAMES.get(resource["Type"], "")
            if key in properties:
                properties[key] = _spelt_out(properties[key], known)
        return Packaged(body)


def _spelt_out(name: Any, known: Mapping[str, str]) -> Any:  # noqa: ANN401 (as a template has it)
    if not isinstance(name, dict) or not isinstance(name.get("Fn::Sub"), str):
        return name
    text: str = name["Fn::Sub"]
    for key, value in known.items():
        text = text.replace("${" + key + "}", value)
    return name if "${" in text else text

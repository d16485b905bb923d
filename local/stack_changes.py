"""What a template changes in a stack, as a change set says it: compared by values, before anything is done.

What has to be replaced is in AWS's own schemas of the types, which cfn-lint brings along.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from local.deployer import Deployer
from local.template import REGION, Resolver, Resource, Template, TemplateError

_NAMES = {"AWS::DynamoDB::Table": "TableName", "AWS::S3::Bucket": "BucketName"}
"""Of what can be taken over: the property that is its primary identifier."""

_PROPERTIES = "/properties/"

type Exists = Callable[[str, str], bool]
"""Whether there is a resource of a type under a name."""


@dataclass(frozen=True)
class Change:
    """One change of one resource.

    Attributes:
        action: `Add`, `Modify`, `Remove` or `Import`.
        resource: as it will be; one that is removed as it is.
        physical_id: of what exists.
        changed: names of properties that have another value, each with whether that replaces the resource.
    """

    action: str
    resource: Resource
    physical_id: str = ""
    changed: tuple[tuple[str, bool], ...] = ()

    @property
    def replaces(self) -> bool:
        """Whether another resource takes the place of this one."""
        return any(replaces for _, replaces in self.changed)

    @property
    def described(self) -> Mapping[str, Any]:
        """As DescribeChangeSet has it (CloudFormation API reference, ResourceChange)."""
        modified = {
            "Replacement": "True" if self.replaces else "False",
            "Scope": ["Properties"],
            "Details": [_detail(name, "Always" if replaces else "Never") for name, replaces in self.changed],
        }
        return {
            "Action": self.action,
            "LogicalResourceId": self.resource.logical_id,
            "ResourceType": self.resource.type,
            **({"PhysicalResourceId": self.physical_id} if self.physical_id else {}),
            **(modified if self.action == "Modify" else {}),
            **({"PolicyAction": self._policy} if self.action == "Remove" else {}),
        }

    @property
    def _policy(self) -> str:
        return "Retain" if self.resource.retained else "Delete"


def _detail(name: str, recreation: str) -> Mapping[str, Any]:
    target = {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation}
    return {"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"}


def changes(deployer: Deployer, after: Template, exists: Exists | None) -> list[Change]:
    """What a template changes in what a deployer has created, in the order in which it is done.

    Args:
        deployer: what there is.
        after: the new template.
        exists: takes over what exists under a name that the template spells out; None takes over nothing.

    Raises:
        TemplateError: something can't be resolved, or changes its type.
    """
    before = {resource.logical_id: resource for resource in _existing(deployer)}
    physical = _Afterwards(deployer, {resource.logical_id for resource in after.resources})
    resolver, found = Resolver(after, physical), list[Change]()
    for resource in after.resources:
        known = before.get(resource.logical_id)
        if known is None:
            found.append(_added(resource, exists))
            continue
        if known.type != resource.type:
            raise TemplateError(f"Update of resource type is not permitted: {resource.logical_id}")
        change = _modified(deployer, resource, resolver.resolve(resource.properties))
        if change.changed:
            found.append(change)
        if change.replaces:
            physical.replaced.add(resource.logical_id)
    wanted = {resource.logical_id for resource in after.resources}
    gone = [resource for name, resource in reversed(before.items()) if name not in wanted]
    return found + [Change("Remove", each, deployer.resources[each.logical_id].ref) for each in gone]


def _existing(deployer: Deployer) -> Iterator[Resource]:
    if deployer.resources:  # else its template need not be read
        yield from (resource for resource in deployer.template.resources if resource.logical_id in deployer.resources)


def _added(resource: Resource, exists: Exists | None) -> Change:
    """A name that a function makes is not looked up (CloudFormation user guide, "Import … automatically")."""
    name = resource.properties.get(_NAMES.get(resource.type, ""))
    if exists is not None and resource.retained and isinstance(name, str) and exists(resource.type, name):
        return Change("Import", resource, name)
    return Change("Add", resource)


def _modified(deployer: Deployer, resource: Resource, properties: Mapping[str, Any]) -> Change:
    was = deployer.properties[resource.logical_id]
    names = sorted(name for name in was.keys() | properties.keys() if was.get(name) != properties.get(name))
    fixed = replacing(resource.type) if names else frozenset()
    changed = tuple((name, name in fixed) for name in names)
    return Change("Modify", resource, deployer.resources[resource.logical_id].ref, changed)


@cache
def replacing(kind: str) -> frozenset[str]:
    """The properties of a type that can't be changed without replacing the resource."""
    spec = importlib.util.find_spec("cfnlint")
    if spec is None or spec.origin is None:
        raise TemplateError("cfn-lint is not installed: it brings the schemas of AWS's resource types")
    schemas = Path(spec.origin).parent / "data" / "schemas"
    names: Mapping[str, str] = json.loads((schemas / "providers" / f"{REGION}.json").read_bytes())
    schema = json.loads((schemas / "resources" / f"{names[kind]}.json").read_bytes())
    only = (*schema.get("createOnlyProperties", ()), *schema.get("conditionalCreateOnlyProperties", ()))
    return frozenset(one.removeprefix(_PROPERTIES).partition("/")[0] for one in only)


class _Afterwards:
    """References to what will be: what stays has its name already, what is new or replaced has none yet."""

    def __init__(self, deployer: Deployer, wanted: set[str]) -> None:
        self._deployer = deployer
        self._wanted = wanted
        self.replaced: set[str] = set()

    def ref(self, logical_id: str) -> Any:  # noqa: ANN401 (as the template has it)
        return self._deployer.ref(logical_id) if self._stays(logical_id) else f"{{{{what is to be {logical_id}}}}}"

    def attribute(self, logical_id: str, name: str) -> Any:  # noqa: ANN401
        if self._stays(logical_id):
            return self._deployer.attribute(logical_id, name)
        return f"{{{{what is to be {logical_id}.{name}}}}}"

    def _stays(self, logical_id: str) -> bool:
        if logical_id not in self._wanted:
            unknown = f"Unresolved resource dependencies [{logical_id}] in the Resources block of the template"
            raise TemplateError(unknown)
        return logical_id in self._deployer.resources and logical_id not in self.replaced

"""template.yaml as CloudFormation would see it: SAM expanded, conditions decided, references resolved.

The expansion is aws-sam-translator's, the library that AWS runs behind the template's `Transform`.
"""

import base64
import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

import boto3
import yaml

ACCOUNT = "123456789012"
REGION = "eu-west-1"
STACK = "serverless-openclaw"

PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": STACK,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/local",
}
NO_VALUE = object()
"""What `Ref: AWS::NoValue` resolves to: the property is left out."""

MANAGED_POLICY_ARNS = {
    "AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
    "AWSXRayDaemonWriteAccess": "arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess",
}
"""AWS's managed policies that a template may name."""

LOCAL_BUCKET = "local"
"""Where a local path seems to be once it is expanded."""

_LOCAL_PATHS = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Serverless::StateMachine": "DefinitionUri",
}
_VARIABLE = re.compile(r"\$\{(!?)([^}]+)\}")


class TemplateError(Exception):
    """The template says something that can't be resolved; the message names the place."""


class Physical(Protocol):
    """Where references to resources are looked up while they are being created."""

    def ref(self, logical_id: str) -> Any:  # noqa: ANN401
        """What `Ref` gives for a resource that exists."""

    def attribute(self, logical_id: str, name: str) -> Any:  # noqa: ANN401
        """What `Fn::GetAtt` gives for a resource that exists."""


@dataclass(frozen=True)
class Resource:
    """One plain CloudFormation resource, its properties not resolved yet.

    Attributes:
        retained: whether it outlives its stack.
    """

    logical_id: str
    type: str
    properties: dict[str, Any]
    retained: bool = False


class _Loader(yaml.SafeLoader):
    """Reads the short forms of intrinsic functions (`!Sub`) as their long ones."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
# A date in a template (`Version: 2012-10-17`) is text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass
class Template:
    """A template and the parameters it is deployed with.

    Args:
        path: the template's file.
        given: parameter values that replace the defaults.
    """

    path: Path
    given: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def source(self) -> dict[str, Any]:
        """The template as written, short forms expanded."""
        text = self.path.read_text(encoding="utf-8")
        # JSON is YAML, too, but takes a hundred times as long as such.
        loaded = json.loads(text) if text.startswith("{") else yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
        if not isinstance(loaded, dict) or "Resources" not in loaded:
            raise TemplateError(f"{self.path.name} has no Resources")
        return loaded

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, the pseudo parameters included.

        Raises:
            TemplateError: a given parameter does not exist, or one without default is not given.
        """
        declared: dict[str, Any] = self.source.get("Parameters", {})
        unknown = self.given.keys() - declared.keys()
        if unknown:
            raise TemplateError(f"no such parameter: {', '.join(sorted(unknown))}")
        missing = [name for name, it in declared.items() if "Default" not in it and name not in self.given]
        if missing:
            raise TemplateError(f"parameters without a value: {', '.join(missing)}")
        values = {name: self.given.get(name, it.get("Default")) for name, it in declared.items()}
        return PSEUDO_PARAMETERS | {name: _typed(declared[name], value) for name, value in values.items()}

    @cached_property
    def expanded(self) -> dict[str, Any]:
        """The template after the SAM transform, its local paths as `s3://local/<path>`."""
        # Imported here: 0.3 s that a plain template need not pay.
        from samtranslator.parser.parser import Parser  # noqa: PLC0415
        from samtranslator.translator.translator import Translator  # noqa: PLC0415

        given = {name: value for name, value in self.parameters.items() if not name.startswith("AWS::")}
        # A session of our own: otherwise it looks for the region in this machine's AWS settings.
        translator = Translator(MANAGED_POLICY_ARNS, Parser(), boto_session=boto3.Session(region_name=REGION))
        expanded = dict(translator.translate(self._with_uploaded_paths(), given))
        translator.metrics.publish()  # to nobody; it warns if this is not called
        return expanded

    def _with_uploaded_paths(self) -> dict[str, Any]:
        """The translator refuses local paths: `sam package` would have uploaded them."""
        uploaded = copy.deepcopy(self.source)
        for resource in uploaded["Resources"].values():
            if resource["Type"] in _LOCAL_PATHS:
                _upload(resource.setdefault("Properties", {}), _LOCAL_PATHS[resource["Type"]])
        for kind, properties in uploaded.get("Globals", {}).items():
            _upload(properties, _LOCAL_PATHS.get(f"AWS::Serverless::{kind}", ""))
        return uploaded

    @cached_property
    def conditions(self) -> dict[str, bool]:
        """Every condition, decided."""
        resolver = Resolver(self, _NothingExists())
        names: dict[str, Any] = self.expanded.get("Conditions", {})
        return {name: bool(resolver.resolve(body)) for name, body in names.items()}

    @cached_property
    def resources(self) -> list[Resource]:
        """The resources whose condition holds, each after those that it refers to.

        Raises:
            TemplateError: resources refer to each other in a circle.
        """
        wanted = {
            logical_id: body
            for logical_id, body in self.expanded["Resources"].items()
            if self.conditions.get(body.get("Condition", ""), True)
        }
        graph = {logical_id: _references(body) & wanted.keys() for logical_id, body in wanted.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as cycle:
            raise TemplateError(f"circular references: {' → '.join(cycle.args[1])}") from cycle
        return [
            Resource(
                name,
                wanted[name]["Type"],
                wanted[name].get("Properties", {}),
                wanted[name].get("DeletionPolicy", "").startswith("Retain"),
            )
            for name in order
        ]

    def outputs(self, physical: Physical) -> dict[str, Any]:
        """The outputs, resolved."""
        resolver = Resolver(self, physical)
        declared: dict[str, Any] = self.expanded.get("Outputs", {})
        return {
            name: resolver.resolve(body["Value"])
            for name, body in declared.items()
            if self.conditions.get(body.get("Condition", ""), True)
        }

    def local_file(self, location: Mapping[str, Any] | str) -> Path:
        """The file that an `S3Location` of the expanded template stands for."""
        key = location["Key"] if isinstance(location, Mapping) else location.split("/", 3)[3]
        return self.path.parent / str(key)


def _upload(properties: dict[str, Any], name: str) -> None:
    if isinstance(properties.get(name), str) and not properties[name].startswith("s3://"):
        properties[name] = f"s3://{LOCAL_BUCKET}/{properties[name]}"


def _typed(declaration: Mapping[str, Any], value: Any) -> Any:  # noqa: ANN401
    kind = str(declaration.get("Type", "String"))
    if kind == "CommaDelimitedList" or kind.startswith("List<"):
        return [part.strip() for part in str(value).split(",")]
    return str(value)


class _NothingExists:
    """Conditions may not refer to resources."""

    def ref(self, logical_id: str) -> Any:  # noqa: ANN401
        raise TemplateError(f"{logical_id} is neither a parameter nor a resource that exists")

    def attribute(self, logical_id: str, name: str) -> Any:  # noqa: ANN401
        raise TemplateError(f"{logical_id}.{name} is needed before {logical_id} exists")


def _references(value: Any) -> set[str]:  # noqa: ANN401
    """Every name that a piece of template refers to, parameters included."""
    if isinstance(value, list):
        return set().union(*map(_references, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*(_references(part) for part in value.values()))
    for key, part in value.items():
        found |= _named(key, part)
    return found


def _named(key: str, value: Any) -> set[str]:  # noqa: ANN401
    if key == "Ref":
        return {value}
    if key == "Fn::GetAtt":
        return {value[0] if isinstance(value, list) else value.split(".")[0]}
    if key == "DependsOn":
        return {value} if isinstance(value, str) else set(value)
    if key == "Fn::Sub":
        text = value[0] if isinstance(value, list) else value
        return {name.split(".")[0] for literal, name in _VARIABLE.findall(text) if not literal}
    return set()


class Resolver:
    """Evaluates intrinsic functions.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html

    Args:
        template: gives parameters, conditions and mappings.
        physical: gives what exists so far.
    """

    def __init__(self, template: Template, physical: Physical) -> None:
        self._template = template
        self._physical = physical
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Condition": self._condition,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::If": self._if,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Base64": lambda text: base64.b64encode(str(self.resolve(text)).encode()).decode(),
            "Fn::Equals": lambda pair: self.resolve(pair[0]) == self.resolve(pair[1]),
            "Fn::GetAZs": lambda _: [f"{REGION}{zone}" for zone in "abc"],
            "Fn::Not": lambda one: not self.resolve(one[0]),
            "Fn::And": lambda parts: all(self.resolve(part) for part in parts),
            "Fn::Or": lambda parts: any(self.resolve(part) for part in parts),
        }

    def resolve(self, value: Any) -> Any:  # noqa: ANN401
        """The value with every intrinsic function evaluated.

        Raises:
            TemplateError: a function is not known, or a name does not exist.
        """
        if isinstance(value, list):
            return self._kept(map(self.resolve, value))
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"{name} is not known to the local cloud")
        resolved = {key: self.resolve(part) for key, part in value.items()}
        return {key: part for key, part in resolved.items() if part is not NO_VALUE}

    @staticmethod
    def _kept(values: Iterable[Any]) -> list[Any]:
        return [value for value in values if value is not NO_VALUE]

    def _ref(self, name: str) -> Any:  # noqa: ANN401
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._template.parameters:
            return self._template.parameters[name]
        return self._physical.ref(name)

    def _condition(self, name: Any) -> Any:  # noqa: ANN401
        # `Condition` is also a key of IAM statements, whose value is a mapping.
        if not isinstance(name, str):
            return {"Condition": self.resolve(name)}
        return self.resolve(self._template.expanded["Conditions"][name])

    def _get_att(self, argument: Any) -> Any:  # noqa: ANN401
        logical_id, name = argument if isinstance(argument, list) else argument.split(".", 1)
        return self._physical.attribute(logical_id, str(self.resolve(name)))

    def _sub(self, argument: Any) -> str:  # noqa: ANN401
        text, given = (argument[0], argument[1]) if isinstance(argument, list) else (argument, {})

        def replace(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return "${" + match[2] + "}"
            if name in given:
                return str(self.resolve(given[name]))
            if "." in name:
                return str(self._get_att(name))
            return str(self._ref(name))

        return _VARIABLE.sub(replace, text)

    def _join(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(str(part) for part in self.resolve(parts))

    def _if(self, argument: list[Any]) -> Any:  # noqa: ANN401
        name, then, otherwise = argument
        return self.resolve(then if self._template.conditions[name] else otherwise)

    def _select(self, argument: list[Any]) -> Any:  # noqa: ANN401
        index, parts = argument
        return self.resolve(parts)[int(self.resolve(index))]

    def _split(self, argument: list[Any]) -> list[str]:
        separator, text = argument
        return str(self.resolve(text)).split(separator)

    def _find_in_map(self, argument: list[Any]) -> Any:  # noqa: ANN401
        name, first, second = (self.resolve(part) for part in argument[:3])
        return self.resolve(self._template.expanded["Mappings"][name][first][second])

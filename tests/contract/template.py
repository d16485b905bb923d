"""template.yaml as data: as it is written, and as AWS sees it after the SAM transform."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"

type Json = dict[str, Any]

_VARIABLE = re.compile(r"\$\{([^!}.]+)[^}]*\}")
_AT_A_BUCKET = {"CodeUri", "ContentUri", "DefinitionUri"}
PARAMETERS_WITHOUT_DEFAULT = {"BotUsername": "contract_bot"}


@cache
def written() -> Json:
    """The template as it is written; `!Ref x` reads as `{"Ref": "x"}`, and so on."""
    template: Json = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))
    return template


@cache
def expanded(**given: str) -> Json:
    """The plain CloudFormation template that the SAM transform makes of it; what is not given has its default."""
    template = copy.deepcopy(written())
    for holder in [template["Globals"]["Function"], *(r.get("Properties", {}) for r in template["Resources"].values())]:
        for name in _AT_A_BUCKET & holder.keys():
            holder[name] = "s3://bucket/key"  # where `sam deploy` would have put it
    translated: Json = Translator({}, Parser()).translate(template, PARAMETERS_WITHOUT_DEFAULT | given)
    return translated


def resources(kind: str, *, of: Json | None = None) -> dict[str, Json]:
    """Properties by logical id of the resources of a type; of the expanded template by default."""
    everything: dict[str, Json] = (of or expanded())["Resources"]
    return {name: found.get("Properties", {}) for name, found in everything.items() if found["Type"] == kind}


def functions() -> dict[str, Json]:
    """The functions, with what they inherit from Globals."""
    return resources("AWS::Lambda::Function")


def written_functions() -> dict[str, Json]:
    """The functions as they are written: with events and policies."""
    return resources("AWS::Serverless::Function", of=written())


def module_of(logical_id: str) -> str:
    """`AskOpenRouter` → `ask_open_router`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", logical_id).lower()


def pascal_case(module: str) -> str:
    """`ask_open_router` → `AskOpenRouter`."""
    return "".join(word.capitalize() for word in module.split("_"))


def references(node: object) -> Iterator[str]:
    """Every name that a part of the template refers to by Ref, Fn::GetAtt or Fn::Sub."""
    match node:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::Sub": str(pattern) | [str(pattern), *_]}:
            yield from _VARIABLE.findall(pattern)
        case dict():
            yield from references(list(node.values()))
        case list():
            for value in node:
                yield from references(value)


def text(value: object) -> str:
    """A value of the template in one line: `WebhookLogGroup`, `FailureQueue.Arn`, `arn:${AWS::Partition}:…`."""
    match value:
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": str(pattern)}:
            return pattern
    return str(value)


def environment(logical_id: str) -> dict[str, str]:
    """A function's environment variables with parameters at their defaults and resources by their logical ids."""
    variables: Json = functions()[logical_id]["Environment"]["Variables"]
    return {name: _resolved(value) for name, value in variables.items()}


def _resolved(value: object) -> str:
    parameters: Json = written()["Parameters"]
    match value:
        case {"Ref": str(name)} if name in parameters:
            return str(parameters[name].get("Default", PARAMETERS_WITHOUT_DEFAULT.get(name)))
        case {"Ref": str(name)}:
            return name
        case {"Fn::Sub": str(pattern)}:
            return _VARIABLE.sub(lambda variable: variable[1].removeprefix("AWS::").lower(), pattern)
        case {"Fn::If": [str(condition), if_so, if_not]}:
            return _resolved(if_so if _holds(written()["Conditions"][condition]) else if_not)
    return str(value)


def _holds(condition: object) -> bool:
    """A condition, with parameters at their defaults."""
    match condition:
        case {"Fn::Not": [inner]}:
            return not _holds(inner)
        case {"Fn::And": [*parts]}:
            return all(_holds(part) for part in parts)
        case {"Condition": str(name)}:
            return _holds(written()["Conditions"][name])
        case {"Fn::Equals": [one, other]}:
            return _resolved(one) == _resolved(other)
    raise AssertionError(f"{condition} is not understood")


@dataclass(frozen=True, slots=True)
class Grant:
    """One statement of a role, with its resources as text and the keys that a LeadingKeys condition leaves.

    `condition`: the template's condition that it depends on, if any.
    """

    role: str
    effect: str
    actions: frozenset[str]
    resources: tuple[str, ...]
    leading_keys: tuple[str, ...] | None
    condition: str | None = None


@cache
def grants() -> tuple[Grant, ...]:
    """Every statement of every role, those included that SAM adds; managed policies are not among them."""
    return tuple(
        _grant(role, statement)
        for role, properties in resources("AWS::IAM::Role").items()
        for policy in properties.get("Policies", [])
        for statement in _listed(policy["PolicyDocument"]["Statement"])
    )


def _grant(role: str, statement: Json) -> Grant:
    if "Fn::If" in statement:
        condition, then, otherwise = statement["Fn::If"]
        assert otherwise == {"Ref": "AWS::NoValue"}, "a statement either is there or is not"
        return replace(_grant(role, then), condition=condition)
    keys: Any = None
    for operator, test in statement.get("Condition", {}).items():
        if operator in ("ForAllValues:StringLike", "ForAllValues:StringEquals"):
            keys = test.get("dynamodb:LeadingKeys")
    return Grant(
        role,
        statement["Effect"],
        frozenset(_listed(statement["Action"])),
        tuple(text(resource) for resource in _listed(statement["Resource"])),
        None if keys is None else tuple(_listed(keys)),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

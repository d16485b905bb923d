"""IAM in front of moto: whether a role may make a call, by its policies, resource ARNs and conditions.

moto's own check ignores resources and conditions. Here an operation, resource or condition operator that is not
known is refused: a gap in the gate shows as a denied call, never as an allowed one.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import functools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import unescape

from moto.iam.models import iam_backends
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from moto.sts.models import sts_backends

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.ecs_task import definition
from local.fargate import cluster_arn
from local.server import WsgiApp
from local.template import ACCOUNT, REGION


@dataclass(frozen=True)
class Access:
    """One permission that a call needs.

    Attributes:
        action: as in a policy, `dynamodb:PutItem`.
        resource: ARN, or `*` where the action knows no resource.
        context: condition keys that the request sets.
    """

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Denied:
    """A call that was refused, for people and tests to read."""

    principal: str
    action: str
    resource: str
    reason: str


class UnknownAccess(Exception):
    """The gate can't tell what a call needs, and so refuses it."""


class Gate:
    """Lets the driver's own calls through, and everybody else's if their role allows them.

    Args:
        admin_keys: access key ids that may do everything.
        table_keys: gives a table's partition key (or that of an index of it), for `dynamodb:LeadingKeys`.
    """

    def __init__(self, admin_keys: set[str], table_keys: Callable[[str, str | None], str | None]) -> None:
        self._admin_keys = admin_keys
        self._table_keys = table_keys
        self._principals: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {}
        self._lock = threading.Lock()
        self.denied: list[Denied] = []

    def refusal(self, request: AwsRequest) -> WsgiApp | None:
        """The error to answer with, or None when the call is allowed."""
        if request.access_key in self._admin_keys:
            if request.service == "iam":
                self._forget()
            return None
        principal = self._principal(request.access_key)
        if principal is None:
            self._log("unknown", request.name, "*", "the access key is not known")
            message = "The security token included in the request is invalid"
            return aws_error(request.service, "UnrecognizedClientException", message)
        arn, policies = principal
        if request.name == "sts:GetCallerIdentity":
            return None  # needs no permission, and can't be denied one
        try:
            return self._first_refusal(request, arn, policies)
        except UnknownAccess as unknown:
            self._log(arn, request.name, "*", str(unknown))
            return _not_authorized(request, arn, request.name, "*", f"the gate does not know it: {unknown}")

    def _first_refusal(self, request: AwsRequest, arn: str, policies: Sequence[Mapping[str, Any]]) -> WsgiApp | None:
        common = {"aws:RequestedRegion": REGION, "aws:PrincipalArn": arn, "aws:PrincipalAccount": ACCOUNT}
        for access in needed(request, self._table_keys):
            verdict = evaluate(policies, access.action, access.resource, {**common, **access.context})
            if verdict != "allowed":
                self._log(arn, access.action, access.resource, verdict)
                return _not_authorized(request, arn, access.action, access.resource, verdict)
        return None

    def _log(self, principal: str, action: str, resource: str, reason: str) -> None:
        self.denied.append(Denied(principal, action, resource, reason))

    def _forget(self) -> None:
        with self._lock:
            self._principals.clear()

    def _principal(self, access_key: str) -> tuple[str, Sequence[Mapping[str, Any]]] | None:
        with self._lock:
            if access_key not in self._principals:
                found = _role_of(access_key)
                if found is None:
                    return None
                self._principals[access_key] = found
            return self._principals[access_key]


def _role_of(access_key: str) -> tuple[str, Sequence[Mapping[str, Any]]] | None:
    """The role behind temporary credentials, and its policies parsed."""
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key)
    if session is None:
        return None
    role = iam_backends[ACCOUNT]["aws"].get_role(session.role_arn.rpartition("/")[2])
    documents = list(role.policies.values())
    documents += [policy.document for policy in role.managed_policies.values()]
    return session.arn, [json.loads(document) if isinstance(document, str) else document for document in documents]


def _not_authorized(request: AwsRequest, arn: str, action: str, resource: str, reason: str) -> WsgiApp:
    because = (
        "with an explicit deny in an identity-based policy"
        if reason == "explicit deny"
        else f"because no identity-based policy allows the {action} action"
    )
    message = f"User: {arn} is not authorized to perform: {action} on resource: {resource} {because}"
    code = "AccessDenied" if request.service in {"s3", "sts", "iam"} else "AccessDeniedException"
    forbidden = request.service in {"s3", "lambda", "sts", "iam"}
    return aws_error(request.service, code, message, HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.BAD_REQUEST)


def evaluate(policies: Sequence[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, Any]) -> str:
    """Whether identity policies allow an action: `allowed`, `not allowed` or `explicit deny`.

    Raises:
        UnknownAccess: a policy uses what the gate does not know.
    """
    verdict = "not allowed"
    for policy in policies:
        for statement in _as_list(policy["Statement"]):
            if not _applies(statement, action, resource, context):
                continue
            if statement["Effect"] == "Deny":
                return "explicit deny"
            verdict = "allowed"
    return verdict


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, Any]) -> bool:
    lowered = action.lower()
    if "Action" in statement:
        named = any(_like(pattern.lower(), lowered) for pattern in _as_list(statement["Action"]))
    else:
        named = not any(_like(pattern.lower(), lowered) for pattern in _as_list(statement["NotAction"]))
    if not named:
        return False
    if "NotResource" in statement:
        inside = not any(_like(pattern, resource) for pattern in _as_list(statement["NotResource"]))
    else:
        inside = any(_like(pattern, resource) for pattern in _as_list(statement["Resource"]))
    return inside and all(
        _holds(operator, key, wanted, context)
        for operator, wanted_by_key in statement.get("Condition", {}).items()
        for key, wanted in wanted_by_key.items()
    )


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


@functools.lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda got, wanted: got == wanted,
    "StringNotEquals": lambda got, wanted: got != wanted,
    "StringEqualsIgnoreCase": lambda got, wanted: got.lower() == wanted.lower(),
    "StringLike": lambda got, wanted: _like(wanted, got),
    "StringNotLike": lambda got, wanted: not _like(wanted, got),
    "ArnEquals": lambda got, wanted: _like(wanted, got),
    "ArnLike": lambda got, wanted: _like(wanted, got),
    "Bool": lambda got, wanted: got.lower() == wanted.lower(),
}


def _holds(operator: str, key: str, wanted: Any, context: Mapping[str, Any]) -> bool:  # noqa: ANN401
    """One condition: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html."""
    quantifier, _, base = operator.rpartition(":")
    if_exists = base.endswith("IfExists")
    base = base.removesuffix("IfExists")
    if base not in _OPERATORS or quantifier not in {"", "ForAllValues", "ForAnyValue"}:
        raise UnknownAccess(f"condition operator {operator}")
    values = [str(value) for value in _as_list(context.get(key, []))]
    if not values:
        return if_exists or quantifier == "ForAllValues" or "Not" in base
    choices = [str(one) for one in _as_list(wanted)]
    combine = all if "Not" in base else any
    met = [combine(_OPERATORS[base](value, one) for one in choices) for value in values]
    return all(met) if quantifier == "ForAllValues" else any(met)


type TableKeys = Callable[[str, str | None], str | None]


def needed(request: AwsRequest, table_keys: TableKeys) -> Iterator[Access]:
    """The permissions that a call needs.

    Args:
        request: the call.
        table_keys: partition key by table and index.

    Raises:
        UnknownAccess: the service or operation is not known here.
    """
    if not request.operation or request.service not in _SERVICES:
        raise UnknownAccess(f"{request.method} {request.path} of {request.service or 'an unsigned request'}")
    return _SERVICES[request.service](request, table_keys)


_TABLE_OPERATIONS = {
    "GetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "Query",
    "Scan",
    "DescribeTable",
    "DescribeTimeToLive",
    "DescribeContinuousBackups",
}
_TRANSACTION_PARTS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
_KEY_EQUALS = re.compile(r"([#\w]+)\s*=\s*(:\w+)")


def _dynamodb(request: AwsRequest, table_keys: TableKeys) -> Iterator[Access]:
    parameters, operation = request.parameters, request.operation
    if operation in {"TransactWriteItems", "TransactGetItems"}:
        for item in parameters.get("TransactItems", []):
            kind, part = next(iter(item.items()))
            yield _item_access(_TRANSACTION_PARTS[kind], part, table_keys, operation)
    elif operation in {"BatchWriteItem", "BatchGetItem"}:
        for table, items in parameters.get("RequestItems", {}).items():
            yield _batch_access(operation, table, items, table_keys)
    elif operation in _TABLE_OPERATIONS and "TableName" in parameters:
        yield _item_access(operation, parameters, table_keys, None)
    else:
        raise UnknownAccess(f"dynamodb:{operation}")


def _table_arn(table: str) -> str:
    return table if table.startswith("arn:") else f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"


def _item_access(operation: str, part: Mapping[str, Any], table_keys: TableKeys, enclosing: str | None) -> Access:
    table, index = part["TableName"], part.get("IndexName")
    resource = _table_arn(table) + (f"/index/{index}" if index else "")
    context: dict[str, Any] = {}
    if enclosing:
        context["dynamodb:EnclosingOperation"] = enclosing
    if "Select" in part:
        context["dynamodb:Select"] = part["Select"]
    if "ReturnValues" in part:
        context["dynamodb:ReturnValues"] = part["ReturnValues"]
    key = table_keys(table.rpartition("/")[2], index)
    leading = _leading_key(part, key) if key else None
    if leading is not None:
        context["dynamodb:LeadingKeys"] = [leading]
    return Access(f"dynamodb:{operation}", resource, context)


def _leading_key(part: Mapping[str, Any], key: str) -> str | None:
    """The value of the partition key in an item, a key or a query's condition."""
    named = part.get("Key") or part.get("Item") or {}
    if key in named:
        return _scalar(named[key])
    names = part.get("ExpressionAttributeNames", {})
    for name, value in _KEY_EQUALS.findall(part.get("KeyConditionExpression", "")):
        if names.get(name, name) == key:
            return _scalar(part.get("ExpressionAttributeValues", {}).get(value, {}))
    return None


def _scalar(value: Mapping[str, Any]) -> str | None:
    return next((str(inner) for inner in value.values()), None)


def _batch_access(operation: str, table: str, items: Any, table_keys: TableKeys) -> Access:  # noqa: ANN401
    key = table_keys(table, None) or ""
    if operation == "BatchGetItem":
        keys = [entry[key] for entry in items["Keys"] if key in entry]
    else:
        bodies = [next(iter(entry.values())) for entry in items]
        named = [body.get("Item") or body.get("Key") or {} for body in bodies]
        keys = [entry[key] for entry in named if key in entry]
    return Access(
        f"dynamodb:{operation}",
        _table_arn(table),
        {"dynamodb:LeadingKeys": [_scalar(value) for value in keys]},
    )


_ON_STATE_MACHINE = {"StartExecution", "ListExecutions", "DescribeStateMachine", "StartSyncExecution"}
_ON_EXECUTION = {"DescribeExecution", "StopExecution", "GetExecutionHistory", "RedriveExecution"}
_ON_TOKEN = {"SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"}


def _states(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    parameters = request.parameters
    if request.operation in _ON_STATE_MACHINE:
        yield Access(request.name, parameters.get("stateMachineArn", ""))
    elif request.operation in _ON_EXECUTION:
        yield Access(request.name, parameters.get("executionArn", ""))
    elif request.operation in _ON_TOKEN:
        yield Access(request.name, _machine_of(str(parameters.get("taskToken", ""))))
    else:
        raise UnknownAccess(request.name)


def _machine_of(token: str) -> str:
    """The state machine whose execution waits with a token; for one that is gone, the first state machine there is."""
    machines = stepfunctions_parser_backends[ACCOUNT][REGION].state_machines
    for machine in list(machines):
        for execution in list(machine.executions):
            worker = execution.exec_worker
            if worker is not None and worker.env.callback_pool_manager.get(token) is not None:
                return str(machine.arn)
    return next((str(machine.arn) for machine in machines), "*")


def _ecs(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    """RunTask also hands over the definition's roles (Amazon ECS developer guide, "Task IAM role", iam:PassRole)."""
    parameters = request.parameters
    cluster = cluster_arn(parameters.get("cluster", "default"))
    if request.operation == "RunTask":
        found = definition(parameters.get("taskDefinition", ""))
        if found is None:
            raise UnknownAccess("the task definition is not known")
        yield Access(request.name, found.arn, {"ecs:cluster": cluster})
        for role in filter(None, (found.task_role_arn, found.execution_role_arn)):
            yield Access("iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
    elif request.operation in {"StopTask", "DescribeTasks"}:
        for task in parameters.get("tasks") or [parameters.get("task", "")]:
            identifier = str(task).rpartition("/")[2]
            arn = f"{cluster.replace(':cluster/', ':task/')}/{identifier}"
            yield Access(request.name, arn, {"ecs:cluster": cluster})
    elif request.operation == "ListTasks":
        # Its resource type is the container instance, of which Fargate has none (ECS service authorization reference).
        instances = cluster.replace(":cluster/", ":container-instance/")
        yield Access(request.name, f"{instances}/*", {"ecs:cluster": cluster})
    else:
        raise UnknownAccess(request.name)


_ON_SCHEDULE = {"CreateSchedule", "GetSchedule", "DeleteSchedule"}


def _scheduler(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    """CreateSchedule also hands over the target's role (Scheduler user guide, "Identity-based policies")."""
    if request.operation not in _ON_SCHEDULE:
        raise UnknownAccess(request.name)
    parameters = request.parameters
    group = parameters.get("GroupName") or request.query.get("groupName") or "default"
    name = unquote(request.path).rpartition("/")[2]
    yield Access(request.name, f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{group}/{name}")
    if request.operation == "CreateSchedule":
        role = parameters.get("Target", {}).get("RoleArn", "")
        yield Access("iam:PassRole", role, {"iam:PassedToService": "scheduler.amazonaws.com"})


def _ssm(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    parameters = request.parameters
    if request.operation not in {"GetParameter", "GetParameters", "GetParametersByPath", "PutParameter"}:
        raise UnknownAccess(request.name)
    names = parameters.get("Names") or [parameters.get("Name") or parameters.get("Path") or ""]
    for name in names:
        yield Access(request.name, f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}")


def _sqs(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    parameters = request.parameters
    name = parameters.get("QueueName") or str(parameters.get("QueueUrl", "")).rpartition("/")[2]
    if not name:
        raise UnknownAccess(request.name)
    operation = request.operation.replace("MessageBatch", "Message")
    yield Access(f"sqs:{operation}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")


def _lambda(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    name = request.invoked_function
    if name is None:
        raise UnknownAccess(f"lambda {request.method} {request.path}")
    yield Access("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")


_S3_ACTIONS = {
    "GetObject": ("GetObject", True),
    "HeadObject": ("GetObject", True),
    "PutObject": ("PutObject", True),
    "DeleteObject": ("DeleteObject", True),
    "PutMultipartUpload": ("PutObject", True),
    "PostMultipartUpload": ("PutObject", True),
    "DeleteMultipartUpload": ("AbortMultipartUpload", True),
    "GetTagging": ("GetObjectTagging", True),
    "PutTagging": ("PutObjectTagging", True),
    "ListObjectsV2": ("ListBucket", False),
    "HeadBucket": ("ListBucket", False),
    "GetObjectVersions": ("ListBucketVersions", False),
    "GetBucketVersioning": ("GetBucketVersioning", False),
}


def _s3(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    bucket, _slash, key = unquote(request.path).lstrip("/").partition("/")
    if request.operation == "PostObjects":
        yield from _deleted(bucket, request.body)
        return
    if request.operation not in _S3_ACTIONS:
        raise UnknownAccess(request.name)
    action, on_object = _S3_ACTIONS[request.operation]
    if on_object and "versionId" in request.query and action in {"GetObject", "DeleteObject"}:
        action += "Version"
    context = {"s3:prefix": request.query["prefix"]} if "prefix" in request.query else {}
    arn = f"arn:aws:s3:::{bucket}"
    yield Access(f"s3:{action}", f"{arn}/{key}" if on_object else arn, context)


def _deleted(bucket: str, body: bytes) -> Iterator[Access]:
    """DeleteObjects asks for each object, and otherwise for versions than for the newest (S3 user guide)."""
    for named in re.findall(rb"<Object>.*?</Object>", body, re.DOTALL):
        found = re.search(rb"<Key>(.*?)</Key>", named, re.DOTALL)
        key = "" if found is None else unescape(found[1].decode())
        action = "DeleteObjectVersion" if b"<VersionId>" in named else "DeleteObject"
        yield Access(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}")


def _events(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    if request.operation != "PutEvents":
        raise UnknownAccess(request.name)
    for entry in request.parameters.get("Entries", []):
        bus = str(entry.get("EventBusName", "default")).rpartition("/")[2]
        arn = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}"
        yield Access(request.name, arn, {"events:source": entry.get("Source", "")})


def _logs(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    group = request.parameters.get("logGroupName")
    if not group:
        raise UnknownAccess(request.name)
    yield Access(request.name, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*")


def _without_resource(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    yield Access(request.name, "*")


def _cloudwatch(request: AwsRequest, table_keys: TableKeys) -> Iterator[Access]:
    if request.operation not in {"PutMetricData", "GetMetricData", "GetMetricStatistics"}:
        raise UnknownAccess(request.name)
    for access in _without_resource(request, table_keys):
        yield Access(access.action.replace("monitoring:", "cloudwatch:"), access.resource)


def _sts(request: AwsRequest, _: TableKeys) -> Iterator[Access]:
    # `sts:AssumeRole` names its role in a query body; no role of this project assumes another one.
    return iter([Access(request.name, "*")])


_SERVICES: dict[str, Callable[[AwsRequest, TableKeys], Iterator[Access]]] = {
    "dynamodb": _dynamodb,
    "ecs": _ecs,
    "events": _events,
    "lambda": _lambda,
    "logs": _logs,
    "monitoring": _cloudwatch,
    "s3": _s3,
    "scheduler": _scheduler,
    "sqs": _sqs,
    "ssm": _ssm,
    "states": _states,
    "sts": _sts,
    "xray": _without_resource,
}

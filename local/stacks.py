"""CloudFormation's API: the stack, its resources and events, change sets.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.change_sets import MANAGED, MANAGED_BUCKET, ChangeSet, ChangeSets
from local.deployer import DeploymentError
from local.server import WsgiApp
from local.template import ACCOUNT, REGION, STACK, Resource, TemplateError
from local.updating import Update, delete_all

_NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
_STACK_TYPE = "AWS::CloudFormation::Stack"
_PAGE = 100
"""Events or changes of one answer."""

type Asked = Mapping[str, str]


@dataclass(frozen=True)
class StackResource:
    """A resource as CloudFormation lists it."""

    logical_id: str
    physical_id: str
    type: str


@dataclass
class StackState:
    """What is told of the stack beside its resources. Tests change it; DeleteStack makes that it does not exist."""

    exists: bool = True
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    events: list[Mapping[str, Any]] = field(default_factory=list)
    changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    token: str = ""

    def failed(self, status: str, logical_id: str, reason: str) -> None:
        """Have the stack end in a status because a resource failed."""
        self.status = status
        self.tell("CREATE_FAILED", logical_id, "AWS::CloudFormation::CustomResource", reason)

    def turn(self, status: str, reason: str = "") -> None:
        """Have the stack be in a status, and say so."""
        self.status, self.reason, self.changed_at = status, reason, datetime.now(UTC)
        self.tell(status, STACK, _STACK_TYPE, reason)

    def told(self, status: str, resource: Resource, reason: str) -> None:
        """Say what has become of a resource."""
        self.tell(status, resource.logical_id, resource.type, reason)

    def tell(self, status: str, logical_id: str, kind: str, reason: str = "") -> None:
        """Add an event: the newest is first."""
        self.events.insert(0, event(status, logical_id, kind, reason, self.token))


@dataclass
class Stacks:
    """Answers what is asked about the one stack, and about SAM's own.

    Attributes:
        resources: gives what exists.
        parameters: gives the stack's.
        outputs: gives the stack's.
        change_sets: of both stacks.
        state: how it is.
    """

    resources: Callable[[], list[StackResource]]
    parameters: Callable[[], Mapping[str, str]]
    outputs: Callable[[], Mapping[str, Any]]
    change_sets: ChangeSets
    state: StackState = field(default_factory=StackState)

    def answer(self, request: AwsRequest) -> WsgiApp:
        """Answer one request."""
        asked = {name: values[0] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
        operations: Mapping[str, Callable[[Asked], Mapping[str, Any]]] = {
            "CreateChangeSet": self._create_change_set,
            "DeleteChangeSet": self._delete_change_set,
            "DeleteStack": self._delete_stack,
            "DescribeChangeSet": lambda given: _page(given, self._change_set(given).described, "Changes"),
            "DescribeStackEvents": lambda given: _page(given, {"StackEvents": self.state.events}, "StackEvents"),
            "DescribeStacks": self._describe_stacks,
            "ExecuteChangeSet": self._execute_change_set,
            "GetTemplateSummary": self._get_template_summary,
            "ListStackResources": self._list_stack_resources,
        }
        operation = operations.get(request.operation)
        if operation is None:
            return aws_error("cloudformation", "InvalidAction", f"the local cloud knows no {request.operation}")
        missing = "ChangeSetName" not in asked and not self._exists(asked.get("StackName", STACK))
        if missing:
            text = f"Stack with id {asked['StackName']} does not exist"
            return aws_error("cloudformation", "ValidationError", text)
        try:
            return answered(request.operation, operation(asked))
        except KeyError as error:
            return aws_error("cloudformation", "ChangeSetNotFound", f"ChangeSet [{error.args[0]}] does not exist")
        except TemplateError as error:
            return aws_error("cloudformation", "ValidationError", str(error))

    def _exists(self, name: str) -> bool:
        if MANAGED in name:
            return self.change_sets.managed
        return self.state.exists and name in {STACK, stack_id(STACK)}

    def _change_set(self, asked: Asked) -> ChangeSet:
        return self.change_sets.find(asked["ChangeSetName"])

    def _create_change_set(self, asked: Asked) -> Mapping[str, Any]:
        if asked["StackName"] not in {STACK, MANAGED}:
            raise TemplateError(f"the local cloud has one stack, {STACK}")
        if asked["StackName"] == STACK:
            self._check_state(creates=asked.get("ChangeSetType") == "CREATE")
        made = self.change_sets.create(asked)
        if made.stack == STACK and not self.state.exists:
            self.state.exists, self.state.token = True, ""
            self.state.events.clear()
            self.state.turn("REVIEW_IN_PROGRESS", "User Initiated")
        return {"Id": made.arn, "StackId": stack_id(made.stack)}

    def _check_state(self, *, creates: bool) -> None:
        there = self.state.exists and self.state.status != "REVIEW_IN_PROGRESS"
        if creates and there:
            raise TemplateError(f"Stack [{STACK}] already exists and cannot be created again with the changeSet.")
        if not creates and not there:
            raise TemplateError(f"Stack [{STACK}] does not exist")
        if not creates and self.state.status not in _UPDATABLE:
            text = f"Stack:{stack_id(STACK)} is in {self.state.status} state and can not be updated."
            raise TemplateError(text)

    def _delete_change_set(self, asked: Asked) -> Mapping[str, Any]:
        self.change_sets.delete(asked["ChangeSetName"])
        return {}

    def _execute_change_set(self, asked: Asked) -> Mapping[str, Any]:
        """Executes it to its end before it answers, where AWS answers at once."""
        made = self._change_set(asked)
        if made.executed and asked.get("ClientRequestToken") == self.state.token:
            return {}  # the same request again
        if not made.executable:
            raise TemplateError(f"ChangeSet [{made.arn}] cannot be executed in its current status.")
        made.executed = True
        if made.template is None:
            self.change_sets.make_managed_bucket()
            return {}
        self.state.token = asked.get("ClientRequestToken", "")
        began = "CREATE" if made.creates else "UPDATE"
        self.state.turn(f"{began}_IN_PROGRESS", "User Initiated")
        update = Update(self.change_sets.deployer, self.state.told)
        try:
            update.carry_out(made.template, made.changes)
        except (DeploymentError, TemplateError) as error:
            undone = "ROLLBACK" if made.creates else "UPDATE_ROLLBACK"
            failed = f"The following resource(s) failed: [{str(error).partition(':')[0]}]."
            self.state.turn(f"{undone}_IN_PROGRESS", failed)
            update.roll_back()
            self.state.turn(f"{undone}_COMPLETE")
        else:
            self.state.turn(f"{began}_COMPLETE")
        return {}

    def _get_template_summary(self, _asked: Asked) -> Mapping[str, Any]:
        return {"Parameters": [{"ParameterKey": name, "ParameterType": "String"} for name in self.parameters()]}

    def _describe_stacks(self, asked: Asked) -> Mapping[str, Any]:
        if MANAGED in asked.get("StackName", ""):
            return {"Stacks": [self._managed()]}
        complete = not self.state.status.startswith(("ROLLBACK", "CREATE_FAILED", "CREATE_IN", "REVIEW", "DELETE"))
        outputs = self.outputs() if complete else {}
        parameters = self.parameters().items() if complete else []
        stack = {
            "StackId": stack_id(STACK),
            "StackName": STACK,
            "StackStatus": self.state.status,
            "CreationTime": self.state.changed_at.isoformat(),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters],
            "Outputs": [{"OutputKey": key, "OutputValue": str(value)} for key, value in outputs.items()],
            **({"StackStatusReason": self.state.reason} if self.state.reason else {}),
        }
        return {"Stacks": [stack]}

    def _managed(self) -> Mapping[str, Any]:
        return {
            "StackId": stack_id(MANAGED),
            "StackName": MANAGED,
            "StackStatus": "CREATE_COMPLETE",
            "CreationTime": self.state.changed_at.isoformat(),
            "Tags": [{"Key": "ManagedStackSource", "Value": "AwsSamCli"}],
            "Outputs": [{"OutputKey": "SourceBucket", "OutputValue": MANAGED_BUCKET}],
        }

    def _list_stack_resources(self, _asked: Asked) -> Mapping[str, Any]:
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": each.logical_id,
                    "PhysicalResourceId": each.physical_id,
                    "ResourceType": each.type,
                    "ResourceStatus": "CREATE_COMPLETE",
                    "LastUpdatedTimestamp": self.state.changed_at.isoformat(),
                }
                for each in self.resources()
            ]
        }

    def _delete_stack(self, asked: Asked) -> Mapping[str, Any]:
        """Deletes it to its end before it answers; what is retained stays."""
        self.state.token = asked.get("ClientRequestToken", "")
        self.state.turn("DELETE_IN_PROGRESS", "User Initiated")
        try:
            delete_all(self.change_sets.deployer, self.state.told)
        except DeploymentError as error:
            failed = f"The following resource(s) failed to delete: [{str(error).partition(':')[0]}]."
            self.state.turn("DELETE_FAILED", failed)
        else:
            self.state.turn("DELETE_COMPLETE")
            self.state.exists = False
            self.change_sets.delete_all_of(STACK)
        return {}


_UPDATABLE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"})


def _page(asked: Asked, answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A page of an answer's list, from where the one before has ended."""
    first = int(asked.get("NextToken", "0"))
    more = first + _PAGE < len(answer[name])
    return {
        **answer,
        name: answer[name][first : first + _PAGE],
        **({"NextToken": str(first + _PAGE)} if more else {}),
    }


def event(status: str, logical_id: str, kind: str, reason: str, token: str) -> Mapping[str, Any]:
    """One event of the stack, as DescribeStackEvents tells it."""
    now = datetime.now(UTC)
    return {
        "EventId": f"{logical_id}-{status}-{now.timestamp()}",
        "StackId": stack_id(STACK),
        "StackName": STACK,
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": stack_id(STACK) if logical_id == STACK else logical_id,
        "ResourceType": kind,
        "ResourceStatus": status,
        **({"ResourceStatusReason": reason} if reason else {}),
        **({"ClientRequestToken": token} if token else {}),
        "Timestamp": now.isoformat(),
    }


def stack_id(name: str) -> str:
    """The ARN of a stack."""
    return f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/local"


def answered(operation: str, result: Mapping[str, Any]) -> WsgiApp:
    """A success in the query protocol's XML."""
    body = (
        f'<{operation}Response xmlns="{_NAMESPACE}"><{operation}Result>{_xml(result)}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{operation}Response>"
    )
    response: WsgiApp = Response(body, 200, content_type="text/xml")
    return response


def _xml(value: Any) -> str:  # noqa: ANN401 (whatever an answer holds)
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_xml(part)}</{name}>" for name, part in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(part)}</member>" for part in value)
    return str(value).lower() if isinstance(value, bool) else escape(str(value))

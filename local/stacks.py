"""CloudFormation as far as one looks at what is deployed here: the stack, its resources, its events.

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
from local.server import WsgiApp
from local.template import ACCOUNT, REGION, STACK

_NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"

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

    def failed(self, status: str, logical_id: str, reason: str) -> None:
        """Have the stack end in a status because a resource failed."""
        self.status = status
        self.events.insert(
            0,
            {
                "EventId": str(uuid.uuid4()),
                "StackId": stack_id(STACK),
                "StackName": STACK,
                "LogicalResourceId": logical_id,
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": reason,
                "Timestamp": datetime.now(UTC).isoformat(),
            },
        )


@dataclass
class Stacks:
    """Answers what is asked about the one stack.

    Attributes:
        resources: gives what exists.
        parameters: the stack's.
        outputs: gives the stack's.
        state: how it is.
    """

    resources: Callable[[], list[StackResource]]
    parameters: Mapping[str, str]
    outputs: Callable[[], Mapping[str, Any]]
    state: StackState = field(default_factory=StackState)

    def answer(self, request: AwsRequest) -> WsgiApp:
        """Answer one request."""
        asked = {name: values[0] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
        operations: Mapping[str, Callable[[Asked], Mapping[str, Any]]] = {
            "DescribeStacks": self._describe_stacks,
            "ListStackResources": self._list_stack_resources,
            "DescribeStackEvents": self._describe_stack_events,
            "DeleteStack": self._delete_stack,
        }
        operation = operations.get(request.operation)
        if operation is None:
            return aws_error("cloudformation", "InvalidAction", f"the local cloud knows no {request.operation}")
        if not self.state.exists or asked.get("StackName", STACK) not in {STACK, stack_id(STACK)}:
            return aws_error("cloudformation", "ValidationError", f"Stack with id {asked['StackName']} does not exist")
        return answered(request.operation, operation(asked))

    def _describe_stacks(self, _asked: Asked) -> Mapping[str, Any]:
        complete = not self.state.status.startswith(("ROLLBACK", "CREATE_FAILED", "CREATE_IN"))
        outputs = self.outputs() if complete else {}
        stack = {
            "StackId": stack_id(STACK),
            "StackName": STACK,
            "StackStatus": self.state.status,
            "CreationTime": self.state.changed_at.isoformat(),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
            "Outputs": [{"OutputKey": key, "OutputValue": str(value)} for key, value in outputs.items()],
            **({"StackStatusReason": self.state.reason} if self.state.reason else {}),
        }
        return {"Stacks": [stack]}

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

    def _delete_stack(self, _asked: Asked) -> Mapping[str, Any]:
        """From now on there is no such stack; its resources stay, until the local cloud stops."""
        self.state.exists = False
        return {}

    def _describe_stack_events(self, _asked: Asked) -> Mapping[str, Any]:
        return {"StackEvents": self.state.events}


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

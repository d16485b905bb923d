"""The stack as CloudFormation knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of
from operate.errors import MissingError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

HEALTHY = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"})
"""In these everything that the template describes is there. After an update's rollback it is the template before."""

UNUSABLE = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
"""A first deployment that failed: such a stack can only be deleted."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack at one moment."""

    name: str
    status: str
    reason: str
    changed_at: datetime | None
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def moving(self) -> bool:
        """Whether CloudFormation works on it."""
        return self.status.endswith("_IN_PROGRESS") and not self.empty

    @property
    def empty(self) -> bool:
        """Whether there is only a change set that would create it, and that nobody has executed."""
        return self.status == "REVIEW_IN_PROGRESS"

    def output(self, name: str) -> str:
        """An output.

        Raises:
            MissingError: the stack has none of that name.
        """
        if name not in self.outputs:
            raise MissingError(f"The stack {self.name} has no output {name}.", "Deploy this version: `make deploy`.")
        return self.outputs[name]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a stack."""

    logical_id: str
    physical_id: str
    type: str
    status: str


@dataclass(slots=True)
class Stacks:
    """Reads one stack, once."""

    client: Callable[[], Any]
    name: str
    _resources: list[Resource] | None = field(default=None, repr=False)

    def find(self) -> Stack | None:
        """The stack as it is now; None if there is none."""
        try:
            (found,) = self.client().describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return Stack(
            name=found["StackName"],
            status=found["StackStatus"],
            reason=found.get("StackStatusReason", ""),
            changed_at=found.get("LastUpdatedTime") or found.get("CreationTime"),
            parameters={one["ParameterKey"]: one.get("ParameterValue", "") for one in found.get("Parameters", [])},
            outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
        )

    def existing(self) -> Stack:
        """The stack, in whatever state it is.

        Raises:
            MissingError: there is none.
        """
        stack = self.find()
        if stack is None:
            advice = "Deploy it (`make deploy`), or say which: --stack, --region, --profile."
            raise MissingError(f"There is no stack {self.name} in this account and region.", advice)
        return stack

    def deployed(self) -> Stack:
        """The stack, if it can be used.

        Raises:
            MissingError: there is none.
            StateError: its first deployment failed or has not ended.
        """
        stack = self.existing()
        if stack.status in UNUSABLE or stack.status == "ROLLBACK_IN_PROGRESS":
            raise StateError(
                f"The stack {self.name} is in {stack.status}: its first deployment failed.",
                "`python -m operate deploy` deletes it and begins again; what failed: `python -m operate status`.",
            )
        if stack.empty:
            raise StateError(
                f"The stack {self.name} is empty: there is only a change set for it that nobody executed.",
                "`python -m operate deploy` creates it.",
            )
        if not stack.outputs:
            raise StateError(f"The stack {self.name} is in {stack.status}.", "Wait until it is deployed.")
        return stack

    def resources(self) -> Sequence[Resource]:
        """All of its resources, without those that are deleted already."""
        if self._resources is None:
            self.existing()
            pages = self.client().get_paginator("list_stack_resources").paginate(StackName=self.name)
            found = [one for page in pages for one in page["StackResourceSummaries"]]
            self._resources = [
                Resource(
                    one["LogicalResourceId"],
                    one.get("PhysicalResourceId", ""),
                    one["ResourceType"],
                    one["ResourceStatus"],
                )
                for one in found
                if one["ResourceStatus"] != "DELETE_COMPLETE"
            ]
        return self._resources

    def physical(self, logical_id: str) -> str | None:
        """The physical id of a resource; None if the stack has none of that name."""
        return next((each.physical_id for each in self.resources() if each.logical_id == logical_id), None)

    def failures(self) -> list[str]:
        """What failed most recently, in CloudFormation's words: newest first."""
        events = self.client().describe_stack_events(StackName=self.name)["StackEvents"]
        failed = (event for event in events if event["ResourceStatus"].endswith("_FAILED"))
        return [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed][:5]

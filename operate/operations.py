"""CloudFormation's operations on a stack: change sets, their execution, its deletion, each followed to its end."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from operate.aws import code_of
from operate.errors import OperateError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

_PATIENCE = 5
"""How often in a row AWS may not answer while an operation is followed."""

_UNCHANGED = ("didn't contain changes", "No updates are to be performed")
"""What CloudFormation says of a change set without changes (as samcli/lib/deploy/deployer.py knows it)."""

_WORKING = frozenset({"CREATE_PENDING", "CREATE_IN_PROGRESS"})
_FOLLOWS = ("cancelled", "Resource creation Initiated")
"""Reasons that only say that something else has failed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of one resource.

    Attributes:
        action: `Add`, `Modify`, `Remove`, `Import` or `Dynamic`, as CloudFormation calls it.
        name: its physical id, if it has one.
        replacement: of one that is modified: `True`, `False` or `Conditional`.
        properties: that are modified.
        kept: of one that is removed: whether only the stack forgets it.
    """

    action: str
    logical_id: str
    type: str
    name: str = ""
    replacement: str = ""
    properties: tuple[str, ...] = ()
    kept: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What would become of a stack.

    Attributes:
        id: its ARN.
        stack: the stack's ARN.
        changes: in CloudFormation's order; none: nothing would change.
        unwanted_stack: whether the stack exists only because of it.
    """

    id: str
    stack: str
    changes: Sequence[Change]
    unwanted_stack: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a change set is made from.

    Attributes:
        template_url: in S3.
        parameters: with new values.
        kept: names of parameters that keep their values.
        creates: whether there is no stack yet.
        reviewed: whether an empty one is there already, from a change set that nobody executed.
        imports: whether what exists under the template's names is taken over.
    """

    template_url: str
    parameters: Mapping[str, str]
    kept: Collection[str] = ()
    creates: bool = False
    reviewed: bool = False
    imports: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a resource, or to the stack itself."""

    id: str
    logical_id: str
    type: str
    status: str
    reason: str = ""

    @property
    def cause(self) -> str:
        """Why the operation failed, if this is why; else nothing."""
        failed = self.status.endswith("_FAILED") and self.type != "AWS::CloudFormation::Stack"
        if not failed or any(each in self.reason for each in _FOLLOWS):
            return ""
        return f"{self.logical_id} ({self.type}): {self.reason or self.status}"


type Tell = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Operations:
    """Works on one stack; `poll_s` is the seconds between two looks."""

    client: Callable[[], Any]
    name: str
    poll_s: float

    def change_set(self, wanted: Wanted) -> ChangeSet:
        """Have CloudFormation say what would change.

        Raises:
            OperateError: it refuses the template or the parameters.
        """
        values = [{"ParameterKey": name, "ParameterValue": value} for name, value in wanted.parameters.items()]
        kept = [{"ParameterKey": name, "UsePreviousValue": True} for name in wanted.kept]
        made = self.client().create_change_set(
            StackName=self.name,
            ChangeSetName=f"operate-{uuid.uuid4().hex[:12]}",
            ChangeSetType="CREATE" if wanted.creates else "UPDATE",
            TemplateURL=wanted.template_url,
            Parameters=[*values, *kept],
            Capabilities=["CAPABILITY_IAM"],
            ImportExistingResources=wanted.imports,
        )
        unwanted = wanted.creates and not wanted.reviewed
        empty = ChangeSet(made["Id"], made["StackId"], (), unwanted)
        try:
            described = self._ready(made["Id"])
        except BaseException:
            self.discard(empty)
            raise
        if described["Status"] == "FAILED":
            return empty
        return ChangeSet(made["Id"], made["StackId"], [_change(one) for one in self._changes(made["Id"])], unwanted)

    def discard(self, made: ChangeSet) -> None:
        """Delete a change set, and the empty stack that it has made; nothing else."""
        self.client().delete_change_set(ChangeSetName=made.id)
        if made.unwanted_stack and self._status(made.stack) == "REVIEW_IN_PROGRESS":
            self.client().delete_stack(StackName=made.stack)

    def execute(self, made: ChangeSet, tell: Tell) -> None:
        """Do what a change set says, to its end.

        Raises:
            OperateError: something failed, and CloudFormation has taken everything back.
            UnreachableError: AWS does not answer any more; CloudFormation goes on all the same.
        """
        token = f"operate-{uuid.uuid4()}"
        self.client().execute_change_set(ChangeSetName=made.id, ClientRequestToken=token)
        status, causes = self._followed(made.stack, token, tell)
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}:
            return
        raise OperateError("\n  ".join([_outcome(self.name, status), *causes]), _ADVICE.get(status, ""))

    def delete(self, tell: Tell) -> None:
        """Delete the stack, to its end. What the template retains stays.

        Raises:
            OperateError: CloudFormation could not delete it.
            UnreachableError: as `execute`.
        """
        stack = self.client().describe_stacks(StackName=self.name)["Stacks"][0]["StackId"]
        token = f"operate-{uuid.uuid4()}"
        self.client().delete_stack(StackName=stack, ClientRequestToken=token)
        status, causes = self._followed(stack, token, tell)
        if status != "DELETE_COMPLETE":
            what = f"CloudFormation could not delete the stack {self.name} ({status})."
            raise OperateError(
                "\n  ".join([what, *causes]), "Mend that, then repeat the command: it goes on from here."
            )

    def _ready(self, change_set: str) -> Mapping[str, Any]:
        while True:
            described: Mapping[str, Any] = self.client().describe_change_set(ChangeSetName=change_set)
            if described["Status"] not in _WORKING:
                break
            time.sleep(self.poll_s)
        reason = described.get("StatusReason", "")
        if described["Status"] == "FAILED" and not any(each in reason for each in _UNCHANGED):
            raise OperateError(f"CloudFormation refuses the change: {reason}")
        return described

    def _changes(self, change_set: str) -> Iterator[Mapping[str, Any]]:
        for page in self.client().get_paginator("describe_change_set").paginate(ChangeSetName=change_set):
            yield from (each["ResourceChange"] for each in page["Changes"])

    def _followed(self, stack: str, token: str, tell: Tell) -> tuple[str, list[str]]:
        """Wait until the stack is at rest; gives its status, and why it failed."""
        seen, causes, missed = set[str](), list[str](), 0
        while True:
            try:
                # The status first: what is told afterwards has all that led to it.
                status = self._status(stack)
                events = self._events(stack, token, seen)
                missed = 0
            except (BotoConnectionError, HTTPClientError):
                missed += 1
                if missed > _PATIENCE:
                    raise UnreachableError(f"AWS does not answer any more. {_GOES_ON}", _LOOK) from None
                status, events = "UNKNOWN_IN_PROGRESS", []
            for event in events:
                seen.add(event.id)
                tell(event)
                causes += [event.cause] if event.cause else []
            if not status.endswith("_IN_PROGRESS"):
                return status, causes
            time.sleep(self.poll_s)

    def _status(self, stack: str) -> str:
        try:
            return str(self.client().describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
        except ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return "DELETE_COMPLETE"
            raise

    def _events(self, stack: str, token: str, seen: Collection[str]) -> list[Event]:
        """What has happened since, the oldest first."""
        found = list[Event]()
        try:
            for page in self.client().get_paginator("describe_stack_events").paginate(StackName=stack):
                new = [each for each in page["StackEvents"] if each["EventId"] not in seen]
                ours = [each for each in new if each.get("ClientRequestToken") == token]
                found += map(_event, ours)
                if len(ours) < len(page["StackEvents"]):
                    break
        except ClientError as error:
            if code_of(error) != "ValidationError":  # deleted in between
                raise
        return found[::-1]


_GOES_ON = "CloudFormation goes on by itself."
_LOOK = "`status` says how far it is; when it is done, the same command goes on from here."
_ADVICE = {
    "ROLLBACK_COMPLETE": "Mend that, then repeat the command: it deletes what is left but the data, and begins again.",
    "UPDATE_ROLLBACK_COMPLETE": "What was there before goes on serving. Mend that, then repeat the command.",
    "UPDATE_ROLLBACK_FAILED": "In CloudFormation's console choose “Continue update rollback”, then repeat the command.",
}


def _outcome(name: str, status: str) -> str:
    if status.startswith("UPDATE_ROLLBACK"):
        return f"CloudFormation could not update the stack {name} and took the changes back ({status})."
    return f"CloudFormation could not create the stack {name} ({status})."


def _change(given: Mapping[str, Any]) -> Change:
    targets = (each.get("Target", {}) for each in given.get("Details", ()))
    names = dict.fromkeys(each.get("Name") or each.get("Attribute", "") for each in targets)
    return Change(
        action=given["Action"],
        logical_id=given["LogicalResourceId"],
        type=given["ResourceType"],
        name=given.get("PhysicalResourceId", ""),
        replacement=given.get("Replacement", ""),
        properties=tuple(name for name in names if name),
        kept=given.get("PolicyAction") in {"Retain", "ReplaceAndRetain"},
    )


def _event(given: Mapping[str, Any]) -> Event:
    return Event(
        given["EventId"],
        given["LogicalResourceId"],
        given["ResourceType"],
        given["ResourceStatus"],
        given.get("ResourceStatusReason", ""),
    )

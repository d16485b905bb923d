"""Carries out what a template changes in a stack, and takes it back when something fails in the middle.

As CloudFormation: first what is new or another, in the order of references; only when all of that has worked, what is
gone or was replaced is deleted. Until then everything can be undone.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks.html
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from local import buckets
from local.deployer import (
    CREATORS,
    RECORDED_ONLY,
    Created,
    Deployer,
    DeploymentError,
    check_types,
    definition,
    put_role_policy,
    queue_attributes,
    refusals,
    role_policies,
)
from local.removing import remove
from local.stack_changes import Change
from local.template import Resource, Template, TemplateError

type Properties = Mapping[str, Any]
type Tell = Callable[[str, Resource, str], None]
"""Is told of each resource: its new status, and why."""


def exists(client: Callable[[str], Any]) -> Callable[[str, str], bool]:
    """Whether there is a table or a bucket of a name."""

    def found(kind: str, name: str) -> bool:
        if kind == "AWS::DynamoDB::Table":
            return name in client("dynamodb").list_tables()["TableNames"]
        return name in {each["Name"] for each in client("s3").list_buckets()["Buckets"]}

    return found


@dataclass
class Update:
    """One update, or the creation, of a stack.

    Attributes:
        deployer: what there is, and how it is created.
        tell: is told of every resource.
        undone: what undoes the steps taken so far, the last one first.
    """

    deployer: Deployer
    tell: Tell
    undone: list[Callable[[], None]] = field(default_factory=list)
    _before: Template = field(init=False)

    def carry_out(self, template: Template, changes: Iterable[Change]) -> None:
        """Bring the stack to what a template says.

        Raises:
            DeploymentError: something could not be done. What was done stays until `roll_back`.
            TemplateError: something can't be resolved.
        """
        self._before, self.deployer.template = self.deployer.template, template
        check_types(template)
        planned = list(changes)
        last = [step for change in planned if change.action != "Remove" for step in self._do(change)]
        last += [self._remover(change.resource) for change in planned if change.action == "Remove"]
        for step in last:
            with suppress(DeploymentError):  # has been told; the update is complete all the same, as in AWS
                step()

    def roll_back(self) -> None:
        """Undo everything."""
        self.deployer.template = self._before
        for undo in reversed(self.undone):
            undo()

    def _do(self, change: Change) -> list[Callable[[], None]]:
        """Do one change; gives what is to be done when all have worked."""
        verb = {"Add": "CREATE", "Import": "IMPORT", "Modify": "UPDATE"}[change.action]
        self.tell(f"{verb}_IN_PROGRESS", change.resource, "")
        try:
            later = self._changed(change)
        except (DeploymentError, TemplateError) as error:
            reason = str(error).removeprefix(f"{change.resource.logical_id}: ")
            self.tell(f"{verb}_FAILED", change.resource, reason)
            raise
        self.tell(f"{verb}_COMPLETE", change.resource, "")
        return later

    def _changed(self, change: Change) -> list[Callable[[], None]]:
        resource = change.resource
        if change.action == "Add":
            self.deployer.create(resource)
            self.undone.append(self._remover(resource))
        elif change.action == "Import":
            self._take_over(resource)
        elif change.replaces:
            return [self._replaced(resource)]
        else:
            self._modify(resource)
        return []

    def _modify(self, resource: Resource) -> None:
        name, properties = resource.logical_id, self.deployer.resolved(resource)
        created, before = self.deployer.resources[name], self.deployer.properties[name]

        def change(was: Properties, properties: Properties) -> None:
            with refusals(resource):
                modifier = _record if resource.type in RECORDED_ONLY else MODIFIERS.get(resource.type, _refuse)
                modifier(_Modified(self.deployer, resource, created, was, properties))
            self.deployer.properties[name] = dict(properties)

        def undo() -> None:
            change(properties, before)
            self.tell("UPDATE_COMPLETE", resource, "")

        change(before, properties)
        self.undone.append(undo)

    def _replaced(self, resource: Resource) -> Callable[[], None]:
        """Create another in the place of one; gives how the one of before is deleted."""
        name = resource.logical_id
        created, before = self.deployer.resources[name], self.deployer.properties[name]
        if created.ref in map(str, self.deployer.resolved(resource).values()):
            raise DeploymentError(
                f"{name}: CloudFormation cannot update a stack when a custom-named resource requires replacing."
            )
        self.deployer.create(resource)
        remover = self._remover(resource)

        def undo() -> None:
            remover()
            self.deployer.resources[name], self.deployer.properties[name] = created, before

        def delete() -> None:
            remove(self.deployer, resource, created, before)
            self.tell("DELETE_COMPLETE", resource, "")

        self.undone.append(undo)
        return delete

    def _take_over(self, resource: Resource) -> None:
        properties = self.deployer.resolved(resource)
        if resource.type == "AWS::DynamoDB::Table":
            table = properties["TableName"]
            arn = self.deployer.client("dynamodb").describe_table(TableName=table)["Table"]["TableArn"]
            created = Created(table, {"Arn": arn})
        else:
            created = Created(properties["BucketName"], {"Arn": f"arn:aws:s3:::{properties['BucketName']}"})
        self.deployer.resources[resource.logical_id] = created
        self.deployer.properties[resource.logical_id] = properties
        self.undone.append(self._remover(resource))

    def _remover(self, resource: Resource) -> Callable[[], None]:
        return lambda: forget(self.deployer, resource, self.tell)


def forget(deployer: Deployer, resource: Resource, tell: Tell) -> None:
    """Delete a resource, or leave it to itself if it is retained."""
    name = resource.logical_id
    if resource.retained:
        tell("DELETE_SKIPPED", resource, "")
    else:
        try:
            remove(deployer, resource, deployer.resources[name], deployer.properties[name])
        except DeploymentError as error:
            tell("DELETE_FAILED", resource, str(error).removeprefix(f"{name}: "))
            raise
        tell("DELETE_COMPLETE", resource, "")
    del deployer.resources[name], deployer.properties[name]


def delete_all(deployer: Deployer, tell: Tell) -> None:
    """Delete a stack's resources, what refers to others before those. DeploymentError at the first that can't be."""
    there = deployer.template.resources if deployer.resources else []
    for resource in reversed(there):
        if resource.logical_id in deployer.resources:
            forget(deployer, resource, tell)


@dataclass(frozen=True)
class _Modified:
    """What a modifier is given: `was` and `properties` are those of before and after."""

    deployer: Deployer
    resource: Resource
    created: Created
    was: Properties
    properties: Properties

    @property
    def changed(self) -> set[str]:
        names = self.was.keys() | self.properties.keys()
        return {name for name in names if self.was.get(name) != self.properties.get(name)}


def _record(_given: _Modified) -> None:
    """What has no behaviour here has none after the change."""


def _refuse(given: _Modified) -> None:
    raise DeploymentError(
        f"{given.resource.logical_id}: the local cloud can't change {', '.join(sorted(given.changed))} in place"
    )


def _put_again(given: _Modified) -> None:
    """For types whose creation says everything anew."""
    CREATORS[given.resource.type](given.deployer, given.resource, dict(given.properties))


def _anew(given: _Modified) -> None:
    """For types that hold nothing which would be lost."""
    remove(given.deployer, given.resource, given.created, given.was)
    _put_again(given)


def _table(given: _Modified) -> None:
    dynamodb, name = given.deployer.client("dynamodb"), given.created.ref
    if given.changed - {"TimeToLiveSpecification", "PointInTimeRecoverySpecification", "Tags"}:
        _refuse(given)
    if "TimeToLiveSpecification" in given.changed:
        off = {**given.was.get("TimeToLiveSpecification", {}), "Enabled": False}
        wanted = given.properties.get("TimeToLiveSpecification", off)
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=wanted)
    if "PointInTimeRecoverySpecification" in given.changed:
        recovery = given.properties.get("PointInTimeRecoverySpecification", {"PointInTimeRecoveryEnabled": False})
        dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)


def _bucket(given: _Modified) -> None:
    if given.was.keys() - given.properties.keys():
        _refuse(given)
    buckets.configure(given.deployer.client("s3"), given.created.ref, given.properties)


def _queue(given: _Modified) -> None:
    if given.was.keys() - given.properties.keys():
        _refuse(given)
    attributes = queue_attributes(given.properties)
    given.deployer.client("sqs").set_queue_attributes(QueueUrl=given.created.ref, Attributes=attributes)


def _role(given: _Modified) -> None:
    iam, name = given.deployer.client("iam"), given.created.ref
    # moto wants a version here, and not when a role is created.
    trust = json.dumps({"Version": "2012-10-17", **given.properties["AssumeRolePolicyDocument"]})
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    before, after = role_policies(given.was), role_policies(given.properties)
    for policy in before.keys() - after.keys():
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for policy, document in after.items():
        put_role_policy(iam, name, policy, document)


def _function(given: _Modified) -> None:
    """What is said of its asynchronous invocations is another resource."""
    invokes = given.deployer.runtime.functions[given.created.ref].invokes
    _put_again(given)
    changed = given.deployer.runtime.functions[given.created.ref]
    given.deployer.runtime.add(changed.with_invokes(invokes))


def _state_machine(given: _Modified) -> None:
    given.deployer.client("stepfunctions").update_state_machine(
        stateMachineArn=given.created.ref,
        definition=definition(given.deployer, given.properties),
        roleArn=given.properties["RoleArn"],
    )


MODIFIERS: Mapping[str, Callable[[_Modified], None]] = {
    "AWS::ApiGatewayV2::Api": _anew,
    "AWS::CloudWatch::Alarm": _put_again,
    "AWS::CloudWatch::Dashboard": _put_again,
    "AWS::DynamoDB::Table": _table,
    "AWS::Events::Rule": _anew,
    "AWS::IAM::Policy": _anew,
    "AWS::IAM::Role": _role,
    "AWS::Lambda::EventInvokeConfig": _put_again,
    "AWS::Lambda::Function": _function,
    "AWS::S3::Bucket": _bucket,
    "AWS::SQS::Queue": _queue,
    "AWS::SSM::Parameter": _anew,
    "AWS::Scheduler::Schedule": _anew,
    "AWS::StepFunctions::StateMachine": _state_machine,
}
"""How each type is changed in place; others are refused."""

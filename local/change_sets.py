"""CloudFormation's change sets, as `sam deploy` and `operate deploy` use them: of a stack that there is, or is to be.

A change set's template is what SAM uploaded, and so is the code. What it changes is compared with what there is
(`local/stack_changes.py`), and executing it does just that (`local/updating.py`).

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/ and, for what is said when nothing has changed,
samcli/lib/deploy/deployer.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from local.deployer import Deployer, DeploymentError, check_types
from local.stack_changes import Change, changes
from local.template import ACCOUNT, REGION, Resource, Template, TemplateError
from local.updating import exists
from local.uploads import Uploads

MANAGED = "aws-sam-cli-managed-default"
"""SAM's own stack: the bucket for what is uploaded."""

MANAGED_BUCKET = f"{MANAGED}-samclisourcebucket-local"
UNCHANGED = "The submitted information didn't contain changes. Submit different information to create a change set."

_BODY_LIMIT = 51_200
_MANAGED_CHANGES = (Change("Add", Resource("SamCliSourceBucket", "AWS::S3::Bucket", {})),)

type Asked = Mapping[str, str]


@dataclass
class ChangeSet:
    """One change set.

    Attributes:
        template: with all parameters, those that keep their values, too; None for SAM's own.
        changes: what it does, in order.
        creates: whether its stack is to be made.
        reason: why it can't be executed.
        executed: whether it was.
    """

    name: str
    stack: str
    template: Template | None
    changes: tuple[Change, ...]
    creates: bool
    reason: str = ""
    executed: bool = False

    @property
    def executable(self) -> bool:
        """Whether it can be executed, once."""
        return not self.reason and not self.executed

    @property
    def described(self) -> Mapping[str, Any]:
        """As DescribeChangeSet answers, with all changes."""
        return {
            "ChangeSetName": self.name,
            "ChangeSetId": self.arn,
            "StackName": self.stack,
            "Status": "FAILED" if self.reason else "CREATE_COMPLETE",
            "ExecutionStatus": "AVAILABLE" if self.executable else "UNAVAILABLE",
            **({"StatusReason": self.reason} if self.reason else {}),
            "Changes": [{"Type": "Resource", "ResourceChange": change.described} for change in self.changes],
        }

    @property
    def arn(self) -> str:
        """Its id."""
        return f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{self.name}/local"


@dataclass
class ChangeSets:
    """The change sets of SAM's own stack and of ours.

    Attributes:
        client: gives an administrator's client.
        deployer: knows what there is.
        uploads: what SAM has uploaded.
        managed: whether SAM's own stack exists.
    """

    client: Callable[[str], Any]
    deployer: Deployer
    uploads: Uploads
    managed: bool = False
    _made: dict[str, ChangeSet] = field(default_factory=dict)

    def create(self, asked: Asked) -> ChangeSet:
        """Make a change set. TemplateError if CloudFormation would refuse to."""
        stack, name, creates = asked["StackName"], asked["ChangeSetName"], asked.get("ChangeSetType") == "CREATE"
        if name in self._made:
            raise TemplateError(f"ChangeSet {name} already exists")
        if stack == MANAGED:
            made = ChangeSet(name, stack, None, _MANAGED_CHANGES, creates)
        else:
            made = self._of_ours(asked, stack, name, creates=creates)
        self._made[name] = self._made[made.arn] = made
        return made

    def find(self, name: str) -> ChangeSet:
        """A change set, by name or id; KeyError if there is none."""
        return self._made[name]

    def delete(self, name: str) -> None:
        """Forget a change set; one that is gone is gone."""
        made = self._made.pop(name, None)
        if made is not None:
            self._made = {key: one for key, one in self._made.items() if one is not made}

    def delete_all_of(self, stack: str) -> None:
        """Forget a deleted stack's."""
        self._made = {key: one for key, one in self._made.items() if one.stack != stack}

    def make_managed_bucket(self) -> None:
        """What SAM's own stack consists of."""
        where = {"LocationConstraint": REGION}
        self.client("s3").create_bucket(Bucket=MANAGED_BUCKET, CreateBucketConfiguration=where)
        self.managed = True

    def _of_ours(self, asked: Asked, stack: str, name: str, *, creates: bool) -> ChangeSet:
        text = asked.get("TemplateBody", "")
        if len(text) > _BODY_LIMIT:
            raise TemplateError(f"Member must have length less than or equal to {_BODY_LIMIT}")
        try:
            text = text or self.uploads.template_at(asked["TemplateURL"])
        except ClientError as error:
            raise TemplateError(f"S3 error: {error.response['Error']['Message']}") from error
        template = Template(self.uploads.template(text), dict(self._parameters(asked, creates=creates)))
        _check(template, asked)
        imports = exists(self.client) if asked.get("ImportExistingResources") == "true" else None
        found = tuple(changes(self.deployer, template, imports))
        same = not (creates or found) and _outputs(template) == _outputs(self.deployer.template)
        return ChangeSet(name, stack, template, found, creates, UNCHANGED if same else "")

    def _parameters(self, asked: Asked, *, creates: bool) -> Iterator[tuple[str, str]]:
        before = {} if creates else self.deployer.template.parameters
        for place in range(1, 200):
            prefix = f"Parameters.member.{place}."
            name = asked.get(f"{prefix}ParameterKey")
            if name is None:
                return
            if asked.get(f"{prefix}UsePreviousValue") != "true":
                yield name, asked.get(f"{prefix}ParameterValue", "")
            elif name in before:
                yield name, str(before[name])
            else:
                raise TemplateError(f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true")


def _outputs(template: Template) -> object:
    return template.expanded.get("Outputs")


def _check(template: Template, asked: Asked) -> None:
    """What CloudFormation looks at before it compares."""
    for name, declared in template.source.get("Parameters", {}).items():
        wrong = _wrong(declared, str(template.parameters[name]))
        if wrong:
            raise TemplateError(f"Parameter '{name}' {wrong}")
    try:
        check_types(template)
    except DeploymentError as error:
        raise TemplateError(f"Template format error: Unrecognized resource types: {error}") from error
    given = {value for name, value in asked.items() if name.startswith("Capabilities.member.")}
    if any(each.type.startswith("AWS::IAM::") for each in template.resources) and "CAPABILITY_IAM" not in given:
        raise TemplateError("Requires capabilities : [CAPABILITY_IAM]")


def _wrong(declared: Mapping[str, Any], value: str) -> str:
    """What a parameter's declaration has against a value, in CloudFormation's words."""
    allowed = [str(each) for each in declared.get("AllowedValues", [value])]
    if value not in allowed:
        return f"must be one of AllowedValues: [{', '.join(allowed)}]"
    if not re.fullmatch(declared.get("AllowedPattern", ".*"), value, re.DOTALL):
        return f"must match pattern {declared['AllowedPattern']}"
    if declared.get("Type") != "Number":
        return ""
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return "must be a number"
    if float(value) > float(declared.get("MaxValue", value)):
        return f"must be a number not greater than {declared['MaxValue']}"
    if float(value) < float(declared.get("MinValue", value)):
        return f"must be a number not less than {declared['MinValue']}"
    return ""

"""Change sets on the local cloud: what they say, what they do, and what is left when they fail."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = "serverless-openclaw"
BUCKET = "uploads"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
CODE = "import os\ndef handler(event, context):\n    return '%s ' + os.environ['WORD']\n"


def _allows(action: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return {"PolicyName": "own", "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]}}


def _template(**further: Any) -> dict[str, Any]:
    """A function with what one has; `further` replaces or adds resources, None leaves one out."""
    resources = {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": TRUST, "Policies": [_allows("sqs:SendMessage")]},
        },
        "Talk": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Handler": "talk.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"S3Bucket": BUCKET, "S3Key": "one"},
                "Environment": {"Variables": {"WORD": {"Ref": "Word"}}},
            },
        },
        "Once": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {"FunctionName": {"Ref": "Talk"}, "MaximumRetryAttempts": 0, "Qualifier": "$LATEST"},
        },
        "Hourly": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 hour)",
                "Targets": [{"Id": "talk", "Arn": {"Fn::GetAtt": ["Talk", "Arn"]}, "Input": "{}"}],
            },
        },
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 60}},
        "Kept": {
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Retain",
            "Properties": {
                "TableName": "kept",
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            },
        },
        **further,
    }
    return {
        "Parameters": {
            "Word": {"Type": "String", "Default": "hello", "AllowedPattern": "[a-z]+"},
            "Seconds": {"Type": "Number", "Default": 3, "MinValue": 1, "MaxValue": 9},
        },
        "Resources": {name: body for name, body in resources.items() if body is not None},
    }


class Account:
    """An account in which change sets are made."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.client = cloud.client("cloudformation")
        self.made = 0

    def change_set(self, template: dict[str, Any], kind: str = "UPDATE", **given: Any) -> dict[str, Any]:
        self.made += 1
        name = f"change-{self.made}"
        asked = {"StackName": STACK, "ChangeSetName": name, "ChangeSetType": kind, "Capabilities": ["CAPABILITY_IAM"]}
        self.client.create_change_set(**{**asked, "TemplateBody": json.dumps(template), **given})
        pages = self.client.get_paginator("describe_change_set").paginate(StackName=STACK, ChangeSetName=name)
        first, *more = list(pages)
        first["Changes"] += [change for page in more for change in page["Changes"]]
        whole: dict[str, Any] = first
        return whole

    def execute(self, made: dict[str, Any]) -> str:
        self.client.execute_change_set(ChangeSetName=made["ChangeSetId"], ClientRequestToken=made["ChangeSetName"])
        return self.status

    def deploy(self, template: dict[str, Any], kind: str = "UPDATE", **given: Any) -> str:
        return self.execute(self.change_set(template, kind, **given))

    @property
    def status(self) -> str:
        status: str = self.client.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
        return status

    def events(self) -> list[tuple[str, str]]:
        """Of the last operation, the oldest first."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=STACK)
        found = [event for page in pages for event in page["StackEvents"]]
        token = found[0].get("ClientRequestToken")
        return [
            (event["LogicalResourceId"], event["ResourceStatus"])
            for event in reversed(found)
            if event.get("ClientRequestToken") == token
        ]

    def says(self) -> str:
        said: str = self.cloud.invoke("Talk", {})
        return said


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(mode="source", deployed=False) as made:
        s3 = made.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key in ("one", "two"):
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("talk.py", CODE % key)
            s3.put_object(Bucket=BUCKET, Key=key, Body=packed.getvalue())
        yield made


@pytest.fixture
def account(cloud: LocalCloud) -> Iterator[Account]:
    """With the stack created; without it afterwards, and without what it has retained."""
    made = Account(cloud)
    assert made.deploy(_template(), "CREATE") == "CREATE_COMPLETE"
    yield made
    if cloud.stack.exists:
        made.client.delete_stack(StackName=STACK)
    dynamodb = cloud.client("dynamodb")
    for table in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=table)


def _changes(made: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    changes = (each["ResourceChange"] for each in made["Changes"])
    return {each["LogicalResourceId"]: (each["Action"], each.get("Replacement")) for each in changes}


def _another(**changed: Any) -> dict[str, Any]:
    """The template with some properties of its function changed."""
    body = _template()["Resources"]["Talk"]
    return _template(Talk={**body, "Properties": {**body["Properties"], **changed}})


def test_a_parameter_changes_only_what_refers_to_it(account: Account) -> None:
    said = account.says()

    made = account.change_set(_template(), Parameters=[{"ParameterKey": "Word", "ParameterValue": "bye"}])
    status = account.execute(made)

    assert said == "one hello"
    assert _changes(made) == {"Talk": ("Modify", "False")}
    (detail,) = made["Changes"][0]["ResourceChange"]["Details"]
    assert detail["Target"]["Name"] == "Environment"
    assert status == "UPDATE_COMPLETE"
    assert account.says() == "one bye"  # no warm process of before answers
    kept = account.change_set(_template(), Parameters=[{"ParameterKey": "Word", "UsePreviousValue": True}])
    assert kept["Status"] == "FAILED"


def test_new_code_answers_and_the_settings_of_the_function_stay(account: Account) -> None:
    account.deploy(_another(Code={"S3Bucket": BUCKET, "S3Key": "two"}))

    function = account.cloud._runtime.function("Talk")
    assert account.says() == "two hello"
    assert function.invokes.retries == 0


def test_what_is_new_and_what_is_gone(account: Account) -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "news"}}

    made = account.change_set(_template(News=topic, Queue=None, Hourly=None, Once=None))
    account.execute(made)

    assert _changes(made) == {
        "News": ("Add", None),
        "Hourly": ("Remove", None),
        "Once": ("Remove", None),
        "Queue": ("Remove", None),
    }
    assert account.cloud.client("sns").list_topics()["Topics"]
    assert "QueueUrls" not in account.cloud.client("sqs").list_queues()
    assert account.cloud.bus.rules == []
    assert account.cloud._runtime.function("Talk").invokes.retries == 2
    assert account.events()[-1] == (STACK, "UPDATE_COMPLETE")


def test_nothing_has_changed(account: Account) -> None:
    made = account.change_set(_template())

    assert made["Status"] == "FAILED"
    assert made["StatusReason"].startswith("The submitted information didn't contain changes")
    with pytest.raises(ClientError, match="cannot be executed"):
        account.execute(made)


def test_a_failure_in_the_middle_brings_the_state_of_before_back(account: Account) -> None:
    broken = {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": {"Fn::Sub": "not JSON ${Talk}"}}}
    body = {**_template()["Resources"]["Queue"], "Properties": {"VisibilityTimeout": 5}}
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST, "Policies": [_allows("s3:*")]}}
    template = _template(Dashboard=broken, Queue=body, Role=role, News={"Type": "AWS::SNS::Topic"}, Once=None)

    status = account.deploy(template, Parameters=[{"ParameterKey": "Word", "ParameterValue": "bye"}])

    queue = account.cloud.resources["Queue"]
    attributes = account.cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    policy = account.cloud.client("iam").get_role_policy(RoleName=account.cloud.resources["Role"], PolicyName="own")
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert ("Dashboard", "CREATE_FAILED") in account.events()
    assert ("News", "DELETE_COMPLETE") in account.events()
    assert account.says() == "one hello"
    assert attributes["VisibilityTimeout"] == "60"
    assert policy["PolicyDocument"]["Statement"][0]["Action"] == "sqs:SendMessage"
    assert account.cloud.client("sns").list_topics()["Topics"] == []
    assert account.cloud._runtime.function("Talk").invokes.retries == 0
    assert account.deploy(_another(Timeout=9)) == "UPDATE_COMPLETE"


def test_a_failed_creation_leaves_what_is_retained(cloud: LocalCloud) -> None:
    account = Account(cloud)
    broken = {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": {"Fn::Sub": "not JSON ${Kept}"}}}

    status = account.deploy(_template(Dashboard=broken), "CREATE")

    assert status == "ROLLBACK_COMPLETE"
    assert ("Kept", "DELETE_SKIPPED") in account.events()
    assert cloud.client("dynamodb").list_tables()["TableNames"] == ["kept"]
    assert cloud.resources == {}
    with pytest.raises(ClientError, match="can not be updated"):
        account.change_set(_template())
    account.client.delete_stack(StackName=STACK)
    with pytest.raises(ClientError, match="does not exist"):
        account.change_set(_template())
    assert account.deploy(_template(), "CREATE") == "ROLLBACK_COMPLETE"  # the table is there
    account.client.delete_stack(StackName=STACK)
    cloud.client("dynamodb").delete_table(TableName="kept")


def test_what_a_deleted_stack_has_left_is_taken_over_under_its_name(account: Account) -> None:
    dynamodb = account.cloud.client("dynamodb")
    dynamodb.put_item(TableName="kept", Item={"pk": {"S": "here"}})
    account.client.delete_stack(StackName=STACK)
    left = dynamodb.list_tables()["TableNames"]

    made = account.change_set(_template(), "CREATE", ImportExistingResources=True)
    status = account.execute(made)

    assert left == ["kept"]
    assert _changes(made)["Kept"] == ("Import", None)
    assert _changes(made)["Talk"] == ("Add", None)
    assert status == "CREATE_COMPLETE"
    assert ("Kept", "IMPORT_COMPLETE") in account.events()
    assert dynamodb.scan(TableName="kept")["Count"] == 1


def test_a_name_that_a_function_makes_is_not_looked_up(account: Account) -> None:
    account.client.delete_stack(StackName=STACK)
    table = _template()["Resources"]["Kept"]
    named = {**table, "Properties": {**table["Properties"], "TableName": {"Fn::Sub": "kept"}}}

    made = account.change_set(_template(Kept=named), "CREATE", ImportExistingResources=True)

    assert _changes(made)["Kept"] == ("Add", None)
    assert account.execute(made) == "ROLLBACK_COMPLETE"
    assert ("Kept", "CREATE_FAILED") in account.events()


def test_what_can_not_be_changed_is_replaced_or_refused(account: Account) -> None:
    kept = _template()["Resources"]["Kept"]
    other_key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    keyed = {**kept, "Properties": {**kept["Properties"], "KeySchema": other_key}}

    made = account.change_set(_template(Kept=keyed))
    status = account.execute(made)

    assert _changes(made)["Kept"] == ("Modify", "True")
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    reasons = [each.get("ResourceStatusReason", "") for each in account.cloud.stack.events]
    assert any("custom-named resource requires replacing" in reason for reason in reasons)


def test_what_the_local_cloud_can_not_change_it_refuses(account: Account) -> None:
    kept = _template()["Resources"]["Kept"]
    provisioned = {**kept, "Properties": {**kept["Properties"], "BillingMode": "PROVISIONED"}}

    assert account.deploy(_template(Kept=provisioned)) == "UPDATE_ROLLBACK_COMPLETE"
    assert any(
        "can't change BillingMode" in each.get("ResourceStatusReason", "") for each in account.cloud.stack.events
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Word", "Loud", "must match pattern"),
        ("Seconds", "10", "not greater than 9"),
        ("Seconds", "0", "not less than 1"),
        ("Seconds", "many", "must be a number"),
        ("Nothing", "1", "no such parameter"),
    ],
)
def test_a_parameter_that_the_template_refuses(account: Account, name: str, value: str, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        account.change_set(_template(), Parameters=[{"ParameterKey": name, "ParameterValue": value}])


def test_requests_that_cloudformation_refuses(account: Account) -> None:
    with pytest.raises(ClientError, match="already exists and cannot be created again"):
        account.change_set(_template(), "CREATE")
    with pytest.raises(ClientError, match="Requires capabilities"):
        account.change_set(_template(), Capabilities=[])
    with pytest.raises(ClientError, match="Unrecognized resource types"):
        account.change_set(_template(New={"Type": "AWS::SQS::Unheard"}))
    with pytest.raises(ClientError, match="Unresolved resource dependencies"):
        account.change_set(_template(Role=None))
    with pytest.raises(ClientError, match="51200"):
        account.change_set({**_template(), "Description": "x" * 60_000})
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        account.client.describe_change_set(StackName=STACK, ChangeSetName="another")


def test_a_change_set_that_is_deleted_changes_nothing(account: Account) -> None:
    made = account.change_set(_another(Timeout=9))
    for _ in range(2):
        account.client.delete_change_set(StackName=STACK, ChangeSetName=made["ChangeSetName"])

    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        account.execute(made)
    assert account.status == "CREATE_COMPLETE"


def test_events_come_in_pages(account: Account) -> None:
    many = {f"Topic{number}": {"Type": "AWS::SNS::Topic"} for number in range(110)}

    made = account.change_set(_template(**many))
    account.execute(made)

    assert len(made["Changes"]) == 110
    assert len(account.client.describe_stack_events(StackName=STACK)["StackEvents"]) == 100
    assert len(account.events()) == 2 + 2 * 110

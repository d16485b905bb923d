"""IAM: what policies allow, what calls need, and what is refused in front of moto."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.aws_request import AwsRequest
from local.cloud import LocalCloud
from local.gate import UnknownAccess, evaluate, needed
from tests.local.small_stack import small_cloud

TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/T"


def _allow(**statement: Any) -> list[dict[str, Any]]:
    return [{"Statement": {"Effect": "Allow", **statement}}]


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ({"Action": "dynamodb:PutItem", "Resource": TABLE}, "allowed"),
        ({"Action": ["s3:*", "DynamoDB:put*"], "Resource": "*"}, "allowed"),
        ({"Action": "dynamodb:PutItem", "Resource": TABLE + "x"}, "not allowed"),
        ({"Action": "dynamodb:GetItem", "Resource": TABLE}, "not allowed"),
        ({"NotAction": "dynamodb:GetItem", "Resource": TABLE}, "allowed"),
        ({"Action": "dynamodb:*", "NotResource": TABLE}, "not allowed"),
        ({"Action": "*", "Resource": "arn:aws:dynamodb:*:*:table/?"}, "allowed"),
    ],
)
def test_actions_and_resources_are_matched(statement: dict[str, Any], verdict: str) -> None:
    assert evaluate(_allow(**statement), "dynamodb:PutItem", TABLE, {}) == verdict


def test_an_explicit_deny_wins() -> None:
    policies = [
        *_allow(Action="*", Resource="*"),
        {"Statement": [{"Effect": "Deny", "Action": "dynamodb:DeleteItem", "Resource": "*"}]},
    ]

    assert evaluate(policies, "dynamodb:DeleteItem", TABLE, {}) == "explicit deny"


@pytest.mark.parametrize(
    ("condition", "keys", "verdict"),
    [
        ({"ForAllValues:StringLike": {"k": ["a#*"]}}, ["a#1", "a#2"], "allowed"),
        ({"ForAllValues:StringLike": {"k": ["a#*"]}}, ["a#1", "b#2"], "not allowed"),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, [], "allowed"),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, ["b", "a"], "allowed"),
        ({"StringEquals": {"k": "a"}}, [], "not allowed"),
        ({"StringEqualsIfExists": {"k": "a"}}, [], "allowed"),
        ({"StringNotEquals": {"k": ["a", "b"]}}, ["c"], "allowed"),
        ({"StringNotEquals": {"k": ["a", "b"]}}, ["b"], "not allowed"),
        ({"Bool": {"k": "true"}}, ["True"], "allowed"),
        ({"ArnLike": {"k": "arn:*:x"}}, ["arn:aws:x"], "allowed"),
    ],
)
def test_conditions_are_evaluated(condition: dict[str, Any], keys: list[str], verdict: str) -> None:
    policies = _allow(Action="*", Resource="*", Condition=condition)

    assert evaluate(policies, "dynamodb:PutItem", TABLE, {"k": keys}) == verdict


def test_an_unknown_condition_operator_fails_closed() -> None:
    with pytest.raises(UnknownAccess, match="NumericLessThan"):
        evaluate(_allow(Action="*", Resource="*", Condition={"NumericLessThan": {"k": 1}}), "a:B", "*", {"k": 0})


def _call(service: str, operation: str, parameters: dict[str, Any], **more: Any) -> AwsRequest:
    given = {"method": "POST", "path": "/", "query": {}, "body": json.dumps(parameters).encode()} | more
    return AwsRequest("AK", service, operation, **given)


DELETED = b"<Delete><Object><Key>k&amp;1</Key><VersionId>v</VersionId></Object></Delete>"


def _partition_key(table: str, index: str | None) -> str:
    return "due_kind" if index else "pk"


def test_a_transaction_needs_each_of_its_parts() -> None:
    key = {"pk": {"S": "chat#1"}, "sk": {"S": "x"}}
    request = _call(
        "dynamodb",
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "T", "Item": key}},
                {"Update": {"TableName": "T", "Key": key}},
                {"ConditionCheck": {"TableName": "T", "Key": key}},
                {"Delete": {"TableName": "U", "Key": {"pk": {"S": "chat#2"}}}},
            ]
        },
    )

    found = [(one.action, one.resource, one.context["dynamodb:LeadingKeys"]) for one in needed(request, _partition_key)]

    assert found == [
        ("dynamodb:PutItem", TABLE, ["chat#1"]),
        ("dynamodb:UpdateItem", TABLE, ["chat#1"]),
        ("dynamodb:ConditionCheckItem", TABLE, ["chat#1"]),
        ("dynamodb:DeleteItem", TABLE[:-1] + "U", ["chat#2"]),
    ]


def test_a_query_needs_its_index_and_tells_its_leading_key() -> None:
    request = _call(
        "dynamodb",
        "Query",
        {
            "TableName": "T",
            "IndexName": "due",
            "KeyConditionExpression": "#k = :kind AND due_at <= :now",
            "ExpressionAttributeNames": {"#k": "due_kind"},
            "ExpressionAttributeValues": {":kind": {"S": "turn"}, ":now": {"N": "1"}},
        },
    )

    (access,) = needed(request, _partition_key)

    assert (access.action, access.resource) == ("dynamodb:Query", TABLE + "/index/due")
    assert access.context["dynamodb:LeadingKeys"] == ["turn"]


@pytest.mark.parametrize(
    ("request_", "action", "resource"),
    [
        (
            _call("ssm", "GetParameter", {"Name": "/a/b"}),
            "ssm:GetParameter",
            "arn:aws:ssm:eu-west-1:123456789012:parameter/a/b",
        ),
        (_call("states", "StartExecution", {"stateMachineArn": "arn:m"}), "states:StartExecution", "arn:m"),
        (_call("states", "DescribeExecution", {"executionArn": "arn:e"}), "states:DescribeExecution", "arn:e"),
        (
            _call("sqs", "SendMessageBatch", {"QueueUrl": "http://x/123456789012/q"}),
            "sqs:SendMessage",
            "arn:aws:sqs:eu-west-1:123456789012:q",
        ),
        (
            _call("lambda", "Invoke", {}, path="/2015-03-31/functions/f/invocations"),
            "lambda:InvokeFunction",
            "arn:aws:lambda:eu-west-1:123456789012:function:f",
        ),
        (_call("s3", "PutObject", {}, method="PUT", path="/b/k/1"), "s3:PutObject", "arn:aws:s3:::b/k/1"),
        (
            _call("s3", "PostObjects", {}, method="POST", path="/b", body=DELETED),
            "s3:DeleteObjectVersion",
            "arn:aws:s3:::b/k&1",
        ),
        (_call("s3", "ListObjectsV2", {}, method="GET", path="/b"), "s3:ListBucket", "arn:aws:s3:::b"),
        (_call("monitoring", "PutMetricData", {}), "cloudwatch:PutMetricData", "*"),
    ],
)
def test_what_a_call_needs(request_: AwsRequest, action: str, resource: str) -> None:
    (access,) = needed(request_, _partition_key)

    assert (access.action, access.resource) == (action, resource)


@pytest.mark.parametrize(
    "request_",
    [
        _call("dynamodb", "ExecuteStatement", {}),
        _call("states", "DeleteStateMachine", {}),
        _call("ec2", "RunInstances", {}),
        _call("", "", {}),
    ],
)
def test_a_call_that_is_not_known_fails_closed(request_: AwsRequest) -> None:
    with pytest.raises(UnknownAccess):
        list(needed(request_, _partition_key))


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with small_cloud() as started:
        yield started


def test_a_function_may_do_what_its_role_says_and_nothing_else(cloud: LocalCloud) -> None:
    assert cloud.invoke("Work", {"item": "1", "do": "answer"})["text"] == "hello from the layer"

    cloud.post_update({"update_id": 40, "do": "forbidden"})
    cloud.wait_until_quiet(20)

    (denied,) = cloud.denied
    assert denied.action == "ssm:GetParameter"
    assert denied.resource.endswith(":parameter/serverless-openclaw/secrets/copilot-api-key")
    assert "WorkRole" in denied.principal
    assert cloud.executions()[-1].error == "AccessDeniedException"


def test_unknown_credentials_are_refused(cloud: LocalCloud) -> None:
    stranger = boto3.client(
        "dynamodb",
        region_name="eu-west-1",
        endpoint_url=cloud.endpoint,
        aws_access_key_id="AKIASTRANGER",
        aws_secret_access_key="x",
    )

    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        stranger.get_item(TableName="T", Key={"pk": {"S": "x"}})


def test_leading_keys_restrict_a_role(cloud: LocalCloud) -> None:
    role = cloud.resources["ReceiveRole.Arn"]
    credentials = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    dynamodb = boto3.client(
        "dynamodb",
        region_name="eu-west-1",
        endpoint_url=cloud.endpoint,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    table = cloud.resources["Items"]

    dynamodb.put_item(TableName=table, Item={"pk": {"S": "item#x"}, "sk": {"S": "1"}})
    with pytest.raises(ClientError, match="AccessDeniedException"):
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "other#x"}, "sk": {"S": "1"}})
    with pytest.raises(ClientError, match="AccessDeniedException"):
        dynamodb.get_item(TableName=table, Key={"pk": {"S": "item#x"}, "sk": {"S": "1"}})


def test_deleting_many_objects_needs_the_right_to_each_and_to_versions() -> None:
    body = (
        b"<Delete><Object><Key>k/1</Key></Object>"
        b"<Object><Key>k/&lt;2&gt;</Key><VersionId>v</VersionId></Object><Quiet>true</Quiet></Delete>"
    )
    request = AwsRequest("key", "s3", "PostObjects", "POST", "/b", {"delete": ""}, body)

    assert [(access.action, access.resource) for access in needed(request, _partition_key)] == [
        ("s3:DeleteObject", "arn:aws:s3:::b/k/1"),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::b/k/<2>"),
    ]

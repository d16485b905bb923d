"""The template as CloudFormation sees it, and what the deployer refuses."""

from pathlib import Path
from typing import Any

import pytest

from local.cloud import LocalCloud
from local.deployer import DeploymentError
from local.template import Resolver, Template, TemplateError
from tests.local.small_stack import TEMPLATE, small_cloud


class Existing:
    """Resources that exist, for the resolver."""

    def ref(self, logical_id: str) -> str:
        return f"ref-{logical_id}"

    def attribute(self, logical_id: str, name: str) -> str:
        return f"{logical_id}/{name}"


def _written(tmp_path: Path, text: str, **given: str) -> Template:
    path = tmp_path / "template.yaml"
    path.write_text(text, encoding="utf-8")
    return Template(path, given)


MINIMAL = """
Parameters:
  Stage: {Type: String, Default: dev}
  Zones: {Type: CommaDelimitedList, Default: "a, b"}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  NotProd: !Not [!Condition IsProd]
Mappings:
  Sizes: {dev: {memory: 128}, prod: {memory: 512}}
Resources:
  Second:
    Type: AWS::SNS::Topic
    Properties: {TopicName: !Sub "${First}-x"}
  First: {Type: AWS::SNS::Topic}
  OnlyProd: {Type: AWS::SNS::Topic, Condition: IsProd}
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Stage"}, "dev"),
        ({"Ref": "Zones"}, ["a", "b"]),
        ({"Ref": "AWS::Region"}, "eu-west-1"),
        ({"Ref": "First"}, "ref-First"),
        ({"Fn::GetAtt": ["First", "Arn"]}, "First/Arn"),
        ({"Fn::Sub": "${Stage}-${First}-${First.Arn}-${!Stage}"}, "dev-ref-First-First/Arn-${Stage}"),
        ({"Fn::Sub": ["${a}-${Stage}", {"a": {"Ref": "First"}}]}, "ref-First-dev"),
        ({"Fn::Join": ["-", ["x", {"Ref": "Stage"}]]}, "x-dev"),
        ({"Fn::If": ["IsProd", "big", "small"]}, "small"),
        ({"Fn::Select": [1, {"Ref": "Zones"}]}, "b"),
        ({"Fn::Select": ["0", {"Fn::Split": ["/", "x/y"]}]}, "x"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Stage"}, "memory"]}, 128),
        ({"Fn::Base64": "hi"}, "aGk="),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [1, {"Ref": "AWS::NoValue"}]}, {"b": [1]}),
        ({"Condition": {"StringEquals": {"k": {"Ref": "Stage"}}}}, {"Condition": {"StringEquals": {"k": "dev"}}}),
    ],
)
def test_intrinsic_functions_are_evaluated(tmp_path: Path, value: Any, expected: Any) -> None:
    resolver = Resolver(_written(tmp_path, MINIMAL), Existing())

    assert resolver.resolve(value) == expected


def test_an_unknown_function_is_an_error(tmp_path: Path) -> None:
    resolver = Resolver(_written(tmp_path, MINIMAL), Existing())

    with pytest.raises(TemplateError, match="Fn::ImportValue"):
        resolver.resolve({"Fn::ImportValue": "x"})


def test_resources_come_after_what_they_refer_to_and_conditions_hold(tmp_path: Path) -> None:
    names = [resource.logical_id for resource in _written(tmp_path, MINIMAL).resources]
    in_production = [resource.logical_id for resource in _written(tmp_path, MINIMAL, Stage="prod").resources]

    assert names == ["First", "Second"]
    assert set(in_production) == {"First", "Second", "OnlyProd"}


def test_parameters_are_checked(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no such parameter: Nothing"):
        _ = _written(tmp_path, MINIMAL, Nothing="x").parameters
    with pytest.raises(TemplateError, match="without a value: Needed"):
        _ = _written(tmp_path, "Parameters: {Needed: {Type: String}}\nResources: {}").parameters


def test_a_circle_is_named(tmp_path: Path) -> None:
    circle = """
Resources:
  A: {Type: AWS::SNS::Topic, Properties: {TopicName: !Ref B}}
  B: {Type: AWS::SNS::Topic, DependsOn: A}
"""
    with pytest.raises(TemplateError, match="circular"):
        _ = _written(tmp_path, circle).resources


def test_the_deployer_fails_on_a_type_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Resources: {Cache: {Type: AWS::ElastiCache::CacheCluster}}", encoding="utf-8")

    with pytest.raises(DeploymentError, match="AWS::ElastiCache::CacheCluster"), LocalCloud(path):
        pass


def test_a_role_that_does_not_trust_the_service_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(
        """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: ecs-tasks.amazonaws.com}, Action: sts:AssumeRole}]
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties: {RoleArn: !GetAtt Role.Arn, DefinitionString: "{}"}
""",
        encoding="utf-8",
    )

    with pytest.raises(DeploymentError, match=r"does not trust states\.amazonaws\.com"), LocalCloud(path):
        pass


def test_functions_that_are_not_built_are_named(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="make build"), LocalCloud(TEMPLATE, build_dir=tmp_path):
        pass


def test_the_table_is_created_with_everything_the_template_says() -> None:
    with small_cloud(parameters={"Alarmed": "yes"}) as cloud:
        dynamodb, name = cloud.client("dynamodb"), cloud.resources["Items"]
        table = dynamodb.describe_table(TableName=name)["Table"]
        ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]

        assert table["GlobalSecondaryIndexes"][0]["Projection"] == {"ProjectionType": "KEYS_ONLY"}
        assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
        assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
        assert cloud.client("cloudwatch").describe_alarms(AlarmNames=[cloud.resources["Alarm"]])["MetricAlarms"]
        assert cloud.outputs["Url"].startswith("https://")
        assert cloud.outputs["Url"].endswith(".execute-api.eu-west-1.amazonaws.com/telegram")

"""Takes away what the deployer has created: one function per resource type. What is recorded only is forgotten."""

from collections.abc import Callable, Mapping
from typing import Any

from local import network
from local.deployer import RECORDED_ONLY, Created, Deployer, DeploymentError, refusals
from local.template import Resource

type Remover = Callable[[Deployer, Created, Mapping[str, Any]], object]


def remove(deployer: Deployer, resource: Resource, created: Created, properties: Mapping[str, Any]) -> None:
    """Take away one resource. DeploymentError if its service refuses."""
    if resource.type in RECORDED_ONLY:
        deployer.recorded.pop(resource.logical_id, None)
        return
    with refusals(resource):
        REMOVERS[resource.type](deployer, created, properties)


def _role(deployer: Deployer, created: Created, _properties: Mapping[str, Any]) -> None:
    iam = deployer.client("iam")
    for policy in iam.list_role_policies(RoleName=created.ref)["PolicyNames"]:
        iam.delete_role_policy(RoleName=created.ref, PolicyName=policy)
    iam.delete_role(RoleName=created.ref)


def _policy(deployer: Deployer, _created: Created, properties: Mapping[str, Any]) -> None:
    iam = deployer.client("iam")
    for role in properties.get("Roles", []):
        iam.delete_role_policy(RoleName=role, PolicyName=properties["PolicyName"])


def _cluster(deployer: Deployer, created: Created, _properties: Mapping[str, Any]) -> None:
    """ECS developer guide, "Deleting a cluster": not while a task runs in it."""
    ecs = deployer.client("ecs")
    if ecs.list_tasks(cluster=created.ref)["taskArns"]:
        raise DeploymentError(f"{created.ref}: The Cluster cannot be deleted while Tasks are active.")
    ecs.delete_cluster(cluster=created.ref)


def _of(service: str, operation: str, name: str, *, listed: bool = False) -> Remover:
    """An operation that takes the reference under a name, on its own or as a list."""

    def remove_one(deployer: Deployer, created: Created, _properties: Mapping[str, Any]) -> object:
        return getattr(deployer.client(service), operation)(**{name: [created.ref] if listed else created.ref})

    return remove_one


def _part_of(kind: str) -> Remover:
    return lambda deployer, created, properties: network.remove(deployer.client("ec2"), kind, created.ref, properties)


REMOVERS: Mapping[str, Remover] = {
    "AWS::ApiGatewayV2::Api": lambda deployer, created, _: deployer.http_api.remove(created.ref),
    "AWS::CloudWatch::Alarm": _of("cloudwatch", "delete_alarms", "AlarmNames", listed=True),
    "AWS::CloudWatch::Dashboard": _of("cloudwatch", "delete_dashboards", "DashboardNames", listed=True),
    "AWS::DynamoDB::Table": _of("dynamodb", "delete_table", "TableName"),
    **{kind: _part_of(kind) for kind in network.TYPES},
    "AWS::ECS::Cluster": _cluster,
    "AWS::ECS::TaskDefinition": _of("ecs", "deregister_task_definition", "taskDefinition"),
    "AWS::Events::Rule": lambda deployer, created, _: deployer.bus.remove(created.ref),
    "AWS::IAM::Policy": _policy,
    "AWS::IAM::Role": _role,
    "AWS::Lambda::EventInvokeConfig": lambda deployer, _, properties: deployer.without_invokes(
        properties["FunctionName"]
    ),
    "AWS::Lambda::Function": lambda deployer, created, _: deployer.runtime.remove(created.ref),
    "AWS::Lambda::LayerVersion": lambda *_: None,  # functions that run keep it, as in AWS
    "AWS::S3::Bucket": _of("s3", "delete_bucket", "Bucket"),
    "AWS::SNS::Topic": _of("sns", "delete_topic", "TopicArn"),
    "AWS::SQS::Queue": _of("sqs", "delete_queue", "QueueUrl"),
    "AWS::SSM::Parameter": _of("ssm", "delete_parameter", "Name"),
    "AWS::Scheduler::Schedule": lambda deployer, created, _: deployer.bus.remove(created.ref),
    "AWS::Scheduler::ScheduleGroup": _of("scheduler", "delete_schedule_group", "Name"),
    "AWS::StepFunctions::StateMachine": _of("stepfunctions", "delete_state_machine", "stateMachineArn"),
}
"""How each type is taken away."""

"""Creates the template's resources: one function per resource type, and none for a type that is not known.

What has no behaviour on this machine is listed in `RECORDED_ONLY` with the reason, so that nothing is dropped in
silence.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from local import alarms, buckets, network
from local.events import EventBus
from local.functions import AsyncInvokes, Function
from local.http_api import HttpApi, Route
from local.runtime import Runtime
from local.template import ACCOUNT, LOCAL_BUCKET, NO_VALUE, REGION, STACK, Resolver, Resource, Template

_INTEGRATED_FUNCTION = re.compile(r"functions/(arn:[^/]+)/invocations")
_HTTP_METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "x-amazon-apigateway-any-method"}
_SUFFIX_LENGTH = 8

_BASIC_EXECUTION = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": "*",
        }
    ],
}
_XRAY_WRITE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
                "xray:GetSamplingStatisticSummaries",
            ],
            "Resource": "*",
        }
    ],
}
MANAGED_POLICIES = {
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole": _BASIC_EXECUTION,
    "arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess": _XRAY_WRITE,
    "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess": _XRAY_WRITE,
}
"""AWS's managed policies, as https://docs.aws.amazon.com/aws-managed-policy/latest/reference/ prints them."""

RECORDED_ONLY = {
    "AWS::ApiGatewayV2::Stage": "throttling and access logs are API Gateway's",
    "AWS::CloudWatch::CompositeAlarm": "metrics are log lines here, and nothing evaluates them",
    "AWS::Lambda::Permission": "resource policies are not evaluated: only the template's own events call functions",
    "AWS::Logs::LogGroup": "lines are kept in memory (`LocalCloud.logs`)",
    "AWS::Logs::MetricFilter": "as composite alarms",
    "AWS::Logs::QueryDefinition": "nothing searches the lines; moto knows no saved queries",
    "AWS::Logs::ResourcePolicy": "lines are kept in memory",
    "AWS::S3::BucketPolicy": "resource policies are not evaluated; moto ignores their conditions and would refuse all",
    "AWS::SQS::QueuePolicy": "resource policies are not evaluated, the gate looks at roles",
    "AWS::SNS::TopicPolicy": "resource policies are not evaluated, the gate looks at roles",
    "AWS::SNS::Subscription": "nothing leaves this machine",
    "AWS::Budgets::Budget": "there is no bill",
}


class DeploymentError(Exception):
    """A resource can't be created; the message names it."""


@dataclass(frozen=True)
class Created:
    """What exists now: what `Ref` gives, and what `Fn::GetAtt` gives by name."""

    ref: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Deployer:
    """Creates the resources of one template, in order, and knows what there is of them.

    Attributes:
        template: what to create.
        client: gives an admin's boto3 client of a service.
        runtime: where functions run.
        bus: where rules go.
        http_api: where routes go.
        build_dir: `sam build`'s output; None runs the code in place.
        unpacked: gives the file or folder that lies at a place in S3, which is where an uploaded template has its code.
        resources: what exists, by logical id.
        properties: of what exists, as they were when it was created or changed last.
        recorded: resources that have no behaviour here, with the reason.
        layers: the folder of each layer, by ARN.
    """

    template: Template
    client: Callable[[str], Any]
    runtime: Runtime
    bus: EventBus
    http_api: HttpApi
    build_dir: Path | None
    unpacked: Callable[[str, str], Path]
    resources: dict[str, Created] = field(default_factory=dict)
    properties: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)
    layers: dict[str, Path] = field(default_factory=dict)

    def deploy(self) -> None:
        """Create everything.

        Raises:
            DeploymentError: a type is not known, or a resource is refused.
        """
        check_types(self.template)
        for resource in self.template.resources:
            self.create(resource)

    def create(self, resource: Resource) -> None:
        """Create one resource; what it refers to exists. DeploymentError or TemplateError if it can't be."""
        properties = self.resolved(resource)
        with refusals(resource):
            made = CREATORS.get(resource.type, _record)(self, resource, properties)
        self.resources[resource.logical_id] = made
        self.properties[resource.logical_id] = properties

    def resolved(self, resource: Resource) -> dict[str, Any]:
        """The properties of a resource, every function evaluated."""
        properties: dict[str, Any] = Resolver(self.template, self).resolve(resource.properties)
        return properties

    def without_invokes(self, function: str) -> None:
        """Have a function's asynchronous invocations repeated as if nothing had been said about it."""
        known = self.runtime.functions.get(function)
        if known is not None:
            self.runtime.add(known.with_invokes(AsyncInvokes()))

    def ref(self, logical_id: str) -> str:
        """What `Ref` gives."""
        return self._existing(logical_id).ref

    def attribute(self, logical_id: str, name: str) -> str:
        """What `Fn::GetAtt` gives."""
        existing = self._existing(logical_id)
        if name not in existing.attributes:
            raise DeploymentError(f"{logical_id} has no attribute {name} in the local cloud")
        return existing.attributes[name]

    def _existing(self, logical_id: str) -> Created:
        if logical_id not in self.resources:
            raise DeploymentError(f"{logical_id} is neither a parameter nor a resource created so far")
        return self.resources[logical_id]


type Creator = Callable[[Deployer, Resource, dict[str, Any]], Created]


def check_types(template: Template) -> None:
    """DeploymentError if the template has a type that is not known."""
    unknown = {each.type for each in template.resources} - CREATORS.keys() - RECORDED_ONLY.keys()
    if unknown:
        raise DeploymentError(f"types that the local cloud does not know: {', '.join(sorted(unknown))}")


@contextmanager
def refusals(resource: Resource) -> Iterator[None]:
    """What a service, or the local cloud, refuses names its resource."""
    try:
        yield
    except (ValueError, ParamValidationError) as error:
        raise DeploymentError(f"{resource.logical_id}: {error}") from error
    except ClientError as error:
        raise DeploymentError(f"{resource.logical_id}: {error.response['Error']['Message']}") from error


def _physical_name(resource: Resource, given: object = None, limit: int = 64) -> str:
    """The given name, or one as CloudFormation makes it, the same at every start."""
    if given and given is not NO_VALUE:
        return str(given)
    suffix = hashlib.sha256(resource.logical_id.encode()).hexdigest()[:_SUFFIX_LENGTH].upper()
    return f"{STACK}-{resource.logical_id}"[: limit - _SUFFIX_LENGTH - 1] + f"-{suffix}"


def _record(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    deployer.recorded[resource.logical_id] = RECORDED_ONLY[resource.type]
    name = _physical_name(resource, _given_name(properties))
    service, kind = resource.type.split("::")[1:]
    arn = f"arn:aws:{service.lower()}:{REGION}:{ACCOUNT}:{kind.lower()}:{name}"
    if resource.type == "AWS::Logs::LogGroup":
        return Created(name, {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*"})
    return Created(name, {"Arn": arn})


def _given_name(properties: Mapping[str, Any]) -> object:
    return next((properties[name] for name in ("LogGroupName", "LayerName") if name in properties), None)


def _table(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("TableName"), limit=255)
    taken = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")
    given = {key: properties[key] for key in (*taken, "ProvisionedThroughput") if key in properties}
    dynamodb = deployer.client("dynamodb")
    mode = properties.get("BillingMode", "PROVISIONED")
    described = dynamodb.create_table(TableName=name, BillingMode=mode, **given)["TableDescription"]
    if ttl := properties.get("TimeToLiveSpecification"):
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
    if recovery := properties.get("PointInTimeRecoverySpecification"):
        dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
    return Created(name, {"Arn": described["TableArn"]})


def _alarm(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("AlarmName"), limit=255)
    return Created(name, {"Arn": alarms.create(deployer.client("cloudwatch"), name, properties)})


def _dashboard(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("DashboardName"), limit=255)
    body = properties["DashboardBody"]
    try:
        json.loads(body)
    except ValueError as error:
        raise DeploymentError(f"{resource.logical_id}: its body is not JSON: {error}") from error
    deployer.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=body)
    return Created(name)


def _queue(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("QueueName"), limit=80)
    url = deployer.client("sqs").create_queue(QueueName=name, Attributes=queue_attributes(properties))["QueueUrl"]
    return Created(url, {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", "QueueName": name, "QueueUrl": url})


def queue_attributes(properties: Mapping[str, Any]) -> dict[str, str]:
    """A queue's properties as SQS takes them."""
    return {
        key: json.dumps(value) if isinstance(value, dict) else _text(value)
        for key, value in properties.items()
        if key not in {"QueueName", "Tags"}
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bucket(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("BucketName"), limit=63).lower()
    buckets.create(deployer.client("s3"), name, REGION, properties)
    return Created(name, {"Arn": f"arn:aws:s3:::{name}"})


def _part_of_a_network(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, limit=255)
    identifier = network.create(deployer.client("ec2"), resource.type, name, properties)
    return Created(identifier, {"GroupId": identifier} if resource.type == "AWS::EC2::SecurityGroup" else {})


def _cluster(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("ClusterName"), limit=255)
    given = {"settings" if key == "clusterSettings" else key: value for key, value in _as_api(properties).items()}
    created = deployer.client("ecs").create_cluster(**(given | {"clusterName": name}))["cluster"]
    return Created(name, {"Arn": created["clusterArn"]})


def _task_definition(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    for role in ("TaskRoleArn", "ExecutionRoleArn"):
        _trusted(deployer, properties[role], "ecs-tasks.amazonaws.com", resource.logical_id)
    registered = deployer.client("ecs").register_task_definition(**_as_api(properties))["taskDefinition"]
    return Created(registered["taskDefinitionArn"], {"TaskDefinitionArn": registered["taskDefinitionArn"]})


def _as_api(value: Any) -> Any:  # noqa: ANN401 (as the template has it)
    """A template's properties as the API of ECS calls them: the same names, beginning with a small letter."""
    if isinstance(value, list):
        return [_as_api(part) for part in value]
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _as_api(part) for key, part in value.items()}
    return value


def _parameter(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = properties.get("Name") or _physical_name(resource)
    kind, value = properties["Type"], properties["Value"]
    deployer.client("ssm").put_parameter(Name=name, Type=kind, Value=value)
    return Created(name, {"Type": kind, "Value": value})


def _topic(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("TopicName"), limit=256)
    arn = deployer.client("sns").create_topic(Name=name)["TopicArn"]
    return Created(arn, {"TopicArn": arn, "TopicName": name})


def _role(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("RoleName"))
    iam = deployer.client("iam")
    trust = json.dumps(properties["AssumeRolePolicyDocument"])
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    for policy, document in role_policies(properties).items():
        put_role_policy(iam, name, policy, document)
    return Created(name, {"Arn": arn, "RoleId": name})


def role_policies(properties: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A role's policies by name. AWS's own as inline ones: moto's copies of those are optional and slow to load.

    Raises:
        ValueError: one of AWS's is not known here.
    """
    strange = [each for each in properties.get("ManagedPolicyArns", []) if each not in MANAGED_POLICIES]
    if strange:
        raise ValueError(f"{strange[0]} is not known to the local cloud")
    inline = {each["PolicyName"]: each["PolicyDocument"] for each in properties.get("Policies", [])}
    managed = {each.rpartition("/")[2]: MANAGED_POLICIES[each] for each in properties.get("ManagedPolicyArns", [])}
    return inline | managed


def _policy(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    iam = deployer.client("iam")
    for role in properties.get("Roles", []):
        put_role_policy(iam, role, properties["PolicyName"], properties["PolicyDocument"])
    return Created(resource.logical_id)


def put_role_policy(iam: Any, role: str, name: str, document: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Give a role a policy."""
    # SAM's policy templates have no Version, which AWS takes and moto does not.
    versioned = {"Version": "2012-10-17", **document}
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(versioned))


def _trusted(deployer: Deployer, role_arn: str, service: str, logical_id: str) -> None:
    """AWS refuses a role that the service may not assume; so do we."""
    role = deployer.client("iam").get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
    if service not in json.dumps(role["AssumeRolePolicyDocument"]):
        raise DeploymentError(f"{logical_id}: the role {role['RoleName']} does not trust {service}")


def _function(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("FunctionName"))
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    _trusted(deployer, properties["Role"], "lambda.amazonaws.com", resource.logical_id)
    deployer.runtime.add(
        Function(
            logical_id=resource.logical_id,
            name=name,
            arn=arn,
            handler=properties["Handler"],
            role_arn=properties["Role"],
            timeout_s=int(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            environment={key: _text(value) for key, value in _variables(properties).items()},
            code=_code(deployer, resource, properties),
        )
    )
    return Created(name, {"Arn": arn})


def _variables(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    variables: Mapping[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return variables


def _layer(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    """A layer is a folder; each that is created is another version, as in AWS."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{properties['LayerName']}:{len(deployer.layers) + 1}"
    content = properties["Content"]
    if content["S3Bucket"] != LOCAL_BUCKET:
        deployer.layers[arn] = deployer.unpacked(content["S3Bucket"], content["S3Key"]) / "python"
    elif deployer.build_dir is None:
        deployer.layers[arn] = deployer.template.local_file({"Key": content["S3Key"]})
    else:
        deployer.layers[arn] = _built(deployer.build_dir / _name_of_layer(deployer, resource, content)) / "python"
    return Created(arn, {"LayerVersionArn": arn})


def _name_of_layer(deployer: Deployer, resource: Resource, content: Mapping[str, Any]) -> str:
    """`sam build` names the folder after the layer in the template as written, which knows no hash."""
    for name, written in deployer.template.source["Resources"].items():
        if (
            written["Type"] == "AWS::Serverless::LayerVersion"
            and written["Properties"]["ContentUri"] == content["S3Key"]
        ):
            return str(name)
    raise DeploymentError(f"{resource.logical_id}: the template as written has no layer of that content")


def _built(folder: Path) -> Path:
    if not folder.is_dir():
        raise DeploymentError(f"{folder.name} is not built: run `make build`")
    return folder


def _code(deployer: Deployer, resource: Resource, properties: Mapping[str, Any]) -> tuple[Path, ...]:
    """The folders of a function and its layers: as uploaded, as built, or as they are in the work tree."""
    code = properties["Code"]
    if code["S3Bucket"] != LOCAL_BUCKET:
        own = deployer.unpacked(code["S3Bucket"], code["S3Key"])
    elif deployer.build_dir is None:
        own = deployer.template.local_file({"Key": code["S3Key"]})
    else:
        own = _built(deployer.build_dir / resource.logical_id)
    return (own, *(deployer.layers[arn] for arn in properties.get("Layers", [])))


def _invoke_config(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = properties["FunctionName"]
    failure = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    given = AsyncInvokes()
    invokes = AsyncInvokes(
        retries=int(properties.get("MaximumRetryAttempts", given.retries)),
        max_age_s=int(properties.get("MaximumEventAgeInSeconds", given.max_age_s)),
        on_failure_arn=failure,
    )
    function = deployer.runtime.functions[name]
    deployer.runtime.add(function.with_invokes(invokes))
    return Created(resource.logical_id)


def _state_machine(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("StateMachineName"), limit=80)
    _trusted(deployer, properties["RoleArn"], "states.amazonaws.com", resource.logical_id)
    created = deployer.client("stepfunctions").create_state_machine(
        name=name,
        roleArn=properties["RoleArn"],
        definition=definition(deployer, properties),
        type=properties.get("StateMachineType", "STANDARD"),
    )
    arn = created["stateMachineArn"]
    return Created(arn, {"Arn": arn, "Name": name})


def definition(deployer: Deployer, properties: Mapping[str, Any]) -> str:
    """A state machine's ASL text with `${name}` replaced."""
    if "DefinitionS3Location" in properties:
        location = properties["DefinitionS3Location"]
        own = location["Bucket"] == LOCAL_BUCKET
        path = deployer.template.local_file(location) if own else deployer.unpacked(location["Bucket"], location["Key"])
        text = path.read_text(encoding="utf-8")
    elif "DefinitionString" in properties:
        text = properties["DefinitionString"]
    else:
        text = json.dumps(properties["Definition"])
    for name, value in properties.get("DefinitionSubstitutions", {}).items():
        text = text.replace("${" + name + "}", str(value))
    left = re.search(r"\$\{[^}]*\}", text)
    if left:
        raise DeploymentError(f"the state machine's definition has {left[0]} without a substitution")
    return text


def _rule(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("Name"))
    targets = [
        (target["Arn"], json.loads(target["Input"]) if "Input" in target else None)
        for target in properties.get("Targets", [])
    ]
    _known_targets(deployer, resource, [arn for arn, _ in targets])
    if properties.get("State", "ENABLED") != "ENABLED":
        return Created(name, {"Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"})
    if "ScheduleExpression" in properties:
        rule = deployer.bus.add_schedule(name, properties["ScheduleExpression"], targets)
    else:
        rule = deployer.bus.add_pattern(name, properties["EventPattern"], targets)
    return Created(name, {"Arn": rule.arn})


def _known_targets(deployer: Deployer, resource: Resource, arns: list[str]) -> None:
    known = {function.arn for function in deployer.runtime.functions.values()}
    strange = [arn for arn in arns if arn not in known]
    if strange:
        raise DeploymentError(f"{resource.logical_id}: only functions can be targets here, not {strange[0]}")


def _schedule(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    """EventBridge Scheduler's schedule; time zones other than UTC are refused."""
    name = _physical_name(resource, properties.get("Name"))
    if properties.get("ScheduleExpressionTimezone", "UTC") != "UTC":
        raise DeploymentError(f"{resource.logical_id}: schedules run in UTC here")
    target = properties["Target"]
    _known_targets(deployer, resource, [target["Arn"]])
    if properties.get("State", "ENABLED") == "ENABLED":
        given = json.loads(target["Input"]) if "Input" in target else {}
        deployer.bus.add_schedule(name, properties["ScheduleExpression"], [(target["Arn"], given)])
    return Created(name, {"Arn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}"})


def _schedule_group(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    name = _physical_name(resource, properties.get("Name"))
    arn = deployer.client("scheduler").create_schedule_group(Name=name)["ScheduleGroupArn"]
    return Created(name, {"Arn": arn})


def _http_api(deployer: Deployer, resource: Resource, properties: dict[str, Any]) -> Created:
    api_id = hashlib.sha256(resource.logical_id.encode()).hexdigest()[:10]
    for path, methods in properties.get("Body", {}).get("paths", {}).items():
        for method, operation in methods.items():
            if method not in _HTTP_METHODS:
                continue
            uri = str(operation["x-amazon-apigateway-integration"]["uri"])
            function = _INTEGRATED_FUNCTION.search(uri)
            if function is None:
                raise DeploymentError(f"{resource.logical_id}: {path} is not integrated with a function")
            verb = "ANY" if method.startswith("x-") else method.upper()
            deployer.http_api.add(Route(api_id, verb, path, function[1]))
    endpoint = f"https://{api_id}.execute-api.{REGION}.amazonaws.com"
    return Created(api_id, {"ApiEndpoint": endpoint, "ApiId": api_id})


CREATORS: dict[str, Creator] = {
    "AWS::ApiGatewayV2::Api": _http_api,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _dashboard,
    "AWS::DynamoDB::Table": _table,
    **dict.fromkeys(network.TYPES, _part_of_a_network),
    "AWS::ECS::Cluster": _cluster,
    "AWS::ECS::TaskDefinition": _task_definition,
    "AWS::Events::Rule": _rule,
    "AWS::IAM::Policy": _policy,
    "AWS::IAM::Role": _role,
    "AWS::Lambda::EventInvokeConfig": _invoke_config,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::S3::Bucket": _bucket,
    "AWS::SNS::Topic": _topic,
    "AWS::SQS::Queue": _queue,
    "AWS::SSM::Parameter": _parameter,
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::Scheduler::ScheduleGroup": _schedule_group,
    "AWS::StepFunctions::StateMachine": _state_machine,
}
"""How each type is created."""

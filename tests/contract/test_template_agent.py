"""template.yaml: the agent's place, which exists with an image alone, and what its container may do."""

import re
from typing import Any

import pytest

from agent.privileges import Capability
from assistant.stores import schema, tasks
from assistant.turns.chain import load_chain
from tests.contract import template

EVERYTHING = template.expanded()["Resources"]
OF_THE_AGENT = {
    name: resource for name, resource in EVERYTHING.items() if resource["Type"].split("::")[1] in ("EC2", "ECS")
}
GRANTS = template.grants()
PUBLIC_PARAMETERS = template.written()["Parameters"]
# Fargate's, which are Docker's (https://docs.docker.com/engine/security/#linux-kernel-capabilities).
DEFAULT_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
TASK: template.Json = template.resources("AWS::ECS::TaskDefinition")["AgentTaskDefinition"]


def _grants_of(role: str) -> list[template.Grant]:
    return [grant for grant in GRANTS if grant.role == role]


def _container() -> template.Json:
    (container,) = TASK["ContainerDefinitions"]
    found: template.Json = container
    return found


def _only(kind: str) -> template.Json:
    (found,) = template.resources(kind).values()
    return found


# Without an image


def test_without_an_image_nothing_of_the_network_the_cluster_or_the_roles_exists() -> None:
    assert template.written()["Conditions"]["HasAgent"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AgentImage"}, ""]}],
    }
    assert PUBLIC_PARAMETERS["AgentImage"]["Default"] == ""
    conditional = {name for name, resource in EVERYTHING.items() if resource.get("Condition") == "HasAgent"}
    assert conditional == OF_THE_AGENT.keys() | {"AgentLogGroup", "AgentTaskRole", "AgentExecutionRole"}


def test_what_exists_without_an_image_refers_to_the_agent_only_under_the_condition() -> None:
    absent = {name for name, resource in EVERYTHING.items() if resource.get("Condition") == "HasAgent"}

    for name, resource in EVERYTHING.items():
        if name not in absent:
            assert set(_unconditional(resource.get("Properties", {}))) & absent == set(), name


def _unconditional(node: Any) -> Any:
    """What a part of the template refers to whether there is an agent or not."""
    match node:
        case {"Fn::If": ["HasAgent", _, otherwise]}:
            yield from _unconditional(otherwise)
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _}:
            yield from template.references(node)
        case dict():
            for value in node.values():
                yield from _unconditional(value)
        case list():
            for value in node:
                yield from _unconditional(value)


@pytest.mark.parametrize("image", ["", "public.ecr.aws/x/agent:1.2", "1.dkr.ecr.eu-west-1.amazonaws.com/a@sha256:0f"])
def test_an_image_has_a_tag_or_a_digest(image: str) -> None:
    assert re.search(PUBLIC_PARAMETERS["AgentImage"]["AllowedPattern"], image)


@pytest.mark.parametrize("image", ["agent", "agent:latest", "registry:5000/agent:latest"])
def test_an_image_that_changes_under_its_name_is_refused(image: str) -> None:
    assert not re.search(PUBLIC_PARAMETERS["AgentImage"]["AllowedPattern"], image)


# The network


def test_nothing_comes_in_and_no_gateway_is_paid_for() -> None:
    group = _only("AWS::EC2::SecurityGroup")

    assert "SecurityGroupIngress" not in group
    assert {rule["FromPort"] for rule in group["SecurityGroupEgress"]} == {443, 80}
    kinds = {resource["Type"] for resource in OF_THE_AGENT.values()}
    assert kinds & {"AWS::EC2::NatGateway", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::EIP"} == set()
    endpoints = template.resources("AWS::EC2::VPCEndpoint").values()
    assert {endpoint["VpcEndpointType"] for endpoint in endpoints} == {"Gateway"}  # the ones that cost nothing
    assert {template.text(endpoint["ServiceName"]).rpartition(".")[2] for endpoint in endpoints} == {"s3", "dynamodb"}


def test_the_subnets_are_in_two_zones_and_lead_out() -> None:
    subnets = template.resources("AWS::EC2::Subnet")
    zones = {str(subnet["AvailabilityZone"]) for subnet in subnets.values()}
    routed = {
        template.text(one["SubnetId"]) for one in template.resources("AWS::EC2::SubnetRouteTableAssociation").values()
    }

    assert len(zones) == len(subnets) == 2
    assert routed == subnets.keys()
    assert template.text(_only("AWS::EC2::Route")["GatewayId"]) == "AgentGateway"


# The task


def test_the_cluster_has_both_capacities() -> None:
    assert set(_only("AWS::ECS::Cluster")["CapacityProviders"]) == set(tasks.CAPACITY)


def test_the_container_can_write_only_to_its_volumes_and_is_given_time_to_stop() -> None:
    container = _container()

    assert container["Name"] == tasks.CONTAINER
    assert container["ReadonlyRootFilesystem"] is True
    assert container["StopTimeout"] == 120
    assert "InitProcessEnabled" not in container["LinuxParameters"]  # the image has its own
    mounts = {mount["SourceVolume"]: mount["ContainerPath"] for mount in container["MountPoints"]}
    assert mounts == {"workspace": "/workspace", "state": "/state", "temporary": "/tmp"}
    assert {volume["Name"] for volume in TASK["Volumes"]} == mounts.keys()
    assert container["HealthCheck"]["Command"] == ["CMD", "python", "-m", "agent.health"]
    assert (template.ROOT / "container" / "agent" / "health.py").exists()
    assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking"


def test_the_container_keeps_the_rights_that_its_process_keeps() -> None:
    dropped = set(_container()["LinuxParameters"]["Capabilities"]["Drop"])

    assert dropped <= DEFAULT_CAPABILITIES
    assert DEFAULT_CAPABILITIES - dropped == {each.name for each in Capability}


def test_the_container_has_no_port_and_no_secret() -> None:
    container = _container()

    assert container.keys() & {"PortMappings", "Secrets"} == set()  # a missing secret would keep it from starting
    names = [variable["Name"] for variable in container["Environment"]]
    assert [name for name in names if re.search("token|secret|key", name, re.IGNORECASE)] == ["SECRETS_PATH"]


def test_the_task_runs_on_the_architecture_of_everything_else() -> None:
    assert TASK["RuntimePlatform"]["CpuArchitecture"] == {"Fn::If": ["OnArm", "ARM64", "X86_64"]}
    assert template.written()["Conditions"]["OnArm"] == {"Fn::Equals": [{"Ref": "Architecture"}, "arm64"]}


# Roles


def test_the_container_reads_the_providers_keys_and_no_other_secret() -> None:
    (grant,) = [one for one in _grants_of("AgentTaskRole") if "ssm:GetParameter" in one.actions]

    read = {resource.partition(":parameter${SecretsPath}")[2] for resource in grant.resources}
    assert read == {provider.secret for provider in load_chain().providers}


def test_the_container_changes_of_the_runtime_table_agents_ledger_and_usage() -> None:
    grants = [one for one in _grants_of("AgentTaskRole") if one.leading_keys is not None]

    assert {key for one in grants for key in one.leading_keys or ()} == {"AGENT#*", schema.LEDGER, schema.USAGE}
    assert f"{schema.AGENT}*" == "AGENT#*"
    assert {resource for one in grants for resource in one.resources} == {"RuntimeTable.Arn"}
    services = {action.split(":")[0] for one in _grants_of("AgentTaskRole") for action in one.actions}
    assert services == {"dynamodb", "states", "ssm", "s3", "lambda"}


def test_the_container_deletes_nothing_of_a_workspace() -> None:
    s3 = {action for one in _grants_of("AgentTaskRole") for action in one.actions if action.startswith("s3:")}

    assert s3 == {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket"}


def test_fargate_may_pull_and_log_and_nothing_else() -> None:
    actions = {action for one in _grants_of("AgentExecutionRole") for action in one.actions}

    assert {action.split(":")[0] for action in actions} == {"ecr", "logs"}
    assert [action for action in actions if re.search("Delete|Create(?!LogStream)|PutImage", action)] == []


@pytest.mark.parametrize("name", ["AgentTaskRole", "AgentExecutionRole"])
def test_only_this_accounts_tasks_have_the_roles(name: str) -> None:
    (statement,) = template.resources("AWS::IAM::Role")[name]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"].keys() == {"StringEquals", "ArnLike"}


def test_only_start_agent_runs_tasks_and_hands_out_exactly_the_two_roles() -> None:
    handed_out = {f"{template.text(TASK[role]).removesuffix('.Arn')}.Arn" for role in _ROLES}
    passing = [one for one in GRANTS if "iam:PassRole" in one.actions and handed_out & set(one.resources)]
    running = [one for one in GRANTS if one.actions & {"ecs:RunTask", "ecs:TagResource"}]

    assert {one.role for one in (*running, *passing)} == {"StartAgentRole"}
    assert [set(one.resources) for one in passing] == [handed_out]
    assert {one.condition for one in (*running, *passing)} == {"HasAgent"}


_ROLES = ("TaskRoleArn", "ExecutionRoleArn")


def test_start_agent_runs_the_family_of_the_task_definition() -> None:
    (run,) = [one for one in GRANTS if "ecs:RunTask" in one.actions]
    family = template.text(TASK["Family"])
    variable = template.functions()["StartAgent"]["Environment"]["Variables"]["AGENT_TASK_DEFINITION"]

    assert [resource.partition(":task-definition/")[2] for resource in run.resources] == [f"{family}:*"]
    assert template.text(variable["Fn::If"][1]) == family


# What a task's end does


def test_the_rule_of_stopped_tasks_hears_of_this_cluster_alone() -> None:
    pattern = template.resources("AWS::Events::Rule")["AgentStoppedTaskStopped"]["EventPattern"]

    assert pattern["source"] == ["aws.ecs"]
    assert pattern["detail-type"] == ["ECS Task State Change"]
    assert pattern["detail"]["lastStatus"] == ["STOPPED"]
    ((cluster,),) = [pattern["detail"]["clusterArn"]]
    assert template.text(cluster["Fn::If"][1]) == "AgentCluster.Arn"


# The bucket


def test_the_bucket_outlives_the_stack_and_keeps_versions_in_private() -> None:
    bucket = EVERYTHING["WorkspacesBucket"]
    properties = bucket["Properties"]

    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert "Condition" not in bucket  # another would be made when the agent comes back
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["BucketEncryption"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert rules.keys() == {"noncurrent-versions", "incomplete-uploads"}
    assert {rule["Status"] for rule in rules.values()} == {"Enabled"}
    assert not any("ExpirationInDays" in rule for rule in rules.values())  # what is current is kept for ever


def test_the_bucket_is_spoken_to_over_tls() -> None:
    (statement,) = _only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]

    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}
    assert {template.text(resource) for resource in statement["Resource"]} == {
        "WorkspacesBucket.Arn",
        "${WorkspacesBucket.Arn}/*",
    }

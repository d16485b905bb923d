"""template.yaml: each role holds what its function needs and nothing else."""

import re

import pytest

from assistant.stores import schema
from assistant.turns.chain import load_chain
from tests.contract import template

XRAY = frozenset(
    {
        # Step Functions developer guide, "IAM policies for AWS X-Ray": these take no resource.
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
    }
)
ECR_LOGIN = frozenset({"ecr:GetAuthorizationToken"})
"""Service authorization reference, Amazon ECR: it takes no resource."""

LOG_DELIVERY = frozenset(
    {
        # Step Functions developer guide, "Logging", IAM policies for CloudWatch Logs: these take no resource.
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    }
)
BASIC_EXECUTION = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
"""Writes logs, nothing else; SAM gives it to every function."""

XRAY_WRITE = "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"
"""Writes traces, nothing else; SAM gives it to every function that is traced."""

SECRETS_READ_BY: dict[str, set[str]] = {
    "Webhook": {"telegram-webhook-secret"},
    "DeliverReply": {"telegram-bot-token"},
    "TellOwner": {"telegram-bot-token"},
    "SendDocument": {"telegram-bot-token"},
    "ForgetChat": {"telegram-bot-token"},
    "CorrectLedger": {"openrouter-api-key"},
    **{provider.state: {provider.secret, "telegram-bot-token"} for provider in load_chain().providers},
}
RUNTIME_PARTITIONS = {
    schema.LEDGER,
    schema.USAGE,
    schema.SETTINGS,
    schema.ALLOWED,
    f"{schema.STRANGER}*",
    f"{schema.AGENT}*",
    f"{schema.REMINDER}*",
}
AGENT_ROLES = ["AgentTaskRole", "AgentExecutionRole"]
NOT_OF_FUNCTIONS = {"TurnStateMachineRole", "ReminderRole", *AGENT_ROLES}
EXECUTIONS_STARTED_BY = {"Webhook", "DeliverReply", "TurnStopped", "Sweep", "FireReminder", "ForgetChat"}
GRANTS = template.grants()
FUNCTIONS = list(template.functions())


def _grants_of(function: str) -> list[template.Grant]:
    return [grant for grant in GRANTS if grant.role == f"{function}Role"]


def test_every_function_has_a_role_of_its_own() -> None:
    roles = {name: template.text(function["Role"]) for name, function in template.functions().items()}

    assert roles == {name: f"{name}Role.Arn" for name in roles}
    assert [name for name, function in template.written_functions().items() if "Role" in function] == []
    assert template.resources("AWS::IAM::Role").keys() == {f"{name}Role" for name in roles} | NOT_OF_FUNCTIONS


def test_no_role_has_a_managed_policy_but_that_for_writing_logs() -> None:
    managed = {
        policy for role in template.resources("AWS::IAM::Role").values() for policy in role.get("ManagedPolicyArns", [])
    }

    assert managed == {BASIC_EXECUTION}


def test_every_statement_allows_named_actions() -> None:
    assert [grant for grant in GRANTS if grant.effect != "Allow"] == []
    assert [(grant.role, action) for grant in GRANTS for action in grant.actions if "*" in action] == []


def test_every_statement_names_its_resources_but_for_those_that_have_none() -> None:
    unnamed = [(grant.role, grant.actions) for grant in GRANTS if "*" in grant.resources]

    assert sorted(unnamed, key=str) == sorted(
        [
            ("TurnStateMachineRole", LOG_DELIVERY),
            ("TurnStateMachineRole", XRAY),
            ("AgentExecutionRole", ECR_LOGIN),
            ("ShutDownIdleRole", frozenset({"ecs:ListTasks"})),  # it has the cluster as a condition
        ],
        key=str,
    )


def test_nobody_may_write_traces_unless_they_are_wanted() -> None:
    (machine,) = template.resources("AWS::IAM::Role", of=template.expanded()).keys() & {"TurnStateMachineRole"}
    statements = template.resources("AWS::IAM::Role")[machine]["Policies"][0]["PolicyDocument"]["Statement"]

    assert {"Fn::If"} in [statement.keys() for statement in statements]
    assert {grant.role for grant in GRANTS if grant.actions & XRAY and grant.condition != "Traced"} == set()
    assert template.written()["Conditions"]["Traced"] == {"Fn::Equals": [{"Ref": "Tracing"}, "Active"]}
    assert template.written()["Parameters"]["Tracing"]["Default"] == "Disabled"


def test_agents_are_woken_by_the_state_machine_by_prepare_turn_by_the_webhook_and_in_warm_hours() -> None:
    wakers = {(grant.role, grant.condition) for grant in GRANTS if "StartAgent.Arn" in grant.resources}

    in_background = {(f"{name}Role", "HasAgent") for name in ("PrepareTurn", "WarmUp", "Webhook")}
    assert wakers == {("TurnStateMachineRole", None)} | in_background


def test_the_owner_is_told_by_the_asks_by_agents_and_by_those_who_tend_them() -> None:
    tellers = {grant.role for grant in GRANTS if "TellOwner.Arn" in grant.resources}

    asks = {f"{provider.state}Role" for provider in load_chain().providers}
    assert tellers == asks | {
        "AgentStoppedRole",
        "SweepRole",
        "StartAgentRole",
        "ShutDownIdleRole",
        "BackUpRole",
        "AgentTaskRole",
    }


def test_of_a_conversation_only_what_takes_up_messages_or_carries_out_commands_deletes_anything() -> None:
    deleters = {
        grant.role
        for grant in GRANTS
        if "ConversationsTable.Arn" in grant.resources and "dynamodb:DeleteItem" in grant.actions
    }

    assert deleters == {"WebhookRole", "PrepareTurnRole", "SendDocumentRole", "ForgetChatRole"}


def test_a_wildcard_in_a_resource_stands_for_what_has_no_name_yet() -> None:
    wild = {resource for grant in GRANTS for resource in grant.resources if "*" in resource and resource != "*"}

    account = "${AWS::Region}:${AWS::AccountId}"
    assert wild == {
        f"arn:${{AWS::Partition}}:states:{account}:execution:${{AWS::StackName}}-turn:*",
        f"arn:${{AWS::Partition}}:ecs:{account}:task-definition/${{AWS::StackName}}-agent:*",  # its revisions
        f"arn:${{AWS::Partition}}:ecs:{account}:task/${{AgentCluster}}/*",
        f"arn:${{AWS::Partition}}:scheduler:{account}:schedule/${{ReminderGroup}}/*",
        f"arn:${{AWS::Partition}}:ecr:{account}:repository/*",  # the image is the owner's choice
        "${WorkspacesBucket.Arn}/workspaces/*",
        "${WorkspacesBucket.Arn}/workspaces/*/snapshots/*",
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_reads_exactly_its_own_secrets(function: str) -> None:
    read = {
        resource.partition(":parameter${SecretsPath}")[2]
        for grant in _grants_of(function)
        if any(action.startswith("ssm:") for action in grant.actions)
        for resource in grant.resources
    }

    assert read == SECRETS_READ_BY.get(function, set())


def test_secrets_are_read_one_by_one() -> None:
    ssm = {action for grant in GRANTS for action in grant.actions if action.startswith(("ssm:", "kms:", "secrets"))}

    assert ssm == {"ssm:GetParameter"}


def test_every_access_to_the_runtime_table_is_bound_to_a_known_partition() -> None:
    for grant in GRANTS:
        if "RuntimeTable.Arn" in grant.resources:
            assert grant.leading_keys, grant
            assert set(grant.leading_keys) <= RUNTIME_PARTITIONS, grant
            assert grant.resources == ("RuntimeTable.Arn",), grant


def test_a_function_touches_only_the_tables_in_its_environment() -> None:
    for function in FUNCTIONS:
        granted = {
            match[1]
            for grant in _grants_of(function)
            for resource in grant.resources
            if (match := re.search(r"\b(ConversationsTable|RuntimeTable)\b", resource))
        }
        variables = template.functions()[function]["Environment"]["Variables"]
        named = {template.text(value) for name, value in variables.items() if name.endswith("_TABLE")}
        assert granted == named, function


def test_no_role_may_read_a_whole_table() -> None:
    assert [grant.role for grant in GRANTS if "dynamodb:Scan" in grant.actions] == []


def test_only_what_tends_chats_and_agents_reads_the_due_index() -> None:
    readers = [(grant.role, grant.actions) for grant in GRANTS if any("/index/" in name for name in grant.resources)]

    assert readers == [(role, frozenset({"dynamodb:Query"})) for role in ("SweepRole", "BackUpRole")]


def test_executions_are_started_only_by_those_who_claim_or_hand_over_a_chat() -> None:
    starters = {grant.role for grant in GRANTS if "states:StartExecution" in grant.actions}

    assert starters == {f"{function}Role" for function in EXECUTIONS_STARTED_BY}
    arns = {function: template.environment(function).get("STATE_MACHINE_ARN") for function in FUNCTIONS}
    assert {function for function, arn in arns.items() if arn} == EXECUTIONS_STARTED_BY


def test_the_state_machines_arn_written_out_is_that_of_its_name() -> None:
    name = template.resources("AWS::Serverless::StateMachine", of=template.written())["TurnStateMachine"]["Name"]

    for function in EXECUTIONS_STARTED_BY:
        arn = template.functions()[function]["Environment"]["Variables"]["STATE_MACHINE_ARN"]
        assert template.text(arn).partition(":stateMachine:")[2] == template.text(name), function
    started = {resource for grant in GRANTS if "states:StartExecution" in grant.actions for resource in grant.resources}
    assert {resource.partition(":stateMachine:")[2] for resource in started} == {template.text(name)}


@pytest.mark.parametrize(
    ("tracing", "policies"), [("Active", {BASIC_EXECUTION, XRAY_WRITE}), ("Disabled", {BASIC_EXECUTION})]
)
def test_a_function_may_write_traces_exactly_when_it_is_traced(tracing: str, policies: set[str]) -> None:
    expanded = template.expanded(Tracing=tracing)

    for name, role in template.resources("AWS::IAM::Role", of=expanded).items():
        if name not in NOT_OF_FUNCTIONS:
            assert set(role["ManagedPolicyArns"]) == policies, name
    modes = {str(one.get("TracingConfig")) for one in template.resources("AWS::Lambda::Function", of=expanded).values()}
    assert modes == ({"{'Mode': {'Ref': 'Tracing'}}"} if tracing == "Active" else {"None"})


def test_a_reminders_schedule_may_fire_it_and_report_that_it_could_not() -> None:
    granted = {(action, grant.resources) for grant in _grants_of("Reminder") for action in grant.actions}

    assert granted == {
        ("lambda:InvokeFunction", ("FireReminder.Arn",)),
        ("sqs:SendMessage", ("FailureQueue.Arn",)),
    }
    trust = template.resources("AWS::IAM::Role")["ReminderRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert [statement["Principal"] for statement in trust] == [{"Service": "scheduler.amazonaws.com"}]
    assert template.text(trust[0]["Condition"]["StringEquals"]["aws:SourceArn"]) == "ReminderGroup.Arn"


def test_schedules_are_made_by_the_webhook_with_that_role_alone() -> None:
    makers = {grant.role for grant in GRANTS if "scheduler:CreateSchedule" in grant.actions}
    passed = {grant.resources for grant in _grants_of("Webhook") if "iam:PassRole" in grant.actions}

    assert makers == {"WebhookRole"}
    assert passed == {("ReminderRole.Arn",)}
    assert {action for grant in GRANTS for action in grant.actions if action.startswith("scheduler:")} == {
        "scheduler:CreateSchedule",
        "scheduler:DeleteSchedule",
    }


def test_what_is_kept_in_s3_is_deleted_by_who_forgets_or_collects_and_versions_alone() -> None:
    granted = {
        action: {grant.role for grant in GRANTS if action in grant.actions}
        for action in {action for grant in GRANTS for action in grant.actions if action.startswith("s3:Delete")}
    }

    assert granted == {"s3:DeleteObjectVersion": {"ForgetChatRole", "CollectSnapshotsRole"}}
    assert not {grant.role for grant in GRANTS if "s3:PutObject" in grant.actions} & {"SendDocumentRole"}


def test_who_reads_an_object_is_told_when_it_is_missing() -> None:
    """Without the right to list, S3 answers 403; and a GetObject carries no prefix that a condition could look at.

    Source: S3 API reference, GetObject, "Permissions".
    """
    listing = {
        role
        for role, properties in template.resources("AWS::IAM::Role").items()
        for policy in properties.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if "s3:ListBucket" in statement.get("Action", []) and "Condition" not in statement
    }

    assert {grant.role for grant in GRANTS if "s3:GetObject" in grant.actions} == listing


def test_commands_are_handed_over_by_the_webhook_alone() -> None:
    callers = {grant.role for grant in GRANTS if {"SendDocument.Arn", "ForgetChat.Arn"} & set(grant.resources)}

    assert callers == {"WebhookRole"}

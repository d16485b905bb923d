"""template.yaml: what is kept, what is logged, what becomes of failures, and which Python it all runs on."""

import json
import re
import tomllib
from typing import Any

import pytest

from assistant.stores import schema
from tests.contract import template
from tests.doubles import create_table

FUNCTIONS = template.functions()
WRITTEN = template.written_functions()
TABLES = template.resources("AWS::DynamoDB::Table")
ASYNCHRONOUS_EVENTS = {"EventBridgeRule", "Schedule", "ScheduleV2", "CloudWatchEvent", "SNS", "S3"}
ASYNCHRONOUS = [
    name
    for name, function in WRITTEN.items()
    if any(event["Type"] in ASYNCHRONOUS_EVENTS for event in function.get("Events", {}).values())
    or name in ("FireReminder", "StartAgent")  # by the schedules that the webhook makes; by PrepareTurn, too
    or name in ("SendDocument", "ForgetChat")  # by the webhook
]
LOGGED_OF_A_REQUEST = {
    # Of API Gateway's `$context` variables those that hold nothing of what somebody sent.
    "requestId",
    "requestTime",
    "routeKey",
    "status",
    "responseLatency",
    "responseLength",
    "integrationLatency",
    "integrationStatus",
    "error.message",
    "error.responseType",
    "integrationErrorMessage",
}


# Tables


def test_the_tables_are_the_two_of_the_data_model() -> None:
    assert {item.table for item in schema.ITEMS} == {name.removesuffix("Table") for name in TABLES}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_on_demand_recoverable_and_expires_items_by_ttl(name: str) -> None:
    table = TABLES[name]

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_outlives_the_stack(name: str) -> None:
    resource = template.expanded()["Resources"][name]

    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_what_outlives_the_stack_has_a_name_by_which_the_next_one_takes_it_over() -> None:
    resources = template.expanded()["Resources"]
    kept = {name for name, resource in resources.items() if resource.get("DeletionPolicy") == "Retain"}
    names = {
        name: template.text(
            resources[name]["Properties"].get("TableName") or resources[name]["Properties"]["BucketName"]
        )
        for name in kept
    }

    assert names == {
        "ConversationsTable": "${AWS::StackName}-conversations",
        "RuntimeTable": "${AWS::StackName}-runtime",
        "WorkspacesBucket": "${AWS::StackName}-${AWS::AccountId}-${AWS::Region}",
    }


def test_there_is_a_budget_exactly_if_somebody_is_to_hear_of_it() -> None:
    budget = template.expanded()["Resources"]["AccountBudget"]
    told = [
        (each["Notification"]["NotificationType"], template.text(subscriber["Address"]))
        for each in budget["Properties"]["NotificationsWithSubscribers"]
        for subscriber in each["Subscribers"]
    ]

    assert budget["Condition"] == "HasBudget"
    assert template.written()["Conditions"]["HasBudget"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "BudgetEmail"}, ""]}]}
    assert told == [("ACTUAL", "BudgetEmail"), ("FORECASTED", "BudgetEmail")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_one_sparse_index_of_due_items(name: str) -> None:
    (index,) = TABLES[name]["GlobalSecondaryIndexes"]

    assert index["IndexName"] == schema.DUE_INDEX
    assert {key["KeyType"]: key["AttributeName"] for key in index["KeySchema"]} == {
        "HASH": "due_kind",
        "RANGE": "due_at",
    }
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


class _Recorder:
    """Stands for a DynamoDB client and keeps what a table is created with."""

    def create_table(self, **parameters: Any) -> None:
        self.parameters = parameters


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_tests_are_those_of_the_template(name: str) -> None:
    recorder = _Recorder()
    create_table(recorder, name)

    recorder.parameters.pop("TableName")
    same = {part: TABLES[name][part] for part in recorder.parameters}
    assert _plain(recorder.parameters) == _plain(same)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# Logs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_into_a_group_of_its_own_that_stands_beside_it(name: str) -> None:
    assert template.text(FUNCTIONS[name]["LoggingConfig"]["LogGroup"]) == f"{name}LogGroup"

    order = list(template.written()["Resources"])
    assert order.index(f"{name}LogGroup") == order.index(name) + 1


def test_every_log_group_expires_and_is_used() -> None:
    groups = template.resources("AWS::Logs::LogGroup")

    assert {name: group.get("RetentionInDays") for name, group in groups.items()} == {
        name: {"Ref": "LogRetentionDays"} for name in groups
    }
    assert groups.keys() == {f"{name}LogGroup" for name in [*FUNCTIONS, "TelegramApi", "TurnStateMachine", "Agent"]}


def test_the_access_log_holds_nothing_that_somebody_sent() -> None:
    (api,) = template.resources("AWS::Serverless::HttpApi", of=template.written()).values()
    log = api["AccessLogSettings"]

    assert template.text(log["DestinationArn"]) == "TelegramApiLogGroup.Arn"
    assert json.loads(log["Format"]), "the log's format is not JSON"
    logged = set(re.findall(r"\$([\w.]+)", log["Format"]))
    assert logged - {f"context.{name}" for name in LOGGED_OF_A_REQUEST} == set()


def test_the_state_machine_is_logged_without_execution_data() -> None:
    (machine,) = template.resources("AWS::StepFunctions::StateMachine").values()
    logging = machine["LoggingConfiguration"]

    assert logging["IncludeExecutionData"] is False
    assert logging["Level"] in ("ERROR", "ALL", "FATAL")
    (destination,) = logging["Destinations"]
    assert template.text(destination["CloudWatchLogsLogGroup"]["LogGroupArn"]) == "TurnStateMachineLogGroup.Arn"


# The way in


def test_the_api_is_throttled_and_has_the_one_route() -> None:
    (api,) = template.resources("AWS::Serverless::HttpApi", of=template.written()).values()
    routes = [
        (name, event["Properties"]["Method"], event["Properties"]["Path"])
        for name, function in WRITTEN.items()
        for event in function.get("Events", {}).values()
        if event["Type"] == "HttpApi"
    ]

    assert api["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert api["DefaultRouteSettings"]["ThrottlingBurstLimit"] > 0
    assert routes == [("Webhook", "POST", "/telegram")]


# What becomes of failures


def test_the_asynchronous_functions_are_those_that_events_invoke() -> None:
    assert ASYNCHRONOUS == [
        "StartAgent",
        "TurnStopped",
        "AgentStopped",
        "Sweep",
        "ShutDownIdle",
        "BackUp",
        "WarmUp",
        "SendDocument",
        "ForgetChat",
        "FireReminder",
        "CorrectLedger",
        "CollectSnapshots",
        "TellOwner",
    ]


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_an_asynchronous_function_has_a_place_for_what_it_could_not_do(name: str) -> None:
    config = template.resources("AWS::Lambda::EventInvokeConfig")[f"{name}EventInvokeConfig"]

    assert template.text(config["DestinationConfig"]["OnFailure"]["Destination"]) == "FailureQueue.Arn"
    assert config["MaximumRetryAttempts"] in (0, 1, 2)
    sends = [grant for grant in template.grants() if grant.role == f"{name}Role" and "sqs:SendMessage" in grant.actions]
    assert [grant.resources for grant in sends] == [("FailureQueue.Arn",)]


@pytest.mark.parametrize("name", template.resources("AWS::Events::Rule"))
def test_a_rule_retries_and_has_a_place_for_what_it_could_not_deliver(name: str) -> None:
    for target in template.resources("AWS::Events::Rule")[name]["Targets"]:
        assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
        assert template.text(target["DeadLetterConfig"]["Arn"]) == "FailureQueue.Arn"


def test_the_failure_queue_takes_from_exactly_the_rules() -> None:
    (policy,) = template.resources("AWS::SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]

    sources = {template.text(arn) for arn in statement["Condition"]["ArnEquals"]["aws:SourceArn"]}
    assert sources == {f"{name}.Arn" for name in template.resources("AWS::Events::Rule")}


def test_the_rule_of_stopped_executions_sees_every_way_to_stop_but_success() -> None:
    rule = template.resources("AWS::Events::Rule")["TurnStoppedExecutionStopped"]

    assert set(rule["EventPattern"]["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    assert template.text(rule["EventPattern"]["detail"]["stateMachineArn"][0]) == "TurnStateMachine"


# Python and the layer


def test_one_python_version_everywhere() -> None:
    version = (template.ROOT / ".python-version").read_text("utf-8").strip()
    layer = template.written()["Resources"]["CoreLayer"]
    tools = tomllib.loads((template.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    package = tomllib.loads((template.ROOT / "layers/core/pyproject.toml").read_text("utf-8"))["project"]

    runtimes = {function["Runtime"] for function in FUNCTIONS.values()}
    assert runtimes == {f"python{version}"}
    assert layer["Metadata"]["BuildMethod"] == f"python{version}"
    assert layer["Properties"]["CompatibleRuntimes"] == [f"python{version}"]
    assert tools["mypy"]["python_version"] == version
    assert tools["ruff"]["target-version"] == f"py{version.replace('.', '')}"
    assert package["requires-python"].startswith(f">={version},")


def test_one_architecture_parameter_everywhere() -> None:
    layer = template.written()["Resources"]["CoreLayer"]
    one = {"Ref": "Architecture"}

    assert {json.dumps(function["Architectures"]) for function in FUNCTIONS.values()} == {json.dumps([one])}
    assert layer["Metadata"]["BuildArchitecture"] == one
    assert layer["Properties"]["CompatibleArchitectures"] == [one]


def test_the_functions_share_one_layer_and_one_folder() -> None:
    shared = template.written()["Globals"]["Function"]

    assert shared["CodeUri"] == "functions/"
    assert shared["Layers"] == [{"Ref": "CoreLayer"}]
    overridden = {name for name, function in WRITTEN.items() if function.keys() & {"CodeUri", "Layers", "Runtime"}}
    assert overridden == set()

"""template.yaml ↔ statemachine/turn.asl.json ↔ functions/ ↔ the timeouts of what they call."""

import httpx
import pytest

from assistant import wiring
from assistant.telegram.client import TIMEOUT
from assistant.turns.chain import Provider, load_chain
from tests.contract import state_machine as asl
from tests.contract import template

MACHINE = asl.read()
TASKS = asl.states(MACHINE, "Task")
INVOKED = {asl.function_of(name) for name in TASKS}
CHAIN = load_chain()
LONGEST_API_TIMEOUT = 30_000
"""Milliseconds; API Gateway developer guide, "Quotas for HTTP APIs", maximum integration timeout."""


def _state_machine() -> template.Json:
    return template.resources("AWS::Serverless::StateMachine", of=template.written())["TurnStateMachine"]


def test_the_substitutions_are_the_placeholders_of_the_definition() -> None:
    assert _state_machine()["DefinitionSubstitutions"].keys() == asl.placeholders(MACHINE)


def test_every_substitution_is_the_function_of_its_name() -> None:
    substitutions = {name: template.text(value) for name, value in _state_machine()["DefinitionSubstitutions"].items()}

    assert substitutions.pop("Partition") == "AWS::Partition"
    assert substitutions == {name: f"{name}.Arn" for name in substitutions}


def test_every_task_is_a_function_and_every_placeholder_a_task() -> None:
    assert asl.placeholders(MACHINE) == INVOKED | {"Partition"}
    assert INVOKED - template.functions().keys() == set()


def test_every_file_in_functions_is_a_function_of_its_name_and_the_reverse() -> None:
    files = {template.pascal_case(file.stem) for file in template.FUNCTIONS.glob("*.py")}

    assert files == template.functions().keys()


def test_every_handler_is_the_functions_own_module() -> None:
    handlers = {name: function["Handler"] for name, function in template.functions().items()}

    assert handlers == {name: f"{template.module_of(name)}.handler" for name in handlers}


def test_the_state_machine_may_invoke_exactly_its_tasks() -> None:
    invoked = {
        resource
        for grant in template.grants()
        if grant.role == "TurnStateMachineRole" and "lambda:InvokeFunction" in grant.actions
        for resource in grant.resources
    }

    assert invoked == {f"{name}.Arn" for name in INVOKED}


@pytest.mark.parametrize("name", TASKS)
def test_a_function_gives_up_before_its_state_does(name: str) -> None:
    assert template.functions()[asl.function_of(name)]["Timeout"] < TASKS[name]["TimeoutSeconds"]


def test_the_functions_of_the_chain_are_the_ask_functions() -> None:
    asked = [name for name in template.written_functions() if name.startswith("Ask")]

    assert asked == [provider.state for provider in CHAIN.providers]


@pytest.mark.parametrize("provider", CHAIN.providers, ids=lambda provider: provider.id)
def test_a_request_to_a_provider_ends_before_its_function(provider: Provider) -> None:
    assert max(CHAIN.timeouts.connect, CHAIN.timeouts.read) < CHAIN.timeouts.total
    assert CHAIN.timeouts.total < template.functions()[provider.state]["Timeout"]


def test_a_request_to_telegram_ends_before_its_function() -> None:
    assert _longest(TIMEOUT) < template.functions()["DeliverReply"]["Timeout"]


@pytest.mark.parametrize("name", template.functions())
def test_a_request_to_aws_ends_before_its_function(name: str) -> None:
    one_try = sum(getattr(wiring._AWS, phase) for phase in ("connect_timeout", "read_timeout"))

    assert one_try < template.functions()[name]["Timeout"]


def test_the_api_waits_longer_than_the_webhook_works() -> None:
    route = template.written_functions()["Webhook"]["Events"]["Update"]["Properties"]

    assert template.functions()["Webhook"]["Timeout"] * 1000 < route["TimeoutInMillis"] <= LONGEST_API_TIMEOUT


def _longest(timeout: httpx.Timeout) -> float:
    """The longest time that one request can take, each phase having a timeout of its own."""
    phases = [timeout.connect, timeout.read, timeout.write, timeout.pool]
    assert None not in phases, "a phase without a timeout"
    return sum(phase or 0 for phase in phases)

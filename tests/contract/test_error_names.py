"""The state machine's error names ↔ assistant.errors ↔ what Step Functions and Lambda can report."""

import inspect
import re
from collections.abc import Iterator

import pytest

from assistant import errors
from assistant.turns.chain import load_chain
from tests.contract import state_machine as asl

MACHINE = asl.read()
TASKS = asl.states(MACHINE, "Task")
ASK_STATES = [provider.state for provider in load_chain().providers]

KNOWN_PLATFORM_ERRORS = frozenset(
    {
        # Step Functions developer guide, "Handling errors", list of error names (and States.ALL, the wildcard).
        "States.ALL",
        "States.DataLimitExceeded",
        "States.HeartbeatTimeout",
        "States.IntrinsicFailure",
        "States.NoChoiceMatched",
        "States.ParameterPathFailure",
        "States.Permissions",
        "States.ResultPathMatchFailure",
        "States.Runtime",
        "States.TaskFailed",
        "States.Timeout",
        # Step Functions developer guide, "Handle transient Lambda service exceptions".
        "Lambda.AWSLambdaException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.SdkClientException",
        "Lambda.ServiceException",
        "Lambda.TooManyRequestsException",
        "Lambda.Unknown",
        # Lambda developer guide, "Troubleshoot invocation issues": a process that ended, or ran out of time.
        "Runtime.ExitError",
        "Sandbox.Timedout",
    }
)


def _classes() -> Iterator[type[errors.AssistantError]]:
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, errors.AssistantError):
            yield member


def _concrete_turn_errors() -> set[str]:
    turn_errors = [kind for kind in _classes() if issubclass(kind, errors.TurnError)]
    parents = {kind.__mro__[1] for kind in turn_errors}
    return {kind.__name__ for kind in turn_errors if kind not in parents}


def test_every_error_the_state_machine_names_exists() -> None:
    assert asl.named_errors(MACHINE) - _concrete_turn_errors() - set(errors.PLATFORM_ERRORS) == set()


def test_every_error_that_may_leave_a_state_is_named_in_the_state_machine() -> None:
    assert _concrete_turn_errors() - asl.named_errors(MACHINE) == set()


def test_every_declared_platform_error_is_one_that_the_platform_reports() -> None:
    assert set(errors.PLATFORM_ERRORS) - KNOWN_PLATFORM_ERRORS == set()
    assert len(set(errors.PLATFORM_ERRORS)) == len(errors.PLATFORM_ERRORS)


@pytest.mark.parametrize("name", TASKS)
def test_an_invalid_turn_is_never_retried_and_stops(name: str) -> None:
    retry = asl.handler_of(TASKS[name]["Retry"], "TurnInvalid")
    assert retry is None or retry["MaxAttempts"] == 0

    catch = asl.handler_of(TASKS[name]["Catch"], "TurnInvalid")
    assert catch is not None
    assert MACHINE["States"][catch["Next"]]["Type"] == "Fail"


@pytest.mark.parametrize("name", ASK_STATES)
@pytest.mark.parametrize(
    ("error", "retries"),
    [
        ("ProviderBusy", 6),
        ("ProviderThrottled", 1),
        ("ProviderUnavailable", 1),
        ("ProviderExhausted", 0),
        ("ProviderRejected", 0),
        ("ProviderDeclined", 0),
        ("States.Timeout", 0),
        ("Sandbox.Timedout", 0),
    ],
)
def test_a_provider_is_asked_again_as_often_as_its_error_promises(name: str, error: str, retries: int) -> None:
    retry = asl.handler_of(TASKS[name]["Retry"], error)

    assert (0 if retry is None else retry["MaxAttempts"]) == retries


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("error", ["StoreContended", "Lambda.TooManyRequestsException", "Runtime.ExitError"])
def test_what_passes_by_itself_is_retried_in_every_state(name: str, error: str) -> None:
    retry = asl.handler_of(TASKS[name]["Retry"], error)

    assert retry is not None
    assert retry["MaxAttempts"] > 0


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert _drawn_tree(errors.__doc__ or "") == {
        kind.__name__: None if kind is errors.AssistantError else kind.__mro__[1].__name__ for kind in _classes()
    }


def _drawn_tree(text: str) -> dict[str, str | None]:
    """Parents by class, from the lines of a drawing in which a level is four columns wide."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for indent, name in re.findall(r"^    ((?:[│├└ ][─ ]{3})*)([A-Z]\w+)\b", text, re.MULTILINE):
        above = above[: len(indent) // 4]
        parents[name] = above[-1] if above else None
        above.append(name)
    return parents

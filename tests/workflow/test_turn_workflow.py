"""The real state machine on the engine, its functions scripted: every Retry and every Catch is taken.

Which edges there are is read from the ASL itself, so a new one is tested as soon as it is written.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.wrappers import Response

from local.cloud import LocalCloud
from local.simulators.outside import BOT_USERNAME
from tests.contract import state_machine as asl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.aws_request import AwsRequest
    from local.executions import Execution

ASL: dict[str, Any] = json.loads((Path(__file__).parents[2] / "statemachine" / "turn.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = ASL["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
ROUTES = {choice["Next"]: choice["StringEquals"] for choice in STATES["RouteTurn"]["Choices"]}
ANY = "SomethingNobodyThoughtOf"
"""Stands for States.ALL."""


FUNCTIONS = {name: asl.function_of(name) for name in TASKS}
"""The function of each state."""


class ScriptedFunctions:
    """Lambda's Invoke API with answers by function: an error's name, or what the function returns.

    What AskAgent waits for is told at once by somebody else, as the agent does.
    """

    def __init__(self, logical_ids: dict[str, str], states: Any) -> None:
        self._logical_ids = logical_ids
        self._states = states
        self._lock = threading.Lock()
        self._errors: dict[tuple[str, str], list[str]] = {}
        self._routes: dict[str, list[str]] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.told: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    def script(self, chat: str, *, routes: list[str], **errors: list[str]) -> None:
        self._routes[chat] = routes
        self._errors |= {(chat, function): names for function, names in errors.items()}

    def answer(self, request: AwsRequest, _environ: Any) -> Response:
        event = json.loads(request.body)
        function = self._logical_ids[request.invoked_function or ""]
        chat = event["chat_id"]
        with self._lock:
            self.calls[chat, function] += 1
            self.told[chat, function].append(event.get("route", ""))
            errors = self._errors.get((chat, function), [])
            error = errors.pop(0) if errors else None
            if error is not None:
                body = {"errorType": error, "errorMessage": "scripted", "stackTrace": []}
                return Response(json.dumps(body), 200, {"X-Amz-Function-Error": "Unhandled"})
            return Response(json.dumps(self._result(function, event)), 200, content_type="application/json")

    def _result(self, function: str, event: dict[str, Any]) -> Any:
        if function == "PrepareTurn":
            route = self._routes[event["chat_id"]].pop(0)
            seconds = 1 if route == "wait" else 240
            return {"chat_id": event["chat_id"], "epoch": event["epoch"], "turn": 1, "route": route, "seconds": seconds}
        if "token" in event:
            threading.Thread(target=self._succeed, args=(event["token"],), daemon=True).start()
        return {"next": "done"} if function == "DeliverReply" else "answered"

    def _succeed(self, token: str) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(self._states.exceptions.InvalidToken):  # the state does not wait yet
                self._states.send_task_success(taskToken=token, output="{}")
                return


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with LocalCloud(parameters={"BotUsername": BOT_USERNAME}, mode="source", time_scale=0.002) as cloud:
        yield Machine(cloud)


class Machine:
    """The state machine, deployed."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        logical_ids = {cloud.resources[name]: name for name in FUNCTIONS.values()}
        self.functions = ScriptedFunctions(logical_ids, cloud.client("stepfunctions"))
        cloud._lambda_api.answer = self.functions.answer  # type: ignore[method-assign, assignment]

    def run(self, chat: str, **script: Any) -> Execution:
        self.functions.script(chat, **script)
        self.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.cloud.resources["TurnStateMachine"],
            name=f"chat{chat}-1",
            input=json.dumps({"chat_id": chat, "epoch": 1}),
        )
        self.cloud.wait_until_quiet(30)
        return next(one for one in self.cloud.executions() if one.name == f"chat{chat}-1")


def retried() -> list[tuple[str, str, int]]:
    """(state, error, further attempts) of every name in every Retry."""
    return [
        (name, error, retrier.get("MaxAttempts", 3))
        for name, state in TASKS.items()
        for retrier in state["Retry"]
        for error in retrier["ErrorEquals"]
    ]


def caught() -> list[tuple[str, str, str]]:
    """(state, error, next state) of every name in every Catch."""
    return [
        (name, error, catcher["Next"])
        for name, state in TASKS.items()
        for catcher in state["Catch"]
        for error in catcher["ErrorEquals"]
    ]


def routes_to(state: str) -> list[str]:
    """What PrepareTurn has to say for `state` to be entered, now and if it is asked again."""
    return [ROUTES.get(state, "idle"), *["idle"] * 5]


def raised(error: str) -> str:
    return ANY if error == "States.ALL" else error


def attempts_before_catch(state: str, error: str) -> int:
    for retrier in TASKS[state]["Retry"]:
        if error in retrier["ErrorEquals"] or retrier["ErrorEquals"] == ["States.ALL"]:
            return 1 + int(retrier.get("MaxAttempts", 3))
    return 1


@pytest.mark.parametrize(("state", "error", "more"), retried())
def test_every_retry_is_taken(machine: Machine, state: str, error: str, more: int) -> None:
    chat = f"r-{state}-{error}"

    execution = machine.run(chat, routes=routes_to(state), **{FUNCTIONS[state]: [raised(error)] * min(more, 1)})

    assert machine.functions.calls[chat, FUNCTIONS[state]] == 1 + min(more, 1)
    assert execution.status == "SUCCEEDED"
    assert execution.retries == min(more, 1)


@pytest.mark.parametrize(("state", "error", "following"), caught())
def test_every_catch_is_taken(machine: Machine, state: str, error: str, following: str) -> None:
    chat = f"c-{state}-{error}"

    execution = machine.run(chat, routes=routes_to(state), **{FUNCTIONS[state]: [raised(error)] * 20})

    if STATES[following].get("Next") != state:  # else it is tried until the script ends
        assert machine.functions.calls[chat, FUNCTIONS[state]] == attempts_before_catch(state, raised(error))
    assert execution.states[execution.states.index(state) + 1] == following
    assert execution.status == ("FAILED" if following == "StopTurn" else "SUCCEEDED")


@pytest.mark.parametrize("state", list(ROUTES))
def test_every_route_is_taken(machine: Machine, state: str) -> None:
    execution = machine.run(f"route-{state}", routes=[ROUTES[state]])

    assert execution.states[2] == state
    assert execution.status == "SUCCEEDED"


def test_an_unknown_route_stops(machine: Machine) -> None:
    execution = machine.run("unknown-route", routes=["nowhere"])

    assert (execution.status, execution.states[-1], execution.error) == ("FAILED", "StopTurn", "TurnStopped")


def test_a_turn_answered_by_the_first_provider_costs_five_transitions(machine: Machine) -> None:
    execution = machine.run("plain", routes=["copilot"])

    assert execution.states == ("PrepareTurn", "RouteTurn", "AskCopilot", "DeliverReply")
    assert execution.transitions == 5


def test_the_chain_is_walked_to_its_end_and_the_failure_reported(machine: Machine) -> None:
    errors = {name: ["ProviderExhausted"] for name in TASKS if name.startswith("Ask")}

    execution = machine.run("all-exhausted", routes=["copilot"], **errors)

    asked = ("AskCopilot", "AskOpenRouter", "AskOllamaCloud", "AskClaude")
    assert execution.states == ("PrepareTurn", "RouteTurn", *asked, "ReportFailure", "DeliverReply")


def test_a_model_hands_the_turn_over_and_the_agent_answers_it(machine: Machine) -> None:
    execution = machine.run("delegated", routes=["copilot"], AskCopilot=["TurnDelegated"])

    assert execution.states == ("PrepareTurn", "RouteTurn", "AskCopilot", "AskAgent", "DeliverReply")
    assert (execution.status, execution.transitions) == ("SUCCEEDED", 6)


def test_a_turn_that_the_agent_does_not_answer_goes_into_the_chain_which_is_told(machine: Machine) -> None:
    execution = machine.run(
        "delegated-in-vain", routes=["copilot"], AskCopilot=["TurnDelegated"], StartAgent=["AgentUnavailable"]
    )

    assert execution.states[3:] == ("AskAgent", "GoOnWithoutAgent", "AskCopilot", "DeliverReply")
    assert machine.functions.told["delegated-in-vain", "AskCopilot"] == ["copilot", "without_agent"]


def test_a_turn_whose_agent_ended_is_handed_over_again(machine: Machine) -> None:
    execution = machine.run("interrupted", routes=["agent"], StartAgent=["AgentInterrupted"] * 4)

    assert execution.states[2:] == ("AskAgent", *("HandOverAgain", "AskAgent") * 4, "DeliverReply")


def test_a_delayed_delivery_waits_and_is_delivered(machine: Machine) -> None:
    execution = machine.run("delayed", routes=["copilot", "wait"], DeliverReply=["DeliveryDelayed"])

    assert execution.states[-5:] == ("DeliverReply", "PrepareTurn", "RouteTurn", "WaitToDeliver", "DeliverReply")
    assert execution.status == "SUCCEEDED"


def test_what_the_states_pass_on_is_ids_and_figures(machine: Machine) -> None:
    machine.run("ids", routes=["copilot"])
    arn = next(one.arn for one in machine.cloud.executions() if one.name == "chatids-1")
    history = machine.cloud.client("stepfunctions").get_execution_history(executionArn=arn)["events"]

    inputs = [event["stateEnteredEventDetails"]["input"] for event in history if "stateEnteredEventDetails" in event]
    keys = {key for text in inputs for key in json.loads(text)}
    assert keys == {"chat_id", "epoch", "turn", "route", "seconds"}


def test_the_state_machines_role_allows_all_of_it(machine: Machine) -> None:
    assert machine.cloud.denied == []

"""The definition of the turn's state machine as a graph, and the rules that hold for it, each as a function.

A rule returns what breaks it, in words that name the state; nothing means that it holds. The rules come from the Amazon
States Language specification and the Step Functions developer guide ("Handling errors"), some from DESIGN: neither
cfn-lint nor the local interpreter checks them.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DEFINITION = Path(__file__).parents[2] / "statemachine" / "turn.asl.json"

type Machine = dict[str, Any]
type State = dict[str, Any]
type Rule = Callable[[Machine], list[str]]

ANY_ERROR = "States.ALL"
_TASK_FAILED = "States.TaskFailed"
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_JSON_PATH = re.compile(r"\$\$?(\.[A-Za-z_]\w*|\[\d+\])*")
_PATHS_OR_NULL = ("InputPath", "OutputPath", "ResultPath")
_JSONATA_FIELDS = frozenset({"QueryLanguage", "Assign", "Arguments", "Output", "Items", "Condition"})


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one state to another. `label`: the choice's value, or the errors of a catch."""

    source: str
    target: str
    kind: Literal["next", "choice", "default", "catch"]
    label: str = ""


def read() -> Machine:
    """The definition as it is in the repository, before substitution."""
    machine: Machine = json.loads(DEFINITION.read_text("utf-8"))
    return machine


def states(machine: Machine, kind: str | None = None) -> dict[str, State]:
    """The states, of one type if `kind` is given."""
    return {name: state for name, state in machine["States"].items() if kind in (None, state["Type"])}


def edges(machine: Machine) -> list[Edge]:
    """Every way between states."""
    return [edge for name, state in states(machine).items() for edge in _edges_from(name, state)]


def _edges_from(name: str, state: State) -> Iterator[Edge]:
    if "Next" in state:
        yield Edge(name, state["Next"], "next")
    for choice in state.get("Choices", []):
        yield Edge(name, choice["Next"], "choice", str(choice.get("StringEquals", "")))
    if "Default" in state:
        yield Edge(name, state["Default"], "default")
    for catch in state.get("Catch", []):
        yield Edge(name, catch["Next"], "catch", ", ".join(catch["ErrorEquals"]))


def ends(state: State) -> bool:
    """Whether an execution may end in this state."""
    return state.get("End") is True or state["Type"] in ("Succeed", "Fail")


def reachable(machine: Machine, start: str) -> set[str]:
    """The states that can follow `start`, itself included."""
    ways: dict[str, set[str]] = {}
    for edge in edges(machine):
        ways.setdefault(edge.source, set()).add(edge.target)
    seen, ahead = {start}, [start]
    while ahead:
        new = ways.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return seen


def path(machine: Machine, route: str) -> list[str]:
    """The states entered when PrepareTurn says `route` and nothing fails; one transition more is billed than these."""
    entered, name = [], machine["StartAt"]
    while True:
        entered.append(name)
        state = machine["States"][name]
        if ends(state):
            return entered
        if state["Type"] == "Choice":
            name = next((c["Next"] for c in state["Choices"] if c.get("StringEquals") == route), state["Default"])
        else:
            name = state["Next"]


def placeholders(machine: Machine) -> set[str]:
    """Names of the `${…}` that the template substitutes."""
    return set(_PLACEHOLDER.findall(json.dumps(machine)))


def handler_of(entries: list[dict[str, Any]], error: str) -> dict[str, Any] | None:
    """The first Retry or Catch entry that an error meets; TaskFailed matches all but a timeout (developer guide)."""
    for entry in entries:
        names = entry["ErrorEquals"]
        if error in names or ANY_ERROR in names or (_TASK_FAILED in names and error != "States.Timeout"):
            return entry
    return None


def named_errors(machine: Machine) -> set[str]:
    """Every error name of a Retry or Catch."""
    return {
        error
        for state in states(machine).values()
        for entry in state.get("Retry", []) + state.get("Catch", [])
        for error in entry["ErrorEquals"]
    }


def read_variables(machine: Machine) -> set[str]:
    """The top-level fields of the state's input that the definition itself reads."""
    return set(re.findall(r'"\$\.([a-z]\w*)', json.dumps(machine)))


# The rules


def targets_exist(machine: Machine) -> list[str]:
    """StartAt and every Next, Default, Choice and Catch name a state."""
    known = states(machine)
    start = [] if machine["StartAt"] in known else [f"StartAt → {machine['StartAt']}"]
    return start + [f"{edge.source} {edge.kind} → {edge.target}" for edge in edges(machine) if edge.target not in known]


def every_state_is_reachable(machine: Machine) -> list[str]:
    """Every state can be entered."""
    return sorted(states(machine).keys() - reachable(machine, machine["StartAt"]))


def every_state_leads_to_an_end(machine: Machine) -> list[str]:
    """From every state an execution can end."""
    final = {name for name, state in states(machine).items() if ends(state)}
    return [name for name in states(machine) if not final & reachable(machine, name)]


def every_state_goes_on_or_ends(machine: Machine) -> list[str]:
    """A state has exactly one of Next and End, unless its type forbids both."""
    return [
        name
        for name, state in states(machine).items()
        if (("Next" in state) + ("End" in state)) != (state["Type"] not in ("Choice", "Succeed", "Fail"))
    ]


def choices_have_a_default(machine: Machine) -> list[str]:
    """A Choice without a Default fails with States.NoChoiceMatched, which nothing catches."""
    return [name for name, state in states(machine, "Choice").items() if "Default" not in state]


def tasks_have_timeout_retry_and_catch(machine: Machine) -> list[str]:
    """A Task without a timeout may hang for a year; without Retry and Catch it ends the turn."""
    return [
        f"{name} has no {field}"
        for name, state in states(machine, "Task").items()
        for field in ("TimeoutSeconds", "Retry", "Catch")
        if not state.get(field)
    ]


def any_error_stands_alone_and_last(machine: Machine) -> list[str]:
    """States.ALL stands alone in its entry, which is the list's last; every Catch has one."""
    wrong = []
    for name, state in states(machine).items():
        for field in ("Retry", "Catch"):
            entries = [entry["ErrorEquals"] for entry in state.get(field, [])]
            if any(ANY_ERROR in errors and errors != [ANY_ERROR] for errors in entries):
                wrong.append(f"{name} {field}: {ANY_ERROR} is not alone")
            if [ANY_ERROR] in entries[:-1]:
                wrong.append(f"{name} {field}: {ANY_ERROR} is not last")
            if field == "Catch" and entries and entries[-1] != [ANY_ERROR]:
                wrong.append(f"{name} Catch: errors without a way on")
    return wrong


def no_error_is_listed_twice(machine: Machine) -> list[str]:
    """The second entry of an error in one list is never looked at."""
    wrong = []
    for name, state in states(machine).items():
        for field in ("Retry", "Catch"):
            errors = [error for entry in state.get(field, []) for error in entry["ErrorEquals"]]
            wrong += [f"{name} {field}: {error}" for error in sorted(set(errors)) if errors.count(error) > 1]
    return wrong


def heartbeats_are_shorter_than_timeouts(machine: Machine) -> list[str]:
    """Step Functions refuses HeartbeatSeconds that are not below TimeoutSeconds."""
    return [
        name
        for name, state in states(machine, "Task").items()
        if state.get("HeartbeatSeconds", 0) >= state.get("TimeoutSeconds", 99999999)
    ]


def the_language_is_jsonpath(machine: Machine) -> list[str]:
    """No JSONata and no variables: the local interpreter has neither."""
    top = [f"the machine: {field}" for field in machine.keys() & _JSONATA_FIELDS]
    used = [f"{name}: {field}" for name, state in states(machine).items() for field in state.keys() & _JSONATA_FIELDS]
    expressions = ["a {% … %} expression"] if "{%" in json.dumps(machine) else []
    return sorted(top + used) + expressions


def paths_are_jsonpath_or_null(machine: Machine) -> list[str]:
    """Every path is a reference path; InputPath, OutputPath and ResultPath may be null too."""
    return [
        f"{name}: {field} = {value}"
        for name, state in states(machine).items()
        for field, value in _paths(state)
        if not (value is None and field in _PATHS_OR_NULL)
        and not (isinstance(value, str) and _JSON_PATH.fullmatch(value))
    ]


def _paths(node: object) -> Iterator[tuple[str, Any]]:
    """Every field of a state that holds a path, at any depth."""
    if isinstance(node, dict):
        for field, value in node.items():
            if field.endswith(("Path", ".$")) or field == "Variable":
                yield field, value
            else:
                yield from _paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from _paths(value)


WAITING = {"AskAgent": "StartAgent"}
"""States that wait for somebody else than the function they invoke, which is named for what it does."""

_INVOKE = "arn:${Partition}:states:::lambda:invoke"
_TURN_WITH_TOKEN = {"chat_id.$": "$.chat_id", "epoch.$": "$.epoch", "turn.$": "$.turn", "token.$": "$$.Task.Token"}


def function_of(name: str) -> str:
    """The function that a state invokes: of its own name, unless it waits."""
    return WAITING.get(name, name)


def tasks_invoke_their_own_function_with_the_whole_input(machine: Machine) -> list[str]:
    """State, placeholder and function have one name, and ids flow through unchanged; a token goes along to wait for."""

    def expected(name: str) -> tuple[str, Any]:
        function = {"FunctionName": f"${{{function_of(name)}}}"}
        if name in WAITING:
            return f"{_INVOKE}.waitForTaskToken", {**function, "Payload": _TURN_WITH_TOKEN}
        return _INVOKE, {**function, "Payload.$": "$"}

    return [
        name
        for name, state in states(machine, "Task").items()
        if (state["Resource"], state["Parameters"]) != expected(name)
    ]


def errors_and_replies_do_not_enter_the_input(machine: Machine) -> list[str]:
    """An error's Cause and a function's reply may hold text: only the output of two states, ids and a word, goes on."""
    caught = [
        f"{name} Catch {', '.join(entry['ErrorEquals'])}"
        for name, state in states(machine).items()
        for entry in state.get("Catch", [])
        if entry.get("ResultPath", "$") is not None
    ]
    replies = {"PrepareTurn": ("$", "$.Payload"), "DeliverReply": ("$", "$.Payload")}
    kept = [
        name
        for name, state in states(machine, "Task").items()
        if (state.get("ResultPath", "$"), state.get("OutputPath", "$")) != replies.get(name, (None, "$"))
    ]
    return caught + kept


RULES: tuple[Rule, ...] = (
    targets_exist,
    every_state_is_reachable,
    every_state_leads_to_an_end,
    every_state_goes_on_or_ends,
    choices_have_a_default,
    tasks_have_timeout_retry_and_catch,
    any_error_stands_alone_and_last,
    no_error_is_listed_twice,
    heartbeats_are_shorter_than_timeouts,
    the_language_is_jsonpath,
    paths_are_jsonpath_or_null,
    tasks_invoke_their_own_function_with_the_whole_input,
    errors_and_replies_do_not_enter_the_input,
)

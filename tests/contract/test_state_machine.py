"""statemachine/turn.asl.json: sound in itself, and in agreement with chain.toml and the rules of a turn."""

import copy
import json
from typing import Any

import pytest

from assistant.turns import preparing
from assistant.turns.chain import load_chain
from assistant.turns.lanes import AGENT_SECONDS, COLD_SECONDS
from assistant.turns.model import TURN_SECONDS, WITHOUT_AGENT, ChatClaim, TurnClaim
from assistant.turns.preparing import Route
from tests.contract import state_machine as asl

MACHINE = asl.read()
PROVIDERS = load_chain().providers
OWN_ROUTES = {preparing.AGENT, preparing.DELIVER, preparing.WAIT, preparing.FAIL, preparing.IDLE}
MOST_TRANSITIONS = 6

BROKEN: list[tuple[asl.Rule, str, Any]] = [
    (asl.targets_exist, "AskClaude.Next", "AskNobody"),
    (asl.targets_exist, "RouteTurn.Default", "AskNobody"),
    (asl.targets_exist, "RouteTurn.Choices.0.Next", "AskNobody"),
    (asl.targets_exist, "AskCopilot.Catch.0.Next", "AskNobody"),
    (asl.every_state_is_reachable, "Orphan", {"Type": "Succeed"}),
    (asl.every_state_leads_to_an_end, "WaitToDeliver.Next", "WaitToDeliver"),
    (asl.every_state_goes_on_or_ends, "PrepareTurn.End", True),
    (asl.choices_have_a_default, "RouteTurn.Default", None),
    (asl.tasks_have_timeout_retry_and_catch, "AskClaude.TimeoutSeconds", None),
    (asl.tasks_have_timeout_retry_and_catch, "AskClaude.Retry", []),
    (asl.tasks_have_timeout_retry_and_catch, "AskClaude.Catch", None),
    (asl.any_error_stands_alone_and_last, "AskClaude.Catch.0.ErrorEquals", ["States.ALL"]),
    (asl.any_error_stands_alone_and_last, "AskClaude.Catch.3.ErrorEquals", ["States.ALL", "TurnInvalid"]),
    (asl.any_error_stands_alone_and_last, "AskClaude.Catch.3.ErrorEquals", ["States.TaskFailed"]),
    (asl.no_error_is_listed_twice, "AskClaude.Catch.1.ErrorEquals", ["TurnInvalid"]),
    (asl.heartbeats_are_shorter_than_timeouts, "AskClaude.HeartbeatSeconds", 85),
    (asl.the_language_is_jsonpath, "AskClaude.Assign", {"x": 1}),
    (asl.the_language_is_jsonpath, "AskClaude.Comment", "{% $x %}"),
    (asl.paths_are_jsonpath_or_null, "AskClaude.ResultPath", "Payload"),
    (asl.paths_are_jsonpath_or_null, "RouteTurn.Choices.0.Variable", "route"),
    (asl.tasks_invoke_their_own_function_with_the_whole_input, "AskClaude.Parameters.FunctionName", "${AskCopilot}"),
    (asl.tasks_invoke_their_own_function_with_the_whole_input, "AskClaude.Parameters.Payload.$", "$.turn"),
    (asl.errors_and_replies_do_not_enter_the_input, "AskClaude.Catch.0.ResultPath", "$.error"),
    (asl.errors_and_replies_do_not_enter_the_input, "AskClaude.ResultPath", "$.reply"),
]


def _changed(place: str, value: Any) -> asl.Machine:
    """The machine with one field of one state set, or removed by None."""
    machine = copy.deepcopy(MACHINE)
    at: Any = machine["States"]
    *steps, last = place.replace("Payload.$", "Payload·$").split(".")
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    last = last.replace("·", ".")
    if value is None:
        del at[last]
    else:
        at[last] = value
    return machine


@pytest.mark.parametrize("rule", asl.RULES, ids=lambda rule: rule.__name__)
def test_the_state_machine_keeps_the_rule(rule: asl.Rule) -> None:
    assert rule(MACHINE) == []


@pytest.mark.parametrize(
    ("rule", "place", "value"), BROKEN, ids=[f"{rule.__name__}-{place}" for rule, place, _ in BROKEN]
)
def test_the_rule_names_the_state_that_breaks_it(rule: asl.Rule, place: str, value: Any) -> None:
    offenders = rule(_changed(place, value))

    assert any(place.partition(".")[0] in offender or "{%" in offender for offender in offenders), offenders


def test_every_rule_has_a_machine_that_breaks_it() -> None:
    assert {rule.__name__ for rule in asl.RULES} == {rule.__name__ for rule, _, _ in BROKEN}


def test_the_definition_is_json_before_substitution_and_small_enough() -> None:
    text = asl.DEFINITION.read_text("utf-8")

    assert json.loads(text)["States"]
    assert len(text.encode()) < 1024 * 1024, "Step Functions takes definitions up to 1 MB"


def test_the_ask_states_are_the_chain_in_order() -> None:
    asked = [name for name in asl.states(MACHINE, "Task") if name.startswith("Ask")]

    assert asked.pop(0) == "AskAgent"
    assert asked == [provider.state for provider in PROVIDERS]


def test_an_ask_state_that_fails_leads_to_the_next_provider_of_the_chain() -> None:
    following = [provider.state for provider in PROVIDERS[1:]] + ["ReportFailure"]
    for provider, after in zip(PROVIDERS, following, strict=True):
        caught = {edge.target for edge in asl.edges(MACHINE) if edge.source == provider.state and edge.kind == "catch"}
        assert caught == {after, "AskAgent", "StopTurn"}, provider.state


def test_a_model_that_hands_the_turn_over_leads_to_the_agent() -> None:
    for provider in PROVIDERS:
        state = MACHINE["States"][provider.state]
        caught = asl.handler_of(state["Catch"], "TurnDelegated")
        assert caught is not None
        assert (caught["Next"], asl.handler_of(state["Retry"], "TurnDelegated")) == ("AskAgent", None)


def test_an_agent_that_does_not_answer_leads_into_the_chain_which_is_told() -> None:
    caught = {edge.target for edge in asl.edges(MACHINE) if edge.source == "AskAgent" and edge.kind == "catch"}
    assert caught == {"GoOnWithoutAgent", "HandOverAgain", "StopTurn"}
    told = MACHINE["States"]["GoOnWithoutAgent"]
    assert (told["Next"], told["ResultPath"], told["Result"]) == (PROVIDERS[0].state, "$.route", WITHOUT_AGENT)


def test_every_way_to_the_agent_knows_how_long_to_wait_for_a_heartbeat() -> None:
    assert MACHINE["States"]["AskAgent"]["HeartbeatSecondsPath"] == "$.seconds"
    to_agent = {edge.source for edge in asl.edges(MACHINE) if edge.target == "AskAgent"}
    assert to_agent == {"RouteTurn", "HandOverAgain", *(provider.state for provider in PROVIDERS)}


def test_a_turn_whose_agent_ended_is_handed_to_the_next_one_which_is_cold() -> None:
    state, again = MACHINE["States"]["AskAgent"], MACHINE["States"]["HandOverAgain"]
    caught = asl.handler_of(state["Catch"], "AgentInterrupted")
    assert caught is not None
    assert (caught["Next"], asl.handler_of(state["Retry"], "AgentInterrupted")) == ("HandOverAgain", None)
    assert (again["Next"], again["ResultPath"], again["Result"]) == ("AskAgent", "$.seconds", COLD_SECONDS)


def test_the_ask_states_differ_only_in_who_is_asked_and_who_is_next() -> None:
    def shape(name: str) -> asl.State:
        state: asl.State = copy.deepcopy(MACHINE["States"][name])
        del state["Parameters"]["FunctionName"]
        for catch in state["Catch"]:
            if catch["Next"] != "StopTurn":
                del catch["Next"]
        return state

    first = shape(PROVIDERS[0].state)
    assert [provider.state for provider in PROVIDERS if shape(provider.state) != first] == []


def test_the_choices_of_route_turn_are_the_routes_of_prepare_turn() -> None:
    choices = MACHINE["States"]["RouteTurn"]["Choices"]

    assert {choice["Variable"] for choice in choices} == {"$.route"}
    routes = [choice["StringEquals"] for choice in choices]
    assert sorted(routes) == sorted({provider.id for provider in PROVIDERS} | OWN_ROUTES)


def test_a_providers_route_enters_at_its_own_state() -> None:
    entered = {provider.id: asl.path(MACHINE, provider.id)[2] for provider in PROVIDERS}

    assert entered == {provider.id: provider.state for provider in PROVIDERS}


def test_the_other_routes_enter_where_their_names_say() -> None:
    entered = {route: asl.path(MACHINE, route)[2] for route in OWN_ROUTES}

    assert entered == {
        preparing.AGENT: "AskAgent",
        preparing.DELIVER: "DeliverReply",
        preparing.WAIT: "WaitToDeliver",
        preparing.FAIL: "ReportFailure",
        preparing.IDLE: "NothingToDo",
    }


@pytest.mark.parametrize("route", [provider.id for provider in PROVIDERS] + sorted(OWN_ROUTES))
def test_a_turn_in_which_nothing_fails_costs_at_most_six_transitions(route: str) -> None:
    entered = asl.path(MACHINE, route)

    assert len(entered) + 1 <= MOST_TRANSITIONS, entered


def test_prepare_turns_output_is_ids_and_all_that_the_states_read() -> None:
    state = Route(ChatClaim("-1001234", 7), "copilot", 3, seconds=5).as_state()

    assert state == {"chat_id": "-1001234", "epoch": 7, "turn": 3, "route": "copilot", "seconds": 5}
    read = asl.read_variables(MACHINE)
    assert read <= state.keys(), read - state.keys()
    assert TurnClaim.parse(json.loads(json.dumps(state))) == TurnClaim(ChatClaim("-1001234", 7), 3)


def test_prepare_turn_accepts_its_own_output_when_a_delivery_has_to_wait() -> None:
    delayed = asl.handler_of(MACHINE["States"]["DeliverReply"]["Catch"], "DeliveryDelayed")
    assert delayed is not None
    assert delayed["Next"] == MACHINE["StartAt"]

    state = Route(ChatClaim("42", 7), "deliver", 3).as_state()
    assert ChatClaim.parse(json.loads(json.dumps(state))) == ChatClaim("42", 7)


def test_a_turns_deadline_is_within_the_executions_time() -> None:
    assert MACHINE["TimeoutSeconds"] > AGENT_SECONDS + TURN_SECONDS
    assert MACHINE["States"]["AskAgent"]["TimeoutSeconds"] <= AGENT_SECONDS

"""A model hands a turn over to the agent instead of answering it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from assistant.errors import ProviderExhausted, ProviderUnavailable, TurnDelegated
from assistant.turns.delegating import DELEGATE_TO_AGENT
from assistant.turns.lanes import AGENT_SECONDS, COLD_SECONDS
from assistant.turns.model import TURN_SECONDS, WITHOUT_AGENT, ChatClaim, Delegation, TurnClaim, TurnStatus, Usage
from tests.doubles import CHAT, NOON, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.turns.lanes import AgentMode

TASK = Delegation("find the file", "m-1", Usage(input=10, output=5))


@pytest.fixture
def world() -> Iterator[World]:
    with a_world(agent_mode="auto") as with_agents:
        yield with_agents


def prepared(world: World, text: str = "where is it?") -> TurnClaim:
    """A turn that goes to a provider."""
    world.accept(replace(world.incoming(text), text=text.removeprefix("/ask ").removeprefix("/agent ")))
    route = world.prepare(world.executions.started[-1])
    return TurnClaim(route.claim, route.turn or 0)


def delegated(world: World) -> TurnClaim:
    world.models["copilot"].script = [TASK]
    turn = prepared(world)
    with pytest.raises(TurnDelegated):
        world.ask("copilot")(turn)
    return turn


def test_the_task_is_kept_with_the_turn_and_has_the_agents_time(world: World) -> None:
    world.clock.advance(7)
    delegated(world)

    turn = world.turn()
    assert (turn.status, turn.task, turn.text) == (TurnStatus.OPEN, "find the file", "where is it?")
    assert turn.deadline == NOON + 7 + AGENT_SECONDS + TURN_SECONDS


def test_a_request_that_ended_in_a_call_is_settled_and_noted_like_an_answer(world: World) -> None:
    delegated(world)

    assert world.ledger.entries()["copilot"].windows["day:2026-11-22"] == 1
    used = world.usage.days("2026-11-22", "2026-11-22")["2026-11-22"]["copilot"]
    assert (used.requests, used.failures, used.input_tokens, used.output_tokens) == (1, 0, 10, 5)
    (attempt,) = world.journal.attempts
    assert (attempt.outcome, attempt.error, attempt.model) == ("delegated", None, "m-1")


def test_what_was_shown_of_an_answer_is_taken_back(world: World) -> None:
    delegated(world)

    assert (world.messenger.taken_back, world.messenger.shown) == (1, [])


def test_a_model_that_died_after_its_call_is_not_asked_again(world: World) -> None:
    turn = delegated(world)

    for provider_id in world.models:
        with pytest.raises(TurnDelegated):
            world.ask(provider_id)(turn)

    assert sum(len(model.asked) for model in world.models.values()) == 1


def test_after_the_agent_failed_a_model_answers_without_the_tool(world: World) -> None:
    turn = delegated(world)
    world.clock.advance(AGENT_SECONDS)

    assert world.ask("copilot")(replace(turn, without_agent=True)) == "answered"

    assert world.models["copilot"].offered == [DELEGATE_TO_AGENT, None]
    world.deliver(turn)
    assert world.texts() == ["copilot: where is it?"]


def test_a_call_after_the_turn_was_answered_changes_nothing(world: World) -> None:
    turn = prepared(world)

    def call_late() -> Delegation:
        world.ask("copilot")(turn)
        return TASK

    world.models["openrouter"].script = [call_late]

    assert world.ask("openrouter")(turn) == "late"
    assert (world.turn().status, world.turn().task) == (TurnStatus.ANSWERED, None)


def test_a_resumed_turn_goes_to_the_agent_again(world: World) -> None:
    turn = delegated(world)

    same = world.prepare(turn.chat)
    assert (same.route, same.seconds) == ("agent", COLD_SECONDS)
    stolen = world.claims.steal(turn.chat, recoveries=1)
    assert stolen is not None
    assert world.prepare(stolen).route == "agent"
    assert world.turn().task == "find the file"
    assert world.turn().deadline == NOON + AGENT_SECONDS + TURN_SECONDS


def test_a_turn_that_nobody_answered_is_asked_anew(world: World) -> None:
    turn = replace(delegated(world), without_agent=True)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=NOON + 3600)
        with pytest.raises(ProviderExhausted):
            world.ask(provider.id)(turn)
    world.report(turn)
    world.deliver(turn)
    world.clock.advance(3601)

    world.recover(CHAT)
    route = world.prepare(world.executions.started[-1])

    assert route.route == "copilot"
    assert (world.turn().task, world.turn().may_delegate) == (None, True)


def test_what_is_retried_is_asked_anew(world: World) -> None:
    turn = replace(delegated(world), without_agent=True)
    world.turns.settle(turn, replace(world.turn(), status=TurnStatus.FAILED, reply="sorry"))
    world.deliver(turn)
    world.say("/retry")

    assert world.prepare(world.executions.started[-1]).route == "copilot"
    assert world.turn().task is None


@pytest.mark.parametrize(
    ("mode", "text", "offered"),
    [
        ("auto", "where is it?", True),
        ("auto", "/ask where is it?", False),
        ("off", "where is it?", False),
    ],
)
def test_the_tool_is_offered_where_an_agent_may_run_and_nobody_has_chosen(
    mode: AgentMode, text: str, offered: bool
) -> None:
    with a_world(agent_mode=mode) as world:
        world.ask("copilot")(prepared(world, text))

        assert world.models["copilot"].offered == [DELEGATE_TO_AGENT if offered else None]


def test_what_was_parked_is_handed_to_no_agent_that_was_taken_away_since(world: World) -> None:
    turn = prepared(world)
    for provider in world.chain.providers:
        world.ledger.block(provider, cause="quota", until=int(world.clock.now()) + 3600)
    world.report(turn)
    world.deliver(turn)
    assert world.turn().may_delegate
    world.clock.advance(3600)
    world.prepare = replace(world.prepare, mode="off")

    world.waking.wake(CHAT)
    world.prepare(world.executions.started[-1])

    assert (world.turn().status, world.turn().may_delegate) == (TurnStatus.OPEN, None)


def test_the_next_provider_may_hand_over_what_the_first_could_not_answer(world: World) -> None:
    world.models["copilot"].script = [ProviderUnavailable("copilot", "broken tool call", may_cost=True)]
    world.models["openrouter"].script = [TASK]
    turn = prepared(world)
    with pytest.raises(ProviderUnavailable):
        world.ask("copilot")(turn)

    with pytest.raises(TurnDelegated):
        world.ask("openrouter")(turn)

    assert world.turn().task == "find the file"


def test_the_states_input_says_that_the_agent_was_asked_in_vain() -> None:
    state = {"chat_id": CHAT, "epoch": 1, "turn": 2, "seconds": 240}

    assert TurnClaim.parse({**state, "route": "copilot"}) == TurnClaim(ChatClaim(CHAT, 1), 2)
    assert TurnClaim.parse({**state, "route": WITHOUT_AGENT}) == TurnClaim(ChatClaim(CHAT, 1), 2, without_agent=True)

"""Who answers: a provider straight away, or the chat's agent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from assistant.turns.accepting import Say, Typing
from assistant.turns.agents import LEASE_SECONDS, Generation
from assistant.turns.lanes import AGENT_SECONDS, COLD_SECONDS, WARM_SECONDS, lane
from assistant.turns.model import TURN_SECONDS, TurnClaim
from tests.doubles import CHAT, NOON, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.turns.lanes import AgentMode
    from assistant.turns.preparing import Route


@pytest.fixture
def world() -> Iterator[World]:
    with a_world(agent_mode="auto") as with_agents:
        yield with_agents


def in_mode(world: World, mode: AgentMode) -> World:
    world.prepare = replace(world.prepare, mode=mode)
    return world


def warm_up(world: World) -> None:
    generation = world.agents.begin(CHAT, starter="test")
    assert generation is not None
    world.agents.occupy(generation, "task", idle_after=900)
    world.agents.renew(generation, idle_after=900, ready=True)


def routed(world: World, text: str = "hello") -> Route:
    words = text.removeprefix("/agent ").removeprefix("/ask ")
    world.accept(replace(world.incoming(text), text=words))
    return world.prepare(world.executions.started[-1])


def test_a_cold_chat_is_answered_by_a_provider(world: World) -> None:
    assert routed(world).route == "copilot"
    assert world.turn().deadline == NOON + TURN_SECONDS


def test_a_chat_whose_agent_is_warm_is_answered_by_it(world: World) -> None:
    warm_up(world)

    route = routed(world)

    assert (route.route, route.seconds) == ("agent", WARM_SECONDS)
    assert world.turn().deadline == NOON + AGENT_SECONDS + TURN_SECONDS


@pytest.mark.parametrize(("mode", "route"), [("auto", "copilot"), ("eager", "copilot"), ("always", "agent")])
def test_a_chat_whose_agent_boots_still_is_answered_by_a_provider(world: World, mode: AgentMode, route: str) -> None:
    in_mode(world, mode)
    generation = world.agents.begin(CHAT, starter="test")
    assert generation is not None
    world.agents.occupy(generation, "task", idle_after=900)
    world.agents.renew(generation, idle_after=900)

    assert routed(world).route == route
    assert world.waker.woken == []


def test_who_asks_for_an_agent_that_boots_waits_for_it(world: World) -> None:
    generation = world.agents.begin(CHAT, starter="test")
    assert generation is not None
    world.agents.occupy(generation, "task", idle_after=900)

    route = routed(world, "/agent tidy up")

    assert (route.route, route.seconds) == ("agent", COLD_SECONDS)


def test_the_next_generation_has_to_boot_again(world: World) -> None:
    warm_up(world)
    world.agents.close(Generation(CHAT, 1), crashed=False, killer=None, kills=None)
    generation = world.agents.begin(CHAT, starter="test")
    assert generation is not None
    world.agents.occupy(generation, "task", idle_after=900)

    assert routed(world).route == "copilot"


def test_an_agent_whose_lease_has_run_out_is_cold(world: World) -> None:
    warm_up(world)
    world.clock.advance(LEASE_SECONDS)

    assert routed(world).route == "copilot"


def test_an_agent_that_stops_is_given_nothing_new(world: World) -> None:
    warm_up(world)
    world.agents.stop(Generation(CHAT, 1))

    assert routed(world).route == "copilot"


def test_a_task_wakes_the_agent_and_is_a_turn_of_its_own(world: World) -> None:
    world.accept(replace(world.incoming("/agent tidy up"), text="tidy up"))
    world.say("and this is small talk")

    route = world.prepare(world.executions.started[-1])

    assert (route.route, route.seconds) == ("agent", COLD_SECONDS)
    assert (world.turn().text, world.turn().lane) == ("tidy up", "agent")


def test_a_question_for_a_provider_is_not_given_to_a_warm_agent(world: World) -> None:
    warm_up(world)

    assert routed(world, "/ask what time is it?").route == "copilot"
    assert world.turn().lane == "chat"


def test_in_always_every_turn_waits_for_the_agent_unless_a_provider_is_asked_for(world: World) -> None:
    in_mode(world, "always")

    assert routed(world).route == "agent"


def test_in_eager_what_a_provider_answers_wakes_the_agent(world: World) -> None:
    in_mode(world, "eager")

    route = routed(world)

    assert route.route == "copilot"
    assert world.waker.woken == [TurnClaim(route.claim, 1)]
    assert world.turn().may_delegate


def test_in_eager_an_agent_that_starts_runs_or_is_left_alone_is_not_woken(world: World) -> None:
    in_mode(world, "eager")
    generation = world.agents.begin(CHAT, starter="test")
    assert generation is not None
    assert routed(world).route == "copilot"
    world.ask("copilot")(TurnClaim(world.executions.started[-1], 1))
    world.deliver(TurnClaim(world.executions.started[-1], 1))
    for _ in range(3):
        world.agents.close(generation, crashed=True, killer=None, kills=None)
        generation = world.agents.begin(CHAT, starter="test") or generation
    world.agents.close(generation, crashed=True, killer=None, kills=None)
    assert routed(world).route == "copilot"

    assert world.waker.woken == []


def test_in_eager_a_warm_agent_answers_and_a_reminder_wakes_nobody(world: World) -> None:
    in_mode(world, "eager")
    world.say("/remind in 1 minute tea")
    world.clock.advance(61)
    world.ring()
    world.run()
    warm_up(world)

    assert routed(world).route == "agent"
    assert world.waker.woken == []


@pytest.mark.parametrize("mode", ["auto", "always", "off"])
def test_in_other_modes_no_message_wakes_the_agent(world: World, mode: AgentMode) -> None:
    in_mode(world, mode)
    routed(world)

    assert world.waker.woken == []


def test_in_off_no_turn_is_given_to_an_agent_and_none_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(world, "off")
    monkeypatch.setattr(type(world.agents), "read", None)

    assert routed(world).route == "copilot"


def test_a_turn_that_is_prepared_again_comes_to_the_same_lane(world: World) -> None:
    warm_up(world)
    first = routed(world)

    assert world.prepare(first.claim) == first


def test_a_turn_that_the_agent_left_unanswered_still_has_time_for_the_providers(world: World) -> None:
    warm_up(world)
    turn = routed(world)
    world.clock.advance(AGENT_SECONDS)

    assert world.ask("copilot")(TurnClaim(turn.claim, turn.turn or 0)) == "answered"


@pytest.mark.parametrize(
    ("text", "reply"),
    [("/agent", "Tell me what: /agent and then your task."), ("/ask", "Tell me what: /ask and then your question.")],
)
def test_a_command_without_words_says_what_is_missing(world: World, text: str, reply: str) -> None:
    assert world.accept(replace(world.incoming(text), text="")) == Say(reply)


def test_without_an_agent_its_command_says_so_and_a_question_is_asked() -> None:
    with a_world() as world:
        refused = world.accept(replace(world.incoming("/agent do it"), text="do it"))
        asked = world.accept(replace(world.incoming("/ask why?"), text="why?"))

        assert isinstance(refused, Say)
        assert "no agent" in refused.text
        assert asked == Typing()
        world.run_all()
        assert world.texts() == ["copilot: why?"]


def test_in_off_even_a_chosen_agent_is_not_asked(world: World) -> None:
    turn = replace(world.turn(routed(world).turn or 0), lane="agent")

    assert lane("off", turn, world.agents.read(CHAT), NOON) == "chat"

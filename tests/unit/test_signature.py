"""An answer by another provider than the first is signed: at its end, once, and nowhere but in the chat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from assistant.errors import DeliveryDelayed, DeliveryRefused, ProviderExhausted
from assistant.turns import texts
from assistant.turns.model import TurnClaim
from tests.doubles import CHAT, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doubles import World

SIGNED = "openrouter: hello\n\n— OpenRouter"


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        made.deliver = replace(made.deliver, names={provider.id: provider.name for provider in made.chain.providers})
        yield made


def fall_back(world: World, *providers: str) -> None:
    """Let these providers refuse the next question for an hour."""
    for provider in providers:
        until = world.clock.now() + 3600
        world.models[provider].script = [ProviderExhausted(provider, "quota", block_until=until)]


def test_the_first_provider_does_not_sign(world: World) -> None:
    world.say()
    world.run_all()

    assert world.texts() == ["copilot: hello"]


def test_another_provider_signs(world: World) -> None:
    fall_back(world, "copilot")
    world.say()
    world.run_all()

    assert world.texts() == [SIGNED]


def test_a_provider_whose_key_has_just_been_set_does_not_sign(world: World) -> None:
    key = world.secrets.values.pop("copilot-api-key")
    world.say()
    world.run_all()
    world.secrets.values["copilot-api-key"] = key
    world.clock.advance(2 * 3600)
    world.say()
    world.run_all()

    assert world.texts()[-1] == "copilot: hello"


def test_the_first_provider_with_a_key_does_not_sign(world: World) -> None:
    del world.secrets.values["copilot-api-key"]
    world.say()
    world.run_all()
    world.say()
    world.run_all()

    assert world.texts()[-1] == "openrouter: hello"


def test_without_the_setting_nobody_signs(world: World) -> None:
    world.deliver = replace(world.deliver, names={})
    fall_back(world, "copilot")
    world.say()
    world.run_all()

    assert world.texts() == ["openrouter: hello"]


def test_the_signature_is_neither_kept_nor_shown_to_a_provider(world: World) -> None:
    fall_back(world, "copilot")
    world.say()
    world.run_all()
    world.say("and now?")
    world.run_all()

    assert world.turn().reply == "openrouter: hello"
    assert [said.text for said in world.models["openrouter"].asked[-1]] == ["hello", "openrouter: hello", "and now?"]


def test_again_repeats_the_signature_every_time(world: World) -> None:
    fall_back(world, "copilot")
    world.say()
    world.run_all()
    world.clock.advance(2 * 3600)
    for _ in range(2):
        world.say("/again")
        world.run_all()

    assert world.texts() == [SIGNED] * 3


def test_again_of_nothing_is_not_signed(world: World) -> None:
    world.say("/again")
    world.run_all()

    assert world.texts() == [texts.NOTHING_TO_REPEAT]


def test_an_apology_is_not_signed_even_after_an_answer_that_could_not_be_delivered(world: World) -> None:
    fall_back(world, "copilot")
    world.messenger.trouble = [DeliveryRefused("blocked")]
    world.say()
    world.run_all()
    assert world.turn().provider == "openrouter"
    fall_back(world, "openrouter", "ollama-cloud", "anthropic")

    world.say("/retry")
    world.run_all()

    assert len(world.texts()) == 1
    assert "I will ask again by myself" in world.texts()[0]
    assert not world.texts()[0].endswith("— OpenRouter")


def test_a_long_answer_is_signed_in_its_last_part_whatever_happens_in_between(world: World) -> None:
    world.messenger.limit = 20
    fall_back(world, "copilot")
    world.models["openrouter"].script = ["one two three four five six seven"]
    world.say()
    claim = world.executions.started[0]
    route = world.prepare(claim)
    turn = TurnClaim(route.claim, 1)
    with pytest.raises(ProviderExhausted):
        world.ask("copilot")(turn)
    world.ask("openrouter")(turn)
    world.messenger.trouble = [None, DeliveryDelayed(5)]

    with pytest.raises(DeliveryDelayed):
        world.deliver(turn)
    world.deliver(turn)

    assert world.messenger.parts("one two three four five six seven\n\n— OpenRouter") == world.texts(CHAT)
    assert world.texts()[-1].endswith("— OpenRouter")

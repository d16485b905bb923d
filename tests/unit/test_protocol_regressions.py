"""What once broke the protocol of a turn: found by reading it as an enemy would, or by walking it at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from assistant.errors import ProviderUnavailable
from assistant.turns.ledger import window_name
from tests.doubles import NOON

if TYPE_CHECKING:
    from tests.doubles import World


def test_a_request_that_was_not_made_is_given_back_to_a_window_that_is_gone(world: World) -> None:
    openrouter = world.chain.provider("openrouter")
    old = world.ledger.reserve(openrouter)
    world.clock.advance(60)
    world.ledger.succeeded(world.ledger.reserve(openrouter))

    world.ledger.failed(old, ProviderUnavailable("openrouter", "unreachable", asked=False))

    windows = world.ledger.entries()["openrouter"].windows
    assert windows[window_name("minute", NOON + 60)] == 1
    assert windows[window_name("day", NOON)] == 1
    assert windows[window_name("minute", NOON)] == 0


@pytest.mark.parametrize("answered", [True, False])
def test_a_request_of_a_slow_clock_does_not_clear_the_next_window(world: World, answered: bool) -> None:
    openrouter = world.chain.provider("openrouter")
    world.clock.moment = NOON + 60
    world.ledger.reserve(openrouter)
    world.clock.moment = NOON + 59.9  # another function's clock
    late = world.ledger.reserve(openrouter)

    if answered:
        world.ledger.succeeded(late)
    else:
        world.ledger.failed(late, ProviderUnavailable("openrouter", "server error"))

    assert world.ledger.entries()["openrouter"].windows[window_name("minute", NOON + 60)] == 1

"""The turn's state machine, walked in this process: its own definition, with functions called instead of invoked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assistant.errors import TurnError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assistant.turns.model import TurnClaim

type Json = dict[str, Any]

DEFINITION = Path(__file__).parents[1] / "statemachine" / "turn.asl.json"


class _Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Walk:
    """Runs a turn from RouteTurn on, to the first state that is none of `functions`.

    Retry and Catch are those of the definition; the pause before a retry passes on the clock, in full (the jitter
    only shortens it).

    Attributes:
        states: the definition's.
        functions: what a state does, by its name.
        clock: moved by pauses.
    """

    states: Mapping[str, Json]
    functions: Mapping[str, Callable[[TurnClaim], object]]
    clock: _Clock

    @classmethod
    def of_a_turn(cls, functions: Mapping[str, Callable[[TurnClaim], object]], clock: _Clock) -> Walk:
        """By the definition that is deployed."""
        return cls(json.loads(DEFINITION.read_text("utf-8"))["States"], functions, clock)

    def run(self, route: str, claim: TurnClaim) -> str:
        """Walk from where RouteTurn sends `route`; returns the name of the state that comes next."""
        choices = self.states["RouteTurn"]["Choices"]
        state: str = next(choice["Next"] for choice in choices if choice.get("StringEquals") == route)
        while state in self.functions:
            state = self._after(state, claim)
        return state

    def _after(self, state: str, claim: TurnClaim) -> str:
        tried: Counter[int] = Counter()
        while True:
            try:
                self.functions[state](claim)
            except TurnError as error:
                name = type(error).__name__
                if not self._retried(state, name, tried):
                    return str(_that_names(name, self.states[state]["Catch"])["Next"])
            else:
                return str(self.states[state]["Next"])

    def _retried(self, state: str, error: str, tried: Counter[int]) -> bool:
        for number, retrier in enumerate(self.states[state].get("Retry", [])):
            if error in retrier["ErrorEquals"]:
                if tried[number] >= retrier["MaxAttempts"]:
                    return False
                pause = retrier["IntervalSeconds"] * retrier.get("BackoffRate", 2.0) ** tried[number]
                self.clock.advance(min(pause, retrier.get("MaxDelaySeconds", pause)))
                tried[number] += 1
                return True
        return False


def _that_names(error: str, catchers: list[Json]) -> Json:
    return next(
        catcher for catcher in catchers if error in catcher["ErrorEquals"] or "States.ALL" in catcher["ErrorEquals"]
    )

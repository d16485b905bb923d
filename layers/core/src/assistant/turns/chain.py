"""The provider chain: `chain.toml` as types."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

type Per = Literal["minute", "day", "month"]


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `requests` in a window of UTC time."""

    requests: int
    per: Per


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: `connect` to reach the provider, `read` of silence, `total` for one request."""

    connect: float
    read: float
    total: float


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of the chain. `state` is the state, and the function, that asks it."""

    id: str
    name: str
    state: str
    protocol: Literal["openai-chat", "anthropic-messages"]
    base_url: str
    secret: str
    model: str
    context_window: int
    max_tokens: int
    price: Price
    budgets: tuple[Budget, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The providers, in the order in which they are asked."""

    timeouts: Timeouts
    providers: tuple[Provider, ...]

    def provider(self, provider_id: str) -> Provider:
        """The provider of that id; KeyError if the chain has none."""
        for provider in self.providers:
            if provider.id == provider_id:
                return provider
        raise KeyError(provider_id)


@cache
def load_chain() -> Chain:
    """Read the package's `chain.toml`."""
    raw = tomllib.loads(files("assistant").joinpath("chain.toml").read_text("utf-8"))
    return Chain(
        timeouts=Timeouts(**raw["timeouts"]),
        providers=tuple(
            Provider(
                **{
                    **entry,
                    "price": Price(**entry["price"]),
                    "budgets": tuple(Budget(**budget) for budget in entry["budgets"]),
                }
            )
            for entry in raw["providers"]
        ),
    )

"""The provider chain: `chain.toml` as types."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from assistant.turns.model import Usage

MICRO = 1_000_000

LEAST_INPUT_BYTES = 32 * 1024
"""Of the system prompt and a usual conversation: a budget that is too small for them is used up. If it were less, most
questions would be declined for what they may cost, one by one, and nobody be told that the money is spent."""

type Per = Literal["minute", "day", "month"]


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `limit` requests, or millionths of a US dollar, in a window of UTC time."""

    limit: int
    per: Per
    unit: Literal["requests", "micro_dollars"] = "requests"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, which is millionths of a dollar per token."""

    input: float
    output: float
    cached: float = 0.0
    written: float = 0.0

    def cost(self, usage: Usage) -> int:
        """Millionths of a dollar, rounded up: a budget is never short of what the vendor bills."""
        dollars = (
            self.input * usage.input
            + self.cached * usage.cached
            + self.written * usage.written
            + self.output * usage.output
        )
        return math.ceil(round(dollars, 6))

    @property
    def free(self) -> bool:
        """Whether nothing is ever charged."""
        return not (self.input or self.output or self.cached or self.written)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: `connect` to reach the provider, `read` of silence, `total` for one request."""

    connect: float
    read: float
    total: float


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of the chain.

    Attributes:
        state: the state, and the function, that asks it.
        concurrency: requests that it takes at a time; None for any number, else 1.
        tools: whether the model may be offered tools.
        carry_over: whether what is left of a day's budget adds to the later days of its month.
        cache_minimum_tokens: the shortest prefix that the model caches, where a prefix has to be marked for it.
    """

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
    concurrency: Literal[1] | None = None
    tools: bool = False
    carry_over: bool = False
    cache_minimum_tokens: int | None = None

    def budget(self, per: Per, unit: Literal["requests", "micro_dollars"] = "requests") -> Budget | None:
        """The provider's budget of that window and unit, if it has one."""
        return next((budget for budget in self.budgets if (budget.per, budget.unit) == (per, unit)), None)

    @property
    def least_micro_dollars(self) -> int:
        """What has to be left of a budget for any request: a short question, and the longest answer."""
        return self.most_micro_dollars(LEAST_INPUT_BYTES)

    def most_micro_dollars(self, input_bytes: int) -> int:
        """What a request may cost at most: no token is shorter than a byte, and all may be written to a cache."""
        price = self.price
        return math.ceil(max(price.input, price.written) * input_bytes + price.output * self.max_tokens)


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

    def with_settings(self, *, dollars_per_month: float, carry_over: bool) -> Chain:
        """The chain with what its owner sets: the paid provider's budget, and whether unused days are carried over."""
        return replace(
            self,
            providers=tuple(
                replace(
                    provider,
                    carry_over=carry_over
                    and provider.budget("day") is not None
                    and provider.budget("month") is not None,
                    budgets=tuple(
                        replace(budget, limit=round(dollars_per_month * MICRO))
                        if (budget.per, budget.unit) == ("month", "micro_dollars")
                        else budget
                        for budget in provider.budgets
                    ),
                )
                for provider in self.providers
            ),
        )


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
                    "budgets": tuple(_budget(**budget) for budget in entry["budgets"]),
                }
            )
            for entry in raw["providers"]
        ),
    )


def _budget(per: Per, requests: int | None = None, dollars: float | None = None) -> Budget:
    if dollars is not None:
        return Budget(round(dollars * MICRO), per, "micro_dollars")
    if requests is None:
        raise ValueError("a budget is of requests or of dollars")
    return Budget(requests, per)

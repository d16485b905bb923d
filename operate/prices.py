"""What AWS charges for what was metered. List prices of us-east-1 in dollars; other regions differ by some percent.

Sources: the pricing pages of Lambda, Step Functions, API Gateway (HTTP APIs), DynamoDB (on demand), CloudWatch, S3,
ECR, Fargate and VPC (public IPv4), November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MICRO = 1_000_000
GIB = 1024**3
HOURS_A_MONTH = 730
SPOT_SHARE = 0.3
"""Spot's price moves; it has been about this share of the price on demand."""


@dataclass(frozen=True, slots=True)
class Price:
    """Of one thing that is metered.

    Attributes:
        of: its name in what was metered.
        title: what a person calls it.
        unit: what is counted.
        dollars: for `per` of them.
        free: of them in a month for every account, always.
    """

    of: str
    title: str
    unit: str
    dollars: float
    per: float = 1
    free: float = 0


def aws_prices(*, arm: bool) -> tuple[Price, ...]:
    """Every price that applies, for the functions' instruction set."""
    second = 0.0000133334 if arm else 0.0000166667
    vcpu, gib = (0.03238, 0.00356) if arm else (0.04048, 0.004445)
    return (
        Price("invocations", "Lambda requests", "requests", 0.20, MICRO, MICRO),
        Price("gib_seconds", "Lambda duration", "GB-seconds", second, 1, 400_000),
        Price("transitions", "Step Functions", "transitions", 25, MICRO, 4_000),
        Price("api_requests", "HTTP API", "requests", 1.00, MICRO),
        Price("write_units", "DynamoDB writes", "units", 0.625, MICRO),
        Price("read_units", "DynamoDB reads", "units", 0.125, MICRO),
        Price("log_gib", "CloudWatch Logs", "GB", 0.50, 1, 5),
        Price("stored_gib", "S3 storage", "GB-months", 0.023),
        Price("agent_vcpu_hours", "Fargate Spot, CPU", "vCPU-hours", vcpu * SPOT_SHARE),
        Price("agent_gib_hours", "Fargate Spot, memory", "GB-hours", gib * SPOT_SHARE),
        Price("address_hours", "Public IPv4", "hours", 0.005),
    )


def of_messages(a_day: int, agent_hours: float) -> dict[str, float]:
    """What a month of so many messages a day uses, each answered by the first provider (README, "What it costs").

    A turn: 6 transitions, 4 invocations of 0.4 s and 4 s of waiting for the provider, 14 requests to DynamoDB.
    The agent has 1 vCPU and 2 GB.
    """
    turns = 30 * a_day
    return {
        "invocations": 4 * turns,
        "gib_seconds": 0.5 * (4 * 0.4 + 4) * turns,
        "transitions": 6 * turns,
        "api_requests": turns,
        "write_units": 16 * turns,
        "read_units": 8 * turns,
        "log_gib": 4096 * turns / GIB,
        "agent_vcpu_hours": agent_hours,
        "agent_gib_hours": 2 * agent_hours,
        "address_hours": agent_hours,
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing cost: before, and after what every account has free. In millionths of a dollar."""

    price: Price
    amount: float
    gross: float
    net: float


def costs(metered: Mapping[str, float], prices: Sequence[Price]) -> list[Cost]:
    """What everything that was metered cost; what was not used is left out."""
    found = []
    for price in prices:
        amount = metered.get(price.of, 0)
        if amount:
            each = price.dollars / price.per * MICRO
            found.append(Cost(price, amount, amount * each, max(0, amount - price.free) * each))
    return found

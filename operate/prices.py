"""What AWS charges for what was metered. List prices of us-east-1 in dollars; other regions differ by some percent.

The one table: for what a stack used (`operate cost`) and for what the local cloud counted (docs/cost.md). Each price
has its source, as of `AS_OF`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AS_OF = "November 2026"
MICRO = 1_000_000
GIB = 1024**3
HOURS_A_MONTH = 730
SPOT_SHARE = 0.3
"""Spot's price moves: 50 to 70 % less than on demand (Fargate's pricing page); this is its best."""

_AWS = "https://aws.amazon.com/"


@dataclass(frozen=True, slots=True)
class Price:
    """Of one thing that is metered.

    Attributes:
        of: its name in what was metered.
        title: what a person calls it.
        unit: what is counted.
        dollars: for `per` of them.
        free: of them in a month for every account, always.
        source: the page that says so.
    """

    of: str
    title: str
    unit: str
    dollars: float
    per: float = 1
    free: float = 0
    source: str = ""


def aws_prices(*, arm: bool) -> tuple[Price, ...]:
    """Every price that applies, for the functions' instruction set."""
    second = 0.0000133334 if arm else 0.0000166667
    vcpu, gib = (0.03238, 0.00356) if arm else (0.04048, 0.004445)
    return (
        Price("invocations", "Lambda requests", "requests", 0.20, MICRO, MICRO, _AWS + "lambda/pricing/"),
        Price("gib_seconds", "Lambda duration", "GB-seconds", second, 1, 400_000, _AWS + "lambda/pricing/"),
        Price("transitions", "Step Functions", "transitions", 25, MICRO, 4_000, _AWS + "step-functions/pricing/"),
        Price("api_requests", "HTTP API", "requests", 1.00, MICRO, 0, _AWS + "api-gateway/pricing/"),
        Price("rule_events", "EventBridge rules", "events", 0, MICRO, 0, _AWS + "eventbridge/pricing/"),
        Price(
            "reminders", "EventBridge Scheduler", "invocations", 1.00, MICRO, 14 * MICRO, _AWS + "eventbridge/pricing/"
        ),
        Price("write_units", "DynamoDB writes", "units", 0.625, MICRO, 0, _AWS + "dynamodb/pricing/"),
        Price("read_units", "DynamoDB reads", "units", 0.125, MICRO, 0, _AWS + "dynamodb/pricing/"),
        Price("table_gib", "DynamoDB storage", "GB-months", 0.25, 1, 25, _AWS + "dynamodb/pricing/"),
        Price(
            "table_backup_gib", "DynamoDB point-in-time recovery", "GB-months", 0.20, 1, 0, _AWS + "dynamodb/pricing/"
        ),
        Price("key_requests", "KMS, for SSM's SecureStrings", "requests", 3.00, MICRO, 20_000, _AWS + "kms/pricing/"),
        Price("log_gib", "CloudWatch Logs", "GB", 0.50, 1, 5, _AWS + "cloudwatch/pricing/"),
        Price("log_stored_gib", "CloudWatch Logs, kept", "GB-months", 0.03, 1, 5, _AWS + "cloudwatch/pricing/"),
        Price("metrics", "CloudWatch metrics of our own", "metrics", 0.30, 1, 10, _AWS + "cloudwatch/pricing/"),
        Price("alarm_metrics", "CloudWatch alarms", "metrics", 0.10, 1, 10, _AWS + "cloudwatch/pricing/"),
        Price("dashboards", "CloudWatch dashboard", "dashboards", 3.00, 1, 3, _AWS + "cloudwatch/pricing/"),
        Price("traces", "X-Ray", "traces", 5.00, MICRO, 100_000, _AWS + "xray/pricing/"),
        Price("object_writes", "S3 writes", "requests", 5.00, MICRO, 0, _AWS + "s3/pricing/"),
        Price("object_reads", "S3 reads", "requests", 0.40, MICRO, 0, _AWS + "s3/pricing/"),
        Price("stored_gib", "S3 storage", "GB-months", 0.023, 1, 0, _AWS + "s3/pricing/"),
        Price("image_gib", "ECR, the agent's image", "GB-months", 0.10, 1, 0, _AWS + "ecr/pricing/"),
        Price(
            "agent_vcpu_hours", "Fargate Spot, CPU", "vCPU-hours", vcpu * SPOT_SHARE, 1, 0, _AWS + "fargate/pricing/"
        ),
        Price("agent_gib_hours", "Fargate Spot, memory", "GB-hours", gib * SPOT_SHARE, 1, 0, _AWS + "fargate/pricing/"),
        Price("address_hours", "Public IPv4", "hours", 0.005, 1, 0, _AWS + "vpc/pricing/"),
        Price("out_gib", "Data out", "GB", 0.09, 1, 100, _AWS + "ec2/pricing/on-demand/"),
    )


def of_messages(a_day: int, agent_hours: float) -> dict[str, float]:
    """What a month of so many messages a day uses, each answered by the first provider (docs/cost.md, rounded up).

    A turn: 5 transitions, 4 invocations of 0.4 s and 4 s of waiting for the provider, 14 requests to DynamoDB.
    The agent has 1 vCPU and 2 GB.
    """
    turns = 30 * a_day
    return {
        "invocations": 4 * turns,
        "gib_seconds": 0.5 * (4 * 0.4 + 4) * turns,
        "transitions": 5 * turns,
        "api_requests": turns,
        "write_units": 36 * turns,
        "read_units": 14 * turns,
        "log_gib": 4500 * turns / GIB,
        **of_agents(agent_hours),
    }


def agent_size(parameters: Mapping[str, str]) -> tuple[int, int]:
    """The size of an agent by a stack's parameters, in units of 1/1024 vCPU and in MiB; else the template's."""
    return int(parameters.get("AgentCpu") or 1024), int(parameters.get("AgentMemory") or 2048)


def prices_of(parameters: Mapping[str, str]) -> Sequence[Price]:
    """The prices for a stack's architecture."""
    return aws_prices(arm=parameters.get("Architecture", "arm64") == "arm64")


def of_agents(hours: float, cpu: int = 1024, memory: int = 2048) -> dict[str, float]:
    """What agents of a size (in units of 1/1024 vCPU, and MiB) use in so many hours, each with one address."""
    return {"agent_vcpu_hours": hours * cpu / 1024, "agent_gib_hours": hours * memory / 1024, "address_hours": hours}


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

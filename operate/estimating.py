"""What a month of a deployment costs, before there is anything to meter: from its parameters and its resources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from operate.prices import GIB, MICRO, Cost, agent_size, aws_prices, costs, of_agents, of_messages, prices_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MESSAGES_A_DAY = 100
AGENT_HOURS = 20
"""Of an agent in the month that is estimated: four sittings a day (docs/cost.md)."""

_IMAGE_GIB = 0.45
"""The agent's image in ECR, compressed (docs/cost.md)."""

_ALARM, _DASHBOARD = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"


@dataclass(frozen=True, slots=True)
class Month:
    """A month. Millionths of a dollar.

    Attributes:
        costs: of AWS, thing by thing, with `MESSAGES_A_DAY`.
        expected: together, after what every account has free; the models' free quotas answer everything.
        at_most: with everything used up that has a hard stop: the agents' hours, Claude's budget.
    """

    costs: Sequence[Cost]
    expected: float
    at_most: float


def month(parameters: Mapping[str, str], types: Iterable[str]) -> Month:
    """The month of a stack with these parameters and types of resources."""
    with_agent = bool(parameters.get("AgentImage")) and parameters.get("AgentMode", "auto") != "off"
    most = float(parameters.get("AgentHoursPerMonth") or 40) if with_agent else 0.0
    found = _costs(parameters, types, min(AGENT_HOURS, most))
    limit = sum(each.net for each in _costs(parameters, types, most))
    claude = float(parameters.get("ClaudeDollarsPerMonth") or 5) * MICRO
    return Month(found, sum(each.net for each in found), limit + claude)


def _costs(parameters: Mapping[str, str], types: Iterable[str], hours: float) -> list[Cost]:
    counted = Counter(types)
    used = {
        **of_messages(MESSAGES_A_DAY, 0),
        **of_agents(hours, *agent_size(parameters)),
        "alarm_metrics": counted[_ALARM],
        "dashboards": counted[_DASHBOARD],
        "image_gib": _IMAGE_GIB if parameters.get("AgentImage") else 0.0,
    }
    return costs(used, prices_of(parameters))


def storage(table_bytes: float, bucket_bytes: float) -> list[Cost]:
    """What a month of what is kept without a stack costs: tables with their point-in-time recovery, and the bucket."""
    tables = table_bytes / GIB
    used = {"table_gib": tables, "table_backup_gib": tables, "stored_gib": bucket_bytes / GIB}
    return costs(used, aws_prices(arm=True))

"""The functions' environment, as types: the only place that reads it. Each class is what one kind of function needs.

A field is the variable of the same name in upper case. A missing name is an error that says which; there is no
default for what the template sets.
"""

from __future__ import annotations

import math
import os
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING

from assistant.errors import SettingMissing

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """For what decides by the chain: what its owner sets of it."""

    claude_dollars_per_month: float
    carry_over: bool


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """For what works on turns."""

    conversations_table: str
    history_days: int


@dataclass(frozen=True, slots=True)
class WebhookSettings(ConversationSettings):
    """For the webhook."""

    runtime_table: str
    state_machine_arn: str
    secrets_path: str
    bot_username: str
    messages_per_minute: int


@dataclass(frozen=True, slots=True)
class ReminderSettings:
    """For what sets reminders: the group of their schedules, and ARNs of what those are made with."""

    reminder_group: str
    reminder_function: str
    reminder_role: str
    failure_queue: str


@dataclass(frozen=True, slots=True)
class HandingOverSettings:
    """For what hands commands over to functions of their own: those functions' names."""

    documents_function: str
    forget_function: str


@dataclass(frozen=True, slots=True)
class PreparationSettings(ConversationSettings):
    """For PrepareTurn and ReportFailure."""

    runtime_table: str


@dataclass(frozen=True, slots=True)
class WakingSettings:
    """For PrepareTurn and Webhook: the function that wakes an agent; empty where there is none."""

    start_agent_function: str


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """For what decides who answers: `agent_mode` is `auto`, `eager`, `always` or `off`.

    `agent_hours_per_month`: how long the agents of all chats may run.
    """

    agent_mode: str
    agent_hours_per_month: float


@dataclass(frozen=True, slots=True)
class AskSettings(ConversationSettings):
    """For the Ask functions. `provider_base_url`: asked instead of the chain's, if not empty."""

    runtime_table: str
    secrets_path: str
    history_messages: int
    stream_replies: bool
    tell_owner_function: str
    provider_base_url: str = ""
    telegram_api_url: str = "https://api.telegram.org"


@dataclass(frozen=True, slots=True)
class DeliverySettings(ConversationSettings):
    """For DeliverReply."""

    state_machine_arn: str
    secrets_path: str
    name_other_providers: bool
    telegram_api_url: str = "https://api.telegram.org"


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """For Sweep and TurnStopped."""

    conversations_table: str
    state_machine_arn: str


@dataclass(frozen=True, slots=True)
class FiringSettings(RecoverySettings):
    """For FireReminder."""

    runtime_table: str
    reminder_group: str


@dataclass(frozen=True, slots=True)
class DocumentSettings:
    """For SendDocument."""

    conversations_table: str
    runtime_table: str
    workspaces_bucket: str
    secrets_path: str
    telegram_api_url: str = "https://api.telegram.org"


@dataclass(frozen=True, slots=True)
class ForgettingSettings(RecoverySettings):
    """For ForgetChat. `agent_cluster` is empty without an agent."""

    runtime_table: str
    workspaces_bucket: str
    reminder_group: str
    agent_cluster: str
    secrets_path: str
    telegram_api_url: str = "https://api.telegram.org"


@dataclass(frozen=True, slots=True)
class AgentSettings(ConversationSettings):
    """For what deals with agents."""

    runtime_table: str


@dataclass(frozen=True, slots=True)
class TendingSettings(AgentSettings):
    """For what gives back the turns of agents that have ended."""

    tell_owner_function: str


@dataclass(frozen=True, slots=True)
class ShutDownSettings:
    """For ShutDownIdle. `agent_cluster` is empty without an agent."""

    runtime_table: str
    agent_cluster: str
    agent_idle_minutes: int
    agent_hours_per_month: float
    tell_owner_function: str


@dataclass(frozen=True, slots=True)
class BackUpSettings:
    """For BackUp."""

    runtime_table: str
    tell_owner_function: str


@dataclass(frozen=True, slots=True)
class WarmUpSettings:
    """For WarmUp. `warm_hours`: as WarmHours; `start_agent_function` is empty without an agent."""

    conversations_table: str
    runtime_table: str
    start_agent_function: str
    warm_hours: str


@dataclass(frozen=True, slots=True)
class StartAgentSettings(AgentSettings):
    """For StartAgent. Without an agent all but the mode are empty; `agent_subnets` are separated by commas."""

    agent_mode: str
    agent_hours_per_month: float
    agent_cluster: str
    agent_task_definition: str
    agent_subnets: str
    agent_security_group: str


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """For CorrectLedger. `provider_base_url`: asked instead of the chain's, if not empty."""

    runtime_table: str
    secrets_path: str
    provider_base_url: str = ""


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """For CollectSnapshots."""

    runtime_table: str
    workspaces_bucket: str


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """For TellOwner."""

    runtime_table: str
    secrets_path: str
    telegram_api_url: str = "https://api.telegram.org"


SETTINGS = (
    ChainSettings,
    WebhookSettings,
    ReminderSettings,
    HandingOverSettings,
    DocumentSettings,
    ForgettingSettings,
    PreparationSettings,
    LaneSettings,
    WakingSettings,
    AskSettings,
    DeliverySettings,
    RecoverySettings,
    FiringSettings,
    StartAgentSettings,
    TendingSettings,
    ShutDownSettings,
    BackUpSettings,
    WarmUpSettings,
    CorrectionSettings,
    CollectionSettings,
    NotificationSettings,
)


def from_environment[S](kind: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read the settings of a function.

    Args:
        kind: one of the classes above.
        environment: where to read them; by default the process's.

    Raises:
        SettingMissing: names the variable that is absent, or not of the kind that is wanted: a whole number, an amount,
            on or off.
    """
    source = os.environ if environment is None else environment
    values: dict[str, str | int | float | bool] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        name = field.name.upper()
        value = source.get(name)
        if value is None:
            if field.default is MISSING:
                raise SettingMissing(f"the environment variable {name} is not set")
            continue
        values[field.name] = _read(name, value, str(field.type))
    return kind(**values)


def _read(name: str, value: str, kind: str) -> str | int | float | bool:
    try:
        match kind:
            case "int":
                return int(value)
            case "float":
                return _amount(value)
            case "bool":
                return _SWITCH[value]
    except (ValueError, KeyError):
        raise SettingMissing(f"the environment variable {name} is not {_KINDS[kind]}") from None
    return value


def _amount(value: str) -> float:
    amount = float(value)
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError("not an amount")
    return amount


_SWITCH = {"on": True, "off": False}
_KINDS = {"int": "a whole number", "float": "an amount", "bool": "on or off"}

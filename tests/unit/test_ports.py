"""The adapters are what the rules ask for: the same methods with the same parameters."""

from __future__ import annotations

import inspect

import pytest

from assistant.observability import LogJournal
from assistant.providers.accounts import OpenRouterAccount
from assistant.providers.client import ProviderClient
from assistant.stores.access import DynamoAccess
from assistant.stores.activity import DynamoActivity
from assistant.stores.agents import DynamoAgents, DynamoAnsweringAgents
from assistant.stores.claims import DynamoClaims
from assistant.stores.conversations import DynamoConversations
from assistant.stores.errands import DynamoErrands, LambdaRunners
from assistant.stores.executions import StepFunctionsExecutions
from assistant.stores.hours import DynamoHours
from assistant.stores.inbox import DynamoInbox
from assistant.stores.ledger import DynamoLedger
from assistant.stores.owner import DynamoOwnerSettings, LambdaOwner
from assistant.stores.reminders import DynamoReminders
from assistant.stores.schedules import EventBridgeSchedules, ScheduleGroup
from assistant.stores.secrets import SsmSecrets
from assistant.stores.stops import DynamoStops
from assistant.stores.tasks import FargateFleet, FargateTasks, NoFleet
from assistant.stores.tokens import StepFunctionsTokens
from assistant.stores.turns import DynamoTurns
from assistant.stores.usage import DynamoUsage
from assistant.stores.wakers import LambdaWaker, NoWaker
from assistant.telegram.client import TelegramMessenger
from assistant.turns import ports
from assistant.wiring import SystemClock
from tests import doubles

ADAPTERS = [
    (ports.Clock, SystemClock),
    (ports.Clock, doubles.DrivenClock),
    (ports.Inbox, DynamoInbox),
    (ports.Access, DynamoAccess),
    (ports.Activity, DynamoActivity),
    (ports.Errands, DynamoErrands),
    (ports.Runners, LambdaRunners),
    (ports.Runners, doubles.ListedRunners),
    (ports.Conversations, DynamoConversations),
    (ports.Courier, TelegramMessenger),
    (ports.Courier, doubles.RecordedMessenger),
    (ports.Claims, DynamoClaims),
    (ports.Stops, DynamoStops),
    (ports.Turns, DynamoTurns),
    (ports.Reminders, DynamoReminders),
    (ports.Schedules, ScheduleGroup),
    (ports.NewSchedules, EventBridgeSchedules),
    (ports.NewSchedules, doubles.ListedSchedules),
    (ports.Ledger, DynamoLedger),
    (ports.UsageBook, DynamoUsage),
    (ports.Account, OpenRouterAccount),
    (ports.HoursBook, DynamoHours),
    (ports.OwnerSettings, DynamoOwnerSettings),
    (ports.Agents, DynamoAgents),
    (ports.AnsweringAgents, DynamoAnsweringAgents),
    (ports.Fleet, FargateFleet),
    (ports.Fleet, NoFleet),
    (ports.Waker, LambdaWaker),
    (ports.Waker, NoWaker),
    (ports.Waker, doubles.ListedWaker),
    (ports.Tasks, FargateTasks),
    (ports.TaskTokens, StepFunctionsTokens),
    (ports.Owner, LambdaOwner),
    (ports.Owner, doubles.ListedOwner),
    (ports.Executions, StepFunctionsExecutions),
    (ports.Executions, doubles.RecordedExecutions),
    (ports.Secrets, SsmSecrets),
    (ports.Secrets, doubles.PlainSecrets),
    (ports.LanguageModel, ProviderClient),
    (ports.LanguageModel, doubles.ScriptedModel),
    (ports.Messenger, TelegramMessenger),
    (ports.Messenger, doubles.RecordedMessenger),
    (ports.Journal, LogJournal),
    (ports.Journal, doubles.ListedJournal),
]


def methods(kind: type) -> dict[str, list[tuple[str, inspect._ParameterKind]]]:
    """Public methods with the names and kinds of their parameters."""
    return {
        name: [(parameter.name, parameter.kind) for parameter in inspect.signature(method).parameters.values()]
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("port", "adapter"), ADAPTERS)
def test_an_adapter_has_every_method_of_its_port(port: type, adapter: type) -> None:
    offered = methods(adapter)

    assert {name: offered.get(name) for name in methods(port)} == methods(port)


def test_every_port_has_an_adapter() -> None:
    declared = {
        name for name, kind in vars(ports).items() if isinstance(kind, type) and kind.__module__ == ports.__name__
    }

    assert declared == {port.__name__ for port, _ in ADAPTERS}

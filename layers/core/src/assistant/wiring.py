"""The composition root: the only module that names concrete adapters.

Adapters are imported where they are put together, not at the top: what the webhook imports, a user waits for, and it
needs no HTTP client (80 ms).
"""
# ruff: noqa: PLC0415, ANN401

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from assistant import settings
from assistant.errors import SettingMissing
from assistant.observability import LogJournal, logger
from assistant.stores.claims import DynamoClaims
from assistant.stores.dynamodb import Table
from assistant.stores.executions import StepFunctionsExecutions
from assistant.turns.chain import load_chain
from assistant.turns.waking import Recovery, Sweeping, Waking

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from assistant.providers.protocol import WireProtocol
    from assistant.providers.vendors import Vendor
    from assistant.stores.agents import DynamoAgents
    from assistant.stores.hours import DynamoHours
    from assistant.stores.ledger import DynamoLedger
    from assistant.stores.owner import LambdaOwner
    from assistant.stores.secrets import SsmSecrets
    from assistant.stores.tokens import StepFunctionsTokens
    from assistant.stores.turns import DynamoTurns
    from assistant.telegram.client import TelegramMessenger
    from assistant.turns.accepting import Acceptance
    from assistant.turns.agents import StartAgent
    from assistant.turns.asking import Asking
    from assistant.turns.chain import Chain, Provider
    from assistant.turns.controlling import Controlling
    from assistant.turns.correcting import Correction
    from assistant.turns.delivering import Delivery
    from assistant.turns.errands import CarryingOut, HandingOver, Runner
    from assistant.turns.failing import FailureReport
    from assistant.turns.firing import Firing
    from assistant.turns.lanes import AgentMode
    from assistant.turns.notifying import Notification
    from assistant.turns.ports import Clock, Tasks, Waker
    from assistant.turns.preparing import Preparation
    from assistant.turns.reminding import Reminding
    from assistant.turns.reporting import Reporting
    from assistant.turns.stopping import Stopping
    from assistant.turns.tending import AgentStopped, BackUp, ShutDownIdle, SweepingAgents
    from assistant.turns.warming import WarmUp
    from assistant.workspace.collecting import Collection

_AWS = Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
"""Two tries fit into the shortest function timeout, 10 s; the state machine has its own."""

_ECS = Config(connect_timeout=1, read_timeout=8, retries={"total_max_attempts": 1})
"""RunTask finds a place for the task before it answers. A try on Spot and one on demand fit into StartAgent's timeout;
asking again is the state machine's, and harmless."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return time.time()


_clock: Clock = SystemClock()


def install_clock(clock: Clock) -> None:
    """Use another clock from now on. Called by a runtime before the first event, and by nobody in AWS."""
    global _clock  # noqa: PLW0603 (one clock a process is what a clock is)
    _clock = clock


def clock() -> Clock:
    """This process's clock, for another composition root."""
    return _clock


def entry_point[**P](
    handle: Callable[..., Any], *builders: Callable[[], Any]
) -> Callable[[str], Callable[[Any, Any], Any]]:
    """The `__getattr__` of a function's module: makes `handler` when Lambda's runtime looks it up.

    The runtime does so in the init phase, so what `builders` put together is ready before the first event, with the
    CPU that AWS lends to the init phase; and importing the module reads nothing and connects to nothing.

    Args:
        handle: called with the event and what the builders made.
        builders: make what the handler needs.
    """

    @cache
    def handler() -> Callable[[Any, Any], Any]:
        parts = [build() for build in builders]

        def handler(event: Any, _context: Any) -> Any:
            return handle(event, *parts)

        return logger.inject_lambda_context(handler, clear_state=True)

    def lookup(name: str) -> Callable[[Any, Any], Any]:
        if name != "handler":
            raise AttributeError(name)
        return handler()

    return lookup


def acceptance() -> Acceptance:
    """What the webhook does with a message."""
    from assistant.stores.access import DynamoAccess
    from assistant.stores.inbox import DynamoInbox
    from assistant.turns.accepting import Acceptance

    needs = settings.from_environment(settings.WebhookSettings)
    # What a report, a reminder or a file needs is missed now, not when one is asked for.
    settings.from_environment(settings.ChainSettings)
    settings.from_environment(settings.ReminderSettings)
    settings.from_environment(settings.HandingOverSettings)
    settings.from_environment(settings.WakingSettings)
    conversations = _table(needs.conversations_table)
    waking = Waking(DynamoClaims(conversations, _clock), _executions(needs.state_machine_arn))
    access = DynamoAccess(_table(needs.runtime_table), _clock)
    return Acceptance(
        access=access,
        inbox=DynamoInbox(conversations, _clock),
        waking=waking,
        messages_per_minute=needs.messages_per_minute,
        agents=settings.from_environment(settings.LaneSettings).agent_mode != "off",
        reporting=reporting,
        reminding=reminding,
        stopping=stopping,
        handing_over=handing_over,
        controlling=controlling,
    )


def reporting() -> Reporting:
    """What answers /usage and /providers."""
    from assistant.stores.usage import DynamoUsage
    from assistant.turns.reporting import Reporting

    table = settings.from_environment(settings.WebhookSettings).runtime_table
    usage = DynamoUsage(_table(table), _clock)
    return Reporting(_chain(), _ledger(table), usage, _clock, _hours_per_month() if _agent_mode() != "off" else None)


def reminding() -> Reminding:
    """What carries out /remind, /confirm, /reminders and /timezone."""
    from assistant.stores.inbox import DynamoInbox
    from assistant.stores.reminders import DynamoReminders
    from assistant.stores.schedules import EventBridgeSchedules
    from assistant.stores.turns import DynamoTurns
    from assistant.turns.reminding import Reminding

    needs = settings.from_environment(settings.WebhookSettings)
    made_with = settings.from_environment(settings.ReminderSettings)
    conversations = _table(needs.conversations_table)
    schedules = EventBridgeSchedules(
        client=_client("scheduler"),
        group=made_with.reminder_group,
        function=made_with.reminder_function,
        role=made_with.reminder_role,
        failures=made_with.failure_queue,
    )
    reminders = DynamoReminders(_table(needs.runtime_table), conversations, _clock)
    return Reminding(
        reminders=reminders,
        schedules=schedules,
        inbox=DynamoInbox(conversations, _clock),
        claims=DynamoClaims(conversations, _clock),
        turns=DynamoTurns(conversations, _clock, history_days=0),  # turns are read only
        clock=_clock,
    )


def handing_over() -> HandingOver:
    """What takes /files, /export and /forget in."""
    from assistant.stores.errands import DynamoErrands, LambdaRunners
    from assistant.stores.inbox import DynamoInbox
    from assistant.turns.errands import HandingOver

    functions = settings.from_environment(settings.HandingOverSettings)
    conversations = _table(settings.from_environment(settings.WebhookSettings).conversations_table)
    names: dict[Runner, str] = {
        "documents": functions.documents_function,
        "forgetting": functions.forget_function,
    }
    return HandingOver(
        errands=DynamoErrands(conversations, _clock),
        runners=LambdaRunners(_client("lambda"), names),
        inbox=DynamoInbox(conversations, _clock),
        clock=_clock,
        agents=settings.from_environment(settings.LaneSettings).agent_mode != "off",
    )


def sending_documents() -> CarryingOut:
    """What SendDocument does."""
    from assistant.stores.conversations import DynamoConversations
    from assistant.stores.errands import DynamoErrands
    from assistant.stores.snapshots import DynamoSnapshots
    from assistant.stores.workspaces import S3Blobs
    from assistant.turns.errands import CarryingOut
    from assistant.turns.exporting import Exporting
    from assistant.workspace.archive import Archive
    from assistant.workspace.browsing import Browsing

    needs = settings.from_environment(settings.DocumentSettings)
    conversations, snapshots = _table(needs.conversations_table), DynamoSnapshots(_table(needs.runtime_table))
    s3 = _s3()
    browse = Browsing(lambda chat: Archive(chat, S3Blobs(s3, needs.workspaces_bucket, chat), snapshots), _clock)
    export = Exporting(DynamoConversations(conversations, _clock), _clock)
    return CarryingOut(
        errands=DynamoErrands(conversations, _clock),
        messenger=_messenger(_http(), needs.telegram_api_url, _secrets(needs.secrets_path)),
        work=lambda asked, errand: (browse if errand.kind == "files" else export)(asked, errand),
    )


def forgetting() -> CarryingOut:
    """What ForgetChat does."""
    from assistant.stores.conversations import DynamoConversations
    from assistant.stores.errands import DynamoErrands
    from assistant.stores.reminders import DynamoReminders
    from assistant.stores.schedules import ScheduleGroup
    from assistant.stores.snapshots import DynamoSnapshots
    from assistant.stores.tasks import FargateFleet, NoFleet
    from assistant.stores.workspaces import S3Shelves
    from assistant.turns.errands import CarryingOut
    from assistant.workspace.collecting import Collection
    from assistant.workspace.forgetting import Forgetting

    needs = settings.from_environment(settings.ForgettingSettings)
    conversations, runtime = _table(needs.conversations_table), _table(needs.runtime_table)
    errands = DynamoErrands(conversations, _clock)
    forget = Forgetting(
        errands=errands,
        conversations=DynamoConversations(conversations, _clock),
        reminders=DynamoReminders(runtime, conversations, _clock),
        schedules=ScheduleGroup(_client("scheduler"), needs.reminder_group),
        agents=_agents(needs.runtime_table),
        tokens=_tokens(),
        fleet=FargateFleet(_client("ecs"), needs.agent_cluster) if needs.agent_cluster else NoFleet(),
        collection=Collection(S3Shelves(_s3(), needs.workspaces_bucket), DynamoSnapshots(runtime), _clock),
        waking=Waking(DynamoClaims(conversations, _clock), _executions(needs.state_machine_arn)),
    )
    messenger = _messenger(_http(), needs.telegram_api_url, _secrets(needs.secrets_path))
    return CarryingOut(errands, messenger, forget)


def firing() -> Firing:
    """What FireReminder does."""
    from assistant.stores.access import DynamoAccess
    from assistant.stores.reminders import DynamoReminders
    from assistant.stores.schedules import ScheduleGroup
    from assistant.turns.firing import Firing

    needs = settings.from_environment(settings.FiringSettings)
    conversations, runtime = _table(needs.conversations_table), _table(needs.runtime_table)
    return Firing(
        reminders=DynamoReminders(runtime, conversations, _clock),
        schedules=ScheduleGroup(_client("scheduler"), needs.reminder_group),
        access=DynamoAccess(runtime, _clock),
        waking=Waking(DynamoClaims(conversations, _clock), _executions(needs.state_machine_arn)),
    )


def stopping() -> Stopping:
    """What answers /stop."""
    from assistant.stores.stops import DynamoStops
    from assistant.turns.stopping import StateOfAgent, Stopping

    needs = settings.from_environment(settings.WebhookSettings)
    conversations = _table(needs.conversations_table)
    waking = Waking(DynamoClaims(conversations, _clock), _executions(needs.state_machine_arn))
    agent = StateOfAgent(_agents(needs.runtime_table), _tokens()) if _agent_mode() != "off" else None
    return Stopping(_turns(needs), DynamoStops(conversations, _clock), waking, agent)


def controlling() -> Controlling:
    """What answers /status, /wake and /sleep."""
    from assistant.stores.wakers import LambdaWaker
    from assistant.turns.controlling import Controlling
    from assistant.turns.hours import hours

    table = settings.from_environment(settings.WebhookSettings).runtime_table
    function = settings.from_environment(settings.WakingSettings).start_agent_function
    waker = LambdaWaker(_client("lambda"), function, logger.warning)
    ledger, limit = _ledger(table), _hours_per_month()
    return Controlling(
        agents=_agents(table),
        waker=waker,
        mode=_agent_mode(),
        hours=lambda: hours(ledger.entries(), limit, _clock.now()),
        clock=_clock,
    )


def webhook_secret() -> Callable[[], str]:
    """Gives the secret that Telegram sends along."""
    secrets = _secrets(settings.from_environment(settings.WebhookSettings).secrets_path)
    return lambda: secrets.read("telegram-webhook-secret")


def bot_username() -> str:
    """The bot's name without `@`."""
    return settings.from_environment(settings.WebhookSettings).bot_username


def preparation() -> Preparation:
    """What PrepareTurn does."""
    from assistant.turns.preparing import Preparation

    needs = settings.from_environment(settings.PreparationSettings)
    claims = DynamoClaims(_table(needs.conversations_table), _clock)
    return Preparation(
        claims=claims,
        turns=_turns(needs),
        ledger=_ledger(needs.runtime_table),
        agents=_agents(needs.runtime_table),
        chain=_chain(),
        mode=_agent_mode(),
        agent_hours=_hours_per_month(),
        clock=_clock,
        waker=_waker(),
    )


def asking(provider_id: str) -> Callable[[], Asking]:
    """What the Ask function of a provider does."""

    def build() -> Asking:
        from assistant.providers.client import ProviderClient
        from assistant.stores.usage import DynamoUsage
        from assistant.turns.asking import Asking
        from assistant.turns.metering import Metering

        needs = settings.from_environment(settings.AskSettings)
        chain, http = _chain(), _http()
        provider = chain.provider(provider_id)
        secrets = _secrets(needs.secrets_path)
        asked_of = vendor(provider, http, needs.provider_base_url.rstrip("/"))
        return Asking(
            provider=provider,
            timeouts=chain.timeouts,
            model=ProviderClient(provider, protocol(provider), asked_of, http, chain.timeouts, _clock),
            turns=_turns(needs),
            metering=Metering(
                provider=provider,
                ledger=_ledger(needs.runtime_table),
                usage=DynamoUsage(_table(needs.runtime_table), _clock),
                secrets=secrets,
                owner=_owner(needs.tell_owner_function),
                clock=_clock,
            ),
            messenger=_messenger(http, needs.telegram_api_url, secrets),
            journal=LogJournal(last=chain.providers[-1].id),
            clock=_clock,
            history_messages=needs.history_messages,
            history_days=needs.history_days,
            stream=needs.stream_replies,
        )

    return build


def delivery() -> Delivery:
    """What DeliverReply does."""
    from assistant.turns.delivering import Delivery

    needs = settings.from_environment(settings.DeliverySettings)
    messenger = _messenger(_http(), needs.telegram_api_url, _secrets(needs.secrets_path))
    claims = DynamoClaims(_table(needs.conversations_table), _clock)
    names = {provider.id: provider.name for provider in load_chain().providers} if needs.name_other_providers else {}
    return Delivery(claims, _turns(needs), _executions(needs.state_machine_arn), messenger, _clock, names)


def failure_report() -> FailureReport:
    """What ReportFailure does."""
    from assistant.turns.failing import FailureReport

    needs = settings.from_environment(settings.PreparationSettings)
    return FailureReport(_turns(needs), _ledger(needs.runtime_table), _chain(), _clock)


def recovery() -> Recovery:
    """What TurnStopped does, and Sweep with each chat."""
    needs = settings.from_environment(settings.RecoverySettings)
    claims = DynamoClaims(_table(needs.conversations_table), _clock)
    return Recovery(claims, _executions(needs.state_machine_arn), _clock)


def sweeping() -> Sweeping:
    """What Sweep does."""
    needs = settings.from_environment(settings.RecoverySettings)
    return Sweeping(DynamoClaims(_table(needs.conversations_table), _clock), recovery())


def sweeping_agents() -> SweepingAgents:
    """What Sweep does with the agents."""
    from assistant.turns.tending import AgentRecovery, SweepingAgents

    agents = _agents(settings.from_environment(settings.TendingSettings).runtime_table)
    return SweepingAgents(agents, AgentRecovery(agents, agent_stopped(), _clock))


def start_agent() -> StartAgent:
    """What StartAgent does."""
    from assistant.turns.agents import StartAgent
    from assistant.turns.hours import AgentHours

    needs = settings.from_environment(settings.StartAgentSettings)
    return StartAgent(
        agents=_agents(needs.runtime_table),
        turns=_turns(needs),
        tasks=_tasks(needs),
        tokens=_tokens(),
        stopped=agent_stopped(),
        hours=AgentHours(_hours_book(needs.runtime_table), needs.agent_hours_per_month, _clock),
        clock=_clock,
    )


def agent_stopped() -> AgentStopped:
    """What AgentStopped does, and Sweep with an agent that is gone."""
    from assistant.turns.tending import AgentStopped

    needs = settings.from_environment(settings.TendingSettings)
    return AgentStopped(
        agents=_agents(needs.runtime_table),
        turns=_turns(needs),
        tokens=_tokens(),
        owner=_owner(needs.tell_owner_function),
        hours=_hours_book(needs.runtime_table),
    )


def shut_down_idle() -> ShutDownIdle:
    """What ShutDownIdle does."""
    from assistant.stores.tasks import FargateFleet, NoFleet
    from assistant.turns.hours import AgentHours, KeepingHours
    from assistant.turns.tending import ShutDownIdle

    needs = settings.from_environment(settings.ShutDownSettings)
    fleet = FargateFleet(_client("ecs"), needs.agent_cluster) if needs.agent_cluster else NoFleet()
    agents = _agents(needs.runtime_table)
    hours = AgentHours(_hours_book(needs.runtime_table), needs.agent_hours_per_month, _clock)
    keep_hours = KeepingHours(hours, agents, fleet, _owner(needs.tell_owner_function))
    return ShutDownIdle(agents, fleet, keep_hours, _clock, needs.agent_idle_minutes * 60)


def back_up() -> BackUp:
    """What BackUp does."""
    from assistant.turns.tending import BackUp

    needs = settings.from_environment(settings.BackUpSettings)
    return BackUp(_agents(needs.runtime_table), _owner(needs.tell_owner_function), _clock)


def warm_up() -> WarmUp:
    """What WarmUp does."""
    from assistant.stores.activity import DynamoActivity
    from assistant.stores.wakers import LambdaWaker
    from assistant.turns import warming

    needs = settings.from_environment(settings.WarmUpSettings)
    activity = DynamoActivity(_table(needs.conversations_table), _table(needs.runtime_table))
    waker = LambdaWaker(_client("lambda"), needs.start_agent_function, logger.warning)
    return warming.WarmUp(warming.parse(needs.warm_hours), activity, waker, _clock)


def correction(provider_id: str) -> Callable[[], Correction]:
    """What CorrectLedger does with a provider."""

    def build() -> Correction:
        from assistant.providers.accounts import OpenRouterAccount
        from assistant.turns.correcting import Correction

        needs = settings.from_environment(settings.CorrectionSettings)
        provider = _chain().provider(provider_id)
        base_url = needs.provider_base_url.rstrip("/") or provider.base_url
        account = OpenRouterAccount(_http(), base_url, _clock)
        return Correction(provider, _ledger(needs.runtime_table), _secrets(needs.secrets_path), account)

    return build


def collection() -> Collection:
    """What CollectSnapshots does."""
    from assistant.stores.snapshots import DynamoSnapshots
    from assistant.stores.workspaces import S3Shelves
    from assistant.workspace.collecting import Collection

    needs = settings.from_environment(settings.CollectionSettings)
    shelves = S3Shelves(_client("s3"), needs.workspaces_bucket)
    return Collection(shelves, DynamoSnapshots(_table(needs.runtime_table)), _clock)


def notification() -> Notification:
    """What TellOwner does."""
    from assistant.stores.owner import DynamoOwnerSettings
    from assistant.turns.notifying import Notification

    needs = settings.from_environment(settings.NotificationSettings)
    messenger = _messenger(_http(), needs.telegram_api_url, _secrets(needs.secrets_path))
    return Notification(DynamoOwnerSettings(_table(needs.runtime_table)), messenger)


@cache
def _client(service: str, config: Config = _AWS) -> Any:
    return boto3.client(service, config=config)  # type: ignore[call-overload]


def _s3() -> Any:
    from assistant.stores.workspaces import CONFIG

    return _client("s3", Config(connect_timeout=2, read_timeout=20, retries={"mode": "standard"}, **CONFIG))


def _table(name: str) -> Table:
    return Table(_client("dynamodb"), name)


def _chain() -> Chain:
    needs = settings.from_environment(settings.ChainSettings)
    return load_chain().with_settings(dollars_per_month=needs.claude_dollars_per_month, carry_over=needs.carry_over)


def _owner(function: str) -> LambdaOwner:
    from assistant.stores.owner import LambdaOwner

    return LambdaOwner(_client("lambda"), function, logger.warning)


def _executions(state_machine_arn: str) -> StepFunctionsExecutions:
    return StepFunctionsExecutions(_client("stepfunctions"), state_machine_arn)


def _turns(needs: settings.ConversationSettings) -> DynamoTurns:
    from assistant.stores.turns import DynamoTurns

    return DynamoTurns(_table(needs.conversations_table), _clock, needs.history_days)


def _agents(runtime_table: str) -> DynamoAgents:
    from assistant.stores.agents import DynamoAgents

    return DynamoAgents(_table(runtime_table), _clock)


def _hours_book(runtime_table: str) -> DynamoHours:
    from assistant.stores.hours import DynamoHours

    return DynamoHours(_table(runtime_table), _clock)


def _hours_per_month() -> float:
    return settings.from_environment(settings.LaneSettings).agent_hours_per_month


def _agent_mode() -> AgentMode:
    from assistant.turns.lanes import AGENT_MODES

    wanted = settings.from_environment(settings.LaneSettings).agent_mode
    for mode in AGENT_MODES:
        if mode == wanted:
            return mode
    raise SettingMissing(f"the environment variable AGENT_MODE is not one of {', '.join(AGENT_MODES)}")


def _waker() -> Waker:
    from assistant.stores.wakers import LambdaWaker, NoWaker

    function = settings.from_environment(settings.WakingSettings).start_agent_function
    if not function or _agent_mode() != "eager":
        return NoWaker()
    return LambdaWaker(_client("lambda"), function, logger.warning)


def _tasks(needs: settings.StartAgentSettings) -> Tasks:
    from assistant.stores.tasks import FargateTasks, NoTasks

    if needs.agent_mode == "off":
        return NoTasks("the agent is switched off")
    if not needs.agent_cluster:
        return NoTasks("no agent is deployed")
    return FargateTasks(
        client=_client("ecs", _ECS),
        cluster=needs.agent_cluster,
        task_definition=needs.agent_task_definition,
        subnets=needs.agent_subnets.split(","),
        security_group=needs.agent_security_group,
        warn=logger.warning,
    )


def _tokens() -> StepFunctionsTokens:
    from assistant.stores.tokens import StepFunctionsTokens

    return StepFunctionsTokens(_client("stepfunctions"))


def _ledger(table: str) -> DynamoLedger:
    from assistant.stores.ledger import DynamoLedger

    return DynamoLedger(_table(table), _clock)


def _secrets(path: str) -> SsmSecrets:
    from aws_lambda_powertools.utilities.parameters.ssm import SSMProvider

    from assistant.stores.secrets import SsmSecrets

    return SsmSecrets(SSMProvider(boto3_client=_client("ssm")), path)


@cache
def _http() -> httpx.Client:
    import httpx

    # No connection is kept: one that died while Lambda had the process frozen fails only after the request was
    # written, and then nobody knows whether Telegram got it.
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))


def _messenger(http: httpx.Client, url: str, secrets: SsmSecrets) -> TelegramMessenger:
    from assistant.telegram.client import TelegramMessenger

    return TelegramMessenger(http, url.rstrip("/"), lambda: secrets.read("telegram-bot-token"))


def protocol(provider: Provider) -> WireProtocol:
    """How a provider is spoken to."""
    if provider.protocol == "anthropic-messages":
        from assistant.providers.anthropic_messages import AnthropicMessages

        return AnthropicMessages()
    from assistant.providers.openai_chat import OpenAIChat

    return OpenAIChat()


def vendor(provider: Provider, http: httpx.Client, base_url: str) -> Vendor:
    """The ways of a provider's vendor; `base_url`: asked instead of the chain's, if not empty."""
    from assistant.providers import vendors

    if provider.id == "copilot":
        return vendors.Copilot(http, provider.base_url, base_url)
    headers = vendors.OPENROUTER_HEADERS if provider.id == "openrouter" else {}
    return vendors.PlainVendor(base_url or provider.base_url, headers)

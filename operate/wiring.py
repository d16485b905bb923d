"""The composition root of the command line: one stack of one account, with everything that can be done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx

from assistant.stores.agents import DynamoAgents
from assistant.stores.claims import DynamoClaims
from assistant.stores.conversations import DynamoConversations
from assistant.stores.dynamodb import Table
from assistant.stores.executions import StepFunctionsExecutions
from assistant.stores.inbox import DynamoInbox
from assistant.stores.ledger import DynamoLedger
from assistant.stores.owner import DynamoOwnerSettings
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.turns import DynamoTurns
from assistant.stores.usage import DynamoUsage
from assistant.turns.chain import load_chain
from assistant.turns.exporting import Exporting
from assistant.turns.waking import Waking
from assistant.wiring import clock
from operate.asking import Asking
from operate.aws import Aws
from operate.bot import Bot
from operate.errors import MissingError
from operate.kept import Kept
from operate.keys import BOT_TOKEN
from operate.leaving import Leaving
from operate.log_lines import Logs
from operate.metering import Metering
from operate.operations import Operations
from operate.parameters import PATH, Parameters
from operate.redriving import Redriving
from operate.registry import Registry
from operate.stack import Stack, Stacks
from operate.tables import Chats, People
from operate.tools import Programs
from operate.workspaces import Workspaces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Chain
    from operate.settings import Settings
    from operate.tools import Runner

_LOG_GROUP = "LogGroup"


@dataclass
class Operator:
    """What the commands work with. Nothing is asked of AWS before it is needed."""

    settings: Settings
    aws: Aws = field(init=False)
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """Make the clients of AWS and of the web."""
        self.aws = Aws(self.settings.profile, self.settings.region)
        self.http = httpx.Client(timeout=httpx.Timeout(20, connect=4))

    def now(self) -> float:
        """Epoch seconds."""
        return clock().now()

    @cached_property
    def stacks(self) -> Stacks:
        """The stack, to be read."""
        return Stacks(lambda: self.aws.client("cloudformation"), self.settings.stack)

    @cached_property
    def stack(self) -> Stack:
        """The deployed stack. MissingError or StateError if it can't be used."""
        return self.stacks.deployed()

    @cached_property
    def parameters(self) -> Parameters:
        """The keys: where the stack says, or will say, that they are."""
        stack = self.stacks.find()
        path = PATH if stack is None else stack.parameters.get("SecretsPath", PATH)
        return Parameters(lambda: self.aws.client("ssm"), path)

    @cached_property
    def account(self) -> str:
        """The account's number."""
        return str(self.aws.client("sts").get_caller_identity()["Account"])

    @property
    def region(self) -> str:
        """The region that everything is asked in."""
        return str(self.aws.client("cloudformation").meta.region_name)

    @property
    def bot(self) -> Bot:
        """The bot, with the stored token.

        Raises:
            MissingError: no token is stored.
        """
        token = self.parameters.read(BOT_TOKEN.name)
        if token is None:
            missing = f"The parameter {self.parameters.path}{BOT_TOKEN.name} does not exist."
            raise MissingError(missing, "`python -m operate setup` asks for the bot's token.")
        return self.bot_of(token)

    def bot_of(self, token: str) -> Bot:
        """The bot of a token."""
        return Bot(self.http, self.settings.telegram_url, token.strip())

    @cached_property
    def chain(self) -> Chain:
        """The providers, with what the stack's parameters set of them."""
        stack = self.stacks.find()
        given: Mapping[str, str] = {} if stack is None else stack.parameters
        return load_chain().with_settings(
            dollars_per_month=float(given.get("ClaudeDollarsPerMonth") or 5), carry_over=given.get("CarryOver") == "on"
        )

    @property
    def asking(self) -> Asking:
        """Asks a provider."""
        stack = self.stacks.find()
        copilot = "" if stack is None else stack.parameters.get("CopilotBaseUrl", "")
        urls = {**({"copilot": copilot} if copilot else {}), **self.settings.base_urls}
        return Asking(self.http, self.chain, urls)

    @property
    def people(self) -> People:
        """Who may talk."""
        return People(self._table("RuntimeTableName"))

    @property
    def owner(self) -> DynamoOwnerSettings:
        """Who is told."""
        return DynamoOwnerSettings(self._table("RuntimeTableName"))

    @property
    def chats(self) -> Chats:
        """All chats."""
        return Chats(self._table("ConversationsTableName"))

    @property
    def ledger(self) -> DynamoLedger:
        """What may still be asked."""
        return DynamoLedger(self._table("RuntimeTableName"), clock())

    @property
    def usage(self) -> DynamoUsage:
        """What was used."""
        return DynamoUsage(self._table("RuntimeTableName"), clock())

    @property
    def redriving(self) -> Redriving:
        """Asks again what nobody answered."""
        table = self._table("ConversationsTableName")
        executions = StepFunctionsExecutions(self.aws.client("stepfunctions"), self.stack.output("TurnStateMachineArn"))
        return Redriving(
            inbox=DynamoInbox(table, clock()),
            turns=DynamoTurns(table, clock(), history_days=int(self.stack.parameters.get("HistoryDays") or 7)),
            waking=Waking(DynamoClaims(table, clock()), executions),
            clock=clock(),
        )

    @property
    def metering(self) -> Metering:
        """What was used of AWS."""
        return Metering(lambda: self.aws.client("cloudwatch"))

    @property
    def registry(self) -> Registry:
        """Where the agent's image is."""
        return Registry(lambda: self.aws.client("ecr"), f"{self.settings.stack}-agent")

    @property
    def operations(self) -> Operations:
        """Has CloudFormation work on the stack."""
        return Operations(lambda: self.aws.client("cloudformation"), self.settings.stack, self.settings.poll_s)

    @property
    def kept(self) -> Kept:
        """Looks at what a deleted stack has left."""
        return Kept(self.aws.client)

    @property
    def leaving(self) -> Leaving:
        """Takes away what a stack leaves behind."""
        return Leaving(self.aws.client, self.settings.poll_s)

    @cached_property
    def programs(self) -> Runner:
        """Other programs, for this account and region."""
        return Programs(self.settings.project, self.aws.environment)

    @property
    def workspaces(self) -> Workspaces:
        """What the agents keep.

        Raises:
            MissingError: this version of the stack has no bucket for it.
        """
        bucket = self.stacks.physical("WorkspacesBucket")
        if bucket is None:
            raise MissingError("The stack has no bucket for workspaces.", "Deploy this version: `make deploy`.")
        runtime = self._table("RuntimeTableName")
        return Workspaces(
            self.aws.client("s3"), bucket, DynamoSnapshots(runtime), DynamoAgents(runtime, clock()), clock()
        )

    @property
    def exporting(self) -> Exporting:
        """Exports conversations."""
        return Exporting(DynamoConversations(self._table("ConversationsTableName"), clock()), clock())

    def logs(self, function: str | None) -> Logs:
        """The lines of one function, or of everything.

        Raises:
            MissingError: there is no such function.
        """
        groups = {
            each.physical_id: each.logical_id.removesuffix(_LOG_GROUP)
            for each in self.stacks.resources()
            if each.type == "AWS::Logs::LogGroup"
        }
        if function is not None:
            wanted = {name: title for name, title in groups.items() if title.lower() == function.lower()}
            if not wanted:
                raise MissingError(
                    f"Nothing called {function} writes logs.", f"There are: {', '.join(groups.values())}"
                )
            groups = wanted
        return Logs(lambda: self.aws.client("logs"), groups)

    def close(self) -> None:
        """Let go of connections."""
        self.http.close()

    def _table(self, output: str) -> Table:
        client: Any = self.aws.client("dynamodb")
        return Table(client, self.stack.output(output))

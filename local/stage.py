"""The local cloud with its outside, set up for a person at a terminal: what the demo and the chat run on."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from local import agent_image
from local.clock import VirtualClock
from local.cloud import LocalCloud, LocalCloudError
from local.deployer import DeploymentError
from local.figures import ExecutionRecord, TurnRecord
from local.metering import Meter
from local.quota import ChainEntry, LedgerEntry, describe, read_chain
from local.sandbox import SandboxError
from local.simulators.outside import BOT_USERNAME, CONNECTIONS, Outside, real_keys
from local.template import TemplateError

PROJECT = Path(__file__).parents[1]
BUILD_DIR = PROJECT / ".aws-sam" / "build"
_CHAIN = Path("CoreLayer/python/assistant/chain.toml")
_HTTP_OK = 200


class StageError(Exception):
    """Something that the person can mend; the message says how."""


@dataclass(frozen=True)
class Stage:
    """A running local cloud.

    Attributes:
        cloud: The cloud.
        outside: Telegram and the providers.
        chain: The providers as the running code knows them.
    """

    cloud: LocalCloud
    outside: Outside
    chain: Sequence[ChainEntry]

    @property
    def clock(self) -> VirtualClock:
        """The virtual clock."""
        return self.cloud.clock

    def allow(self, user_id: int) -> None:
        """Put a person on the allow-list, as the owner does."""
        item = {"pk": {"S": "ALLOWED"}, "sk": {"S": str(user_id)}}
        self.cloud.client("dynamodb").put_item(TableName=self.cloud.resources["RuntimeTable"], Item=item)

    def write(self, chat_id: int, text: str) -> None:
        """Let a chat write a message, and carry out what the webhook answers.

        Raises:
            StageError: the webhook did not take it.
        """
        update = self.outside.updates.text(chat_id, text)
        status, answer = self.cloud.post_update(update)
        if status != _HTTP_OK:
            raise StageError(f"the webhook answered {status}; its log says:\n" + self.last_log("Webhook"))
        self.outside.telegram.perform(answer)

    def last_log(self, function: str, lines: int = 5) -> str:
        """The last lines of a function's log."""
        return "\n".join(list(self.cloud.logs(function))[-lines:])

    def turns(self) -> list[Mapping[str, Any]]:
        """All Turn items (docs/data-model.md). A scan: for the person who watches, never for the product."""
        pages = (
            self.cloud.client("dynamodb")
            .get_paginator("scan")
            .paginate(
                TableName=self.cloud.resources["ConversationsTable"],
                FilterExpression="begins_with(sk, :turn)",
                ExpressionAttributeValues={":turn": {"S": "TURN#"}},
            )
        )
        return [item for page in pages for item in page["Items"]]

    def turn_records(self) -> list[TurnRecord]:
        """All turns."""
        return [
            TurnRecord(
                status=item["status"]["S"],
                provider=item.get("provider", {}).get("S"),
                ambiguous=bool(item.get("ambiguous", {}).get("BOOL")),
                parks=int(item["parks"]["N"]),
            )
            for item in self.turns()
        ]

    def ms_per_transaction(self) -> float:
        """Mean milliseconds of a TransactWriteItems inside DynamoDB."""
        seconds = self.cloud.timings.get("TransactWriteItems", [])
        return 1000 * fmean(seconds) if seconds else 0.0

    def settle(self, deadline_s: float) -> bool:
        """Wait until nothing goes on any more, at most `deadline_s` real seconds; tell whether that is so."""
        try:
            self.cloud.wait_until_quiet(deadline_s)
        except TimeoutError:
            return False
        return True

    def execution_records(self) -> list[ExecutionRecord]:
        """All executions, in the order of their start."""
        return [
            ExecutionRecord(each.status == "SUCCEEDED", tuple(each.states), each.transitions)
            for each in self.cloud.executions()
        ]

    def quota_lines(self) -> list[str]:
        """What is left of each provider's quota."""
        return describe(self.chain, self.ledger(), self.clock.now())

    def ledger(self) -> dict[str, LedgerEntry]:
        """The ledger, by provider."""
        return {item["sk"]["S"]: _ledger_entry(item) for item in self._runtime_items("LEDGER")}

    def requests_booked(self) -> Counter[str]:
        """Requests in the usage of all days, by provider."""
        booked = Counter[str]()
        for item in self._runtime_items("USAGE"):
            booked[item["sk"]["S"].partition("#")[2]] += int(item["requests"]["N"])
        return booked

    def _runtime_items(self, partition: str) -> list[Mapping[str, Any]]:
        answer = self.cloud.client("dynamodb").query(
            TableName=self.cloud.resources["RuntimeTable"],
            KeyConditionExpression="pk = :partition",
            ExpressionAttributeValues={":partition": {"S": partition}},
        )
        return list(answer["Items"])


@contextmanager
def set_up(
    console: Console,
    *,
    start: float | None = None,
    build_dir: Path = BUILD_DIR,
    simulate_all: bool = False,
    agent_mode: str = "off",
    parameters: Mapping[str, str] | None = None,
    also_on: str = "",
    pretended: bool = False,
    meter: Meter | None = None,
) -> Iterator[Stage]:
    """Start the cloud; stop it and everything that it started at the end.

    Args:
        console: Where progress is shown.
        start: Virtual time at which to begin, epoch seconds; None for the real time.
        build_dir: Where `sam build` put the functions.
        simulate_all: Do not use real providers, even if the environment holds keys.
        agent_mode: When the agent answers (parameter `AgentMode`); `off` for no agent.
        parameters: Template parameters beside the bot's name.
        also_on: Another address to listen on.
        pretended: Let the agent's bridge run over a gateway that only pretends, which needs no Node.
        meter: Meters every request.

    Raises:
        StageError: there is no build, no OpenClaw for the agent, or the cloud can't start with it.
    """
    if not (build_dir / _CHAIN).is_file():
        raise StageError(f"there is no build in {build_dir}: run `make build` first")
    keys = {} if simulate_all else real_keys()
    cloud = LocalCloud(
        build_dir=build_dir,
        parameters={
            "BotUsername": BOT_USERNAME,
            **_agent_parameters(agent_mode, pretended=pretended),
            **(parameters or {}),
        },
        start=start,
        also_on=also_on,
        real_providers=frozenset(keys),
        images={agent_image.NAME: agent_image.pretended()} if pretended else None,
        meter=meter,
    )
    outside = Outside(cloud.clock, keys)
    cloud.secrets |= outside.secrets
    for prefix, simulator in outside.mounts.items():
        cloud.mount(prefix, simulator)
    introduce(console, outside)
    try:
        with console.status("starting the local cloud …"):
            _start(cloud)
        console.print(f"the local cloud started in {cloud.startup_s:.1f} s")
        yield Stage(cloud, outside, read_chain(build_dir / _CHAIN))
    finally:
        outside.close()
        cloud.stop()


def _start(cloud: LocalCloud) -> None:
    try:
        cloud.start()
    except (DeploymentError, LocalCloudError, SandboxError, TemplateError) as error:
        raise StageError(f"the local cloud can't start: {error}") from error


def _agent_parameters(mode: str, *, pretended: bool) -> dict[str, str]:
    if mode == "off":
        return {}
    if not pretended and not agent_image.is_installed():
        raise StageError("the agent needs Node and OpenClaw, which `make .node/.installed` puts into this folder")
    return {"AgentImage": agent_image.NAME, "AgentMode": mode}


def introduce(console: Console, outside: Outside) -> None:
    """Say what is simulated and what is not."""
    console.print(f"Telegram is simulated; so are {', '.join(outside.providers) or 'no providers'}.", highlight=False)
    for provider_id in outside.real_keys:
        variable = CONNECTIONS[provider_id].variable
        console.print(
            f"{variable} is set: [bold]{provider_id} is the real one[/bold], its quota is used"
            + (" and costs money." if provider_id == "anthropic" else ".")
        )


def _ledger_entry(item: Mapping[str, Any]) -> LedgerEntry:
    windows = {name: int(value["N"]) for name, value in item.items() if ":" in name}
    blocked_until = float(item.get("blocked_until", {}).get("N", 0))
    day_limit = int(item["day_limit"]["N"]) if "day_limit" in item else None
    return LedgerEntry(windows, blocked_until, item.get("block_cause", {}).get("S", ""), day_limit)

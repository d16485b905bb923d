"""The container's composition root: the only module of it that names concrete adapters."""

from __future__ import annotations

import contextlib
import os
import secrets as random_tokens
import socket
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from aws_lambda_powertools.utilities.parameters.ssm import SSMProvider
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from agent import openclaw_config, prepared_state, privileges
from agent.atomic_file import opened, write_inside
from agent.bridge import Bridge, Habits
from agent.gateway import Gateway, GatewaySettings
from agent.gateway_client import GatewayClient
from agent.life import ByItself, ForChat, live
from agent.local_http import LocalHttp
from agent.memory_ledger import MemoryLedger, MemoryUsage
from agent.openclaw import TERM_SECONDS, OpenClaw, nothing
from agent.relay import Relay
from agent.relay_call import RelayedTurn
from agent.relay_exchange import Upstream
from agent.safekeeping import Safekeeping
from agent.settings import AloneSettings, ChatSettings
from agent.spending import Spending
from agent.task_metadata import task_arn
from agent.threads import Threads
from assistant import wiring as product
from assistant.errors import SecretMissing
from assistant.observability import LogJournal, logger
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.stores.dynamodb import Table
from assistant.stores.ledger import DynamoLedger
from assistant.stores.owner import LambdaOwner
from assistant.stores.secrets import SsmSecrets
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.tokens import StepFunctionsTokens
from assistant.stores.turns import DynamoTurns
from assistant.stores.usage import DynamoUsage
from assistant.stores.workspaces import CONFIG, S3Blobs
from assistant.turns.agents import Generation, Mailbox
from assistant.turns.chain import load_chain
from assistant.workspace.backing_up import Backup
from assistant.workspace.databases import Databases
from assistant.workspace.manifest import STATE_FILES
from assistant.workspace.model import Root
from assistant.workspace.restoring import Places, Restoring
from assistant.workspace.scanning import Scanner
from assistant.workspace.transfers import Transfers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent.bridge import Log
    from agent.openclaw import RelayServer
    from agent.settings import PlaceSettings, Settings
    from assistant.turns.chain import Chain
    from assistant.turns.model import Notice
    from assistant.turns.ports import Clock, Ledger, Owner, Secrets, UsageBook

_AWS = Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
"""So that a call that is under way at the end does not outlive the process's 20 seconds."""

_S3 = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}, **CONFIG)
"""A backup or restore may take longer, but none of its requests."""

_THREADS = 6
_LOOPBACK = "127.0.0.1"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 (a container that runs by itself is asked from outside of it, with a token)


class EnvironmentSecrets:
    """The keys that the container was started with."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def read(self, name: str) -> str:
        """The key; SecretMissing if there is none."""
        try:
            return self._values[name]
        except KeyError:
            raise SecretMissing(f"no {name} in the environment") from None


class LogOwner:
    """An owner who reads the log."""

    def tell(self, notice: Notice) -> None:
        """Log the notice."""
        logger.warning("the owner has to act", notice=notice.kind, provider=notice.provider, reason=notice.reason)


@dataclass(slots=True)
class Requests:
    """Requests to AWS, by operation."""

    by_operation: dict[str, int] = field(default_factory=dict)

    def count(self, model: Any, **_: object) -> None:  # noqa: ANN401 (botocore's own)
        """Count one that is being sent: a handler of botocore's `before-call`."""
        self.by_operation[model.name] = self.by_operation.get(model.name, 0) + 1


@dataclass(frozen=True, slots=True)
class Books:
    """What the relay needs."""

    ledger: Ledger
    usage: UsageBook
    secrets: Secrets
    owner: Owner


async def run(settings: Settings, clock: Clock, stop: asyncio.Event) -> int:
    """Live the container's life; the exit status."""
    threads = Threads(_THREADS, "agent")
    try:
        if isinstance(settings.work, ChatSettings):
            return await _for_chat(settings, settings.work, clock, threads, stop)
        return await _by_itself(settings, settings.work, clock, threads, stop)
    finally:
        threads.close()


async def _for_chat(
    settings: Settings, needs: ChatSettings, clock: Clock, threads: Threads, stop: asyncio.Event
) -> int:
    logger.append_keys(chat_id=needs.chat_id, generation=needs.generation)
    if reason := privileges.not_separate(settings.place.agent_user):
        logger.warning("nothing keeps OpenClaw from our keys: it runs as our own user", reason=reason)
    requests = Requests()
    runtime = Table(_client("dynamodb", requests), needs.runtime_table)
    turns = DynamoTurns(Table(runtime.client, needs.conversations_table), clock, needs.history_days)
    books = Books(
        DynamoLedger(runtime, clock),
        DynamoUsage(runtime, clock),
        _ssm_secrets(needs, requests),
        _owner(needs, requests),
    )
    chain = load_chain().with_settings(dollars_per_month=needs.claude_dollars_per_month, carry_over=needs.carry_over)
    generation = Generation(needs.chat_id, needs.generation)
    blobs = S3Blobs(_client("s3", requests, _S3), needs.workspaces_bucket, needs.chat_id)
    kept = safekeeping(
        settings.place,
        generation,
        blobs,
        DynamoSnapshots(runtime),
        owner=books.owner,
        clock=clock,
        threads=threads,
        log=logger.info,
    )
    openclaw = assembled(settings, chain, books, clock, threads, prepare=kept.restore)
    mailbox = Mailbox(
        generation,
        DynamoAnsweringAgents(runtime, clock, turns),
        turns,
        StepFunctionsTokens(_client("stepfunctions", requests)),
        clock,
    )
    habits = Habits(needs.history_messages, needs.history_days, needs.idle_minutes * 60, lingers=needs.lingers)
    bridge = Bridge(mailbox, openclaw, kept, habits, clock=clock, threads=threads, log=logger.info)
    door = LocalHttp(openclaw, host=_LOOPBACK, port=settings.place.port)
    work = ForChat(bridge, lambda: threads(task_arn, needs.ecs_container_metadata_uri_v4))
    try:
        status = await live(work, openclaw, door, log=logger.info, stop=stop)
    finally:
        kept.stop()
    logger.info("ended", seconds=openclaw.seconds, requests=requests.by_operation, work=bridge.status())
    return status


async def _by_itself(
    settings: Settings, needs: AloneSettings, clock: Clock, threads: Threads, stop: asyncio.Event
) -> int:
    books = Books(MemoryLedger(clock), MemoryUsage(clock), EnvironmentSecrets(settings.keys), LogOwner())
    chain = load_chain().with_settings(dollars_per_month=needs.claude_dollars_per_month, carry_over=needs.carry_over)
    openclaw = assembled(settings, chain, books, clock, threads)
    first = next((each.id for each in chain.providers if each.secret in settings.keys), None)
    token = needs.bridge_auth_token or random_tokens.token_urlsafe(24)
    door = LocalHttp(
        openclaw,
        host=_EVERYWHERE,
        port=settings.place.port,
        token=token,
        turn=RelayedTurn(chat_id="local", user_id="", number=0, preferred=first),
        status=lambda: {"kept": "nothing"},
    )
    _announce(settings.place, None if needs.bridge_auth_token else token)
    return await live(ByItself(openclaw), openclaw, door, log=logger.info, stop=stop)


def assembled(
    settings: Settings,
    chain: Chain,
    books: Books,
    clock: Clock,
    threads: Threads,
    *,
    prepare: Callable[[], Awaitable[None]] = nothing,
) -> OpenClaw:
    """OpenClaw with its relay and gateway, not yet started; `prepare` is done before it is."""
    place, spending = settings.place, Spending(books.ledger)
    relay_token = random_tokens.token_urlsafe(32)
    relay = Relay(
        _upstreams(chain, settings.base_urls),
        chain.timeouts,
        ledger=spending,
        usage=books.usage,
        secrets=books.secrets,
        journal=LogJournal(last=chain.providers[-1].id),
        owner=books.owner,
        clock=clock,
        token=relay_token,
        port=place.relay_port,
    )
    return openclaw_with(
        gateway_settings(place, relay_token),
        relay,
        place,
        settings.inherited,
        chain=chain,
        spending=spending,
        prepare=prepare,
        warm=lambda: _warm(chain, books.secrets),
        threads=threads,
    )


def safekeeping(
    place: PlaceSettings,
    generation: Generation,
    blobs: S3Blobs,
    snapshots: DynamoSnapshots,
    *,
    owner: Owner,
    clock: Clock,
    threads: Threads,
    log: Log,
) -> Safekeeping:
    """What restores the chat's workspace and keeps it."""
    user = privileges.separate_user(place.agent_user)
    places = Places(place.workspace, place.state, os.getuid() if user is None else user)
    databases = Databases(places.owner, Path(place.temporary_folder))
    scanners = (
        Scanner(Root.WORKSPACE, place.workspace, places.owner, databases),
        Scanner(Root.STATE, place.state, places.owner, databases, only=STATE_FILES),
    )
    transfers = Transfers()
    restoring = Restoring(places, blobs, snapshots, transfers)
    return Safekeeping(
        generation.chat_id,
        lambda: restoring(generation.chat_id),
        lambda restored: Backup(
            generation,
            restored,
            scanners,
            databases,
            blobs=blobs,
            snapshots=snapshots,
            clock=clock,
            transfers=transfers,
        ),
        stop=transfers.stop,
        owner=owner,
        is_news=partial(snapshots.is_news, generation),
        clock=clock,
        threads=threads,
        log=log,
    )


def gateway_settings(place: PlaceSettings, relay_token: str) -> GatewaySettings:
    """What the gateway is started with."""
    return GatewaySettings(
        node=Path(place.node),
        openclaw=Path(place.openclaw),
        config=place.state / "openclaw.json",
        state=place.state,
        workspace=place.workspace,
        temporary=Path(place.temporary_folder),
        port=place.gateway_port or _free_port(),
        token=random_tokens.token_urlsafe(32),
        relay_token=relay_token,
        compile_cache=Path(place.compile_cache) if place.compile_cache else None,
        user=privileges.separate_user(place.agent_user),
    )


def openclaw_with(
    gateway: GatewaySettings,
    relay: RelayServer,
    place: PlaceSettings,
    inherited: Mapping[str, str],
    *,
    chain: Chain,
    spending: Spending,
    prepare: Callable[[], Awaitable[None]] = nothing,
    warm: Callable[[], None],
    threads: Threads,
    term_seconds: float = TERM_SECONDS,
) -> OpenClaw:
    """OpenClaw that asks that relay, not yet started."""
    return OpenClaw(
        gateway=Gateway(gateway, log=logger.info, environment=inherited),
        client=GatewayClient(gateway.url, gateway.token),
        relay=relay,
        spending=spending,
        configure=lambda relay_url: _configure(place, chain, gateway, relay_url),
        prepare=prepare,
        warm=warm,
        threads=threads,
        log=logger.info,
        term_seconds=term_seconds,
    )


def _configure(place: PlaceSettings, chain: Chain, gateway: GatewaySettings, relay_url: str) -> None:
    """Prepare the folders and write what OpenClaw reads.

    Raises:
        ConfigRefused: the user's file can't be used.
        OSError: a folder can't be written to.
    """
    _prepare(gateway)
    theirs = Path(place.openclaw_config).read_text("utf-8") if place.openclaw_config else "{}"
    config = openclaw_config.patched(
        openclaw_config.parse(theirs),
        chain,
        port=gateway.port,
        relay_url=relay_url,
        model=place.openclaw_model or None,
        workspace=str(gateway.workspace),
    )
    with opened(gateway.config.parent) as folder:
        write_inside(folder, gateway.config.name, openclaw_config.as_text(config).encode(), gateway.user)
    if place.prepared_state:
        prepared_state.put(Path(place.prepared_state), gateway.state, gateway.user)
    openclaw_config.write_agent_settings(gateway.state, gateway.user)
    openclaw_config.write_instructions(gateway.workspace, gateway.user)


def _prepare(gateway: GatewaySettings) -> None:
    """Make its folders, for the user that it runs as. A folder for temporary files that is there may be everybody's.

    The volume around the agent's folder, too: one that was mounted from a host may be closed to that user.
    """
    owned = [gateway.state, gateway.workspace.parent, gateway.workspace]
    owned += [] if gateway.temporary.exists() else [gateway.temporary]
    for path in dict.fromkeys([*owned, gateway.temporary]):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if gateway.user is not None and path in owned:
            os.chown(path, gateway.user, gateway.user)


def _warm(chain: Chain, secrets: Secrets) -> None:
    """Read the keys once: the secrets' own cache then has them. What is missing is found out when it is needed."""
    for provider in chain.providers:
        with contextlib.suppress(SecretMissing, BotoCoreError, ClientError):
            secrets.read(provider.secret)


def _upstreams(chain: Chain, base_urls: Mapping[str, str]) -> Sequence[Upstream]:
    http = httpx.Client()  # for Copilot to find out where to ask
    return [
        Upstream(
            provider,
            product.protocol(provider),
            product.vendor(provider, http, base_urls.get(provider.id, "").rstrip("/")),
        )
        for provider in chain.providers
    ]


def _client(service: str, requests: Requests, config: Config = _AWS) -> Any:  # noqa: ANN401
    client: Any = boto3.client(service, config=config)  # type: ignore[call-overload]
    client.meta.events.register("before-call", requests.count)
    return client


def _ssm_secrets(needs: ChatSettings, requests: Requests) -> SsmSecrets:
    return SsmSecrets(SSMProvider(boto3_client=_client("ssm", requests)), needs.secrets_path)


def _owner(needs: ChatSettings, requests: Requests) -> Owner:
    if not needs.tell_owner_function:
        return LogOwner()
    return LambdaOwner(_client("lambda", requests), needs.tell_owner_function, logger.warning)


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def _announce(place: PlaceSettings, made_token: str | None) -> None:
    """Say to whoever started the container what it is: without AWS, and with nothing kept."""
    lines = [
        "serverless-openclaw by itself, without AWS: nothing is kept. The conversation, the workspace and what was",
        "counted of the providers' limits are gone when this process ends.",
        f"""    curl -H "Authorization: Bearer $TOKEN" -d '{{"message": "Hello"}}' http://localhost:{place.port}/message""",
    ]
    if made_token is not None:
        lines.append(f"BRIDGE_AUTH_TOKEN is not set; the token of this start is {made_token}")
    if reason := privileges.not_separate(place.agent_user):
        lines.append(
            f"No separation: nothing keeps OpenClaw and its tools from the keys; they run as our own user ({reason})."
        )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()

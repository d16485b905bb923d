"""The container's environment, as types: read once, at the start, and here only.

A field is the variable of the same name in upper case, as in the functions' settings. With CHAT_ID or a table the
agent works for a chat of the assistant; with neither it runs by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.gateway import INHERITED
from assistant.errors import SettingMissing
from assistant.settings import from_environment
from assistant.turns.chain import load_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Provider

DEFAULT_PORT = 8080

_SIGNS_OF_A_CHAT = ("CHAT_ID", "GENERATION", "CONVERSATIONS_TABLE", "RUNTIME_TABLE")


@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """Where things are; the image sets what differs.

    Attributes:
        node: the Node program.
        openclaw: OpenClaw's `openclaw.mjs`.
        state_folder: OpenClaw's state.
        workspace_folder: a volume of its own; the agent's folder is in it.
        temporary_folder: its TMPDIR.
        compile_cache: Node's; empty for none.
        prepared_state: the folder of a state to begin with (`agent.prepared_state`); empty for none.
        openclaw_config: the user's own configuration; empty for none.
        openclaw_model: what is asked first instead of the chain's first; empty for that.
        gateway_port: on loopback; 0 for any that is free.
        relay_port: the same of the relay.
        agent_user: number of the user that OpenClaw runs as, and of its group; 0 for our own.
        port: of our own HTTP; 0 for any that is free.
    """

    node: str
    openclaw: str
    state_folder: str = "/state"
    workspace_folder: str = "/workspace"
    temporary_folder: str = "/tmp"  # noqa: S108 (a volume of the container's)
    compile_cache: str = ""
    prepared_state: str = ""
    openclaw_config: str = ""
    openclaw_model: str = ""
    gateway_port: int = 0
    relay_port: int = 0
    agent_user: int = 0
    port: int = DEFAULT_PORT

    @property
    def state(self) -> Path:
        """OpenClaw's state."""
        return Path(self.state_folder)

    @property
    def workspace(self) -> Path:
        """The agent's folder: one in the volume, so that a restore can put it in place by renaming."""
        return Path(self.workspace_folder) / "files"


@dataclass(frozen=True, slots=True)
class _PortSettings:
    port: int = DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """For an agent that works for a chat. The task definition sets these, and with each task the chat and generation.

    Attributes:
        workspaces_bucket: where snapshots of the workspace are.
        idle_minutes: without work, after which the agent stops.
        lingers: whether it stays longer in a chat that is busy.
        tell_owner_function: is invoked when a key is refused; empty to only log it.
        ecs_container_metadata_uri_v4: set by Fargate.
    """

    chat_id: str
    generation: int
    conversations_table: str
    runtime_table: str
    workspaces_bucket: str
    secrets_path: str
    history_messages: int
    history_days: int
    idle_minutes: int
    claude_dollars_per_month: float
    carry_over: bool
    lingers: bool = False
    tell_owner_function: str = ""
    ecs_container_metadata_uri_v4: str = ""


@dataclass(frozen=True, slots=True)
class AloneSettings:
    """For an agent that runs by itself. `bridge_auth_token`: what callers show; empty to have one made."""

    bridge_auth_token: str = field(default="", repr=False)
    claude_dollars_per_month: float = 5.0
    carry_over: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them.

    Attributes:
        place: where things are.
        work: for whom the agent works.
        keys: of providers, by the name of their secret; only for an agent that runs by itself.
        base_urls: where providers are asked instead of the chain's, by provider id.
        inherited: what OpenClaw gets of our environment.
    """

    place: PlaceSettings
    work: ChatSettings | AloneSettings
    keys: Mapping[str, str] = field(repr=False)
    base_urls: Mapping[str, str]
    inherited: Mapping[str, str]


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingMissing: names the variable that is absent or is not of its kind.
    """
    providers = load_chain().providers
    for_a_chat = any(name in environment for name in _SIGNS_OF_A_CHAT)
    work: ChatSettings | AloneSettings = (
        from_environment(ChatSettings, environment) if for_a_chat else from_environment(AloneSettings, environment)
    )
    keys = {} if for_a_chat else _found(environment, {each.secret: _variable(each, "API_KEY") for each in providers})
    if not for_a_chat and not keys:
        names = ", ".join(_variable(each, "API_KEY") for each in providers)
        raise SettingMissing(f"no provider's key is set; at least one is needed of {names}")
    return Settings(
        place=from_environment(PlaceSettings, environment),
        work=work,
        keys=keys,
        base_urls=_found(environment, {each.id: _variable(each, "BASE_URL") for each in providers}),
        inherited=_found(environment, {name: name for name in INHERITED}),
    )


def read_place(environment: Mapping[str, str]) -> PlaceSettings:
    """Where things are, alone; SettingMissing names what is absent."""
    return from_environment(PlaceSettings, environment)


def read_port(environment: Mapping[str, str]) -> int:
    """The port of our own HTTP, for the health check; SettingMissing if it is no number."""
    return from_environment(_PortSettings, environment).port


def _variable(provider: Provider, of: str) -> str:
    """`OLLAMA_API_KEY`, `OLLAMA_BASE_URL`: after the secret `ollama-api-key`."""
    return f"{provider.secret.removesuffix('-api-key').upper().replace('-', '_')}_{of}"


def _found(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[variable] for name, variable in variables.items() if environment.get(variable)}

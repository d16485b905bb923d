"""The real OpenClaw, as `make agent-test` installs it, with simulated providers: for tests marked `openclaw`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.atomic_file import write_private
from agent.gateway import GatewaySettings
from agent.openclaw_config import as_text, key_variable, patched, write_agent_settings, write_instructions
from assistant.turns.chain import Chain, load_chain
from local.simulators.outside import Outside
from local.simulators.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
PINS = ROOT / "container" / "openclaw"
INSTALLED = ROOT / ".node"
NODE = INSTALLED / "runtime" / "node_modules" / "node" / "bin" / "node"
OPENCLAW = INSTALLED / "openclaw" / "node_modules" / "openclaw" / "openclaw.mjs"
COMPILE_CACHE = INSTALLED / "compile-cache"
ANSWER = "The simulated answer, which no log may hold."
VALIDATION_TIMEOUT_S = 120


def pinned() -> tuple[str, str]:
    """The versions of Node and of OpenClaw that everything here is made for."""
    package = json.loads((PINS / "package.json").read_text("utf-8"))
    return package["engines"]["node"], package["dependencies"]["openclaw"]


@dataclass(frozen=True)
class SystemClock:
    """Real time, for the simulators."""

    def now(self) -> float:
        return time.time()


@dataclass(frozen=True)
class Providers:
    """The simulated providers, and the chain that leads to them."""

    outside: Outside
    chain: Chain

    @property
    def keys(self) -> dict[str, str]:
        return {key_variable(each): self.outside.secrets[each.secret] for each in self.chain.providers}

    def requests(self) -> list[str]:
        """Who was asked for an answer so far, one id for each request."""
        return [
            provider_id
            for provider_id, provider in self.outside.providers.items()
            for request in provider.requests
            if request.messages
        ]


@contextmanager
def simulated_providers() -> Iterator[Providers]:
    outside = Outside(SystemClock())
    for provider in outside.providers.values():
        provider.compose = lambda _: ANSWER
    with served(outside) as places:
        chain = load_chain()
        yield Providers(
            outside,
            replace(chain, providers=tuple(replace(each, base_url=places[each.id]) for each in chain.providers)),
        )


def settings_in(folder: Path, providers: Providers) -> GatewaySettings:
    """A gateway's folders and files, ready to start."""
    port = free_port()
    settings = GatewaySettings(
        node=NODE,
        openclaw=OPENCLAW,
        config=folder / "openclaw.json",
        state=folder / "state",
        workspace=folder / "workspace",
        temporary=folder / "tmp",
        port=port,
        token="token-of-this-boot-0123456789",
        keys=providers.keys,
        compile_cache=COMPILE_CACHE,
    )
    for path in (settings.state, settings.workspace, settings.temporary):
        path.mkdir()
    write_private(settings.config, as_text(patched({}, providers.chain, port=port, relay_url=None)))
    write_agent_settings(settings.state)
    write_instructions(settings.workspace)
    return settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def validated(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `openclaw config validate --json` says of a configuration."""
    file = folder / "openclaw.json"
    write_private(file, as_text(config))
    environment = {
        "PATH": f"{NODE.parent}{os.pathsep}{os.defpath}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "NODE_COMPILE_CACHE": str(COMPILE_CACHE),
        "OPENCLAW_STATE_DIR": str(folder),
        "OPENCLAW_CONFIG_PATH": str(file),
    }
    said = subprocess.run(
        [NODE, OPENCLAW, "config", "validate", "--json"],
        env=environment,
        capture_output=True,
        timeout=VALIDATION_TIMEOUT_S,
        check=False,
    )
    return dict(json.loads(said.stdout))

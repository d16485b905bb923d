"""Everything that stands outside AWS, put together: what a cloud mounts, and the secrets for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.simulators.anthropic import AnthropicSimulator
from local.simulators.copilot import CopilotSimulator
from local.simulators.faults import Fault
from local.simulators.limits import Clock
from local.simulators.ollama_cloud import OllamaCloudSimulator
from local.simulators.openrouter import OpenRouterSimulator
from local.simulators.provider import ProviderSimulator
from local.simulators.telegram import TelegramSimulator
from local.simulators.updates import UpdateFactory

TELEGRAM_PREFIX = "telegram"
BOT_USERNAME = "simulated_bot"
WEBHOOK_SECRET = "simulated-webhook-secret"  # noqa: S105 (it opens nothing)
_BOT_TOKEN = "7000000000:simulated-bot-token"  # noqa: S105 (it opens nothing)


@dataclass(frozen=True)
class Connection:
    """How the product reaches a provider.

    Attributes:
        function: Logical id of the function that asks it.
        secret: Name of its key among the secrets.
        variable: The variable in which a person keeps the real key.
        prefix: Where the simulator is mounted.
        base_path: What `PROVIDER_BASE_URL` has after the mount point.
        simulator: The simulator's class.
    """

    function: str
    secret: str
    variable: str
    prefix: str
    base_path: str
    simulator: type[ProviderSimulator]


CONNECTIONS: Mapping[str, Connection] = {
    "copilot": Connection("AskCopilot", "copilot-api-key", "COPILOT_API_KEY", "copilot", "", CopilotSimulator),
    "openrouter": Connection(
        "AskOpenRouter",
        "openrouter-api-key",
        "OPENROUTER_API_KEY",
        "openrouter",
        "/api/v1",
        OpenRouterSimulator,
    ),
    "ollama-cloud": Connection(
        "AskOllamaCloud", "ollama-api-key", "OLLAMA_API_KEY", "ollama", "/v1", OllamaCloudSimulator
    ),
    "anthropic": Connection("AskClaude", "anthropic-api-key", "ANTHROPIC_API_KEY", "anthropic", "", AnthropicSimulator),
}


@dataclass
class Outside:
    """Telegram and the providers, on one clock.

    Attributes:
        clock: The virtual clock.
        real_keys: Keys of the providers that are not simulated, by provider id.
        telegram: The simulated Telegram.
        updates: Builds the updates that its chats send.
        providers: The simulated providers, in the chain's order.
    """

    clock: Clock
    real_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make the simulators."""
        self.telegram = TelegramSimulator(self.clock, _BOT_TOKEN)
        self.updates = UpdateFactory(self.clock, message_ids=self.telegram.next_message_id, bot_username=BOT_USERNAME)
        self.providers: dict[str, ProviderSimulator] = {
            provider_id: connection.simulator(self.clock, _simulated_key(provider_id))
            for provider_id, connection in CONNECTIONS.items()
            if provider_id not in self.real_keys
        }
        copilot = self.providers.get("copilot")
        if isinstance(copilot, CopilotSimulator):
            # The product sends an editor's headers to GitHub only, not to a base URL that is set.
            copilot.editors_only = False

    @property
    def mounts(self) -> dict[str, Any]:
        """WSGI applications by path prefix."""
        providers = {CONNECTIONS[provider_id].prefix: each for provider_id, each in self.providers.items()}
        return {TELEGRAM_PREFIX: self.telegram, **providers}

    @property
    def secrets(self) -> dict[str, str]:
        """Values of the SSM parameters, by their last name."""
        keys = {
            connection.secret: self.real_keys.get(provider_id, _simulated_key(provider_id))
            for provider_id, connection in CONNECTIONS.items()
        }
        return {"telegram-bot-token": _BOT_TOKEN, "telegram-webhook-secret": WEBHOOK_SECRET, **keys}

    def order(self, provider_id: str, fault: Fault, times: int | None = None) -> None:
        """Order a fault from a simulated provider.

        Raises:
            ValueError: there is no such provider, it is not simulated, or its vendor has no such fault.
        """
        if provider_id in self.real_keys:
            raise ValueError(f"{provider_id} is the real one here and takes no orders")
        if provider_id not in self.providers:
            raise ValueError(f"no provider {provider_id!r}; there are {', '.join(CONNECTIONS)}")
        self.providers[provider_id].order(fault, times)

    def clear(self) -> None:
        """Forget all ordered faults."""
        self.telegram.clear()
        for provider in self.providers.values():
            provider.clear()

    def close(self) -> None:
        """Let go of every request that is kept waiting."""
        self.clear()


def real_keys() -> dict[str, str]:
    """The keys of real providers that the environment holds, by provider id. Never print them."""
    found = {provider_id: os.environ.get(each.variable, "") for provider_id, each in CONNECTIONS.items()}
    return {provider_id: key for provider_id, key in found.items() if key}


def _simulated_key(provider_id: str) -> str:
    return f"simulated-key-of-{provider_id}"

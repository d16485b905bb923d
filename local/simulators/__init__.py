"""Telegram and the four LLM providers, simulated on loopback.

Each simulator is a WSGI application. It enforces the vendor's real limits on the clock it is given, answers
with the vendor's real shapes, and says in every answer that it is simulated. Shapes cite their source; the
few that had to be made up are marked *invented*. Faults can be ordered from each
(`local.simulators.faults`).
"""

from local.simulators.anthropic import AnthropicSimulator
from local.simulators.copilot import CopilotSimulator
from local.simulators.faults import Fault, TelegramFault
from local.simulators.ollama_cloud import OllamaCloudSimulator
from local.simulators.openrouter import OpenRouterSimulator
from local.simulators.provider import ProviderSimulator
from local.simulators.telegram import TelegramSimulator
from local.simulators.updates import UpdateFactory

__all__ = [
    "AnthropicSimulator",
    "CopilotSimulator",
    "Fault",
    "OllamaCloudSimulator",
    "OpenRouterSimulator",
    "ProviderSimulator",
    "TelegramFault",
    "TelegramSimulator",
    "UpdateFactory",
]

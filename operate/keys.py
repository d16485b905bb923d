"""The keys there are: what each is for, where one gets it, and what one risks with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]{8,}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")
"""Telegram takes 1 to 256 (Bot API, setWebhook); a short one can be guessed."""

type Kind = Literal["bot", "secret", "provider"]


@dataclass(frozen=True, slots=True)
class Key:
    """One SecureString.

    Attributes:
        name: last part of the parameter's name.
        variable: of the environment, from which a script gives it.
        kind: what it opens: the bot, the webhook, or a provider.
        title: what a person calls it.
        where: how one comes by it.
        risk: what can go wrong for the person who sets it.
        provider: id in chain.toml.
    """

    name: str
    variable: str
    kind: Kind
    title: str
    where: str
    risk: str = ""
    provider: str = ""


BOT_TOKEN = Key(
    name="telegram-bot-token",
    variable="TELEGRAM_BOT_TOKEN",
    kind="bot",
    title="Telegram bot token",
    where="In Telegram write /newbot to @BotFather; it answers with a token such as 123456789:AA…",
    risk="Whoever has it reads and writes as the bot. /revoke at @BotFather makes a new one.",
)
WEBHOOK_SECRET = Key(
    name="telegram-webhook-secret",
    variable="TELEGRAM_WEBHOOK_SECRET",
    kind="secret",
    title="Webhook secret",
    where="Nothing to get: it is drawn at random. Telegram sends it along, so that nobody else can post messages.",
)
KEYS = (
    BOT_TOKEN,
    WEBHOOK_SECRET,
    Key(
        name="copilot-api-key",
        variable="COPILOT_API_KEY",
        kind="provider",
        provider="copilot",
        title="GitHub Copilot",
        where="Your GitHub OAuth token; or, sanctioned, a token with models:read for GitHub Models, and the stack's "
        "parameter CopilotBaseUrl=https://models.github.ai/inference.",
        risk="Copilot has no API for this: accounts have been suspended for scripted use. Leave it empty if in doubt; "
        "it is skipped then.",
    ),
    Key(
        name="openrouter-api-key",
        variable="OPENROUTER_API_KEY",
        kind="provider",
        provider="openrouter",
        title="OpenRouter",
        where="https://openrouter.ai/keys: 50 free requests a day, 1,000 once $10 have been bought.",
        risk="Free models may keep what they are sent for training (openrouter.ai/settings/privacy).",
    ),
    Key(
        name="ollama-api-key",
        variable="OLLAMA_API_KEY",
        kind="provider",
        provider="ollama-cloud",
        title="Ollama Cloud",
        where="https://ollama.com/settings/keys: a free plan, one request at a time, no published quota.",
    ),
    Key(
        name="anthropic-api-key",
        variable="ANTHROPIC_API_KEY",
        kind="provider",
        provider="anthropic",
        title="Claude",
        where="https://console.anthropic.com/settings/keys, with credit on the account.",
        risk="The only one that costs money; it is asked last, and at most for ClaudeDollarsPerMonth ($5). "
        "Set a spend limit in the console too.",
    ),
)
"""In the order in which they are asked for: that of the chain."""


def key(name: str) -> Key | None:
    """The key of that name."""
    return next((each for each in KEYS if each.name == name), None)


def malformed(wanted: Key, value: str) -> str | None:
    """What is wrong with a value before anybody is asked, in words without the value; None if nothing is."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        return "it holds a space or a character that no key has: copy it again"
    if wanted.kind == "bot" and not _TOKEN.fullmatch(value):
        return "a bot token looks like 123456789:AA…"
    if wanted.kind == "secret" and not _SECRET.fullmatch(value):
        return "a webhook secret has 16 to 256 of A-Z a-z 0-9 _ -"
    return None

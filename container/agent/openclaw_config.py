"""OpenClaw's configuration: what the user's file says, with the chain, the gateway and the savings put into it.

Run alone, `python -m agent.openclaw_config FILE`, it shows what the container would run with. What the keys mean is in
OpenClaw's configuration reference (version in container/openclaw/package.json); that it takes every one of
them is tested with the real program.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import json5

from agent.atomic_file import opened, opened_inside, write_inside
from agent.redaction import redacted
from assistant.providers.vendors import COPILOT_HEADERS, OPENROUTER_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Chain, Price, Provider

DEFAULT_PORT = 18789
"""OpenClaw's own."""

GATEWAY_TOKEN_VARIABLE = "OPENCLAW_GATEWAY_TOKEN"  # noqa: S105 (a name)
RELAY_TOKEN_VARIABLE = "OPENCLAW_RELAY_TOKEN"  # noqa: S105 (a name)

AGENT_SETTINGS = Path("agents/main/agent/settings.json")
"""Below the state folder. The place is undocumented: that OpenClaw reads it is tested with the pinned version."""

# A reference, not "${OPENCLAW_RELAY_TOKEN}": the token would be part of the configuration, which then would be another
# one at each start, for which OpenClaw does its migrations again (`agent.prepared_state`).
_RELAY_TOKEN = {"source": "env", "provider": "default", "id": RELAY_TOKEN_VARIABLE}

_INSTRUCTIONS = "AGENTS.md"

_API = {"openai-chat": "openai-completions", "anthropic-messages": "anthropic-messages"}
_VENDOR_HEADERS = {"copilot": COPILOT_HEADERS, "openrouter": OPENROUTER_HEADERS}
_AFTER_THE_RELAY_S = 5  # the relay's own time-out, which knows the reason, comes first

_REMOVED = (
    ("telegram",),
    ("channels", "telegram"),
    ("plugins", "entries", "telegram"),
    ("auth", "token"),
    ("llm", "apiKey"),
    ("llm", "model"),
    # What would put the gateway elsewhere than on loopback, without TLS and with the token of this boot.
    ("gateway", "auth"),
    ("gateway", "customBindHost"),
    ("gateway", "remote"),
    ("gateway", "tailscale"),
    ("gateway", "tls"),
)
_OF_EVERY_AGENT = ("model", "heartbeat")  # an agent's own would go before the chain, and before "no heartbeats"

_ALWAYS: dict[str, Any] = {
    "gateway": {
        "mode": "local",
        "bind": "loopback",
        "auth": {"mode": "token"},  # the token is in OPENCLAW_GATEWAY_TOKEN
        "reload": {"mode": "off"},  # the file is written anew at each start
    },
    "models": {"mode": "merge", "catalogRefresh": {"enabled": False}},
    "agents": {
        "defaults": {
            "heartbeat": {"every": "0m"},  # each is a request of somebody's quota
            "skipBootstrap": True,  # AGENTS.md is ours, and a third shorter
            "params": {"cacheRetention": "short"},
        }
    },
    # With OPENROUTER_API_KEY in the environment, a search makes OpenClaw install a plugin at boot: 80 seconds.
    "tools": {"web": {"search": {"enabled": False}}},
    "update": {"checkOnStart": False, "auto": {"enabled": False}},
    # One JSON object a line: answers are written to standard output, too, and have to be told from messages.
    "logging": {"consoleStyle": "json", "consoleLevel": "info", "level": "warn"},
}
_UNLESS_THE_USER_SAYS: dict[str, Any] = {
    # A task without an inbound port, which sleeps when nobody writes, has no use for these; each costs boot time.
    "gateway": {"controlUi": {"enabled": False}, "terminal": {"enabled": False}, "cliAgents": {"enabled": False}},
    "browser": {"enabled": False},
    "cron": {"enabled": False},
    "discovery": {"mdns": {"mode": "off"}},
    "telemetry": {"enabled": False},
    "memory": {"search": {"enabled": False}},  # wants a model for embeddings, which the chain has none of
    "plugins": {"enabled": True, "allow": ["memory-core"], "slots": {"memory": "memory-core"}},
    "agents": {"defaults": {"timeoutSeconds": 600}},
}


class ConfigRefused(Exception):
    """The user's file, or an option, can't be made into a configuration; the message says what to change."""


def parse(text: str) -> dict[str, Any]:
    """Read JSON5, which is what OpenClaw reads: comments, trailing commas, bare keys.

    Raises:
        ConfigRefused: it is neither JSON nor JSON5 (the message names the line), or no object.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = _parse_json5(text)
    if not isinstance(config, dict):
        raise ConfigRefused("the file holds no object: it has to begin with {")
    return config


def patched(
    config: Mapping[str, Any],
    chain: Chain,
    *,
    port: int,
    relay_url: str | None,
    model: str | None = None,
    workspace: str | None = None,
) -> dict[str, Any]:
    """The user's configuration, for this container. The argument stays as it is; doing it twice changes nothing more.

    Args:
        config: the user's file, as `parse` gives it.
        chain: the providers, in the order in which OpenClaw asks them.
        port: where the gateway listens, on loopback.
        relay_url: where the providers are asked, each below its id; None to ask them themselves, with the keys in the
            variables that `key_variable` names.
        model: what is asked first instead of the chain's first: a model of the chain, as `provider/model` or
            `model`; without a relay any `provider/model` of the chain's or the file's providers. By default the
            file's `llm.model`.
        workspace: the agent's folder; by default what the file says.

    Raises:
        ConfigRefused: `model` is none, or the file includes others (`$include`), which may hold anything.
    """
    _refuse_includes(config, "")
    clean = redacted(config).config
    for path in _REMOVED:
        _remove(clean, path)
    _remove_agents_own(clean)

    wanted = model if model is not None else _llm_model(config)
    primary = None if wanted is None else _reference(wanted, chain, clean, only_chain=relay_url is not None)
    providers = {each.id: _provider(each, chain, relay_url, primary) for each in chain.providers}
    result = _merged(_filled(clean, _UNLESS_THE_USER_SAYS), _ALWAYS)
    result["gateway"]["port"] = port
    result["models"]["providers"] = _section(result["models"].get("providers")) | providers
    defaults = result["agents"]["defaults"]
    defaults["model"] = _models(chain, primary)
    if workspace is not None:
        defaults["workspace"] = workspace
    return result


def removed_secrets(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the secrets in the user's file that `patched` leaves out. Their values are told to nobody."""
    return redacted(config).paths


def key_variable(provider: Provider) -> str:
    """The environment variable of a provider's key, where there is no relay: `OPENROUTER_API_KEY`."""
    return provider.secret.upper().replace("-", "_")


def as_text(config: Mapping[str, Any]) -> str:
    """As it is written to a file: plain JSON.

    Raises:
        ConfigRefused: something is in it that JSON5 can say and a JSON file can't: NaN, Infinity, half a character.
    """
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        text.encode()
    except UnicodeEncodeError:
        raise ConfigRefused("half a character (a lone surrogate) is in the file") from None
    except ValueError:
        raise ConfigRefused("NaN and Infinity are no settings") from None
    return text


def write_agent_settings(state: Path, owner: int | None = None) -> None:
    """Make OpenClaw ask a provider once: by default it repeats a 429 for 149 seconds before it falls back.

    Args:
        state: OpenClaw's folder; what is in it may be its doing, links included: none is followed.
        owner: the user that it runs as, if not ours.

    Raises:
        OSError: the file can't be written.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(opened(state))
        for name in AGENT_SETTINGS.parts[:-1]:
            folder = stack.enter_context(opened_inside(folder, name, owner))
        write_inside(folder, AGENT_SETTINGS.name, b'{"retry": {"provider": {"maxRetries": 0}}}\n', owner)


def write_instructions(workspace: Path, owner: int | None = None) -> None:
    """Put our AGENTS.md into a workspace that has none: a restored one keeps its own."""
    with opened(workspace) as folder:
        if _INSTRUCTIONS not in os.listdir(folder):  # noqa: PTH208 (a `Path` is no open folder)
            write_inside(folder, _INSTRUCTIONS, files("agent").joinpath(_INSTRUCTIONS).read_bytes(), owner)


def _parse_json5(text: str) -> object:
    try:
        return json5.loads(text)
    except ValueError as error:
        # "<string>:3 Unexpected "x" at column 7"; the rest of a message could quote the file.
        line, _, column = str(error).removeprefix("<string>:").partition(" ")
        where = f"line {line}" if line.isdigit() else "the end"
        at = column.rpartition(" at column ")[2]
        raise ConfigRefused(f"no JSON5: {where}" + (f", column {at}" if at.isdigit() else "")) from None
    except RecursionError:
        raise ConfigRefused("no JSON5: nested too deeply") from None


def _refuse_includes(value: object, path: str) -> None:
    if isinstance(value, dict):
        if "$include" in value:
            raise ConfigRefused(
                f'"$include" in {path or "the file"}: put the files together; others are not looked into'
            )
        for name, child in value.items():
            _refuse_includes(child, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _refuse_includes(child, f"{path}[{index}]")


def _llm_model(config: Mapping[str, Any]) -> str | None:
    model = _section(config.get("llm")).get("model")
    return model if isinstance(model, str) and model else None


def _reference(wanted: str, chain: Chain, config: Mapping[str, Any], *, only_chain: bool) -> str:
    """The full `provider/model` of what the user wants first."""
    for provider in chain.providers:
        if wanted in {provider.model, _ref(provider)}:
            return _ref(provider)
    known = {each.id for each in chain.providers} | set(_section(_section(config.get("models")).get("providers")))
    provider_id, slash, model = wanted.partition("/")
    if not only_chain and slash and model and provider_id in known:
        return wanted
    offered = ", ".join(map(_ref, chain.providers))
    raise ConfigRefused(f"no model {wanted!r} here; there are: {offered}")


def _ref(provider: Provider) -> str:
    return f"{provider.id}/{provider.model}"


def _models(chain: Chain, primary: str | None) -> dict[str, Any]:
    references = [_ref(provider) for provider in chain.providers]
    first = primary or references[0]
    return {"primary": first, "fallbacks": [each for each in references if each != first]}


def _provider(provider: Provider, chain: Chain, relay_url: str | None, primary: str | None) -> dict[str, Any]:
    if relay_url is None:
        place: dict[str, Any] = {"baseUrl": provider.base_url, "apiKey": f"${{{key_variable(provider)}}}"}
        if headers := _VENDOR_HEADERS.get(provider.id):
            place["headers"] = dict(headers)
    else:
        place = {"baseUrl": f"{relay_url.rstrip('/')}/{provider.id}", "apiKey": dict(_RELAY_TOKEN)}
    models = [provider.model]
    if primary is not None and primary.startswith(f"{provider.id}/"):
        models = list(dict.fromkeys([primary.removeprefix(f"{provider.id}/"), provider.model]))
    return place | {
        "api": _API[provider.protocol],
        "timeoutSeconds": math.ceil(chain.timeouts.total) + _AFTER_THE_RELAY_S,
        "models": [_model(provider, model) for model in models],
    }


def _model(provider: Provider, model: str) -> dict[str, Any]:
    return {
        "id": model,
        "name": provider.name,
        "reasoning": False,  # OpenClaw then asks for no thinking, which is output that is paid for
        "input": ["text"],
        "cost": _cost(provider.price),
        "contextWindow": provider.context_window,
        "maxTokens": provider.max_tokens,
    }


def _cost(price: Price) -> dict[str, float]:
    """US dollars per million tokens, in OpenClaw as in the chain."""
    return {"input": price.input, "output": price.output, "cacheRead": price.cached, "cacheWrite": price.written}


def _section(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both in a new object; where they meet, objects are merged and anything else is `over`'s."""
    result = dict(under)
    for name, value in over.items():
        result[name] = _merged(_section(under.get(name)), value) if isinstance(value, dict) else value
    return result


def _filled(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, with a default for what it does not say."""
    result = dict(config)
    for name, value in defaults.items():
        if isinstance(value, dict):
            result[name] = _filled(_section(config.get(name)), value)
        else:
            result.setdefault(name, value)
    return result


def _remove(config: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take out what is there, and every object that is empty without it."""
    *parents, name = path
    section = config
    for parent in parents:
        section = _section(section.get(parent))
    if name in section:
        del section[name]
        if parents and not section:
            _remove(config, tuple(parents))


def _remove_agents_own(config: dict[str, Any]) -> None:
    for entry in _section(_section(config.get("agents")).get("entries")).values():
        for name in _OF_EVERY_AGENT:
            _section(entry).pop(name, None)


if __name__ == "__main__":
    import sys

    from agent.openclaw_config_command import main

    sys.exit(main())

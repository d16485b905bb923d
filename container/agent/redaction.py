"""Which values of a user's configuration are secrets: told by the name of their key, or by their shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = {
    *("apikey", "authorization", "bearer", "cookie", "credential", "credentials", "passphrase", "passwd", "password"),
    *("pat", "secret", "secrets", "token", "tokens"),
}
_SECRET_PAIRS = {
    *(("access", "key"), ("api", "key"), ("api", "keys"), ("auth", "key"), ("basic", "auth"), ("client", "key")),
    *(("encrypt", "key"), ("encryption", "key"), ("pass", "word"), ("private", "key"), ("secret", "key")),
    *(("service", "account"), ("signing", "key")),
}
# `tokenFile` and `passwordEnv` say where a secret is, `tokenTtl` how long it lives.
_ABOUT_A_SECRET = {
    *("account", "budget", "count", "env", "expires", "field", "file", "id", "kind", "limit", "limits", "max", "min"),
    *("mode", "path", "profile", "provider", "source", "ttl", "type", "url", "variable"),
}
_COUNTED = re.compile(r"tokens?$", re.IGNORECASE)  # a number of that name counts tokens
_OPENCLAW_SECTION = "secrets"  # says where secrets are kept; holds none

_REFERENCE = re.compile(r"(?:(?:Bearer|Basic|token) )?\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SHAPES = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, OpenRouter
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\b[0-9]{6,12}:[A-Za-z0-9_-]{30,}"  # a Telegram bot
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # a JWT
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s@]+@"  # a URL with a password
)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A configuration without its secrets, and the paths (`a.b[0].c`) of those that were taken out."""

    config: dict[str, Any]
    paths: tuple[str, ...]


def redacted(config: Mapping[str, Any]) -> Redacted:
    """A copy of the configuration without any secret. What is below a name that is a secret's is secret too.

    References stay: `${VARIABLE}`, and OpenClaw's `{source, provider, id}` (its docs, "Secrets").
    """
    paths: list[str] = []
    copy = cast("dict[str, Any]", _without_secrets(dict(config), "", paths, secret=False))
    return Redacted(copy, tuple(paths))


def without_secret_shapes(text: str) -> str:
    """A line of text with `***` instead of whatever looks like a key."""
    return _SHAPES.sub("***", text)


def is_secret_name(name: str) -> bool:
    """Whether that name is a secret's: in camel case, in snake case, an HTTP header's or a variable's."""
    words = [word.lower() for word in _WORDS.findall(name)]
    pairs = set(pairwise(words))
    if words and words[-1] in _ABOUT_A_SECRET and tuple(words[-2:]) not in _SECRET_PAIRS:
        return False
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairs)


def _without_secrets(value: object, path: str, paths: list[str], *, secret: bool) -> object:
    match value:
        case dict():
            secret = secret and not _is_reference(value)
            children = [(name, f"{path}.{name}" if path else name, child) for name, child in value.items()]
            return {
                name: _without_secrets(child, where, paths, secret=inner)
                for name, where, child in children
                if not _taken(child, where, paths, secret=(inner := secret or _names_secret(name, where)))
            }
        case list():
            places = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
            return [
                _without_secrets(child, where, paths, secret=secret)
                for where, child in places
                if not _taken(child, where, paths, secret=secret)
            ]
    return value


def _names_secret(name: str, path: str) -> bool:
    return path != _OPENCLAW_SECTION and is_secret_name(name)


def _taken(value: object, path: str, paths: list[str], *, secret: bool) -> bool:
    match value:
        case str():
            taken = bool(value) and not _REFERENCE.fullmatch(value) and (secret or bool(_SHAPES.search(value)))
        case bool() | None | dict() | list():
            return False
        case _:
            taken = secret and not _COUNTED.search(path)
    if taken:
        paths.append(path)
    return taken


def _is_reference(value: dict[str, Any]) -> bool:
    return value.get("source") in {"env", "file", "exec"} and isinstance(value.get("id"), str)

"""What the command line is told by its options, the environment and samconfig.toml, in that order."""

from __future__ import annotations

import os
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parents[1]
STACK = "serverless-openclaw"
BASE_URLS = {
    "copilot": "COPILOT_BASE_URL",
    "openrouter": "OPENROUTER_BASE_URL",
    "ollama-cloud": "OLLAMA_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
}
"""Variables that name another place for a provider, as the container's do."""

POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the stack is, and where the services are.

    Attributes:
        base_urls: by provider id, where they are not the chain's.
        docker_build_flags: further flags of `docker build`, as `make image` takes them.
        debug: show the traceback of a mistake in this program.
        poll_s: seconds between two looks at what CloudFormation does.
    """

    stack: str = STACK
    region: str | None = None
    profile: str | None = None
    telegram_url: str = "https://api.telegram.org"
    base_urls: Mapping[str, str] = field(default_factory=dict)
    project: Path = PROJECT
    docker_build_flags: tuple[str, ...] = ()
    debug: bool = False
    poll_s: float = POLL_SECONDS


def read(
    stack: str | None, region: str | None, profile: str | None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings; an option counts before the environment, and that before what `sam deploy --guided` wrote.

    Raises:
        UsageError: samconfig.toml or DOCKER_BUILD_FLAGS can't be read.
    """
    source = os.environ if environment is None else environment
    project = Path(source.get("OPERATE_PROJECT", PROJECT))
    written = _samconfig(project / "samconfig.toml")
    return Settings(
        stack=stack or source.get("STACK_NAME") or written.get("stack_name") or STACK,
        region=region or source.get("AWS_REGION") or source.get("AWS_DEFAULT_REGION") or written.get("region"),
        profile=profile or source.get("AWS_PROFILE") or written.get("profile"),
        telegram_url=source.get("TELEGRAM_API_URL", "https://api.telegram.org").rstrip("/"),
        base_urls={each: source[name].rstrip("/") for each, name in BASE_URLS.items() if source.get(name)},
        project=project,
        docker_build_flags=_flags(source.get("DOCKER_BUILD_FLAGS", "")),
        debug=bool(source.get("OPERATE_DEBUG")),
        poll_s=float(source.get("OPERATE_POLL_SECONDS") or POLL_SECONDS),
    )


def _flags(written: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(written))
    except ValueError as error:
        raise UsageError("DOCKER_BUILD_FLAGS can't be read.", f"It is split as a shell would: {error}.") from None


def _samconfig(path: Path) -> dict[str, str]:
    """The stack's name, region and profile as SAM reads them: a command's own before the global ones."""
    try:
        written: dict[str, Any] = tomllib.loads(path.read_text("utf-8")).get("default", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise UsageError("samconfig.toml can't be read.", str(error)) from None
    parameters = {
        **written.get("global", {}).get("parameters", {}),
        **written.get("deploy", {}).get("parameters", {}),
    }
    return {name: str(value) for name, value in parameters.items() if name in {"stack_name", "region", "profile"}}

"""The command `python -m agent.openclaw_config`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.atomic_file import write_private
from agent.openclaw_config import DEFAULT_PORT, ConfigRefused, as_text, parse, patched, removed_secrets
from assistant.turns.chain import load_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

DIFFERS = 1
NO_FILE = 3
REFUSED = 4

_DESCRIPTION = """\
Make OpenClaw's configuration for the agent from your own file.

What is set: the gateway's port, on loopback with a token; the four providers of the chain (chain.toml) with their
models and prices, the first as primary and the others as fallbacks; prompt caching; no heartbeats and no web search.
What is left out: auth.token, llm.apiKey, the telegram section, every other secret. A value like ${OPENAI_API_KEY}
is no secret and stays. Everything else stays as you wrote it."""

_EPILOG = """\
examples:
  python -m agent.openclaw_config ~/.openclaw/openclaw.json                     show what the agent would run with
  python -m agent.openclaw_config my.json5 --output openclaw.json               write it (mode 0600, at once)
  python -m agent.openclaw_config my.json5 --model anthropic/claude-sonnet-5    ask Claude first
  openclaw config validate --json                                               what OpenClaw itself thinks of it

exit status: 0 done, 1 --check found differences, 2 wrong options, 3 a file can't be read or written,
4 the file is no configuration"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = parse(_read(options.file))
        result = patched(config, load_chain(), port=options.port, relay_url=options.relay, model=options.model)
        text = as_text(result)
        for path in removed_secrets(config):
            _say(f"left out, as it looks like a secret: {path}")
        if options.check:
            return _checked(options.file, same=config == result)
        _write(text, options.output)
    except ConfigRefused as error:
        _say(f"{options.file}: {error}")
        return REFUSED
    except UnicodeDecodeError:
        _say(f"{options.file}: the file is not UTF-8")
        return REFUSED
    except OSError as error:
        _say(f"{error.filename or options.file}: {error.strerror}")
        return NO_FILE
    return 0


def _checked(file: Path, *, same: bool) -> int:
    if not same:
        _say(f"{file} is not what this command would write")
    return 0 if same else DIFFERS


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        write_private(output, text)


def _read(path: Path) -> str:
    return sys.stdin.read() if path == Path("-") else path.read_text("utf-8")


def _say(message: str) -> None:
    sys.stderr.write(f"openclaw_config: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.openclaw_config",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="your openclaw.json (JSON or JSON5); - for standard input"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write; by default standard output")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="N", help=f"the gateway's port; by default {DEFAULT_PORT}"
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="ask this one first; by default the file's llm.model, then the chain's"
    )
    parser.add_argument(
        "--relay", metavar="URL", help="ask the providers through the relay there, with its token instead of their keys"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say by the exit status whether FILE is already so"
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:  # noqa: PLR2004 (what a port is)
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port

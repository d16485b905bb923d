"""`logs`: what the functions wrote."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from operate.commands import session
from operate.errors import UsageError
from operate.log_lines import follow, pattern

if TYPE_CHECKING:
    from operate.log_lines import Line

_SPAN = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_POLL_SECONDS = 2.0
_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_KNOWN = frozenset({"level", "message", "timestamp", "service", "location", "cold_start", "function_name",
                    "function_memory_size", "function_arn", "function_request_id", "xray_trace_id"})  # fmt: skip
"""Fields that every line has, and nobody reads."""


def logs(
    context: typer.Context,
    words: Annotated[str | None, typer.Argument(help="Only messages that hold this, such as `fallback`.")] = None,
    chat: Annotated[str | None, typer.Option(help="Only lines of this chat.")] = None,
    turn: Annotated[int | None, typer.Option(help="Only lines of this turn; with --chat.")] = None,
    function: Annotated[str | None, typer.Option(help="Only this function's, such as AskClaude.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 90s, 15m, 2h, 3d.")] = "1h",
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what the functions logged: ids and figures, never what anybody wrote.

    Examples: `logs -f` · `logs fallback --since 1d` · `logs --chat 123456789 --turn 17`

    With --json each line is an object. Without words, chat or turn, Lambda's own lines are shown too.
    """
    run = session.of(context)
    if turn is not None and chat is None:
        raise UsageError("A turn's number counts within its chat.", "Add --chat.")
    start = int((run.operator.now() - _span(since)) * 1000)
    read = run.operator.logs(function)
    wanted = pattern(_quotable(chat), turn, _quotable(words))
    for line in follow(read, start, wanted, _waits if following else _ends):
        if "_aws" in line.fields and not run.output.as_json:  # a metric, in CloudWatch's embedded format
            continue
        run.output.line({"at": _moment(line).isoformat(), "from": line.group, **_shown(line)}, _text(line))


def _ends() -> bool:
    return False


def _waits() -> bool:
    time.sleep(_POLL_SECONDS)
    return True


def _span(text: str) -> int:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no span of time.", "Write 90s, 15m, 2h or 3d.")
    return int(match[1]) * _SECONDS[match[2]]


def _quotable(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[\w ,.:#-]+", text):
        raise UsageError(f"{text!r} can't be searched for.", "Letters, digits, blanks and , . : # - can.")
    return text


def _moment(line: Line) -> datetime:
    return datetime.fromtimestamp(line.at / 1000, UTC)


def _shown(line: Line) -> dict[str, object]:
    if not line.fields:
        return {"text": line.text}
    return {name: value for name, value in line.fields.items() if name not in _KNOWN or name == "message"}


def _text(line: Line) -> Text:
    at = Text.assemble((f"{_moment(line):%d %b %H:%M:%S} ", "dim"), (f"{line.group:<14} ", "cyan"))
    if not line.fields:
        return at.append(line.text, style="dim")
    shown = _shown(line)
    at.append(str(shown.pop("message", "")), style=_STYLES.get(str(line.fields.get("level")), "bold"))
    return at.append("".join(f"  {name}={value}" for name, value in shown.items()), style="dim")

"""The command line: its options, its commands, and the boundary at which every error becomes a sentence."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from assistant.errors import AssistantError
from operate import settings
from operate.aws import translated
from operate.commands import deploy, destroy, doctor, logs, looking, people, redrive, setup, webhook, workspace
from operate.commands.session import Session
from operate.errors import INTERRUPTED, UNEXPECTED, OperateError, UsageError
from operate.output import Output
from operate.wiring import Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP = """Run the assistant in your own AWS account: set its keys, deploy it, look after it, take it down.

First: `setup`, `deploy`, then write to the bot and `allow` the id that it answers with. Later: `doctor` when
something seems wrong, `status`, `usage` and `cost` now and then.

The options below may stand before or after the command. Exit codes: 0 well · 1 something is wrong with what is
deployed · 2 the command can't be understood · 3 credentials · 4 it does not exist · 5 a service refuses · 6 a service
can't be reached · 7 the stack's state forbids it · 130 Ctrl-C.
"""
_ANYWHERE = {"--json": 0, "--stack": 1, "--region": 1, "--profile": 1}
"""Options of the whole program, with the number of their values."""

app = typer.Typer(
    name="operate",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("setup")(setup.setup)
app.command("deploy")(deploy.deploy)
app.command("doctor")(doctor.doctor)
app.command("status")(looking.status)
app.command("usage")(looking.usage)
app.command("cost")(looking.cost)
app.command("logs")(logs.logs)
app.command("allow")(people.allow)
app.command("deny")(people.deny)
app.command("redrive")(redrive.redrive)
app.add_typer(webhook.app, name="webhook")
app.add_typer(workspace.app, name="workspace")
app.command("export")(workspace.export)
app.command("destroy")(destroy.destroy)


@app.callback()
def options(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object on stdout.")] = False,
    stack: Annotated[str | None, typer.Option(help="The stack's name.", show_default=settings.STACK)] = None,
    region: Annotated[str | None, typer.Option(help="AWS region.", show_default="the configuration's")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the AWS CLI.", show_default="the default")] = None,
) -> None:
    """Options of every command."""
    operator = Operator(settings.read(stack, region, profile))
    context.call_on_close(operator.close)
    context.obj = Session(operator, Output(as_json=as_json))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; None for the process's own.

    Returns:
        The exit code; see `operate.errors`.
    """
    given = hoisted(list(sys.argv[1:] if arguments is None else arguments))
    output = Output(as_json="--json" in given)
    try:
        code = app(given, prog_name="python -m operate", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 (no traceback reaches a user)
        return _ended(error, output)
    except KeyboardInterrupt:
        output.say("stopped")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def hoisted(arguments: list[str]) -> list[str]:
    """The arguments with the program's own options before the command, wherever they stood."""
    own: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
            break
        name, equals, _ = argument.partition("=")
        if name not in _ANYWHERE:
            rest.append(argument)
            continue
        own.append(argument)
        if _ANYWHERE[name] and not equals:
            own += [value for value in [next(left, None)] if value is not None]
    return own + rest


def _ended(error: Exception, output: Output) -> int:
    """Say why it ended; the exit code."""
    if isinstance(error, BrokenPipeError):  # `… | head`: nobody reads any more, and Python would complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, typer.Abort):
        output.say("stopped")
        return INTERRUPTED
    if type(error).__name__ == "NoArgsIsHelpError":
        output.say(str(error))
        return UsageError.code
    ours = _ours(error)
    if ours is None:
        return _unexpected(error, output)
    output.fail(ours)
    return ours.code


def _ours(error: Exception) -> OperateError | None:
    if isinstance(error, OperateError):
        return error
    if isinstance(error, (BotoCoreError, ClientError)):
        return translated(error)
    if isinstance(error, AssistantError):
        return OperateError(f"{error}.")
    if hasattr(error, "format_message"):  # typer's own copy of click has errors of its own
        return UsageError(error.format_message(), "`--help` says what there is.")
    return None


def _unexpected(error: Exception, output: Output) -> int:
    what = f"This is a mistake in the program: {type(error).__name__}."
    output.fail(OperateError(what, "OPERATE_DEBUG=1 shows where; please report that."))
    if os.environ.get("OPERATE_DEBUG"):
        traceback.print_exception(error)
    return UNEXPECTED

"""`destroy`: the assistant taken down, with or without what it remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from operate.commands import session
from operate.deploying import removal
from operate.errors import UnreachableError, UsageError
from operate.keys import KEYS
from operate.output import table

if TYPE_CHECKING:
    from operate.commands.session import Session
    from operate.deploying import Removal


def destroy(
    context: typer.Context,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Conversations, workspaces and keys, too. There is no way back.")
    ] = False,
    confirm: Annotated[str, typer.Option(help="The stack's name, instead of typing it when asked.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted and what would stay.")] = False,
) -> None:
    """Take the assistant down. Conversations, workspaces and keys stay unless --delete-data.

    The webhook first, then agents that run (they save their work), the stack, the agent's image. What stays costs
    cents a month. SAM's bucket for artefacts stays too: other stacks of yours may use it.
    """
    run = session.of(context)
    stack = run.operator.stacks.existing()
    planned = removal(run.operator.stacks.resources())
    if dry_run or not run.output.as_json:
        _show(run, planned, delete_data=delete_data, done=False)
    if dry_run:
        return
    _confirmed(stack.name, confirm)
    _webhook(run)
    cluster = run.operator.stacks.physical("AgentCluster")
    if cluster:
        run.operator.leaving.stop_agents(cluster)
    run.operator.leaving.delete_stack(stack.name)
    run.operator.registry.delete()
    if delete_data:
        for resource in planned.data:
            run.operator.leaving.delete(resource)
        for key in KEYS:
            run.operator.parameters.delete(key.name)
    _show(run, planned, delete_data=delete_data, done=True)


def _confirmed(name: str, given: str) -> None:
    typed: str = given or typer.prompt(f"Type the stack's name ({name}) to take it down", default="", err=True)
    if typed.strip() != name:
        raise UsageError("That is not the stack's name: nothing was deleted.")


def _webhook(run: Session) -> None:
    """Send updates nowhere, if they came here; without Telegram the stack is deleted all the same."""
    if run.operator.parameters.read("telegram-bot-token") is None:
        return
    try:
        if run.operator.bot.webhook().url == run.operator.stacks.existing().outputs.get("WebhookUrl"):
            run.operator.bot.delete_webhook()
    except UnreachableError:
        run.output.say("Telegram can't be reached: its webhook is left as it is.", style="yellow")


def _show(run: Session, planned: Removal, *, delete_data: bool, done: bool) -> None:
    fate = "deleted" if delete_data else "kept"
    data = {
        "done": done,
        "deleted": [each.logical_id for each in planned.deleted],
        "data": {each.physical_id: fate for each in planned.data},
        "keys": fate,
    }
    if done:
        kept = "" if delete_data else " Conversations, workspaces and keys are kept."
        run.output.show(data, f"Taken down.{kept}")
        return
    rows = [
        *((each.type, each.physical_id, "deleted") for each in planned.deleted),
        *((each.type, each.physical_id, fate) for each in planned.data),
        ("SSM parameters", run.operator.parameters.path, fate),
    ]
    run.output.show(data, table("what", "name", "", rows=rows))

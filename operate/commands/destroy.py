"""`destroy`: the assistant taken down, with or without what it remembers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from operate.commands import session
from operate.deploying import removal
from operate.errors import UnreachableError, UsageError
from operate.estimating import MESSAGES_A_DAY, month, storage
from operate.keys import KEYS
from operate.output import dollars, table

if TYPE_CHECKING:
    from operate.commands.session import Session
    from operate.deploying import Removal
    from operate.stack import Stack


def destroy(
    context: typer.Context,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Conversations, workspaces and keys, too. There is no way back.")
    ] = False,
    confirm: Annotated[str, typer.Option(help="The stack's name, instead of typing it when asked.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, what would stay, and what both cost.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="List each resource instead of counting them by type.")] = False,
) -> None:
    """Take the assistant down. Conversations, workspaces and keys stay unless --delete-data.

    The webhook first, then agents that run (they save their work), the stack, the agent's image. What stays costs
    cents a month, and the next `deploy` takes it over. SAM's bucket for artefacts stays too: other stacks of yours may
    use it.
    """
    run = session.of(context)
    stack = run.operator.stacks.existing()
    planned = removal(run.operator.stacks.resources())
    if dry_run or not run.output.as_json:
        _show(run, stack, planned, delete_data=delete_data, every=every)
    if dry_run:
        return
    _confirmed(stack.name, confirm)
    _webhook(run)
    _take_down(run, len(planned.deleted) + len(planned.data))
    if delete_data:
        run.output.say("delete the data …", style="bold")
        for resource in planned.data:
            run.operator.leaving.delete(resource)
        for key in KEYS:
            run.operator.parameters.delete(key.name)
    kept = "" if delete_data else " Conversations, workspaces and keys are kept: the next `deploy` takes them over."
    run.output.show({**_planned(planned, delete_data=delete_data), "done": True}, f"Taken down.{kept}")


def _take_down(run: Session, resources: int) -> None:
    """Agents, the stack with so many resources, the image."""
    cluster = run.operator.stacks.physical("AgentCluster")
    if cluster and run.operator.leaving.agents(cluster):
        run.output.say("let agents save their work and stop …", style="bold")
        run.operator.leaving.stop_agents(cluster)
    run.output.say("delete the stack …", style="bold")
    with run.output.counting("CloudFormation", resources) as show:
        run.operator.operations.delete(
            lambda event: show(event.logical_id, int(event.status in {"DELETE_COMPLETE", "DELETE_SKIPPED"}))
        )
    run.operator.registry.delete()


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


def _planned(planned: Removal, *, delete_data: bool) -> dict[str, object]:
    fate = _fate(delete_data=delete_data)
    return {
        "deleted": [each.logical_id for each in planned.deleted],
        "data": {each.physical_id: fate for each in planned.data},
        "keys": fate,
    }


def _fate(*, delete_data: bool) -> str:
    return "deleted" if delete_data else "kept"


def _show(run: Session, stack: Stack, planned: Removal, *, delete_data: bool, every: bool) -> None:
    """What would be deleted, what would stay, what both cost in a month."""
    fate = _fate(delete_data=delete_data)
    now = month(stack.parameters, (each.type for each in planned.deleted))
    sizes = {each.physical_id: run.operator.kept.bytes_of(each.type, each.physical_id) for each in planned.data}
    tables = sum(sizes[each.physical_id] for each in planned.data if each.type == "AWS::DynamoDB::Table")
    left = [] if delete_data else storage(tables, sum(sizes.values()) - tables)
    cost = sum(each.net for each in left)
    counts = Counter(each.type for each in planned.deleted)
    deleted = [
        *((each.type, each.physical_id, "", "deleted") for each in planned.deleted if every or counts[each.type] == 1),
        *((kind, f"{number} of them", "", "deleted") for kind, number in counts.items() if not every and number > 1),
    ]
    rows = [
        *sorted(deleted),
        *((each.type, each.physical_id, f"{sizes[each.physical_id]:,} bytes", fate) for each in planned.data),
        ("SSM parameters", run.operator.parameters.path, "", fate),
    ]
    run.output.show(
        {
            **_planned(planned, delete_data=delete_data),
            "done": False,
            "bytes": sizes,
            "month_now_micro_dollars": round(now.expected),
            "month_then_micro_dollars": round(cost),
        },
        table("what", "name", "", "", rows=rows, right=(2,)),
        f"\nAs it is, about {dollars(now.expected)} a month with {MESSAGES_A_DAY} messages a day and at most "
        f"{dollars(now.at_most)}; then {dollars(cost)}{' for what is kept' if left else ''}.",
    )

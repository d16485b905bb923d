"""`status`, `usage` and `cost`: how the assistant is, what was used, what it cost."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.turns.hours import hours
from assistant.turns.ledger import available_at, limits
from assistant.turns.model import Used
from assistant.turns.reporting import until
from operate.commands import session
from operate.errors import OperateError
from operate.findings import of_alarms, of_queue, of_stack
from operate.metering import metrics
from operate.output import dollars, marked, table
from operate.prices import SPOT_SHARE, agent_size, costs, of_agents, prices_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.chain import Per, Provider
    from assistant.turns.ledger import Entry
    from operate.commands.session import Session


_WINDOWS: Mapping[Per, str] = {"minute": "this minute", "day": "today", "month": "this month"}


def status(context: typer.Context) -> None:
    """Show the stack, the providers, the chats, the alarms. Exit code 1 if something is wrong.

    It reads the table of conversations from end to end, without anything that was said: some cents for a very large
    one. `doctor` looks deeper.
    """
    run = session.of(context)
    operator = run.operator
    stack = operator.stack
    failures = [] if stack.status.endswith("CREATE_COMPLETE") else operator.stacks.failures()
    found = [of_stack(stack, failures), of_alarms(raised_alarms(run)), of_queue(failed_events(run))]
    entries, chats = operator.ledger.entries(), operator.chats.count()
    providers = {each.name: state(each, entries.get(each.id), operator.now()) for each in operator.chain.providers}
    data = {
        "stack": {"name": stack.name, "status": stack.status, "changed_at": stack.changed_at},
        "healthy": all(each.state != "bad" for each in found),
        "findings": [asdict(each) for each in found],
        "providers": providers,
        "chats": chats,
        "agent_image": stack.parameters.get("AgentImage", ""),
    }
    counted = (
        f"Chats: {chats['chats']}; being answered: {chats['working']}; waiting for their time: {chats['waiting']}; "
        f"with a question that nobody answered: {chats['unanswered']}"
    )
    run.output.show(
        data,
        *(marked(each.state, each.link, each.what, each.advice) for each in found),
        "",
        table("provider", "now", rows=list(providers.items())),
        "",
        counted,
    )
    if not data["healthy"]:
        raise typer.Exit(OperateError.code)


def usage(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days, today included.")] = 30,
) -> None:
    """Show what each provider was asked, what is left, and what it cost.

    Days are UTC. Figures come from the assistant's own count (400 days are kept); what is left from its ledger.
    """
    run = session.of(context)
    operator, now = run.operator, run.operator.now()
    today = datetime.fromtimestamp(now, UTC)
    first = f"{today - timedelta(days=days - 1):%Y-%m-%d}"
    counted, entries = operator.usage.days(first, f"{today:%Y-%m-%d}"), operator.ledger.entries()
    rows, data = [], {}
    for provider in operator.chain.providers:
        used = _summed(counted, provider.id)
        now_used = counted.get(f"{today:%Y-%m-%d}", {}).get(provider.id, Used())
        left = remaining(provider, entries.get(provider.id), now)
        data[provider.id] = {"today": asdict(now_used), "period": asdict(used), "left": left}
        tokens = used.input_tokens + used.cached_tokens + used.written_tokens
        rows.append((
            provider.name,
            now_used.requests,
            used.requests,
            used.failures,
            f"{tokens:,}",
            f"{100 * used.cached_tokens // tokens if tokens else 0}%",
            f"{used.output_tokens:,}",
            dollars(used.micro_dollars),
            ", ".join(f"{number} {what}" for what, number in left.items()) or "no limit known",
        ))  # fmt: skip
    columns = ("provider", "today", f"{days} days", "failed", "tokens in", "cached", "tokens out", "cost", "left")
    run.output.show({"days": days, "since": first, "providers": data}, table(*columns, rows=rows, right=range(1, 8)))


def cost(context: typer.Context) -> None:
    """Show what this month has cost so far: language models exactly, AWS from what it metered.

    AWS's figures are list prices of us-east-1 times CloudWatch's metrics, which are best effort: the bill is right,
    this is early. "After free" takes off what every account has free in a month, as if nothing else used it.
    Fargate's hours are the assistant's own count, from ECS's times; whether one was Spot it does not know.
    """
    run = session.of(context)
    operator = run.operator
    now = datetime.fromtimestamp(operator.now(), UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = operator.usage.days(f"{first:%Y-%m-%d}", f"{now:%Y-%m-%d}")
    models = {each.name: _summed(counted, each.id).micro_dollars for each in operator.chain.providers}
    asked = list(metrics(operator.stacks.resources()))
    # To the day's end: metrics are asked for by whole days.
    metered = operator.metering.amounts(asked, first, now.replace(hour=0, minute=0, second=0) + timedelta(days=1))
    given = operator.stack.parameters
    agents = hours(operator.ledger.entries(), float(given.get("AgentHoursPerMonth") or 0), operator.now())
    found = costs({**metered, **of_agents(agents.used / 3600, *agent_size(given))}, prices_of(given))
    rows = [
        *((name, "", dollars(spent), dollars(spent)) for name, spent in models.items()),
        *((c.price.title, f"{c.amount:,.1f} {c.price.unit}", dollars(c.gross), dollars(c.net)) for c in found),
    ]
    total = sum(models.values()) + sum(each.net for each in found)
    data = {
        "month": f"{now:%Y-%m}",
        "models_micro_dollars": models,
        "agents": {"hours": agents.used / 3600, "limit": agents.limit, "running": len(agents.running)},
        "aws": [
            {"what": c.price.of, "amount": c.amount, "micro_dollars": round(c.gross), "after_free": round(c.net)}
            for c in found
        ],
        "total_micro_dollars": round(total),
    }
    run.output.show(
        data,
        table(f"{now:%B %Y}, so far", "used", "list price", "after free", rows=rows, right=(1, 2, 3)),
        f"\nTogether {dollars(total)}. Agents ran {agents.used / 3600:,.1f} of {agents.limit:g} hours, "
        f"priced as Spot at {SPOT_SHARE:.0%} of on demand. Not metered here: the image's storage, tax.",
    )


def state(provider: Provider, entry: Entry | None, now: float) -> str:
    """How a provider is, in a few words."""
    if entry is None:
        return "not asked yet"
    if not entry.configured:
        return "no key is set"
    at = available_at(provider, entry, now)
    if at <= now:
        return "ready"
    why = f" ({entry.block_cause})" if entry.block_cause and (entry.blocked_until or 0) > now else ""
    return f"not before {until(at, now)}{why}"


def remaining(provider: Provider, entry: Entry | None, now: float) -> Mapping[str, str]:
    """What is left in each window that has a limit; money in dollars."""
    windows = {} if entry is None else entry.windows
    found = {}
    for limit in limits(provider, now, None if entry is None else entry.day_limit):
        if limit.most is not None:
            left = max(0, limit.most - windows.get(limit.window, 0))
            money = limit.budget.unit == "micro_dollars"
            found[_WINDOWS[limit.budget.per]] = f"${left / 1_000_000:,.2f}" if money else f"{left:,}"
    return found


def raised_alarms(run: Session) -> list[str]:
    """The stack's alarms that are in ALARM."""
    names = [each.physical_id for each in run.operator.stacks.resources() if each.type == "AWS::CloudWatch::Alarm"]
    if not names:
        return []
    described = run.operator.aws.client("cloudwatch").describe_alarms(AlarmNames=names)
    return sorted(alarm["AlarmName"] for alarm in described["MetricAlarms"] if alarm["StateValue"] == "ALARM")


def failed_events(run: Session) -> int:
    """How many messages the failure queue holds, about."""
    url = run.operator.stacks.physical("FailureQueue")
    if url is None:
        return 0
    wanted = "ApproximateNumberOfMessages"
    found = run.operator.aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[wanted])
    return int(found["Attributes"][wanted])


def _summed(days: Mapping[str, Mapping[str, Used]], provider_id: str) -> Used:
    return sum((day[provider_id] for day in days.values() if provider_id in day), Used())

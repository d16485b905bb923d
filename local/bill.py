"""A month's bill, reckoned from what was counted on the local cloud (`python -m local cost`, docs/cost.md).

A day is a plan of steps: messages that the chat lane answers, messages that wake the agent, messages of a warm one,
hours of it, runs of the schedules. What a step uses was measured; how often it happens follows from when people write.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from operate.metering import MEMORY_GIB
from operate.prices import GIB, MICRO, SPOT_SHARE, Cost, Price, aws_prices, costs

DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60
MODES = ("auto", "eager", "always", "off")
_FARGATE = ("agent_vcpu_hours", "agent_gib_hours")


class Step(msgspec.Struct, frozen=True):
    """What one step uses.

    Attributes:
        counts: of each thing that has a price; bytes of logs and of what goes out as `log_bytes` and `out_bytes`.
        functions: invocations by function.
    """

    counts: dict[str, float]
    functions: dict[str, float] = {}


class Measured(msgspec.Struct, frozen=True):
    """What the local cloud counted.

    Attributes:
        steps: `chat` (a message that the chat lane answers), `woken` (one handed to an agent that has to start),
            `agent` (one to a warm agent), `start` (StartAgent alone), `agent_hour`, `end`, `snapshot` (with something
            changed), `restore`, and each function that a schedule runs.
        schedules: how often a function is run, in seconds.
        agent_schedules: those of them that run only where there is an agent.
        milliseconds: a warm invocation on this machine, by function; the median.
        init_milliseconds: the start of a function's process on this machine.
        keys: SecureStrings that a message's functions read when their caches are empty, and an agent at its start.
        standing: what is paid for by the month, whoever writes: metrics, alarms, dashboards.
        table_bytes_a_message: what a message leaves in the tables until its time is over.
        snapshot_bytes: what a snapshot adds, and what the workspace holds.
        boot_seconds: from the start of the agent's process until it takes messages.
    """

    steps: dict[str, Step]
    schedules: dict[str, float]
    agent_schedules: list[str]
    milliseconds: dict[str, float]
    init_milliseconds: dict[str, float]
    keys: dict[str, float]
    standing: dict[str, float]
    table_bytes_a_message: float
    snapshot_bytes: dict[str, float]
    boot_seconds: float


class Assumed(msgspec.Struct, frozen=True):
    """What can't be counted on a machine, or is somebody's choice.

    Attributes:
        days: of a month.
        messages: a day.
        delegated: the share of messages to a sleeping agent's chat that a model hands over, or a person with /agent.
        provider_seconds: what a provider takes to answer; the Ask function waits.
        slowness: how much longer a function takes in Lambda than a whole core here: 512 MB are 0.29 of one
            (1,769 MB are one: Lambda developer guide, "Configure Lambda function memory").
        warm_seconds: after so long without work a function's process is gone.
        key_seconds: how long a key is cached.
        pull_seconds: Fargate charges from the pull of the image on.
        end_seconds: from the decision to stop to the end of the task.
        image_gib: the agent's image in ECR, compressed.
        prompt_bytes: what OpenClaw sends to a provider for a message.
        idle_minutes: AgentIdleMinutes.
        vcpu, gib: AgentCpu and AgentMemory.
        spot_share: Spot's price as a share of that on demand; 1 is on demand.
        hours_cap: AgentHoursPerMonth.
        snapshots_an_hour: of a working agent.
        snapshots_kept: beside those of the last day: one a day for 30 days.
        retention_days: LogRetentionDays.
        history_days: HistoryDays.
        traced: whether X-Ray is on.
    """

    days: int = 30
    messages: int = 100
    delegated: float = 0.03
    provider_seconds: float = 4.0
    slowness: float = 3.46
    warm_seconds: int = 300
    key_seconds: int = 300
    pull_seconds: int = 30
    end_seconds: int = 10
    image_gib: float = 0.45
    prompt_bytes: int = 40_000
    idle_minutes: int = 15
    vcpu: float = 1.0
    gib: float = 2.0
    spot_share: float = SPOT_SHARE
    hours_cap: float = 40.0
    snapshots_an_hour: int = 12
    snapshots_kept: int = 30
    retention_days: int = 14
    history_days: int = 7
    traced: bool = False


def sittings(messages: int) -> list[int]:
    """Four sittings, at 8:00, 12:30, 18:00 and 21:00, with a message a minute: seconds of the day."""
    begins = (8 * HOUR_S, 12 * HOUR_S + HOUR_S // 2, 18 * HOUR_S, 21 * HOUR_S)
    each = -(-messages // len(begins))
    return [begin + MINUTE_S * number for begin in begins for number in range(each)][:messages]


def spread(messages: int) -> list[int]:
    """Evenly over 16 hours, from 7:00 on: seconds of the day."""
    return [7 * HOUR_S + number * 16 * HOUR_S // messages for number in range(messages)]


PROFILES = {"four sittings": sittings, "16 hours": spread}


@dataclass(frozen=True)
class Plan:
    """A day's steps; fractions are chances.

    Attributes:
        chat: messages that the chat lane answers.
        woken: messages that wait for an agent which has to start.
        agent: messages that a warm agent answers.
        wakes: starts of an agent.
        awake_seconds: of agents, from their start to their end.
        cold: messages that find no process of any function.
        key_reads: messages whose functions have to read the keys.
    """

    chat: float
    woken: float
    agent: float
    wakes: float
    awake_seconds: float
    cold: int
    key_reads: int


def plan(moments: Sequence[int], mode: str, assumed: Assumed, boot_seconds: float) -> Plan:
    """What a day of messages at these moments comes to, day after day the same."""
    starting = assumed.pull_seconds + boot_seconds
    idle = assumed.idle_minutes * MINUTE_S
    share = {"auto": assumed.delegated, "off": 0.0}.get(mode, 1.0)
    gaps = [after - before for before, after in zip(moments, [*moments[1:], moments[0] + DAY_S], strict=True)]
    awake = chat = woken = agent = wakes = seconds = 0.0
    started_at = float("-inf")
    for moment, before, after in zip(moments, [gaps[-1], *gaps[:-1]], gaps, strict=True):
        warm = awake if before < idle else 0.0
        waking = (1 - warm) * share
        awake = warm + waking
        wakes += waking
        seconds += awake * min(after, idle) + waking * starting + (awake * assumed.end_seconds if after >= idle else 0)
        started_at = moment if waking and mode == "eager" else started_at
        is_booting = mode == "eager" and moment - started_at < starting
        agent += 0.0 if is_booting else warm
        woken += 0.0 if mode == "eager" else waking
        chat += 1.0 if is_booting else 1 - warm - (0.0 if mode == "eager" else waking)
    whole = Plan(
        chat=chat,
        woken=woken,
        agent=agent,
        wakes=wakes,
        awake_seconds=seconds,
        cold=sum(gap >= assumed.warm_seconds for gap in gaps),
        key_reads=_reads(gaps, assumed.key_seconds),
    )
    return _capped(whole, assumed.hours_cap * HOUR_S / assumed.days)


def _capped(whole: Plan, seconds: float) -> Plan:
    """With no more of the agent than that a day: for the rest of the month the chat lane answers."""
    if whole.awake_seconds <= seconds:
        return whole
    part = seconds / whole.awake_seconds
    return replace(
        whole,
        chat=whole.chat + (1 - part) * (whole.woken + whole.agent),
        woken=part * whole.woken,
        agent=part * whole.agent,
        wakes=part * whole.wakes,
        awake_seconds=seconds,
    )


def _reads(gaps: Sequence[int], kept: int) -> int:
    """How many of the messages come when what was read last is too old."""
    reads, age = 0, kept
    for gap in gaps:
        if age >= kept:
            reads, age = reads + 1, 0
        age += gap
    return reads


def month(measured: Measured, assumed: Assumed, profile: str, mode: str) -> dict[str, float]:
    """What a month uses, by the names of operate/prices.py."""
    today = plan(PROFILES[profile](assumed.messages), mode, assumed, measured.boot_seconds)
    hours = today.awake_seconds / HOUR_S
    times = {
        "chat": today.chat,
        "woken": today.woken,
        "agent": today.agent,
        "start": today.wakes - today.woken,
        "agent_hour": hours,
        "end": today.wakes,
        "restore": today.wakes,
        "snapshot": today.wakes + hours * assumed.snapshots_an_hour,
    }
    runs = {
        name: DAY_S / every
        for name, every in measured.schedules.items()
        if mode != "off" or name not in measured.agent_schedules
    }
    times |= runs
    used = _sum((often, measured.steps[name].counts) for name, often in times.items())
    functions = _sum((often, measured.steps[name].functions) for name, often in times.items())
    used["key_requests"] += today.key_reads * measured.keys["message"] + today.wakes * measured.keys["agent"]
    used["invocations"] += sum(functions.values())
    used["gib_seconds"] += _gib_seconds(measured, assumed, functions, today.cold, runs)
    used["out_bytes"] += (today.agent + today.woken) * assumed.prompt_bytes
    used["agent_vcpu_hours"] += hours * assumed.vcpu
    used["agent_gib_hours"] += hours * assumed.gib
    used["address_hours"] += hours
    used["rule_events"] += sum(runs.values())
    used["traces"] += (2 * assumed.messages + sum(runs.values())) if assumed.traced else 0
    monthly = {what: count * assumed.days for what, count in used.items()}
    return _with_storage(monthly, measured, assumed, mode, today)


def _sum(parts: Iterable[tuple[float, Mapping[str, float]]]) -> defaultdict[str, float]:
    """Counts, each so many times."""
    found: defaultdict[str, float] = defaultdict(float)
    for times, counts in parts:
        for what, count in counts.items():
            found[what] += times * count
    return found


def _gib_seconds(
    measured: Measured, assumed: Assumed, functions: Mapping[str, float], cold: int, runs: Mapping[str, float]
) -> float:
    seconds = sum(often * _seconds(measured, assumed, name) for name, often in functions.items())
    inits = {name: float(cold) for name in measured.steps["chat"].functions}
    inits |= {name: often for name, often in runs.items() if measured.schedules[name] >= assumed.warm_seconds}
    # Initialisation has a whole core, whatever the function's memory.
    starting = sum(often * measured.init_milliseconds[name] / 1000 for name, often in inits.items())
    return MEMORY_GIB * (seconds + starting)


def _seconds(measured: Measured, assumed: Assumed, function: str) -> float:
    waiting = assumed.provider_seconds if function.startswith("Ask") else 0.0
    return measured.milliseconds[function] / 1000 * assumed.slowness + waiting


def _with_storage(
    used: Mapping[str, float], measured: Measured, assumed: Assumed, mode: str, today: Plan
) -> dict[str, float]:
    """Bytes as GB, and what is kept."""
    found = {what: count for what, count in used.items() if not what.endswith("_bytes")}
    found["log_gib"] = used.get("log_bytes", 0.0) / GIB
    found["log_stored_gib"] = found["log_gib"] * assumed.retention_days / assumed.days
    found["out_gib"] = used.get("out_bytes", 0.0) / GIB
    found["table_gib"] = measured.table_bytes_a_message * assumed.messages * assumed.history_days / GIB
    found["table_backup_gib"] = found["table_gib"]
    has_agent = mode != "off"
    found["image_gib"] = assumed.image_gib if has_agent else 0.0
    kept = assumed.snapshots_kept + today.awake_seconds / HOUR_S * assumed.snapshots_an_hour
    size = measured.snapshot_bytes
    found["stored_gib"] = (size["workspace"] + kept * size["snapshot"]) / GIB if has_agent else 0.0
    return found | measured.standing


def priced(used: Mapping[str, float], spot_share: float = SPOT_SHARE) -> list[Cost]:
    """What it costs, item by item."""
    return costs(used, [_at(price, spot_share) for price in aws_prices(arm=True)])


def _at(price: Price, spot_share: float) -> Price:
    return replace(price, dollars=price.dollars / SPOT_SHARE * spot_share) if price.of in _FARGATE else price


@dataclass(frozen=True)
class Total:
    """Dollars of a month: at list prices, and after what every account has free; and the agents' hours in it."""

    gross: float
    net: float
    agent_hours: float


def total(measured: Measured, assumed: Assumed, profile: str, mode: str) -> Total:
    """A month's sum."""
    used = month(measured, assumed, profile, mode)
    found = priced(used, assumed.spot_share)
    gross, net = sum(cost.gross for cost in found) / MICRO, sum(cost.net for cost in found) / MICRO
    return Total(gross, net, used["address_hours"])


def most_delegated(measured: Measured, assumed: Assumed, profile: str, dollars: float) -> float:
    """The share of delegated messages up to which a month in the mode auto costs no more; 0 if it always does."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        tried = msgspec.structs.replace(assumed, delegated=middle)
        low, high = (middle, high) if total(measured, tried, profile, "auto").net <= dollars else (low, middle)
    return low

"""docs/cost.md's figures: tables between two marks, made of docs/cost.json and the prices alone."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from local.bill import (
    DAY_S,
    MODES,
    PROFILES,
    Assumed,
    Measured,
    month,
    most_delegated,
    plan,
    priced,
    total,
)
from operate.prices import AS_OF, MICRO, SPOT_SHARE, Cost, Price, aws_prices

AIM_DOLLARS = 1.00
DEFAULT = ("four sittings", "auto")

_UNLIMITED = 1000.0
"""More hours than a month has."""

_MARKED = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
_STEPS = {
    "chat": "a message, chat lane",
    "woken": "a message handed over, the agent's start included",
    "agent": "a message to a warm agent",
    "start": "`StartAgent` alone (eager)",
    "agent_hour": "an hour of an agent that has just answered",
    "end": "the agent's end",
    "snapshot": "a snapshot, something changed",
    "restore": "a restore",
}
_COUNTS = ("transitions", "write_units", "read_units", "object_writes", "object_reads", "log_bytes", "out_bytes")


def figures(measured: Measured, assumed: Assumed) -> str:
    """docs/cost.json: what was counted, what is assumed, and what it comes to."""
    months = {profile: {mode: _month(measured, assumed, profile, mode) for mode in MODES} for profile in PROFILES}
    measured = msgspec.convert(msgspec.to_builtins(measured), Measured)  # numbers as they are read back
    whole = {"measured": msgspec.to_builtins(measured), "assumed": msgspec.to_builtins(assumed), "months": months}
    return json.dumps(whole, indent=1) + "\n"


def _month(measured: Measured, assumed: Assumed, profile: str, mode: str) -> dict[str, Any]:
    used, sum_ = month(measured, assumed, profile, mode), total(measured, assumed, profile, mode)
    return {
        "used": {what: round(count, 6) for what, count in used.items() if count},
        "dollars": round(sum_.gross, 4),
        "dollars_after_free": round(sum_.net, 4),
        "agent_hours": round(sum_.agent_hours, 2),
    }


def read(text: str) -> tuple[Measured, Assumed]:
    """What docs/cost.json was made of."""
    whole = json.loads(text)
    return msgspec.convert(whole["measured"], Measured), msgspec.convert(whole["assumed"], Assumed)


def renewed(page: str, measured: Measured, assumed: Assumed) -> str:
    """The page with these figures."""
    return _MARKED.sub(lambda _: tables(measured, assumed), page)


def tables(measured: Measured, assumed: Assumed) -> str:
    """Everything between the marks."""
    parts = [
        modes(measured, assumed),
        _verdict(measured, assumed),
        f"Without the limit of {assumed.hours_cap:g} hours (`AgentHoursPerMonth`):\n",
        modes(measured, msgspec.structs.replace(assumed, hours_cap=_UNLIMITED)),
        "### The bill, item by item\n",
        f"Mode `auto`, {assumed.delegated:.0%} delegated. Free is what every account has each month, for ever.\n",
        _items(measured, assumed),
        "### What one step uses\n",
        "Counted at the front of the local cloud.\n",
        _steps(measured),
        _durations(measured),
        "### What each setting costs\n",
        f"A month in mode `auto`, after what is free; defaults come to {_sums(measured, assumed)}.\n",
        _settings(measured, assumed),
        "### What is assumed\n",
        _assumed(measured, assumed),
        f"### Prices\n\nus-east-1, {AS_OF}, arm64; other regions differ by some percent.\n",
        _prices(),
    ]
    return "\n" + "\n".join(parts) + "\n"


def modes(measured: Measured, assumed: Assumed) -> str:
    """Dollars by mode and profile."""
    rows = []
    for mode in MODES:
        found = [total(measured, assumed, profile, mode) for profile in PROFILES]
        cells = [
            cell for each in found for cell in (f"{each.agent_hours:.1f}", _usd(each.gross), f"**{_usd(each.net)}**")
        ]
        rows.append([f"`{mode}`", *cells])
    heads = [f"{profile}: {what}" for profile in PROFILES for what in ("agent's hours", "list price", "after free")]
    return _table(["`AgentMode`", *heads], rows)


def _verdict(measured: Measured, assumed: Assumed) -> str:
    profile, mode = DEFAULT
    found = total(measured, assumed, profile, mode)
    share = most_delegated(measured, assumed, profile, AIM_DOLLARS)
    met = "met" if found.net <= AIM_DOLLARS else "missed"
    dear = total(measured, msgspec.structs.replace(assumed, spot_share=0.5), profile, mode)
    biggest = sorted(_bill(measured, assumed, profile, mode), key=lambda cost: -cost.net)[:3]
    names = ", ".join(f"{cost.price.title} {_usd(cost.net / MICRO)}" for cost in biggest)
    return (
        f"The aim, at most {_usd(AIM_DOLLARS)} a month for four sittings in the default mode, is **{met}**: "
        f"{_usd(found.net)} after what is free, {_usd(found.gross)} at list prices. Most of it: {names}. "
        f"It holds up to {share:.1%} delegated messages, and for Spot at its best: at half the price on demand, "
        f"the most it costs, the month is {_usd(dear.net)}.\n"
    )


def _bill(measured: Measured, assumed: Assumed, profile: str, mode: str) -> list[Cost]:
    return priced(month(measured, assumed, profile, mode), assumed.spot_share)


def _items(measured: Measured, assumed: Assumed) -> str:
    bills = [{cost.price.of: cost for cost in _bill(measured, assumed, profile, "auto")} for profile in PROFILES]
    rows = []
    for price in aws_prices(arm=True):
        found = [bill.get(price.of) for bill in bills]
        if any(found):
            cells = [cell for cost in found for cell in _cells(cost)]
            rows.append([price.title, _each(price), f"{price.free:,.0f}" if price.free else "", *cells])
    sums = [total(measured, assumed, profile, "auto") for profile in PROFILES]
    rows.append(
        ["**Together**", "", "", *(cell for each in sums for cell in ("", _usd(each.gross), f"**{_usd(each.net)}**"))]
    )
    heads = [f"{profile}: {what}" for profile in PROFILES for what in ("used", "list price", "after free")]
    return _table(["item", "price", "free", *heads], rows)


def _cells(cost: Cost | None) -> tuple[str, str, str]:
    if cost is None:
        return "0", _usd(0), _usd(0)
    return f"{_number(cost.amount)} {cost.price.unit}", _usd(cost.gross / MICRO), _usd(cost.net / MICRO)


def _steps(measured: Measured) -> str:
    names = {
        **_STEPS,
        **{name: f"`{name}`, every {_often(every)}" for name, every in measured.schedules.items()},
    }
    rows = []
    for name, title in names.items():
        step = measured.steps[name]
        invocations = sum(step.functions.values())
        rows.append([title, _number(invocations), *(_number(step.counts.get(what, 0)) for what in _COUNTS)])
    heads = [
        "step",
        "functions",
        "transitions",
        "write units",
        "read units",
        "S3 writes",
        "S3 reads",
        "bytes of logs",
        "bytes out",
    ]
    return _table(heads, rows)


def _often(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < DAY_S else "day"


def _durations(measured: Measured) -> str:
    found = ", ".join(f"{name} {value:.0f}" for name, value in measured.milliseconds.items())
    inits = measured.init_milliseconds.values()
    return (
        f"Milliseconds of a warm invocation on the machine that counted: {found}. A new process takes {min(inits):.0f} "
        f"to {max(inits):.0f} more.\n"
    )


_VARIATIONS: Sequence[tuple[str, str, Sequence[float]]] = (
    ("{:.0%} of the messages delegated", "delegated", (0, 0.01, 0.03, 0.05, 0.10, 0.20)),
    ("`AgentIdleMinutes` {}", "idle_minutes", (1, 5, 15, 30, 60)),
    ("Spot at {:.0%} of the price on demand", "spot_share", (0.5, 1.0)),
    ("`AgentHoursPerMonth` {:g}", "hours_cap", (0, 20, 40, 100, 1000)),
    ("{} snapshots an hour", "snapshots_an_hour", (2, 12, 60)),
    ("`LogRetentionDays` {}", "retention_days", (14, 90, 365)),
    ("`HistoryDays` {}", "history_days", (7, 365)),
    ("{} messages a day", "messages", (20, 200, 500)),
)
"""Settings, and circumstances that nobody sets: title, field of the assumptions, values."""

_SIZES = ((0.5, 2.0), (1.0, 2.0), (1.0, 4.0), (2.0, 4.0))


def _varied(assumed: Assumed) -> Iterator[tuple[str, Assumed]]:
    for title, name, values in _VARIATIONS:
        for value in values:
            yield title.format(value), msgspec.structs.replace(assumed, **{name: value})
    for cpu, gib in _SIZES:
        title = f"`AgentCpu` {1024 * cpu:.0f}, `AgentMemory` {1024 * gib:.0f}"
        yield title, msgspec.structs.replace(assumed, vcpu=cpu, gib=gib)
    yield "`Tracing` Active", msgspec.structs.replace(assumed, traced=True)


def _settings(measured: Measured, assumed: Assumed) -> str:
    rows = []
    for title, tried in _varied(assumed):
        found = [total(measured, tried, profile, "auto") for profile in PROFILES]
        rows.append([title, *(cell for each in found for cell in (_usd(each.gross), f"**{_usd(each.net)}**"))])
    heads = [f"{profile}: {what}" for profile in PROFILES for what in ("list price", "after free")]
    return _table(["with", *heads], rows) + (
        f"\nAn hour of the agent costs {_usd(_hour(assumed), 4)}, $0.005 of it for the public IPv4 address: that is "
        "the price of each hour in which it is kept awake, by whatever setting. `eager` and `always`: above.\n"
    )


def _hour(assumed: Assumed) -> float:
    used = {"agent_vcpu_hours": assumed.vcpu, "agent_gib_hours": assumed.gib, "address_hours": 1.0}
    return sum(cost.gross for cost in priced(used, assumed.spot_share)) / MICRO


def _assumed(measured: Measured, assumed: Assumed) -> str:
    size, mib = measured.snapshot_bytes, 1024**2
    rows = [
        ("a month", f"{assumed.days} days of {assumed.messages} messages, of some 700 characters, as their answers"),
        ("a message a minute", "in four sittings of a quarter of the messages; or all evenly spread over 16 hours"),
        (
            "delegated",
            f"{assumed.delegated:.0%} of the messages that find the agent asleep; while it is awake it answers all",
        ),
        *((f"so: {name}", _day(name, measured, assumed)) for name in PROFILES),
        ("a provider", f"answers after {assumed.provider_seconds:g} s, and the function that asks waits as long"),
        (
            "a function",
            (
                f"takes {assumed.slowness:g} times as long as it did here (512 MB are 0.29 of a core, and all of it "
                f"is taken for work); its process is gone after {assumed.warm_seconds} s without any"
            ),
        ),
        (
            "Fargate",
            (
                f"charges {assumed.pull_seconds} s for pulling the image, {measured.boot_seconds:.0f} s for starting "
                f"and {assumed.end_seconds} s for ending; {assumed.vcpu:g} vCPU, {assumed.gib:g} GB; Spot costs "
                f"{SPOT_SHARE:.0%} of the price on demand, its best"
            ),
        ),
        (
            "the agent's image",
            f"{assumed.image_gib:g} GB in ECR; of up to three, layers that are the same are kept once",
        ),
        ("OpenClaw's prompt", f"{assumed.prompt_bytes:,} bytes a message"),
        (
            "snapshots",
            (
                f"{assumed.snapshots_an_hour} an hour while the agent is awake, as if each had changed something, and "
                f"one at its end; {assumed.snapshots_kept} are kept beside the last day's; the workspace holds "
                f"{size['workspace'] / mib:.1f} MB, a snapshot adds {size['snapshot'] / mib:.1f}"
            ),
        ),
    ]
    return _table(["what", "assumption"], rows)


def _day(profile: str, measured: Measured, assumed: Assumed) -> str:
    each = plan(PROFILES[profile](assumed.messages), "auto", assumed, measured.boot_seconds)
    return (
        f"{each.wakes:.2f} starts of the agent a day, {each.awake_seconds / 3600:.2f} hours of it; it answers "
        f"{each.agent + each.woken:.1f} messages"
    )


def _sums(measured: Measured, assumed: Assumed) -> str:
    return " and ".join(_usd(total(measured, assumed, profile, "auto").net) for profile in PROFILES)


def _prices() -> str:
    rows = [
        [price.title, _each(price), f"{price.free:,.0f} {price.unit}" if price.free else "", f"<{price.source}>"]
        for price in aws_prices(arm=True)
    ]
    return _table(["item", "price", "free each month", "source"], rows)


def _each(price: Price) -> str:
    if not price.dollars:
        return "nothing"
    per = "a million" if price.per == MICRO else "each"
    return f"${price.dollars:.4g} {per}" if price.dollars >= 0.001 else f"${price.dollars:.10f} {per}"


def _usd(dollars: float, digits: int = 2) -> str:
    return f"${dollars:.{digits}f}"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(heads: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    top = list(heads)
    lines = [top, ["---"] * len(top), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

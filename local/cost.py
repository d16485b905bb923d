"""What a month costs, from what the local cloud counts (`python -m local cost`): docs/cost.json and docs/cost.md.

The template's functions, state machine and tasks run as deployed; Telegram and the providers are simulated, and a
gateway that only pretends stands for OpenClaw. One chat writes step after step, and each request is metered.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from assistant.observability import METRICS
from assistant.stores.workspaces import S3Blobs
from local import cost_page, metering, units
from local.agent_demo import OUTPUT as AGENT_FIGURES
from local.bill import MINUTE_S, Assumed, Measured, Step
from local.metering import Call, Meter
from local.schedule import parse
from local.stage import BUILD_DIR, PROJECT, Stage, StageError, set_up
from local.template import Template
from local.watched_agent import WatchedAgent
from local.workspace_trials import BUCKET, CHAT, Calls, Cloud, Machine

FIGURES = PROJECT / "docs" / "cost.json"
PAGE = PROJECT / "docs" / "cost.md"
OUTPUT = PROJECT / "build" / "cost.json"

_CHAT = 2001
_START = 1_793_606_430
"""2026-11-02 08:00:30 UTC."""

_FILLING, _COUNTED, _WARM = 14, 8, 3
"""Messages until the history is as long as it gets, and those that are counted in the chat lane and by the agent."""

_QUESTION = ("Say in a few sentences what speaks for the one and what for the other, and then what you would do. " * 7)[
    :700
]
_HANDED_OVER = "Which files are in my workspace?"
_AGENT_HOUR_S = 32.0
"""So long a warm agent is watched; it renews its lease every 30 s."""

_DEADLINE_S = 120.0
_POLL_S = 0.01
_BOOT_S = 20.0
"""Until OpenClaw takes messages, where `make agent-demo` has not measured it."""

_LINES_BYTES = (
    len("START RequestId: 8f5a7c1e-8a3f-4c7e-9b0d-2f6a1c3e5d7b Version: $LATEST\n")
    + len("END RequestId: 8f5a7c1e-8a3f-4c7e-9b0d-2f6a1c3e5d7b\n")
    + len("REPORT RequestId: 8f5a7c1e-8a3f-4c7e-9b0d-2f6a1c3e5d7b\tDuration: 123.45 ms\tBilled Duration: 124 ms\t")
    + len("Memory Size: 512 MB\tMax Memory Used: 100 MB\t\n")
)
"""What Lambda itself writes for an invocation."""
_EVENT_BYTES = 26
"""CloudWatch adds these to each line (CloudWatch Logs user guide, "quotas": the size of a batch)."""
_ACCESS_LINE_BYTES = 300

_SMALL_FILES, _SMALL_BYTES, _MEMORY_BYTES = 60, 20_000, 4 * 1024**2
"""A typical workspace: notes and scripts, and OpenClaw's memory, which each exchange changes."""


@dataclass
class _Window:
    """What has happened since it was opened, without what the schedules did meanwhile."""

    stage: Stage
    calls: list[Call]
    left_out: frozenset[str]
    _from: int = field(init=False)
    _invocations: int = field(init=False)
    _executions: int = field(init=False)
    _lines: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self._from = len(self.calls)
        self._invocations = len(self.stage.cloud.invocations)
        self._executions = len(self.stage.cloud.executions())
        self._lines = Counter({name: _bytes(lines) for name, lines in self._logs().items()})

    def step(self, often: float = 1, *, caller: str | None = None) -> Step:
        """What one of so many steps used; of one caller alone, if it is named."""
        counts: Counter[str] = Counter()
        for call in self.calls[self._from :]:
            # Keys are cached by the clock on the wall, and the agent's workspace is counted by itself.
            if call.caller not in self.left_out and caller in (None, call.caller):
                wanted = _IN_STEPS if call.caller == "Agent" else _IN_STEPS | _OBJECTS
                counts.update({what: n for what, n in call.counts.items() if what in wanted})
        functions = Counter(
            one.function
            for one in self.stage.cloud.invocations[self._invocations :]
            if one.function not in self.left_out and caller in (None, one.function)
        )
        if caller is None:
            counts["transitions"] = sum(one.transitions for one in self.stage.cloud.executions()[self._executions :])
        written = {name: _bytes(lines) - self._lines[name] for name, lines in self._logs().items()}
        counts["log_bytes"] = sum(
            size for name, size in written.items() if name not in self.left_out and caller in (None, name)
        )
        counts["log_bytes"] += functions.total() * (_LINES_BYTES + 3 * _EVENT_BYTES)
        counts["log_bytes"] += counts["api_requests"] * (_ACCESS_LINE_BYTES + _EVENT_BYTES)
        return Step(_each(counts, often), _each(functions, often))

    def keys(self, *, agent: bool) -> float:
        """How many keys were read."""
        found = [call for call in self.calls[self._from :] if (call.caller == "Agent") is agent]
        return sum(call.counts.get("key_requests", 0) for call in found)

    def _logs(self) -> dict[str, list[str]]:
        cloud = self.stage.cloud
        names = {name for name in cloud.resources if f"{name}LogGroup" in cloud.resources}
        functions = {one.function for one in cloud.invocations}
        lines = {name: list(cloud.logs(name)) for name in names & functions}
        tasks = [line for task in cloud.fargate.tasks for line in cloud.fargate.logs(task["taskArn"])]
        return lines | {"Agent": tasks}


_IN_STEPS = frozenset({"api_requests", "write_units", "read_units", "out_bytes"})
_OBJECTS = frozenset({"object_reads", "object_writes"})


def _each(counts: Mapping[str, float], often: float) -> dict[str, float]:
    return {name: round(count / often, 3) for name, count in sorted(counts.items()) if count}


def _bytes(lines: list[str]) -> int:
    return sum(len(line.encode()) + _EVENT_BYTES for line in lines)


@dataclass
class Measuring:
    """One chat, step by step."""

    stage: Stage
    meter: Meter
    console: Console
    template: Template
    steps: dict[str, Step] = field(default_factory=dict)
    keys: dict[str, float] = field(default_factory=dict)
    _left_out: frozenset[str] = frozenset()

    def run(self) -> Measured:
        """All steps."""
        self.stage.allow(_CHAT)
        schedules = _schedules(self.template, self.stage.clock.now())
        self._left_out = frozenset(schedules)
        self._chat_lane()
        agent = self._the_agent()
        for name in schedules:
            self._schedule(name)
        self._end(agent)
        snapshot_bytes = self._workspace()
        stored = metering.stored_bytes() / (1 + _FILLING + _COUNTED + 1 + _WARM)
        return Measured(
            steps=self.steps,
            schedules=schedules,
            agent_schedules=sorted(_only_with_agent(self.template) & schedules.keys()),
            milliseconds=self._milliseconds(),
            init_milliseconds=self._init_milliseconds(),
            keys=self.keys,
            standing=_standing(self.template),
            table_bytes_a_message=round(stored),
            snapshot_bytes=snapshot_bytes,
            boot_seconds=_boot_seconds(),
        )

    def _chat_lane(self) -> None:
        self._say("a chat's first message: every process is new, every key is read")
        first = self._window()
        self._ask(_QUESTION)
        self.keys["message"] = first.keys(agent=False)
        self._say(f"{_FILLING} more, until the history is as long as it gets; then {_COUNTED} are counted")
        for _ in range(_FILLING):
            self._ask(_QUESTION)
        window = self._window()
        for _ in range(_COUNTED):
            self._ask(_QUESTION)
        self.steps["chat"] = window.step(_COUNTED)

    def _the_agent(self) -> WatchedAgent:
        self._say("one that a model hands over: an agent is started, and answers")
        window = self._window()
        self._ask(_HANDED_OVER, then_s=0)
        agent = WatchedAgent.of(self.stage, _CHAT, _DEADLINE_S)
        self.steps["woken"] = window.step()
        self.steps["start"] = window.step(caller="StartAgent")
        self.keys["agent"] = window.keys(agent=True)
        self._say(f"{_WARM} to the warm agent, then {_AGENT_HOUR_S:.0f} s without work")
        window = self._window()
        for _ in range(_WARM):
            self._ask(_QUESTION, then_s=0)
        self.steps["agent"] = window.step(_WARM)
        window, began = self._window(), time.monotonic()
        time.sleep(_AGENT_HOUR_S)
        self.steps["agent_hour"] = window.step((time.monotonic() - began) / 3600, caller="Agent")
        return agent

    def _schedule(self, name: str) -> None:
        """One run, in a process that is there."""
        self.stage.cloud.invoke(name, _EVENT)
        self._left_out -= {name}
        window = self._window()
        self.stage.cloud.invoke(name, _EVENT)
        self.steps[name] = window.step(caller=name)
        self._left_out |= {name}

    def _end(self, agent: WatchedAgent) -> None:
        self._say("the agent is stopped")
        window = self._window()
        agent.stop(_DEADLINE_S)
        self._settle()
        self.steps["end"] = window.step()

    def _workspace(self) -> dict[str, float]:
        self._say("a typical workspace is kept, changed, kept again and restored")
        with TemporaryDirectory(prefix="local-cost-") as folder:
            return self._kept(Path(folder))

    def _kept(self, folder: Path) -> dict[str, float]:
        cloud = _Bucket()
        machine = Machine(cloud, folder / "a", cloud.begin())
        machine.restore()
        for number in range(_SMALL_FILES):
            (machine.workspace / f"note-{number}.md").write_bytes(number.to_bytes(4) * (_SMALL_BYTES // 4))
        machine.memory.parent.mkdir(parents=True, exist_ok=True)
        machine.memory.write_bytes(b"m" * _MEMORY_BYTES)
        machine.back_up()
        before = _stored(cloud)
        machine.memory.write_bytes(b"n" * _MEMORY_BYTES)
        (machine.workspace / "note-0.md").write_bytes(b"new" * 1000)
        machine.calls.made.clear()
        machine.back_up()
        self.steps["snapshot"] = Step(_of_calls(machine.calls))
        other = Machine(cloud, folder / "b", cloud.begin())
        other.restore()
        self.steps["restore"] = Step(_of_calls(other.calls))
        return {"workspace": float(before), "snapshot": float(_stored(cloud) - before)}

    def _ask(self, text: str, then_s: float = MINUTE_S) -> None:
        """Write a message and wait for its answer and the end of everything; then some time passes.

        Not beside an agent: it renews its lease by the clock on the wall.
        """
        telegram = self.stage.outside.telegram
        heard, began = len(telegram.sent_to(_CHAT)), time.monotonic()
        self.stage.write(_CHAT, text)
        while len(telegram.sent_to(_CHAT)) == heard:
            if time.monotonic() - began > _DEADLINE_S:
                raise StageError(
                    f"no answer in {_DEADLINE_S:.0f} s; PrepareTurn says:\n{self.stage.last_log('PrepareTurn')}"
                )
            time.sleep(_POLL_S)
        self._settle()
        self.stage.clock.advance(then_s)
        self._settle()

    def _settle(self) -> None:
        if not self.stage.settle(_DEADLINE_S):
            raise StageError("the local cloud does not come to rest")

    def _window(self) -> _Window:
        return _Window(self.stage, self.meter.calls, self._left_out)

    def _milliseconds(self) -> dict[str, float]:
        found: defaultdict[str, list[float]] = defaultdict(list)
        for one in self.stage.cloud.invocations:
            if not one.cold:
                found[one.function].append(one.duration_ms)
        for one in self.stage.cloud.invocations:
            found[one.function] = found[one.function] or [one.duration_ms]
        return {name: round(median(values), 1) for name, values in sorted(found.items())}

    def _init_milliseconds(self) -> dict[str, float]:
        found = {one.function: one.init_ms for one in self.stage.cloud.invocations if one.init_ms is not None}
        return {name: round(value, 1) for name, value in sorted(found.items())}

    def _say(self, text: str) -> None:
        self.console.print(f"  {text} …", highlight=False)


_EVENT = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}, "resources": []}


class _Bucket(Cloud):
    """One whose contents go up and come down in the parts that are the product's, not in the trials' small ones."""

    def blobs(self, calls: Calls | None = None) -> S3Blobs:
        """The contents."""
        return S3Blobs((calls or Calls()).through(self.s3), BUCKET, CHAT)


def _of_calls(calls: Calls) -> dict[str, float]:
    """What the product's backup asked of S3 and DynamoDB, by boto3's names."""
    counts: Counter[str] = Counter()
    for name in calls.made:
        operation = "".join(part.title() for part in name.split("_"))
        counts.update(_PRICED.get(operation, units.of_s3(operation)))
    return dict(sorted(counts.items()))


_PRICED: Mapping[str, units.Counts] = {
    "GetItem": {"read_units": 1},
    "Query": {"read_units": 1},
    "UpdateItem": {"write_units": 1},
    "TransactWriteItems": {"write_units": 4},
}
"""Of the pointer and the list: small items, two of them in a transaction (decision 16)."""


def _stored(cloud: Cloud) -> int:
    return sum(len(version.data) for versions in cloud.s3.objects.values() for version in versions)


_OFF_BY_DEFAULT = "Warms"
"""The condition of a schedule that a parameter has to be set for."""


def _schedules(template: Template, now: float) -> dict[str, float]:
    """Functions that a schedule of the template runs, and how many seconds lie between two runs."""
    found = {}
    for name, properties in _functions(template).items():
        for event in properties.get("Events", {}).values():
            if event["Type"] == "Schedule" and _OFF_BY_DEFAULT not in json.dumps(event):
                expression = parse(event["Properties"]["Schedule"], now)
                first = expression.next_after(now)
                found[name] = expression.next_after(first) - first
    return found


def _only_with_agent(template: Template) -> set[str]:
    """Functions that run only where there is an agent: their schedule or they themselves hang on it."""
    resources = template.source["Resources"]
    return {
        name
        for name, properties in _functions(template).items()
        if resources[name].get("Condition") == "HasAgent" or "HasAgent" in json.dumps(properties.get("Events", {}))
    }


def _functions(template: Template) -> dict[str, Any]:
    resources = template.source["Resources"].items()
    return {name: one["Properties"] for name, one in resources if one["Type"] == "AWS::Serverless::Function"}


def _standing(template: Template) -> dict[str, float]:
    """What is paid for by the month."""
    of_type: Callable[[str], list[Any]] = lambda kind: [  # noqa: E731 (a name for a filter)
        one["Properties"] for one in template.source["Resources"].values() if one["Type"] == f"AWS::CloudWatch::{kind}"
    ]
    watched = [
        [one for one in alarm.get("Metrics", []) if "MetricStat" in one] or [alarm] for alarm in of_type("Alarm")
    ]
    return {
        "metrics": float(sum(len(metric.values) or 1 for metric in METRICS)),
        "alarm_metrics": float(sum(map(len, watched))),
        "dashboards": float(len(of_type("Dashboard"))),
    }


def _boot_seconds() -> float:
    """As `make agent-demo` has measured it here, else what it is known to take."""
    if not AGENT_FIGURES.is_file():
        return _BOOT_S
    return float(json.loads(AGENT_FIGURES.read_text("utf-8"))["seconds_to_ready"]) or _BOOT_S


def run(console: Console, *, build_dir: Path = BUILD_DIR, output: Path = OUTPUT, page: bool = True) -> int:
    """Measure, reckon, and write the figures and the page.

    Args:
        console: Where it is shown.
        build_dir: Where `sam build` put the functions.
        output: Where the figures are written.
        page: Whether docs/cost.json and docs/cost.md are written, too.

    Raises:
        StageError: it could not run.
    """
    began = time.monotonic()
    meter = Meter([])
    template = Template(PROJECT / "template.yaml", {"BotUsername": "some_bot"})
    with set_up(
        console, start=_START, build_dir=build_dir, simulate_all=True, agent_mode="auto", pretended=True, meter=meter
    ) as stage:
        measured = Measuring(stage, meter, console, template).run()
        denied = stage.cloud.denied
    if denied:
        raise StageError(f"IAM refused {len(denied)} calls: {denied[0]}")
    figures = cost_page.figures(measured, Assumed())
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(figures, "utf-8")
    if page:
        FIGURES.write_text(figures, "utf-8")
        PAGE.write_text(cost_page.renewed(PAGE.read_text("utf-8"), measured, Assumed()), "utf-8")
    console.print(cost_page.modes(measured, Assumed()), markup=False, highlight=False, soft_wrap=True)
    console.print(f"{time.monotonic() - began:.0f} s; written: {output}" + (f", {FIGURES}, {PAGE}" if page else ""))
    return 0

"""`make bench`: what a user waits for, as ratios within one run. Seconds on this machine mean nothing elsewhere.

Measured: bringing up each function (import and wiring, as Lambda's init phase does it) against importing boto3 and
making one client, which no function can do without; and a message through the whole warm system against a plain Query.
Then the agent's boot (`local.bench_boot`), what keeping a workspace takes (`local.bench_workspace`), and what Claude
reads from its prompt cache (`local.caching`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from local import bench_boot, bench_workspace, caching
from local.stage import BUILD_DIR, StageError, set_up
from local.template import Resolver, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.stage import Stage

PROJECT = Path(__file__).parents[1]
OUTPUT = PROJECT / "build" / "bench.json"
RUNS = 7
MESSAGES = 20
_BASELINE = "import boto3; boto3.client('dynamodb')"
_TIMED = "import time; began = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
_DEADLINE_S = 30
_CHAT = 42


def main() -> int:
    """Measure, print, write build/bench.json and build/cache.json; exit code 1 if there is no build or no caching."""
    console = Console()
    try:
        figures: dict[str, Mapping[str, Any]] = {"init": _init(console), "message": _message(console)}
        figures["boot"] = bench_boot.measure(console)
        figures["workspace"] = bench_workspace.measure(console)
    except StageError as error:
        console.print(str(error), style="red")
        return 1
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    _show(console, figures)
    return caching.run(console)


def _init(console: Console) -> dict[str, float]:
    """Seconds of each function's init as a ratio to boto3 with one client; medians of interleaved runs."""
    if not (BUILD_DIR / "CoreLayer").is_dir():
        raise StageError(f"there is no build in {BUILD_DIR}: run `make build` first")
    codes: dict[str, tuple[str, Mapping[str, str]]] = {"boto3": (_BASELINE, {})} | {
        name: (f"import {module}; {module}.handler", environment)
        for name, (module, environment) in environments().items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    with console.status("bringing up the functions …"):
        for _ in range(RUNS):
            for name, (code, environment) in codes.items():
                seconds[name].append(_timed(code, environment))
    baseline = median(seconds["boto3"])
    return {name: round(median(values) / baseline, 2) for name, values in seconds.items()}


class _StandsIn:
    """In the place of resources that do not exist: a name and an address."""

    def ref(self, logical_id: str) -> str:
        """A name."""
        return logical_id

    def attribute(self, logical_id: str, name: str) -> str:
        """Something of it."""
        return f"{logical_id}.{name}"


def environments() -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """Module and environment of each function, as the template has them; resources it refers to are stand-ins."""
    template = Template(PROJECT / "template.yaml", {"BotUsername": "bench_bot"})
    resolver = Resolver(template, _StandsIn())
    found = {}
    for resource in template.resources:
        if resource.type == "AWS::Lambda::Function":
            variables = resolver.resolve(resource.properties["Environment"]["Variables"])
            plain = {key: str(value) for key, value in variables.items()} | {"POWERTOOLS_LOG_LEVEL": "INFO"}
            found[resource.logical_id] = (resource.properties["Handler"].split(".")[0], plain)
    return found


def _timed(code: str, environment: Mapping[str, str]) -> float:
    path = os.pathsep.join([str(BUILD_DIR / "Webhook"), str(BUILD_DIR / "CoreLayer" / "python")])
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(code=code)],
        env={"PYTHONPATH": path, "AWS_DEFAULT_REGION": "eu-west-1", **environment},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _message(console: Console) -> dict[str, float]:
    """A warm message's way through the system, in plain Queries over the same wire."""
    with set_up(console, simulate_all=True) as stage:
        stage.allow(_CHAT)
        _say(stage, "warm up")
        messages = [_seconds(partial(_say, stage, f"message {number}")) for number in range(MESSAGES)]
        queries = [_seconds(stage.quota_lines) for _ in range(MESSAGES)]
    return {"queries": round(median(messages) / median(queries), 1)}


def _say(stage: Stage, text: str) -> None:
    stage.clock.advance(60)
    stage.write(_CHAT, text)
    stage.settle(_DEADLINE_S)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _show(console: Console, figures: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(title="Ratios of one run")
    table.add_column("what")
    table.add_column("ratio", justify="right")
    for name, ratio in figures["init"].items():
        table.add_row(f"init of {name} / boto3 with one client", f"{ratio:.2f}")
    table.add_row("a warm message / a Query", f"{figures['message']['queries']:.1f}")
    for name, figure in bench_boot.rows(figures["boot"]):
        table.add_row(name, figure)
    console.print(table)
    console.print(f"written to {OUTPUT.relative_to(PROJECT)}")


if __name__ == "__main__":
    sys.exit(main())

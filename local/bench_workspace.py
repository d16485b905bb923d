"""What keeping a workspace takes, beside what others do: everything up again one by one, and `aws s3 sync`.

All of them speak to the same small S3 in a process of its own, which adds the same to every request, and in turn; the
pointer's DynamoDB, which only ours needs, adds the same, too. `aws` is installed into build/awscli, since it pins what
it needs. moto is not asked: at 3 to 5 ms of its CPU a request it would be what is measured.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from rich.table import Table as Rows

from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import CONFIG, S3Blobs
from assistant.turns.agents import Generation
from assistant.wiring import SystemClock
from assistant.workspace.backing_up import Backup, Came
from assistant.workspace.databases import Databases
from assistant.workspace.manifest import STATE_FILES
from assistant.workspace.model import NOTHING, Root
from assistant.workspace.restoring import Places, Restoring
from assistant.workspace.scanning import Scanner
from assistant.workspace.transfers import Transfers
from local import workspace_trials
from local.small_s3_server import COUNTS_PATH, EMPTY_PATH
from local.workspace_trials import CHAT, Calls, Cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console

PROJECT = Path(__file__).parents[1]
AWSCLI = "awscli==1.46.3"
LATENCIES_MS = (20, 0)
FILES, FILE_BYTES = 1000, 50_000
MANY, LARGE_BYTES = 10_000, 1_000_000_000
STEPS = ("first backup", "nothing changed", "1 % changed", "restore")


@dataclass
class Cost:
    """What one step took."""

    seconds: float
    requests: int
    megabytes: float


@dataclass
class Server:
    """The small S3 and how to speak to it."""

    port: int
    latency_s: float
    dynamodb_calls: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:  # noqa: ANN401 (boto3's own types)
        """boto3's, as the container has it."""
        config = Config(retries={"total_max_attempts": 1}, **CONFIG)
        keys: dict[str, Any] = {
            "aws_access_key_id": "bench",
            "aws_secret_access_key": "bench",
            "region_name": "eu-west-1",
        }
        return boto3.client("s3", endpoint_url=self.url, config=config, **keys)

    def measured(self, act: Callable[[], object]) -> Cost:
        """Do it, and say what it took."""
        self._told(COUNTS_PATH)
        self.dynamodb_calls = 0
        began = time.perf_counter()
        act()
        seconds = time.perf_counter() - began
        counts = json.loads(self._told(COUNTS_PATH))
        moved = (counts["received"] + counts["sent"]) / 1e6
        return Cost(round(seconds, 3), counts["requests"] + self.dynamodb_calls, round(moved, 2))

    def empty(self) -> None:
        """Have nothing in the bucket."""
        self._told(EMPTY_PATH)

    def _told(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:  # noqa: S310 (our own, on loopback)
            return str(response.read().decode())


class SlowCalls(Calls):
    """Calls to DynamoDB that take what every request takes, and count as one."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server

    def make(self, name: str, perform: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Make a call."""
        self._server.dynamodb_calls += 1
        time.sleep(self._server.latency_s)
        return super().make(name, perform)


class Ours:
    """A container's disk with what backs it up and restores it."""

    def __init__(self, server: Server, cloud: Cloud, folder: Path) -> None:
        owner = os.getuid()
        self.places = Places(folder / "workspace" / "files", folder / "state", owner)
        self._generation = Generation(CHAT, cloud.begin().number)
        self._databases = Databases(owner, folder)
        self._snapshots = DynamoSnapshots(cloud.table(SlowCalls(server)))
        self._blobs = S3Blobs(server.client(), "bench", CHAT)
        self._backup: Backup | None = None

    def restore(self) -> None:
        """Put the last snapshot in place."""
        restored = Restoring(self.places, self._blobs, self._snapshots, Transfers())(CHAT)
        state = self.places.state or Path()
        scanners = [
            Scanner(Root.WORKSPACE, self.places.workspace, self.places.owner, self._databases),
            Scanner(Root.STATE, state, self.places.owner, self._databases, only=STATE_FILES),
        ]
        self._backup = Backup(
            self._generation,
            restored,
            scanners,
            self._databases,
            blobs=self._blobs,
            snapshots=self._snapshots,
            clock=SystemClock(),
            transfers=Transfers(),
        )

    def back_up(self) -> None:
        """Keep what there is; RuntimeError if that is not what happened."""
        if self._backup is None or self._backup(NOTHING).came == Came.REPLACED:
            raise RuntimeError("there was no backup")


def fill(folder: Path, files: int, size: int) -> None:
    """Files of random content in fifty folders."""
    draw = random.Random(1)
    for number in range(files):
        path = folder / f"folder-{number % 50}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(size))


def touch(folder: Path, share: float = 0.01) -> None:
    """Change some of the files."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[:: int(1 / share)]:
        path.write_bytes(os.urandom(path.stat().st_size))


@contextlib.contextmanager
def a_server(latency_s: float) -> Iterator[Server]:
    """The small S3, in a process of its own."""
    command = [sys.executable, "-m", "local.small_s3_server", "--latency", str(latency_s)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 (asked for above)
        try:
            yield Server(int(process.stdout.readline()), latency_s)
        finally:
            process.kill()


# The three


def ours(server: Server, folder: Path) -> dict[str, Cost]:
    """Snapshots."""
    cloud = Cloud()
    first = Ours(server, cloud, folder / "ours")
    first.restore()
    fill(first.places.workspace, FILES, FILE_BYTES)
    time.sleep(0.2)  # what was just written would be read again by the next scan; it is not what is measured
    costs = {STEPS[0]: server.measured(first.back_up), STEPS[1]: server.measured(first.back_up)}
    touch(first.places.workspace)
    costs[STEPS[2]] = server.measured(first.back_up)
    second = Ours(server, cloud, folder / "ours-restored")
    costs[STEPS[3]] = server.measured(second.restore)
    _compare(first.places.workspace, second.places.workspace)
    return costs


def one_by_one(server: Server, folder: Path) -> dict[str, Cost]:
    """What the peers do: every file with every backup, and back, one after the other."""
    client, source, target = server.client(), folder / "one", folder / "one-restored"
    fill(source, FILES, FILE_BYTES)

    def up() -> None:
        for path in source.rglob("*"):
            if path.is_file():
                client.put_object(Bucket="bench", Key=str(path.relative_to(source)), Body=path.read_bytes())

    def down() -> None:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="bench"):
            for each in page["Contents"]:
                path = target / each["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(client.get_object(Bucket="bench", Key=each["Key"])["Body"].read())

    first = server.measured(up)
    costs = {STEPS[0]: first, STEPS[1]: first}  # the same again, whatever has changed
    touch(source)
    costs |= {STEPS[2]: server.measured(up), STEPS[3]: server.measured(down)}
    _compare(source, target)
    return costs


def sync(server: Server, folder: Path, aws: Path) -> dict[str, Cost]:
    """`aws s3 sync`, both ways."""
    source, target = folder / "sync", folder / "sync-restored"
    fill(source, FILES, FILE_BYTES)
    environment = {
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "PATH": os.defpath,
        "HOME": str(folder),
    }

    def run(*places: str) -> None:
        command = [str(aws), "s3", "sync", *places, "--endpoint-url", server.url, "--only-show-errors", "--delete"]
        subprocess.run(command, env=environment, check=True, timeout=600)

    up, down = partial(run, str(source), "s3://bench/sync"), partial(run, "s3://bench/sync", str(target))
    costs = {STEPS[0]: server.measured(up), STEPS[1]: server.measured(up)}
    time.sleep(1.1)  # it compares times in seconds
    touch(source)
    costs |= {STEPS[2]: server.measured(up), STEPS[3]: server.measured(down)}
    _compare(source, target)
    return costs


def _compare(one: Path, other: Path) -> None:
    for path in one.rglob("*"):
        if path.is_file() and not filecmp.cmp(path, other / path.relative_to(one), shallow=False):
            raise RuntimeError(f"{path} did not come back as it was")


# Much, and large


def grown(console: Console, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of a first backup and a restore of many files, and of one that is large."""
    found = {}
    for name, files, size in (("10,000 files of 5 KB", MANY, 5_000), ("one file of 1 GB", 1, LARGE_BYTES)):
        with console.status(f"{name} …"), a_server(0.02) as server:
            what = [str(server.port), str(files), str(size), str(folder)]
            command = [sys.executable, "-m", "local.bench_workspace", *what]
            done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=600)
            found[name] = json.loads(done.stdout)
    return found


def _grow(port: int, files: int, size: int, folder: Path) -> dict[str, float]:
    """In a process of its own, whose peak memory is measured; what it writes is written in pieces."""
    server, cloud = Server(port, 0.02), Cloud()
    first = Ours(server, cloud, folder / f"{files}-a")
    first.restore()
    before = _peak_mb()
    if files > 1:
        fill(first.places.workspace, files, size)
    else:
        with (first.places.workspace / "large").open("wb") as large:
            for _ in range(size // 1_000_000):
                large.write(os.urandom(1_000_000))
    time.sleep(0.2)
    seconds = {"first backup": server.measured(first.back_up), "nothing changed": server.measured(first.back_up)}
    second = Ours(server, cloud, folder / f"{files}-b")  # its generation is the end of the first one
    seconds["restore"] = server.measured(second.restore)
    _compare(first.places.workspace, second.places.workspace)
    told = {f"{step} s": cost.seconds for step, cost in seconds.items()}
    shutil.rmtree(folder / f"{files}-a")
    shutil.rmtree(folder / f"{files}-b")
    return told | {"MB before": before, "peak MB": _peak_mb()}


def _peak_mb() -> float:
    # Not getrusage's: on Linux a program begins with the peak of the one that has started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


# All of it


def measure(console: Console) -> dict[str, Any]:
    """Everything, as it goes into build/bench.json under `workspace`."""
    aws = _awscli(console)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-workspace-") as name:
        for latency_ms in LATENCIES_MS:
            with console.status(f"{FILES} files at {latency_ms} ms a request …"):
                figures[f"{latency_ms} ms"] = _round(latency_ms / 1000, Path(name) / str(latency_ms), aws)
        figures["grown"] = grown(console, Path(name))
    figures["trials"] = _trials(console)
    figures["aims"] = _aims(figures["20 ms"], figures["grown"], figures["trials"])
    show(console, figures)
    return figures


def _round(latency_s: float, folder: Path, aws: Path) -> dict[str, dict[str, dict[str, float]]]:
    found = {}
    ways: dict[str, Callable[[Server, Path], dict[str, Cost]]] = {
        "snapshots": ours,
        "one by one": one_by_one,
        "aws s3 sync": partial(sync, aws=aws),
    }
    with a_server(latency_s) as server:
        for way, run in ways.items():
            server.empty()
            found[way] = {step: asdict(cost) for step, cost in run(server, folder).items()}
    return found


def _trials(console: Console) -> dict[str, dict[str, int]]:
    with console.status("stopping backups, restores and collections at every call …"):
        runs = {
            "backup": workspace_trials.try_backups,
            "restore": workspace_trials.try_restores,
            "collection": workspace_trials.try_collections,
            "bringing back": workspace_trials.try_returns,
        }
        tallies = {name: run() for name, run in runs.items()}
    return {name: {"calls tried": tally.tried, "states lost": len(tally.lost)} for name, tally in tallies.items()}


def _aims(slow: dict[str, Any], grown_: dict[str, Any], trials: dict[str, Any]) -> dict[str, bool]:
    snapshots, single, synced = slow["snapshots"], slow["one by one"], slow["aws s3 sync"]
    unchanged, changed = snapshots["nothing changed"], snapshots["1 % changed"]["seconds"]
    return {
        "nothing changed: at most 2 requests": unchanged["requests"] <= 2,
        "nothing changed: at most 100 ms": unchanged["seconds"] <= 0.1,
        "1 % changed: at least 20 times faster than one by one": single["1 % changed"]["seconds"] >= 20 * changed,
        "1 % changed: faster than sync": synced["1 % changed"]["seconds"] > changed,
        "restore: at least 4 times faster than one by one": single["restore"]["seconds"]
        >= 4 * snapshots["restore"]["seconds"],
        "10,000 files, 1 GB: at most 200 MB": all(each["peak MB"] <= 200 for each in grown_.values()),
        "no state lost": not any(each["states lost"] for each in trials.values()),
    }


def _awscli(console: Console) -> Path:
    """The aws command line, in a virtual environment of its own."""
    home = PROJECT / "build" / "awscli"
    aws = home / "bin" / "aws"
    if not aws.exists():
        with console.status("installing the aws command line into build/awscli …"):
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
            pip = [str(home / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", AWSCLI]
            subprocess.run(pip, check=True, timeout=600, capture_output=True)
    return aws


def show(console: Console, figures: Mapping[str, Any]) -> None:
    """Print what was measured."""
    for latency in (f"{each} ms" for each in LATENCIES_MS):
        rows = Rows(title=f"{FILES:,} files, {FILES * FILE_BYTES / 1e6:.0f} MB, {latency} added to each request")
        rows.add_column("")
        for step in STEPS:
            rows.add_column(f"{step}\ns / requests / MB", justify="right")
        for way, costs in figures[latency].items():
            cells = [costs[step] for step in STEPS]
            rows.add_row(way, *(f"{each['seconds']:.2f} / {each['requests']} / {each['megabytes']}" for each in cells))
        console.print(rows)
    for name, told in figures["grown"].items():
        console.print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in told.items()))
    for name, told in figures["trials"].items():
        console.print(f"{name}: " + ", ".join(f"{key}: {value}" for key, value in told.items()))
    for aim, met in figures["aims"].items():
        console.print(f"{'met' if met else 'NOT met'}: {aim}", style=None if met else "red")


if __name__ == "__main__":
    port_, files_, size_ = (int(each) for each in sys.argv[1:4])
    print(json.dumps(_grow(port_, files_, size_, Path(sys.argv[4]))))

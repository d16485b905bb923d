"""The agent's boot in `make bench`: from the start of its process to its first answer, against a serial start.

Three ways to the same answer with the same OpenClaw, each a process of its own, in turns: *ours* is `python -m agent`
with what the image's build prepares (`agent.prove`); *serial* is what one would write down first: with OpenClaw's own
configuration its gateway is started, waited for, connected to and only then asked; *warm* is the same when Node has
compiled everything before. In the serial start's favour its configuration is there at once, and nothing is restored.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console

from agent.atomic_file import write_private
from agent.gateway import Gateway, GatewaySettings
from agent.gateway_client import GatewayClient
from agent.life import signals_set
from agent.openclaw_config import as_text, patched
from assistant.turns.chain import load_chain
from local.agent_image import NODE, OPENCLAW, is_installed
from local.simulators.outside import CONNECTIONS, Outside
from local.simulators.serving import served
from local.stage import StageError

PROJECT = Path(__file__).parents[1]
AIM = 0.65
RUNS = 3
WAYS = ("ours", "serial", "warm")

_GATEWAY_PORT, _RELAY_PORT, _PORT = 28789, 28790, 28080
_TOKEN = "bench"  # noqa: S105 (it opens nothing)
_DEADLINE_S = 180
_POLL_S = 0.02
_STOP_S = 30


type _Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class _Clock:
    """Real time, for the simulators."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()


@dataclass(frozen=True)
class _Place:
    """Where an agent of the benchmark has its things; always the same, as in the container."""

    folder: Path

    def environment(self, cache: Path) -> dict[str, str]:
        """What the container's image sets."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
            "NODE": str(NODE),
            "OPENCLAW": str(OPENCLAW),
            "STATE_FOLDER": str(self.folder / "state"),
            "WORKSPACE_FOLDER": str(self.folder / "workspace"),
            "TEMPORARY_FOLDER": str(self.folder / "tmp"),
            "COMPILE_CACHE": str(cache),
            "PREPARED_STATE": str(self.folder / "prepared"),
            "GATEWAY_PORT": str(_GATEWAY_PORT),
            "RELAY_PORT": str(_RELAY_PORT),
            "PORT": str(_PORT),
            "BRIDGE_AUTH_TOKEN": _TOKEN,
            "POWERTOOLS_LOG_LEVEL": "CRITICAL",
        }

    def empty(self) -> None:
        """As at the start of a container."""
        for name in ("state", "workspace", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()


def measure(console: Console) -> dict[str, Any]:
    """Seconds to the first answer as ratios, medians of interleaved runs; and the parts of the quickest of ours.

    Raises:
        StageError: OpenClaw is not installed, or did not answer.
    """
    if not is_installed():
        raise StageError("there is no OpenClaw in .node: run `make bench`, which installs it")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    parts: list[Mapping[str, float]] = []
    with TemporaryDirectory(prefix="bench-boot-") as made, served(Outside(_Clock())) as urls:
        place = _Place(Path(made))
        with console.status("preparing what the image's build prepares …"):
            _prepare(place)
        for run in range(RUNS):
            with console.status(f"booting the agent in three ways, {run + 1} of {RUNS} …"):
                ours, told = _ours(place, urls)
                seconds["ours"].append(ours)
                parts.append(told)
                cold = place.folder / f"cold-{run}"
                seconds["serial"].append(_serial(place, urls, cold))
                seconds["warm"].append(_serial(place, urls, place.folder / "cold-0"))
    medians = {way: round(median(values), 1) for way, values in seconds.items()}
    return {
        "ratio_to_serial": round(median(seconds["ours"]) / median(seconds["serial"]), 2),
        "ratio_to_serial_warm": round(median(seconds["ours"]) / median(seconds["warm"]), 2),
        "seconds": medians,
        "parts": parts[seconds["ours"].index(min(seconds["ours"]))],
    }


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is shown of them: name and figure."""
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in figures["parts"].items())
    medians = ", ".join(f"{way} {seconds:.1f}" for way, seconds in figures["seconds"].items())
    return [
        (f"first answer of an agent / of a serial start (aim: {AIM})", f"{figures['ratio_to_serial']:.2f}"),
        ("first answer of an agent / of a serial start, compiled before", f"{figures['ratio_to_serial_warm']:.2f}"),
        (f"   seconds: {medians}", ""),
        (f"   parts of the quickest: {parts}", ""),
    ]


def _prepare(place: _Place) -> None:
    place.empty()
    done = subprocess.run(
        [sys.executable, "-m", "agent.prove"],
        env=place.environment(place.folder / "cache"),
        capture_output=True,
        text=True,
        timeout=2 * _DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise StageError(done.stderr.strip().rpartition("\n")[2])


def _ours(place: _Place, urls: Mapping[str, str]) -> tuple[float, Mapping[str, float]]:
    """Seconds to the first answer, and what the bridge says of its parts."""
    environment = place.environment(place.folder / "cache") | _keys() | _base_urls(urls)
    with _running(place, [sys.executable, "-m", "agent"], environment) as (process, began):
        _until(_answered, process)
        seconds = time.monotonic() - began
        parts = httpx.get(f"http://127.0.0.1:{_PORT}/status", headers=_headers()).json()["seconds"]
    return seconds, {**parts, "first answer after that": round(seconds - parts["all"], 3)}


def _answered() -> bool:
    try:
        reply = httpx.post(
            f"http://127.0.0.1:{_PORT}/message", headers=_headers(), json={"message": "Hello"}, timeout=_DEADLINE_S
        )
    except httpx.TransportError:
        return False
    return reply.status_code == httpx.codes.OK


def _serial(place: _Place, urls: Mapping[str, str], cache: Path) -> float:
    """Seconds to the first answer of a start one thing after another."""
    told = place.folder / "answered"
    told.unlink(missing_ok=True)
    environment = place.environment(cache) | _keys() | {"URLS": json.dumps(dict(urls)), "ANSWERED": str(told)}
    with _running(place, [sys.executable, "-m", "local.bench_boot"], environment) as (process, began):
        _until(told.exists, process)
        return time.monotonic() - began


@contextmanager
def _running(place: _Place, command: list[str], environment: Mapping[str, str]) -> Iterator[tuple[_Process, float]]:
    """A process in an empty place, ended at the end; and when it began."""
    place.empty()
    began = time.monotonic()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, cwd=PROJECT)
    try:
        yield process, began
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _until(condition: Callable[[], bool], process: _Process) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        if process.poll() is not None:
            raise StageError(f"the process ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise StageError(f"no answer in {_DEADLINE_S} seconds")
        time.sleep(_POLL_S)


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {_TOKEN}"}


def _keys() -> dict[str, str]:
    return {place.variable: f"simulated-key-of-{each}" for each, place in CONNECTIONS.items()}


def _base_urls(urls: Mapping[str, str]) -> dict[str, str]:
    return {place.variable.replace("_API_KEY", "_BASE_URL"): urls[each] for each, place in CONNECTIONS.items()}


async def _one_after_another(environment: Mapping[str, str], stop: asyncio.Event) -> None:
    """What `serial` and `warm` do: start, wait, connect, ask; then wait to be ended."""
    state = Path(environment["STATE_FOLDER"])
    settings = GatewaySettings(
        node=NODE,
        openclaw=OPENCLAW,
        config=state / "openclaw.json",
        state=state,
        workspace=Path(environment["WORKSPACE_FOLDER"]),
        temporary=Path(environment["TEMPORARY_FOLDER"]),
        port=_GATEWAY_PORT,
        token=_TOKEN,
        compile_cache=Path(environment["COMPILE_CACHE"]),
        keys={place.variable: environment[place.variable] for place in CONNECTIONS.values()},
    )
    write_private(settings.config, as_text(_defaults(json.loads(environment["URLS"]), settings)))
    gateway = Gateway(settings, log=lambda _: None, environment=environment)
    gateway.start()
    client = GatewayClient(settings.url, settings.token)
    try:
        await gateway.ready()
        await client.connect(deadline_s=_DEADLINE_S)
        await client.run("agent:main:bench", "Hello", run_id=uuid.uuid4().hex, timeout_s=_DEADLINE_S)
        write_private(Path(environment["ANSWERED"]), "yes")
        await stop.wait()
    finally:
        await client.close()
        await gateway.stop(grace_s=_STOP_S / 2)


def _defaults(urls: Mapping[str, str], settings: GatewaySettings) -> dict[str, object]:
    """The providers and where the gateway is; of all else OpenClaw's own defaults."""
    chain = load_chain()
    full = patched({}, chain, port=settings.port, relay_url=None, workspace=str(settings.workspace))
    providers = full["models"]["providers"]
    for each in chain.providers:
        base = urls[each.id]
        providers[each.id]["baseUrl"] = base
        providers[each.id].pop("headers", None)
    return {
        "gateway": {"mode": "local", "port": settings.port, "bind": "loopback", "auth": {"mode": "token"}},
        "models": {"providers": providers},
        # Else it installs a plugin from npm, which takes longer than everything else together.
        "tools": {"web": {"search": {"enabled": False}}},
        "agents": {"defaults": {"model": full["agents"]["defaults"]["model"], "workspace": str(settings.workspace)}},
    }


async def _until_ended() -> None:
    stop = asyncio.Event()
    with signals_set(stop):
        await _one_after_another(os.environ, stop)


if __name__ == "__main__":
    asyncio.run(_until_ended())

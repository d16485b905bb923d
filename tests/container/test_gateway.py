"""The gateway's process: what it gets, how it is watched, and how it ends. A Python script stands in for OpenClaw."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.gateway import INHERITED, Gateway, GatewayDied, GatewaySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

TOKEN = "gateway-token-of-this-boot"
RELAY_TOKEN = "relay-token-of-this-boot"
KEY = "a-providers-key"
DEADLINE_S = 15


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Home:
    """A gateway's folders, and what it logged."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def settings(self, **behaviour: Any) -> GatewaySettings:
        port = free_port()
        for name in ("state", "workspace", "tmp"):
            (self.path / name).mkdir(exist_ok=True)
        (self.path / "openclaw.json").write_text(json.dumps({"gateway": {"port": port}}))
        (self.path / "state" / "behaviour.json").write_text(json.dumps(behaviour))
        return GatewaySettings(
            node=Path(sys.executable),
            openclaw=Path(__file__).with_name("pretend_openclaw.py"),
            config=self.path / "openclaw.json",
            state=self.path / "state",
            workspace=self.path / "workspace",
            temporary=self.path / "tmp",
            port=port,
            token=TOKEN,
            relay_token=RELAY_TOKEN,
        )

    @property
    def starts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "state" / "starts").read_text().splitlines()]

    @property
    def child(self) -> int:
        return int((self.path / "state" / "child.pid").read_text())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@asynccontextmanager
async def started(home: Home, settings: GatewaySettings, **options: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings, log=home.lines.append, **options)
    gateway.start()
    try:
        yield gateway
    finally:
        await asyncio.wait_for(gateway.stop(grace_s=0.2), DEADLINE_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (a process's doing, which sets no event)
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


async def test_it_is_ready_when_it_says_so(home: Home) -> None:
    gateway = Gateway(home.settings(ready_after=3), log=home.lines.append)
    seen = [(gateway.is_ready, gateway.pid is None)]
    gateway.start()
    try:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)
        seen.append((gateway.is_ready, gateway.pid is None))
    finally:
        await asyncio.wait_for(gateway.stop(grace_s=0.2), DEADLINE_S)
    seen.append((gateway.is_ready, gateway.pid is None))

    assert seen == [(False, True), (True, False), (False, True)]
    assert gateway.seconds_to_ready is not None
    assert home.starts[0]["arguments"] == ["gateway", "run"]


async def test_its_environment_is_an_allow_list(home: Home) -> None:
    ours = {
        "LANG": "C.UTF-8",
        "AWS_SECRET_ACCESS_KEY": "x",
        "OPENROUTER_API_KEY": "x",
        "PYTHONPATH": "x",
        "HTTPS_PROXY": "x",
    }
    ours["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/credentials/x"
    settings = replace(home.settings(), compile_cache=home.path / "cache", keys={"ANTHROPIC_API_KEY": KEY})

    async with started(home, settings, environment=ours) as gateway:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)

    environment = home.starts[0]["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own doing (PEP 538)
    assert environment == settings.environment(ours)
    assert set(environment) == {
        *(
            "LANG",
            "PATH",
            "HOME",
            "TMPDIR",
            "NODE_ENV",
            "NODE_COMPILE_CACHE",
            "OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED",
        ),
        *("OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH", "OPENCLAW_WORKSPACE_DIR", "OPENCLAW_GATEWAY_TOKEN"),
        *("OPENCLAW_RELAY_TOKEN", "ANTHROPIC_API_KEY"),
    }
    assert not any(name.startswith("AWS") for name in INHERITED)


async def test_without_a_relay_there_is_no_token_for_one(home: Home) -> None:
    settings = replace(home.settings(), relay_token=None)

    assert "OPENCLAW_RELAY_TOKEN" not in settings.environment({})
    assert TOKEN not in repr(settings)
    assert RELAY_TOKEN not in repr(home.settings())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_it_runs_as_the_agents_user_without_a_way_back() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        home = Home(Path(folder))
        script = home.path / "openclaw.sh"
        script.write_text('cat /proc/self/status >"$OPENCLAW_STATE_DIR/status"')
        settings = replace(home.settings(), node=Path("/bin/sh"), openclaw=script, user=65_533)
        for path in (home.path, *home.path.rglob("*")):
            os.chown(path, 65_533, 65_533)

        async with started(home, settings, restarts=0) as gateway:
            assert (await asyncio.wait_for(gateway.died(), DEADLINE_S)).status == 0

        lines = (settings.state / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert status["Uid"].split() == ["65533"] * 4
    assert status["Gid"].split() == ["65533"] * 4
    assert status["Groups"].strip() == ""
    assert status["NoNewPrivs"] == "1"
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}


async def test_without_setpriv_python_changes_the_user(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    settings = home.settings()
    if os.geteuid() == 0:
        settings = replace(settings, user=os.geteuid())

    assert settings.command() == [sys.executable, str(settings.openclaw), "gateway", "run"]
    async with started(home, settings) as gateway:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)


async def test_a_death_is_noticed_and_it_is_started_once_more(home: Home) -> None:
    async with started(home, home.settings(child=True)) as gateway:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)
        first, child = gateway.pid, home.child
        assert first is not None

        os.kill(first, signal.SIGKILL)
        await until(lambda: gateway.starts == 2)
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)

        assert gateway.pid not in {None, first}
        await until(lambda: not alive(child))
        assert any("status -9" in line for line in home.lines)

        os.kill(gateway.pid or 0, signal.SIGKILL)
        died = await asyncio.wait_for(gateway.died(), DEADLINE_S)
        assert died.status == -9
        with pytest.raises(GatewayDied):
            await gateway.ready()
    assert gateway.starts == 2


async def test_its_exit_status_is_told(home: Home) -> None:
    settings = home.settings(exit_when_asked=7)
    async with started(home, settings, restarts=0) as gateway:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)
        async with httpx.AsyncClient(timeout=5) as http:
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{settings.port}/die")

        assert (await asyncio.wait_for(gateway.died(), DEADLINE_S)).status == 7


async def test_one_that_never_starts_is_given_up_with_what_it_said(home: Home) -> None:
    async with started(home, home.settings(exit=78, lines=["Invalid config: gateway.port"])) as gateway:
        with pytest.raises(GatewayDied, match="78"):
            await asyncio.wait_for(gateway.ready(), DEADLINE_S)

    assert len(home.starts) == 2
    assert home.lines.count("Invalid config: gateway.port") == 2


async def test_a_program_that_is_not_there_is_an_error_at_once(home: Home) -> None:
    settings = replace(home.settings(), workspace=home.path / "nowhere")
    async with started(home, settings) as gateway:
        with pytest.raises(GatewayDied, match="could not be started"):
            await asyncio.wait_for(gateway.ready(), DEADLINE_S)


async def test_one_that_does_not_become_ready_is_killed(home: Home) -> None:
    async with started(home, home.settings(ready_after=1_000_000), ready_timeout_s=0.5) as gateway:
        with pytest.raises(GatewayDied, match="not ready after") as died:
            await asyncio.wait_for(gateway.ready(), DEADLINE_S)

        assert died.value.status is None
        assert gateway.pid is None


async def test_stop_aborts_then_ends_then_kills(home: Home) -> None:
    gateway = Gateway(home.settings(deaf=True, child=True), log=home.lines.append)
    gateway.start()
    await asyncio.wait_for(gateway.ready(), DEADLINE_S)
    pid, child = gateway.pid, home.child
    aborted: list[bool] = []

    async def abort() -> None:
        aborted.append(alive(pid or 0))
        raise ConnectionError("the socket is gone")

    began = time.monotonic()
    await asyncio.wait_for(gateway.stop(abort=abort, grace_s=0.3), DEADLINE_S)

    assert time.monotonic() - began >= 0.3
    assert aborted == [True]
    await until(lambda: not alive(pid or 0))
    await until(lambda: not alive(child))
    assert isinstance(await gateway.died(), GatewayDied)
    assert gateway.starts == 1


async def test_stop_is_quick_if_it_listens(home: Home) -> None:
    gateway = Gateway(home.settings(), log=home.lines.append)
    gateway.start()
    await asyncio.wait_for(gateway.ready(), DEADLINE_S)

    await asyncio.wait_for(gateway.stop(grace_s=60), DEADLINE_S)


async def test_stop_while_it_starts(home: Home) -> None:
    gateway = Gateway(home.settings(ready_after=1_000_000), log=home.lines.append)
    gateway.start()
    await until(lambda: gateway.pid is not None)

    await asyncio.wait_for(gateway.stop(grace_s=1), DEADLINE_S)

    assert gateway.starts == 1
    assert gateway.pid is None


async def test_it_is_started_once_and_before_it_is_waited_for(home: Home) -> None:
    gateway = Gateway(home.settings(), log=home.lines.append)
    with pytest.raises(RuntimeError):
        await gateway.ready()
    await gateway.stop()

    async with started(home, home.settings()) as gateway:
        with pytest.raises(RuntimeError):
            gateway.start()


async def test_its_output_is_logged_without_secrets(home: Home) -> None:
    lines = [
        f"\x1b[31mplain {TOKEN} {RELAY_TOKEN}\x1b[0m",
        f"plain {KEY} and ghp_0123456789abcdefghijABCDEFGHIJ",
        "x" * 20_000,
        "",
        json.dumps({"level": "info", "subsystem": "gateway", "message": f"http server {TOKEN}"}),
        json.dumps({"level": "info", "subsystem": "gateway/heartbeat", "message": "disabled"}),
        json.dumps({"level": "info", "message": "what the model said"}),
        json.dumps({"level": "warn", "subsystem": "gateway/ws", "message": "what the provider said"}),
        json.dumps({"level": "info", "subsystem": "agent/embedded", "message": "what the tool said"}),
    ]
    settings = replace(home.settings(lines=lines), keys={"ANTHROPIC_API_KEY": KEY})

    async with started(home, settings) as gateway:
        await asyncio.wait_for(gateway.ready(), DEADLINE_S)
        await until(lambda: len(home.lines) >= 7)

    assert home.lines[:6] == [
        "plain *** ***",
        "plain *** and ***",
        "x" * 500,
        "gateway: http server ***",
        "gateway/heartbeat: disabled",
        "gateway/ws: warn",
    ]
    assert home.lines[6].startswith("the gateway is ready after")

"""Small parts of the container: the task's name, what a turn cost, OpenClaw's start and end, and the wiring."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.exceptions import ClientError
from werkzeug.wrappers import Response

from agent import __main__ as command
from agent import openclaw_config, settings, wiring
from agent.gateway import GatewaySettings
from agent.gateway_client import GatewayGone
from agent.memory_ledger import MemoryLedger
from agent.openclaw import OpenClaw
from agent.spending import Spending
from agent.task_metadata import task_arn
from agent.threads import Threads
from assistant.errors import ProviderUnavailable, SecretMissing
from assistant.turns.agents import AgentStatus
from assistant.turns.chain import load_chain
from assistant.turns.ledger import AccountQuota
from assistant.turns.model import Notice, TurnStatus
from tests.container.bridging import PlayedOpenClaw, Process, RelayDouble, until
from tests.container.test_container_settings import CHAT as CHAT_SETTINGS
from tests.container.test_relay import served
from tests.doubles import CHAT, NOON, DrivenClock, PlainSecrets, a_world
from tests.unit.test_agents import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

COPILOT, OPENROUTER, OLLAMA, CLAUDE = load_chain().providers
TASK_ARN = "arn:aws:ecs:eu-west-1:123456789012:task/agents/1"


# The task's name


@pytest.mark.parametrize("body", [json.dumps({"TaskARN": TASK_ARN}), "{}", "no JSON"])
def test_the_task_is_named_by_fargate_or_else_like_no_other(body: str) -> None:
    def metadata(environ: Any, start_response: Any) -> Any:
        assert environ["PATH_INFO"] == "/v4/x/task"
        return Response(body, mimetype="application/json")(environ, start_response)

    with served(metadata) as url:
        named = task_arn(f"{url}/v4/x")
        again = task_arn(f"{url}/v4/x")

    assert (named == again == TASK_ARN) == ("TaskARN" in body)
    assert named.startswith(("arn:", "process/"))


def test_without_fargate_the_name_is_made_up() -> None:
    assert task_arn("") != task_arn("")
    assert task_arn("http://127.0.0.1:1").startswith("process/")
    assert task_arn("\x00").startswith("process/")


# What a turn cost


@pytest.fixture
def spending() -> Spending:
    return Spending(MemoryLedger(DrivenClock()))


def test_what_was_settled_is_counted(spending: Spending) -> None:
    before = spending.reserve(CLAUDE, holder="before", micro_dollars=9_000)
    spending.succeeded(before, micro_dollars=8_000)
    spending.begin()
    for holder, cost in (("a", 100), ("b", None)):
        spending.succeeded(spending.reserve(CLAUDE, holder=holder, micro_dollars=1_000), micro_dollars=cost)
    for may_cost in (True, False):
        failed = spending.reserve(CLAUDE, holder=f"failed {may_cost}", micro_dollars=500)
        spending.failed(failed, ProviderUnavailable("anthropic", "broken", may_cost=may_cost))

    assert spending.settled(timeout_s=0) == 100 + 1_000 + 500


def test_what_is_not_settled_in_time_is_not_waited_for(spending: Spending) -> None:
    spending.reserve(CLAUDE, holder="hangs", micro_dollars=1_000)

    assert spending.settled(timeout_s=0.01) == 0


def test_everything_else_is_the_ledgers(spending: Spending) -> None:
    spending.block(COPILOT, cause="quota", until=NOON + 9)
    spending.reserve(OPENROUTER, holder="one")
    assert spending.claim_check(OPENROUTER)
    spending.correct(OPENROUTER, AccountQuota(day_limit=9, day_used=3))

    assert spending.entries()["copilot"].blocked_until == NOON + 9
    assert spending.entries()["openrouter"].day_limit == 9


# OpenClaw's start and end


def openclaw_of(played: PlayedOpenClaw, threads: Threads, **options: Any) -> OpenClaw:
    return OpenClaw(
        **{
            "gateway": Process(played),
            "client": played,
            "relay": RelayDouble(played),
            "spending": Spending(MemoryLedger(DrivenClock())),
            "configure": lambda url: None,
            "warm": lambda: None,
            "threads": threads,
            "log": lambda *_, **__: None,
            **options,
        }
    )


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "test")
    yield made
    made.close()


@pytest.mark.anyio
async def test_a_configuration_that_cannot_be_written_is_told_to_whoever_asks(threads: Threads) -> None:
    def refuse(_: str) -> None:
        raise PermissionError("read-only")

    openclaw = openclaw_of(PlayedOpenClaw(), threads, configure=refuse)
    openclaw.start()
    with pytest.raises(PermissionError):
        await openclaw.run("agent:main:1", "Hello")
    with pytest.raises(PermissionError):
        openclaw.check()
    with pytest.raises(PermissionError):
        await openclaw.died()
    await openclaw.stop()


@pytest.mark.anyio
async def test_one_run_at_a_time_and_none_before_the_start(threads: Threads) -> None:
    played = PlayedOpenClaw(script=[None])
    openclaw = openclaw_of(played, threads)
    with pytest.raises(RuntimeError):
        await openclaw.run("agent:main:1", "Hello")
    with pytest.raises(RuntimeError):
        await openclaw.died()
    openclaw.start()
    first = asyncio.create_task(openclaw.run("agent:main:1", "Hello"))
    await until(lambda: played.hanging)
    with pytest.raises(RuntimeError):
        await openclaw.run("agent:main:1", "Hello")

    first.cancel()
    await asyncio.wait([first])
    await openclaw.stop()

    assert "abort" in played.order  # the run would have gone on in the gateway


@pytest.mark.anyio
async def test_a_run_that_two_gateways_lost_is_lost(threads: Threads) -> None:
    openclaw = openclaw_of(PlayedOpenClaw(script=[GatewayGone("a"), GatewayGone("b")]), threads)
    openclaw.start()

    with pytest.raises(GatewayGone, match="b"):
        await openclaw.run("agent:main:1", "Hello")
    await openclaw.stop()


@pytest.mark.anyio
async def test_what_was_never_started_can_be_stopped(threads: Threads) -> None:
    await openclaw_of(PlayedOpenClaw(), threads).stop()


# The wiring


def place(folder: Path, **more: str) -> settings.Settings:
    folders = {"STATE_FOLDER": "state", "WORKSPACE_FOLDER": "workspace", "TEMPORARY_FOLDER": "tmp"}
    told = {"NODE": sys.executable, "OPENCLAW": "openclaw.mjs", "OLLAMA_API_KEY": "a-key-of-ollama", "PORT": "0"}
    return settings.read({name: str(folder / below) for name, below in folders.items()} | told | more)


def test_what_openclaw_reads_is_written_for_it_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.json5"
    theirs.write_text("{ui: {seamColor: '#ff4500'}}", encoding="utf-8")
    found = place(tmp_path, OPENCLAW_CONFIG=str(theirs), OPENCLAW_MODEL="anthropic/claude-sonnet-5")
    gateway = GatewaySettings(
        node=Path("node"),
        openclaw=Path("openclaw.mjs"),
        config=found.place.state / "openclaw.json",
        state=found.place.state,
        workspace=found.place.workspace,
        temporary=tmp_path / "tmp",
        port=7,
        token="t",
    )
    wiring._configure(found.place, load_chain(), gateway, "http://127.0.0.1:9")

    config = json.loads(gateway.config.read_text("utf-8"))
    assert stat.S_IMODE(gateway.config.stat().st_mode) == 0o600
    assert config["ui"] == {"seamColor": "#ff4500"}
    assert config["gateway"]["port"] == 7
    assert config["agents"]["defaults"]["model"]["primary"] == "anthropic/claude-sonnet-5"
    assert config["agents"]["defaults"]["workspace"] == str(found.place.workspace)
    assert (gateway.workspace / "AGENTS.md").exists()
    assert "a-key-of-ollama" not in gateway.config.read_text("utf-8")


def test_what_is_written_is_given_to_the_agents_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, int, int]] = []

    def give(place: int | Path, user: int, group: int) -> None:
        path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place
        given.append((re.sub(r"^\.(.*)\.[0-9a-f]{16}$", r"\1", path.name), user, group))

    monkeypatch.setattr("os.fchown", give)
    monkeypatch.setattr("os.chown", give)
    gateway = GatewaySettings(
        node=Path("node"),
        openclaw=Path("o"),
        config=tmp_path / "s" / "openclaw.json",
        state=tmp_path / "s",
        workspace=tmp_path / "w" / "files",
        temporary=tmp_path,  # is there: everybody's, perhaps
        port=7,
        token="t",
        user=1234,
    )
    wiring._configure(place(tmp_path).place, load_chain(), gateway, "http://127.0.0.1:9")

    names = ["s", "w", "files", "openclaw.json", "settings.json", "agent", "main", "agents", "AGENTS.md"]
    assert sorted(given) == sorted((name, 1234, 1234) for name in names)


def test_a_link_that_an_agent_left_in_its_state_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s" / "agents").mkdir(parents=True)
    (tmp_path / "ours").mkdir()
    (tmp_path / "s" / "agents" / "main").symlink_to(tmp_path / "ours")

    with pytest.raises(OSError, match="main"):
        openclaw_config.write_agent_settings(tmp_path / "s")

    assert list((tmp_path / "ours").iterdir()) == []


def test_the_keys_are_read_once_and_a_missing_one_does_no_harm() -> None:
    asked: list[str] = []

    class Secrets(PlainSecrets):
        def read(self, name: str) -> str:
            asked.append(name)
            if name == OPENROUTER.secret:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "GetParameter")
            return super().read(name)

    wiring._warm(load_chain(), Secrets({CLAUDE.secret: "key"}))
    assert asked == [provider.secret for provider in load_chain().providers]


def test_keys_of_the_environment() -> None:
    keys = wiring.EnvironmentSecrets({"ollama-api-key": "k"})
    assert keys.read("ollama-api-key") == "k"
    with pytest.raises(SecretMissing):
        keys.read("copilot-api-key")


def test_a_refused_key_is_logged_for_who_runs_it_alone(capsys: pytest.CaptureFixture[str]) -> None:
    wiring.LogOwner().tell(Notice("provider_rejected", "copilot", "key refused"))


def test_by_itself_without_openclaw_it_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Node is Python here, which does not know the file: the gateway ends twice, and so do we."""
    environment = {
        "NODE": sys.executable,
        "OPENCLAW": str(tmp_path / "missing.mjs"),
        "STATE_FOLDER": str(tmp_path / "state"),
        "WORKSPACE_FOLDER": str(tmp_path / "workspace"),
        "TEMPORARY_FOLDER": str(tmp_path / "tmp"),
        "OLLAMA_API_KEY": "a-key-of-ollama",
        "PORT": "0",
    }
    assert command.main(environment, DrivenClock()) == 1

    said = capsys.readouterr()
    assert "nothing is kept" in said.out
    assert said.out.count("the token of this start is") == 1
    assert "a-key-of-ollama" not in said.out + said.err


@pytest.mark.parametrize("owner", ["", "tell-owner"])
def test_for_a_chat_without_openclaw_the_turn_is_left_to_the_chat_lane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: str
) -> None:
    with a_world(own_client=True, agent_mode="always") as world:
        fleet = Fleet(world)
        fleet.hand_over(fleet.turn("a question that no log may hold"))
        environment = {
            **CHAT_SETTINGS,
            "GENERATION": "1",
            "TELL_OWNER_FUNCTION": owner,
            "NODE": sys.executable,
            "OPENCLAW": str(tmp_path / "missing.mjs"),
            "STATE_FOLDER": str(tmp_path / "state"),
            "WORKSPACE_FOLDER": str(tmp_path / "workspace"),
            "TEMPORARY_FOLDER": str(tmp_path / "tmp"),
            "PORT": "0",
        }
        assert command.main(environment, world.clock) == 1

        assert (fleet.agents.read(CHAT).status, fleet.agents.mail(CHAT)) == (AgentStatus.STOPPED, [])
        assert world.turn().status == TurnStatus.OPEN
    said = capsys.readouterr()
    assert "may hold" not in said.out + said.err


def test_http_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with served(Response(json.dumps({"TaskARN": TASK_ARN}))) as url:
        assert task_arn(url) == TASK_ARN
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, timeout=2)

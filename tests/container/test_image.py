"""The image, in Docker: it is built, answers by itself, and keeps the agent's user from everything but its own.

Two containers matter: one as on Fargate (read-only, with volumes), which is asked and attacked; one as a person starts
it. Those that only say something do not boot.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.privileges import Capability
from assistant.turns.chain import load_chain
from local.simulators.faults import Fault
from tests.container.openclaw import ROOT, Providers, free_port, simulated_providers
from tests.container.test_container_requirements import pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [pytest.mark.docker]

MOST_BYTES = 1_400_000_000  # of which Node and Debian are about half
USER = 10_001
COMMAND_S = 300
READY_S = 240
STOP_S = 20
MESSAGES = 100
VOLUMES = ("/workspace", "/state", "/tmp")
BRIDGE_TOKEN = "planted-bridge-token-" + secrets.token_hex(8)
CONTROL = "planted-for-whoever-looks"
_PROBE_S = 0.2


def docker(*arguments: str, given: str | None = None) -> str:
    done = subprocess.run(
        ["docker", *arguments], input=given, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    assert done.returncode == 0, f"docker {arguments[0]}: {done.stderr}"
    return done.stdout


@dataclass
class Container:
    """One that runs; removed at the end."""

    name: str
    url: str
    token: str
    providers: Providers | None = None
    words: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, token: str = "") -> httpx.Response:
        shown = token or self.token
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=10)

    def say(self, message: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(f"{self.url}/message", json={"message": message}, headers=headers, timeout=COMMAND_S)

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError):
                pass
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(_PROBE_S)

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def as_root(self, *command: str, given: str | None = None) -> str:
        return docker("exec", "-i", self.name, *command, given=given)

    def as_agent(self, *command: str, given: str | None = None) -> str:
        """As a program that the gateway starts: its user, its rights, and nothing in the environment."""
        guard = ["setpriv", "--no-new-privs", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        guard += ["--inh-caps=-all", "--bounding-set=-all", "--", "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin"]
        return self.as_root(*guard, *command, given=given)

    def stop(self) -> tuple[int, float]:
        """The exit status, and the seconds that SIGTERM took."""
        began = time.monotonic()
        docker("stop", "--time", "60", self.name)
        seconds = time.monotonic() - began
        return json.loads(docker("inspect", "--format", "{{json .State.ExitCode}}", self.name)), seconds


def started(image: str, *options: str, variables: Mapping[str, str]) -> str:
    environment = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
    return docker("run", "--detach", *options, *environment, image).strip()


def removed(name: str) -> None:
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, timeout=60, check=True)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose links lead to what is the bridge's."""
    folder = tmp_path_factory.mktemp("workspace")
    files = folder / "files"
    files.mkdir()
    (files / "AGENTS.md").symlink_to("/proc/1/environ")
    (files / "MEMORY.md").symlink_to("/proc/1/environ")
    (files / "memory").symlink_to("/proc/1")
    return folder


@pytest.fixture(scope="module")
def agent(image: str, workspace: Path) -> Iterator[Container]:
    """As on Fargate, but asked over HTTP; the providers are simulated, and their keys are what to look for."""
    with simulated_providers() as providers:
        ports = {name: str(free_port()) for name in ("PORT", "GATEWAY_PORT", "RELAY_PORT")}
        words = providers.keys | {"BRIDGE_AUTH_TOKEN": BRIDGE_TOKEN}
        variables = (
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/planted-path"}
            | words
            | ports
            | {
                f"{each.secret.removesuffix('-api-key').upper()}_BASE_URL": each.base_url
                for each in providers.chain.providers
            }
        )
        name = started(
            image, "--read-only", "--network", "host", "--volume", f"{workspace}:/workspace", variables=variables
        )
        words |= {"AWS": "/v2/credentials/planted-path"}
        container = Container(name, f"http://127.0.0.1:{ports['PORT']}", BRIDGE_TOKEN, providers, words)
        try:
            container.until(lambda: container.get("/health").json()["status"] == "ready", READY_S)
            yield container
        finally:
            removed(name)


@pytest.fixture(scope="module")
def found(agent: Container) -> dict[str, Any]:
    """What the agent's user finds after it has tried everything."""
    config = json.loads(agent.as_root("cat", "/state/openclaw.json"))
    relay = config["models"]["providers"]["copilot"]["baseUrl"]
    places = [
        "/",
        "/opt",
        "/opt/agent",
        "/opt/agent/agent",
        "/opt/openclaw",
        "/opt/compile-cache",
        "/opt/prepared-state",
    ]
    places += ["/etc", "/usr/local/bin", "/var/tmp", "/root", "/home", "/run"]
    cache = agent.as_root("sh", "-c", "ls -d /opt/compile-cache/*").split()
    agent.as_agent("sh", "-c", f"printf %s {CONTROL} >/workspace/control")
    asked = {
        "words": agent.words | {"control": CONTROL},
        "places": places + cache,
        "urls": [f"{relay}/chat/completions", f"{agent.url}/message", f"{agent.url}/status"],
    }
    script = Path(__file__).with_name("intruder.py").read_text("utf-8")
    told = agent.as_agent("python", "-c", script, given=json.dumps(asked) + "\n")
    return dict(json.loads(told)) | {"asked": asked}


def test_the_image_has_no_key_and_keeps_its_size(image: str) -> None:
    (described,) = json.loads(docker("image", "inspect", image))
    variables = dict(each.split("=", 1) for each in described["Config"]["Env"])

    assert described["Size"] < MOST_BYTES, described["Size"]
    assert [name for name in variables if re.search("KEY|TOKEN|SECRET|AWS", name)] == []
    assert set(described["Config"]["Volumes"]) == set(VOLUMES)
    assert described["Config"]["User"] == ""  # root, with the rights that `agent.privileges` keeps
    assert described["Config"]["Healthcheck"]["Test"] == ["CMD", "python", "-m", "agent.health"]
    assert described["Config"]["Labels"]["org.opencontainers.image.title"] == "serverless-openclaw"
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert not re.search(r"sk-|ghp_|Bearer", history)


def test_what_is_in_the_image_is_what_is_pinned(agent: Container) -> None:
    script = "import importlib.metadata as m; print({d.name: d.version for d in m.distributions(path=['/opt/agent'])})"
    told = agent.as_root("python", "-c", f"import json; {script.replace('print(', 'print(json.dumps(')})")
    package = json.loads((ROOT / "container/openclaw/package.json").read_text("utf-8"))
    openclaw = json.loads(agent.as_root("cat", "/opt/openclaw/node_modules/openclaw/package.json"))

    wanted = {name: version.removeprefix("==") for name, version in pins(ROOT / "container/requirements.txt").items()}
    assert {name.replace("_", "-"): version for name, version in json.loads(told).items()} == wanted
    assert openclaw["version"] == package["dependencies"]["openclaw"]


def test_the_processes_have_the_rights_that_they_need(agent: Container) -> None:
    script = """
import json, pathlib
found = {}
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        told = dict(line.split(":\\t", 1) for line in (path / "status").read_text().splitlines() if ":\\t" in line)
        found[path.name] = told | {"command": (path / "cmdline").read_text().replace("\\0", " ")}
    except OSError:
        pass
print(json.dumps(found))
"""
    processes = json.loads(agent.as_root("python", "-c", script)).values()
    (bridge,) = (each for each in processes if each["command"].startswith("python -m agent"))
    theirs = [each for each in processes if each["Uid"].split()[0] == str(USER)]

    assert int(bridge["CapEff"], 16) == int(bridge["CapBnd"], 16) == sum(1 << each for each in Capability)
    assert bridge["NoNewPrivs"] == "1"
    assert any("openclaw" in each["command"] for each in theirs)
    for each in theirs:
        assert {each[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
        assert each["NoNewPrivs"] == "1"
        assert each["Groups"].strip() in {"", str(USER)}


def test_the_agents_user_sees_the_bridge_and_reaches_nothing_of_it(found: dict[str, Any]) -> None:
    assert {"tini", "python"} <= set(found["others"].values())
    for what in ("environments", "memories", "files_open", "roots", "killed"):
        assert found[what] == [], what
    assert found["capabilities"] == ""
    assert found["no_new_privileges"] == "1"
    assert found["setuid"] == []


def test_no_key_is_in_anything_that_the_agents_user_can_read(found: dict[str, Any]) -> None:
    assert found["words"] == ["control in /workspace/control"]  # what is there to be found is found
    assert found["addresses"] == []


def test_the_agents_user_writes_to_its_volumes_only(agent: Container, found: dict[str, Any]) -> None:
    assert found["written"] == []
    assert len([place for place in found["asked"]["places"] if "compile-cache" in place]) >= 2
    for volume in VOLUMES:
        agent.as_agent("sh", "-c", f"echo x >{volume}/mine && rm {volume}/mine")


def test_what_was_compiled_is_used_though_it_cannot_be_written(agent: Container) -> None:
    variables = ["NODE_COMPILE_CACHE=/opt/compile-cache", "OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED=1", "HOME=/tmp"]
    program = "/opt/openclaw/node_modules/openclaw/openclaw.mjs"

    told = agent.as_agent(
        *variables, "NODE_DEBUG_NATIVE=COMPILE_CACHE", "sh", "-c", f"node {program} config validate --json 2>&1; true"
    )

    assert told.count("was accepted") > 100
    assert "was rejected" not in told


def test_the_relay_and_the_bridge_want_their_tokens(agent: Container, found: dict[str, Any]) -> None:
    relay, message, status = found["asked"]["urls"]

    assert found["answers"] == {relay: 401, message: 401, status: 405}
    assert agent.get("/status", token="another").status_code == 401
    assert agent.get("/status").json()["kept"] == "nothing"


def test_links_in_the_workspace_lead_the_bridge_nowhere(agent: Container, workspace: Path) -> None:
    assert agent.providers is not None
    assert agent.say("What do you know?").status_code == 200

    told = json.dumps([each.body for each in agent.providers.outside.providers["copilot"].requests])
    assert not [word for word in agent.words.values() if word in told]
    assert (workspace / "files" / "AGENTS.md").readlink() == Path("/proc/1/environ")
    assert workspace.stat().st_uid == USER  # it came with the owner that the host's folder had


def test_its_health_is_looked_at(agent: Container) -> None:
    agent.as_root("python", "-m", "agent.health")


def test_a_hundred_messages_move_from_provider_to_provider_as_the_limits_say(agent: Container) -> None:
    chain = load_chain()
    daily = {each.id: next(one.limit for one in each.budgets if one.per == "day") for each in chain.providers[:2]}
    before = int(agent.providers is not None and len(agent.providers.requests()))

    answers = [agent.say(f"Hello {number}").json()["provider"] for number in range(MESSAGES)]

    copilot = daily["copilot"] - before
    assert answers[:copilot] == ["copilot"] * copilot
    assert answers[copilot] == "openrouter"
    counted = Counter(answers[copilot:])
    assert set(counted) <= {"openrouter", "ollama-cloud"}  # 20 a minute of the one; nobody pays for the other
    assert counted["openrouter"] >= min(20, MESSAGES - copilot)
    assert counted["openrouter"] <= daily["openrouter"]


def test_a_signal_in_the_middle_of_a_run_ends_it_in_time(agent: Container) -> None:
    assert agent.providers is not None
    for provider_id in agent.providers.outside.providers:
        agent.providers.outside.order(provider_id, Fault.HANG, None)
    asked = len(agent.providers.requests())
    waiting = subprocess.Popen(
        [
            "curl",
            "-s",
            "-H",
            f"Authorization: Bearer {agent.token}",
            "-d",
            '{"message": "Wait"}',
            f"{agent.url}/message",
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        agent.until(lambda: agent.providers is not None and len(agent.providers.requests()) > asked, READY_S)
        status, seconds = agent.stop()
    finally:
        waiting.kill()
        waiting.wait()

    assert status == 0
    assert seconds < STOP_S
    log = agent.log()
    assert not [name for name, word in agent.words.items() if word in log]


def test_it_runs_by_itself_and_says_that_nothing_is_kept(image: str) -> None:
    name = started(image, "--publish", "127.0.0.1::8080", variables={"OPENROUTER_API_KEY": "planted"})
    try:
        address = docker("port", name, "8080").split()[0]
        container = Container(name, f"http://{address}", "")
        container.until(lambda: container.get("/health").status_code == 200, READY_S)
        log = container.log()

        assert "nothing is kept" in log
        made = re.search(r"the token of this start is (\S+)", log)
        assert made
        assert "No separation" not in log
        assert container.get("/status").status_code == 401
        assert container.get("/status", token=made[1]).status_code == 200
        status, seconds = container.stop()
        assert status == 0
        assert seconds < STOP_S
    finally:
        removed(name)


def test_without_root_it_says_that_nothing_is_separate(image: str) -> None:
    name = started(image, "--user", str(USER), "--network", "none", variables={"OPENROUTER_API_KEY": "planted"})
    container = Container(name, "", "")
    try:
        container.until(lambda: "No separation" in container.log(), READY_S)
        assert "not started as root" in container.log()
    finally:
        removed(name)


def test_without_a_key_it_says_which_ones_there_are(image: str) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", image], capture_output=True, text=True, timeout=COMMAND_S, check=False
    )

    assert done.returncode == 2
    assert "OPENROUTER_API_KEY" in done.stderr

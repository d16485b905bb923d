"""The bridge's own HTTP, over loopback: who may ask what, and how it says no."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.gateway_client import AllModelsFailed, RunFailed, RunTimedOut
from agent.gateway_frames import FallbackAttempt
from agent.health import healthy
from agent.life import ByItself, live
from agent.local_http import LONGEST_BODY_BYTES, LocalHttp
from agent.memory_ledger import MemoryLedger
from agent.openclaw import OpenClaw
from agent.spending import Spending
from agent.threads import Threads
from tests.container.bridging import PlayedOpenClaw, Process, RelayDouble, result, until
from tests.doubles import DrivenClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
TOKEN = "the-bridge-token"
ATTEMPT = FallbackAttempt("copilot", "gemini", "rate_limit")


class Alone:
    """An agent that runs by itself, and a caller."""

    def __init__(self, played: PlayedOpenClaw, openclaw: OpenClaw, http: httpx.AsyncClient, port: int) -> None:
        self.played = played
        self.openclaw = openclaw
        self.http = http
        self.port = port

    async def ask(self, body: Any = None, **options: Any) -> httpx.Response:
        return await self.http.post("/message", json={"message": "Hello"} if body is None else body, **options)


@asynccontextmanager
async def alone(*, boots: bool = True, token: str | None = TOKEN) -> AsyncIterator[Alone]:
    played, threads = PlayedOpenClaw(boots=boots), Threads(2, "test")
    openclaw = OpenClaw(
        gateway=Process(played),
        client=played,
        relay=RelayDouble(played),
        spending=Spending(MemoryLedger(DrivenClock())),
        configure=lambda url: None,
        warm=lambda: None,
        threads=threads,
        log=lambda *_, **__: None,
    )
    door = LocalHttp(openclaw, host="127.0.0.1", port=0, token=token, status=lambda: {"kept": "nothing"})
    stop = asyncio.Event()
    life = asyncio.create_task(live(ByItself(openclaw), openclaw, door, log=lambda *_, **__: None, stop=stop))
    try:
        await until(lambda: door.address is not None and openclaw.is_ready == boots)
        url = httpx.URL(door.address or "")
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) as http:
            yield Alone(played, openclaw, http, url.port or 0)
    finally:
        stop.set()
        assert await asyncio.wait_for(life, 20) == 0
        threads.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", url.port)


async def test_a_message_is_answered() -> None:
    async with alone() as agent:
        agent.played.script = [result("Hi!", "openrouter", (ATTEMPT,))]
        response = await agent.ask()

    assert response.status_code == 200
    assert response.json() == {
        "reply": "Hi!",
        "provider": "openrouter",
        "model": "openrouter-model",
        "fallbacks": [{"provider": "copilot", "model": "gemini", "reason": "rate_limit"}],
    }
    assert agent.played.ran == [("agent:main:local", "Hello")]


async def test_only_who_knows_the_token_may_ask() -> None:
    async with alone() as agent:
        for header in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xfc"):
            headers = httpx.Headers([(b"authorization", header.encode("latin-1"))])
            for answer in (await agent.ask(headers=headers), await agent.http.get("/status", headers=headers)):
                assert answer.status_code == 401
                assert TOKEN not in answer.text
        assert (await agent.http.get("/health", headers={"authorization": ""})).json() == {"status": "ready"}
        assert agent.played.ran == []


@pytest.mark.parametrize(
    "body", [{}, {"message": ""}, {"message": " \n"}, {"message": 1}, [], {"message": "x", "y": 1}]
)
async def test_what_is_no_message_is_refused(body: Any) -> None:
    async with alone() as agent:
        assert (await agent.ask(body)).status_code == 400
        assert (await agent.http.post("/message", content=b"\xff{")).status_code == 400


async def test_a_message_that_is_too_long_is_refused() -> None:
    async with alone() as agent:
        assert (await agent.ask({"message": "x" * LONGEST_BODY_BYTES})).status_code == 413
        assert (await agent.ask({"message": "x" * (LONGEST_BODY_BYTES - 20)})).status_code == 200


async def test_one_message_at_a_time() -> None:
    async with alone() as agent:
        agent.played.script = [None]
        first = asyncio.create_task(agent.ask())
        await until(lambda: agent.played.hanging)
        second = await agent.ask()
        assert (second.status_code, second.headers["retry-after"]) == (429, "2")
        assert (await agent.http.get("/health")).json() == {"status": "busy"}
        await agent.openclaw.abort()
        assert (await first).status_code == 502


async def test_before_openclaw_is_up_it_says_so() -> None:
    async with alone(boots=False) as agent:
        assert (await agent.ask()).status_code == 503
        assert (await agent.http.get("/health")).json() == {"status": "starting"}
        assert await asyncio.to_thread(healthy, agent.port)
    assert not await asyncio.to_thread(healthy, agent.port)


@pytest.mark.parametrize(
    ("error", "status"),
    [(AllModelsFailed((ATTEMPT,)), 503), (RunTimedOut("too long"), 504), (RunFailed("X"), 502)],
)
async def test_a_run_without_an_answer_says_why(error: Exception, status: int) -> None:
    async with alone() as agent:
        agent.played.script = [error]
        response = await agent.ask()

    assert response.status_code == status
    assert response.json()["error"]


async def test_its_status_tells_how_long_each_part_took() -> None:
    async with alone() as agent:
        status = (await agent.http.get("/status")).json()

    assert (status["status"], status["kept"], status["gateway_starts"]) == ("ready", "nothing", 1)
    parts = {"relay", "preparation", "configuration", "keys", "gateway", "connection", "all"}
    assert set(status["seconds"]) == parts


async def test_in_fargate_there_is_health_and_nothing_else() -> None:
    async with alone(token=None) as agent:
        assert (await agent.http.get("/health")).status_code == 200
        assert (await agent.http.get("/status")).status_code == 404
        assert (await agent.ask()).status_code == 404

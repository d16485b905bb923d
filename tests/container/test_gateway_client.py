"""The client against a scripted gateway: frames as the pinned OpenClaw was seen to send them."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from agent.gateway_client import (
    AllModelsFailed,
    GatewayClient,
    GatewayError,
    GatewayGone,
    GatewayRefused,
    RunAborted,
    RunFailed,
    RunNotStarted,
    RunResult,
    RunTimedOut,
)
from agent.gateway_frames import Cost, FallbackAttempt, Usage
from tests.container.scripted_gateway import TOKEN, Conversation, Json, finished, scripted_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

SESSION = "agent:main:telegram-7"
DEADLINE_S = 10


def client_of(url: str, token: str = TOKEN, **options: Any) -> GatewayClient:
    return GatewayClient(url, token, **{"connect_timeout_s": 2.0, "call_timeout_s": 2.0, **options})


async def run(client: GatewayClient, **options: Any) -> RunResult:
    options = {"run_id": "run-1", "timeout_s": DEADLINE_S, **options}
    return await client.run(SESSION, "Hello", **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (the other side of a socket sets no event)
            await asyncio.sleep(0.01)


async def hello(gateway: Conversation, request: Json) -> None:
    await gateway.accept(request)
    await gateway.tell(request, "assistant", text="Hel", delta="Hel", itemId="1")
    await gateway.tell(request, "assistant", text="Hello", delta="lo", itemId="1")
    await gateway.respond(request, finished("Hello"))


async def test_a_message_is_answered() -> None:
    async with scripted_gateway(agent=hello) as gateway:
        client = client_of(gateway.url)
        result = await run(client)
        await client.close()

    assert result == RunResult(
        text="Hello",
        provider="anthropic",
        model="claude-sonnet-5",
        usage=Usage(95, 127, 1, 8573, Cost(0.0229)),
        dollars=0.0229,
    )
    assert gateway.asked("agent") == [{"sessionKey": SESSION, "message": "Hello", "idempotencyKey": "run-1"}]


async def test_it_introduces_itself_with_the_least_rights() -> None:
    async with scripted_gateway() as gateway:
        client = client_of(gateway.url)
        await client.connect(deadline_s=DEADLINE_S)
        await client.connect(deadline_s=DEADLINE_S)
        assert client.server.version == "2026.9.6"
        await client.close()
        assert not client.connected

    (introduction,) = gateway.asked("connect")
    assert introduction["client"]["id"] == "gateway-client"
    assert introduction["client"]["mode"] == "backend"
    assert (introduction["minProtocol"], introduction["maxProtocol"]) == (4, 4)
    assert introduction["scopes"] == ["operator.read", "operator.write"]


async def test_the_answer_so_far_is_shown_as_it_grows_and_is_replaced() -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)
        await gateway.tell(request, "assistant", text="Let me", delta="Let me", itemId="1")
        await gateway.tell(request, "assistant", text="", delta="", replace=True, itemId="1")
        await gateway.tell(request, "usage", outputTokens=3)
        await gateway.tell(request, "assistant", text="I look", delta="I look", itemId="2")
        await gateway.tell(request, "assistant", delta="It ", itemId="3")
        await gateway.tell(request, "assistant", delta="is", itemId="3")
        await gateway.tell(request, "assistant", delta="Done", replace=True, itemId="3")
        await gateway.send({"type": "event", "event": "agent", "payload": {"runId": "another", "stream": "assistant"}})
        await gateway.send({"type": "event", "event": "tick", "payload": {"ts": 1}})
        await gateway.send({"type": "event", "event": "presence"})
        await gateway.send({"type": "res", "id": "nobody's", "ok": True})
        await gateway.respond(request, finished("I look\nDone"))

    shown: list[str] = []
    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        await run(client, on_text=shown.append)
        await client.close()

    assert shown == ["Let me", "", "I look", "I look\nIt ", "I look\nIt is", "I look\nDone"]


async def test_who_was_asked_before_is_told() -> None:
    attempts = [{"provider": "copilot", "model": "m", "reason": "rate_limit", "status": 429, "error": "text"}]

    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)
        await gateway.respond(request, finished("Hi", fallbackAttempts=attempts))

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        result = await run(client)
        await client.close()

    assert result.fallback_attempts == (FallbackAttempt("copilot", "m", "rate_limit"),)


async def test_that_all_models_failed_is_told_with_reasons_and_without_texts() -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)
        for provider in ("copilot", "anthropic"):
            await gateway.observe_failure(request, provider)
        await gateway.refuse(request, "UNAVAILABLE", "All models failed (2): copilot/m: you wrote: hunter2")

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(AllModelsFailed) as failed:
            await run(client)
        await client.close()

    assert [each.provider for each in failed.value.attempts] == ["copilot", "anthropic"]
    assert str(failed.value) == "all models failed: copilot rate_limit, anthropic rate_limit"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"status": "timeout", "summary": "aborted", "stopReason": "rpc"}, RunAborted),
        ({"status": "timeout", "summary": "timed out"}, RunFailed),
        ({"status": "error", "summary": "hunter2"}, RunFailed),
        ({"status": "ok", "summary": "completed"}, RunFailed),
        ({}, RunFailed),
        ({"status": 7}, GatewayRefused),
    ],
)
async def test_an_end_without_an_answer_is_an_error(payload: Json, error: type[GatewayError]) -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)
        await gateway.respond(request, payload)

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(error) as failed:
            await run(client)
        await client.close()

    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize(
    ("code", "error"),
    [("INVALID_REQUEST", GatewayRefused), ("FORBIDDEN", GatewayRefused), ("UNAVAILABLE", RunFailed), ("X", RunFailed)],
)
async def test_a_refused_run_is_an_error(code: str, error: type[GatewayError]) -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.refuse(request, code, "hunter2")

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(error, match=code) as failed:
            await run(client)
        await client.close()

    assert "hunter2" not in str(failed.value)


async def test_a_run_that_met_another_in_its_session_was_not_started() -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        message = f'Session "{SESSION}" changed while starting work. Retry. | SESSION_WORK_START_CHANGED'
        await gateway.accept(request)
        await gateway.refuse(request, "UNAVAILABLE", message)

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(RunNotStarted):
            await run(client)
        await client.close()


async def test_an_empty_answer_is_an_answer() -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.respond(request, {"status": "ok", "result": {"payloads": [], "meta": {}}})

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        result = await run(client)
        await client.close()

    assert result == RunResult("", "", "", Usage(), 0.0)


async def test_a_run_can_be_aborted() -> None:
    running: list[tuple[Conversation, Json]] = []

    async def hang(gateway: Conversation, request: Json) -> None:
        running.append((gateway, request))
        await gateway.accept(request)

    async def abort(gateway: Conversation, request: Json) -> None:
        await gateway.respond(request, {"ok": True, "aborted": bool(running), "runIds": ["run-1"]})
        for each, run_request in running:
            await each.respond(run_request, {"status": "timeout", "summary": "aborted", "stopReason": "rpc"})

    async with scripted_gateway(agent=hang, chat_abort=abort) as gateway:
        client = client_of(gateway.url)
        assert not await client.abort(SESSION, "another")
        task = asyncio.create_task(run(client))
        await until(lambda: bool(running))
        assert await client.abort(SESSION, "run-1")
        with pytest.raises(RunAborted):
            await task
        await client.close()

    assert gateway.asked("chat.abort")[-1] == {"sessionKey": SESSION, "runId": "run-1"}


async def test_a_run_that_takes_too_long_is_aborted() -> None:
    async def hang(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)

    async def abort(gateway: Conversation, request: Json) -> None:
        await gateway.respond(request, {"ok": True, "aborted": True})

    async with scripted_gateway(agent=hang, chat_abort=abort) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(RunTimedOut):
            await run(client, timeout_s=0.2)
        await client.close()

    assert gateway.asked("chat.abort") == [{"sessionKey": SESSION, "runId": "run-1"}]


async def test_a_gateway_that_does_not_even_accept_is_given_up() -> None:
    async with scripted_gateway() as gateway:
        client = client_of(gateway.url, call_timeout_s=0.1)
        with pytest.raises(RunTimedOut):
            await run(client)
        with pytest.raises(GatewayGone, match="no answer to chat"):
            await client.abort(SESSION, "run-1")
        await client.close()


async def test_an_abort_may_be_refused() -> None:
    async def refuse(gateway: Conversation, request: Json) -> None:
        await gateway.refuse(request, "FORBIDDEN")

    async with scripted_gateway(chat_abort=refuse) as gateway:
        client = client_of(gateway.url)
        with pytest.raises(GatewayRefused, match="FORBIDDEN"):
            await client.abort(SESSION, "run-1")
        await client.close()


async def test_a_run_survives_its_connection() -> None:
    state = {"asked": 0}

    async def answer(gateway: Conversation, request: Json) -> None:
        state["asked"] += 1
        if state["asked"] == 1:
            await gateway.accept(request)
            await gateway.socket.close(1011)
        elif state["asked"] == 2:
            await gateway.respond(request, {"runId": "run-1", "status": "in_flight"})
        else:
            await gateway.respond(request, finished("Hello"))

    async def wait(gateway: Conversation, request: Json) -> None:
        await gateway.respond(request, {"runId": "run-1", "status": "ok"})

    async with scripted_gateway(agent=answer, agent_wait=wait) as gateway:
        client = client_of(gateway.url)
        result = await run(client)
        await client.close()

    assert result.text == "Hello"
    assert {each["idempotencyKey"] for each in gateway.asked("agent")} == {"run-1"}
    assert gateway.asked("agent.wait") == [{"runId": "run-1", "timeoutMs": 1000}]
    assert len(gateway.connections) == 2


async def test_a_run_is_not_asked_of_another_gateway_process() -> None:
    async with scripted_gateway() as gateway:

        async def die(conversation: Conversation, request: Json) -> None:
            await conversation.accept(request)
            gateway.boot_id = "boot-2"
            await conversation.socket.close(1012)

        gateway.answers["agent"] = die
        client = client_of(gateway.url)
        with pytest.raises(GatewayGone, match="started anew"):
            await run(client)
        await client.close()

    assert len(gateway.asked("agent")) == 1


async def test_it_waits_while_the_gateway_starts() -> None:
    async with scripted_gateway(agent=hello) as gateway:
        gateway.starting = 2
        client = client_of(gateway.url)
        await client.connect(deadline_s=DEADLINE_S)
        assert (await run(client)).text == "Hello"
        await client.close()

    assert len(gateway.asked("connect")) == 3


async def test_no_gateway_is_an_error_after_the_deadline() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = client_of(f"ws://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(GatewayGone):
            await client.connect(deadline_s=0.3)
    assert not client.connected


async def test_one_that_accepts_and_is_silent_is_an_error_after_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = client_of(f"ws://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(GatewayGone):
            await client.connect(deadline_s=0.3)


async def test_a_wrong_token_is_an_error_at_once() -> None:
    async with scripted_gateway() as gateway:
        client = client_of(gateway.url, "wrong")
        with pytest.raises(GatewayRefused, match="INVALID_REQUEST"):
            await client.connect(deadline_s=DEADLINE_S)

    assert len(gateway.asked("connect")) == 1


@pytest.mark.parametrize("greeting", ["no JSON", '{"type":"event","event":"another"}', "[]", '{"type":7}'])
async def test_what_is_no_gateway_is_refused(greeting: str) -> None:
    async with scripted_gateway() as gateway:
        original = Conversation.send

        async def greet(self: Conversation, frame: Json) -> None:
            if frame.get("event") == "connect.challenge":
                await self.socket.send(greeting)
            else:
                await original(self, frame)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Conversation, "send", greet)
            with pytest.raises(GatewayRefused):
                await client_of(gateway.url).connect(deadline_s=DEADLINE_S)


async def test_a_broken_frame_breaks_the_connection_and_not_the_run() -> None:
    state = {"asked": 0}

    async def answer(gateway: Conversation, request: Json) -> None:
        state["asked"] += 1
        if state["asked"] == 1:
            await gateway.accept(request)
            await gateway.socket.send("{")
        else:
            await gateway.respond(request, finished("Hello"))

    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        assert (await run(client)).text == "Hello"
        await client.close()


async def test_closing_ends_what_waits() -> None:
    async def hang(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)

    async with scripted_gateway(agent=hang) as gateway:
        client = client_of(gateway.url)
        task = asyncio.create_task(run(client))
        await until(lambda: bool(gateway.asked("agent")))
        await client.close()
        with pytest.raises(GatewayGone):
            await asyncio.wait_for(task, DEADLINE_S)
        await client.close()


async def test_runs_of_two_sessions_do_not_mix() -> None:
    async def answer(gateway: Conversation, request: Json) -> None:
        await gateway.accept(request)
        await gateway.tell(request, "assistant", text=request["params"]["message"], delta="", itemId="1")
        await gateway.respond(request, finished(request["params"]["message"]))

    shown: dict[str, list[str]] = {"a": [], "b": []}
    async with scripted_gateway(agent=answer) as gateway:
        client = client_of(gateway.url)
        results = await asyncio.gather(
            *(
                client.run(f"agent:main:{name}", name, run_id=name, timeout_s=DEADLINE_S, on_text=texts.append)
                for name, texts in shown.items()
            )
        )
        await client.close()

    assert [result.text for result in results] == ["a", "b"]
    assert shown == {"a": ["a"], "b": ["b"]}
    assert json.dumps(gateway.asked("connect")).count(TOKEN) == 1

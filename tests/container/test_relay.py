"""The relay over loopback: the simulated providers behind it, the ledger beside it, and an agent that may do anything.

moto is not thread-safe: one request at a time to the tables, as DynamoDB promises for an item.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.exceptions import EndpointConnectionError
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from agent.relay import Relay
from agent.relay_call import RelayedTurn
from agent.relay_exchange import LONGEST_ANSWER_BYTES, Upstream
from agent.relay_request import LONGEST_REQUEST_BYTES
from assistant.providers.anthropic_messages import AnthropicMessages
from assistant.providers.openai_chat import OpenAIChat
from assistant.providers.vendors import OPENROUTER_HEADERS, PlainVendor
from assistant.turns.chain import Budget, Timeouts, load_chain
from assistant.turns.model import Notice, Used
from local.simulators.faults import Fault
from local.simulators.outside import CONNECTIONS, Outside
from local.simulators.sse import event
from tests.doubles import CHAT, NOON, World, a_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.stores.ledger import DynamoLedger
    from assistant.turns.chain import Chain, Provider
    from local.simulators.anthropic import AnthropicSimulator

TOKEN = "the-token-of-this-boot"
QUESTION = "where did I bury the treasure"
DAY, MONTH = "day:2026-11-22", "month_micro_dollars:2026-11"
QUICK = Timeouts(connect=2, read=0.3, total=20)
TURN = RelayedTurn(chat_id=CHAT, user_id="7", number=3, preferred="copilot")

type WSGI = Callable[..., Any]


class QuietHandler(WSGIRequestHandler):  # type: ignore[misc]  # werkzeug is untyped here
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(application: WSGI) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)


class Gate:
    """Before a client of DynamoDB: one thread at a time makes use of it; `broken`: it is not reached at all."""

    def __init__(self, client: Any) -> None:
        self._lock = threading.Lock()
        self.broken = False
        self.calls: list[str] = []
        for name in ("update_item", "transact_write_items", "query", "get_item"):
            setattr(client, name, partial(self._call, name, getattr(client, name)))

    def _call(self, name: str, method: Any, **request: Any) -> Any:
        if self.broken:
            raise EndpointConnectionError(endpoint_url="https://secret.test/")
        with self._lock:
            self.calls.append(name)
            return method(**request)


CHAIN = load_chain()


def path_of(provider_id: str) -> str:
    return f"/{provider_id}" + ("/v1/messages" if provider_id == "anthropic" else "/chat/completions")


def body_of(provider_id: str, text: str = QUESTION) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": CHAIN.provider(provider_id).model, "max_tokens": 4096, "stream": True, "messages": messages}


@dataclass
class Scene:
    """A relay that is served, with what is around it."""

    world: World
    outside: Outside
    tables: Gate
    relay: Relay
    loop: asyncio.AbstractEventLoop
    http: httpx.Client

    def simulator(self, provider_id: str) -> Any:
        return self.outside.providers[provider_id]

    def asked(self, provider_id: str) -> int:
        return len(self.simulator(provider_id).requests)

    def ask(self, provider_id: str, text: str = QUESTION) -> httpx.Response:
        return self.http.post(path_of(provider_id), json=body_of(provider_id, text))

    def entry(self, provider_id: str) -> Any:
        return self.world.ledger.entries()[provider_id]

    def used(self, provider_id: str) -> Used:
        return self.world.usage.days("2026-11-22", "2026-11-22")["2026-11-22"][provider_id]

    @property
    def attempts(self) -> Any:
        return self.world.journal.attempts

    def forget(self) -> None:
        """Empty books."""
        self.attempts.clear()
        for item in self.world.runtime.client.scan(TableName="runtime")["Items"]:
            self.world.runtime.client.delete_item(TableName="runtime", Key={name: item[name] for name in ("pk", "sk")})

    def settled(self, attempts: int = 1) -> Any:
        """The last attempt, once there are so many and nothing is under way."""
        until(lambda: len(self.attempts) >= attempts and not self.relay._desk.calls)
        assert len(self.attempts) == attempts
        return self.attempts[-1]

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.relay.stop(), self.loop).result(15)


@contextlib.contextmanager
def a_scene(
    *,
    timeouts: Timeouts | None = None,
    at: Callable[[str], str] | None = None,
    chain: Callable[[Chain], Chain] = lambda c: c,
) -> Iterator[Scene]:
    """A relay between an agent and the simulated providers; `at`: where a provider is instead."""
    with a_world() as world:
        tables = Gate(world.runtime.client)
        outside = Outside(world.clock)
        world.secrets.values.update(outside.secrets)
        world.chain = chain(world.chain)
        with served(DispatcherMiddleware(_nothing, {f"/{name}": app for name, app in outside.mounts.items()})) as url:
            upstreams = [
                _upstream(provider, url if at is None else at(provider.id)) for provider in world.chain.providers
            ]
            with looping() as loop:
                relay = asyncio.run_coroutine_threadsafe(
                    _started(world, upstreams, timeouts or world.chain.timeouts), loop
                ).result(5)
                relay.turn = TURN
                headers = {"authorization": f"Bearer {TOKEN}"}
                try:
                    with httpx.Client(base_url=relay.url, headers=headers, timeout=20, verify=False) as http:
                        yield Scene(world, outside, tables, relay, loop, http)
                finally:
                    outside.close()
                    asyncio.run_coroutine_threadsafe(relay.stop(), loop).result(15)


async def _started(world: World, upstreams: list[Upstream], timeouts: Timeouts) -> Relay:
    relay = Relay(
        upstreams,
        timeouts,
        ledger=world.ledger,
        usage=world.usage,
        secrets=world.secrets,
        journal=world.journal,
        owner=world.owner,
        clock=world.clock,
        token=TOKEN,
    )
    await relay.start()
    return relay


def _upstream(provider: Provider, url: str) -> Upstream:
    connection = CONNECTIONS[provider.id]
    headers = OPENROUTER_HEADERS if provider.id == "openrouter" else {}
    vendor = PlainVendor(f"{url}/{connection.prefix}{connection.base_path}", headers)
    return Upstream(provider, AnthropicMessages() if provider.id == "anthropic" else OpenAIChat(), vendor)


def _nothing(environ: Any, start_response: Any) -> Any:
    return Response("nothing here", 404)(environ, start_response)


@contextlib.contextmanager
def looping() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop on a thread of its own, which leaves nothing behind."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
        left = asyncio.run_coroutine_threadsafe(_others(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert left == []


async def _others() -> list[str]:
    await asyncio.sleep(0)
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.fixture
def scene(caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    caplog.set_level(logging.INFO)
    with a_scene() as made:
        yield made
    discreet(caplog.text)


@pytest.fixture(scope="module")
def door() -> Iterator[httpx.Client]:
    """A way to a relay that has nothing behind it: whatever gets past its checks fails."""
    nothing: Any = None
    upstreams = [_upstream(provider, "http://127.0.0.1:1") for provider in CHAIN.providers]

    async def started() -> Relay:
        relay = Relay(
            upstreams,
            QUICK,
            ledger=nothing,
            usage=nothing,
            secrets=nothing,
            journal=nothing,
            owner=nothing,
            clock=nothing,
            token=TOKEN,
        )
        await relay.start()
        return relay

    with looping() as loop:
        relay = asyncio.run_coroutine_threadsafe(started(), loop).result(5)
        with httpx.Client(base_url=relay.url, headers={"authorization": f"Bearer {TOKEN}"}, verify=False) as http:
            yield http
        asyncio.run_coroutine_threadsafe(relay.stop(), loop).result(15)


def discreet(said: str) -> str:
    for secret in (TOKEN, QUESTION, "simulated-key"):
        assert secret not in said
    return said


def texts(response: httpx.Response) -> str:
    """The text of a stream, of either protocol."""
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    found = []
    for data in map(json.loads, lines):
        found += [choice["delta"].get("content", "") for choice in data.get("choices", [])]
        found += [data["delta"].get("text", "")] if data.get("type") == "content_block_delta" else []
    return "".join(found)


# An answer


@pytest.mark.parametrize("provider_id", list(CONNECTIONS))
def test_a_provider_answers_through_the_relay(scene: Scene, provider_id: str) -> None:
    response = scene.ask(provider_id)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert texts(response) == f"[simulated {provider_id}] You said: {QUESTION}"
    attempt = scene.settled()
    assert (attempt.chat_id, attempt.user_id, attempt.turn) == (CHAT, "7", 3)
    assert (attempt.provider, attempt.outcome, attempt.error) == (provider_id, "answered", None)
    assert attempt.fallback == (provider_id != "copilot")
    assert scene.used(provider_id).requests == 1
    assert attempt.usage.output == scene.used(provider_id).output_tokens > 0


def test_the_provider_gets_the_key_and_nothing_of_the_agents_headers(scene: Scene) -> None:
    extra = {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "user-agent": "OpenClaw", "anthropic-beta": "context-1m"}
    scene.http.post(path_of("openrouter"), json=body_of("openrouter"), headers=extra)
    scene.http.post(path_of("anthropic"), json=body_of("anthropic"), headers=extra)

    (request,) = scene.simulator("openrouter").requests
    assert request.headers["x-title"] == "serverless-openclaw"
    assert request.body["stream_options"] == {"include_usage": True}
    for provider_id in ("openrouter", "anthropic"):
        (request,) = scene.simulator(provider_id).requests
        assert not set(extra) - {"user-agent"} & set(request.headers)
        assert "OpenClaw" not in request.headers["user-agent"]
    scene.settled(2)


def test_dollars_are_the_vendors_bill(scene: Scene) -> None:
    claude: AnthropicSimulator = scene.simulator("anthropic")
    system = [{"type": "text", "text": "prose " * 2000, "cache_control": {"type": "ephemeral"}}]
    for n in range(1, 4):
        assert scene.http.post(path_of("anthropic"), json=body_of("anthropic") | {"system": system}).is_success
        scene.settled(n)

    spent = scene.entry("anthropic").windows[MONTH]
    assert 0 <= spent - claude.spent_micro_dollars < 3  # rounded up, each
    assert spent == scene.used("anthropic").micro_dollars == sum(each.micro_dollars for each in scene.attempts)
    assert scene.used("anthropic").cached_tokens > 0 < scene.used("anthropic").written_tokens
    assert scene.attempts[-1].budget_used == spent / 5_000_000


def test_a_stream_is_passed_on_as_it_comes() -> None:
    go_on = threading.Event()

    def slowly(environ: Any, start_response: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            yield b": waiting\n\n"
            yield b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n'
            assert go_on.wait(5)
            yield b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n'
            yield b"\ndata: [DONE]\n\n"

        return Response(pieces(), mimetype="text/event-stream")(environ, start_response)

    with served(slowly) as url, a_scene(at=lambda _: url) as scene:
        with scene.http.stream("POST", path_of("copilot"), json=body_of("copilot")) as response:
            chunks = response.iter_raw()
            received = next(chunks)
            while b'"a"' not in received:
                received += next(chunks)
            assert not go_on.is_set()
            go_on.set()
            received += b"".join(chunks)

        assert received == (
            b': waiting\n\ndata: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n'
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )
        assert scene.settled().usage is None


def test_the_relay_and_the_chat_lane_keep_one_ledger(scene: Scene) -> None:
    few = replace(scene.world.chain.provider("copilot"), budgets=(Budget(2, "day"),))
    scene.world.chain = replace(scene.world.chain, providers=(few, *scene.world.chain.providers[1:]))
    scene.world.say()
    scene.world.run_all()
    assert scene.entry("copilot").windows[DAY] == 1

    assert scene.ask("copilot").is_success
    scene.settled(2)

    assert scene.entry("copilot").windows[DAY] == 2
    scene.world.say()
    scene.world.run_all()
    assert scene.world.texts()[-1].startswith("openrouter")


@dataclass
class HeldUp:
    """A ledger whose named method waits until it may go on."""

    ledger: DynamoLedger
    method: str
    go_on: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        if name == self.method:
            self.reached.set()
            assert self.go_on.wait(5)
        return getattr(self.ledger, name)


def held_up(scene: Scene, provider_id: str, method: str) -> HeldUp:
    held = HeldUp(scene.world.ledger, method)
    meters: Any = scene.relay._desk._meters
    meters[provider_id] = replace(meters[provider_id], ledger=held)
    return held


def test_the_one_slot_is_free_again_for_the_agents_next_request(scene: Scene) -> None:
    """It asks as soon as it has read the last byte, and the last request is not settled by then."""
    held = held_up(scene, "ollama-cloud", "succeeded")
    assert scene.ask("ollama-cloud").is_success
    assert held.reached.wait(5)

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(scene.ask, "ollama-cloud")
        until(lambda: len(scene.relay._desk.calls) == 2)
        held.go_on.set()
        assert asking.result(10).is_success
    scene.settled(2)
    assert scene.simulator("ollama-cloud").most_in_flight == 1
    assert scene.entry("ollama-cloud").slot_holder is None


def test_a_slot_that_another_holds_is_not_waited_for(scene: Scene) -> None:
    held = scene.world.reserve(scene.world.chain.provider("ollama-cloud"))

    response = scene.ask("ollama-cloud")
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert scene.asked("ollama-cloud") == 0
    scene.world.ledger.succeeded(held, micro_dollars=0)
    assert scene.ask("ollama-cloud").is_success
    assert scene.attempts[0].error == "ProviderBusy"


# Providers that may not be asked


def test_a_blocked_provider_is_refused_at_once(scene: Scene) -> None:
    for provider in scene.world.chain.providers:
        scene.world.ledger.block(provider, cause="quota", until=NOON + 100)
    scene.tables.calls.clear()

    for provider_id in CONNECTIONS:
        response = scene.ask(provider_id)
        assert (response.status_code, response.headers["retry-after"]) == (429, "100")
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert scene.asked(provider_id) == 0
    assert scene.tables.calls == ["update_item"] * 4
    assert {(each.error, each.reason, each.fallback) for each in scene.attempts} == {
        ("ProviderExhausted", "blocked: quota", True)
    }


def test_a_provider_without_a_key_is_refused_and_looked_at_again_later(scene: Scene) -> None:
    key = scene.world.secrets.values.pop("copilot-api-key")
    assert scene.ask("copilot").status_code == 429
    scene.tables.calls.clear()
    assert scene.ask("copilot").status_code == 429
    assert scene.tables.calls == []
    assert not scene.entry("copilot").configured

    scene.world.secrets.values["copilot-api-key"] = key
    scene.world.clock.advance(301)
    assert scene.ask("copilot").is_success
    assert scene.asked("copilot") == 1
    scene.settled(3)


def test_a_budget_that_is_spent_refuses(scene: Scene) -> None:
    claude = scene.world.chain.provider("anthropic")
    spent = scene.world.reserve(claude, micro_dollars=5_000_000)
    scene.world.ledger.succeeded(spent, micro_dollars=4_990_000)

    response = scene.ask("anthropic")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) == 8.5 * 86400  # the month's end
    assert response.json()["type"] == "error"
    assert scene.asked("anthropic") == 0


def test_twenty_requests_at_once_take_the_five_that_are_left() -> None:
    def few(chain: Chain) -> Chain:
        copilot = replace(chain.provider("copilot"), budgets=(Budget(5, "day"),))
        return replace(chain, providers=(copilot, *chain.providers[1:]))

    with a_scene(chain=few) as scene, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: scene.ask("copilot").status_code, range(20)))
        scene.settled(20)

        assert sorted(answers) == [200] * 5 + [429] * 15
        assert scene.asked("copilot") == 5
        assert scene.entry("copilot").windows[DAY] == 5


def test_parallel_answers_do_not_overrun_the_dollars() -> None:
    def short(chain: Chain) -> Chain:
        return chain.with_settings(dollars_per_month=0.2, carry_over=False)

    with a_scene(chain=short) as scene, ThreadPoolExecutor(8) as threads:
        text = "x" * 20_000
        answers = list(threads.map(lambda _: scene.ask("anthropic", text).status_code, range(8)))
        scene.settled(8)

        assert set(answers) == {200, 429}
        assert scene.simulator("anthropic").spent_micro_dollars <= 200_000
        assert scene.entry("anthropic").windows[MONTH] <= 200_000


# Providers that fail


OUR_WORDS = {
    429: "rate limit: the provider can't be asked now",
    503: "upstream error: the provider is unavailable",
    400: "prompt is too long: it exceeds the model's maximum context length",
}
REFUSALS = {
    Fault.THROTTLED: (429, "ProviderExhausted"),
    Fault.EXHAUSTED: (429, "ProviderExhausted"),
    Fault.UNAUTHORIZED: (429, "ProviderRejected"),
    Fault.PAYMENT_REQUIRED: (429, "ProviderRejected"),
    Fault.SERVER_ERROR: (503, "ProviderUnavailable"),
    Fault.BAD_GATEWAY: (503, "ProviderUnavailable"),
    Fault.OVERLOADED: (503, "ProviderUnavailable"),
    Fault.ERROR_IN_200: (503, "ProviderUnavailable"),
    Fault.CLOSED: (503, "ProviderUnavailable"),
    Fault.TOO_LONG: (400, "ProviderDeclined"),
}


def test_a_refusal_is_understood_and_told_in_our_words(scene: Scene, subtests: pytest.Subtests) -> None:
    for fault, (status, error) in REFUSALS.items():
        with subtests.test(fault=fault):
            scene.forget()
            scene.outside.order("anthropic", fault, 1)
            response = scene.ask("anthropic")

            assert (response.status_code, response.json()["error"]["message"]) == (status, OUR_WORDS[status])
            attempt = scene.settled()
            assert (attempt.error, attempt.outcome) == (error, "failed")
            # A connection that breaks without a word may have been an answer that is charged for.
            assert bool(scene.entry("anthropic").windows[MONTH]) == (fault is Fault.CLOSED)
            assert scene.used("anthropic").failures == 1


def test_the_owner_is_told_of_a_refused_key_and_it_is_not_sent_again(scene: Scene) -> None:
    scene.outside.order("copilot", Fault.UNAUTHORIZED)
    assert [scene.ask("copilot").status_code for _ in range(3)] == [429] * 3

    assert scene.world.owner.told == [Notice("provider_rejected", "copilot", "key")]
    assert scene.asked("copilot") == 1


def test_a_stream_that_fails_midway_ends_with_an_error_and_is_charged(subtests: pytest.Subtests) -> None:
    faults = [Fault.CUT, Fault.TRUNCATED, Fault.STALL, Fault.FINISH_ERROR]
    with a_scene(timeouts=QUICK) as scene:
        for provider_id, fault in itertools.product(["openrouter", "anthropic"], faults):
            with subtests.test(provider_id=provider_id, fault=fault):
                scene.forget()
                scene.outside.order(provider_id, fault, 1)
                response = scene.ask(provider_id)

                assert response.status_code == 200
                assert texts(response).startswith("[simulated")
                last = json.loads(response.text.rpartition("data: ")[2])
                # A provider that fell silent is blocked by now: a timeout is not asked twice.
                assert last["error"]["type"] == ("rate_limit_error" if fault is Fault.STALL else "api_error")
                attempt = scene.settled()
                assert attempt.error == ("ProviderExhausted" if fault is Fault.STALL else "ProviderUnavailable")
                assert scene.used(provider_id).failures == 1
                if provider_id == "anthropic":
                    charged = scene.used(provider_id).micro_dollars
                    assert charged == scene.entry(provider_id).windows[MONTH] > 40_000


def test_a_provider_that_hangs_is_given_up() -> None:
    with a_scene(timeouts=QUICK) as scene:
        scene.outside.order("copilot", Fault.HANG)
        assert scene.ask("copilot").status_code == 429  # blocked by now: a timeout is not asked twice
        assert scene.settled().reason == "timeout"


def test_the_whole_answer_is_bounded_in_time() -> None:
    def trickling(environ: Any, start_response: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            while True:
                yield b": still there\n\n"
                threading.Event().wait(0.02)

        return Response(pieces(), mimetype="text/event-stream")(environ, start_response)

    with served(trickling) as url, a_scene(timeouts=Timeouts(2, 2, 0.5), at=lambda _: url) as scene:
        assert scene.ask("copilot").status_code == 429
        assert scene.settled().reason == "timeout"


def test_a_provider_that_is_not_there_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with a_scene(at=lambda _: nobody) as scene:
        assert scene.ask("anthropic").status_code == 503
        assert scene.settled().reason == "unreachable"
        assert scene.entry("anthropic").windows[MONTH] == 0


def test_a_key_that_no_header_can_carry_is_the_owners_to_mend(scene: Scene) -> None:
    scene.world.secrets.values["openrouter-api-key"] = "kéy"
    assert scene.ask("openrouter").status_code == 429

    assert scene.settled().error == "ProviderRejected"
    assert scene.world.owner.told == [Notice("provider_rejected", "openrouter", "key")]
    assert scene.entry("openrouter").windows[DAY] == 0


def test_a_fault_of_ours_is_settled_and_told_without_words(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(PlainVendor):
        def base_url(self, key: str) -> str:
            raise ValueError(QUESTION)

    path = path_of("anthropic").encode()
    scene.relay._paths[path] = replace(scene.relay._paths[path], vendor=Faulty("", {}))
    assert scene.ask("anthropic").status_code == 503

    assert scene.settled().reason == "internal error"
    assert "ValueError while asking anthropic" in caplog.text


def test_an_answer_that_is_no_stream_is_broken() -> None:
    def plainly(environ: Any, start_response: Any) -> Any:
        body = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
        return Response(json.dumps(body), mimetype="application/json")(environ, start_response)

    with served(plainly) as url, a_scene(at=lambda _: url) as scene:
        assert scene.ask("copilot").status_code == 503
        assert scene.settled().reason == "broken answer"


def test_an_answer_without_end_is_cut_off() -> None:
    piece = event({"choices": [{"delta": {"content": "x" * 60_000}}]})

    def endless(environ: Any, start_response: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            while True:
                yield piece

        return Response(pieces(), mimetype="text/event-stream")(environ, start_response)

    with served(endless) as url, a_scene(at=lambda _: url) as scene:
        response = scene.ask("copilot")
        assert LONGEST_ANSWER_BYTES - 1_000_000 < len(response.content) < LONGEST_ANSWER_BYTES + 1000
        assert scene.settled().reason == "answer too large"


def test_an_error_that_is_the_first_event_has_a_status() -> None:
    refused = event({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}})

    def application(environ: Any, start_response: Any) -> Any:
        return Response([b": OPENROUTER PROCESSING\n\n", refused], mimetype="text/event-stream")(
            environ, start_response
        )

    with served(application) as url, a_scene(at=lambda _: url) as scene:
        response = scene.ask("openrouter")
        assert (response.status_code, response.headers["retry-after"]) == (429, "43200")
        assert scene.settled().error == "ProviderExhausted"


def test_a_connection_that_stays_open_after_the_answer_is_not_waited_for() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def lingering(environ: Any, start_response: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            yield event({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}) + event("[DONE]")
            go_on.wait(5)
            ended.set()

        return Response(pieces(), mimetype="text/event-stream")(environ, start_response)

    with served(lingering) as url, a_scene(at=lambda _: url) as scene:
        assert texts(scene.ask("copilot")) == "a"
        assert scene.settled().outcome == "answered"
        assert not ended.is_set()
        go_on.set()


def test_events_that_nobody_understands_are_passed_on() -> None:
    strange = event({"choices": "new"}) + b"data: {half\n\n" + event({"choices": [{"finish_reason": "stop"}]})

    def application(environ: Any, start_response: Any) -> Any:
        return Response(strange + event("[DONE]"), mimetype="text/event-stream")(environ, start_response)

    with served(application) as url, a_scene(at=lambda _: url) as scene:
        assert scene.ask("copilot").content == strange + event("[DONE]")
        assert scene.settled().outcome == "answered"


# An agent that may do anything


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer  x"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": b"Bearer t\xf6ken"},
        {"x-api-key": b"\xff"},
        {"authorization": "Bearer wrong", "x-api-key": TOKEN},
    ],
)
def test_without_the_token_nothing_is_said(door: httpx.Client, headers: Any) -> None:
    with httpx.Client(base_url=door.base_url, headers=headers, verify=False) as stranger:
        for path in ("/copilot/chat/completions", "/", "/health"):
            response = stranger.post(path, json=body_of("copilot"))
            assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


def test_the_token_may_come_in_either_header(scene: Scene) -> None:
    for headers in ({"x-api-key": TOKEN}, {"authorization": f"bearer {TOKEN}"}):
        with httpx.Client(base_url=scene.relay.url, headers=headers, verify=False) as agent:
            assert agent.post(path_of("copilot"), json=body_of("copilot")).is_success


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/copilot",
        "/copilot/",
        "/copilot/chat/completions/",
        "//copilot/chat/completions",
        "/copilot//chat/completions",
        "/copilot/../openrouter/chat/completions",
        "/copilot/./chat/completions",
        "/copilot%2Fchat/completions",
        "/copilot/chat%2fcompletions",
        "/%63opilot/chat/completions",
        "/copilot/v1/messages",
        "/anthropic/chat/completions",
        "/anthropic/v1/models",
        "/copilot\\chat\\completions",
        "/Copilot/chat/completions",
        "/copilot/chat/completions;x=1",
        "/copilot/chat/completions#x",
        "http://127.0.0.1/copilot/chat/completions",
        "http://evil.test/anthropic/v1/messages",
        "*",
    ],
)
def test_only_the_listed_paths_are_served(door: httpx.Client, target: str) -> None:
    assert status_of(door, f"POST {target} HTTP/1.1") == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_only_post_is_served(door: httpx.Client, method: str) -> None:
    assert status_of(door, f"{method} /copilot/chat/completions HTTP/1.1") == 404


@pytest.mark.parametrize("line", ["CONNECT evil.test:443 HTTP/1.1", "POST /copilot/chat/completions HTTP/9", "\x00"])
def test_what_is_no_request_is_turned_away(door: httpx.Client, line: str) -> None:
    assert status_of(door, line) in {400, 404}


def status_of(door: httpx.Client, line: str, length: str = "") -> int:
    body = json.dumps(body_of("copilot")).encode()
    length = length or f"Content-Length: {len(body)}"
    head = f"{line}\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{length}\r\n\r\n"
    with socket.create_connection((door.base_url.host, door.base_url.port or 0), timeout=5) as connection:
        connection.sendall(head.encode("latin-1") + body)
        return int(connection.recv(65536).split()[1])


def test_a_query_is_not_passed_on(scene: Scene) -> None:
    path = path_of("anthropic") + "?beta=true"
    assert scene.http.post(path, json=body_of("anthropic")).is_success
    assert scene.simulator("anthropic").requests[0].path == "/v1/messages"


def test_a_request_that_is_too_large_is_not_read(door: httpx.Client) -> None:
    declared = f"Content-Length: {LONGEST_REQUEST_BYTES + 1}"
    assert status_of(door, "POST /copilot/chat/completions HTTP/1.1", declared) == 413
    assert status_of(door, "POST /copilot/chat/completions HTTP/1.1", "Content-Length: -1") == 400

    def endlessly() -> Iterator[bytes]:
        for _ in range(11 * 16):
            yield b"x" * 65536

    with contextlib.suppress(httpx.WriteError):  # told while it still speaks, and cut off
        assert door.post(path_of("copilot"), content=endlessly()).status_code == 413


def test_a_request_of_megabytes_is_passed_on(scene: Scene) -> None:
    scene.simulator("copilot").context_window = 10**8
    assert scene.ask("copilot", "x" * 9_000_000).is_success


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":"x"}', b"\xff" * 9])
def test_a_request_that_is_none_is_refused(door: httpx.Client, body: bytes) -> None:
    response = door.post(path_of("copilot"), content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_another_model_is_refused(door: httpx.Client) -> None:
    body = body_of("anthropic") | {"model": "claude-opus-5"}
    assert door.post(path_of("anthropic"), json=body).status_code == 400


def test_whoever_leaves_in_the_middle_pays_and_the_provider_is_left() -> None:
    left = threading.Event()
    usage = {"input_tokens": 5, "output_tokens": 1}

    def answering(environ: Any, start_response: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            yield event({"type": "message_start", "message": {"model": "m", "usage": usage}})
            with contextlib.closing(Noticed(left)):
                while True:
                    yield event({"type": "content_block_delta", "delta": {"text": "a"}})
                    threading.Event().wait(0.01)

        return Response(pieces(), mimetype="text/event-stream")(environ, start_response)

    with served(answering) as url, a_scene(at=lambda _: url) as scene:
        with scene.http.stream("POST", path_of("anthropic"), json=body_of("anthropic")) as response:
            next(response.iter_raw())
        assert left.wait(5)

        attempt = scene.settled()
        assert (attempt.reason, attempt.fallback) == ("client gone", False)
        entry = scene.entry("anthropic")
        assert entry.windows[MONTH] == scene.used("anthropic").micro_dollars > 40_000
        assert (entry.failures, entry.blocked_until) == (0, None)


def test_whoever_does_not_read_is_to_blame_not_the_provider() -> None:
    piece = event({"choices": [{"delta": {"content": "x" * 60_000}}]})

    def endless(environ: Any, start_response: Any) -> Any:
        return Response(iter(lambda: piece, b""), mimetype="text/event-stream")(environ, start_response)

    with served(endless) as url, a_scene(timeouts=Timeouts(2, 2, 1), at=lambda _: url) as scene:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", httpx.URL(scene.relay.url).port or 0))
            body = json.dumps(body_of("copilot")).encode()
            head = f"POST /copilot/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            deaf.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: scene.attempts)
        assert scene.settled().reason == "answer not taken"
        assert scene.entry("copilot").blocked_until is None


@dataclass
class Noticed:
    """Set when closed."""

    seen: threading.Event

    def close(self) -> None:
        self.seen.set()


def test_whoever_leaves_before_the_provider_says_anything_is_noticed(scene: Scene) -> None:
    scene.outside.order("ollama-cloud", Fault.HANG, 1)
    with pytest.raises(httpx.ReadTimeout):
        scene.http.post(path_of("ollama-cloud"), json=body_of("ollama-cloud"), timeout=0.3)

    assert scene.settled().reason == "client gone"
    assert scene.entry("ollama-cloud").slot_holder is None
    assert scene.ask("ollama-cloud").is_success


def test_for_whoever_leaves_before_the_provider_is_asked_nobody_is_asked(scene: Scene) -> None:
    held = held_up(scene, "anthropic", "reserve")
    with pytest.raises(httpx.ReadTimeout):
        scene.http.post(path_of("anthropic"), json=body_of("anthropic"), timeout=0.2)
    (call,) = scene.relay._desk.calls
    until(lambda: call._abandoned)
    held.go_on.set()

    assert scene.settled().reason == "client gone"
    assert scene.asked("anthropic") == 0
    assert scene.entry("anthropic").windows[MONTH] == 0


def test_whoever_leaves_in_the_middle_of_a_request_is_forgotten(scene: Scene) -> None:
    host, port = httpx.URL(scene.relay.url).host, httpx.URL(scene.relay.url).port
    with socket.create_connection((host, port), timeout=5) as connection:
        head = f"POST /copilot/chat/completions HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nHost: x\r\n"
        connection.sendall(head.encode() + b"Content-Length: 500\r\n\r\n{")
    assert scene.ask("copilot").is_success
    scene.settled()


# The relay's own life


def test_without_the_ledger_nobody_is_asked(scene: Scene) -> None:
    scene.tables.broken = True
    response = scene.ask("anthropic")
    scene.tables.broken = False

    assert response.status_code == 503
    assert "secret.test" not in response.text
    assert scene.asked("anthropic") == 0


def test_an_answer_is_not_lost_with_the_ledger(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    claude = scene.simulator("anthropic")

    def compose(question: str) -> str:
        scene.tables.broken = True
        return "the answer"

    claude.compose = compose
    assert texts(scene.ask("anthropic")) == "the answer"
    until(lambda: not scene.relay._desk.calls)
    scene.tables.broken = False
    assert "EndpointConnectionError in a call to anthropic" in caplog.text
    assert scene.entry("anthropic").windows[MONTH] > 40_000  # nothing was given back


def test_stopping_leaves_the_providers_and_settles(scene: Scene) -> None:
    scene.outside.order("ollama-cloud", Fault.HANG)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scene.ask, "ollama-cloud")
        until(lambda: scene.asked("ollama-cloud"))
        began = time.monotonic()
        scene.stop()
        assert time.monotonic() - began < 3
        assert waiting.result(5).status_code == 429

    assert scene.settled().reason == "relay stopped"
    assert scene.entry("ollama-cloud").slot_holder is None
    with pytest.raises(httpx.ConnectError):
        scene.ask("copilot")


def test_it_listens_on_loopback_and_answers_without_delay(scene: Scene) -> None:
    assert scene.relay.url.startswith("http://127.0.0.1:")
    listening = scene.relay._socket
    assert listening is not None
    assert listening.getsockname()[0] == "127.0.0.1"
    # asyncio sets TCP_NODELAY on such sockets only, and without it every answer takes 40 ms more.
    assert listening.proto == socket.IPPROTO_TCP


def test_it_is_a_guest_in_its_process(scene: Scene) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            asyncio.run(relay_of(scene, port).start())

    async def alone() -> None:
        relay = relay_of(scene)
        with pytest.raises(RuntimeError, match="not started"):
            _ = relay.url
        await relay.stop()
        async with relay_of(scene) as relay:
            async with httpx.AsyncClient(base_url=relay.url, verify=False) as http:
                assert (await http.post("/")).status_code == 401
            assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == handlers

    asyncio.run(alone())


def relay_of(scene: Scene, port: int = 0) -> Relay:
    world = scene.world
    return Relay(
        [],
        QUICK,
        ledger=world.ledger,
        usage=world.usage,
        secrets=world.secrets,
        journal=world.journal,
        owner=world.owner,
        clock=world.clock,
        token=TOKEN,
        port=port,
    )

"""What the relay lets through, how it reads along, and what it says when it refuses."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from agent.relay_answer import Outgoing, refusal
from agent.relay_events import EventParser
from agent.relay_request import IMAGE_TOKENS, Forwarded, RequestRefused, forwarded
from assistant.errors import (
    CONTEXT_TOO_LONG,
    ProviderBusy,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.turns.chain import load_chain

OPENROUTER = load_chain().provider("openrouter")
CLAUDE = load_chain().provider("anthropic")
NOW = 1_000_000.5


def chat(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": OPENROUTER.model, "stream": True, "messages": messages, **changes}


def claude(**changes: Any) -> dict[str, Any]:
    return {**chat(model=CLAUDE.model, max_tokens=100), **changes}


def asked(body: object, provider: Any = OPENROUTER) -> Forwarded:
    return forwarded(json.dumps(body).encode(), provider)


def sent(body: object, provider: Any = OPENROUTER) -> dict[str, Any]:
    return dict(json.loads(asked(body, provider).body))


def content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return claude(messages=[{"role": "user", "content": list(blocks)}])


# What goes on to the provider


def test_a_request_goes_on_with_its_usage_asked_for() -> None:
    tools = [{"type": "function", "function": {"name": "read"}}]
    assert sent(chat(tools=tools, temperature=0.5)) == {
        **chat(tools=tools, temperature=0.5),
        "max_tokens": 4096,
        "stream_options": {"include_usage": True},
    }


def test_claude_gets_what_was_asked() -> None:
    body = claude(system="be brief", tools=[{"name": "read", "input_schema": {}}], stop_sequences=["x"])
    assert sent(body, CLAUDE) == body


def test_what_is_kept_is_kept_byte_for_byte() -> None:
    messages = b'[ {"role":"user",  "content":"\\u00e9\xc3\xa9", "n":1.50e1} ]'
    raw = b'{"model":"openrouter/free","stream":true,"messages":' + messages + b"}"
    assert messages in forwarded(raw, OPENROUTER).body


@pytest.mark.parametrize(
    ("wanted", "longest"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100_000}, 4096),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 0}, 4096),
        ({"max_tokens": "9"}, 4096),
        ({}, 4096),
    ],
)
def test_no_answer_is_longer_than_the_chain_says(wanted: dict[str, Any], longest: int) -> None:
    body = sent(chat(**wanted))
    assert body["max_tokens"] == longest
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize("field", ["n", "models", "plugins", "service_tier", "provider", "route", "user", "store"])
def test_what_may_cost_more_is_left_out_of_a_chat(field: str) -> None:
    assert field not in sent(chat(**{field: 2}))


@pytest.mark.parametrize("field", ["mcp_servers", "container", "service_tier", "speed", "inference_geo", "betas"])
def test_what_may_cost_more_is_left_out_of_a_message(field: str) -> None:
    assert field not in sent(claude(**{field: "x"}), CLAUDE)


@pytest.mark.parametrize(
    "body",
    [
        chat(model="gpt-9"),
        chat(model=None),
        chat(model=["openrouter/free"]),
        chat(stream=False),
        chat(stream=1),
        chat(tools=[{"type": "openrouter:web_search"}]),
        chat(tools=[{"function": {}}]),
        [],
        "openrouter/free",
        None,
    ],
)
def test_another_request_is_refused(body: object) -> None:
    with pytest.raises(RequestRefused):
        asked(body)


@pytest.mark.parametrize(
    "body",
    [
        claude(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        claude(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]),
        claude(tools=[{"name": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]),
        content({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "24h"}}),
        content({"type": "image", "source": {"type": "url", "url": "https://x.test/"}}),
        content({"type": "document", "source": {"type": "base64", "data": ""}}),
        content({"type": "document", "source": {"type": "file", "file_id": "x"}}),
        content({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]}),
        content({"type": "document", "source": {"type": "content", "content": [{"source": {"type": "url"}}]}}),
    ],
)
def test_what_has_another_price_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused):
        asked(body, CLAUDE)


@pytest.mark.parametrize(
    "body",
    [
        content({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}),
        content({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}}),
        content({"type": "tool_use", "id": "1", "name": "n", "input": {"source": {"type": "url"}, "ttl": "1h"}}),
        content({"type": "tool_result", "tool_use_id": "1", "content": "plain"}),
        content({"type": "document", "source": {"type": "text", "data": "x"}}),
        claude(tools=[{"type": "custom", "name": "x"}, {"name": "y", "type": None}]),
    ],
)
def test_what_has_the_chains_price_is_sent(body: dict[str, Any]) -> None:
    assert sent(body, CLAUDE) == body


def test_an_image_counts_for_more_than_its_bytes() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "x"}}
    one, three = asked(content(image), CLAUDE), asked(content(image, image, image), CLAUDE)
    assert three.most_tokens - one.most_tokens - (len(three.body) - len(one.body)) == 2 * IMAGE_TOKENS
    assert one.most_tokens > len(one.body) + IMAGE_TOKENS


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b'{"model":"openrouter/free","stream":true,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"claude-sonnet-5","stream":true,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"\xff","stream":true}',
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    for provider in (OPENROUTER, CLAUDE):
        with pytest.raises(RequestRefused) as refused:
            forwarded(raw, provider)
        assert len(str(refused.value)) < 60


def test_a_name_said_twice_is_said_once_to_the_provider() -> None:
    raw = b'{"model":"gpt-9","model":"openrouter/free","stream":true,"messages":[]}'
    assert forwarded(raw, OPENROUTER).body.count(b'"model"') == 1


# Reading along


def events(*chunks: bytes) -> list[str]:
    parser = EventParser()
    return [data for chunk in chunks for data in parser.feed(chunk)]


LINES = st.sampled_from(
    ["data: a", "data:b", "data", "data:  c", ": ping", "event: x", "", "", "id: 1", "dataset: no", "data: é€😀"]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 120), max_size=6))
def test_events_are_what_httpx_sse_reads_wherever_the_stream_is_cut(lines: list[Any], cuts: list[int]) -> None:
    whole = "".join(line + end for line, end in lines).encode() + b"\n\n"
    borders = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    chunks = [whole[start:end] for start, end in itertools.pairwise(borders)]

    response = httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, content=whole)
    assert events(*chunks) == [event.data for event in EventSource(response).iter_sse() if event.data]


def test_a_byte_order_mark_and_broken_characters_do_no_harm() -> None:
    assert events(b"\xef\xbb\xbfdata: a\n\n", b"data: \xff\n\n") == ["a", "�"]


def test_an_event_without_an_end_is_none() -> None:
    assert events(b"data: a\n") == []


# What the agent is told


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ProviderExhausted("p", "blocked: quota", block_until=NOW + 99.2, asked=False), 429, 100),
        (ProviderExhausted("p", "turn deadline"), 429, 60),
        (ProviderExhausted("p", "over by now", block_until=NOW - 5), 429, 1),
        (ProviderThrottled("p", "rate limit", block_until=NOW + 3), 429, 3),
        (ProviderBusy("p", "slot taken", block_until=NOW + 90), 429, 1),
        (ProviderRejected("p", "key", status=401), 429, 60),
        (ProviderDeclined("p", "moderated"), 429, 60),
        (ProviderDeclined("p", CONTEXT_TOO_LONG), 400, None),
        (ProviderUnavailable("p", "server error", status=500), 503, None),
    ],
)
def test_a_failure_is_told_so_that_openclaw_goes_on(error: ProviderError, status: int, retry_after: int | None) -> None:
    told = refusal(error, NOW)
    assert (told.status, told.retry_after) == (status, retry_after)
    assert error.reason not in told.message or error.reason == "rate limit"


@pytest.mark.parametrize(
    ("protocol", "whole", "event"),
    [
        ("openai-chat", lambda error: {"error": {**error, "param": None, "code": None}}, b"\n\ndata: {"),
        ("anthropic-messages", lambda error: {"type": "error", "error": error}, b"\n\nevent: error\ndata: {"),
    ],
)
def test_a_refusal_has_the_vendors_shape_and_ends_a_stream_that_has_begun(
    protocol: str, whole: Any, event: bytes
) -> None:
    told = refusal(ProviderExhausted("p", "quota", block_until=NOW + 9), NOW)
    error = {"type": "rate_limit_error", "message": told.message}
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def answer(*, begun: bool) -> list[Any]:
        messages.clear()
        outgoing = Outgoing(send, protocol)
        if begun:
            await outgoing.write(b"data: half")
        await outgoing.refuse(told)
        assert outgoing.finished
        return list(messages)

    start, body = asyncio.run(answer(begun=False))
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (429, b"9")
    assert json.loads(body["body"]) == whole(error)

    start, half, last, end = asyncio.run(answer(begun=True))
    assert (start["status"], half["body"]) == (200, b"data: half")
    assert last["body"].startswith(event)
    assert json.loads(last["body"].partition(b"data: ")[2]) == whole(error)
    assert end == {"type": "http.response.body"}

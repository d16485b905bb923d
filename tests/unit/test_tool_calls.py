"""A model calls its tool: in both protocols, whole and in pieces, right and wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from assistant.errors import ProviderError, ProviderUnavailable
from assistant.providers.anthropic_messages import AnthropicMessages
from assistant.providers.client import ProviderClient
from assistant.providers.openai_chat import OpenAIChat
from assistant.providers.tool_calls import LONGEST_TASK
from assistant.providers.vendors import PlainVendor
from assistant.turns.chain import Timeouts, load_chain
from assistant.turns.delegating import DELEGATE_TO_AGENT as TOOL
from assistant.turns.delegating import prompt
from assistant.turns.model import Answer, Delegation, Said, Turn, TurnStatus, Usage
from tests.doubles import DrivenClock

if TYPE_CHECKING:
    from assistant.providers.protocol import WireProtocol
    from assistant.turns.model import Tool

CHAIN = load_chain()
PROTOCOLS: dict[str, WireProtocol] = {"openai-chat": OpenAIChat(), "anthropic-messages": AnthropicMessages()}
NAME = TOOL.name
WANTED = json.dumps({"task": "find the file"})

type Event = dict[str, Any]


def answered(provider_id: str, *events: Event, tool: Tool | None = TOOL) -> Answer | Delegation:
    """What comes of a stream of these events."""
    provider = CHAIN.provider(provider_id)
    body = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
    if provider.protocol == "openai-chat":
        body += b"data: [DONE]\n\n"
    reply = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    with httpx.Client(transport=httpx.MockTransport(lambda _: reply)) as http:
        client = ProviderClient(
            provider,
            PROTOCOLS[provider.protocol],
            PlainVendor("http://provider.test", {}),
            http,
            Timeouts(5, 5, 5),
            DrivenClock(),
        )
        return client.ask("hi", [Said("user", "where?")], key="k", seconds=5, on_text=lambda _: None, tool=tool)


def of_openai(*events: Event, tool: Tool | None = TOOL) -> Answer | Delegation:
    return answered("copilot", *events, tool=tool)


def of_claude(*events: Event, tool: Tool | None = TOOL, stop: str = "tool_use") -> Answer | Delegation:
    start = {"type": "message_start", "message": {"model": "m-1", "usage": {"input_tokens": 9}}}
    end = {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 2}}
    return answered("anthropic", start, *events, end, {"type": "message_stop"}, tool=tool)


def chunk(*calls: Any, text: str | None = None, finish: str | None = None) -> Event:
    delta = {"content": text} | ({"tool_calls": list(calls)} if calls else {})
    return {"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(
    arguments: Any = None, name: str | None = None, *, index: int | None = 0, call_id: str | None = None
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        key: value
        for key, value in {"index": index, "id": call_id, "type": "function", "function": function}.items()
        if value is not None
    }


def block(index: int = 0, name: str = NAME, kind: str = "tool_use") -> Event:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, "id": "t", "name": name}}


def piece(text: str, index: int = 0) -> Event:
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def said(text: str, index: int = 0) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def reason(ask: Any, *events: Event, **how: Any) -> str:
    with pytest.raises(ProviderUnavailable) as raised:
        ask(*events, **how)
    assert raised.value.may_cost
    assert "find" not in str(raised.value)
    return raised.value.reason


def task(outcome: Answer | Delegation) -> str:
    assert isinstance(outcome, Delegation), outcome
    return outcome.task


def test_a_call_in_pieces_is_put_together() -> None:
    usage: Event = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    pieces = [chunk(call(WANTED[at : at + 7])) for at in range(0, len(WANTED), 7)]

    outcome = of_openai(chunk(call("", NAME, call_id="c")), *pieces, chunk(finish="tool_calls"), usage)

    assert outcome == Delegation("find the file", "m-1", Usage(input=9, output=2))


def test_claudes_call_in_pieces_is_put_together() -> None:
    pieces = [piece(WANTED[at : at + 7]) for at in range(0, len(WANTED), 7)]

    outcome = of_claude(block(), piece(""), *pieces, {"type": "content_block_stop", "index": 0})

    assert outcome == Delegation("find the file", "m-1", Usage(input=9, output=2))


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_a_whole_call_counts_whatever_the_vendor_says_for_its_end(finish: str) -> None:
    assert task(of_openai(chunk(call(WANTED, NAME), finish=finish))) == "find the file"


def test_what_is_said_beside_a_call_is_not_an_answer() -> None:
    assert task(of_openai(chunk(text="I'll ask my agent."), chunk(call(WANTED, NAME), finish="tool_calls")))
    told = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert task(of_claude(told, said("I'll ask."), block(1), piece(WANTED, 1)))


def test_arguments_that_are_an_object_already_are_read() -> None:
    assert task(of_openai(chunk(call({"task": "find the file"}, NAME), finish="stop"))) == "find the file"


TWO = [json.dumps({"task": "one"}), json.dumps({"task": "two"})]


@pytest.mark.parametrize(
    "events",
    [
        [chunk(call(TWO[0], NAME, index=0, call_id="a"), call(TWO[1], NAME, index=1, call_id="b"))],
        [chunk(call(TWO[0], NAME, index=0)), chunk(call(TWO[1], NAME, index=1))],
        [chunk(call(TWO[0], NAME, index=0, call_id="a")), chunk(call(TWO[1], NAME, index=0, call_id="b"))],
        [chunk(call(TWO[0], NAME, index=None, call_id="a")), chunk(call(TWO[1], NAME, index=None, call_id="b"))],
        [chunk(call(TWO[0], NAME, index=0)), chunk(call(TWO[1], NAME, index=0))],
        [chunk(call("", NAME), call(TWO[0], NAME)), chunk(call("", NAME, index=1), call(TWO[1], index=1))],
    ],
    ids=["in one event", "by index", "one index", "no index", "neither", "name repeated"],
)
def test_several_calls_are_one_task(events: list[Event]) -> None:
    assert task(of_openai(*events, chunk(finish="tool_calls"))) == "one\n\ntwo"


def test_several_calls_of_claude_are_one_task_and_a_repetition_is_said_once() -> None:
    outcome = of_claude(block(0), piece(TWO[0]), block(1), piece(TWO[1], 1), block(2), piece(TWO[0], 2))

    assert task(outcome) == "one\n\ntwo"


BROKEN = [
    "",
    "{",
    '{"task": "find',
    "[]",
    '"find"',
    "null",
    "{}",
    '{"task": null}',
    '{"task": 1}',
    '{"other": "find"}',
    "[" * 3000,
]


@pytest.mark.parametrize("arguments", BROKEN)
def test_arguments_that_make_no_task_are_a_broken_answer(arguments: str) -> None:
    assert reason(of_openai, chunk(call(arguments, NAME), finish="length")) == "broken tool call"
    assert reason(of_claude, block(), piece(arguments), stop="max_tokens") == "broken tool call"


@pytest.mark.parametrize("arguments", ['{"task": ""}', '{"task": " \\n"}'])
def test_an_empty_task_is_a_broken_answer(arguments: str) -> None:
    assert reason(of_openai, chunk(call(arguments, NAME), finish="tool_calls")) == "empty task"
    assert reason(of_claude, block(), piece(arguments)) == "empty task"


@pytest.mark.parametrize("text", [None, "I will look it up."])
def test_a_tool_that_there_is_not_is_a_broken_answer(text: str | None) -> None:
    assert reason(of_openai, chunk(call(WANTED, "web_search"), text=text, finish="tool_calls")) == "unknown tool"
    assert reason(of_claude, said(text or ""), block(1, "web_search"), piece(WANTED, 1)) == "unknown tool"


def test_a_call_of_the_tool_counts_beside_one_of_another() -> None:
    assert task(of_openai(chunk(call("{}", "web_search"), call(WANTED, NAME, index=1), finish="tool_calls")))


@pytest.mark.parametrize("calls", [[{"function": None}], [1], {"function": {}}, "call", [{"function": {"name": 1}}]])
def test_calls_of_a_foreign_shape_are_a_broken_answer(calls: Any) -> None:
    event = {"choices": [{"delta": {"content": "so", "tool_calls": calls}, "finish_reason": "tool_calls"}]}

    assert reason(of_openai, event) == "unknown tool"


def test_no_calls_are_none() -> None:
    for none in ("null", "[]"):
        delta = {"content": "so", "tool_calls": json.loads(none)}
        event: Event = {"model": "m-1", "choices": [{"delta": delta, "finish_reason": "stop"}]}
        assert of_openai(event) == Answer("so", "m-1")


def test_a_call_that_nobody_offered_is_none() -> None:
    assert of_openai(chunk(call(WANTED, NAME), text="so", finish="tool_calls"), tool=None) == Answer("so", "m-1")
    assert reason(of_openai, chunk(call(WANTED, NAME), finish="tool_calls"), tool=None) == "empty answer"


def test_a_call_that_is_cut_off_is_none() -> None:
    with pytest.raises(ProviderError, match="answer cut off"):
        answered("anthropic", {"type": "message_start", "message": {}}, block(), piece(WANTED))


def test_what_a_server_tool_is_given_is_no_call() -> None:
    outcome = of_claude(block(0, "web_search", "server_tool_use"), piece(WANTED), said("so", 1), stop="end_turn")

    assert outcome == Answer("so", "m-1", Usage(input=9, output=2))


def test_a_task_has_an_end() -> None:
    outcome = of_openai(chunk(call(json.dumps({"task": "x" * 20_000}), NAME), finish="tool_calls"))

    assert len(task(outcome)) == LONGEST_TASK


def test_the_tool_is_offered_as_each_protocol_has_it() -> None:
    schema = {
        "type": "object",
        "properties": {"task": {"type": "string", "description": TOOL.meaning}},
        "required": ["task"],
    }
    openai = OpenAIChat().body(CHAIN.provider("copilot"), "hi", [Said("user", "where?")], TOOL)
    claude = AnthropicMessages().body(CHAIN.provider("anthropic"), "hi", [Said("user", "where?")], TOOL)

    function = {"name": NAME, "description": TOOL.description, "parameters": schema}
    assert openai["tools"] == [{"type": "function", "function": function}]
    assert claude["tools"] == [{"name": NAME, "description": TOOL.description, "input_schema": schema}]


@pytest.mark.parametrize("provider", CHAIN.providers, ids=lambda provider: provider.id)
def test_the_prefix_with_the_tool_is_the_same_bytes_turn_after_turn(provider: Any) -> None:
    told = prompt(a_turn(may_delegate=True), provider)
    protocol = PROTOCOLS[provider.protocol]
    conversation = [Said("user", "one"), Said("assistant", "two"), Said("user", "three", note="It is noon.")]

    before = json.dumps(protocol.body(provider, told.system, conversation, told.tool))
    conversation[-1:] = [Said("user", "three"), Said("assistant", "four"), Said("user", "five", note="It is one.")]
    told = prompt(dataclasses.replace(a_turn(may_delegate=True), number=2), provider)
    after = json.dumps(protocol.body(provider, told.system, conversation, told.tool))

    assert NAME in before[: before.index("one")]
    assert after.startswith(before[: before.index("three") + len("three")])


def test_the_tool_counts_for_the_shortest_prefix_that_is_cached() -> None:
    claude = dataclasses.replace(CHAIN.provider("anthropic"), cache_minimum_tokens=1024)
    system = "x" * 4000

    assert "cache_control" not in AnthropicMessages().body(claude, system, [])["system"][0]
    assert "cache_control" in AnthropicMessages().body(claude, system, [], TOOL)["system"][0]


def a_turn(**changes: Any) -> Turn:
    plain = Turn(1, TurnStatus.OPEN, 1, "where?", 1, 1, history_after=0, created_at=0, deadline=0)
    return dataclasses.replace(plain, **changes)


def test_the_prompt_tells_of_the_tool_where_it_is_offered_and_nowhere_else() -> None:
    provider = CHAIN.provider("copilot")
    plain = prompt(a_turn(), provider)
    told = prompt(a_turn(may_delegate=True), provider)

    assert (plain.tool, told.tool) == (None, TOOL)
    assert "Here you have no tools" in plain.system
    assert NAME not in plain.system
    assert "no tools" not in told.system
    assert NAME in told.system
    assert "/agent" in told.system
    assert prompt(a_turn(may_delegate=True, task="it"), provider) == plain
    assert prompt(a_turn(may_delegate=True), dataclasses.replace(provider, tools=False)) == plain

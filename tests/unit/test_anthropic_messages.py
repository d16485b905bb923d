"""The Anthropic messages protocol: what is asked, and how answers are read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.providers.anthropic_messages import AnthropicMessages, AnthropicMessagesReader
from assistant.turns.chain import load_chain
from assistant.turns.model import Answer, Said, Usage

if TYPE_CHECKING:
    from assistant.turns.chain import Provider

CLAUDE = dataclasses.replace(load_chain().provider("anthropic"), model="m", max_tokens=100, cache_minimum_tokens=1024)
MARK = {"type": "ephemeral"}
LONG = "word " * 820
"""Just longer than the shortest prefix that is cached: 1,024 tokens of 4 bytes."""

START = {"type": "message_start", "message": {"model": "claude-x", "usage": {"input_tokens": 25, "output_tokens": 1}}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
STOP = {"type": "message_stop"}


def text(piece: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}


def fed(*events: dict[str, Any]) -> AnthropicMessagesReader:
    reader = AnthropicMessagesReader("asked-model")
    for event in events:
        assert reader.feed(json.dumps(event)) is None
    return reader


def test_the_request() -> None:
    protocol = AnthropicMessages()

    assert protocol.headers("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert protocol.body(
        CLAUDE, "be brief", [Said("user", "one"), Said("assistant", "two"), Said("user", "three")]
    ) == {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": [{"type": "text", "text": "three"}]},
        ],
    }


def marks(provider: Provider, system: str, *conversation: Said) -> list[str]:
    """The texts after which a mark stands."""
    body = AnthropicMessages().body(provider, system, conversation)
    blocks = [*body["system"], *(block for message in body["messages"] for block in message["content"])]
    assert all(block["cache_control"] == MARK for block in blocks if "cache_control" in block)
    return [block["text"] for block in blocks if "cache_control" in block]


def test_the_system_prompt_and_the_question_are_marked_for_the_cache() -> None:
    assert marks(CLAUDE, LONG, Said("user", "one"), Said("assistant", "two"), Said("user", "three")) == [LONG, "three"]


def test_a_prefix_that_is_too_short_is_not_marked() -> None:
    assert marks(CLAUDE, "be brief", Said("user", "one")) == []
    assert marks(CLAUDE, "be brief", Said("user", LONG), Said("assistant", "two"), Said("user", "three")) == ["three"]


def test_the_shortest_prefix_is_the_models() -> None:
    system = "x" * 4096

    assert marks(CLAUDE, system, Said("user", "one")) == [system, "one"]
    assert marks(CLAUDE, system[1:], Said("user", "one")) == ["one"]
    assert marks(CLAUDE, system[4:], Said("user", "one")) == []
    assert marks(dataclasses.replace(CLAUDE, cache_minimum_tokens=2048), system, Said("user", "one")) == []


def test_bytes_are_counted_not_characters() -> None:
    assert marks(CLAUDE, "ж" * 2048, Said("user", "one")) != []


def test_a_provider_that_needs_no_marks_gets_none() -> None:
    assert marks(dataclasses.replace(CLAUDE, cache_minimum_tokens=None), LONG, Said("user", LONG)) == []


def test_a_note_is_a_block_of_its_own_after_the_mark() -> None:
    body = AnthropicMessages().body(CLAUDE, LONG, [Said("user", "one", note="It is noon.")])

    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one", "cache_control": MARK},
                {"type": "text", "text": "It is noon."},
            ],
        }
    ]


def test_a_conversation_without_a_word() -> None:
    assert AnthropicMessages().body(CLAUDE, LONG, [])["messages"] == []


def test_a_request_begins_with_the_bytes_of_the_one_before_up_to_its_mark() -> None:
    history: list[Said] = []
    before = ""
    for turn in range(12):
        question = f"question {turn} " + "grüße " * 60
        body = AnthropicMessages().body(CLAUDE, LONG, [*history, Said("user", question, note=f"It is {turn} o'clock.")])
        request = json.dumps(body, ensure_ascii=False, separators=(",", ":"))  # as httpx does
        assert request.startswith(before)
        before = request[: request.index(question) + len(question) + len('"')]
        assert request[len(before) :].startswith(',"cache_control":{"type":"ephemeral"}}')
        history += [Said("user", question), Said("assistant", f"answer {turn}")]


def test_a_streamed_answer() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    end_of_block = {"type": "content_block_stop", "index": 0}

    reader = fed(START, block, {"type": "ping"}, text("Hel"), text("lo"), end_of_block, END, STOP)

    assert reader.answer() == Answer("Hello", "claude-x", Usage(input=25, output=15))
    assert reader.complete
    assert reader.over


def test_an_answer_that_stops_in_the_middle_is_not_complete() -> None:
    assert not fed(START, text("Hel"), END).complete


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
        {"type": "message_delta", "delta": None, "usage": None},
        {"type": "message_delta", "usage": "unknown"},
        {"type": "message_start", "message": {"usage": {"input_tokens": "many"}}},
        {"type": "message_start", "message": {}},
        {"type": "of_tomorrow", "message": "a string", "delta": 7, "usage": []},
    ],
)
def test_events_that_say_nothing(event: dict[str, Any]) -> None:
    assert fed(event).answer() == Answer("", "asked-model")


@pytest.mark.parametrize("output", [None, "many", -5, 10**18, 1.5])
def test_an_answer_whose_output_nobody_counted_is_not_counted(output: object) -> None:
    """The start counts the first token only: what follows would be free."""
    reader = fed(START, {"type": "message_delta", "usage": {"output_tokens": output}})

    assert reader.answer() == Answer("", "claude-x")


def test_an_answer_whose_input_nobody_counted_is_not_counted() -> None:
    start = {"type": "message_start", "message": {"model": "claude-x", "usage": {"input_tokens": "many"}}}

    assert fed(start, END).answer() == Answer("", "claude-x")


def test_tokens_of_the_cache_are_counted_apart() -> None:
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 500, "output_tokens": 1}
    start = {"type": "message_start", "message": {"model": "claude-x", "usage": usage}}

    assert fed(start, END).answer().usage == Usage(input=3, cached=500, written=40, output=15)


def test_totals_that_come_last_replace_those_of_the_start() -> None:
    end = {"type": "message_delta", "usage": {"input_tokens": 7, "cache_read_input_tokens": 9, "output_tokens": 15}}

    assert fed(START, end).answer().usage == Usage(input=7, cached=9, output=15)


@pytest.mark.parametrize("words", [(), ("Well, ",)])
def test_a_refusal_is_one_of_this_question(words: tuple[str, ...]) -> None:
    reader = fed(START, *(text(word) for word in words))

    failure = reader.feed(json.dumps({"type": "message_delta", "delta": {"stop_reason": "refusal"}}))

    assert failure is not None
    assert failure.moderated


def test_an_answer_has_begun_when_its_input_is_counted() -> None:
    assert not fed({"type": "ping"}).begun
    assert fed(START).begun
    assert fed(text("Hel")).begun


def test_the_text_so_far() -> None:
    assert fed(START, text("Hel"), text("lo")).text == "Hello"


def test_an_error_in_the_stream() -> None:
    failure = fed(START).feed(json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "…"}}))

    assert failure is not None
    assert (failure.status, failure.kinds) == (529, frozenset({"overloaded_error"}))


def test_an_error_that_says_nothing_is_one() -> None:
    failure = fed().feed(json.dumps({"type": "error"}))

    assert failure is not None
    assert failure.status == 502


@pytest.mark.parametrize(
    "event",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"type": 1}',
        '{"type": "message_start"}',
        '{"type": "content_block_delta", "delta": {"text": 1}}',
    ],
)
def test_what_the_protocol_does_not_send_is_a_value_error(event: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (msgspec's message)
        fed().feed(event)


@given(
    st.sampled_from(["error", "message_start", "content_block_delta", "message_delta", "message_stop", "ping", ""]),
    st.dictionaries(
        st.sampled_from(["message", "delta", "usage", "error"]),
        st.none() | st.text() | st.dictionaries(st.sampled_from(["text", "model", "usage"]), st.none() | st.text()),
    ),
)
def test_any_event_is_read_or_refused(kind: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        AnthropicMessagesReader("m").feed(json.dumps({"type": kind, **fields}))

"""The Anthropic messages protocol: what is asked, and how answers are read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.providers.anthropic_messages import AnthropicMessages, AnthropicMessagesReader
from assistant.turns.model import Answer, Said

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
    assert protocol.body("m", 100, "be brief", [Said("user", "one")]) == {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "system": "be brief",
        "messages": [{"role": "user", "content": "one"}],
    }


def test_a_streamed_answer() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    end_of_block = {"type": "content_block_stop", "index": 0}

    reader = fed(START, block, {"type": "ping"}, text("Hel"), text("lo"), end_of_block, END, STOP)

    assert reader.answer() == Answer("Hello", "claude-x", 25, 15)
    assert reader.complete
    assert reader.over


def test_an_answer_that_stops_in_the_middle_is_not_complete() -> None:
    assert not fed(START, text("Hel"), END).complete


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "refusal"}},
        {"type": "message_start", "message": {}},
        {"type": "of_tomorrow", "message": "a string", "delta": 7, "usage": []},
    ],
)
def test_events_that_say_nothing(event: dict[str, Any]) -> None:
    assert fed(event).answer() == Answer("", "asked-model")


def test_counts_that_are_missing_keep_what_was_counted() -> None:
    reader = fed(START, {"type": "message_delta", "usage": {"output_tokens": None}})

    assert reader.answer() == Answer("", "claude-x", 25, 1)


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

"""The OpenAI chat protocol: what is asked, and how answers are read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.providers.openai_chat import OpenAIChat, OpenAIChatReader
from assistant.turns.model import Answer, Said


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"id": "1", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice], **more})


def fed(*events: str) -> OpenAIChatReader:
    reader = OpenAIChatReader("asked-model")
    for event in events:
        assert reader.feed(event) is None
    return reader


def test_the_request() -> None:
    protocol = OpenAIChat()
    conversation = [Said("user", "one"), Said("assistant", "two"), Said("user", "three")]

    assert protocol.headers("k") == {"Authorization": "Bearer k"}
    assert protocol.body("m", 100, "be brief", conversation) == {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ],
    }


def test_a_streamed_answer_with_usage() -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "cost": 0}})

    reader = fed(chunk(""), chunk("Hel"), chunk("lo"), chunk(None, "stop"), usage, "[DONE]")

    assert reader.answer() == Answer("Hello", "m-1", 9, 2)
    assert reader.complete
    assert reader.over


def test_an_answer_is_complete_with_its_finish_reason_but_not_over() -> None:
    reader = fed(chunk("Hello", "length"))

    assert reader.complete
    assert not reader.over


def test_an_answer_that_stops_in_the_middle_is_not_complete() -> None:
    reader = fed(chunk("Hel"))

    assert not reader.complete
    assert not reader.over


def test_an_answer_that_was_not_streamed() -> None:
    message = {"role": "assistant", "content": "Hello"}
    reader = fed(json.dumps({"model": "m-2", "choices": [{"message": message, "finish_reason": "stop"}]}))

    assert reader.answer() == Answer("Hello", "m-2")
    assert reader.complete


@pytest.mark.parametrize(
    "event",
    [
        json.dumps({"choices": None}),
        json.dumps({"choices": [], "error": None}),
        json.dumps({"choices": [{"delta": {"content": None, "reasoning": "hm"}}]}),
        json.dumps({"choices": [{}]}),
        json.dumps({"choices": [], "prompt_filter_results": [{}]}),
    ],
)
def test_events_that_say_nothing(event: str) -> None:
    assert fed(event).answer() == Answer("", "asked-model")


def test_an_error_in_the_stream() -> None:
    reader = fed(chunk("Hel"))
    failure = reader.feed(chunk("", "error", error={"code": 429, "message": "slow down"}))

    assert failure is not None
    assert failure.status == 429


def test_a_string_as_error_in_the_stream() -> None:
    failure = fed().feed(json.dumps({"error": "Server overloaded"}))

    assert failure is not None
    assert (failure.status, failure.wording) == (502, '"Server overloaded"')


def test_a_finish_reason_error_without_an_error() -> None:
    failure = fed().feed(chunk("", "error"))

    assert failure is not None
    assert failure.status == 502


@pytest.mark.parametrize(
    "event", ["", "{", "[]", '"text"', '{"choices": {}}', '{"choices": [{"delta": {"content": 1}}]}']
)
def test_what_the_protocol_does_not_send_is_a_value_error(event: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (msgspec's message)
        fed().feed(event)


@given(
    st.text()
    | st.builds(
        json.dumps,
        st.dictionaries(
            st.sampled_from(["choices", "usage", "model", "error"]),
            st.lists(st.none()) | st.text() | st.integers() | st.dictionaries(st.text(), st.none()),
        ),
    )
)
def test_any_event_is_read_or_refused(event: str) -> None:
    with contextlib.suppress(msgspec.DecodeError, ValueError):
        fed().feed(event)

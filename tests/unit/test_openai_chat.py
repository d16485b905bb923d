"""The OpenAI chat protocol: what is asked, and how answers are read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.providers.openai_chat import OpenAIChat, OpenAIChatReader
from assistant.turns.chain import load_chain
from assistant.turns.model import Answer, Said, Usage

PROVIDER = dataclasses.replace(load_chain().provider("openrouter"), model="m", max_tokens=100)


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
    assert protocol.body(PROVIDER, "be brief", conversation) == {
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


def test_a_note_stands_after_the_question() -> None:
    (_, question) = OpenAIChat().body(PROVIDER, "be brief", [Said("user", "one", note="It is noon.")])["messages"]

    assert question == {"role": "user", "content": "one\n\nIt is noon."}


def test_a_request_begins_with_the_bytes_of_the_one_before() -> None:
    conversation = [Said("user", "one"), Said("assistant", "two"), Said("user", "three", note="It is noon.")]
    before = json.dumps(OpenAIChat().body(PROVIDER, "be brief", conversation))
    conversation[-1:] = [Said("user", "three"), Said("assistant", "four"), Said("user", "five", note="It is one.")]
    after = json.dumps(OpenAIChat().body(PROVIDER, "be brief", conversation))

    assert after.startswith(before[: before.index("three") + len("three")])


def test_a_streamed_answer_with_usage() -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "cost": 0}})

    reader = fed(chunk(""), chunk("Hel"), chunk("lo"), chunk(None, "stop"), usage, "[DONE]")

    assert reader.answer() == Answer("Hello", "m-1", Usage(input=9, output=2))
    assert reader.complete
    assert reader.over


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
            Usage(40, 60, 0, 5),
        ),
        ({"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(100, 0, 0, 5)),
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": None}}, Usage(100)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}, Usage(0, 10)),
        ({"prompt_tokens": -10, "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": -6}}, None),
        ({"prompt_tokens": 10**18, "completion_tokens": 5}, None),
        ({"completion_tokens": 5}, Usage(output=5)),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}, None),
        ({"prompt_tokens": "many"}, None),
        ({}, None),
        ("unknown", None),
        ([], None),
        (None, None),
    ],
)
def test_usage_counts_no_token_twice_and_hides_no_answer(told: object, usage: Usage | None) -> None:
    assert fed(chunk("Hello", "stop", usage=told)).answer() == Answer("Hello", "m-1", usage)


def test_the_last_usage_counts() -> None:
    counts: list[object] = [
        {"prompt_tokens": 9, "completion_tokens": 1},
        {"prompt_tokens": 9, "completion_tokens": 2},
        None,
    ]

    assert fed(*(chunk("a", usage=count) for count in counts)).answer().usage == Usage(9, output=2)


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


def test_an_answer_that_is_filtered_is_refused_for_what_it_says() -> None:
    failure = fed(chunk("Once")).feed(chunk(None, "content_filter"))

    assert failure is not None
    assert failure.moderated


def test_an_answer_has_begun_with_its_first_choice() -> None:
    assert not fed().begun
    assert not fed(json.dumps({"choices": []})).begun
    assert fed(chunk("")).begun
    for content, begun in (("", False), ("Hel", True)):
        reader = fed()
        reader.feed(chunk(content, "error"))
        assert reader.begun is begun


def test_the_text_so_far() -> None:
    reader = fed(chunk("Hel"))
    assert reader.text == "Hel"

    reader.feed(chunk("lo"))
    assert reader.text == "Hello"


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

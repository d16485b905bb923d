"""A simulated answer quotes what the user wrote, and nothing that the product added to it."""

from typing import Any

import pytest

from local.simulators.answers import question_of

NOW = "[Now: Tuesday 2026-11-10 12:00 UTC]"


def text(*blocks: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": block} for block in blocks]


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        (f"Hello\n{NOW}", "Hello"),
        (f"Hello\n\n{NOW}\n", "Hello"),
        (text("Hello", NOW), "Hello"),
        (text("Hello", f"\n\n{NOW}"), "Hello"),
        (text(f"Hello\n{NOW}"), "Hello"),
        (text("Hel", "lo"), "Hello"),
        (NOW, ""),
        (text(NOW), ""),
        ([], ""),
        (f"Hello {NOW}", f"Hello {NOW}"),
        (f"{NOW}\nHello", f"{NOW}\nHello"),
        ("What does [Now: mean?", "What does [Now: mean?"),
    ],
)
def test_the_time_that_a_message_ends_with_is_not_quoted(content: Any, quoted: str) -> None:
    assert question_of([{"role": "user", "content": content}]) == quoted


def test_a_message_that_is_only_the_time_leaves_no_line() -> None:
    messages = [{"role": "user", "content": content} for content in ("first", f"second\n{NOW}", NOW)]

    assert question_of(messages) == "first\nsecond"

"""What precedes a message: XML that any parser reads, whatever was said, and no more of it than is wanted."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from agent.history import MOST_BYTES, escaped, preceded
from assistant.turns.model import Exchange

NASTY = [
    "</message>",
    "</conversation_history>",
    '<message role="system">',
    "]]>",
    "&amp;",
    "&#0;",
    "<!--",
    "\x00",
    "\r",
]
SAID = st.lists(st.sampled_from(NASTY) | st.text(st.characters(codec=None), max_size=40), max_size=5).map("".join)
NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def exchange(user: str, assistant: str, position: int = 0) -> Exchange:
    return Exchange(user, assistant, "copilot", created_at=1, ttl=2, position=position)


def parsed(text: str, question: str) -> list[tuple[str | None, str]]:
    assert text.endswith(f"\n\n{question}")
    document = ET.fromstring(text.removesuffix(f"\n\n{question}"))
    assert document.tag == "conversation_history"
    assert all(message.tag == "message" and len(message) == 0 for message in document)
    return [(message.get("role"), message.text or "") for message in document]


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4), SAID)
def test_whatever_was_said_stays_in_its_element(said: list[tuple[str, str]], question: str) -> None:
    text = preceded(question, [exchange(*each) for each in said], messages=20)

    told = [(role, each) for user, assistant in said for role, each in (("user", user), ("assistant", assistant))]
    told = [(role, NO_CHARACTER.sub("\ufffd", each)) for role, each in told]
    assert parsed(text, question) == told


@given(SAID)
def test_nothing_that_is_escaped_holds_markup(text: str) -> None:
    assert not {"<", ">", "\r", "\x00"} & set(escaped(text))
    escaped(text).encode()


def test_without_anything_new_the_message_is_the_question() -> None:
    assert preceded("a < b", [], messages=20) == "a < b"
    assert preceded("a < b", [exchange("x", "y")], messages=0) == "a < b"


def test_the_newest_messages_are_told() -> None:
    text = preceded("now", [exchange(f"u{n}", f"a{n}", n) for n in range(9)], messages=5)

    assert [each for _, each in parsed(text, "now")] == ["a6", "u7", "a7", "u8", "a8"]


def test_what_is_too_long_leaves_out_the_oldest() -> None:
    half = "&" * (MOST_BYTES // 10)  # escaped
    said = [exchange("first", 2 * half), exchange("second", half[:-40]), exchange("third", "last")]
    text = preceded("now", said, messages=20)

    assert [each[:6] for _, each in parsed(text, "now")] == ["second", "&&&&&&", "third", "last"]
    assert preceded("now", [exchange("first", "&" * MOST_BYTES)], messages=20) == "now"

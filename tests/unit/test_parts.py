"""Cutting a text into messages of at most 4096 UTF-16 units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.telegram.parts import PART_UNITS, split, units

PIECES = ["a", "b", ".", "…", "é", "漢", "🎉", "👩‍🚀", " ", "  ", "\n", "\n\n", "\t", "\u2028", "\xa0", ". ", "word"]
PROSE = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
LIMITS = st.integers(2, 40)


def shown(text: str) -> str:
    """What is left of a text without its white space."""
    return "".join(text.split())


@given(PROSE | st.text(), LIMITS)
def test_parts_fit_and_lose_nothing_but_white_space(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(1 <= units(part) <= limit for part in parts)
    assert shown("".join(parts)) == shown(text)


@given(PROSE, LIMITS)
def test_parts_stand_in_the_text_in_order(text: str, limit: int) -> None:
    at = 0
    for part in split(text, limit):
        assert part == part.strip()
        found = text.index(part, at)
        assert not text[at:found].strip()
        at = found + len(part)
    assert not text[at:].strip()


@given(st.text(alphabet=st.characters(categories=["Zs", "Zl", "Zp"]) | st.sampled_from("\t\n\r"), max_size=50), LIMITS)
def test_white_space_alone_has_no_parts(text: str, limit: int) -> None:
    assert split(text, limit) == []


@given(st.text(alphabet=st.characters(), max_size=60), LIMITS)
def test_a_text_that_fits_is_one_part(text: str, limit: int) -> None:
    if text.strip() and units(text) <= limit:
        assert split(text, limit) == [text.strip()]


@pytest.mark.parametrize(
    ("text", "count"), [("x" * 4096, 1), ("x" * 4097, 2), ("🎉" * 2048, 1), ("🎉" * 2049, 2), ("x" + "🎉" * 2048, 2)]
)
def test_telegrams_limit_counts_utf16(text: str, count: int) -> None:
    parts = split(text)

    assert len(parts) == count
    assert "".join(parts) == text
    assert units(parts[0]) in (PART_UNITS, PART_UNITS - 1)


def test_lone_surrogates_count_one_unit() -> None:
    assert units("\ud83d") == 1
    assert split("a\ud83d" * 3, 4) == ["a\ud83da\ud83d", "a\ud83d"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two. three\nfour five\n\nsix seven eight nine", ["one two. three\nfour five", "six seven eight nine"]),
        ("one two. three four\nfive six seven eight nine", ["one two. three four", "five six seven eight nine"]),
        ("one two three. four five six seven eight", ["one two three.", "four five six seven eight"]),
        ("one two three four five six seven", ["one two three four five", "six seven"]),
        ("a\n\nbcdefghijklmnopqrstuvwxyz", ["a\n\nbcdefghijklmnopqrstuvw", "xyz"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqrstuvwxy", "z"]),
    ],
)
def test_the_best_break_in_the_second_half_is_taken(text: str, parts: list[str]) -> None:
    assert split(text, 25) == parts


def test_a_long_text_is_cut_quickly() -> None:
    assert len(split("🎉" * 32_768)) == 16

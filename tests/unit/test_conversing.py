"""What a provider is shown: enough, not too much, and the same beginning as a turn ago."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.turns import texts
from assistant.turns.chain import load_chain
from assistant.turns.conversing import BYTES_PER_TOKEN, Conversation, conversation, exchanges_shown
from assistant.turns.model import Exchange
from tests.doubles import NOON

CLAUDE = load_chain().provider("anthropic")


def exchange(position: int, size: int = 20) -> Exchange:
    return Exchange(f"q{position}".ljust(size, "."), f"a{position}".ljust(size, "."), "p", NOON, NOON, position)


def shown(
    turn: int, history_messages: int = 20, *, window: int = CLAUDE.context_window, size: int = 20
) -> Conversation:
    """The conversation of the turn after `turn` exchanges."""
    limit = exchanges_shown(history_messages)
    history = [exchange(position, size) for position in range(turn)][-limit:] if limit else []
    provider = replace(CLAUDE, context_window=window)
    return conversation(history, "now?", system="", provider=provider, history_messages=history_messages, now=NOON)


@given(st.integers(0, 300), st.integers(0, 60))
def test_the_window_holds_what_was_set_and_less_than_twice_that(turn: int, history_messages: int) -> None:
    exchanges = shown(turn, history_messages).exchanges
    at_least = history_messages // 2

    assert min(turn, at_least) <= len(exchanges) <= max(0, 2 * at_least - 1)
    assert [exchange.position for exchange in exchanges] == list(range(turn - len(exchanges), turn))


@given(st.integers(0, 300))
def test_the_window_begins_where_it_did_nine_turns_of_ten(turn: int) -> None:
    before, after = shown(turn).said(), shown(turn + 1).said()

    steps_back = (turn + 1) % 10 == 0 and turn > 10
    assert (before[:-1] == after[: len(before) - 1]) is not steps_back or turn < 2


@given(st.integers(0, 200), st.integers(3_000, 40_000))
def test_whatever_fits_no_context_is_left_out_from_the_front(turn: int, size: int) -> None:
    window = 60_000
    found = shown(turn, window=window, size=size)

    assert found.size("") <= BYTES_PER_TOKEN * (window - CLAUDE.max_tokens)
    assert [exchange.position for exchange in found.exchanges] == list(range(turn - len(found.exchanges), turn))


def test_a_window_that_is_cut_steps_too() -> None:
    firsts = [shown(turn, window=30_000, size=1_500).exchanges[0].position for turn in range(40, 50)]

    assert len(set(firsts)) < len(firsts)


def test_the_time_is_told_beside_the_question_and_nowhere_else() -> None:
    said = shown(3).said()

    assert said[-1].note == "[Now: Sunday, 22 November 2026, 12:00 UTC]"
    assert said[-1].text == "now?"
    assert not any(message.note for message in said[:-1])
    assert "2026" not in texts.SYSTEM_PROMPT


@pytest.mark.parametrize(("turn", "left"), [(1, 0), (2, 1), (5, 2), (10, 5)])
def test_a_conversation_is_shortened_to_its_newer_half(turn: int, left: int) -> None:
    half = shown(turn).shortened()

    assert [exchange.position for exchange in half.exchanges] == list(range(turn - left, turn))
    assert half.position == turn


def test_positions_go_on_where_exchanges_have_expired() -> None:
    found = conversation([exchange(57)], "now?", system="", provider=CLAUDE, history_messages=20, now=NOON)

    assert (found.position, len(found.exchanges)) == (58, 1)

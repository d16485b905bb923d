"""What a conversation with Claude reads from the cache, and that our ledger says what the vendor bills."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from local import caching
from local.__main__ import main
from local.caching import CASES, Case, Result, measure, talk

TURNS = 60
OURS_SHORT, OURS_LONG, SLIDING_SHORT, SLIDING_LONG, SLOW = CASES


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {case.name: measure(case, TURNS) for case in CASES}


@pytest.mark.parametrize("case", [OURS_SHORT, OURS_LONG], ids=lambda case: case.name)
def test_four_fifths_of_the_input_are_read_from_the_cache(case: Case, results: dict[str, Result]) -> None:
    result = results[case.name]

    assert result.share >= 0.8
    assert result.dollars < result.dollars_without_cache / 2


@pytest.mark.parametrize(
    ("ours", "sliding"), [(OURS_SHORT, SLIDING_SHORT), (OURS_LONG, SLIDING_LONG)], ids=["short", "long"]
)
def test_a_sliding_window_of_the_same_size_reads_less_and_costs_more(
    ours: Case, sliding: Case, results: dict[str, Result]
) -> None:
    one, other = results[ours.name], results[sliding.name]

    assert other.window.least == other.window.most == caching.SLIDING_MESSAGES
    assert one.window.mean == pytest.approx(caching.SLIDING_MESSAGES, abs=2)
    assert other.share < one.share
    assert other.dollars > one.dollars


def test_after_five_minutes_nothing_is_cached_any_more(results: dict[str, Result]) -> None:
    slow = results[SLOW.name]

    assert slow.cached == 0
    assert slow.dollars > slow.dollars_without_cache


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_token_is_counted_once(case: Case, results: dict[str, Result]) -> None:
    result = results[case.name]

    assert result.input_tokens == result.uncached + result.cached + result.written
    assert result.output_tokens == pytest.approx(TURNS * case.pair_tokens * 0.75)
    assert result.turns == TURNS


@pytest.mark.parametrize("pair_tokens", [60, 300, 1111])
def test_the_ledger_says_what_the_vendor_bills_request_by_request(pair_tokens: int) -> None:
    with talk(Case("", pair_tokens)) as conversation:
        for number in range(1, 31):
            billed = conversation.simulator.spent_micro_dollars
            booked = conversation.ledger_micro_dollars if number > 1 else 0
            conversation.turn(number)
            billed = conversation.simulator.spent_micro_dollars - billed
            booked = conversation.ledger_micro_dollars - booked

            assert 0 <= booked - round(billed, 6) < 1

        assert conversation.used.cached_tokens > 0
        assert conversation.used.written_tokens > 0
        assert conversation.used.micro_dollars == conversation.ledger_micro_dollars


def test_the_command_writes_the_sizes_and_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caching, "measure", lambda case: measure(case, 12))
    output = tmp_path / "cache.json"

    code = main(["demo", "--cache", "--output", str(output)])

    figures = json.loads(output.read_text())
    assert code == (0 if figures["share"] >= 0.8 else 1)
    assert figures["system_prompt_tokens"] > figures["cache_minimum_tokens"]
    assert [each["name"] for each in figures["conversations"]] == [case.name for case in CASES]
    assert "sliding, long pairs" in capsys.readouterr().out


def test_a_share_that_is_too_small_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caching, "measure", lambda case: replace(measure(case, 2), share=0.5))

    assert main(["demo", "--cache", "--output", str(tmp_path / "cache.json")]) == 1
    assert "not as expected" in capsys.readouterr().out

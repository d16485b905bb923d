"""The month's figures: every free request used, no limit passed, the budget kept, and a clear message at its end."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from assistant.errors import ProviderBusy, ProviderExhausted, ProviderThrottled, ProviderUnavailable
from assistant.turns.model import ChatClaim, TurnClaim
from local.__main__ import main
from local.in_memory import DrivenClock
from local.month import BUSY, Figures, Month, Options, problems_of
from local.simulators.faults import Fault
from local.walking import Walk

PLAIN = Options(days=2)
FEW = replace(BUSY, days=2, messages_per_day=250, ollama_per_day=20, dollars=0.25)
CLAIM = TurnClaim(ChatClaim("1001", 1), 1)


def passed(options: Options) -> Month:
    passing = Month(options)
    passing.pass_by(Console(file=StringIO()))
    return passing


@pytest.fixture(scope="module")
def plain() -> Figures:
    return passed(PLAIN).figures(0)


@pytest.fixture(scope="module")
def busy() -> Figures:
    return passed(FEW).figures(0)


def test_two_hundred_messages_a_day_are_answered_for_nothing(plain: Figures) -> None:
    assert problems_of(plain) == []
    assert plain.answered == 400
    assert plain.by_provider == {"copilot": 132, "openrouter": 100, "ollama-cloud": 168, "anthropic": 0}
    assert plain.counted_by_vendor == {"copilot in the month": 132, "openrouter, most in a day": 50}
    assert plain.billed_dollars == plain.ledger_dollars == 0
    assert plain.told is None


def test_a_busy_month_keeps_to_its_budget_by_the_vendors_bill_and_by_ours(busy: Figures) -> None:
    assert problems_of(busy) == []
    assert 0.1 < busy.billed_dollars <= busy.ledger_dollars <= 0.25
    assert busy.ledger_dollars - busy.billed_dollars < busy.by_provider["anthropic"] / 1_000_000
    assert busy.refused > 0
    assert busy.refused_while_free == 0


def test_each_chat_is_told_once_that_the_budget_is_used_up(busy: Figures) -> None:
    assert busy.told is not None
    assert busy.budget_ended == "2026-11-01"
    assert "This month's budget for Claude ($0.25) is used up. Until 1 December" in busy.told.first
    assert "budget" not in busy.told.later
    assert busy.told.budget_notices == busy.chats


def test_a_quota_that_only_the_vendor_knows_is_found_out_once_a_day(busy: Figures) -> None:
    assert busy.most_in_a_day["ollama-cloud"] == 20
    assert busy.asked_in_vain["ollama-cloud"] == 2


def test_unused_days_of_copilot_are_used_later_if_that_is_set() -> None:
    """The first of November 2026 is a Sunday."""
    saved = passed(replace(PLAIN, days=3, quiet_weekends=True, carry_over=True)).figures(0)

    assert [day.answered["copilot"] for day in saved.per_day] == [0, 2 * 66, 66]
    assert problems_of(saved) == []


def test_unused_days_of_copilot_are_lost_otherwise() -> None:
    lost = passed(replace(PLAIN, days=3, quiet_weekends=True)).figures(0)

    assert [day.answered["copilot"] for day in lost.per_day] == [0, 66, 66]


def test_a_message_that_is_refused_while_a_free_request_is_left_is_counted() -> None:
    passing = Month(replace(PLAIN, days=1, messages_per_day=1, dollars=0))
    for simulator in passing.vendors.by_id.values():
        simulator.order(Fault.SERVER_ERROR, None)

    passing.pass_by(Console(file=StringIO()))

    assert passing.figures(0).refused_while_free == 1
    assert problems_of(passing.figures(0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answered": 399}, "messages that are missing"),
        ({"by_provider": {"copilot": 2001, "anthropic": 0}}, "messages by Copilot"),
        ({"by_provider": {"copilot": 66, "anthropic": 1}}, "messages by Claude"),
        ({"most_in_a_day": {"openrouter": 51}}, "messages by OpenRouter in a day"),
        ({"refused": 1}, "messages refused"),
        ({"refused_while_free": 1}, "while a free request was left"),
        ({"billed_dollars": 5.01}, "dollars billed"),
        ({"ledger_dollars": 5.01}, "dollars in the ledger"),
        ({"billed_dollars": 0.01}, "not in the ledger"),
    ],
)
def test_a_figure_that_is_not_as_expected_is_named(plain: Figures, changed: dict[str, object], said: str) -> None:
    assert any(said in problem for problem in problems_of(replace(plain, **changed)))  # type: ignore[arg-type]


def test_a_budget_of_which_nobody_is_told_is_named(busy: Figures) -> None:
    assert busy.told is not None

    assert problems_of(replace(busy, told=replace(busy.told, budget_notices=0))) == [
        "0 notices of the budget, not one in each of 4 chats"
    ]


def test_the_command_prints_the_days_and_writes_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "month.json"
    few = [
        "--days",
        "2",
        "--messages-per-day",
        "8",
        "--ollama-per-day",
        "1",
        "--dollars",
        "0.5",
        "--output",
        str(output),
    ]

    assert main(["demo", "--month", "--busy", "--carry-over", *few]) == 0

    figures = json.loads(output.read_text())
    assert [day["day"] for day in figures["per_day"]] == ["2026-11-01", "2026-11-02"]
    assert (figures["messages"], figures["budget_dollars"], figures["carry_over"]) == (16, 0.5, True)
    assert "2026-11-02" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--busy"], ["--dollars", "1"], ["--month", "--dollars", "-1"]])
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", *arguments])

    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "calls", "seconds"),
    [
        (ProviderExhausted("copilot", "quota"), 1, 0),
        (ProviderThrottled("copilot", "rate limit"), 2, 5),
        (ProviderUnavailable("copilot", "timeout"), 2, 1),
    ],
)
def test_the_walk_retries_and_goes_on_as_the_definition_says(error: Exception, calls: int, seconds: float) -> None:
    clock, called = DrivenClock(0), []

    def refuse(_: TurnClaim) -> None:
        called.append("AskCopilot")
        raise error

    walk = Walk.of_a_turn({"AskCopilot": refuse, "AskOpenRouter": called.append}, clock)  # type: ignore[dict-item]

    assert walk.run("copilot", CLAIM) == "DeliverReply"
    assert called == ["AskCopilot"] * calls + [CLAIM]
    assert clock.now() == seconds


def test_the_walk_waits_for_a_busy_provider() -> None:
    clock, answers = DrivenClock(0), iter([ProviderBusy("ollama-cloud", "slot taken"), None])

    def ask(_: TurnClaim) -> None:
        trouble = next(answers)
        if trouble is not None:
            raise trouble

    assert Walk.of_a_turn({"AskOllamaCloud": ask}, clock).run("ollama-cloud", CLAIM) == "DeliverReply"
    assert clock.now() > 0

"""The demo knows what a day should look like, and says so when it does not; its options are checked."""

from dataclasses import replace
from pathlib import Path

import pytest

from local.__main__ import main
from local.demo import MESSAGES, SLOW_MESSAGES, Options, problems_of, share_out
from local.figures import Figures, Pace
from local.simulators.faults import Fault

CHAIN = ["copilot", "openrouter", "ollama-cloud", "anthropic"]
GOOD = Figures(
    messages=200,
    turns=200,
    answered=200,
    parked=0,
    lost=0,
    duplicated=0,
    ambiguous=0,
    out_of_order=0,
    by_provider={"copilot": 66, "openrouter": 50, "ollama-cloud": 84, "anthropic": 0},
    fallbacks=0,
    transitions_first_provider=5,
    transitions_mean=5.0,
    seconds=40.0,
    denied_calls=0,
    ms_per_transaction=4.0,
)
EVEN = Pace(0.2, 0.2)


def test_a_good_day_has_no_problems() -> None:
    assert problems_of(GOOD, EVEN, Options()) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"answered": 199, "lost": 1}, "lost is 1, not 0"),
        ({"duplicated": 2}, "duplicated"),
        ({"out_of_order": 1}, "out_of_order"),
        ({"ambiguous": 1}, "ambiguous"),
        ({"parked": 1}, "parked"),
        ({"denied_calls": 3}, "denied_calls is 3, not 0"),
        ({"by_provider": {**GOOD.by_provider, "anthropic": 1}}, "by_provider"),
        ({"transitions_first_provider": 7}, "more than 6"),
        ({"seconds": 91.0}, "the day took 91.0 s"),
    ],
)
def test_each_wrong_figure_is_named(changed: dict[str, object], named: str) -> None:
    problems = problems_of(replace(GOOD, **changed), EVEN, Options())  # type: ignore[arg-type]

    assert any(named in problem for problem in problems)


def test_getting_slower_is_a_problem() -> None:
    (problem,) = problems_of(GOOD, Pace(0.2, 0.5), Options())

    assert "last quarter" in problem


def test_who_is_out_of_order_must_not_have_answered() -> None:
    options = Options(faults=[("copilot", Fault.SERVER_ERROR)])
    slow = Options(faults=[("copilot", Fault.SLOW)])

    assert problems_of(GOOD, EVEN, options) == ["copilot answered 66 messages although it was out of order"]
    assert problems_of(GOOD, EVEN, slow) == []


def test_a_refused_message_is_parked_once() -> None:
    options = Options(refuse_all=True)
    figures = replace(GOOD, messages=1, answered=1, parked=1)

    assert problems_of(figures, EVEN, options) == []
    assert problems_of(replace(figures, parked=0), EVEN, options) == ["parked is 0, not 1"]


def test_real_providers_share_the_day_as_they_like() -> None:
    figures = replace(GOOD, by_provider={**GOOD.by_provider, "copilot": 0, "ollama-cloud": 150}, seconds=500.0)

    assert problems_of(figures, EVEN, Options(), everything_simulated=False) == []


@pytest.mark.parametrize(
    ("messages", "shares"),
    [(5, [5, 0, 0, 0]), (100, [66, 34, 0, 0]), (200, [66, 50, 84, 0]), (1000, [66, 50, 884, 0])],
)
def test_the_day_is_shared_out_in_the_chains_order(messages: int, shares: list[int]) -> None:
    assert share_out(messages, CHAIN) == dict(zip(CHAIN, shares, strict=True))


def test_how_many_messages_a_day_has() -> None:
    assert Options().message_count == MESSAGES
    assert Options(faults=[("copilot", Fault.SERVER_ERROR)]).message_count == MESSAGES
    assert Options(faults=[("copilot", Fault.HANG)]).message_count == SLOW_MESSAGES
    assert Options(refuse_all=True).message_count == 1
    assert Options(messages=7, faults=[("copilot", Fault.HANG)]).message_count == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--fault", "gemini=500"], "no provider 'gemini'"),
        (["demo", "--fault", "copilot=pigeon"], "no fault 'pigeon'"),
        (["demo", "--messages", "0"], "not a whole number from 1"),
        (["demo", "--refuse-all", "--fault", "copilot=500"], "not allowed with"),
        ([], "required"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_help_tells_every_option_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])

    told = capsys.readouterr().out
    for option in ("--messages", "--chats", "--fault", "--refuse-all", "--build-dir", "--simulated"):
        assert option in told
    for fault in Fault:
        assert fault.value in told
    assert "simulated" in told


@pytest.mark.parametrize("command", ["demo", "chat"])
def test_without_a_build_one_is_told_to_make_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = main([command, "--build-dir", str(tmp_path)])

    assert exit_code == 2
    assert "make build" in capsys.readouterr().out

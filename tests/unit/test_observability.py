"""What is logged and measured: a line per attempt, `fallback` where one happens, the declared metrics and no other."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest

from assistant import observability
from assistant.errors import (
    ProviderBusy,
    ProviderDeclined,
    ProviderError,
    ProviderExhausted,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnavailable,
)
from assistant.observability import METRICS, LogJournal, Metric
from assistant.turns.asking import Attempt
from assistant.turns.chain import load_chain
from assistant.turns.model import Usage

CHAIN = load_chain()
ATTEMPT = Attempt(chat_id="42", user_id="43", turn=7, provider="copilot", model="a-model", milliseconds=812)
ANSWERED = Attempt(
    chat_id="42",
    user_id="43",
    turn=7,
    provider="anthropic",
    model="claude",
    outcome="answered",
    fallback=False,
    usage=Usage(input=100, cached=2000, written=50, output=30),
    micro_dollars=1025,
    budget_used=0.8125,
)
FALLING_BACK = (ProviderExhausted, ProviderRejected, ProviderDeclined)
SAME_AGAIN = (ProviderBusy, ProviderThrottled, ProviderUnavailable)


@pytest.fixture(autouse=True)
def metrics_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "serverless-openclaw")  # as the template does


class Lines:
    """What the journal wrote, as CloudWatch Logs gets it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], log: io.StringIO) -> None:
        self._capsys = capsys
        self._log = log

    def of(self, *attempts: Attempt) -> list[str]:
        journal = LogJournal(last="anthropic")
        for attempt in attempts:
            journal.attempted(attempt)
        return [*self._log.getvalue().splitlines(), *self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lines:
    (handler,) = observability.logger._logger.handlers
    log = io.StringIO()
    monkeypatch.setattr(handler, "stream", log)
    return Lines(capsys, log)


def _plain(found: list[str]) -> list[dict[str, Any]]:
    return [read for read in map(json.loads, found) if "_aws" not in read]


def _measured(found: list[str]) -> Counter[tuple[str, str]]:
    """Metrics with the value of their dimension, as CloudWatch would make them of these lines."""
    measured: Counter[tuple[str, str]] = Counter()
    for line in map(json.loads, found):
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == observability.NAMESPACE
            for dimensions in directive["Dimensions"]:
                for metric in directive["Metrics"]:
                    measured[metric["Name"], "/".join(line[name] for name in dimensions)] += 1
    return measured


def test_a_line_says_who_asked_whom_and_what_came_of_it(lines: Lines) -> None:
    (line,) = _plain(lines.of(ANSWERED))

    assert line["message"] == "answered"
    assert {name: line[name] for name in line.keys() - {"timestamp", "level", "location", "service", "message"}} == {
        "chat_id": "42",
        "user_id": "43",
        "turn": 7,
        "provider": "anthropic",
        "model": "claude",
        "outcome": "answered",
        "input": 100,
        "cached": 2000,
        "written": 50,
        "output": 30,
        "micro_dollars": 1025,
        "milliseconds": 0,
    }


def test_a_line_says_why_a_provider_failed_and_how_long_it_is_blocked(lines: Lines) -> None:
    error = ProviderExhausted("copilot", "rate_limit", block_until=1_795_400_000, status=429)

    (line,) = _plain(lines.of(ATTEMPT.failed(error)))

    assert {name: line[name] for name in ("outcome", "error", "reason", "status", "blocked_until")} == {
        "outcome": "failed",
        "error": "ProviderExhausted",
        "reason": "rate_limit",
        "status": 429,
        "blocked_until": 1_795_400_000,
    }


@pytest.mark.parametrize("error", FALLING_BACK)
def test_grep_finds_the_attempt_that_falls_back(lines: Lines, error: type[ProviderError]) -> None:
    assert "fallback" in lines.of(ATTEMPT.failed(error("copilot", "why")))[0]


@pytest.mark.parametrize("error", SAME_AGAIN)
def test_grep_finds_nothing_where_the_same_provider_is_asked_again(lines: Lines, error: type[ProviderError]) -> None:
    assert not [line for line in lines.of(ATTEMPT.failed(error("copilot", "why"))) if "fallback" in line]


def test_grep_finds_nothing_where_nobody_is_left(lines: Lines) -> None:
    last = Attempt(chat_id="42", user_id="43", turn=7, provider="anthropic", model="claude")

    assert not [line for line in lines.of(last.failed(ProviderExhausted("anthropic", "budget"))) if "fallback" in line]


def test_grep_finds_the_answer_that_a_fallback_gave_and_no_other(lines: Lines) -> None:
    helped = Attempt(chat_id="42", user_id="43", turn=8, provider="openrouter", model="free", outcome="answered")

    found = [line for line in lines.of(ANSWERED, helped) if "fallback" in line]

    assert [(line["turn"], line["message"]) for line in _plain(found)] == [(8, "fallback answered")]


def test_every_class_of_a_providers_failure_is_either_asked_again_or_falls_back() -> None:
    assert {*FALLING_BACK, *SAME_AGAIN} == set(ProviderError.__subclasses__())


def test_an_answer_is_counted_for_its_provider(lines: Lines) -> None:
    assert _measured(lines.of(ANSWERED)) == {("Answers", "anthropic"): 1, ("PaidBudgetUsed", ""): 1}


def test_a_fallback_that_helped_is_counted(lines: Lines) -> None:
    helped = Attempt(chat_id="42", user_id="43", turn=8, provider="openrouter", model="free", outcome="answered")

    assert _measured(lines.of(helped)) == {("Answers", "openrouter"): 1, ("Fallbacks", ""): 1}


def test_the_used_share_of_the_budget_is_a_percentage(lines: Lines) -> None:
    (line,) = [line for line in map(json.loads, lines.of(ANSWERED)) if "PaidBudgetUsed" in line]

    assert line["PaidBudgetUsed"] == [81.2]


def test_a_failure_is_no_metric(lines: Lines) -> None:
    assert _measured(lines.of(ATTEMPT.failed(ProviderThrottled("copilot", "rate_limit")))) == {}


def test_an_answer_that_came_too_late_is_counted_for_the_budget_only(lines: Lines) -> None:
    late = Attempt(chat_id="4", user_id="4", turn=1, provider="anthropic", model="c", outcome="late", budget_used=0.5)

    assert _measured(lines.of(late)) == {("PaidBudgetUsed", ""): 1}


def test_the_providers_that_answers_are_counted_for_are_those_of_the_chain() -> None:
    assert observability.ANSWERS.values == tuple(provider.id for provider in CHAIN.providers)


def test_a_value_of_a_dimension_that_is_not_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="somebody"):
        observability.ANSWERS.emit(1, "somebody")
    with pytest.raises(ValueError, match="somebody"):
        observability.FALLBACKS.emit(1, "somebody")
    with pytest.raises(ValueError, match="None"):
        observability.ANSWERS.emit(1)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_a_metric_writes_is_what_it_is_declared_as(lines: Lines, metric: Metric) -> None:
    for value in metric.values or (None,):
        metric.emit(1, value)

    assert _measured(lines.of()) == {(metric.name, value): 1 for value in metric.values or ("",)}

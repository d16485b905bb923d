"""The demo's figures are counted right, above all when something went wrong."""

from dataclasses import fields
from typing import Any

import pytest

from local.figures import (
    Answer,
    ExecutionRecord,
    Figures,
    Question,
    TurnRecord,
    count,
    marked,
    pace,
    questions_in,
)

FIRST = ("PrepareTurn", "RouteTurn", "AskCopilot", "DeliverReply", "AfterDelivery")
SECOND = ("PrepareTurn", "RouteTurn", "AskCopilot", "AskOpenRouter", "DeliverReply", "AfterDelivery")
FAILED = ("PrepareTurn", "RouteTurn", "AskClaude", "ReportFailure", "DeliverReply")


def questions(*chat_ids: int) -> list[Question]:
    return [Question(number, chat_id, 0.1) for number, chat_id in enumerate(chat_ids, start=1)]


def counted(
    asked: list[Question],
    answers: list[Answer],
    turns: list[TurnRecord] | None = None,
    executions: list[ExecutionRecord] | None = None,
    **changed: Any,
) -> Figures:
    measured = {"seconds": 1.0, "denied_calls": 0, "ms_per_transaction": 2.0}
    return count(
        asked,
        answers,
        turns or [],
        executions or [],
        provider_ids=["copilot", "openrouter"],
        **(measured | changed),
    )


def test_the_names_are_those_that_are_asked_for() -> None:
    assert [field.name for field in fields(Figures)] == [
        "messages",
        "turns",
        "answered",
        "parked",
        "lost",
        "duplicated",
        "ambiguous",
        "out_of_order",
        "by_provider",
        "fallbacks",
        "transitions_first_provider",
        "transitions_mean",
        "seconds",
        "denied_calls",
        "ms_per_transaction",
    ]


def test_a_good_day() -> None:
    figures = counted(questions(1, 2, 1), [Answer(1, (1,)), Answer(2, (2,)), Answer(1, (3,))])

    assert (figures.messages, figures.answered) == (3, 3)
    assert (figures.lost, figures.duplicated, figures.out_of_order) == (0, 0, 0)


def test_what_has_no_answer_is_lost_and_what_has_two_is_duplicated() -> None:
    figures = counted(questions(1, 1, 1), [Answer(1, (1,)), Answer(1, (1,)), Answer(1, (3,))])

    assert (figures.answered, figures.lost, figures.duplicated) == (2, 1, 1)


def test_order_counts_within_a_chat_only() -> None:
    crossing = [Answer(2, (2,)), Answer(1, (1,))]
    overtaking = [Answer(1, (3,)), Answer(1, (1,))]

    assert counted(questions(1, 2), crossing).out_of_order == 0
    assert counted(questions(1, 1, 1), overtaking).out_of_order == 1


def test_one_answer_to_several_messages_answers_them_all_in_order() -> None:
    figures = counted(questions(1, 1, 1), [Answer(1, (1, 2, 3))])

    assert (figures.answered, figures.duplicated, figures.out_of_order) == (3, 0, 0)


def test_turns_say_who_answered_and_what_was_parked_or_ambiguous() -> None:
    turns = [
        TurnRecord("DELIVERED", "openrouter", ambiguous=False, parks=0),
        TurnRecord("DELIVERED", "openrouter", ambiguous=True, parks=2),
        TurnRecord("PARKED", None, ambiguous=False, parks=1),
    ]

    figures = counted(questions(1), [], turns)

    assert figures.by_provider == {"copilot": 0, "openrouter": 2}
    assert (figures.turns, figures.parked, figures.ambiguous) == (3, 2, 1)


def test_transitions_of_the_first_provider_are_those_of_executions_that_asked_just_one() -> None:
    executions = [
        ExecutionRecord(succeeded=True, states=FIRST, transitions=6),
        ExecutionRecord(succeeded=True, states=SECOND, transitions=9),
        ExecutionRecord(succeeded=True, states=FAILED, transitions=12),
        ExecutionRecord(succeeded=False, states=FIRST, transitions=30),
    ]

    figures = counted(questions(1), [], executions=executions)

    assert figures.transitions_first_provider == 6
    assert figures.transitions_mean == pytest.approx(14.25)
    assert figures.fallbacks == 1


def test_pace_compares_the_quarters() -> None:
    slower = [Question(number, 1, 0.1 if number <= 6 else 0.3) for number in range(1, 9)]

    assert (pace(slower).first_quarter, pace(slower).last_quarter) == pytest.approx((0.1, 0.3))
    assert pace([Question(1, 1, None)]).last_quarter == 0


def test_a_marked_question_is_found_in_what_quotes_it() -> None:
    quoted = f"[simulated copilot] You said: {marked(7, 'first')}\n\n{marked(12, 'second')}"

    assert questions_in(quoted) == (7, 12)
    assert questions_in("I am sorry") == ()

"""The figures of a demo's day, computed from what was observed: the chats, the turns and the executions."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

_ASK = "Ask"
_MARKER = re.compile(r"#(\d+)\b")


@dataclass(frozen=True)
class Question:
    """A message that a chat wrote.

    Attributes:
        number: Counts from 1 over all chats, and is part of the text (see `marked`).
        chat_id: Who wrote it.
        seconds: Real seconds until its turn was over; None if it never was.
    """

    number: int
    chat_id: int
    seconds: float | None


@dataclass(frozen=True)
class Answer:
    """A message that answers: which questions it quotes, in which chat."""

    chat_id: int
    questions: tuple[int, ...]


@dataclass(frozen=True)
class TurnRecord:
    """What the data model's Turn item says of a turn."""

    status: str
    provider: str | None
    ambiguous: bool
    parks: int


@dataclass(frozen=True)
class ExecutionRecord:
    """What an execution's history says: states entered, in order; all transitions, retries included."""

    succeeded: bool
    states: tuple[str, ...]
    transitions: int

    @property
    def hops(self) -> int:
        """How often a turn moved from one Ask state to another."""
        return sum(1 for one, other in pairwise(self.states) if is_ask(one) and is_ask(other) and one != other)

    @property
    def is_first_providers(self) -> bool:
        """Whether exactly one provider was asked, and answered."""
        asked = [at for at, state in enumerate(self.states) if is_ask(state)]
        return self.succeeded and len(asked) == 1 and self.states[asked[0] + 1 : asked[0] + 2] == ("DeliverReply",)


@dataclass(frozen=True)
class Figures:
    """The figures, named as in `build/demo.json`."""

    messages: int
    turns: int
    answered: int
    parked: int
    lost: int
    duplicated: int
    ambiguous: int
    out_of_order: int
    by_provider: dict[str, int]
    fallbacks: int
    transitions_first_provider: int
    transitions_mean: float
    seconds: float
    denied_calls: int
    ms_per_transaction: float


@dataclass(frozen=True)
class Pace:
    """Mean real seconds per message in the first and in the last quarter of the day."""

    first_quarter: float
    last_quarter: float


def is_ask(state: str) -> bool:
    """Whether a state asks a provider."""
    return state.startswith(_ASK)


def marked(number: int, text: str) -> str:
    """The text with the number by which an answer that quotes it is known."""
    return f"#{number} {text}"


def questions_in(text: str) -> tuple[int, ...]:
    """The numbers of the questions that a text quotes."""
    return tuple(int(number) for number in _MARKER.findall(text))


def count(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    turns: Sequence[TurnRecord],
    executions: Sequence[ExecutionRecord],
    *,
    provider_ids: Sequence[str],
    seconds: float,
    denied_calls: int,
    ms_per_transaction: float,
) -> Figures:
    """Count the day.

    Args:
        questions: In the order in which they were written.
        answers: In the order in which they were sent.
        turns: All turns.
        executions: All executions.
        provider_ids: The chain, in order; each gets its line even if it answered nothing.
        seconds: Real seconds that the day took.
        denied_calls: Calls that a role's policies did not allow.
        ms_per_transaction: Mean of the DynamoDB transactions, at the server.
    """
    times_answered = Counter(number for answer in answers for number in answer.questions)
    answered = [question for question in questions if times_answered[question.number]]
    providers = Counter(turn.provider for turn in turns)
    first = [execution.transitions for execution in executions if execution.is_first_providers]
    return Figures(
        messages=len(questions),
        turns=len(turns),
        answered=len(answered),
        parked=sum(1 for turn in turns if turn.parks),
        lost=len(questions) - len(answered),
        duplicated=sum(1 for question in answered if times_answered[question.number] > 1),
        ambiguous=sum(1 for turn in turns if turn.ambiguous),
        out_of_order=_out_of_order(answers),
        by_provider={provider_id: providers[provider_id] for provider_id in provider_ids},
        fallbacks=sum(execution.hops for execution in executions),
        transitions_first_provider=max(first, default=0),
        transitions_mean=round(_mean(execution.transitions for execution in executions), 2),
        seconds=round(seconds, 1),
        denied_calls=denied_calls,
        ms_per_transaction=round(ms_per_transaction, 1),
    )


def pace(questions: Sequence[Question]) -> Pace:
    """The first and the last quarter compared; of less than four messages, the first and the last."""
    quarter = max(1, len(questions) // 4)
    first = [question.seconds for question in questions[:quarter] if question.seconds is not None]
    last = [question.seconds for question in questions[-quarter:] if question.seconds is not None]
    return Pace(_mean(first), _mean(last))


def _out_of_order(answers: Sequence[Answer]) -> int:
    by_chat: defaultdict[int, list[int]] = defaultdict(list)
    for answer in answers:
        by_chat[answer.chat_id] += answer.questions
    return sum(1 for numbers in by_chat.values() for one, other in pairwise(numbers) if other < one)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return fmean(known) if known else 0.0

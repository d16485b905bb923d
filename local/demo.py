"""A day of messages through the whole system, with figures at the end (`python -m local demo`)."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.figures import Answer, Figures, Pace, Question, count, marked, pace, questions_in
from local.simulators.faults import Fault
from local.simulators.telegram import SentMessage
from local.stage import BUILD_DIR, PROJECT, Stage, StageError, set_up

MESSAGES = 200
CHATS = 4
SLOW_MESSAGES = 4
"""Default number of messages when each request to a provider may cost a whole time-out."""

WAITING_FAULTS = frozenset({Fault.HANG, Fault.STALL})
ANSWERING_FAULTS = frozenset({Fault.SLOW, Fault.TRICKLE})
OUTPUT = PROJECT / "build" / "demo.json"

_DAY_S = 86_400
_ANSWER_DEADLINE_S = 300.0
_FIRST_CHAT = 1001
_LONGEST_DAY_S = 90.0
_MOST_TRANSITIONS = 6
_SLOWER = 1.5
_SWEEP_S = 300
_DAILY = {"copilot": 66, "openrouter": 50}
_TOPICS = (
    "What is a good name for a turtle?",
    "How long do I boil an egg?",
    "Say something nice.",
    "Which day comes after Tuesday?",
    "Remind me why we do this.",
)


@dataclass(frozen=True)
class Options:
    """What the person asked for.

    Attributes:
        messages: How many messages; None for the default.
        chats: How many chats they come from.
        faults: What goes wrong at which provider, all day long.
        refuse_all: Whether all four providers refuse the first message.
        build_dir: Where `sam build` put the functions.
        simulate_all: Do not use real providers, even if the environment holds keys.
        output: Where the figures are written.
    """

    messages: int | None = None
    chats: int = CHATS
    faults: Sequence[tuple[str, Fault]] = ()
    refuse_all: bool = False
    build_dir: Path = BUILD_DIR
    simulate_all: bool = False
    output: Path = OUTPUT

    @property
    def message_count(self) -> int:
        """How many messages the day has."""
        if self.messages is not None:
            return self.messages
        if self.refuse_all:
            return 1
        return SLOW_MESSAGES if any(fault in WAITING_FAULTS for _, fault in self.faults) else MESSAGES


@dataclass
class _Day:
    """The day as it passes: sends the messages one after the other, and remembers how long each took."""

    stage: Stage
    options: Options
    console: Console
    start: float
    questions: list[Question] = field(default_factory=list)
    refused_as_expected: bool = True

    def pass_by(self) -> None:
        """Send all messages."""
        chats = [_FIRST_CHAT + at for at in range(self.options.chats)]
        for chat_id in chats:
            self.stage.allow(chat_id)
        total = self.options.message_count
        with _progress(self.console) as progress:
            bar = progress.add_task("the day", total=total)
            for number in range(1, total + 1):
                self.stage.clock.jump_to(self.start + (number - 1) * _DAY_S / total)
                if number == 1 and self.options.refuse_all:
                    self._ask_while_all_refuse(chats[0])
                else:
                    self._ask(number, chats[(number - 1) % len(chats)])
                progress.advance(bar)
                if not self.console.is_terminal and number % 25 == 0:
                    self.console.print(f"{number} of {total} messages")

    def _ask(self, number: int, chat_id: int) -> None:
        began = time.monotonic()
        replies = self._replies(chat_id)
        self.stage.write(chat_id, marked(number, _TOPICS[number % len(_TOPICS)]))
        # The next message moves the clock: not before all that belongs to this one is over.
        self.stage.settle(_ANSWER_DEADLINE_S)
        answered = self._replies(chat_id) > replies
        self.questions.append(Question(number, chat_id, time.monotonic() - began if answered else None))

    def _replies(self, chat_id: int) -> int:
        return len(self.stage.outside.telegram.sent_to(chat_id))

    def _ask_while_all_refuse(self, chat_id: int) -> None:
        began = time.monotonic()
        outside = self.stage.outside
        for provider_id in outside.providers:
            outside.order(provider_id, Fault.THROTTLED)
        self.stage.write(chat_id, marked(1, _TOPICS[1]))
        self.stage.settle(_ANSWER_DEADLINE_S)
        apologies = outside.telegram.sent_to(chat_id)
        for apology in apologies:
            self._tell(f"all refuse: “{apology.text}”")
        outside.clear()
        answered = self._drive_to_the_end_of_the_block(chat_id, len(apologies) + 1)
        self.refused_as_expected = len(apologies) == 1 and not questions_in(apologies[0].text) and answered
        self.questions.append(Question(1, chat_id, time.monotonic() - began if answered else None))

    def _drive_to_the_end_of_the_block(self, chat_id: int, replies: int) -> bool:
        retry_at = max((int(turn.get("retry_at", {}).get("N", 0)) for turn in self.stage.turns()), default=0)
        self.stage.clock.jump_to(retry_at)
        self._tell("the first block ends; nobody writes anything, the sweep looks every five minutes")
        for _ in range(3):
            self.stage.settle(_ANSWER_DEADLINE_S)
            if self._replies(chat_id) >= replies:
                self._tell(f"asked again by itself: “{self.stage.outside.telegram.sent_to(chat_id)[-1].text}”")
                return True
            self.stage.clock.advance(_SWEEP_S)
        return False

    def _tell(self, what: str) -> None:
        moment = datetime.fromtimestamp(self.stage.clock.now(), UTC)
        self.console.print(f"{moment:%H:%M:%S} {what}", markup=False, highlight=False, soft_wrap=True)


def run(options: Options, console: Console) -> int:
    """Run the demo.

    Returns:
        The exit code: 0 if every figure is as expected, else 1.

    Raises:
        StageError: it could not run.
    """
    start = math.ceil(time.time() / _DAY_S) * _DAY_S
    with set_up(console, start=start, build_dir=options.build_dir, simulate_all=options.simulate_all) as stage:
        for provider_id, fault in options.faults:
            _order(stage, provider_id, fault)
        _warn_of_waiting(console, options)
        day = _Day(stage, options, console, start)
        began = time.monotonic()
        day.pass_by()
        figures = _figures(day, time.monotonic() - began)
        everything_simulated = not stage.outside.real_keys
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(asdict(figures), indent=2) + "\n", "utf-8")
    speed = pace(day.questions)
    console.print(_table(figures, speed))
    console.print(f"written to {options.output}", markup=False, highlight=False, soft_wrap=True)
    problems = problems_of(figures, speed, options, everything_simulated=everything_simulated)
    if not day.refused_as_expected:
        problems.append("the refused message did not get one apology and then, by itself, its answer")
    for problem in problems:
        console.print(f"[bold red]not as expected:[/bold red] {problem}", soft_wrap=True)
    return 1 if problems else 0


def problems_of(figures: Figures, speed: Pace, options: Options, *, everything_simulated: bool = True) -> list[str]:
    """Where the figures are not what they should be; empty if all is well."""
    problems = [
        f"{name} is {getattr(figures, name)}, not {expected}"
        for name, expected in _expected(figures, options, everything_simulated=everything_simulated).items()
        if getattr(figures, name) != expected
    ]
    problems += [
        f"{provider_id} answered {figures.by_provider[provider_id]} messages although it was out of order"
        for provider_id, fault in options.faults
        if fault not in ANSWERING_FAULTS and figures.by_provider[provider_id]
    ]
    if options.faults or options.refuse_all or not everything_simulated:
        return problems
    if figures.transitions_first_provider > _MOST_TRANSITIONS:
        problems.append(
            f"transitions_first_provider is {figures.transitions_first_provider}, more than {_MOST_TRANSITIONS}"
        )
    return problems + _too_slow(figures, speed)


def _expected(figures: Figures, options: Options, *, everything_simulated: bool) -> dict[str, object]:
    total = options.message_count
    expected: dict[str, object] = {
        "messages": total,
        "answered": total,
        "lost": 0,
        "duplicated": 0,
        "ambiguous": 0,
        "out_of_order": 0,
        "denied_calls": 0,
        "parked": 1 if options.refuse_all else 0,
    }
    if everything_simulated and not options.faults and not options.refuse_all:
        expected["by_provider"] = share_out(total, list(figures.by_provider))
    return expected


def share_out(messages: int, provider_ids: Sequence[str]) -> dict[str, int]:
    """Who answers how many messages of a day: each provider its daily allowance, Ollama Cloud the rest."""
    shares = dict.fromkeys(provider_ids, 0)
    left = messages
    for provider_id, allowance in _DAILY.items():
        shares[provider_id] = min(left, allowance)
        left -= shares[provider_id]
    return shares | {"ollama-cloud": left}


def _too_slow(figures: Figures, speed: Pace) -> list[str]:
    problems = []
    if figures.messages <= MESSAGES and figures.seconds > _LONGEST_DAY_S:
        problems.append(f"the day took {figures.seconds} s, more than {_LONGEST_DAY_S:.0f}")
    if figures.messages >= MESSAGES and speed.last_quarter > _SLOWER * speed.first_quarter:
        problems.append(
            f"a message of the last quarter took {speed.last_quarter:.2f} s, of the first {speed.first_quarter:.2f} s"
        )
    return problems


def _order(stage: Stage, provider_id: str, fault: Fault) -> None:
    try:
        stage.outside.order(provider_id, fault)
    except ValueError as error:
        raise StageError(str(error)) from error


def _warn_of_waiting(console: Console, options: Options) -> None:
    if any(fault in WAITING_FAULTS for _, fault in options.faults):
        console.print("A provider that hangs costs a real time-out (about 20 s) each time it is tried.")


def _figures(day: _Day, seconds: float) -> Figures:
    stage = day.stage
    return count(
        day.questions,
        _answers(day),
        stage.turn_records(),
        stage.execution_records(),
        provider_ids=[entry.provider_id for entry in stage.chain],
        seconds=seconds,
        denied_calls=len(stage.cloud.denied),
        ms_per_transaction=stage.ms_per_transaction(),
    )


def _answers(day: _Day) -> list[Answer]:
    real = day.stage.outside.real_keys
    real_turns = [turn for turn in day.stage.turns() if turn.get("provider", {}).get("S") in real]
    found = ((message, _answered_by(message, real_turns)) for message in day.stage.outside.telegram.sent)
    return [Answer(message.chat_id, numbers) for message, numbers in found if numbers]


def _answered_by(message: SentMessage, real_turns: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The questions that a message answers.

    A simulated answer quotes them. A real provider's does not: there it is the beginning of the reply of a turn, or all
    of it with the provider's name below; the turn knows what was asked.
    """
    for turn in real_turns:
        reply = turn["reply"]["S"]
        ours = reply.startswith(message.text) or message.text.startswith(reply)
        if ours and turn["pk"]["S"] == str(message.chat_id):
            return questions_in(turn["text"]["S"])
    return questions_in(message.text)


def _progress(console: Console) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _table(figures: Figures, speed: Pace) -> Table:
    table = Table("figure", "value", title="The day")
    for name, value in asdict(figures).items():
        shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
        table.add_row(name, str(shown))
    table.add_row("seconds per message", f"{speed.first_quarter:.2f} at the start, {speed.last_quarter:.2f} at the end")
    return table

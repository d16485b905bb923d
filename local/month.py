"""Thirty days of messages through the ledger and the routing rules (`python -m local demo --month`).

Real: the ledger and its conditional updates, the routing, the Ask states, the Retry and Catch of
the state machine's definition, ReportFailure, the providers' clients and protocols. Simulated: the providers, with
their limits, prices and refusals, called without a network; the conversations are kept in memory and the clock is
driven. Every message is a turn of its own, and one that nobody can answer is not asked again.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as ScreenTable

from assistant.stores.dynamodb import Table
from assistant.stores.ledger import DynamoLedger
from assistant.turns.chain import load_chain
from assistant.turns.failing import FailureReport
from assistant.turns.ledger import ChainState
from assistant.turns.model import TurnStatus
from assistant.turns.preparing import FAIL
from local.in_memory import Conversations, DailySums, DrivenClock, ask_state
from local.simulators.anthropic import AnthropicSimulator
from local.simulators.copilot import CopilotSimulator
from local.simulators.limits import Period, RequestWindow
from local.simulators.ollama_cloud import OllamaCloudSimulator
from local.simulators.openrouter import OpenRouterSimulator
from local.simulators.outside import CONNECTIONS
from local.small_dynamodb import SmallDynamoDb
from local.stage import PROJECT
from local.walking import Walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from types_boto3_dynamodb import DynamoDBClient

    from assistant.turns.chain import Chain
    from assistant.turns.model import Turn
    from local.simulators.provider import ProviderSimulator

OUTPUT = PROJECT / "build" / "month.json"
START = datetime(2026, 11, 1, tzinfo=UTC)
"""The first of a month of thirty days."""

DAYS = 30
MESSAGES_PER_DAY = 200
DOLLARS = 5.0
CHATS = 4

COPILOT_PER_MONTH = 2000
OPENROUTER_PER_DAY = 50
_DAY_S = 86_400
_WEEKEND = (5, 6)
_MICRO = 1_000_000
_KEY = "simulated-key"
_BUDGET = "budget"
"""What the text says of money that is spent; none of the other texts speaks of it."""

_QUESTIONS = (
    "What is a good name for a turtle that hides in the flower bed whenever it hears the rain coming?",
    "How long do I boil an egg if I am high up in the mountains and like the yolk to be soft?",
    "Say something nice about a Tuesday on which the bus was late, the coffee cold and the queue long.",
    "Which of the two should I read first if I have one long train journey and no patience for war?",
)


@dataclass(frozen=True)
class Options:
    """What the person asked for.

    Attributes:
        messages_per_day: How many messages, evenly spread over the day and over four chats.
        ollama_per_day: What the simulated Ollama Cloud allows in a day; None for any number.
        dollars: Claude's budget for the month.
        carry_over: Whether Copilot's unused days are carried over.
        quiet_weekends: Whether nobody writes on Saturdays and Sundays.
        days: How many days.
        output: Where the figures are written.
    """

    messages_per_day: int = MESSAGES_PER_DAY
    ollama_per_day: int | None = None
    dollars: float = DOLLARS
    carry_over: bool = False
    quiet_weekends: bool = False
    days: int = DAYS
    output: Path = OUTPUT


BUSY = Options(messages_per_day=2000, ollama_per_day=500, output=PROJECT / "build" / "month-busy.json")
"""More messages than the free quotas hold, and more than the budget pays for."""


@dataclass(frozen=True)
class Refusal:
    """A message that nobody answered, and what its sender was told.

    Attributes:
        at: Epoch seconds.
        free: Providers that would have answered it for nothing.
        text: What ReportFailure has the user told.
    """

    at: float
    chat_id: str
    free: tuple[str, ...]
    text: str

    @property
    def names_budget(self) -> bool:
        """Whether the user is told that the money is spent."""
        return _BUDGET in self.text


@dataclass(frozen=True)
class Day:
    """A day's figures: answered by whom, refused by everybody, charged for."""

    day: str
    answered: Mapping[str, int]
    refused: int
    dollars: float


@dataclass(frozen=True)
class Told:
    """What the senders of unanswered messages were told.

    Attributes:
        first_at: When nobody was left for the first time, UTC.
        first: The text for the first of them.
        later: The text for the last of them.
        budget_notices: How many were told that the budget is used up: once each chat.
    """

    first_at: str
    first: str
    later: str
    budget_notices: int


@dataclass(frozen=True)
class Figures:
    """The figures, named as in `build/month.json`.

    Attributes:
        refused_while_free: Messages that nobody answered while the simulator of a free provider would have, within
            what the chain lets it be asked by then (66 a day of Copilot's month).
        by_provider: Answered messages.
        most_in_a_day: The same, of the day that had the most.
        asked_in_vain: Requests that a provider refused.
        counted_by_vendor: Copilot's month and the most of OpenRouter's days, as the simulators count.
        billed_dollars: The simulated vendor's bill.
        ledger_dollars: What our ledger says was spent.
        budget_ended: The day on which Claude answered for the last time, if the budget was what ended it.
    """

    days: int
    messages_per_day: int
    chats: int
    ollama_per_day: int | None
    budget_dollars: float
    carry_over: bool
    quiet_weekends: bool
    messages: int
    answered: int
    refused: int
    refused_while_free: int
    by_provider: Mapping[str, int]
    most_in_a_day: Mapping[str, int]
    asked_in_vain: Mapping[str, int]
    counted_by_vendor: Mapping[str, int]
    billed_dollars: float
    ledger_dollars: float
    budget_ended: str | None
    told: Told | None
    per_day: Sequence[Day]
    seconds: float


class Vendors:
    """The simulated providers, and what they would still give for nothing."""

    def __init__(self, clock: DrivenClock, chain: Chain, ollama_per_day: int | None) -> None:
        self.copilot = CopilotSimulator(clock, _KEY, per_month=COPILOT_PER_MONTH)
        self.openrouter = OpenRouterSimulator(clock, _KEY, per_day=OPENROUTER_PER_DAY)
        self.ollama = OllamaCloudSimulator(clock, _KEY, per_day=ollama_per_day)
        self.anthropic = AnthropicSimulator(clock, _KEY)
        self.by_id: Mapping[str, ProviderSimulator] = {
            "copilot": self.copilot,
            "openrouter": self.openrouter,
            "ollama-cloud": self.ollama,
            "anthropic": self.anthropic,
        }
        self._clock = clock
        copilot = chain.provider("copilot")
        pace = copilot.budget("day")
        self._pace = pace.limit if pace else COPILOT_PER_MONTH
        self._copilot_day = RequestWindow(None if copilot.carry_over else self._pace, Period.DAY)
        self._carry_over = copilot.carry_over

    def client(self, provider_id: str) -> httpx.Client:
        """An HTTP client that reaches the simulator, and nothing else."""
        return httpx.Client(transport=httpx.WSGITransport(self.by_id[provider_id]))

    def note(self, provider_id: str | None) -> None:
        """Count an answer, for the pace at which the chain asks Copilot; forget what the simulators recorded."""
        if provider_id == "copilot":
            self._copilot_day.add(self._clock.now())
        for simulator in self.by_id.values():
            simulator.requests.clear()

    def free(self) -> tuple[str, ...]:
        """The free providers that would answer one more message now."""
        now = self._clock.now()
        windows = {
            "copilot": (self.copilot.month, self._copilot_day),
            "openrouter": (self.openrouter.day, self.openrouter.minute),
            "ollama-cloud": (self.ollama.day,),
        }
        free = [name for name, counted in windows.items() if not any(window.is_full(now) for window in counted)]
        if self._carry_over and self.copilot.month.used(now) >= self._pace * datetime.fromtimestamp(now, UTC).day:
            free = [name for name in free if name != "copilot"]
        return tuple(free)

    def close(self) -> None:
        """Let go of everything."""
        for simulator in self.by_id.values():
            simulator.close()


@dataclass
class Month:
    """The month as it passes."""

    options: Options
    client: DynamoDBClient = field(default_factory=lambda: SmallDynamoDb("runtime").as_client())
    clock: DrivenClock = field(default_factory=lambda: DrivenClock(START.timestamp()))
    answered: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refusals: list[Refusal] = field(default_factory=list)
    openrouter_days: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain = load_chain().with_settings(
            dollars_per_month=self.options.dollars, carry_over=self.options.carry_over
        )
        self.ledger = DynamoLedger(Table(self.client, "runtime"), self.clock)
        self.conversations = Conversations(self.clock)
        self.usage = DailySums(self.clock)
        self.vendors = Vendors(self.clock, self.chain, self.options.ollama_per_day)

    @cached_property
    def walk(self) -> Walk:
        """The state machine over this month's functions."""
        report = FailureReport(self.conversations.as_port(), self.ledger, self.chain, self.clock)
        asks = {
            provider.state: ask_state(
                provider,
                self.chain,
                conversations=self.conversations,
                ledger=self.ledger,
                usage=self.usage,
                http=self.vendors.client(provider.id),
                base_url=f"http://{provider.id}.simulated{CONNECTIONS[provider.id].base_path}",
                key=_KEY,
                clock=self.clock,
            )
            for provider in self.chain.providers
        }
        return Walk.of_a_turn({**asks, "ReportFailure": report}, self.clock)

    def pass_by(self, console: Console) -> None:
        """Send all messages."""
        with _progress(console) as progress:
            bar = progress.add_task("the month", total=self.options.days)
            for day in range(self.options.days):
                self._day_passes(START + timedelta(days=day))
                self.openrouter_days.append(self.vendors.openrouter.day.used(self.clock.now()))
                progress.advance(bar)

    def _day_passes(self, begins: datetime) -> None:
        quiet = self.options.quiet_weekends and begins.weekday() in _WEEKEND
        messages = 0 if quiet else self.options.messages_per_day
        self.clock.jump_to(begins.timestamp())
        self.answered[_day(begins.timestamp())] = Counter()
        for number in range(messages):
            self.clock.jump_to(begins.timestamp() + number * _DAY_S / messages)
            self._message(number)

    def _message(self, number: int) -> None:
        chat_id = str(1001 + number % CHATS)
        day = _day(self.clock.now())
        claim, turn = self.conversations.ask(chat_id, _QUESTIONS[number % len(_QUESTIONS)])
        state = ChainState(self.chain, self.ledger.entries(), self.clock.now())
        self.conversations.route(claim, preferred=state.preferred())
        self.walk.run(state.entry(turn) or FAIL, claim)
        ended = self.conversations.close(claim)
        self.answered[day][ended.provider or ""] += 1
        if ended.status != TurnStatus.ANSWERED:
            self.refusals.append(self._refusal(chat_id, ended))
        self.vendors.note(ended.provider)

    def _refusal(self, chat_id: str, turn: Turn) -> Refusal:
        return Refusal(self.clock.now(), chat_id, self.vendors.free(), turn.reply or "")

    def figures(self, seconds: float) -> Figures:
        """What came of it."""
        ids = [provider.id for provider in self.chain.providers]
        used = {provider_id: self.usage.total(provider_id) for provider_id in ids}
        by_provider = {provider_id: sum(day[provider_id] for day in self.answered.values()) for provider_id in ids}
        return Figures(
            days=self.options.days,
            messages_per_day=self.options.messages_per_day,
            chats=CHATS,
            ollama_per_day=self.options.ollama_per_day,
            budget_dollars=self.options.dollars,
            carry_over=self.options.carry_over,
            quiet_weekends=self.options.quiet_weekends,
            messages=sum(day.total() for day in self.answered.values()),
            answered=sum(by_provider.values()),
            refused=len(self.refusals),
            refused_while_free=sum(1 for refusal in self.refusals if refusal.free),
            by_provider=by_provider,
            most_in_a_day={name: max(day[name] for day in self.answered.values()) for name in ids},
            asked_in_vain={name: used[name].failures for name in ids},
            counted_by_vendor={
                "copilot in the month": self.vendors.copilot.month.used(self.clock.now()),
                "openrouter, most in a day": max(self.openrouter_days, default=0),
            },
            billed_dollars=round(self.vendors.anthropic.spent_micro_dollars / _MICRO, 6),
            ledger_dollars=self._ledger_micro_dollars() / _MICRO,
            budget_ended=self._budget_ended(),
            told=self._told(),
            per_day=[self._day(name, ids) for name in self.answered],
            seconds=round(seconds, 1),
        )

    def _ledger_micro_dollars(self) -> int:
        entry = self.ledger.entries().get("anthropic")
        month = f"month_micro_dollars:{START:%Y-%m}"
        return entry.windows.get(month, 0) if entry else 0

    def _budget_ended(self) -> str | None:
        paid = [name for name, answered in self.answered.items() if answered["anthropic"]]
        return paid[-1] if paid and self.refusals else None

    def _told(self) -> Told | None:
        if not self.refusals:
            return None
        first, last = self.refusals[0], self.refusals[-1]
        at = datetime.fromtimestamp(first.at, UTC)
        notices = sum(1 for refusal in self.refusals if refusal.names_budget)
        return Told(f"{at:%Y-%m-%d %H:%M}", first.text, last.text, notices)

    def _day(self, name: str, ids: Sequence[str]) -> Day:
        answered = self.answered[name]
        cost = sum(used.micro_dollars for used in self.usage.days(name, name).get(name, {}).values())
        return Day(name, {provider_id: answered[provider_id] for provider_id in ids}, answered[""], cost / _MICRO)


def run(options: Options, console: Console) -> int:
    """Let the month pass.

    Returns:
        The exit code: 0 if every figure is as expected, else 1.
    """
    console.print("The providers are simulated, with their limits and prices; the clock is driven.", highlight=False)
    began = time.monotonic()
    month = Month(options)
    try:
        month.pass_by(console)
    finally:
        month.vendors.close()
    figures = month.figures(time.monotonic() - began)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(asdict(figures), indent=2, ensure_ascii=False) + "\n", "utf-8")
    console.print(_table(figures))
    for line in _summary(figures):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {options.output}", markup=False, highlight=False, soft_wrap=True)
    problems = problems_of(figures)
    for problem in problems:
        console.print(f"[bold red]not as expected:[/bold red] {problem}", soft_wrap=True)
    return 1 if problems else 0


def problems_of(figures: Figures) -> list[str]:
    """Where the figures are not what they should be; empty if all is well."""
    most = {
        "messages that are missing": (figures.messages - figures.answered - figures.refused, 0),
        "messages by Copilot": (figures.by_provider["copilot"], COPILOT_PER_MONTH),
        "messages by OpenRouter in a day": (figures.most_in_a_day["openrouter"], OPENROUTER_PER_DAY),
        "messages refused while a free request was left": (figures.refused_while_free, 0),
        "dollars billed": (figures.billed_dollars, figures.budget_dollars),
        "dollars in the ledger": (figures.ledger_dollars, figures.budget_dollars),
        "dollars billed and not in the ledger": (round(figures.billed_dollars - figures.ledger_dollars, 6), 0),
    }
    if figures.ollama_per_day is None:
        most |= {"messages by Claude": (figures.by_provider["anthropic"], 0), "messages refused": (figures.refused, 0)}
    problems = [f"{number} {what}, more than {limit}" for what, (number, limit) in most.items() if number > limit]
    return problems + _unclear(figures)


def _unclear(figures: Figures) -> list[str]:
    """What is wrong with what was said once the money was spent."""
    told = figures.told
    if told is None or not figures.budget_ended:
        return []
    problems = []
    if told.budget_notices != figures.chats:
        problems.append(f"{told.budget_notices} notices of the budget, not one in each of {figures.chats} chats")
    if _BUDGET in told.later:
        problems.append("the notice of the budget is repeated")
    return problems


def _summary(figures: Figures) -> list[str]:
    lines = [
        (
            f"{figures.messages} messages: {figures.answered} answered, {figures.refused} refused, "
            f"{figures.refused_while_free} of them while a free request was left"
        ),
        "counted by the vendors: "
        + ", ".join(f"{what} {number}" for what, number in figures.counted_by_vendor.items()),
        (
            f"paid: ${figures.billed_dollars:.6f} by the vendor's bill, ${figures.ledger_dollars:.6f} by our ledger, "
            f"of ${figures.budget_dollars:.2f}"
        ),
    ]
    told = figures.told
    if figures.budget_ended:
        lines.append(f"the budget ended: Claude answered for the last time on {figures.budget_ended}")
    if told is not None:
        lines += [
            f"nobody was left for the first time at {told.first_at} UTC; the sender was told:\n  “{told.first}”",
            f"the last one was told:\n  “{told.later}”",
            f"told that the budget is used up: {told.budget_notices} times, in {figures.chats} chats",
        ]
    return [*lines, f"{figures.seconds} seconds"]


def _table(figures: Figures) -> ScreenTable:
    table = ScreenTable(title="The month: answered messages", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("day")
    names = list(figures.by_provider)
    for name in [*names, "refused", "dollars"]:
        table.add_column(name, justify="right")
    for day in figures.per_day:
        cells = [str(day.answered[name]) for name in names]
        table.add_row(day.day, *cells, str(day.refused), f"{day.dollars:.4f}")
    table.add_section()
    total = [str(figures.by_provider[name]) for name in names]
    table.add_row("in all", *total, str(figures.refused), f"{figures.ledger_dollars:.4f}", style="bold")
    most: Any = [str(figures.most_in_a_day[name]) for name in names]
    table.add_row("most a day", *most, str(max((day.refused for day in figures.per_day), default=0)), "")
    vain = [str(figures.asked_in_vain[name]) for name in names]
    table.add_row("in vain", *vain, "", "")
    return table


def _progress(console: Console) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"

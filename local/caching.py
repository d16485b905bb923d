"""What a long conversation with Claude reads from the prompt cache (`python -m local demo --cache`).

Real: the conversation's window, the protocol with its marks, the client over HTTP on loopback, the Ask state, the
ledger. Simulated: Anthropic's server, which keeps a prefix cache (bytes, minimum length, five minutes) and a bill; the
conversation is kept in memory, and the clock is driven.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING

import httpx
from rich.box import SIMPLE_HEAD
from rich.table import Table as ScreenTable

from assistant.stores.dynamodb import Table
from assistant.stores.ledger import DynamoLedger
from assistant.turns.chain import load_chain
from assistant.turns.texts import SYSTEM_PROMPT
from local.direct_dynamodb import DirectDynamoDb
from local.in_memory import Conversations, DailySums, DrivenClock, ask_state
from local.server import WebServer
from local.simulators.answers import tokens_in
from local.simulators.anthropic import AnthropicSimulator
from local.stage import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from assistant.turns.asking import Asking
    from assistant.turns.model import Used

OUTPUT = PROJECT / "build" / "cache.json"
TURNS = 100
LEAST_SHARE = 0.8
HISTORY_MESSAGES = 20
SLIDING_MESSAGES = 30
"""As many as our window holds on average."""

SHORT_PAIR, LONG_PAIR = 60, 300
"""Tokens of a question and its answer together."""

_QUESTION_SHARE = 0.25
_START = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
_KEY = "simulated-key"
_CHAT = "1001"
_MICRO = 1_000_000
_CHARACTERS_PER_TOKEN = 4
_EVERYTHING = 10_000
"""A setting of HistoryMessages whose window does not step back in so few turns."""


@dataclass(frozen=True)
class Case:
    """A conversation.

    Attributes:
        name: What is special about it.
        pair_tokens: Of a question and its answer together.
        sliding: Whether the window is always the newest `SLIDING_MESSAGES`, instead of ours.
        minutes_between: From one question to the next; a cached prefix lives five.
    """

    name: str
    pair_tokens: int
    sliding: bool = False
    minutes_between: float = 1.0


CASES = (
    Case("ours, short pairs", SHORT_PAIR),
    Case("ours, long pairs", LONG_PAIR),
    Case("sliding, short pairs", SHORT_PAIR, sliding=True),
    Case("sliding, long pairs", LONG_PAIR, sliding=True),
    Case("ours, 6 min apart", LONG_PAIR, minutes_between=6),
)


@dataclass(frozen=True)
class Window:
    """Messages of the history that a request had."""

    least: int
    mean: float
    most: int


@dataclass(frozen=True)
class Result:
    """A conversation's figures; tokens as the simulated server counts them.

    Attributes:
        input_tokens: All input, each token once: `uncached + cached + written`.
        share: `cached / input_tokens`.
        dollars: The vendor's bill.
        ledger_dollars: What our ledger says: rounded up, request by request.
        dollars_without_cache: The same tokens without a cache.
        window: How much of the conversation was shown, once it was long enough.
    """

    name: str
    pair_tokens: int
    sliding: bool
    minutes_between: float
    turns: int
    window: Window
    input_tokens: int
    uncached: int
    cached: int
    written: int
    output_tokens: int
    share: float
    dollars: float
    ledger_dollars: float
    dollars_without_cache: float


@dataclass(frozen=True)
class Figures:
    """All conversations, named as in `build/cache.json`.

    Attributes:
        share: The least of those with our window, asked once a minute.
    """

    model: str
    system_prompt_tokens: int
    system_prompt_bytes: int
    cache_minimum_tokens: int | None
    history_messages: int
    sliding_messages: int
    share: float
    conversations: Sequence[Result]
    seconds: float


@dataclass
class Talk:
    """A conversation with the simulated Claude.

    Attributes:
        shown: Messages of the history in each request, in order.
    """

    case: Case
    simulator: AnthropicSimulator
    clock: DrivenClock
    conversations: Conversations
    usage: DailySums
    ledger: DynamoLedger
    ask: Asking
    shown: list[int] = field(default_factory=list)

    def turn(self, number: int) -> None:
        """One question and its answer."""
        question = _text(f"Question {number}:", self.question_tokens)
        claim, _ = self.conversations.ask(_CHAT, question)
        self.simulator.compose = lambda _: _text(f"Answer {number}:", self.case.pair_tokens - self.question_tokens)
        self.ask(claim)
        self.conversations.close(claim)
        self.shown.append(len(self.simulator.requests[-1].messages) - 1)
        self.simulator.requests.clear()
        self.clock.advance(60 * self.case.minutes_between)

    @property
    def question_tokens(self) -> int:
        """A question's part of a pair."""
        return round(self.case.pair_tokens * _QUESTION_SHARE)

    @property
    def used(self) -> Used:
        """Tokens and millionths of a dollar, as the product counted them."""
        return self.usage.total("anthropic")

    @property
    def ledger_micro_dollars(self) -> int:
        """What the ledger's month holds."""
        windows = self.ledger.entries()["anthropic"].windows
        return sum(amount for window, amount in windows.items() if "micro_dollars" in window)

    def result(self) -> Result:
        """The figures so far."""
        used, prices = self.used, self.simulator.prices
        whole = used.input_tokens + used.cached_tokens + used.written_tokens
        settled = self.shown[HISTORY_MESSAGES:] or self.shown
        return Result(
            **asdict(self.case),
            turns=len(self.shown),
            window=Window(min(settled), round(fmean(settled), 1), max(settled)),
            input_tokens=whole,
            uncached=used.input_tokens,
            cached=used.cached_tokens,
            written=used.written_tokens,
            output_tokens=used.output_tokens,
            share=round(used.cached_tokens / whole, 4),
            dollars=round(self.simulator.spent_micro_dollars / _MICRO, 6),
            ledger_dollars=self.ledger_micro_dollars / _MICRO,
            dollars_without_cache=round((whole * prices.input + used.output_tokens * prices.output) / _MICRO, 6),
        )


@contextmanager
def talk(case: Case) -> Iterator[Talk]:
    """A conversation that has not begun, over a server on loopback that is stopped at the end."""
    clock = DrivenClock(_START)
    simulator = AnthropicSimulator(clock, _KEY)
    server = WebServer(simulator)
    server.start()
    chain = load_chain()
    tables = DirectDynamoDb()
    tables.create_table("runtime")
    ledger = DynamoLedger(Table(tables.as_client(), "runtime"), clock)
    conversations = Conversations(clock, newest=SLIDING_MESSAGES // 2 if case.sliding else None)
    usage = DailySums(clock)
    try:
        with httpx.Client() as http:
            ask = ask_state(
                chain.provider("anthropic"),
                chain,
                conversations=conversations,
                ledger=ledger,
                usage=usage,
                http=http,
                base_url=f"http://127.0.0.1:{server.port}",
                key=_KEY,
                clock=clock,
                history_messages=_EVERYTHING if case.sliding else HISTORY_MESSAGES,
            )
            yield Talk(case, simulator, clock, conversations, usage, ledger, ask)
    finally:
        simulator.close()
        server.stop()


def measure(case: Case, turns: int = TURNS) -> Result:
    """A whole conversation."""
    with talk(case) as conversation:
        for number in range(1, turns + 1):
            conversation.turn(number)
        return conversation.result()


def run(console: Console, output: Path = OUTPUT) -> int:
    """Measure all conversations, print and write the figures.

    Returns:
        The exit code: 0 if ours reads as much from the cache as it should, else 1.
    """
    console.print("Anthropic's server is simulated, with its prefix cache and its prices; the clock is driven.")
    began = time.monotonic()
    results = [measure(case) for case in CASES]
    figures = _figures(results, time.monotonic() - began)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(asdict(figures), indent=2) + "\n", "utf-8")
    console.print(_table(figures))
    console.print(
        f"{TURNS} turns each, a minute apart; short pairs have {SHORT_PAIR} tokens, long ones {LONG_PAIR}; "
        f"system prompt {figures.system_prompt_tokens} tokens; {figures.model} caches from "
        f"{figures.cache_minimum_tokens}; HistoryMessages {HISTORY_MESSAGES}; sliding: the newest {SLIDING_MESSAGES}",
        highlight=False,
    )
    console.print(f"written to {output}", markup=False, highlight=False, soft_wrap=True)
    if figures.share < LEAST_SHARE:
        console.print(f"[bold red]not as expected:[/bold red] share is {figures.share}, less than {LEAST_SHARE}")
        return 1
    return 0


def _figures(results: Sequence[Result], seconds: float) -> Figures:
    claude = load_chain().provider("anthropic")
    return Figures(
        model=claude.model,
        system_prompt_tokens=tokens_in(SYSTEM_PROMPT),
        system_prompt_bytes=len(SYSTEM_PROMPT.encode()),
        cache_minimum_tokens=claude.cache_minimum_tokens,
        history_messages=HISTORY_MESSAGES,
        sliding_messages=SLIDING_MESSAGES,
        share=min(result.share for result in results if not result.sliding and result.minutes_between == 1),
        conversations=results,
        seconds=round(seconds, 1),
    )


def _table(figures: Figures) -> ScreenTable:
    table = ScreenTable(
        title="Conversations with Claude: what is read from the cache", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column("conversation")
    for name in ("share", "input", "cached", "window", "dollars", "no cache"):
        table.add_column(name, justify="right")
    for each in figures.conversations:
        table.add_row(
            each.name,
            f"{each.share:.1%}",
            f"{each.input_tokens:,}",
            f"{each.cached:,}",
            f"{each.window.least}–{each.window.most}",
            f"{each.dollars:.4f}",
            f"{each.dollars_without_cache:.4f}",
        )
    return table


def _text(beginning: str, tokens: int) -> str:
    """A text of so many tokens, as the simulators count them."""
    characters = tokens * _CHARACTERS_PER_TOKEN
    filler = " and so the story goes on from one day to the next"
    return (beginning + filler * (characters // len(filler) + 1))[:characters]

"""What a person or a script sees: tables and sentences on a terminal, or one JSON object on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from operate.errors import OperateError

MARKS = {"good": ("✓", "green"), "note": ("•", "yellow"), "bad": ("✗", "bold red"), "skipped": ("–", "dim")}

_HALF_A_CENT = 5_000


@dataclass(frozen=True, slots=True)
class Output:
    """Where results, and what is said on the way to them, go.

    Attributes:
        as_json: results as JSON on stdout, nothing else there; the rest on stderr.
        result: for results.
        aside: for the rest.
    """

    as_json: bool = False
    result: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    aside: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def show(self, data: Mapping[str, Any], *parts: RenderableType) -> None:
        """The command's result: `data` for scripts, `parts` for people."""
        if self.as_json:
            json.dump(data, sys.stdout, indent=2, default=str)
            sys.stdout.write("\n")
            return
        for part in parts:
            self.result.print(part)

    def line(self, data: Mapping[str, Any], text: Text) -> None:
        """One of many results, each as it comes."""
        if self.as_json:
            sys.stdout.write(json.dumps(data, default=str) + "\n")
            sys.stdout.flush()
            return
        self.result.print(text)

    def say(self, text: str, style: str = "") -> None:
        """Something on the way: what is being done, what to know."""
        console = self.aside if self.as_json else self.result
        console.print(Text(text, style=style))

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how much of so many bytes has been dealt with; gives what is to be told of each step's."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.aside, transient=True, disable=not self.aside.is_terminal) as bars:
            task = bars.add_task(what, total=total)
            yield lambda number: bars.advance(task, number)

    @contextlib.contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[str, int], None]]:
        """Show how many of so many things are done; gives what is to be told the latest and how many more."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.aside, transient=True, disable=not self.aside.is_terminal) as bars:
            task = bars.add_task(what, total=total or None)
            yield lambda latest, more: bars.update(task, advance=more, description=f"{what}: {latest}")

    def fail(self, error: OperateError) -> None:
        """Why it ended."""
        if self.as_json:
            body = {"error": str(error), "advice": error.advice, "kind": type(error).__name__, "code": error.code}
            json.dump(body, sys.stdout, indent=2)
            sys.stdout.write("\n")
            return
        self.aside.print(Text(str(error), style="bold red"))
        if error.advice:
            self.aside.print(Text(error.advice))


def table(*columns: str, rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Table:
    """A plain table; `right`: the columns of figures."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        made.add_column(name, justify="right" if place in right else "left", no_wrap=place in right)
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def marked(state: str, link: str, what: str, advice: str = "") -> Text:
    """A finding with its mark."""
    mark, style = MARKS[state]
    text = Text.assemble((f"{mark} ", style), (f"{link}: ", "bold"), what)
    if advice and state in {"bad", "note"}:
        text.append(f"\n    {advice}", style="dim" if state == "note" else "")
    return text


def dollars(micro_dollars: float) -> str:
    """Millionths of a dollar, for people."""
    if 0 < micro_dollars < _HALF_A_CENT:
        return "under $0.01"
    return f"${micro_dollars / 1_000_000:,.2f}" if micro_dollars else "$0"

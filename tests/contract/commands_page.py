"""The transcripts of docs/commands.md: what /usage and /providers answer in a world that is set up here."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import Update
from assistant.turns.accepting import Say
from assistant.turns.model import Used
from tests.doubles import a_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistant.stores.dynamodb import Value
    from tests.doubles import World

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "commands.md"
PICTURE = DOCS / "commands.svg"
REGENERATE = "UPDATE_DOCS=1 .venv/bin/python -m pytest tests/contract/test_commands_page.py"

_DAY_SECONDS = 86_400
_BEFORE = {
    "copilot": Used(requests=1356, input_tokens=690_400, cached_tokens=1_204_000, output_tokens=301_200),
    "openrouter": Used(requests=812, failures=9, input_tokens=1_410_000, output_tokens=190_000),
    "ollama-cloud": Used(requests=84, input_tokens=150_300, output_tokens=21_400),
    "anthropic": Used(18, 0, 2_300, 51_000, 7_900, 6_100, micro_dollars=371_300),
}
_TODAY = {
    "copilot": Used(requests=66, input_tokens=30_900, cached_tokens=60_200, output_tokens=14_900),
    "openrouter": Used(requests=31, input_tokens=42_000, output_tokens=7_000),
    "anthropic": Used(3, 0, 400, 8_700, 900, 900, micro_dollars=41_000),
}
_LEDGER: dict[str, dict[str, Value | None]] = {
    "copilot": {"day:2026-11-22": 66, "month:2026-11": 1422},
    "openrouter": {"day:2026-11-22": 31, "day_limit": 1000},
    "ollama-cloud": {"failures": 2, "blocked_until": 1_795_350_600, "block_cause": "rate_limit"},
    "anthropic": {"month_micro_dollars:2026-11": 412_300},
}


def transcripts() -> dict[str, str]:
    """What each command answers: the webhook's rules over real stores, on 22 November 2026 at noon."""
    with a_world() as world:
        _seed(world)
        answers = {command: world.say(command) for command in ("/usage", "/providers")}
    return {command: answer.text for command, answer in answers.items() if isinstance(answer, Say)}


def _seed(world: World) -> None:
    """A month in which much happened: a day used up, an account with a higher limit, a pause, money spent."""
    world.clock.advance(-_DAY_SECONDS)
    _use(world, _BEFORE)
    world.clock.advance(_DAY_SECONDS)
    _use(world, _TODAY)
    for provider_id, attributes in _LEDGER.items():
        world.runtime.update(schema.LEDGER, provider_id, Update(put=attributes))


def _use(world: World, sums: Mapping[str, Used]) -> None:
    for provider_id, used in sums.items():
        world.usage.add(provider_id, used)


def page(written: str, said: Mapping[str, str]) -> str:
    """The page with the transcripts between their marks."""
    for command, text in said.items():
        begin, end = f"<!-- begin {command} -->", f"<!-- end {command} -->"
        head, _, rest = written.partition(begin)
        written = f"{head}{begin}\n```text\n{text}\n```\n{end}{rest.partition(end)[2]}"
    return written


def picture(said: Mapping[str, str]) -> str:
    """The transcripts as a chat on two phones, in SVG: a column of 300 units each."""
    columns = [_column(20 + 330 * number, command, text) for number, (command, text) in enumerate(said.items())]
    lines = max(text.count("\n") for text in said.values()) + 1
    size = f'width="670" height="{_LINE * lines + 130}"'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="15"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
            f'<rect {size} fill="#dfe7ec"/>',
            *(element for column in columns for element in column),
            "</svg>",
            "",
        ]
    )


_LINE = 21


def _column(left: int, command: str, text: str) -> Iterator[str]:
    asked = 20 + 9 * len(command)
    yield f'<rect x="{left + 300 - asked}" y="20" width="{asked}" height="36" rx="14" fill="#e6fdd3"/>'
    yield f'<text x="{left + 310 - asked}" y="44" fill="#111">{command}</text>'
    lines = text.split("\n")
    yield f'<rect x="{left}" y="72" width="300" height="{_LINE * len(lines) + 20}" rx="14" fill="#fff"/>'
    for number, line in enumerate(lines):
        if line:
            yield f'<text x="{left + 14}" y="{99 + _LINE * number}" fill="#111">{escape(line)}</text>'

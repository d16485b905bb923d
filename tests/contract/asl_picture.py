"""docs/state-machine.md, made from the state machine's definition and chain.toml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.turns import texts
from assistant.turns.chain import Budget, Chain, Provider
from tests.contract import state_machine as asl

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
REGENERATE = "UPDATE_DOCS=1 python -m pytest tests/contract/test_state_machine_page.py"

_BOX = '["{}"]'
_ARROWS = {"next": "-->", "choice": '-->|"{}"|', "default": '-.->|"anything else"|'}
_ERRORS = '-.->|"{}"|'
_SHAPES = {"Choice": '{{"{}"}}', "Wait": '(["{}"])', "Succeed": '(("{}"))', "Fail": '(("{}"))'}


def page(machine: asl.Machine, chain: Chain) -> str:
    """The whole page."""
    return "\n".join(
        [
            "# State machine",
            "",
            "<!-- Made from statemachine/turn.asl.json and chain.toml; do not edit. To make it anew:",
            f"     {REGENERATE} -->",
            "",
            machine["Comment"],
            "Solid arrows are the way of a turn; dotted ones are errors, after the state's own retries.",
            "",
            "```mermaid",
            *picture(machine),
            "```",
            "",
            "## States",
            "",
            "What each state retries by itself, before its error takes the dotted arrow; `States.ALL`: any other.",
            "",
            "| state | at most | retries |",
            "|---|---|---|",
            *(_state_row(name, state) for name, state in asl.states(machine, "Task").items()),
            "",
            "## Providers",
            "",
            "In the order in which they are asked; PrepareTurn enters at the first that has quota left.",
            "",
            "| provider | id | state | model | budget | secret |",
            "|---|---|---|---|---|---|",
            *(_provider_row(provider) for provider in chain.providers),
            "",
        ]
    )


def picture(machine: asl.Machine) -> Iterator[str]:
    """A Mermaid flowchart. Errors of one state that lead to one place share an arrow."""
    yield "flowchart TD"
    yield f"    start(( )) --> {machine['StartAt']}"
    for name, state in asl.states(machine).items():
        yield f"    {name}{_SHAPES.get(state['Type'], _BOX).format(name)}"
    for edge in asl.edges(machine):
        if edge.kind in _ARROWS:
            yield f"    {edge.source} {_ARROWS[edge.kind].format(edge.label)} {edge.target}"
    for name, state in asl.states(machine).items():
        for target, errors in _caught(state):
            yield f"    {name} {_ERRORS.format(errors)} {target}"
    for name in (name for name, state in asl.states(machine).items() if state.get("End")):
        yield f"    {name} --> over(( ))"


def _caught(state: asl.State) -> Iterator[tuple[str, str]]:
    """Where errors lead, and which: `any other error` wherever the last entry of the list leads."""
    catches: list[dict[str, Any]] = state.get("Catch", [])
    rest = catches[-1]["Next"] if catches else None
    targets = {catch["Next"]: catch["ErrorEquals"] for catch in catches if catch["Next"] != rest}
    for target, errors in targets.items():
        yield target, ", ".join(errors)
    if rest is not None:
        yield rest, "any other error" if targets else "any error"


def _state_row(name: str, state: asl.State) -> str:
    retries = [_retry(entry) for entry in state["Retry"]]
    return f"| {name} | {state['TimeoutSeconds']} s | {'<br>'.join(retry for retry in retries if retry)} |"


def _retry(entry: dict[str, Any]) -> str:
    times = entry.get("MaxAttempts", 3)
    errors = ", ".join(f"`{error}`" for error in entry["ErrorEquals"])
    return f"{errors}: {f'up to {times}' if times else 'never'}"


def _provider_row(provider: Provider) -> str:
    budgets = ", ".join(_budget(budget) for budget in provider.budgets) or "as it allows"
    if provider.concurrency:
        budgets += ", one at a time"
    cells = (provider.name, f"`{provider.id}`", provider.state, f"`{provider.model}`", budgets, f"`{provider.secret}`")
    return f"| {' | '.join(cells)} |"


def _budget(budget: Budget) -> str:
    amount = texts.dollars(budget.limit) if budget.unit == "micro_dollars" else f"{budget.limit:,}"
    return f"{amount}/{budget.per}"

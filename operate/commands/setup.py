"""`setup`: the keys, asked for, checked against their services, and stored encrypted."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from operate.commands import session
from operate.errors import OperateError, RefusedError, UnreachableError, UsageError
from operate.keys import KEYS, WEBHOOK_SECRET, Key, key, malformed
from operate.output import marked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operate.commands.session import Session


def setup(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--key", help="Only this key, also if it is set; repeatable.")
    ] = None,
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read a JSON object of names and keys from stdin; ask nothing.")
    ] = False,
    from_environment: Annotated[
        bool,
        typer.Option("--env", help="Take keys from the environment (OPENROUTER_API_KEY …); ask nothing."),
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Store keys also if their service can't be reached to check them.")
    ] = False,
) -> None:
    """Ask for the keys that are missing, check each against its service, and store them in your account.

    Keys are SSM SecureStrings: encrypted, free, read by the functions that need them and by nothing else. They are
    never shown, logged, or passed on a command line. Checking a provider's key asks it one tiny question.

    Without a terminal: `--env` takes TELEGRAM_BOT_TOKEN, OPENROUTER_API_KEY, OLLAMA_API_KEY, ANTHROPIC_API_KEY,
    COPILOT_API_KEY; `--stdin` a JSON object such as {"openrouter-api-key": "…"}. The webhook's secret is drawn by
    itself if there is none.
    """
    run = session.of(context)
    stored = run.operator.parameters.stored()
    given = _given(from_stdin=from_stdin, from_environment=from_environment)
    asks = given is None
    wanted = _wanted(only or [], stored, given)
    if asks and not _interactive():
        raise UsageError("There is no terminal to ask on.", "Give keys by --env or --stdin; see `setup --help`.")
    if asks:
        _introduce(run, wanted)
    outcomes = [_take(run, each, _value(run, each, given), unchecked=unchecked) for each in wanted]
    _conclude(run, [each for each in outcomes if each is not None], stored)


def _interactive() -> bool:
    return sys.stdin.isatty()


@dataclass(frozen=True, slots=True)
class _Outcome:
    name: str
    stored: bool
    what: str
    error: OperateError | None = None


def _wanted(only: Sequence[str], stored: Mapping[str, object], given: Mapping[str, str] | None) -> list[Key]:
    for name in only:
        if key(name) is None:
            raise UsageError(f"There is no key {name}.", f"There are: {', '.join(each.name for each in KEYS)}")
    if only:
        return [each for each in KEYS if each.name in only]
    drawn = [each for each in KEYS if each is WEBHOOK_SECRET and each.name not in stored]
    if given is not None:
        return [each for each in KEYS if each.name in given or each in drawn]
    return [each for each in KEYS if each.name not in stored]


def _given(*, from_stdin: bool, from_environment: bool) -> Mapping[str, str] | None:
    """Keys by name from a script; None if a person is to be asked."""
    if from_stdin:
        try:
            read = json.load(sys.stdin)
        except ValueError:
            raise UsageError("What stdin holds is not JSON.", 'It looks like {"openrouter-api-key": "…"}.') from None
        if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
            raise UsageError("What stdin holds is not an object of names and keys.")
        unknown = [name for name in read if key(name) is None]
        if unknown:
            raise UsageError(f"There is no key {unknown[0]}.", f"There are: {', '.join(each.name for each in KEYS)}")
        return read
    if from_environment:
        return {each.name: os.environ[each.variable] for each in KEYS if os.environ.get(each.variable)}
    return None


def _introduce(run: Session, wanted: Sequence[Key]) -> None:
    if not wanted:
        run.output.say("Every key is set. To change one: setup --key NAME")
        return
    run.output.say("What you type is not shown. Enter alone leaves a key out; one provider is enough.\n", style="dim")


def _value(run: Session, wanted: Key, given: Mapping[str, str] | None) -> str:
    if given is not None:
        value = given.get(wanted.name, "").strip()
        return value or (secrets.token_urlsafe(32) if wanted is WEBHOOK_SECRET else "")
    if wanted is WEBHOOK_SECRET:
        return secrets.token_urlsafe(32)
    run.output.say(wanted.title, style="bold")
    run.output.say(f"  {wanted.where}")
    if wanted.risk:
        run.output.say(f"  {wanted.risk}", style="yellow")
    answer: str = typer.prompt("  key", default="", hide_input=True, show_default=False, err=True)
    return answer.strip()


def _take(run: Session, wanted: Key, value: str, *, unchecked: bool) -> _Outcome | None:
    """Check a key and store it; None if none was given. What is wrong with one keeps no other from being stored."""
    if not value:
        return None
    problem = malformed(wanted, value)
    if problem is not None:
        return _told(run, _Outcome(wanted.name, False, problem, UsageError(f"{wanted.name}: {problem}.")))
    try:
        what = _checked(run, wanted, value)
    except UnreachableError as error:
        if not unchecked:
            advice = "Try again later, or store it as it is: --unchecked."
            return _told(run, _Outcome(wanted.name, False, str(error), UnreachableError(str(error), advice)))
        what = "stored without a check"
    except RefusedError as error:
        return _told(run, _Outcome(wanted.name, False, str(error), error))
    run.operator.parameters.write(wanted.name, value)
    return _told(run, _Outcome(wanted.name, True, what))


def _checked(run: Session, wanted: Key, value: str) -> str:
    if wanted.kind == "bot":
        return f"it is @{run.operator.bot_of(value).username()}"
    if wanted.kind == "secret":
        return "drawn at random"
    asked = run.operator.asking(wanted.provider, value)
    if asked.verdict == "unreachable":
        raise UnreachableError(f"{wanted.title} can't be asked: {asked.reason}")
    if asked.verdict == "wrong":
        raise RefusedError(f"{wanted.title} refuses the key, the account or the model {asked.model}: {asked.reason}.")
    return f"{asked.model} answers" if asked.verdict == "good" else f"known, but now: {asked.reason}"


def _told(run: Session, outcome: _Outcome) -> _Outcome:
    run.output.say(str(marked("good" if outcome.stored else "bad", outcome.name, outcome.what)))
    return outcome


def _conclude(run: Session, outcomes: Sequence[_Outcome], stored: Mapping[str, object]) -> None:
    present = {*stored, *(each.name for each in outcomes if each.stored)}
    missing = [each.name for each in KEYS if each.kind == "bot" and each.name not in present]
    providers = [each.name for each in KEYS if each.kind == "provider" and each.name in present]
    failed = next((each.error for each in outcomes if each.error is not None), None)
    data = {
        "stored": [each.name for each in outcomes if each.stored],
        "refused": {each.name: each.what for each in outcomes if not each.stored},
        "missing": missing if providers else [*missing, "a provider's key"],
        "path": run.operator.parameters.path,
    }
    if failed is not None:
        raise failed
    if not data["missing"]:
        run.output.show(data, "Next: make deploy")
        return
    run.output.show(data, f"Still missing: {', '.join(data['missing'])}.")

"""What every command is given: the stack to work on, and where its result goes."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from operate.output import Output
from operate.wiring import Operator


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    operator: Operator
    output: Output


def of(context: typer.Context) -> Session:
    """The session that the options before the command made."""
    session = context.find_object(Session)
    if session is None:
        raise RuntimeError("the command runs without its application")
    return session

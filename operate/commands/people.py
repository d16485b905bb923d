"""`allow` and `deny`: who may talk to the assistant."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from operate.commands import session
from operate.errors import MissingError, UsageError
from operate.output import table

_ID = re.compile(r"-?[1-9][0-9]{0,19}")

_WHO = "Telegram's id of a person, or of a group (negative). The bot tells it to whoever writes to it."


def allow(
    context: typer.Context,
    who: Annotated[str | None, typer.Argument(help=_WHO)] = None,
    note: Annotated[str, typer.Option(help="A name, for you to recognise them by.")] = "",
    owner: Annotated[bool, typer.Option("--owner", help="Alarms and notices go to this chat, too.")] = False,
) -> None:
    """Let a person or a group talk to the assistant; without an id, list who may.

    A person in a group needs the group on the list as well, and is answered there when the bot is mentioned or
    replied to. Nothing is deployed: it counts with the next message.

    Examples: `allow 123456789 --note "me" --owner` · `allow -- -1001234567890 --note family`
    """
    run = session.of(context)
    people = run.operator.people
    if who is not None:
        _checked(who)
        people.allow(who, note)
        if owner:
            people.set_owner(int(who))
    listed = people.allowed()
    rows = [(each, name) for each, name in listed.items()]
    data = {"allowed": [{"id": each, "note": name} for each, name in rows], "owner": run.operator.owner.owner_chat()}
    nobody = "Nobody may talk to the assistant yet. Write to the bot: it answers with your id."
    run.output.show(data, table("id", "note", rows=rows) if rows else nobody)


def deny(context: typer.Context, who: Annotated[str, typer.Argument(help=_WHO)]) -> None:
    """Take a person or a group off the list. What they wrote stays until it expires (HistoryDays)."""
    run = session.of(context)
    _checked(who)
    if not run.operator.people.deny(who):
        raise MissingError(f"{who} is not on the list.", "`python -m operate allow` shows who is.")
    run.output.show({"denied": who}, f"{who} may no longer talk to the assistant.")


def _checked(who: str) -> None:
    if not _ID.fullmatch(who):
        raise UsageError(
            f"{who!r} is no Telegram id.", "It is a number; that of a group is negative: `allow -- -100…`."
        )

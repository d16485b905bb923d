"""Which snapshots are kept: all of the last day, the last of each day for 30 days, the last of each month for ever."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from assistant.workspace.model import Snapshot

ALL_SECONDS = 86_400
DAILY_DAYS = 30


def kept(snapshots: Iterable[Snapshot], now: float) -> frozenset[int]:
    """The numbers of those that are kept; days and months are UTC's. The newest is, however old it is."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.number)
    last_of: dict[tuple[int, ...], int] = {}
    recent = set()
    today = _day(now)
    for snapshot in ordered:
        day = _day(snapshot.created_at)
        last_of[day.year, day.month] = snapshot.number
        if (today - day).days < DAILY_DAYS:
            last_of[day.year, day.month, day.day] = snapshot.number
        if snapshot.created_at > now - ALL_SECONDS:
            recent.add(snapshot.number)
    newest = {snapshot.number for snapshot in ordered[-1:]}
    return frozenset(recent | newest | {*last_of.values()})


def _day(moment: float) -> dt.date:
    return dt.datetime.fromtimestamp(moment, dt.UTC).date()

"""Who works on a chat: claiming it, starting its execution, and healing both.

An execution's name is its chat and the claim's epoch, so starting it again is harmless: whoever finds a claim may
start its execution, and a crash between claim and start heals with the next message, a repeat or the sweep.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from assistant.turns.ports import Claims, Clock, Executions

SWEEP_SECONDS = 300
"""How often the sweep runs; what is being worked on is looked at no more often."""

QUICK_RECOVERIES = 2
"""Executions in a row that may be replaced at once; later ones wait, so that no fault can loop at the owner's cost."""

LONGEST_PAUSE_SECONDS = 6 * 3600


def pause_seconds(times: int) -> int:
    """How long the sweep leaves a chat alone that has failed so many times in a row."""
    return int(min(SWEEP_SECONDS * 2 ** (times - 1), LONGEST_PAUSE_SECONDS))


@dataclass(frozen=True, slots=True)
class Waking:
    """Claims and starts."""

    claims: Claims
    executions: Executions

    def wake(self, chat_id: str) -> None:
        """Make sure that an execution works on the chat."""
        claim = self.claims.claim(chat_id) or self.claims.holder(chat_id)
        if claim is not None:
            self.executions.start(claim)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Puts a chat right whose execution may have ended without releasing it, or was never started."""

    claims: Claims
    executions: Executions
    clock: Clock

    def __call__(self, chat_id: str) -> str:
        """Put one chat right.

        Returns:
            What was done, for the log: `working`, `started`, `restarted`, `paused`, `quiet`, `changed`.
        """
        chat = self.claims.read(chat_id)
        if chat.claimed_at is None:
            # An event may come late or twice: a parked turn and a pause last until their time.
            due = chat.due_at is not None and chat.due_at <= self.clock.now()
            return self._wake(chat_id) if due else "quiet"
        holder = self.claims.holder(chat_id)
        if holder is None:
            return "changed"
        match self.executions.running(holder):
            case None:
                self.executions.start(holder)
                return "started"
            case True:
                self.claims.postpone(holder, due_at=int(self.clock.now()) + SWEEP_SECONDS)
                return "working"
        recoveries = (chat.recoveries or 0) + 1
        if recoveries > QUICK_RECOVERIES:
            pause = pause_seconds(recoveries - QUICK_RECOVERIES)
            self.claims.drop(holder, due_at=int(self.clock.now()) + pause, recoveries=recoveries)
            return "paused"
        stolen = self.claims.steal(holder, recoveries=recoveries)
        if stolen is None:
            return "changed"
        self.executions.start(stolen)
        return "restarted"

    def _wake(self, chat_id: str) -> str:
        Waking(self.claims, self.executions).wake(chat_id)
        return "started"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a schedule did: how many by what was done with them, and what went wrong with others."""

    done: dict[str, int]
    failures: list[Exception]


def put_each_right[T](found: Iterable[T], put_right: Callable[[T], str]) -> Swept:
    """Put right whatever was found; what can't be keeps no other waiting."""
    done: Counter[str] = Counter()
    failures: list[Exception] = []
    for one in found:
        try:
            done[put_right(one)] += 1
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised after the others' turn)
            failures.append(error)
    return Swept(dict(done), failures)


@dataclass(frozen=True, slots=True)
class Sweeping:
    """Looks at every chat whose moment has come."""

    claims: Claims
    recover: Recovery

    def __call__(self) -> Swept:
        """Put right whatever is due."""
        return put_each_right(self.claims.due(), self.recover)

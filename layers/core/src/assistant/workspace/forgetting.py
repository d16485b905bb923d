"""`/forget`: everything of a chat is deleted, step by step; who dies in the middle is followed by who goes on.

Each step is harmless if it is done again, takes only what was there when the command was given, and notes what it
finds before it deletes, so that at the end one can say what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.turns.agents import Generation
from assistant.turns.errands import Reply
from assistant.turns.reminding import forget, set_by
from assistant.turns.tending import Task
from assistant.workspace.browsing import count, size

if TYPE_CHECKING:
    from assistant.turns.errands import Asked, Errand
    from assistant.turns.ports import (
        Agents,
        Conversations,
        Errands,
        Fleet,
        Reminders,
        Schedules,
        TaskTokens,
    )
    from assistant.turns.waking import Waking
    from assistant.workspace.collecting import Collection

STOPPED_BECAUSE = "its chat is being forgotten"
STAYS = (
    "What stays: sums of what was used, without a word of it, and for a week the numbers of the messages, so that "
    "none is taken twice."
)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Forgets chats."""

    errands: Errands
    conversations: Conversations
    reminders: Reminders
    schedules: Schedules
    agents: Agents
    tokens: TaskTokens
    fleet: Fleet
    collection: Collection
    waking: Waking

    def __call__(self, asked: Asked, errand: Errand) -> Reply:
        """Forget a chat, or go on forgetting it; what was forgotten."""
        self._reminders(asked, errand)
        if self.conversations.fence(asked, errand):
            self.waking.wake(asked.chat_id)
        fenced = self._now(asked, errand)
        until = fenced.until or 0
        self._stop_agent(asked, until)
        self._workspace(asked, fenced)
        if fenced.exchanges is None:
            self.errands.note(asked, {"exchanges": self.conversations.count(asked.chat_id, until)})
        self.conversations.erase(asked, until)
        return Reply(said(self._now(asked, errand)))

    def _now(self, asked: Asked, errand: Errand) -> Errand:
        return self.errands.read(asked) or errand

    def _reminders(self, asked: Asked, errand: Errand) -> None:
        """Before the fence: one that fired behind it would be a message that came later."""
        there = set_by(self.reminders, asked.chat_id, errand.created_at)
        if errand.reminders is None:
            self.errands.note(asked, {"reminders": len(there)})
        forget(self.reminders, self.schedules, asked.chat_id, until=errand.created_at)

    def _stop_agent(self, asked: Asked, until: int) -> None:
        """End the task, which holds the files; who waits for it goes on, and finds that there is nothing to do."""
        agent = self.agents.read(asked.chat_id)
        generation = Generation(asked.chat_id, agent.generation)
        if agent.task_arn is not None and agent.forgotten_by != _name(asked):
            self.fleet.stop(Task(generation, agent.task_arn), STOPPED_BECAUSE)
        for mail in self.agents.mail(asked.chat_id):
            if mail.number <= until:
                self.tokens.succeed(mail.task_token)
                self.agents.discard(generation, mail)

    def _workspace(self, asked: Asked, errand: Errand) -> None:
        if errand.snapshots is None:
            listed = self.collection.snapshots.listed(asked.chat_id)
            newest = max(listed, key=lambda snapshot: snapshot.number, default=None)
            files, held = (newest.files, newest.bytes) if newest else (0, 0)
            self.errands.note(asked, {"snapshots": len(listed), "files": files, "bytes": held})
        self.collection.forget(asked.chat_id, by=_name(asked))


def said(errand: Errand) -> str:
    """What was forgotten."""
    lines = [f"- {count(errand.exchanges or 0, 'question')} with what I answered"]
    if errand.waiting:
        lines.append(f"- {count(errand.waiting, 'message')} that waited")
    if errand.snapshots:
        held = f"{count(errand.files or 0, 'file')}, {size(errand.bytes or 0)}"
        lines.append(f"- the workspace ({held}) with {count(errand.snapshots, 'backup')}")
    if errand.reminders:
        lines.append(f"- {count(errand.reminders, 'reminder')}")
    return "\n".join(["Forgotten, for good:", *lines, "", STAYS])


def _name(asked: Asked) -> str:
    return f"u{asked.update_id}"

"""The whole system for tests: the deployed template on the local cloud, with Telegram and the providers simulated."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistant.turns import texts
from local.cloud import LocalCloud
from local.simulators.outside import BOT_USERNAME, Outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DAY = 86400
DEADLINE_S = 60.0


@dataclass
class System:
    """A running system. Chats are handed out by `chat`, so that tests share one without meeting."""

    cloud: LocalCloud
    outside: Outside
    deadline_s: float = DEADLINE_S
    _chats: Iterator[int] = field(default_factory=lambda: itertools.count(5001))

    def chat(self) -> int:
        """A new chat that is allowed, on a new day: every budget is whole."""
        chat = next(self._chats)
        self.outside.clear()
        self.cloud.faults.clear()
        self.cloud.clock.advance(DAY)
        self.allow(chat)
        self.settle()
        return chat

    def allow(self, chat: int) -> None:
        item = {"pk": {"S": "ALLOWED"}, "sk": {"S": str(chat)}}
        self.cloud.client("dynamodb").put_item(TableName=self.cloud.resources["RuntimeTable"], Item=item)

    def post(self, update: dict[str, Any]) -> int:
        """Send an update; what the webhook answers is carried out. Gives the status."""
        status, call = self.cloud.post_update(update)
        if status == 200:
            self.outside.telegram.perform(call)
        return status

    def insist(self, update: dict[str, Any]) -> None:
        """Send an update until it is taken, as Telegram does."""
        statuses = [self.post(update)]
        while statuses[-1] != 200:
            assert len(statuses) < 5, f"the webhook never took it: {statuses}"
            statuses.append(self.post(update))

    def say(self, chat: int, text: str) -> None:
        self.insist(self.outside.updates.text(chat, text))

    def settle(self) -> None:
        self.cloud.wait_until_quiet(self.deadline_s)

    def sweep(self) -> None:
        """Let six minutes pass."""
        self.cloud.clock.advance(360)
        self.settle()

    def until(self, ready: Callable[[], bool]) -> None:
        """Poll to a deadline."""
        deadline = time.monotonic() + self.deadline_s
        while not ready():
            assert time.monotonic() < deadline, f"it did not happen in time; the tasks say:\n{self.task_logs()}"
            time.sleep(0.01)

    def task_logs(self) -> str:
        """The last lines of every task."""
        tasks = self.cloud.fargate
        return "\n".join(line for task in tasks.tasks for line in tasks.logs(task["taskArn"])[-30:])

    def heard(self, chat: int) -> list[str]:
        """What the chat was sent, notices apart."""
        return [sent.text for sent in self.outside.telegram.sent_to(chat) if sent.text != texts.MAY_BE_MISSING]

    def notices(self, chat: int) -> int:
        """How often the chat was told that a part may be missing."""
        return len(self.outside.telegram.sent_to(chat)) - len(self.heard(chat))

    def items(self, chat: int) -> dict[str, dict[str, Any]]:
        """Every item of the chat, by sort key."""
        found = self.cloud.client("dynamodb").query(
            TableName=self.cloud.resources["ConversationsTable"],
            KeyConditionExpression="pk = :chat",
            ExpressionAttributeValues={":chat": {"S": str(chat)}},
        )
        return {item["sk"]["S"]: item for item in found["Items"]}

    @property
    def all_killed(self) -> bool:
        """Whether every ordered death has happened."""
        return not self.cloud.faults._points

    def at_rest(self, chat: int) -> bool:
        """Whether nothing is left to do for the chat."""
        items = self.items(chat)
        return not {"claimed_at", "due_at", "open_turn"} & items["CHAT"].keys() and not any(
            key.startswith("CHAT#INBOX#") for key in items
        )


@contextlib.contextmanager
def a_system(
    parameters: Mapping[str, str] | None = None, *, time_scale: float = 0.02, **options: Any
) -> Iterator[System]:
    """A system whose waits and retries take a fiftieth of their time, or that part of it."""
    given = {"BotUsername": BOT_USERNAME, **(parameters or {})}
    # Noon, so that a day's limits do not change in the middle of a test.
    cloud = LocalCloud(parameters=given, start=1_795_348_800, time_scale=time_scale, **options)
    outside = Outside(cloud.clock)
    cloud.secrets |= outside.secrets
    for prefix, simulator in outside.mounts.items():
        cloud.mount(prefix, simulator)
    try:
        with cloud:
            yield System(cloud, outside)
    finally:
        outside.close()

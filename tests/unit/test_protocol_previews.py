"""The random walk of test_protocol_stateful.py in groups, where an answer is seen growing and delivered by an edit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from assistant.errors import DeliveryDelayed, DeliveryFailed, DeliveryRefused
from local.small_dynamodb import SmallDynamoDb
from tests.unit.test_protocol_stateful import ACTIONS, Killed, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.turns.accepting import Incoming
    from assistant.turns.model import Preview, Show

SEEDS = (*range(4), 13, 41, 50)
"""The last three broke what this file was written against: two functions, one taken for dead, that each sent one."""

GROWING, BROKEN_OFF = "what there is of an answer", "…"


class GroupWalk(Walk):
    """A walk in which what is seen of an answer is a message that somebody may delete."""

    def __init__(self, seed: int, client: Any) -> None:
        super().__init__(seed, client)
        self.messages: dict[int, tuple[str, str]] = {}
        self.orphans: set[int] = set()
        self.next_id = 1
        self.refused = 0
        messenger: Any = self.world.messenger
        messenger.composing, messenger.revise, messenger.withdraw = self.composing, self.revise, self.withdraw
        incoming = self.world.incoming

        def in_group(*args: Any, **changes: Any) -> Incoming:
            return incoming(*args, **changes, group=True)

        self.world.incoming = in_group  # type: ignore[method-assign]

    @contextlib.contextmanager
    def composing(
        self, chat_id: str, thread_id: int | None, preview: Preview, wanted: Callable[[], bool]
    ) -> Iterator[Show]:
        self.gate()
        message_id = preview.message_id
        if self.random.randrange(3):
            message_id = self.grow(chat_id, preview)
        try:
            yield lambda text: None
        except Killed:
            raise
        except BaseException:
            if message_id in self.messages and preview.shown(message_id):
                self.messages[message_id] = (chat_id, BROKEN_OFF)
            raise

    def grow(self, chat_id: str, preview: Preview) -> int | None:
        message_id = preview.message_id
        if message_id is not None:
            if preview.shown(message_id) and message_id in self.messages:
                self.messages[message_id] = (chat_id, GROWING)
            return message_id
        message_id, self.next_id = self.next_id, self.next_id + 1
        self.messages[message_id] = (chat_id, GROWING)
        self.orphans.add(message_id)  # if this is where it dies
        self.gate()
        noted = preview.shown(message_id)
        self.orphans.discard(message_id)
        if not noted:
            del self.messages[message_id]
            return None
        return message_id

    def revise(self, chat_id: str, message_id: int, text: str) -> bool:
        self.gate()
        fate = 9 if self.calm else self.random.randrange(20)
        if fate == 0:
            raise DeliveryDelayed(self.random.choice([1, 30, 4000]))
        if fate == 1:
            raise DeliveryFailed("not reached")
        if fate == 2:
            self.refused += 1
            raise DeliveryRefused("kicked")
        if fate == 3:
            self.messages.pop(message_id, None)
        if message_id not in self.messages:
            return False
        if self.messages[message_id] != (chat_id, text):
            self.messages[message_id] = (chat_id, text)
            self.sent.append((chat_id, text))
        if fate == 4:
            raise DeliveryFailed("changed, not answered")
        self.gate()
        return True

    def withdraw(self, chat_id: str, message_id: int) -> None:
        self.gate()
        if not self.calm and self.random.randrange(4) == 0:
            raise DeliveryFailed("not reached")
        self.messages.pop(message_id, None)

    def check(self) -> None:
        super().check()
        unfinished = [text for _, text in self.messages.values() if text in (GROWING, BROKEN_OFF)]
        # Nobody knows of a message whose sender died over it, and a chat that has refused us can't be shown anything.
        assert len(unfinished) <= len(self.orphans) + self.refused


@pytest.fixture
def client() -> SmallDynamoDb:
    return SmallDynamoDb()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_seen_growing_becomes_the_answer_and_nothing_is_said_twice(seed: int, client: Any) -> None:
    walk = GroupWalk(seed, client)
    for _ in range(ACTIONS):
        walk.act()
    walk.settle()

    walk.check()

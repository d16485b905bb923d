"""The stack's logs, from CloudWatch."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `at` in epoch milliseconds; `fields` is empty where it is no JSON object."""

    at: int
    group: str
    text: str
    fields: Mapping[str, Any]


def pattern(chat: str | None, turn: int | None, words: str | None) -> str:
    """CloudWatch's filter pattern for lines of a chat, of a turn, whose message holds words.

    Source: CloudWatch Logs user guide, "Filter pattern syntax", JSON patterns.
    """
    conditions = [
        *([f'($.chat_id = "{chat}")'] if chat else []),
        *([f"($.turn = {turn})"] if turn is not None else []),
        *([f'($.message = "*{words}*")'] if words else []),
    ]
    return f"{{ {' && '.join(conditions)} }}" if conditions else ""


@dataclass(slots=True)
class Logs:
    """The lines of some log groups, each given once.

    Attributes:
        groups: what to call each log group, by its name.
    """

    client: Callable[[], Any]
    groups: Mapping[str, str]
    _seen: set[str] = field(default_factory=set, repr=False)

    def since(self, start_ms: int, wanted: str) -> list[Line]:
        """Lines from that moment on that were not given yet, oldest first."""
        found = [line for group in self.groups for line in self._of(group, start_ms, wanted)]
        return sorted(found, key=lambda line: line.at)

    def _of(self, group: str, start_ms: int, wanted: str) -> Iterator[Line]:
        asked = {"logGroupName": group, "startTime": start_ms, **({"filterPattern": wanted} if wanted else {})}
        pages = self.client().get_paginator("filter_log_events").paginate(**asked)
        try:
            for page in pages:
                yield from self._new(page["events"], self.groups[group])
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":  # a group that nothing was written to yet
                raise

    def _new(self, events: Sequence[Mapping[str, Any]], group: str) -> Iterator[Line]:
        for event in events:
            if event["eventId"] not in self._seen:
                self._seen.add(event["eventId"])
                text = str(event["message"]).rstrip()
                yield Line(int(event["timestamp"]), group, text, _fields(text))


def follow(logs: Logs, start_ms: int, wanted: str, pause: Callable[[], bool]) -> Iterator[Line]:
    """Lines as they come.

    Args:
        logs: which.
        start_ms: from when on.
        wanted: see `pattern`.
        pause: waits a little; False ends it.
    """
    recent: deque[int] = deque([start_ms], maxlen=1)
    while True:
        for line in logs.since(recent[0], wanted):
            recent.append(max(recent[0], line.at - _LATE_MS))
            yield line
        if not pause():
            return


_LATE_MS = 10_000
"""Lines may come so late into CloudWatch."""


def _fields(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}

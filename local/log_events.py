"""CloudWatch Logs as far as one reads the functions' lines: FilterLogEvents over what they wrote.

Filter patterns: none, or JSON patterns that join `$.name = "text"` (with `*`) and `$.name = number` by `&&`; any other
is refused. Source: CloudWatch Logs user guide, "Filter pattern syntax".
"""

import fnmatch
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Response

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.server import WsgiApp

_CONDITION = re.compile(r'\(?\s*\$\.(\w+)\s*=\s*(?:"([^"]*)"|(-?\d+))\s*\)?')
_MOST = 10_000
"""Events of one answer."""


@dataclass(frozen=True)
class LogEvents:
    """Answers FilterLogEvents.

    Attributes:
        lines: gives the lines of a log group, in order; None if there is no such group.
    """

    lines: Callable[[str], Iterable[str] | None]

    def answer(self, request: AwsRequest) -> WsgiApp:
        """Answer one request."""
        asked = request.parameters
        lines = self.lines(asked["logGroupName"])
        if lines is None:
            return aws_error("logs", "ResourceNotFoundException", "The specified log group does not exist.")
        try:
            conditions = list(_conditions(asked.get("filterPattern", "")))
        except ValueError as error:
            return aws_error("logs", "InvalidParameterException", str(error))
        start = int(asked.get("startTime", 0))
        events = [
            event
            for event in _events(asked["logGroupName"], lines)
            if event["timestamp"] >= start and _matches(event["message"], conditions)
        ]
        body = json.dumps({"events": events[:_MOST], "searchedLogStreams": []})
        response: WsgiApp = Response(body, 200, content_type="application/x-amz-json-1.1")
        return response


def _events(group: str, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The lines with their moments: a line that names none has that of the one before it."""
    at = int(time.time() * 1000)
    dated = [(line, _timestamp(line)) for line in lines]
    at = next((moment for _, moment in dated if moment is not None), at)
    for place, (line, moment) in enumerate(dated):
        at = at if moment is None else moment
        yield {
            "eventId": f"{group}-{place}",
            "timestamp": at,
            "ingestionTime": at,
            "message": line,
            "logStreamName": "",
        }


def _timestamp(line: str) -> int | None:
    match = re.search(r'"timestamp":\s*"([^"]+)"', line)
    if match is None:
        return None
    try:
        return int(datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f%z").timestamp() * 1000)
    except ValueError:
        return None


def _conditions(pattern: str) -> Iterator[tuple[str, str]]:
    body = pattern.strip()
    if not body:
        return
    if not (body.startswith("{") and body.endswith("}")):
        raise ValueError(f"the local cloud does not know the filter pattern {pattern}")
    for part in body[1:-1].split("&&"):
        match = _CONDITION.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"the local cloud does not know {part.strip()} in a filter pattern")
        yield match[1], match[2] if match[2] is not None else match[3]


def _matches(line: str, conditions: list[tuple[str, str]]) -> bool:
    if not conditions:
        return True
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return isinstance(fields, dict) and all(
        name in fields and fnmatch.fnmatchcase(str(fields[name]), wanted) for name, wanted in conditions
    )

"""EventBridge's default bus: schedules by the virtual clock, and events matched against rules' patterns."""

import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from local.clock import VirtualClock
from local.schedule import parse
from local.template import ACCOUNT, REGION

_MILLISECONDS = 1000


class PatternError(ValueError):
    """A pattern uses an operator that the local cloud does not know."""


@dataclass
class Rule:
    """A rule with a schedule or a pattern, and the functions it sends to.

    Attributes:
        name: physical name.
        arn: its ARN.
        targets: pairs of function ARN and constant input (None: the event itself).
        next_after: of a scheduled rule: when it fires after a moment.
        pattern: of a rule on events.
        next_at: when a scheduled rule fires next, epoch seconds of virtual time.
        fire: of a timer: called with the moment instead of sending an event.
    """

    name: str
    arn: str
    targets: list[tuple[str, Any]] = field(default_factory=list)
    next_after: Callable[[float], float] | None = None
    pattern: Mapping[str, Any] | None = None
    next_at: float = float("inf")
    fire: Callable[[float], None] | None = None


class EventBus:
    """Sends events to functions.

    Args:
        clock: virtual time.
        invoke_async: queues an event for a function's ARN.
    """

    def __init__(self, clock: VirtualClock, invoke_async: Callable[[str, Any], None]) -> None:
        self._clock = clock
        self._invoke_async = invoke_async
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Let schedules fire from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the schedules."""
        self._stopping = True
        self._clock.wake()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def rules(self) -> list[Rule]:
        """The rules there are."""
        with self._lock:
            return list(self._rules)

    def add_schedule(self, name: str, expression: str, targets: list[tuple[str, Any]]) -> Rule:
        """Add a rule that fires by the clock.

        Raises:
            ScheduleError: the expression can't be read.
        """
        now = self._clock.now()
        schedule = parse(expression, now)
        rule = Rule(name, _rule_arn(name), targets, next_after=schedule.next_after, next_at=schedule.next_after(now))
        self._add(rule)
        return rule

    def add_pattern(self, name: str, pattern: Mapping[str, Any], targets: list[tuple[str, Any]]) -> Rule:
        """Add a rule on events.

        Raises:
            PatternError: the pattern has an operator that is not known.
        """
        matches(pattern, {})
        rule = Rule(name, _rule_arn(name), targets, pattern=pattern)
        self._add(rule)
        return rule

    def set_timer(self, arn: str, next_after: Callable[[float], float], fire: Callable[[float], None]) -> None:
        """Call `fire` with each moment that `next_after` gives from now on; a timer that there is already stays."""
        with self._lock:
            if any(rule.arn == arn for rule in self._rules):
                return
        now = self._clock.now()
        self._add(Rule(arn, arn, next_after=next_after, next_at=next_after(now - 1), fire=fire))

    def keep_timers(self, arns: set[str]) -> None:
        """Forget every timer but these."""
        with self._lock:
            self._rules = [rule for rule in self._rules if rule.fire is None or rule.arn in arns]

    def remove(self, name: str) -> None:
        """Forget the rule or schedule of that name."""
        with self._lock:
            self._rules = [rule for rule in self._rules if rule.name != name]

    def due(self) -> bool:
        """Whether a schedule's time has come and it has not fired yet."""
        now = self._clock.now()
        with self._lock:
            return any(rule.next_at <= now for rule in self._rules)

    def put(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: list[str]) -> None:
        """Send an event to every rule whose pattern it matches."""
        event = self._event(source, detail_type, detail, resources)
        for rule in self.rules:
            if rule.pattern is not None and matches(rule.pattern, event):
                self._send(rule, event)

    def execution_changed(self, execution: Any) -> None:  # noqa: ANN401 (moto's Execution, not typed)
        """Tell of an execution's new status, as Step Functions does.

        https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
        """
        stopped = execution.stop_date
        succeeded = execution.exec_status == "SUCCEEDED"
        included = {"included": True}
        detail = {
            "executionArn": execution.exec_arn,
            "stateMachineArn": execution.state_machine_arn,
            "name": execution.name,
            "status": str(getattr(execution.exec_status, "value", execution.exec_status)),
            "startDate": int(execution.start_date.timestamp() * _MILLISECONDS),
            "stopDate": int(stopped.timestamp() * _MILLISECONDS) if stopped else None,
            "input": execution.execution_input,
            "output": json.dumps(execution.output) if succeeded else None,
            "inputDetails": included,
            "outputDetails": included if succeeded else None,
            "stateMachineVersionArn": None,
            "stateMachineAliasArn": None,
            "redriveCount": 0,
            "redriveDate": None,
            "redriveStatus": "NOT_REDRIVABLE",
            "redriveStatusReason": None,
            "error": getattr(execution, "error", None),
            "cause": getattr(execution, "cause", None),
        }
        self.put("aws.states", "Step Functions Execution Status Change", detail, [execution.exec_arn])

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)
        self._clock.wake()

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                upcoming = min((rule.next_at for rule in self._rules), default=float("inf"))
            if self._clock.wait_until(upcoming, stop=partial(self._outdated, upcoming)):
                self._fire()

    def _outdated(self, upcoming: float) -> bool:
        """Whether waiting for this moment is no longer right: a newer rule fires sooner, or all is over."""
        with self._lock:
            return self._stopping or any(rule.next_at < upcoming for rule in self._rules)

    def _fire(self) -> None:
        """Fire what is due. A jump over several periods fires a rule once, as a late start would."""
        now = self._clock.now()
        for rule in self.rules:
            if rule.next_after is None or rule.next_at > now:
                continue
            if rule.fire is not None:
                rule.fire(rule.next_at)
            else:
                self._send(rule, self._event("aws.events", "Scheduled Event", {}, [rule.arn]))
            # Only now, so that `due` stays true until the invocation is pending.
            with self._lock:
                rule.next_at = rule.next_after(now)

    def _send(self, rule: Rule, event: Mapping[str, Any]) -> None:
        for function, constant in rule.targets:
            self._invoke_async(function, event if constant is None else constant)

    def _event(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: list[str]) -> dict[str, Any]:
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT,
            "time": dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": resources,
            "detail": detail,
        }


def _rule_arn(name: str) -> str:
    return f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an event matches a pattern.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-content-based-filtering.html

    Raises:
        PatternError: the pattern has an operator that is not known.
    """
    results = []
    for key, wanted in pattern.items():
        value = event.get(key)
        if isinstance(wanted, Mapping):
            results.append(matches(wanted, value if isinstance(value, Mapping) else {}))
        else:
            values = value if isinstance(value, list) else [value]
            # Every alternative is looked at, so that an unknown operator is found whatever the event.
            accepted = [_accepts(one, values, present=key in event) for one in wanted]
            results.append(any(accepted))
    return all(results)


def _accepts(wanted: Any, values: list[Any], *, present: bool) -> bool:  # noqa: ANN401
    if not isinstance(wanted, Mapping):
        return present and wanted in values
    if len(wanted) != 1:
        raise PatternError(f"one operator at a time: {wanted}")
    operator, operand = next(iter(wanted.items()))
    if operator == "exists":
        return present is bool(operand)
    if operator not in _OPERATORS:
        raise PatternError(f"{operator} is not known to the local cloud")
    return present and any(_OPERATORS[operator](value, operand) for value in values)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "prefix": lambda value, operand: isinstance(value, str) and value.startswith(operand),
    "suffix": lambda value, operand: isinstance(value, str) and value.endswith(operand),
    "anything-but": lambda value, operand: value not in (operand if isinstance(operand, list) else [operand]),
    "equals-ignore-case": lambda value, operand: isinstance(value, str) and value.lower() == operand.lower(),
}

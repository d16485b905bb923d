"""What happened in the state machine: executions read from moto's own records."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from local.template import ACCOUNT, REGION


@dataclass(frozen=True)
class Execution:
    """One execution of a state machine.

    Attributes:
        name: its name.
        arn: its ARN.
        status: `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `ABORTED`.
        input: JSON text.
        output: the result of one that succeeded.
        error: error name of one that failed.
        cause: its cause.
        states: names of the states entered, in order.
        retries: attempts after the first of any state.
        started_at: virtual time, epoch seconds.
        stopped_at: virtual time of its end.
    """

    name: str
    arn: str
    status: str
    input: str
    output: Any
    error: str | None
    cause: str | None
    states: tuple[str, ...]
    retries: int
    started_at: float
    stopped_at: float | None

    @property
    def transitions(self) -> int:
        """State transitions as AWS bills them: into each state, out of the last one, and each retry.

        https://aws.amazon.com/step-functions/pricing/
        """
        return len(self.states) + 1 + self.retries


def all_executions() -> list[Execution]:
    """Every execution there was, in the order of their start."""
    return [_read(execution) for execution in _raw()]


def running() -> int:
    """How many executions have not ended."""
    return sum(1 for execution in _raw() if _status(execution) == "RUNNING")


def count() -> int:
    """How many executions were ever started."""
    return sum(1 for _ in _raw())


def _raw() -> Iterator[Any]:
    for state_machine in list(stepfunctions_parser_backends[ACCOUNT][REGION].state_machines):
        yield from list(state_machine.executions)


def _status(execution: Any) -> str:  # noqa: ANN401 (moto is not typed for us)
    """The status; moto has none for an instant between making an execution and starting it."""
    return "RUNNING" if execution.exec_status is None else str(execution.status)


def _read(execution: Any) -> Execution:  # noqa: ANN401 (moto is not typed for us)
    worker = execution.exec_worker
    history = list(worker.env.event_manager.get_event_history()) if worker and worker.env else []
    states = []
    retries = 0
    scheduled_in_state = 0
    for event in history:
        if "stateEnteredEventDetails" in event:
            states.append(event["stateEnteredEventDetails"]["name"])
            scheduled_in_state = 0
        elif event["type"] == "TaskScheduled":
            retries += scheduled_in_state > 0
            scheduled_in_state += 1
    return Execution(
        name=execution.name,
        arn=execution.exec_arn,
        status=_status(execution),
        input=execution.execution_input,
        output=execution.output,
        error=execution.error,
        cause=execution.cause,
        states=tuple(states),
        retries=retries,
        started_at=execution.start_date.timestamp(),
        stopped_at=execution.stop_date.timestamp() if execution.stop_date else None,
    )

"""EventBridge Scheduler: moto keeps the schedules, the virtual clock fires them, each under its own role.

Not as in AWS: what can't be delivered is not tried again for a day, but goes to the dead-letter queue at once; and a
jump of the clock over several times of a schedule fires it once.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.iam.models import iam_backends
from moto.scheduler.models import Schedule, scheduler_backends

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.clock import VirtualClock
from local.events import EventBus
from local.role_client import as_role, send_to_queue
from local.schedule import ScheduleError, parse_schedule
from local.server import Environ, StartResponse, WsgiApp
from local.template import ACCOUNT, REGION

_CHANGES = {"CreateSchedule", "DeleteSchedule"}
_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


class Scheduler:
    """Answers Scheduler's API, and fires what it holds.

    Args:
        clock: virtual time.
        bus: by whose timers the schedules fire.
        assume_role: credentials of a schedule's role.
        endpoint: where AWS is.
    """

    def __init__(
        self, clock: VirtualClock, bus: EventBus, assume_role: Callable[[str], Mapping[str, Any]], endpoint: str
    ) -> None:
        self._clock = clock
        self._bus = bus
        self._assume_role = assume_role
        self._endpoint = endpoint

    def answer(self, request: AwsRequest, in_moto: WsgiApp) -> WsgiApp:
        """Answer a call: refuse what AWS refuses and moto does not, let moto do the rest, then set the timers."""
        if request.operation == "CreateSchedule":
            refusal = self._refusal(request.parameters)
            if refusal is not None:
                return aws_error("scheduler", "ValidationException", refusal)
        if request.operation not in _CHANGES:
            return in_moto

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            answer = list(in_moto(environ, start_response))
            self._set_timers()
            return answer

        return app

    def _refusal(self, parameters: Mapping[str, Any]) -> str | None:
        """Why a schedule can't be made.

        https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
        """
        try:
            self._next_times(
                parameters.get("ScheduleExpression", ""),
                parameters.get("ScheduleExpressionTimezone"),
                parameters.get("StartDate"),
            )
        except ScheduleError as error:
            return f"Invalid Schedule Expression {error}."
        if not _trusts_scheduler(parameters.get("Target", {}).get("RoleArn")):
            return "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        return None

    def _next_times(self, expression: str, zone: str | None, start: float | None) -> Callable[[float], float]:
        return parse_schedule(expression, zone or "UTC", start if start is not None else self._clock.now()).next_after

    def _set_timers(self) -> None:
        """Give each schedule a timer of the bus, and take away those of schedules that are gone."""
        there = {schedule.arn: schedule for schedule in _schedules()}
        self._bus.keep_timers(set(there))
        for arn, schedule in there.items():
            following = self._next_times(
                schedule.schedule_expression, schedule.schedule_expression_timezone, schedule.start_date
            )
            self._bus.set_timer(arn, following, partial(self._fire, schedule, following))

    def _fire(self, schedule: Schedule, following: Callable[[float], float], moment: float) -> None:
        target = schedule.target
        scheduled = f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
        payload = str(target.get("Input", "{}")).replace(_SCHEDULED_TIME, scheduled)
        credentials = self._assume_role(target["RoleArn"])
        try:
            function = as_role("lambda", self._endpoint, credentials)
            function.invoke(FunctionName=target["Arn"], InvocationType="Event", Payload=payload.encode())
        except (BotoCoreError, ClientError) as error:
            self._give_up(target, payload, error, credentials)
        if schedule.action_after_completion == "DELETE" and following(moment) == float("inf"):
            group = scheduler_backends[ACCOUNT][REGION].schedule_groups[schedule.group_name]
            group.schedules.pop(schedule.name, None)
            self._bus.keep_timers({other.arn for other in _schedules()})

    def _give_up(
        self, target: Mapping[str, Any], payload: str, error: Exception, credentials: Mapping[str, Any]
    ) -> None:
        """Send the event to the dead-letter queue, with what was wrong beside it.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
        """
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        if queue is None:
            return
        about = {"ERROR_CODE": type(error).__name__, "ERROR_MESSAGE": str(error), "TARGET_ARN": target["Arn"]}
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in about.items()}
        body = json.dumps(json.loads(payload))
        send_to_queue(queue, body, self._endpoint, credentials, MessageAttributes=attributes)


def _trusts_scheduler(role_arn: str | None) -> bool:
    for role in iam_backends[ACCOUNT]["aws"].roles.values():
        if role.arn == role_arn:
            return "scheduler.amazonaws.com" in str(role.assume_role_policy_document)
    return False


def _schedules() -> Iterator[Schedule]:
    for group in list(scheduler_backends[ACCOUNT][REGION].schedule_groups.values()):
        yield from list(group.schedules.values())

"""Every correction of moto 5.2.5, applied at run time and taken back; no file of moto is edited.

Each patch below is one entry of `PATCHES` and has a test that fails without it. Two kinds: behaviour that
differs from AWS (the documentation is cited), and cost that grows with what is stored.
"""

import copy
import datetime as dt
import functools
import logging
import sys
import threading
import types
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import moto.core.models as moto_models
import moto.dynamodb.models as dynamodb_models
import moto.stepfunctions.parser.asl.component.state.state as asl_state
import moto.stepfunctions.parser.asl.component.state.wait.wait_function.timestamp as wait_timestamp
import moto.stepfunctions.parser.backend.execution as sfn_execution
import moto.stepfunctions.parser.models as sfn_models
from botocore.config import Config
from moto.core.config import default_user_config
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component import eval_component
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec import execute_state
from moto.stepfunctions.parser.asl.component.state.wait.wait_function import wait_function
from moto.stepfunctions.parser.asl.eval.callback import callback as sfn_callback
from moto.stepfunctions.parser.asl.eval.event import event_manager
from moto.stepfunctions.parser.asl.parse import asl_parser
from moto.stepfunctions.parser.asl.utils import boto_client

from local.clock import VirtualClock

_LOG = logging.getLogger("moto.stepfunctions")
_INDEX_POSITION = 6
"""Where `Table.query` has its `index_name`, after the hash key."""
_ENGINE_POOL = 256
_TASK_READ_TIMEOUT_S = 3600
"""Longer than any function may run: a state's own timeout is what ends a wait."""


@dataclass
class Engine:
    """moto's Step Functions interpreter and DynamoDB, corrected while between `start` and `stop`.

    Attributes:
        clock: virtual time of waits, timestamps and retries.
        endpoint: where tasks call AWS, `http://127.0.0.1:PORT`.
        assume_role: returns credentials of a role for the engine's own calls (`AccessKeyId`, …).
        time_scale: real seconds that a virtual second of Wait or retry back-off takes; below 1 the clock is
            moved on to the end of each wait, so that everybody agrees how late it is.
        on_status: told of every execution that starts or ends.
        without: names of patches to leave out (for their tests).
    """

    clock: VirtualClock
    endpoint: str
    assume_role: Callable[[str], dict[str, Any]]
    time_scale: float = 1.0
    on_status: Callable[[Any], object] = vars
    without: Collection[str] = ()
    _undo: list[Callable[[], None]] = field(default_factory=list)
    stopping: bool = False
    ending: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Apply the patches and let executions run."""
        unknown = set(self.without) - PATCHES.keys()
        if unknown:
            raise ValueError(f"no such patch: {', '.join(sorted(unknown))}")
        default_user_config["stepfunctions"]["execute_state_machine"] = True
        # It logs every failed state with the whole definition; executions and their events say it better.
        _LOG.setLevel(logging.CRITICAL)
        for name, patch in PATCHES.items():
            if name not in self.without:
                for owner, attribute, replacement in patch(self):
                    self._replace(owner, attribute, replacement)

    def stop(self) -> None:
        """Take every patch back and end the waits of executions that still run."""
        self.stopping = True
        self.clock.wake()
        while self._undo:
            self._undo.pop()()
        default_user_config["stepfunctions"]["execute_state_machine"] = False
        _LOG.setLevel(logging.NOTSET)

    def pause(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let `seconds` of virtual time pass: the clock is moved, or the scaled real time goes by.

        Args:
            seconds: virtual seconds.
            until: ends the pause early when it turns true; asked often.
        """
        end = self.clock.now() + seconds

        def over() -> bool:
            return self.stopping or (until is not None and until())

        if not self.clock.wait_until(end, real_limit_s=seconds * self.time_scale, stop=over) and not over():
            self.clock.jump_to(end)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Counts while a status is new and not told yet: somebody may ask whether all is quiet."""
        with self._lock:
            self.ending += 1
        try:
            yield
        finally:
            with self._lock:
                self.ending -= 1

    def _replace(self, owner: Any, attribute: str, replacement: Any) -> None:  # noqa: ANN401
        original = owner.__dict__[attribute]
        self._undo.append(functools.partial(setattr, owner, attribute, original))
        setattr(owner, attribute, replacement)


type Replacements = Iterator[tuple[Any, str, Any]]


def _role_clients(engine: Engine) -> Replacements:
    """Tasks call AWS with the state machine's role, over clients that are kept.

    moto builds a client per task (30 to 60 ms, and not thread-safe) with credentials that belong to nobody.
    https://docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html
    """
    original = boto_client.boto_client_for
    lock = threading.Lock()
    clients: dict[tuple[str, str | None], Any] = {}

    def boto_client_for(region: str, service: str, state_credentials: Any = None) -> Any:  # noqa: ANN401
        role = getattr(state_credentials, "role_arn", None)
        with lock:
            if (service, role) not in clients:
                clients[service, role] = _client(engine, region, service, role)
            return clients[service, role]

    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("boto_client_for") is original:
            yield module, "boto_client_for", boto_client_for


def _client(engine: Engine, region: str, service: str, role: str | None) -> Any:  # noqa: ANN401
    credentials = engine.assume_role(role) if role else {"AccessKeyId": "unknown", "SecretAccessKey": "unknown"}
    return boto3.client(  # type: ignore[call-overload]  # the service is the state's own
        service,
        region_name=region,
        endpoint_url=engine.endpoint,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
        config=Config(
            parameter_validation=False,
            retries={"total_max_attempts": 1},
            read_timeout=_TASK_READ_TIMEOUT_S,
            max_pool_connections=_ENGINE_POOL,
        ),
    )


def _parsed_definitions(_: Engine) -> Replacements:
    """A definition is parsed once, not once per execution (ANTLR in Python: 20 to 200 ms each)."""
    original = asl_parser.AmazonStateLanguageParser.parse
    lock = threading.Lock()
    parsed: dict[str, Any] = {}

    def parse(definition: str) -> Any:  # noqa: ANN401
        with lock:
            if definition not in parsed:
                parsed[definition] = original(definition)
            return parsed[definition]

    yield asl_parser.AmazonStateLanguageParser, "parse", staticmethod(parse)
    # A component's key into an execution's memory is made on first use, which two executions that share the
    # component may reach together; its identity is as unique while it is kept here.
    yield eval_component.EvalComponent, "heap_key", property(lambda component: str(id(component)))


def _virtual_waits(engine: Engine) -> Replacements:
    """Retry back-off and Wait states pass by the virtual clock; an absolute moment is UTC, not local time."""

    def wait_interval(self: Any, env: Any, wait_seconds: float) -> None:  # noqa: ANN401, ARG001
        if wait_seconds > 0:
            engine.pause(wait_seconds, until=lambda: not env.is_running())

    yield retrier_decl, "time", types.SimpleNamespace(sleep=engine.pause)
    yield wait_function.WaitFunction, "_wait_interval", wait_interval
    yield wait_timestamp, "datetime", _virtual_datetime(engine.clock, naive=True)


def _virtual_timestamps(engine: Engine) -> Replacements:
    """Start, stop, entry and event times are the virtual clock's: functions compare them with theirs."""
    virtual = _virtual_datetime(engine.clock)
    for module in (sfn_models, sfn_execution, asl_state, event_manager):
        yield module, "datetime", virtual


def _virtual_datetime(clock: VirtualClock, *, naive: bool = False) -> Any:  # noqa: ANN401
    """A stand-in for the module `datetime` whose `datetime.now` is the clock's."""

    class VirtualDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:  # noqa: ANN401
            moment = dt.datetime.fromtimestamp(clock.now(), tz or dt.UTC)
            return moment.replace(tzinfo=None) if naive else moment

    return types.SimpleNamespace(datetime=VirtualDatetime, timezone=dt.timezone)


def _started_once(_: Engine) -> Replacements:
    """Two StartExecution calls of one name at once give one execution, and one without a name gets one.

    moto looks for the name and adds the execution without a lock, and leaves a missing name empty.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    """
    original = sfn_models.StepFunctionsParserBackend.start_execution
    lock = threading.Lock()

    def start_execution(
        self: Any,  # noqa: ANN401
        state_machine_arn: str,
        name: str | None = None,
        *rest: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        with lock:
            return original(self, state_machine_arn, name or str(uuid.uuid4()), *rest, **named)

    yield sfn_models.StepFunctionsParserBackend, "start_execution", start_execution


def _stopped_at_once(engine: Engine) -> Replacements:
    """StopExecution aborts now; moto lets the running task end first, whose error then becomes the outcome.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
    """
    original_stop = sfn_execution.Execution.stop
    worker = sfn_execution.BaseExecutionWorkerCommunication
    original_reflect = worker._reflect_execution_status  # noqa: SLF001

    def stop(self: Any, stop_date: Any, error: str | None, cause: str | None) -> None:  # noqa: ANN401
        original_stop(self, stop_date=stop_date, error=error, cause=cause)
        self.stop_date = dt.datetime.fromtimestamp(engine.clock.now(), dt.UTC)
        self.error, self.cause = error or None, cause or None
        self.exec_status = ExecutionStatus.ABORTED

    def reflect(self: Any) -> None:  # noqa: ANN401
        if self.execution.exec_status != ExecutionStatus.ABORTED:
            original_reflect(self)

    yield sfn_execution.Execution, "stop", stop
    yield worker, "_reflect_execution_status", reflect


def _early_answers(_: Engine) -> Replacements:
    """An answer to a task token counts from the moment the token is known.

    moto forgets to look for one that came before it began to wait for heartbeats, and waits for the next heartbeat.
    """
    original = sfn_callback.CallbackEndpoint.setup_heartbeat_endpoint

    def setup_heartbeat_endpoint(self: Any, heartbeat_seconds: int) -> Any:  # noqa: ANN401
        endpoint = original(self, heartbeat_seconds)
        if self.get_outcome() is not None:
            endpoint.notify()
        return endpoint

    yield sfn_callback.CallbackEndpoint, "setup_heartbeat_endpoint", setup_heartbeat_endpoint


def _fresh_tokens(_: Engine) -> Replacements:
    """Each attempt of a state waits with a task token of its own.

    moto makes one when the state is entered; a retry finds the answer of the attempt before it, and fails at once.
    """
    original = execute_state.ExecutionState._evaluate_with_timeout  # noqa: SLF001

    def evaluate(self: Any, env: Any) -> None:  # noqa: ANN401
        context = env.states.context_object
        if "Task" in context.context_object_data:
            env.callback_pool_manager.add(context.update_task_token())
        original(self, env)

    yield execute_state.ExecutionState, "_evaluate_with_timeout", evaluate


def _status_events(engine: Engine) -> Replacements:
    """Executions tell when they start and end, which moto keeps to itself.

    https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
    """
    original_start = sfn_execution.Execution.start
    original_stop = sfn_execution.Execution.stop
    original_terminated = sfn_execution.BaseExecutionWorkerCommunication.terminated

    def start(self: Any) -> None:  # noqa: ANN401
        engine.on_status(types.SimpleNamespace(**{**vars(self), "exec_status": "RUNNING", "stop_date": None}))
        original_start(self)

    def terminated(self: Any) -> None:  # noqa: ANN401
        with engine.telling():
            stopped = self.execution.exec_status == ExecutionStatus.ABORTED
            original_terminated(self)
            if not stopped:
                engine.on_status(self.execution)

    def stop(self: Any, **details: Any) -> None:  # noqa: ANN401
        with engine.telling():
            running = self.exec_status == ExecutionStatus.RUNNING
            original_stop(self, **details)
            if running and self.exec_status == ExecutionStatus.ABORTED:
                engine.on_status(self)

    yield sfn_execution.Execution, "start", start
    yield sfn_execution.Execution, "stop", stop
    yield sfn_execution.BaseExecutionWorkerCommunication, "terminated", terminated


def _small_transactions(_: Engine) -> Replacements:
    """A transaction copies the items it touches, not its whole tables once per item.

    moto's cost grows with the table (340 ms for three puts at 6,000 items), and its roll-back puts the copied
    table in place, which loses what others wrote meanwhile.
    """
    original = dynamodb_models.DynamoDBBackend.transact_write_items

    def deepcopy(value: Any, *rest: Any) -> Any:  # noqa: ANN401
        return value if isinstance(value, dynamodb_models.Table) else copy.deepcopy(value, *rest)

    def transact_write_items(self: Any, transact_items: list[dict[str, Any]]) -> None:  # noqa: ANN401
        before = [_touched(self, item) for item in transact_items]
        try:
            original(self, transact_items)
        except BaseException:
            for restore in before:
                restore()
            raise

    yield dynamodb_models, "copy", types.SimpleNamespace(deepcopy=deepcopy, copy=copy.copy)
    yield dynamodb_models.DynamoDBBackend, "transact_write_items", transact_write_items


def _touched(backend: Any, item: dict[str, Any]) -> Callable[[], None]:  # noqa: ANN401
    """Remember the item that one part of a transaction names, and return what puts it back."""
    operation = next(iter(item.values()))
    table = backend.tables.get(operation.get("TableName", "").rpartition("/")[2])
    key = operation.get("Key") or operation.get("Item") or {}
    if table is None or not all(name in key for name in table.table_key_attrs):
        return lambda: None  # moto refuses this part before it writes anything
    hash_key, range_key = backend.get_keys_value(table, key)
    saved = copy.deepcopy(table.get_item(hash_key, range_key))

    def restore() -> None:
        if saved is None:
            table.delete_item(hash_key, range_key)
        elif range_key is None:
            table.items[hash_key] = saved
        else:
            table.items[hash_key][range_key] = saved

    return restore


def _partition_queries(_: Engine) -> Replacements:
    """A query looks at the items of its partition; moto sorts the whole table first (90 ms at 3,000 items)."""
    original = dynamodb_models.Table.query

    def query(self: Any, hash_key: Any, *rest: Any, **named: Any) -> Any:  # noqa: ANN401
        index = named.get("index_name") or (rest[_INDEX_POSITION] if len(rest) > _INDEX_POSITION else None)
        conditions = named.get("hash_key_conditions") or []
        if index is None:
            found = _partition(self, hash_key)
        elif conditions:
            found = [item for item in _unsorted_items(self) if _has(item, conditions)]
        else:
            return original(self, hash_key, *rest, **named)
        # The front lets one request at a time into DynamoDB, so nobody else sees this.
        self.all_items = lambda: found
        try:
            return original(self, hash_key, *rest, **named)
        finally:
            del self.all_items

    yield dynamodb_models.Table, "query", query


def _partition(table: Any, hash_key: Any) -> list[Any]:  # noqa: ANN401
    found = table.items.get(hash_key)
    if found is None:
        return []
    return list(found.values()) if table.has_range_key else [found]


def _unsorted_items(table: Any) -> Iterator[Any]:  # noqa: ANN401
    for found in list(table.items.values()):
        if table.has_range_key:
            yield from found.values()
        else:
            yield found


def _has(item: Any, conditions: list[tuple[str, Any]]) -> bool:  # noqa: ANN401
    """Whether an item has the index's partition key; a cheap look before moto's own, which is exact."""
    return all(name in item.attrs and item.attrs[name].type == value.type for name, value in conditions)


def _no_mock_aws(_: Engine) -> Replacements:
    """`mock_aws` refuses to start: it would wipe the stores that the local cloud works on."""

    def start(self: Any, reset: bool = True) -> None:  # noqa: ANN401, ARG001
        raise RuntimeError("a LocalCloud runs in this process; mock_aws would wipe what it stores")

    yield moto_models.MockAWS, "start", start


PATCHES: dict[str, Callable[[Engine], Replacements]] = {
    "role_clients": _role_clients,
    "parsed_definitions": _parsed_definitions,
    "virtual_waits": _virtual_waits,
    "virtual_timestamps": _virtual_timestamps,
    "started_once": _started_once,
    "stopped_at_once": _stopped_at_once,
    "early_answers": _early_answers,
    "fresh_tokens": _fresh_tokens,
    "status_events": _status_events,
    "small_transactions": _small_transactions,
    "partition_queries": _partition_queries,
    "no_mock_aws": _no_mock_aws,
}

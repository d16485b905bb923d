"""Runs the deployed functions: environments started on demand, used again while warm, gone after a crash."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from local.clock import VirtualClock
from local.functions import Function, Invocation
from local.sandbox import EMULATOR_ALLOWANCE_S, INIT_KEY, Answer, Sandbox, link_runtime
from local.template import REGION

_FATAL = {"Runtime.ExitError", "Sandbox.Timedout"}
"""After these Lambda starts over with a fresh environment."""


class _Pool:
    """The environments of one function."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free: list[Sandbox] = []
        self.all: list[Sandbox] = []
        self.busy = 0
        self.started = 0
        self.ended_lines: list[str] = []
        self.changed = threading.Condition()


class Runtime:
    """Invokes functions, each in processes of its own.

    Args:
        clock: virtual time, for the records.
        assume_role: returns credentials of a role (`AccessKeyId`, …).
        variables: what a process gets beyond the template's variables, by function and sandbox name.
        packages: further folders at the end of the import path.
        max_environments: processes per function; further calls wait for one.
        before_event: called with the sandbox before it gets an event; may kill it.
    """

    def __init__(
        self,
        *,
        clock: VirtualClock,
        assume_role: Callable[[str], Mapping[str, Any]],
        variables: Callable[[Function, str], Mapping[str, str]],
        packages: tuple[Path, ...] = (),
        max_environments: int = 4,
        before_event: Callable[[Sandbox], object] = id,
    ) -> None:
        self.functions: dict[str, Function] = {}
        self.invocations: list[Invocation] = []
        self._clock = clock
        self._assume_role = assume_role
        self._variables = variables
        self._packages = packages
        self._max_environments = max_environments
        self._before_event = before_event
        self._pools: dict[str, _Pool] = {}
        self._by_access_key: dict[str, Sandbox] = {}
        self._by_name: dict[str, Sandbox] = {}
        self._folder = TemporaryDirectory(prefix="local-runtime-")
        self._stopping = False
        link_runtime(Path(self._folder.name))

    def add(self, function: Function) -> None:
        """Make a function known, or its new code and settings: its processes of before finish what they do."""
        changed = not function.runs_as(self.functions.get(function.name, function))
        self.functions[function.name] = function
        self._pools.setdefault(function.name, _Pool(self._max_environments))
        if changed:
            self._end_idle(function.name)

    def remove(self, name: str) -> None:
        """Forget a function. A process that works finishes what it does."""
        del self.functions[name]
        self._end_idle(name)

    def function(self, logical_id: str) -> Function:
        """The function with this logical id.

        Raises:
            KeyError: there is none.
        """
        for function in self.functions.values():
            if function.logical_id == logical_id:
                return function
        raise KeyError(f"no function {logical_id}")

    def sandbox_of(self, access_key: str) -> Sandbox | None:
        """Whose credentials these are."""
        return self._by_access_key.get(access_key)

    def sandbox_named(self, name: str) -> Sandbox | None:
        """The sandbox with this name (`DeliverReply.1`)."""
        return self._by_name.get(name)

    def invoke(self, name: str, payload: bytes) -> Answer:
        """Run one event to its end; waits while all environments of the function are busy.

        Raises:
            KeyError: there is no such function.
        """
        pool = self._pools[name]
        sandbox = self._acquire(pool, self.functions[name])
        keep = False
        try:
            answer = self._run(sandbox, payload)
            keep = answer.error_type not in _FATAL and sandbox.init_error is None
            keep = keep and sandbox.function.runs_as(self.functions.get(name))
        finally:
            self._release(pool, sandbox, keep=keep)
        return answer

    def logs(self, logical_id: str) -> list[str]:
        """The lines that a function's processes wrote, process by process."""
        pool = self._pools[self.function(logical_id).name]
        with pool.changed:
            living = list(pool.all)
            lines = list(pool.ended_lines)
        return lines + [line for sandbox in living for line in sandbox.lines()]

    def stop(self) -> None:
        """End every process."""
        self._stopping = True
        for pool in self._pools.values():
            with pool.changed:
                pool.changed.notify_all()
                sandboxes = list(pool.all)
            for sandbox in sandboxes:
                sandbox.stop()
        self._folder.cleanup()

    def _end_idle(self, name: str) -> None:
        pool = self._pools[name]
        with pool.changed:
            idle, pool.free = pool.free, []
        for sandbox in idle:
            sandbox.stop()
            with pool.changed:
                pool.all.remove(sandbox)
                pool.ended_lines += sandbox.lines()

    def _run(self, sandbox: Sandbox, payload: bytes) -> Answer:
        cold, began, at = not sandbox.used, time.perf_counter(), self._clock.now()
        # From here on, so that a call has the same number in a cold process and in a warm one.
        sandbox.calls = []
        self._before_event(sandbox)
        answer = sandbox.init_error or sandbox.invoke(payload)
        self.invocations.append(
            Invocation(
                function=sandbox.function.logical_id,
                at=at,
                cold=cold,
                init_ms=sandbox.init_ms if cold else None,
                duration_ms=(time.perf_counter() - began) * 1000,
                error_type=answer.error_type,
                payload=answer.payload,
                calls=tuple(sandbox.calls),
            )
        )
        return answer

    def _acquire(self, pool: _Pool, function: Function) -> Sandbox:
        with pool.changed:
            pool.changed.wait_for(lambda: self._stopping or pool.free or pool.busy < pool.limit)
            if self._stopping:
                raise ConnectionAbortedError("the local cloud is stopping")
            pool.busy += 1
            if pool.free:
                return pool.free.pop()
            pool.started += 1
            number = pool.started
        try:
            return self._start(pool, function, number)
        except BaseException:
            with pool.changed:
                pool.busy -= 1
                pool.changed.notify()
            raise

    def _start(self, pool: _Pool, function: Function, number: int) -> Sandbox:
        name = f"{function.logical_id}.{number}"
        credentials = self._assume_role(function.role_arn)
        variables = self._environment(function, name, credentials)
        sandbox = Sandbox(function, name, credentials["AccessKeyId"], variables)
        self._by_access_key[sandbox.access_key] = sandbox
        self._by_name[name] = sandbox
        with pool.changed:
            pool.all.append(sandbox)
        sandbox.start()
        if self._stopping:
            sandbox.stop()
        return sandbox

    def _release(self, pool: _Pool, sandbox: Sandbox, *, keep: bool) -> None:
        if not keep:
            sandbox.stop()
        with pool.changed:
            pool.busy -= 1
            if keep:
                pool.free.append(sandbox)
            else:
                pool.all.remove(sandbox)
                pool.ended_lines += sandbox.lines()
            pool.changed.notify()

    def _environment(self, function: Function, name: str, credentials: Mapping[str, Any]) -> dict[str, str]:
        path = (*function.code, Path(self._folder.name), *self._packages)
        return {
            **function.environment,
            **self._variables(function, name),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout_s + EMULATOR_ALLOWANCE_S),
            "LOCAL_DEADLINE_ALLOWANCE_S": str(EMULATOR_ALLOWANCE_S),
            "LOCAL_INIT_KEY": INIT_KEY,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(function.code[0]),
            "LOCAL_REAL_HANDLER": function.handler,
            "LOCAL_FUNCTION_ARN": function.arn,
        }

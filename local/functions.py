"""What the local cloud knows of a Lambda function, and what it records of its invocations."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

_DEFAULT_EVENT_AGE_S = 6 * 3600


@dataclass(frozen=True)
class AsyncInvokes:
    """How asynchronous invocations of a function are repeated.

    Attributes:
        retries: further attempts after the first failed.
        max_age_s: age of an event in seconds of virtual time after which it is not tried again.
        on_failure_arn: queue that receives an event that failed for good.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    retries: int = 2
    max_age_s: int = _DEFAULT_EVENT_AGE_S
    on_failure_arn: str | None = None


@dataclass(frozen=True)
class Function:
    """A deployed function.

    Attributes:
        logical_id: its name in the template.
        name: its physical name.
        arn: its unqualified ARN.
        handler: `module.function`.
        role_arn: the role whose credentials its process has.
        timeout_s: seconds after which an invocation is ended.
        memory_mb: told to the function; not enforced.
        environment: the template's variables.
        code: folders on its import path, in order (its own code, then its layers).
        invokes: settings of asynchronous invocations.
    """

    logical_id: str
    name: str
    arn: str
    handler: str
    role_arn: str
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]
    code: tuple[Path, ...]
    invokes: AsyncInvokes = field(default_factory=AsyncInvokes)

    def with_invokes(self, invokes: AsyncInvokes) -> "Function":
        """The same function with other settings of asynchronous invocations."""
        return replace(self, invokes=invokes)

    def runs_as(self, other: "Function | None") -> bool:
        """Whether a process of the one does for the other."""
        return other is not None and self == other.with_invokes(self.invokes)


@dataclass(frozen=True)
class Invocation:
    """One finished invocation.

    Attributes:
        function: logical id.
        at: virtual time at which it began, epoch seconds.
        cold: whether a process was started for it.
        init_ms: initialisation of the process as the emulator measured it; None when warm or never finished.
        duration_ms: wall time in milliseconds from the event to the answer; the start of a process is apart.
        error_type: as Lambda reports it (the exception's class, `Runtime.ExitError`, `Sandbox.Timedout`).
        payload: the answer, JSON.
        calls: the outgoing calls it made, in order (`dynamodb:GetItem`, `telegram:sendMessage`).
    """

    function: str
    at: float
    cold: bool
    init_ms: float | None
    duration_ms: float
    error_type: str | None
    payload: bytes
    calls: tuple[str, ...]

"""What the command line can end with. Each error says what is wrong and what to do; its class gives the exit code.

    OperateError                1   something is wrong with what is deployed
    ├── UsageError              2   the command can't be understood
    ├── AccessError             3   no credentials, expired ones, or ones that may not do this
    ├── MissingError            4   no such stack, parameter, user or turn
    ├── RefusedError            5   a service refuses: AWS, Telegram, a provider
    ├── UnreachableError        6   a service can't be reached, or does not answer in time
    └── StateError              7   the stack is in a state in which this can't be done

Texts never hold a key: what a service says of a request that carried one is not passed on.
"""

from __future__ import annotations

from typing import ClassVar


class OperateError(Exception):
    """The command failed.

    Args:
        what: is wrong; one sentence.
        advice: what to do about it.
    """

    code: ClassVar[int] = 1

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


class UsageError(OperateError):
    """The command can't be understood."""

    code = 2


class AccessError(OperateError):
    """AWS does not know who asks, or does not let them."""

    code = 3


class MissingError(OperateError):
    """What is asked for does not exist."""

    code = 4


class RefusedError(OperateError):
    """A service says no."""

    code = 5


class UnreachableError(OperateError):
    """A service can't be reached or does not answer in time."""

    code = 6


class StateError(OperateError):
    """The stack's state forbids it."""

    code = 7


INTERRUPTED = 130
"""Exit code after Ctrl-C."""

UNEXPECTED = 70
"""Exit code of a mistake in this program (sysexits: EX_SOFTWARE)."""

"""AWS as the command line reaches it: clients with time-outs, and what AWS or the way to it says as our own errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from operate.errors import AccessError, OperateError, RefusedError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = Config(
    connect_timeout=4,
    read_timeout=15,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=24,
)
"""A person waits: a service that says nothing for half a minute is down for them."""

_SIGN_IN = "Sign in again (`aws sso login`, `aws login` or new access keys), then repeat the command."
_CREDENTIALS = "Give credentials as the AWS CLI takes them: `aws configure`, AWS_PROFILE, or --profile."
_UNKNOWN_CALLER = frozenset({
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
})  # fmt: skip
_SKEW = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
_BUSY = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_CARRIES_A_SECRET = frozenset({"PutParameter"})
"""What AWS says of these may quote what was sent."""


@dataclass
class Aws:
    """One account and region.

    Attributes:
        profile: of the AWS CLI's configuration; None for the default.
        region: None for the configuration's.
    """

    profile: str | None = None
    region: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:  # noqa: ANN401 (boto3's clients are typed by name)
        """A client of a service, kept. `AWS_ENDPOINT_URL` is obeyed, as everywhere in boto3."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, config=CONFIG)  # type: ignore[call-overload]
        return self._clients[service]

    @property
    def environment(self) -> Mapping[str, str]:
        """What another program needs to reach the same account and region."""
        given = {"AWS_PROFILE": self.profile, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return {name: value for name, value in given.items() if value}

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(profile_name=self.profile, region_name=self.region)


def translated(error: BotoCoreError | ClientError) -> OperateError:
    """Our own error for one of boto3's."""
    if isinstance(error, ClientError):
        return _refusal(error)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return AccessError("There are no AWS credentials.", _CREDENTIALS)
    if isinstance(error, SSOError):
        return AccessError("The AWS sign-in has expired.", _SIGN_IN)
    if isinstance(error, ProfileNotFound):
        return AccessError(f"{error}.", _CREDENTIALS)
    if isinstance(error, NoRegionError):
        return UsageError("No AWS region is set.", "Say which: --region, AWS_REGION, or `aws configure`.")
    if isinstance(error, (BotoConnectionError, HTTPClientError)):
        return UnreachableError("AWS can't be reached, or does not answer in time.", "Look at the network; try again.")
    return RefusedError(f"The AWS SDK refuses the request ({type(error).__name__}).")


def code_of(error: ClientError) -> str:
    """The name of the error, as the service's API reference has it."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def _refusal(error: ClientError) -> OperateError:
    code, operation = code_of(error), error.operation_name
    if code in _UNKNOWN_CALLER:
        return AccessError(f"AWS does not accept the credentials ({code}): they have expired or are wrong.", _SIGN_IN)
    if code in _SKEW:
        return AccessError(f"AWS finds this machine's clock wrong ({code}).", "Set the clock (NTP), then try again.")
    if code in _DENIED:
        advice = "Use credentials of an administrator of the account, or have that action allowed."
        return AccessError(f"These credentials may not do {operation} ({code}).", advice)
    if code in _BUSY:
        return UnreachableError(f"AWS is too busy for {operation} ({code}).", "Try again in a minute.")
    message = "" if operation in _CARRIES_A_SECRET else str(error.response.get("Error", {}).get("Message", ""))
    return RefusedError(f"AWS refuses {operation} ({code}){': ' + message if message else ''}.")

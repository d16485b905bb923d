"""Secrets: SSM SecureStrings, cached for a few minutes so that a warm function does not ask each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from assistant.errors import SecretMissing

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters.ssm import SSMProvider

CACHE_SECONDS = 300
"""A changed secret is noticed after this time at the latest."""


@dataclass(frozen=True, slots=True)
class SsmSecrets:
    """Secrets under one path, such as `/serverless-openclaw/secrets/`."""

    provider: SSMProvider
    path: str

    def read(self, name: str) -> str:
        """The secret; SecretMissing if there is no such parameter. Other errors of SSM pass through."""
        try:
            value = self.provider.get(f"{self.path}{name}", decrypt=True, max_age=CACHE_SECONDS)
        except GetParameterError as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, ClientError) and cause.response["Error"]["Code"] == "ParameterNotFound":
                raise SecretMissing(f"the parameter {self.path}{name} does not exist") from None
            raise
        return str(value)

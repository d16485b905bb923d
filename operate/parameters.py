"""The keys where they are kept: SSM SecureStrings under one path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

PATH = "/serverless-openclaw/secrets/"


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter without its value."""

    kind: str
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters under `path`."""

    client: Callable[[], Any]
    path: str = PATH

    def stored(self) -> Mapping[str, Stored]:
        """Which there are, by the last part of the name; no value is read."""
        pages = (
            self.client()
            .get_paginator("describe_parameters")
            .paginate(ParameterFilters=[{"Key": "Name", "Option": "BeginsWith", "Values": [self.path]}])
        )
        return {
            one["Name"].removeprefix(self.path): Stored(one["Type"], one.get("LastModifiedDate"))
            for page in pages
            for one in page["Parameters"]
        }

    def read(self, name: str) -> str | None:
        """A value; None if there is no such parameter."""
        try:
            found = self.client().get_parameter(Name=self.path + name, WithDecryption=True)
        except ClientError as error:
            if code_of(error) == "ParameterNotFound":
                return None
            raise
        return str(found["Parameter"]["Value"])

    def write(self, name: str, value: str) -> None:
        """Store a value, encrypted with the account's own key for SSM."""
        self.client().put_parameter(Name=self.path + name, Value=value, Type="SecureString", Overwrite=True)

    def delete(self, name: str) -> None:
        """Delete a parameter; one that is gone is gone."""
        try:
            self.client().delete_parameter(Name=self.path + name)
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise

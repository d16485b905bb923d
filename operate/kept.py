"""What a deleted stack has left behind under its names: tables and a bucket, looked at before a new one takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of
from operate.errors import RefusedError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from operate.templates import Retained

_OTHER = "CloudFormation takes a table over as it is: deploy the version that made it, and this one afterwards."


@dataclass(frozen=True, slots=True)
class Kept:
    """Looks; `client` gives a client by service."""

    client: Callable[[str], Any]

    def of(self, wanted: Iterable[Retained]) -> list[Retained]:
        """Those that exist and can be taken over.

        Raises:
            StateError: a table is in no state to be taken over, or another than the template's.
            RefusedError: a bucket of that name is somebody else's.
        """
        return [each for each in wanted if (self._table if each.type == "AWS::DynamoDB::Table" else self._bucket)(each)]

    def _table(self, wanted: Retained) -> bool:
        try:
            found = self.client("dynamodb").describe_table(TableName=wanted.name)["Table"]
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return False
            raise
        check_table(found, wanted.properties)
        return True

    def _bucket(self, wanted: Retained) -> bool:
        try:
            self.client("s3").head_bucket(Bucket=wanted.name)
        except ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket"}:
                return False
            if code_of(error) == "403":
                what = f"There is a bucket {wanted.name}, and these credentials may not look at it."
                raise RefusedError(
                    what, "Use credentials of an administrator, or another name for the stack."
                ) from None
            raise
        return True

    def bytes_of(self, resource_type: str, name: str) -> int:
        """How much is kept in a table or a bucket, former versions of objects included; of what is gone, nothing.

        DynamoDB counts every six hours.
        """
        try:
            if resource_type == "AWS::DynamoDB::Table":
                return int(self.client("dynamodb").describe_table(TableName=name)["Table"].get("TableSizeBytes", 0))
            pages = self.client("s3").get_paginator("list_object_versions").paginate(Bucket=name)
            return sum(each["Size"] for page in pages for each in page.get("Versions", ()))
        except ClientError as error:
            if code_of(error) in {"NoSuchBucket", "ResourceNotFoundException"}:
                return 0
            raise


def check_table(found: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    """Whether a table, as DescribeTable shows it, can be that of a template.

    Raises:
        StateError: it can't.
    """
    name, status = found["TableName"], found["TableStatus"]
    if status == "DELETING":
        raise StateError(f"The table {name} is being deleted.", "Wait a minute: then `deploy` makes a new one.")
    if status != "ACTIVE":
        raise StateError(f"The table {name} is {status}.", "Wait until it is ACTIVE, then repeat the command.")
    if _keys(found["KeySchema"]) != _keys(properties["KeySchema"]):
        what = f"There is a table {name}, and its key is not that of the assistant's."
        raise StateError(what, "It is something else: rename it, or give the stack another name (--stack).")
    if _indexes(found) != _indexes(properties):
        raise StateError(f"There is a table {name}, and its indexes are not those of this version.", _OTHER)


def _keys(schema: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {each["KeyType"]: each["AttributeName"] for each in schema}


def _indexes(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {each["IndexName"]: _keys(each["KeySchema"]) for each in table.get("GlobalSecondaryIndexes", ())}

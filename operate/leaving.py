"""What a stack leaves behind, taken away: retained tables and buckets, running agents. Each may be done again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of
from operate.errors import OperateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from operate.stack import Resource

_GONE = frozenset({"NoSuchBucket", "ResourceNotFoundException"})


@dataclass(frozen=True, slots=True)
class Leaving:
    """Deletes; `client` gives a client by service."""

    client: Callable[[str], Any]

    def stop_agents(self, cluster: str) -> int:
        """Stop the agents that run: a cluster with tasks can't be deleted. They save their work first."""
        ecs = self.client("ecs")
        tasks = ecs.list_tasks(cluster=cluster)["taskArns"]
        for task in tasks:
            ecs.stop_task(cluster=cluster, task=task, reason="the assistant is being taken down")
        if tasks:
            ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=tasks)
        return len(tasks)

    def delete_stack(self, name: str) -> None:
        """Delete a stack and wait until it is gone. What the template retains stays.

        Raises:
            OperateError: CloudFormation could not delete it.
        """
        cloudformation = self.client("cloudformation")
        cloudformation.delete_stack(StackName=name)
        try:
            cloudformation.get_waiter("stack_delete_complete").wait(
                StackName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 240}
            )
        except Exception as error:
            if type(error).__name__ != "WaiterError":
                raise
            what = f"CloudFormation could not delete the stack {name}."
            raise OperateError(what, "`status` says why; then repeat the command.") from None

    def delete(self, resource: Resource) -> None:
        """Delete a retained table or bucket with everything in it; one that is gone is gone."""
        try:
            if resource.type == "AWS::DynamoDB::Table":
                self.client("dynamodb").delete_table(TableName=resource.physical_id)
            else:
                self._empty(resource.physical_id)
                self.client("s3").delete_bucket(Bucket=resource.physical_id)
        except ClientError as error:
            if code_of(error) not in _GONE:
                raise

    def _empty(self, bucket: str) -> None:
        s3 = self.client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if versions:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})

"""What a stack leaves behind, taken away: running agents, retained tables and buckets. Each may be done again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of
from operate.errors import OperateError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from operate.stack import Resource

STOP_SECONDS = 300
"""An agent has two minutes for its last backup (`stopTimeout`), and Fargate some for itself."""

_DESCRIBED = 100
"""Tasks of one DescribeTasks (ECS API reference)."""

_GONE = frozenset({"NoSuchBucket", "ResourceNotFoundException"})


@dataclass(frozen=True, slots=True)
class Leaving:
    """Deletes; `client` gives a client by service, `poll_s` is the seconds between two looks."""

    client: Callable[[str], Any]
    poll_s: float

    def agents(self, cluster: str) -> list[str]:
        """The agents that run, or start, in a cluster; none in one that is gone."""
        pages = self.client("ecs").get_paginator("list_tasks").paginate(cluster=cluster)
        try:
            return [task for page in pages for task in page["taskArns"]]
        except ClientError as error:
            if code_of(error) == "ClusterNotFoundException":
                return []
            raise

    def stop_agents(self, cluster: str, seconds: float = STOP_SECONDS) -> int:
        """Stop the agents that run: a cluster with tasks can't be deleted. They save their work first.

        Raises:
            OperateError: one has not stopped after so many seconds.
        """
        ecs, tasks = self.client("ecs"), self.agents(cluster)
        for task in tasks:
            ecs.stop_task(cluster=cluster, task=task, reason="the assistant is being taken down")
        left, deadline = tasks, time.monotonic() + seconds
        while left := self._running(cluster, left):
            if time.monotonic() > deadline:
                what = f"{len(left)} of {len(tasks)} agents have not stopped after {seconds:.0f} s."
                raise OperateError(what, "Look at the cluster in ECS's console, then repeat the command.")
            time.sleep(self.poll_s)
        return len(tasks)

    def delete(self, resource: Resource) -> None:
        """Delete a retained table or bucket with everything in it; one that is gone is gone.

        Raises:
            RefusedError: S3 deletes one of the objects not.
        """
        try:
            if resource.type == "AWS::DynamoDB::Table":
                self.client("dynamodb").delete_table(TableName=resource.physical_id)
            else:
                self._empty(resource.physical_id)
                self.client("s3").delete_bucket(Bucket=resource.physical_id)
        except ClientError as error:
            if code_of(error) not in _GONE:
                raise

    def _running(self, cluster: str, tasks: list[str]) -> list[str]:
        """Those that have not stopped; one that ECS knows no more has."""
        ecs = self.client("ecs")
        described = [
            task
            for some in batched(tasks, _DESCRIBED, strict=False)
            for task in ecs.describe_tasks(cluster=cluster, tasks=list(some))["tasks"]
        ]
        return [str(task["taskArn"]) for task in described if task["lastStatus"] != "STOPPED"]

    def _empty(self, bucket: str) -> None:
        s3 = self.client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if versions:
                done = s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})
                _all_deleted(bucket, done.get("Errors", []))


def _all_deleted(bucket: str, errors: list[dict[str, str]]) -> None:
    if errors:
        what = f"S3 does not delete {len(errors)} objects of {bucket} ({errors[0].get('Code', '')})."
        raise RefusedError(what, "Repeat the command; it deletes what is left.")

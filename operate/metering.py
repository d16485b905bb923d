"""What this month used of AWS so far, from CloudWatch's own metrics. They are best effort, and minutes late."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from operate.prices import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from operate.stack import Resource

TRANSITIONS = 6
"""Of an execution: the states that a turn answered by the first provider enters, and one (docs/architecture.md)."""

MEMORY_GIB = 0.5
"""Of every function: the template's MemorySize."""

_DAY = 86400
_BATCH = 500
"""Queries of one GetMetricData (CloudWatch API reference)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric whose values add to an amount, each times `factor`."""

    adds_to: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    factor: float = 1
    stat: str = "Sum"


def metrics(resources: Sequence[Resource]) -> Iterator[Metric]:
    """What is asked of each resource."""
    for resource in resources:
        yield from _METRICS.get(resource.type, _nothing)(resource.physical_id)


def _nothing(_name: str) -> Iterator[Metric]:
    yield from ()


def _function(name: str) -> Iterator[Metric]:
    dimensions = (("FunctionName", name),)
    yield Metric("invocations", "AWS/Lambda", "Invocations", dimensions)
    yield Metric("gib_seconds", "AWS/Lambda", "Duration", dimensions, MEMORY_GIB / 1000)


def _state_machine(arn: str) -> Iterator[Metric]:
    yield Metric("transitions", "AWS/States", "ExecutionsStarted", (("StateMachineArn", arn),), TRANSITIONS)


def _api(api_id: str) -> Iterator[Metric]:
    yield Metric("api_requests", "AWS/ApiGateway", "Count", (("ApiId", api_id),))


def _table(name: str) -> Iterator[Metric]:
    dimensions = (("TableName", name),)
    yield Metric("write_units", "AWS/DynamoDB", "ConsumedWriteCapacityUnits", dimensions)
    yield Metric("read_units", "AWS/DynamoDB", "ConsumedReadCapacityUnits", dimensions)


def _log_group(name: str) -> Iterator[Metric]:
    yield Metric("log_gib", "AWS/Logs", "IncomingBytes", (("LogGroupName", name),), 1 / GIB)


def _bucket(name: str) -> Iterator[Metric]:
    dimensions = (("BucketName", name), ("StorageType", "StandardStorage"))
    yield Metric("stored_gib", "AWS/S3", "BucketSizeBytes", dimensions, 1 / GIB, "Maximum")


_METRICS: Mapping[str, Callable[[str], Iterator[Metric]]] = {
    "AWS::Lambda::Function": _function,
    "AWS::StepFunctions::StateMachine": _state_machine,
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::DynamoDB::Table": _table,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
}


@dataclass(frozen=True, slots=True)
class Metering:
    """Reads metrics."""

    client: Callable[[], Any]

    def amounts(self, wanted: Sequence[Metric], since: datetime, until: datetime) -> Mapping[str, float]:
        """The sums, by what they add to."""
        found: defaultdict[str, float] = defaultdict(float)
        for first in range(0, len(wanted), _BATCH):
            batch = wanted[first : first + _BATCH]
            for result in self._read(batch, since, until):
                metric = batch[int(result["Id"].removeprefix("m"))]
                total = max(result["Values"], default=0) if metric.stat == "Maximum" else sum(result["Values"])
                found[metric.adds_to] += total * metric.factor
        return found

    def _read(self, batch: Sequence[Metric], since: datetime, until: datetime) -> Iterator[Mapping[str, Any]]:
        queries = [
            {
                "Id": f"m{place}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": metric.namespace,
                        "MetricName": metric.name,
                        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
                    },
                    "Period": _DAY,
                    "Stat": metric.stat,
                },
            }
            for place, metric in enumerate(batch)
        ]
        pages = (
            self.client()
            .get_paginator("get_metric_data")
            .paginate(MetricDataQueries=queries, StartTime=since, EndTime=until)
        )
        for page in pages:
            yield from page["MetricDataResults"]

"""CloudWatch's alarms: kept in moto, evaluated by nobody; a person or a test changes their state."""

from collections.abc import Mapping
from typing import Any

from local.events import EventBus

_TAKEN = (
    "ActionsEnabled",
    "AlarmDescription",
    "ComparisonOperator",
    "DatapointsToAlarm",
    "Dimensions",
    "EvaluationPeriods",
    "ExtendedStatistic",
    "MetricName",
    "Metrics",
    "Namespace",
    "Period",
    "Statistic",
    "Threshold",
    "TreatMissingData",
)
"""Properties that CloudFormation and PutMetricAlarm call the same."""


def create(cloudwatch: Any, name: str, properties: Mapping[str, Any]) -> str:  # noqa: ANN401 (a boto3 client)
    """Create an alarm as the template says; gives its ARN."""
    given = {key: properties[key] for key in _TAKEN if key in properties}
    cloudwatch.put_metric_alarm(AlarmName=name, **given)
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(alarm["AlarmArn"])


def change_state(cloudwatch: Any, bus: EventBus, name: str, state: str, reason: str) -> None:  # noqa: ANN401
    """Put an alarm into a state and tell EventBridge, as CloudWatch does when the state is another than before.

    Source: CloudWatch user guide, "Alarm events and EventBridge", the event of a single metric alarm.

    Raises:
        KeyError: there is no such alarm.
    """
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if not found:
        raise KeyError(f"no alarm {name}")
    before = found[0]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=reason)
    (after,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if before["StateValue"] != after["StateValue"]:
        detail = {
            "alarmName": name,
            "state": _state(after),
            "previousState": _state(before),
            "configuration": {"description": after.get("AlarmDescription", ""), "metrics": _metrics(after)},
        }
        bus.put("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [after["AlarmArn"]])


def _state(alarm: Mapping[str, Any]) -> dict[str, str]:
    return {
        "value": alarm["StateValue"],
        "reason": alarm.get("StateReason", ""),
        "timestamp": f"{alarm['StateUpdatedTimestamp']:%Y-%m-%dT%H:%M:%S.000+0000}",
    }


def _metrics(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "MetricName" in alarm:
        stat = _stat(alarm, alarm["Period"], alarm.get("Statistic", ""))
        return [{"id": "m1", "metricStat": stat, "returnData": True}]
    return [_query(query) for query in alarm.get("Metrics", [])]


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    returned = {"id": query["Id"], "returnData": query.get("ReturnData", True)}
    if "Expression" in query:
        return returned | {"expression": query["Expression"], "label": query.get("Label", "")}
    stat = query["MetricStat"]
    return returned | {"metricStat": _stat(stat["Metric"], stat["Period"], stat["Stat"])}


def _stat(metric: Mapping[str, Any], period: int, stat: str) -> dict[str, Any]:
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    named = {"namespace": metric["Namespace"], "name": metric["MetricName"], "dimensions": dimensions}
    return {"metric": named, "period": period, "stat": stat}

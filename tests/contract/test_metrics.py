"""assistant.observability.METRICS ↔ template.yaml ↔ docs/monitoring.md: what is measured, looked at, and paid for."""

import ast
import json
import re
from collections.abc import Iterator

import pytest

from assistant.observability import METRICS, NAMESPACE
from assistant.turns.notices import ALARM_TEXTS
from tests.contract import template

FREE_METRICS = 10
FREE_ALARM_METRICS = 10
FREE_DASHBOARDS = 3
FREE_DASHBOARD_METRICS = 50
"""CloudWatch pricing, free tier: custom metrics (each dimension value is one), alarm metrics, dashboards, and what one
of them may show."""

PAGE = (template.ROOT / "docs" / "monitoring.md").read_text("utf-8")
ALARMS = template.resources("AWS::CloudWatch::Alarm")
QUERIES = template.resources("AWS::Logs::QueryDefinition")
DECLARED = {(metric.name, value) for metric in METRICS for value in metric.values or (None,)}
DIMENSIONS = {metric.name: metric.dimension for metric in METRICS}
LOG_FIELDS = {
    *("@timestamp", "message"),
    *("chat_id", "user_id", "turn", "provider", "model", "outcome", "error", "reason", "status", "blocked_until"),
    *("input", "cached", "written", "output", "micro_dollars", "milliseconds"),
    *("seconds", "ambiguous"),
}
"""What log lines hold (LogJournal, DeliverReply) and a saved query may ask for."""

QUERY_WORDS = {
    *("fields", "filter", "stats", "sort", "limit", "by", "desc", "asc", "like", "and", "or", "not"),
    *("ispresent", "count", "sum", "max"),
}


def _dashboard() -> template.Json:
    ((_, properties),) = template.resources("AWS::CloudWatch::Dashboard").items()
    body = re.sub(r"\$\{[^}]+\}", "x", properties["DashboardBody"]["Fn::Sub"])
    drawn: template.Json = json.loads(body)
    return drawn


def _drawn() -> Iterator[tuple[str, str, str | None]]:
    """Namespace, metric and dimension value of every line in the dashboard."""
    for widget in _dashboard()["widgets"]:
        for line in widget["properties"].get("metrics", []):
            names = [part for part in line if isinstance(part, str)]
            yield names[0], names[1], names[3] if len(names) > 2 else None


def _watched() -> Iterator[tuple[str, str, str | None]]:
    """The same of every alarm."""
    for alarm in ALARMS.values():
        stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        for metric in stats or [alarm]:
            values = [dimension["Value"] for dimension in metric.get("Dimensions", [])]
            yield metric["Namespace"], metric["MetricName"], template.text(values[0]) if values else None


# Metrics


def test_the_metrics_with_every_dimension_value_cost_nothing() -> None:
    assert sum(len(metric.values) or 1 for metric in METRICS) == len(DECLARED) <= FREE_METRICS


def test_a_metric_has_one_dimension_at_most_and_that_no_user() -> None:
    assert {metric.dimension for metric in METRICS} == {None, "Provider"}
    assert all(bool(metric.dimension) == bool(metric.values) for metric in METRICS)


def test_every_metric_in_the_code_is_in_the_table() -> None:
    made = 0
    for folder in ("layers/core/src", "functions"):
        for file in (template.ROOT / folder).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
            names = [getattr(call.func, "id", getattr(call.func, "attr", "")) for call in calls]
            assert file.name == "observability.py" or not {"Metric", "add_metric", "EphemeralMetrics"} & set(names), (
                file
            )
            made += names.count("Metric")

    assert made == len(METRICS)


@pytest.mark.parametrize("found", [_drawn, _watched], ids=["dashboard", "alarms"])
def test_what_is_drawn_and_watched_is_declared(found: object) -> None:
    assert callable(found)
    ours = {(name, value) for namespace, name, value in found() if namespace == NAMESPACE}

    assert ours - DECLARED == set()


def test_every_metric_is_drawn() -> None:
    assert {(name, value) for namespace, name, value in _drawn() if namespace == NAMESPACE} == DECLARED


def test_a_drawn_dimension_is_the_metrics_own() -> None:
    for widget in _dashboard()["widgets"]:
        for line in widget["properties"].get("metrics", []):
            if line[0] == NAMESPACE and len(line) > 2 and isinstance(line[2], str):
                assert line[2] == DIMENSIONS[line[1]]


def test_the_page_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| (\d+) \|$", PAGE, re.MULTILINE)

    assert rows == [
        (
            metric.name,
            metric.unit.value,
            f"{metric.dimension}: {', '.join(f'`{value}`' for value in metric.values)}" if metric.dimension else "none",
            metric.emitted_by,
            metric.meaning,
            str(len(metric.values) or 1),
        )
        for metric in METRICS
    ]


# Alarms


def test_the_alarms_and_the_dashboard_cost_nothing() -> None:
    assert len(list(_watched())) <= FREE_ALARM_METRICS
    assert len(template.resources("AWS::CloudWatch::Dashboard")) <= FREE_DASHBOARDS
    assert len(list(_drawn())) <= FREE_DASHBOARD_METRICS


def test_an_alarm_is_explained_and_knows_what_silence_means() -> None:
    silence = {name: alarm["TreatMissingData"] for name, alarm in ALARMS.items()}

    assert silence.pop("PaidBudgetAlarm") == "ignore"  # each paid answer tells; no answer changes nothing
    assert set(silence.values()) == {"notBreaching"}
    assert [name for name, alarm in ALARMS.items() if len(alarm["AlarmDescription"].split()) < 5] == []


def test_every_alarm_is_told_to_the_owner_and_nothing_else_is() -> None:
    pattern = template.resources("AWS::Events::Rule")["TellOwnerAlarmChanged"]["EventPattern"]

    assert {template.text(arn) for arn in pattern["resources"]} == {f"{name}.Arn" for name in ALARMS}
    assert pattern["detail-type"] == ["CloudWatch Alarm State Change"]
    assert pattern["detail"] == {"state": {"value": ["ALARM", "OK"]}}


def test_the_page_explains_every_alarm() -> None:
    assert re.findall(r"^### `<stack>-([\w-]+)`$", PAGE, re.MULTILINE) == list(ALARM_TEXTS)


# Saved queries


def test_a_saved_query_searches_the_functions_own_log_groups() -> None:
    groups = {f"{name}LogGroup" for name in template.functions()}

    for query in QUERIES.values():
        assert {template.text(group) for group in query["LogGroupNames"]} <= groups


@pytest.mark.parametrize("name", QUERIES)
def test_a_saved_query_asks_for_what_log_lines_hold(name: str) -> None:
    text = re.sub(r"\bas \w+|\"[^\"]*\"|/[^/]+/|#.*", "", QUERIES[name]["QueryString"])
    named = set(re.findall(r"@?[a-z]\w*", text))
    given = set(re.findall(r"\bas (\w+)", QUERIES[name]["QueryString"]))

    assert named - QUERY_WORDS - given - LOG_FIELDS == set()


def test_the_page_names_every_saved_query() -> None:
    names = [template.text(query["Name"]).partition("/")[2] for query in QUERIES.values()]

    assert re.findall(r"^- \*\*(.+?)\*\*", PAGE, re.MULTILINE) == names

"""The bill: what a request is charged for, and how a month follows from steps and from when people write."""

import json

import msgspec
import pytest

from local import cost, cost_page, metering, units
from local.bill import (
    MODES,
    PROFILES,
    Assumed,
    Measured,
    Step,
    month,
    most_delegated,
    plan,
    priced,
    sittings,
    spread,
    total,
)
from local.metering import Meter
from local.stage import PROJECT
from local.template import Template

ASSUMED = Assumed(delegated=0.5, pull_seconds=30, end_seconds=10, hours_cap=1000.0)
BOOT_S = 20.0
MEASURED = Measured(
    steps={
        **dict.fromkeys(("woken", "agent", "start", "agent_hour", "end", "snapshot", "restore"), Step({})),
        "chat": Step({"transitions": 5, "write_units": 10}, {"Webhook": 1, "AskCopilot": 1}),
        "Sweep": Step({"read_units": 2}, {"Sweep": 1}),
        "ShutDownIdle": Step({}, {"ShutDownIdle": 1}),
    },
    schedules={"Sweep": 300, "ShutDownIdle": 600},
    agent_schedules=["ShutDownIdle"],
    milliseconds={"Webhook": 10, "AskCopilot": 20, "Sweep": 0, "ShutDownIdle": 0},
    init_milliseconds={"Webhook": 1000, "AskCopilot": 1000, "Sweep": 0, "ShutDownIdle": 0},
    keys={"message": 2, "agent": 4},
    standing={"metrics": 12},
    table_bytes_a_message=1000,
    snapshot_bytes={"workspace": 0, "snapshot": 0},
    boot_seconds=BOOT_S,
)


@pytest.mark.parametrize(
    ("sizes", "consistent", "expected"),
    [([], True, 1), ([], False, 0.5), ([4096], True, 1), ([4000, 97], True, 2), ([9000], False, 1.5)],
)
def test_a_read_is_charged_by_four_kilobytes(sizes: list[int], consistent: bool, expected: float) -> None:
    assert units.read_units(sizes, consistent=consistent) == expected


def test_a_write_is_charged_by_the_larger_of_before_and_after_and_twice_in_a_transaction() -> None:
    small, large = {"pk": {"S": "a"}}, {"pk": {"S": "a" * 1023}}

    assert units.write_units(None, small, transaction=False) == 1
    assert units.write_units(large, None, transaction=False) == 2
    assert units.write_units(small, large, transaction=True) == 4
    assert units.write_units(None, None, transaction=False) == 1  # refused


def test_an_entry_of_the_index_is_charged_when_it_comes_goes_or_moves() -> None:
    keys = ("due_kind", "due_at")
    early = {"due_kind": {"S": "a"}, "due_at": {"N": "1"}}
    late = {**early, "due_at": {"N": "2"}}

    assert units.index_units(None, early, keys) == units.index_units(early, {}, keys) == 1
    assert units.index_units(early, late, keys) == 2
    assert units.index_units(early, {**early, "other": {"S": "x"}}, keys) == 0


def test_an_item_is_as_large_as_its_names_and_values() -> None:
    assert units.size({"pk": {"S": "ä"}, "n": {"N": "1234"}, "yes": {"BOOL": True}}) == 4 + 5 + 4
    assert units.size({"m": {"M": {"a": {"S": "b"}}}, "l": {"L": [{"NULL": True}]}}) == 1 + 6 + 1 + 5
    assert units.size(None) == 0


def test_what_s3_charges_for() -> None:
    counts = [units.of_s3(name) for name in ("GetObject", "HeadObject", "PutObject", "ListObjectsV2", "DeleteObject")]

    assert counts == [{"object_reads": 1}, {"object_reads": 1}, {"object_writes": 1}, {"object_writes": 1}, {}]


def test_what_is_metered_of_what_is_not_aws() -> None:
    meter = Meter([])
    app = meter.around(lambda _environ, _start: [b"{}"])

    for path in ("/_local/clock", "/_api/telegram", "/as/AskCopilot.1/copilot/chat", "/telegram/sendMessage"):
        environ = {"PATH_INFO": path, "REQUEST_METHOD": "POST", "wsgi.input": _Body(b"12345")}
        assert list(app(environ, lambda _status, _headers, _error=None: lambda _data: None)) == [b"{}"]

    assert [(call.caller, call.name) for call in meter.calls] == [
        ("", "apigateway:Request"),
        ("AskCopilot", metering.INTERNET),
        ("Agent", metering.INTERNET),
    ]
    assert meter.calls[1].counts["out_bytes"] > 5


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data

    def seek(self, _to: int) -> None:
        pass


def test_both_days_have_all_messages_in_order() -> None:
    for profile in (sittings, spread):
        moments = profile(100)
        assert len(moments) == 100
        assert moments == sorted(set(moments))
        assert moments[-1] < 86_400
    assert sum(b - a > 3600 for a, b in zip(sittings(100), sittings(100)[1:], strict=False)) == 3


def test_without_an_agent_the_chat_lane_answers_everything() -> None:
    found = plan(sittings(100), "off", ASSUMED, BOOT_S)

    assert (found.chat, found.woken, found.agent, found.awake_seconds) == (100, 0, 0, 0)
    assert found.cold == 4
    assert found.key_reads == 4 * 5  # 25 messages in 24 minutes, and a key is kept for five


def test_an_agent_that_every_message_waits_for_is_awake_through_each_sitting_and_its_idle_time() -> None:
    found = plan(sittings(100), "always", ASSUMED, BOOT_S)

    assert (found.chat, found.woken, found.agent, found.wakes) == (0, 4, 96, 4)
    assert found.awake_seconds == 4 * (24 * 60 + 15 * 60 + 30 + BOOT_S + 10)


def test_an_agent_that_every_message_wakes_answers_once_it_is_there() -> None:
    found = plan(sittings(100), "eager", ASSUMED, boot_seconds=90)

    assert (found.chat, found.woken, found.agent, found.wakes) == (4 * 2, 0, 100 - 8, 4)


def test_half_of_the_messages_wake_an_agent_that_sleeps() -> None:
    found = plan([0, 60], "auto", ASSUMED, BOOT_S)

    assert (found.wakes, found.woken, found.agent, found.chat) == (0.75, 0.75, 0.5, 0.75)
    assert found.awake_seconds == 0.5 * 60 + 0.75 * 900 + 0.75 * 50 + 0.75 * 10


def test_when_the_hours_are_used_up_the_chat_lane_answers() -> None:
    whole = plan(sittings(100), "always", ASSUMED, BOOT_S)
    half = msgspec.structs.replace(ASSUMED, hours_cap=whole.awake_seconds / 3600 * 30 / 2)

    found = plan(sittings(100), "always", half, BOOT_S)

    assert found.awake_seconds == pytest.approx(whole.awake_seconds / 2)
    assert (found.chat, found.woken, found.agent, found.wakes) == pytest.approx((50, 2, 48, 2))


def test_a_month_is_its_steps_so_often_as_they_happen() -> None:
    used = month(MEASURED, ASSUMED, "four sittings", "off")

    assert used["transitions"] == 5 * 100 * 30
    assert used["write_units"] == 10 * 100 * 30
    assert used["read_units"] == 2 * 288 * 30
    assert used["invocations"] == (2 * 100 + 288) * 30
    assert used["key_requests"] == 2 * 20 * 30
    assert used["gib_seconds"] == pytest.approx(0.5 * 30 * (100 * (0.03 * 3.46 + 4) + 4 * 2))
    assert (used["image_gib"], used["stored_gib"], used["address_hours"]) == (0, 0, 0)
    assert month(MEASURED, ASSUMED, "four sittings", "auto")["rule_events"] == (288 + 144) * 30


def test_what_is_free_is_taken_off_each_item() -> None:
    net = {each.price.of: each.net for each in priced({"metrics": 12, "transitions": 3000})}

    assert net == {"metrics": pytest.approx(600_000), "transitions": 0}


def test_the_agent_alone_costs_more_on_demand() -> None:
    dear = msgspec.structs.replace(ASSUMED, spot_share=1.0)
    off, on = ([total(MEASURED, one, "16 hours", mode).gross for one in (ASSUMED, dear)] for mode in ("off", "always"))

    assert off[0] == off[1]
    assert on[0] < on[1]


def test_the_share_at_which_the_aim_is_missed_is_found() -> None:
    base = total(MEASURED, msgspec.structs.replace(ASSUMED, delegated=0.0), "four sittings", "auto").net

    share = most_delegated(MEASURED, ASSUMED, "four sittings", base + 0.5)

    at_it = total(MEASURED, msgspec.structs.replace(ASSUMED, delegated=share), "four sittings", "auto").net
    assert at_it == pytest.approx(base + 0.5, abs=0.001)
    assert 0 < share < 1


def test_figures_are_read_back_as_they_were_written() -> None:
    text = cost_page.figures(MEASURED, ASSUMED)

    assert cost_page.read(text) == (MEASURED, ASSUMED)
    assert {mode for months in json.loads(text)["months"].values() for mode in months} == set(MODES)
    assert set(json.loads(text)["months"]) == set(PROFILES)


def test_the_page_is_renewed_between_its_marks_only() -> None:
    page = "before\n<!-- figures -->\noutdated\n<!-- end of figures -->\nafter\n"

    renewed = cost_page.renewed(page, MEASURED, ASSUMED)

    assert renewed.startswith("before\n<!-- figures -->\n\n| `AgentMode` |")
    assert renewed.endswith("<!-- end of figures -->\nafter\n")
    assert "outdated" not in renewed
    assert cost_page.renewed(renewed, MEASURED, ASSUMED) == renewed


def test_schedules_and_what_is_paid_by_the_month_are_read_from_the_template() -> None:
    template = Template(PROJECT / "template.yaml", {"BotUsername": "some_bot"})

    assert cost._schedules(template, 0.0)["Sweep"] == 300
    assert cost._standing(template)["dashboards"] == 1
    assert "ShutDownIdle" in cost._only_with_agent(template)

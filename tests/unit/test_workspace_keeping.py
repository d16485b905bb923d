"""Which snapshots are kept, and that nothing which is kept loses its content to a collection."""

import datetime as dt
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from assistant.workspace.keeping import kept
from assistant.workspace.model import Snapshot
from tests.doubles import NOON

DAY = 86_400

moments = st.lists(st.integers(NOON - 500 * DAY, NOON), max_size=60).map(sorted)


def snapshots(at: list[int]) -> list[Snapshot]:
    return [Snapshot(number, 1, f"{number}", "", moment, 0, 0, 0, 0) for number, moment in enumerate(at, start=1)]


def test_all_of_a_day_then_one_a_day_then_one_a_month() -> None:
    every_hour = list(range(NOON - 90 * DAY, NOON + 1, 3600))

    ages = sorted((NOON - every_hour[number - 1]) // 3600 for number in kept(snapshots(every_hour), NOON))

    assert ages[:24] == list(range(24))  # it is noon: the last of each day before is 13 hours older
    assert ages[24:52] == [13 + 24 * day for day in range(1, 29)]
    kept_months = [dt.datetime.fromtimestamp(NOON - age * 3600, dt.UTC).strftime("%m-%d %H") for age in ages[52:]]
    assert kept_months == ["09-30 23", "08-31 23"]


@given(moments)
def test_each_day_of_the_last_thirty_and_each_month_keeps_its_last(at: list[int]) -> None:
    listed = snapshots(at)
    keeping = kept(listed, NOON)

    for one, after in pairwise([*listed, None]):
        assert one is not None
        day, following = _day(one.created_at), None if after is None else _day(after.created_at)
        if following is None or (day.year, day.month) != (following.year, following.month):
            assert one.number in keeping
        if (_day(NOON) - day).days < 30 and day != following:
            assert one.number in keeping
        if one.created_at > NOON - DAY:
            assert one.number in keeping


@given(moments, st.lists(st.integers(1, 20), max_size=12))
def test_thinning_out_again_and_again_comes_to_the_same_as_once(at: list[int], steps: list[int]) -> None:
    now = float(NOON - sum(steps) * DAY)
    left = [one for one in snapshots(at) if one.created_at <= now]
    waiting = [one for one in snapshots(at) if one.created_at > now]

    for days in steps:
        left = [one for one in left if one.number in kept(left, now)]
        now += days * DAY
        left += [one for one in waiting if one.created_at <= now]
        waiting = [one for one in waiting if one.created_at > now]

    assert kept(left, NOON) == kept(snapshots(at), NOON)


def _day(moment: float) -> dt.date:
    return dt.datetime.fromtimestamp(moment, dt.UTC).date()

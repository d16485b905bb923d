"""A backup, a restore and a collection are stopped at every call they make: what was committed last is there."""

from collections.abc import Callable

import pytest

from local import workspace_trials as trials
from local.workspace_trials import Tally


@pytest.mark.parametrize(
    ("run", "least"),
    [(trials.try_backups, 40), (trials.try_restores, 40), (trials.try_collections, 60), (trials.try_returns, 20)],
    ids=["backup", "restore", "collection", "bringing back"],
)
def test_whatever_call_goes_wrong_nothing_that_was_committed_is_lost(
    run: Callable[[], Tally], least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = run()

    with capsys.disabled():
        pass
    assert tally.lost == []
    assert tally.tried >= least

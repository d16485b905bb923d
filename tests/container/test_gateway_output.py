"""What of the gateway's output may be logged."""

from __future__ import annotations

import pytest

from agent.gateway_output import presentable


@pytest.mark.parametrize("was_ready", [False, True])
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b'{"level":"info","subsystem":"gateway","message":"ready s3cret"}', "gateway: ready ***"),
        (b'{"level":"info","subsystem":"state/database-verify","message":"passed"}', "state/database-verify: passed"),
        (b'{"subsystem":"gateway","message":"two\\n- lines"}', "gateway: two - lines"),
        (b'{"level":"info","message":"the answer"}', ""),
        (b'{"level":"error","message":"the answer"}', ""),
        (b'{"level":"info","subsystem":"agent/embedded","message":"about a run"}', ""),
        (b'{"level":"error","subsystem":"diagnostic","message":"about a run"}', "diagnostic: error"),
        (b'{"level":"warn","subsystem":"gateway/ws","message":"what a provider said"}', "gateway/ws: warn"),
    ],
)
def test_messages_of_the_gateway_are_shown_and_texts_of_runs_are_not(line: bytes, shown: str, was_ready: bool) -> None:
    assert presentable(line, secrets=("s3cret",), was_ready=was_ready) == shown


@pytest.mark.parametrize("line", [b"plain s3cret", b"\xff", b'{"message": 7}', b"7", b'"text"'])
def test_other_lines_are_shown_only_until_it_is_ready(line: bytes) -> None:
    assert presentable(line, secrets=("s3cret",), was_ready=True) == ""

    shown = presentable(line, secrets=("s3cret",), was_ready=False)

    assert shown
    assert "s3cret" not in shown

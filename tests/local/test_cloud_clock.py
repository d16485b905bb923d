"""The virtual clock, and how a function's process reads it."""

import threading
import time

import pytest

from local.clock import RemoteClock, VirtualClock
from local.server import Environ, StartResponse, WebServer


def test_starts_at_the_given_moment_and_moves_with_real_time() -> None:
    clock = VirtualClock(1_000_000.0)

    first = clock.now()

    assert 1_000_000.0 <= first < 1_000_001.0
    assert clock.now() >= first


def test_advance_moves_forward_and_refuses_to_go_back() -> None:
    clock = VirtualClock(0.0)

    assert 3600 <= clock.advance(3600) < 3601
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_a_jump_to_the_past_changes_nothing() -> None:
    clock = VirtualClock(5000.0)

    clock.jump_to(100.0)

    assert clock.now() >= 5000.0
    assert 6000 <= clock.jump_to(6000.0) < 6001


def test_never_runs_backwards_when_the_machine_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    before = clock.now()

    monkeypatch.setattr(time, "time", lambda: before - 500)

    assert clock.now() >= before


def test_a_jump_wakes_who_waits() -> None:
    clock = VirtualClock(0.0)
    reached: list[bool] = []
    waiter = threading.Thread(target=lambda: reached.append(clock.wait_until(1e6)))
    waiter.start()

    clock.jump_to(1e6)
    waiter.join(5)

    assert reached == [True]


def test_waiting_ends_at_the_real_limit_or_when_stopped() -> None:
    clock = VirtualClock(0.0)

    assert not clock.wait_until(1e6, real_limit_s=0.01)
    assert not clock.wait_until(1e6, stop=lambda: True)


def test_the_remote_clock_reads_at_most_once_a_second_unless_refreshed() -> None:
    clock, reads = VirtualClock(1_000_000.0), []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        reads.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [repr(clock.now()).encode()]

    server = WebServer(app)
    server.start()
    try:
        remote = RemoteClock(f"http://127.0.0.1:{server.port}/_local/clock")
        assert remote.now() == pytest.approx(clock.now(), abs=0.5)
        clock.advance(1000)
        remote.now()
        assert len(reads) == 1
        remote.refresh()
        assert remote.now() == pytest.approx(clock.now(), abs=0.5)
        assert reads == ["/_local/clock"] * 2
    finally:
        server.stop()

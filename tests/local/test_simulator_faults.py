"""Over a real socket: connections do break, and waits end with the client. Limits follow the calendar."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from local.simulators import AnthropicSimulator, Fault
from local.simulators.faults import FaultQueue, Waits
from local.simulators.limits import Period, RequestWindow, SlidingWindow, Slots, TokenBucket

QUESTION = {
    "model": "m",
    "max_tokens": 9,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello, simulated world"}],
}
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}


class FixedClock:
    def now(self) -> float:
        return 1_794_300_000.0


class QuietHandler(WSGIRequestHandler):  # type: ignore[misc]  # werkzeug is untyped here
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


@pytest.fixture
def simulator() -> AnthropicSimulator:
    return AnthropicSimulator(FixedClock(), "k", hang_limit_s=30)


@pytest.fixture
def address(simulator: AnthropicSimulator) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, simulator, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/messages"
    simulator.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_closed_connection_sends_no_byte(simulator: AnthropicSimulator, address: str) -> None:
    simulator.order(Fault.CLOSED)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        httpx.post(address, json=QUESTION, headers=HEADERS, timeout=5)


def test_a_cut_stream_ends_without_its_last_chunk(simulator: AnthropicSimulator, address: str) -> None:
    simulator.order(Fault.CUT)

    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        httpx.post(address, json=QUESTION, headers=HEADERS, timeout=5)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.STALL])
def test_the_clients_timeout_ends_a_wait(simulator: AnthropicSimulator, address: str, fault: Fault) -> None:
    simulator.order(fault)

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(address, json=QUESTION, headers=HEADERS, timeout=0.2)
    deadline = time.monotonic() + 5
    while _serving() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert not _serving()


def test_a_huge_answer_stops_when_the_client_leaves(simulator: AnthropicSimulator, address: str) -> None:
    simulator.order(Fault.HUGE)
    simulator.huge_bytes = 10**12  # it would take minutes

    with httpx.stream("POST", address, json=QUESTION, headers=HEADERS, timeout=5) as response:
        received = sum(len(next(chunks)) for chunks in [response.iter_bytes(65_536)] for _ in range(4))
    deadline = time.monotonic() + 5
    while _serving() and time.monotonic() < deadline:
        threading.Event().wait(0.02)

    assert received > 100_000
    assert not _serving()


def _serving() -> bool:
    return any("process_request_thread" in thread.name for thread in threading.enumerate())


def test_a_trickling_answer_is_whole_and_takes_its_time(simulator: AnthropicSimulator, address: str) -> None:
    simulator.order(Fault.TRICKLE)
    simulator.slow_s = 0.2
    began = time.monotonic()

    with httpx.stream("POST", address, json=QUESTION, headers=HEADERS, timeout=5) as response:
        moments = [time.monotonic() - began for _ in response.iter_bytes()]

    assert len(moments) > 4
    assert moments[0] < 0.1 < moments[-1] < 5


def test_clearing_lets_go_of_what_is_kept_waiting(simulator: AnthropicSimulator, address: str) -> None:
    simulator.order(Fault.SLOW)
    simulator.slow_s = 30
    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(address, json=QUESTION, headers=HEADERS, timeout=10))
    )
    asking.start()
    deadline = time.monotonic() + 5
    while not simulator.requests and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    while asking.is_alive() and time.monotonic() < deadline:
        simulator.clear()
        asking.join(0.05)

    assert [answer.status_code for answer in answers] == [200]


def test_waits_are_bounded() -> None:
    began = time.monotonic()

    Waits(0.05).wait({}, seconds=60)

    assert time.monotonic() - began < 5


def test_faults_are_taken_in_order() -> None:
    queue = FaultQueue[Fault]()
    queue.order(Fault.THROTTLED, times=2)
    queue.order(Fault.HANG, times=None)

    taken = [queue.take() for _ in range(4)]
    queue.clear()

    assert taken == [Fault.THROTTLED, Fault.THROTTLED, Fault.HANG, Fault.HANG]
    assert queue.take() is None


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.MINUTE, datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.DAY, datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_periods_are_calendar_periods_in_utc(period: Period, start: datetime, end: datetime) -> None:
    at = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC).timestamp()

    assert (period.start(at), period.end(at)) == (start.timestamp(), end.timestamp())


def test_a_window_forgets_when_its_period_is_over() -> None:
    window = RequestWindow(2, Period.DAY)
    window.add(0)
    window.add(86_399)

    assert (window.is_full(86_399), window.remaining(86_399)) == (True, 0)
    assert (window.is_full(86_400), window.remaining(86_400), window.used(86_400)) == (False, 2, 0)
    assert RequestWindow(None, Period.DAY).remaining(0) is None


def test_slots_are_given_back() -> None:
    slots = Slots(1)

    assert slots.acquire(0)
    assert slots.most_in_flight == 1
    assert not slots.acquire(0.01)
    slots.release()
    assert slots.acquire(0)
    assert slots.most_in_flight == 2


def test_a_bucket_refills_and_never_runs_over() -> None:
    bucket = TokenBucket(burst=2, per_second=0.5)
    bucket.take(100)
    bucket.take(100)

    assert bucket.wait_s(100) == pytest.approx(2)
    assert bucket.wait_s(102) == 0
    bucket.take(1_000)
    bucket.take(1_000)
    assert bucket.wait_s(1_000) > 0


def test_a_sliding_window_never_has_more_than_its_limit() -> None:
    window = SlidingWindow(2, 60)
    window.take(0)
    window.take(50)

    assert window.wait_s(50) == 10
    assert window.wait_s(60) == 0
    window.take(60)
    assert window.wait_s(60) == 50

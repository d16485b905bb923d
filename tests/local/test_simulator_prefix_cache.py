"""Anthropic's prompt cache: what is written, what is read, what it costs, and what is silently left alone."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulators import AnthropicSimulator, Fault
from local.simulators.anthropic import Prices
from local.simulators.prefix_cache import PrefixCache, blocks_of

KEY = "key-of-the-test"
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
MARK: dict[str, Any] = {"type": "ephemeral"}
HOUR: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}
MODEL = "claude-sonnet-5"


class SettableClock:
    at = 1_794_300_000.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def simulator(clock: SettableClock) -> AnthropicSimulator:
    return AnthropicSimulator(clock, KEY, per_minute=1000)


def block(tokens: int, mark: dict[str, Any] | None = None, letter: str = "s") -> dict[str, Any]:
    return {"type": "text", "text": letter * 4 * tokens} | ({"cache_control": mark} if mark else {})


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def body(*, system: Any = None, messages: list[Any] | None = None, model: str = MODEL, **extra: Any) -> dict[str, Any]:
    asked = {"model": model, "max_tokens": 100, "messages": messages or [user(block(10, letter="q"))]}
    return asked | ({} if system is None else {"system": system}) | extra


def post(simulator: AnthropicSimulator, asked: dict[str, Any]) -> httpx.Response:
    with httpx.Client(transport=httpx.WSGITransport(app=simulator), base_url="http://simulated") as client:
        return client.post(simulator.endpoint, json=asked, headers=HEADERS)


def counted(simulator: AnthropicSimulator, asked: dict[str, Any]) -> tuple[int, int, int]:
    """Tokens that were read from the cache, written to it, and neither."""
    usage = post(simulator, asked).json()["usage"]
    split = usage["cache_creation"]
    assert sum(split.values()) == usage["cache_creation_input_tokens"]
    return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["input_tokens"]


def said(simulator: AnthropicSimulator, asked: dict[str, Any]) -> str:
    response = post(simulator, asked)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    return str(response.json()["error"]["message"])


def test_a_prefix_is_written_once_and_then_read(simulator: AnthropicSimulator) -> None:
    asked = body(system=[block(2000, MARK)])

    assert [counted(simulator, asked) for _ in range(3)] == [(0, 2000, 10), (2000, 0, 10), (2000, 0, 10)]


def test_without_a_marker_nothing_is_cached(simulator: AnthropicSimulator) -> None:
    asked = body(system="s" * 8000)

    assert [counted(simulator, asked) for _ in range(2)] == [(0, 0, 2010), (0, 0, 2010)]
    assert len(simulator.cache) == 0


def test_the_stream_begins_with_the_counts(simulator: AnthropicSimulator) -> None:
    response = post(simulator, body(system=[block(2000, MARK)], stream=True))

    first = json.loads(response.text.split("data: ")[1].split("\n")[0])
    assert first["message"]["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 2000,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
    }


@pytest.mark.parametrize(
    "changed",
    [
        body(system=[block(2000, MARK, letter="t")]),
        body(system=[block(2000, MARK)], model="claude-opus-4-8"),
        body(system=[block(2000, MARK)], tools=[{"name": "delegate", "input_schema": {}}]),
        body(system=[{"type": "text", "text": "s" * 7999 + "S", "cache_control": MARK}]),
    ],
    ids=["text", "model", "tools", "last character"],
)
def test_any_change_in_the_prefix_misses(simulator: AnthropicSimulator, changed: dict[str, Any]) -> None:
    counted(simulator, body(system=[block(2000, MARK)]))

    assert counted(simulator, changed)[0] == 0


def test_what_follows_the_prefix_may_change(simulator: AnthropicSimulator) -> None:
    counted(simulator, body(system=[block(2000, MARK)]))

    assert counted(simulator, body(system=[block(2000, MARK)], messages=[user(block(33, letter="z"))])) == (2000, 0, 33)


@pytest.mark.parametrize(
    ("model", "minimum"),
    [
        ("claude-sonnet-5", 1024),
        ("claude-opus-5", 512),
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-20250514", 1024),
        ("claude-of-tomorrow", 1024),
    ],
)
def test_below_the_models_minimum_a_marker_does_nothing(
    simulator: AnthropicSimulator, model: str, minimum: int
) -> None:
    short = body(system=[block(minimum - 1, MARK)], model=model)
    enough = body(system=[block(minimum, MARK)], model=model)

    assert [counted(simulator, short) for _ in range(2)] == [(0, 0, minimum + 9)] * 2
    assert [counted(simulator, enough) for _ in range(2)] == [(0, minimum, 10), (minimum, 0, 10)]


def test_the_minimum_is_the_whole_prefixs(clock: SettableClock) -> None:
    simulator = AnthropicSimulator(clock, KEY, minimum_tokens={MODEL: 100})
    asked = body(system=[block(99, MARK)], messages=[user(block(1, MARK), block(5))])

    assert [counted(simulator, asked) for _ in range(2)] == [(0, 100, 5), (100, 0, 5)]
    assert len(simulator.cache) == 1


def test_five_minutes_from_the_last_use(simulator: AnthropicSimulator, clock: SettableClock) -> None:
    asked = body(system=[block(2000, MARK)])
    counted(simulator, asked)
    reads = []
    for _ in range(3):
        clock.at += 299
        reads.append(counted(simulator, asked)[0])
    clock.at += 300

    assert reads == [2000] * 3
    assert counted(simulator, asked) == (0, 2000, 10)


def test_an_hour_if_asked_for(simulator: AnthropicSimulator, clock: SettableClock) -> None:
    asked = body(system=[block(2000, HOUR)], messages=[user(block(100, MARK), block(7))])
    first = post(simulator, asked).json()["usage"]["cache_creation"]
    clock.at += 3599
    second = post(simulator, asked).json()["usage"]
    clock.at += 3599

    assert first == {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 2000}
    assert (second["cache_read_input_tokens"], second["cache_creation"]["ephemeral_5m_input_tokens"]) == (2000, 100)
    assert counted(simulator, asked)[0] == 2000
    clock.at += 3600
    assert counted(simulator, asked)[0] == 0


def test_what_has_run_out_is_not_kept(simulator: AnthropicSimulator, clock: SettableClock) -> None:
    for at in range(50):
        counted(simulator, body(system=[block(2000, MARK, letter=chr(ord("A") + at))]))
        clock.at += 100

    assert len(simulator.cache) == 3


def conversation(turns: int, *, marked: bool = True) -> list[dict[str, Any]]:
    """Pairs of 100 tokens each, and a question; its block is the last breakpoint."""
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        messages += [user(block(50, letter=chr(65 + turn))), assistant(block(50, letter=chr(97 + turn)))]
    return [*messages, user(block(50, MARK if marked else None, letter=chr(65 + turns)))]


def test_a_growing_conversation_reads_what_the_last_turn_wrote(simulator: AnthropicSimulator) -> None:
    system = [block(2000, MARK)]

    counts = [counted(simulator, body(system=system, messages=conversation(turn))) for turn in range(4)]

    assert counts == [(0, 2050, 0), (2050, 100, 0), (2150, 100, 0), (2250, 100, 0)]


def test_a_marker_that_moves_on_is_not_part_of_the_prefix(simulator: AnthropicSimulator) -> None:
    long_ago = [user(block(2000, MARK))]
    later = [{"role": "user", "content": "s" * 8000}, assistant(block(20)), user(block(30, MARK))]
    joined = [user(block(2000, letter="s")), user(block(5, MARK))]

    assert counted(simulator, body(messages=long_ago)) == (0, 2000, 0)
    assert counted(simulator, body(messages=later)) == (2000, 50, 0)
    assert counted(simulator, body(messages=joined)) == (2000, 5, 0)


def test_a_sliding_window_never_hits(simulator: AnthropicSimulator) -> None:
    for turn in range(12, 16):
        window = conversation(turn)[-21:]
        assert counted(simulator, body(messages=[user(block(1500, letter=str(turn % 10))), *window]))[0] == 0


@pytest.mark.parametrize(("blocks_between", "read"), [(19, 2000), (20, 0)])
def test_the_lookback_ends_after_twenty_blocks(simulator: AnthropicSimulator, blocks_between: int, read: int) -> None:
    counted(simulator, body(messages=[user(block(2000, MARK))]))
    rest = [block(1, letter="r") for _ in range(blocks_between - 1)]

    assert counted(simulator, body(messages=[user(block(2000), *rest, block(1, MARK, letter="e"))]))[0] == read


def test_the_longest_hit_of_all_breakpoints_counts(simulator: AnthropicSimulator) -> None:
    counted(simulator, body(system=[block(2000, MARK)], messages=[user(block(300, MARK, letter="q"))]))
    far = [user(block(300, MARK, letter="q")), assistant(*[block(1, letter="r") for _ in range(30)])]
    last = user(block(40, MARK, letter="e"))

    assert counted(simulator, body(system=[block(2000, MARK)], messages=[*far, last])) == (2300, 70, 0)


def test_tools_come_first(simulator: AnthropicSimulator) -> None:
    tool = {"name": "delegate", "description": "d" * 8000, "input_schema": {}, "cache_control": MARK}
    read, written, rest = counted(simulator, body(tools=[tool], system="Be brief."))

    assert (read, rest) == (0, 13)
    assert written > 2000
    assert counted(simulator, body(tools=[tool], system="Be lavish."))[0] == written


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (
            body(system=[block(9, MARK)], messages=[user(*[block(1, MARK) for _ in range(4)])]),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            body(system=[block(9, MARK)], messages=[user(block(1), block(1, HOUR))]),
            (
                "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a "
                "ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, "
                "`system`, `messages`."
            ),
        ),
        (
            body(messages=[user(block(1), block(0, MARK))]),
            "messages.0.content.1.text: cache_control cannot be set for empty text blocks",
        ),
        (body(system=[block(9, {"type": "lasting"})]), "system.0.cache_control.type: Input should be 'ephemeral'"),
        (
            body(system=[block(9, {"type": "ephemeral", "ttl": "1d"})]),
            "system.0.cache_control.ttl: Input should be '5m' or '1h'",
        ),
        (body(system=[block(9), block(0)]), "system: text content blocks must be non-empty"),
    ],
)
def test_wrong_markers_are_refused(simulator: AnthropicSimulator, asked: dict[str, Any], problem: str) -> None:
    assert said(simulator, asked) == problem
    assert simulator.spent_micro_dollars == 0


def test_four_markers_are_accepted(simulator: AnthropicSimulator) -> None:
    assert post(simulator, body(messages=[user(*[block(1, MARK) for _ in range(4)])])).status_code == 200


def test_input_beyond_the_context_window_is_refused(clock: SettableClock) -> None:
    simulator = AnthropicSimulator(clock, KEY, context_window=1000)

    assert said(simulator, body(system="s" * 3964)) == "prompt is too long: 1001 tokens > 1000 maximum"
    assert post(simulator, body(system="s" * 3960)).status_code == 200


def test_too_long_can_be_ordered(simulator: AnthropicSimulator) -> None:
    simulator.order(Fault.TOO_LONG)

    assert said(simulator, body()) == "prompt is too long: 200001 tokens > 200000 maximum"
    assert post(simulator, body()).status_code == 200


def test_the_bill_is_what_the_usage_says(simulator: AnthropicSimulator) -> None:
    simulator.compose = lambda _: "a" * 400
    asked = body(system=[block(2000, MARK)])

    post(simulator, asked)
    first = simulator.spent_micro_dollars
    post(simulator, asked | {"stream": True})
    second = simulator.spent_micro_dollars - first

    assert first == pytest.approx(2000 * 2.5 + 10 * 2 + 100 * 10)
    assert second == pytest.approx(2000 * 0.2 + 10 * 2 + 100 * 10)


def test_prices_are_settings_and_refusals_cost_nothing(clock: SettableClock) -> None:
    simulator = AnthropicSimulator(clock, KEY, prices=Prices(input=3, output=0, written_1h=6), per_minute=2)
    simulator.order(Fault.OVERLOADED)
    answers = [post(simulator, body(system=[block(2000, HOUR)])) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [529, 200, 200, 429]
    assert simulator.spent_micro_dollars == pytest.approx(2000 * 6 + 2000 * 0.2 + 2 * 10 * 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=1, max_size=4), min_size=1))
def test_every_token_is_counted_once(requests: list[list[tuple[int, bool]]]) -> None:
    cache = PrefixCache()
    for at, sizes in enumerate(requests):
        blocks = blocks_of({"messages": [user(*(block(size, MARK if marked else None) for size, marked in sizes))]})
        first, second = (cache.account(MODEL, blocks, at * 100.0) for _ in range(2))

        assert first.total == second.total == sum(size for size, _ in sizes)
        assert second.read == first.read + first.written_5m
        assert second.written_5m == 0

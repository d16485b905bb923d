"""/usage and /providers say, in lines that fit a phone, what the ledger and the days' sums hold."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import ProviderExhausted, ProviderRejected, ProviderThrottled, ProviderUnavailable
from assistant.turns.accepting import Say
from assistant.turns.chain import load_chain
from assistant.turns.ledger import NOT_CONFIGURED, AccountQuota, Entry
from assistant.turns.model import Usage, Used
from assistant.turns.reporting import WIDTH, Reporting, until
from tests.doubles import NOON, DrivenClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.errors import ProviderError
    from tests.doubles import World

DAY, MONTH, MONEY = "day:2026-11-22", "month:2026-11", "month_micro_dollars:2026-11"
TONIGHT = NOON + 12 * 3600
CHAIN = load_chain()


class Counted:
    """A ledger and a usage book that hold what they are given, and count how often they are read."""

    def __init__(self, entries: Mapping[str, Entry], days: Mapping[str, Mapping[str, Used]]) -> None:
        self._entries, self._days = entries, days
        self.reads: list[str] = []

    def entries(self) -> Mapping[str, Entry]:
        self.reads.append("ledger")
        return self._entries

    def days(self, first: str, last: str) -> Mapping[str, Mapping[str, Used]]:
        self.reads.append(f"{first}…{last}")
        return self._days


def reporting(
    entries: Mapping[str, Entry] | None = None,
    days: Mapping[str, Mapping[str, Used]] | None = None,
    *,
    now: float = NOON,
    dollars: float = 5,
    carry_over: bool = False,
) -> Reporting:
    chain = CHAIN.with_settings(dollars_per_month=dollars, carry_over=carry_over)
    stored: Any = Counted(entries or {}, days or {})
    return Reporting(chain, stored, stored, DrivenClock(now))


def section(report: str, name: str) -> list[str]:
    """The lines below a provider's name."""
    (found,) = (part.split("\n") for part in report.split("\n\n") if part.split("\n")[0].endswith(name))
    return found[1:]


def usage(name: str, **how: Any) -> list[str]:
    return section(reporting(**how)("usage"), name)


def state(name: str, entry: Entry, **how: Any) -> list[str]:
    """What /providers says of a provider, without its model and price."""
    provider = next(provider for provider in CHAIN.providers if provider.name == name)
    lines = section(reporting({provider.id: entry}, **how)("providers"), name)
    return [line for line in lines if provider.model not in line and "1M tokens" not in line]


# --- /usage


def test_used_left_and_when_it_begins_anew() -> None:
    report = reporting({"copilot": Entry({DAY: 60, MONTH: 1420})})("usage")

    assert report.startswith("Usage, 22 November, 12:00 UTC\n\nGitHub Copilot\n")
    assert section(report, "GitHub Copilot") == ["Today: 60 of 66, 6 left", "Month: 1,420 of 2,000, 580 left"]
    assert report.endswith("A new day begins at 00:00 UTC,\na new month on 1 December.")


def test_a_window_that_is_over_does_not_count() -> None:
    assert usage("OpenRouter", entries={"openrouter": Entry({"day:2026-11-21": 50})})[0] == "Today: 0 of 50, 50 left"


def test_what_the_ledger_does_not_count_comes_from_the_days_sums() -> None:
    days = {
        "2026-11-03": {"ollama-cloud": Used(requests=1203)},
        "2026-11-22": {"ollama-cloud": Used(requests=1), "copilot": Used(requests=9)},
    }

    assert usage("Ollama Cloud", days=days) == ["Today: 1 request", "Month: 1,204 requests"]


def test_a_provider_nobody_needed_is_one_line() -> None:
    assert usage("Ollama Cloud") == ["Not used this month."]


def test_what_was_used_up_says_until_when() -> None:
    entry = Entry({DAY: 66, MONTH: 1432})

    assert usage("GitHub Copilot", entries={"copilot": entry}) == [
        "Today: 66 of 66, none left",
        "Month: 1,432 of 2,000, 568 left",
        "Used up until 00:00 UTC.",
    ]


def test_the_months_end_is_a_date() -> None:
    assert usage("GitHub Copilot", entries={"copilot": Entry({DAY: 60, MONTH: 2000})})[-1] == (
        "Used up until 1 December."
    )


def test_more_than_there_was_leaves_none() -> None:
    entry = Entry({DAY: 61})

    assert usage("OpenRouter", entries={"openrouter": entry})[0] == "Today: 61 of 50, none left"


def test_the_accounts_own_limit_of_a_day_counts() -> None:
    entry = Entry({DAY: 61}, day_limit=1000)

    assert usage("OpenRouter", entries={"openrouter": entry})[0] == "Today: 61 of 1,000, 939 left"


def test_days_that_were_not_used_are_carried_over() -> None:
    entry = Entry({DAY: 12, MONTH: 1420})

    lines = usage("GitHub Copilot", entries={"copilot": entry}, carry_over=True)

    assert lines == ["Today: 12 used, 32 left", "Month: 1,420 of 2,000, 580 left"]  # 22 days of 66 are 1,452


def test_at_the_end_of_a_month_the_month_is_the_limit_of_what_was_carried_over() -> None:
    last_day = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()
    entry = Entry({"day:2026-12-31": 12, "month:2026-12": 1420})

    lines = usage("GitHub Copilot", entries={"copilot": entry}, carry_over=True, now=last_day)

    assert lines == ["Today: 12 requests", "Month: 1,420 of 2,000, 580 left"]


def test_dollars_tokens_and_the_share_from_the_cache() -> None:
    used = Used(
        requests=3, input_tokens=900, cached_tokens=8100, written_tokens=1000, output_tokens=500, micro_dollars=41_000
    )
    days = {"2026-11-20": {"anthropic": replace(used, requests=18)}, "2026-11-22": {"anthropic": used}}

    assert usage("Claude", entries={"anthropic": Entry({MONEY: 412_300})}, days=days) == [
        "Today: 3 requests, $0.04",
        "Month: 21 requests",
        "Budget: $0.41 of $5.00, $4.59 left",
        "Tokens: 21,000 (81% cached)",
    ]


@pytest.mark.parametrize(
    ("used", "line"),
    [
        (Used(input_tokens=100, output_tokens=20), "Tokens: 120"),
        (Used(input_tokens=999, cached_tokens=1), "Tokens: 1,000 (<1% cached)"),
        (Used(output_tokens=7), "Tokens: 7"),
    ],
)
def test_tokens(used: Used, line: str) -> None:
    assert usage("OpenRouter", days={"2026-11-22": {"openrouter": used}})[-1] == line


def test_less_than_a_cent_is_not_nothing() -> None:
    days = {"2026-11-22": {"anthropic": Used(requests=1, micro_dollars=2_400)}}

    assert usage("Claude", days=days)[:2] == ["Today: 1 request, under $0.01", "Month: 1 request"]


def test_what_a_provider_without_a_budget_costs_is_told() -> None:
    chain = replace(CHAIN, providers=tuple(replace(provider, budgets=()) for provider in CHAIN.providers))
    days = {"2026-11-02": {"anthropic": Used(requests=2, micro_dollars=3_000_000)}}
    stored: Any = Counted({}, days)

    report = Reporting(chain, stored, stored, DrivenClock())("usage")

    assert section(report, "Claude") == ["Today: none", "Month: 2 requests, $3.00"]


def test_a_budget_that_is_spent_is_never_less_than_nothing() -> None:
    lines = usage("Claude", entries={"anthropic": Entry({MONEY: 5_010_000})})

    assert lines[-2:] == ["Budget: $5.01 of $5.00, $0.00 left", "Used up until 1 December."]


def test_a_provider_without_a_key_takes_one_line() -> None:
    entry = Entry(blocked_until=NOON + 60, block_cause=NOT_CONFIGURED)

    assert usage("OpenRouter", entries={"openrouter": entry}) == ["No key is set."]


def test_a_provider_that_lost_its_key_keeps_its_figures() -> None:
    entry = Entry({DAY: 3}, blocked_until=NOON + 60, block_cause=NOT_CONFIGURED)

    assert usage("OpenRouter", entries={"openrouter": entry})[::2] == ["Today: 3 of 50, 47 left", "No key is set."]


def test_usage_takes_two_reads_and_providers_one() -> None:
    report = reporting()
    stored: Any = report.ledger

    report("usage")
    assert stored.reads == ["ledger", "2026-11-01…2026-11-22"]
    report("providers")
    assert stored.reads[2:] == ["ledger"]


# --- /providers


def test_the_chain_in_order_with_model_and_price() -> None:
    report = reporting({"copilot": Entry({DAY: 1})})("providers")

    assert report.split("\n\n") == [
        "I ask them in this order:",
        "1. GitHub Copilot\ngemini-3.6-flash, free\nReady.",
        "2. OpenRouter\nopenrouter/free, free\nNot asked yet.",
        "3. Ollama Cloud\ngpt-oss:120b, free\nNot asked yet.",
        "4. Claude\nclaude-sonnet-5\n1M tokens: $2 in, $10 out\nNot asked yet.",
        "Next to be asked: GitHub Copilot",
    ]


@pytest.mark.parametrize(
    ("cause", "because"),
    [
        ("quota", "it says its quota is used up."),
        ("rate_limit", "it was asked too fast."),
        ("cooldown", "it was not working."),
    ],
)
def test_a_block_says_until_when_and_why(cause: str, because: str) -> None:
    entry = Entry(blocked_until=NOON + 330, block_cause=cause)

    assert state("OpenRouter", entry) == ["Paused until 12:06 UTC:", because]


def test_a_cause_of_tomorrow_is_no_word_for_a_user() -> None:
    assert state("OpenRouter", Entry(blocked_until=NOON + 300, block_cause="new_cause")) == ["Paused until 12:05 UTC."]


def test_a_refused_key_needs_the_owner() -> None:
    entry = Entry({DAY: 50}, blocked_until=NOON + 6 * 3600, block_cause="rejected")

    assert state("OpenRouter", entry) == [
        "It refuses the key, the account",
        "or the model: my owner must act.",
        "Paused until 18:00 UTC.",
    ]


def test_a_quota_of_its_own_that_lasts_as_long_as_our_count_is_said_once() -> None:
    entry = Entry({DAY: 50}, blocked_until=TONIGHT, block_cause="quota")

    assert state("OpenRouter", entry) == ["Used up until 00:00 UTC."]


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("OpenRouter", Entry(blocked_until=NOON, block_cause="quota"), "Will be tried again."),
        ("OpenRouter", Entry(blocked_until=NOON - 9, block_cause="rejected"), "Will be tried again."),
        ("OpenRouter", Entry(blocked_until=NOON - 9, block_cause=NOT_CONFIGURED), "No key is set."),
        ("OpenRouter", Entry({"minute:2026-11-22T12:00": 20}), "Used up until 12:01 UTC."),
        ("Ollama Cloud", Entry(slot_holder="chat42-1-1", slot_until=NOON + 60), "Busy with a question."),
        ("Ollama Cloud", Entry(slot_holder="chat42-1-1", slot_until=NOON), "Ready."),
        ("Ollama Cloud", Entry(failures=1), "Ready."),
    ],
)
def test_states_in_words(name: str, entry: Entry, said: str) -> None:
    assert state(name, entry) == [said]


def test_a_probe_under_way_is_said() -> None:
    entry = Entry(blocked_until=NOON - 9, block_cause="quota", probe_until=NOON + 60)

    assert state("OpenRouter", entry) == ["Is just being tried again."]


@pytest.mark.parametrize(("dollars", "said"), [(0, "Off: its budget is $0.00."), (0.02, "Off: its budget is $0.02.")])
def test_a_budget_too_small_for_any_answer_is_off(dollars: float, said: str) -> None:
    assert state("Claude", Entry(), dollars=dollars) == [said]


def test_when_nobody_can_be_asked_it_says_so() -> None:
    entries = {provider.id: Entry(blocked_until=NOON + 60, block_cause="cooldown") for provider in CHAIN.providers}

    assert reporting(entries)("providers").endswith("\n\nNone of them can be asked now.")


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-11-22T12:00:05", "12:00 UTC"),
        ("2026-11-22T12:00:06", "12:01 UTC"),
        ("2026-11-22T23:59:00", "23:59 UTC"),
        ("2026-11-22T23:59:30", "00:00 UTC"),
        ("2026-11-23T00:00:00", "00:00 UTC"),
        ("2026-11-23T08:00:00", "tomorrow, 08:00 UTC"),
        ("2026-11-24T00:00:00", "24 November"),
        ("2026-11-24T08:00:00", "24 Nov, 08:00 UTC"),
        ("2026-12-01T00:00:01", "1 December"),
        ("2027-01-01T00:00:00", "1 January"),
        ("2027-11-22T08:00:00", "22 Nov 2027, 08:00 UTC"),
        ("2028-01-01T00:00:00", "1 January 2028"),
    ],
)
def test_moments_as_one_says_them(moment: str, said: str) -> None:
    assert until(int(datetime.fromisoformat(f"{moment}+00:00").timestamp()), NOON) == said


# --- on a phone, whatever the figures

ids = st.sampled_from([provider.id for provider in CHAIN.providers])
causes = st.sampled_from(["rate_limit", "quota", "cooldown", "rejected", NOT_CONFIGURED])
moments = st.none() | st.integers(int(NOON) - 3600, int(NOON) + 40 * 86400)
tokens = st.integers(0, 2_000_000)


@st.composite
def ledgers(draw: st.DrawFn) -> Entry:
    blocked_until = draw(moments)
    return Entry(
        windows={
            DAY: draw(st.integers(0, 1000)),
            MONTH: draw(st.integers(0, 2000)),
            MONEY: draw(st.integers(0, 5_000_000)),
        },
        blocked_until=blocked_until,
        block_cause=None if blocked_until is None else draw(causes),
        probe_until=draw(moments),
        slot_until=draw(moments),
        day_limit=draw(st.none() | st.just(1000)),
    )


used = st.builds(
    Used,
    requests=st.integers(0, 4_999),
    input_tokens=tokens,
    cached_tokens=tokens,
    written_tokens=tokens,
    output_tokens=tokens,
    micro_dollars=st.integers(0, 5_000_000),
)
days_of_a_month = st.dictionaries(st.sampled_from(["2026-11-01", "2026-11-22"]), st.dictionaries(ids, used))


@given(entries=st.dictionaries(ids, ledgers()), days=days_of_a_month, carry_over=st.booleans())
def test_every_line_fits_a_phone_and_holds_no_word_of_the_inside(
    entries: dict[str, Entry], days: dict[str, dict[str, Used]], carry_over: bool
) -> None:
    report = reporting(entries, days, carry_over=carry_over)

    for text in (report("usage"), report("providers")):
        assert [line for line in text.split("\n") if len(line) > WIDTH] == []
        assert len(text) < 1500
        assert not re.search(r"[_*{}<](?!1%)|\b1 requests|None(?! of them)|[ $]-", text)
        assert [provider.id for provider in CHAIN.providers if provider.id in text.split()] == []


# --- over the real stores, through the webhook's rules


def fail(world: World, provider_id: str, error: ProviderError) -> None:
    reservation = world.reserve(world.chain.provider(provider_id))
    world.ledger.failed(reservation, error)


def test_a_real_ledger_and_real_sums_are_reported(world: World) -> None:
    world.models["copilot"].usage = Usage(input=1000, cached=3000, output=400)
    for text in ("one", "two"):
        world.say(text)
        world.run_all()
    fail(world, "openrouter", ProviderRejected("openrouter", "unauthorized", status=401))
    fail(world, "ollama-cloud", ProviderExhausted("ollama-cloud", "quota", block_until=NOON + 7200))
    world.ledger.correct(world.chain.provider("openrouter"), AccountQuota(day_limit=1000, day_used=7))

    report = world.say("/usage")

    assert isinstance(report, Say)
    assert section(report.text, "GitHub Copilot") == [
        "Today: 2 of 66, 64 left",
        "Month: 2 of 2,000, 1,998 left",
        "Tokens: 8,800 (75% cached)",
    ]
    assert section(report.text, "OpenRouter")[0] == "Today: 7 of 1,000, 993 left"
    assert section(report.text, "OpenRouter")[-1] == "Paused until 18:00 UTC."
    assert section(report.text, "Ollama Cloud")[-2:] == ["Paused until 14:00 UTC:", "it says its quota is used up."]


@pytest.mark.parametrize("error", [ProviderThrottled, ProviderUnavailable])
def test_every_cause_that_the_ledger_writes_has_words(world: World, error: type[ProviderError]) -> None:
    for _ in range(2):
        fail(world, "openrouter", error("openrouter", "trouble"))

    (told,) = (world.ledger.entries()["openrouter"].block_cause,)
    lines = section(world.reporting("providers"), "OpenRouter")
    assert told in {"rate_limit", "cooldown"}
    assert lines[-1].startswith("it was ")

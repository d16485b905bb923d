"""What the chat shows of the quotas follows the ledger and the calendar."""

from datetime import UTC, datetime
from pathlib import Path

from local.quota import Budget, ChainEntry, LedgerEntry, describe, read_chain

NOW = datetime(2026, 11, 22, 10, 5, 30, tzinfo=UTC).timestamp()
CHAIN = [
    ChainEntry("copilot", (Budget(66, "day"), Budget(2000, "month"))),
    ChainEntry("openrouter", (Budget(50, "day"), Budget(20, "minute"))),
    ChainEntry("ollama-cloud", ()),
]


def test_the_products_own_chain_can_be_read() -> None:
    project = Path(__file__).parents[2]

    chain = read_chain(project / "layers/core/src/assistant/chain.toml")

    assert [entry.provider_id for entry in chain] == ["copilot", "openrouter", "ollama-cloud", "anthropic"]


def test_untouched_quotas_are_whole() -> None:
    assert describe(CHAIN, {}, NOW) == [
        "copilot 66 of 66 today, 2000 of 2000 this month",
        "openrouter 50 of 50 today, 20 of 20 this minute",
        "ollama-cloud no limit of its own",
    ]


def test_only_the_present_windows_count() -> None:
    ledger = {
        "copilot": LedgerEntry({"day:2026-11-22": 6, "day:2026-11-21": 60, "month:2026-11": 66}),
        "openrouter": LedgerEntry({"day:2026-11-22": 50, "minute:2026-11-22T10:04": 20}),
    }

    described = describe(CHAIN, ledger, NOW)

    assert described[0] == "copilot 60 of 66 today, 1934 of 2000 this month"
    assert described[1] == "openrouter 0 of 50 today, 20 of 20 this minute"


def test_a_block_is_told_while_it_lasts() -> None:
    ledger = {"ollama-cloud": LedgerEntry({}, blocked_until=NOW + 3600, cause="rate_limit")}

    assert describe(CHAIN, ledger, NOW)[2].endswith("blocked until 22 Nov 11:05 UTC (rate_limit)")
    assert "blocked" not in describe(CHAIN, ledger, NOW + 3600)[2]

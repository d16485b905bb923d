"""What the chat shows of the quotas follows the ledger and the calendar."""

from datetime import UTC, datetime
from pathlib import Path

from local.quota import Budget, ChainEntry, LedgerEntry, describe, read_chain

NOW = datetime(2026, 11, 22, 10, 5, 30, tzinfo=UTC).timestamp()
CHAIN = [
    ChainEntry("copilot", (Budget("day", 66), Budget("month", 2000))),
    ChainEntry("openrouter", (Budget("day", 50), Budget("minute", 20))),
    ChainEntry("ollama-cloud", ()),
    ChainEntry("anthropic", (Budget("month", dollars=5.0),)),
]


def test_the_products_own_chain_can_be_read() -> None:
    project = Path(__file__).parents[2]

    chain = read_chain(project / "layers/core/src/assistant/chain.toml")

    assert [entry.provider_id for entry in chain] == ["copilot", "openrouter", "ollama-cloud", "anthropic"]
    assert [line.partition(" ")[2] for line in describe(chain, {}, NOW)][2:] == [
        "no limit of its own",
        "$5.00 of $5.00 this month",
    ]


def test_untouched_quotas_are_whole() -> None:
    assert describe(CHAIN, {}, NOW) == [
        "copilot 66 of 66 today, 2000 of 2000 this month",
        "openrouter 50 of 50 today, 20 of 20 this minute",
        "ollama-cloud no limit of its own",
        "anthropic $5.00 of $5.00 this month",
    ]


def test_only_the_present_windows_count() -> None:
    ledger = {
        "copilot": LedgerEntry({"day:2026-11-22": 6, "day:2026-11-21": 60, "month:2026-11": 66}),
        "openrouter": LedgerEntry({"day:2026-11-22": 50, "minute:2026-11-22T10:04": 20}),
    }

    described = describe(CHAIN, ledger, NOW)

    assert described[0] == "copilot 60 of 66 today, 1934 of 2000 this month"
    assert described[1] == "openrouter 0 of 50 today, 20 of 20 this minute"


def test_money_is_told_in_dollars() -> None:
    spent = LedgerEntry({"month_micro_dollars:2026-11": 412_300, "month_micro_dollars:2026-10": 5_000_000})

    assert describe(CHAIN, {"anthropic": spent}, NOW)[3] == "anthropic $4.59 of $5.00 this month"


def test_what_the_account_has_counts_instead_of_the_chains_limit() -> None:
    ledger = {"openrouter": LedgerEntry({"day:2026-11-22": 60}, day_limit=1000)}

    assert describe(CHAIN, ledger, NOW)[1].startswith("openrouter 940 of 1000 today, ")


def test_a_block_is_told_while_it_lasts() -> None:
    ledger = {"ollama-cloud": LedgerEntry({}, blocked_until=NOW + 3600, cause="rate_limit")}

    assert describe(CHAIN, ledger, NOW)[2].endswith("blocked until 22 Nov 11:05 UTC (rate_limit)")
    assert "blocked" not in describe(CHAIN, ledger, NOW + 3600)[2]

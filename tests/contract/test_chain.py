"""chain.toml ↔ the mission's limits ↔ the secrets' names ↔ the protocols that `wiring` knows."""

import re
import tomllib
from dataclasses import MISSING
from urllib.parse import urlsplit

import httpx
import pytest

from assistant import wiring
from assistant.turns import chain, texts
from assistant.turns.chain import LEAST_INPUT_BYTES, Budget, Provider, load_chain
from assistant.turns.conversing import Conversation
from tests.contract import template

CHAIN = load_chain()

FREE_LIMITS = {
    "copilot": {Budget(66, "day"), Budget(2000, "month")},
    "openrouter": {Budget(50, "day"), Budget(20, "minute")},
    "ollama-cloud": set[Budget](),  # publishes no numbers
}
"""As the project's mission states them."""

SECRETS = {
    "copilot": "copilot-api-key",
    "openrouter": "openrouter-api-key",
    "ollama-cloud": "ollama-api-key",
    "anthropic": "anthropic-api-key",
}
PROTOCOLS = {"openai-chat": "OpenAIChat", "anthropic-messages": "AnthropicMessages"}


def _ids(provider: Provider) -> str:
    return provider.id


def test_the_chain_is_in_the_missions_order() -> None:
    assert [provider.id for provider in CHAIN.providers] == ["copilot", "openrouter", "ollama-cloud", "anthropic"]


def test_every_provider_has_a_state_an_id_and_a_secret_of_its_own() -> None:
    for field in ("id", "state", "secret", "name"):
        values = [getattr(provider, field) for provider in CHAIN.providers]
        assert len(set(values)) == len(values), field


@pytest.mark.parametrize("provider_id", FREE_LIMITS)
def test_a_free_providers_budgets_are_the_missions_limits(provider_id: str) -> None:
    assert set(CHAIN.provider(provider_id).budgets) == FREE_LIMITS[provider_id]


def test_only_the_last_provider_costs_money_and_it_has_a_budget() -> None:
    paid = [provider for provider in CHAIN.providers if provider.price.input or provider.price.output]

    assert paid == [CHAIN.providers[-1]]
    assert paid[0].budgets == (Budget(5_000_000, "month", "micro_dollars"),)
    assert (paid[0].price.cached, paid[0].price.written) == (0.1 * paid[0].price.input, 1.25 * paid[0].price.input)


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_budget_in_dollars_belongs_to_what_costs_money_and_holds_a_request(provider: Provider) -> None:
    dollars = [budget.limit for budget in provider.budgets if budget.unit == "micro_dollars"]

    assert bool(dollars) is not provider.price.free
    assert all(limit > provider.least_micro_dollars > 0 for limit in dollars)


def test_the_shortest_question_fits_into_what_a_budget_must_have_left() -> None:
    shortest = Conversation((), "hello", 0, 0)

    assert shortest.size(texts.SYSTEM_PROMPT) < LEAST_INPUT_BYTES


def test_only_the_provider_that_takes_one_request_at_a_time_has_a_slot() -> None:
    assert [provider.id for provider in CHAIN.providers if provider.concurrency] == ["ollama-cloud"]


def test_only_the_protocol_that_marks_prefixes_knows_their_least_length() -> None:
    marked = [provider.protocol for provider in CHAIN.providers if provider.cache_minimum_tokens is not None]

    assert marked == ["anthropic-messages"]


def test_what_the_owner_sets_changes_nothing_else() -> None:
    assert CHAIN.with_settings(dollars_per_month=5, carry_over=False) == CHAIN
    changed = CHAIN.with_settings(dollars_per_month=2.5, carry_over=True)
    assert changed.provider("anthropic").budgets == (Budget(2_500_000, "month", "micro_dollars"),)
    assert changed.provider("openrouter") == CHAIN.provider("openrouter")


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_providers_budgets_are_in_windows_of_their_own_and_shorter_ones_are_smaller(provider: Provider) -> None:
    order = ["minute", "day", "month"]
    of_requests = [budget for budget in provider.budgets if budget.unit == "requests"]
    budgets = sorted(of_requests, key=lambda budget: order.index(budget.per))

    assert len({(budget.per, budget.unit) for budget in provider.budgets}) == len(provider.budgets)
    assert [budget.limit for budget in budgets] == sorted({budget.limit for budget in budgets})


def test_the_secrets_have_the_missions_names() -> None:
    assert {provider.id: provider.secret for provider in CHAIN.providers} == SECRETS


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_provider_speaks_a_known_protocol(provider: Provider) -> None:
    assert type(wiring.protocol(provider)).__name__ == PROTOCOLS[provider.protocol]


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_providers_address_is_https_without_a_trailing_slash(provider: Provider) -> None:
    address = urlsplit(provider.base_url)

    assert (address.scheme, address.username, address.query, address.fragment) == ("https", None, "", "")
    assert address.hostname
    assert not provider.base_url.endswith("/")


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_an_address_that_replaces_the_chains_is_asked_as_it_is(provider: Provider) -> None:
    with httpx.Client() as http:
        vendor = wiring.vendor(provider, http, "https://elsewhere.example/v1")

        assert vendor.base_url("key") == "https://elsewhere.example/v1"


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_an_answer_fits_into_the_models_window(provider: Provider) -> None:
    assert 0 < provider.max_tokens < provider.context_window


def test_the_first_providers_address_is_the_only_one_that_is_a_parameter() -> None:
    with_address = [name for name in template.functions() if "PROVIDER_BASE_URL" in template.environment(name)]

    assert with_address == [CHAIN.providers[0].state]
    pattern = template.written()["Parameters"]["CopilotBaseUrl"]["AllowedPattern"]
    assert re.search(pattern, CHAIN.providers[0].base_url)


def test_the_definition_holds_no_key_that_the_code_does_not_read() -> None:
    raw = tomllib.loads((template.ROOT / "layers/core/src/assistant/chain.toml").read_text("utf-8"))

    assert raw.keys() == {"timeouts", "providers"}
    for entry in raw["providers"]:
        fields = Provider.__dataclass_fields__
        required = {name for name, field in fields.items() if field.default is MISSING}
        assert required <= entry.keys() <= fields.keys() - {"carry_over"}, entry["id"]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="of requests or of dollars"):
        chain._budget("day")

"""chain.toml ↔ the mission's limits ↔ the secrets' names ↔ the protocols that `wiring` knows."""

import re
import tomllib
from urllib.parse import urlsplit

import httpx
import pytest

from assistant import wiring
from assistant.turns.chain import Budget, Provider, load_chain
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
    assert paid[0].budgets


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_providers_budgets_are_in_windows_of_their_own_and_shorter_ones_are_smaller(provider: Provider) -> None:
    order = ["minute", "day", "month"]
    budgets = sorted(provider.budgets, key=lambda budget: order.index(budget.per))

    assert len({budget.per for budget in budgets}) == len(budgets)
    assert [budget.requests for budget in budgets] == sorted({budget.requests for budget in budgets})


def test_the_secrets_have_the_missions_names() -> None:
    assert {provider.id: provider.secret for provider in CHAIN.providers} == SECRETS


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_provider_speaks_a_known_protocol(provider: Provider) -> None:
    assert type(wiring._protocol(provider)).__name__ == PROTOCOLS[provider.protocol]


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_a_providers_address_is_https_without_a_trailing_slash(provider: Provider) -> None:
    address = urlsplit(provider.base_url)

    assert (address.scheme, address.username, address.query, address.fragment) == ("https", None, "", "")
    assert address.hostname
    assert not provider.base_url.endswith("/")


@pytest.mark.parametrize("provider", CHAIN.providers, ids=_ids)
def test_an_address_that_replaces_the_chains_is_asked_as_it_is(provider: Provider) -> None:
    with httpx.Client() as http:
        vendor = wiring._vendor(provider, http, "https://elsewhere.example/v1")

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
        assert entry.keys() == set(Provider.__dataclass_fields__), entry["id"]

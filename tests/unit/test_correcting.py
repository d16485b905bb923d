"""The ledger learns what a provider says of the account, seldom, and fails in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from assistant.errors import ProviderError, ProviderRejected, ProviderUnavailable
from assistant.turns.correcting import CORRECTED, NO_KEY, NOT_DUE, NOT_TOLD, Correction
from assistant.turns.ledger import AccountQuota
from tests.doubles import PlainSecrets

if TYPE_CHECKING:
    from assistant.turns.chain import Provider
    from tests.doubles import World

TEN_MINUTES = 600


@dataclass
class ScriptedAccount:
    """An account that says what it is told to."""

    says: AccountQuota | ProviderError | None
    read_with: list[str] = field(default_factory=list)

    def read(self, key: str, provider_id: str) -> AccountQuota | None:
        self.read_with.append(key)
        if isinstance(self.says, ProviderError):
            raise self.says
        return self.says


class NoSecrets(PlainSecrets):
    """Secrets that count how often they are looked for."""

    looked = 0

    def read(self, name: str) -> str:
        self.looked += 1
        return super().read(name)


@pytest.fixture
def openrouter(world: World) -> Provider:
    return world.chain.provider("openrouter")


def _correction(world: World, account: ScriptedAccount, secrets: PlainSecrets | None = None) -> Correction:
    return Correction(world.chain.provider("openrouter"), world.ledger, secrets or world.secrets, account)


def test_a_provider_that_was_not_used_today_is_not_asked_and_no_key_is_read(world: World) -> None:
    account, secrets = ScriptedAccount(AccountQuota(1000, 0)), NoSecrets({"openrouter-api-key": "key"})

    assert _correction(world, account, secrets)() == NOT_DUE
    assert (account.read_with, secrets.looked) == ([], 0)


def test_an_account_with_another_limit_corrects_the_ledger(world: World, openrouter: Provider) -> None:
    world.reserve(openrouter)
    account = ScriptedAccount(AccountQuota(day_limit=1000, day_used=7))

    assert _correction(world, account)() == CORRECTED

    entry = world.ledger.entries()["openrouter"]
    assert entry.day_limit == 1000
    assert entry.windows["day:2026-11-22"] == 7
    assert account.read_with == ["key"]


def test_the_account_is_looked_at_every_ten_minutes_at_most(world: World, openrouter: Provider) -> None:
    world.reserve(openrouter)
    account = ScriptedAccount(AccountQuota(50, 1))
    correct = _correction(world, account)

    done = [correct()]
    done.append(correct())
    world.clock.advance(TEN_MINUTES)
    done.append(correct())

    assert done == [CORRECTED, NOT_DUE, CORRECTED]


def test_without_a_key_nobody_is_asked(world: World, openrouter: Provider) -> None:
    world.reserve(openrouter)
    account = ScriptedAccount(AccountQuota(50, 1))

    assert _correction(world, account, PlainSecrets({}))() == NO_KEY
    assert account.read_with == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProviderUnavailable("openrouter", "timeout"), "ProviderUnavailable: timeout"),
        (ProviderRejected("openrouter", "unauthorized", status=401), "ProviderRejected: unauthorized"),
    ],
)
def test_a_failure_is_said_and_waits_for_the_next_time(
    world: World, openrouter: Provider, error: ProviderError, said: str
) -> None:
    world.reserve(openrouter)
    before = world.ledger.entries()["openrouter"]

    assert _correction(world, ScriptedAccount(error))() == said

    after = world.ledger.entries()["openrouter"]
    assert (after.blocked_until, after.failures, after.windows) == (None, before.failures, before.windows)


def test_an_account_that_tells_nothing_changes_nothing(world: World, openrouter: Provider) -> None:
    world.reserve(openrouter)

    assert _correction(world, ScriptedAccount(None))() == NOT_TOLD
    assert world.ledger.entries()["openrouter"].day_limit is None

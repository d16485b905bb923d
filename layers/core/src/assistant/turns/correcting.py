"""CorrectLedger: the ledger learns what a provider itself says of the account. Nobody waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import ProviderError, SecretMissing

if TYPE_CHECKING:
    from assistant.turns.chain import Provider
    from assistant.turns.ports import Account, Ledger, Secrets

NOT_DUE = "not due"
NO_KEY = "no key"
NOT_TOLD = "not told"
CORRECTED = "corrected"


@dataclass(frozen=True, slots=True)
class Correction:
    """Corrects one provider's entry."""

    provider: Provider
    ledger: Ledger
    secrets: Secrets
    account: Account

    def __call__(self) -> str:
        """Read the account, if that is due, and take over what it says.

        Returns:
            `not due` (nothing was read at all), `no key`, `not told` (the provider tells no quota), or `corrected`; for
            a provider that failed, the error's class and reason. The next time may be luckier: nothing is raised.
        """
        if not self.ledger.claim_check(self.provider):
            return NOT_DUE
        try:
            key = self.secrets.read(self.provider.secret)
        except SecretMissing:
            return NO_KEY
        try:
            quota = self.account.read(key, self.provider.id)
        except ProviderError as error:
            return f"{type(error).__name__}: {error.reason}"
        if quota is None:
            return NOT_TOLD
        self.ledger.correct(self.provider, quota)
        return CORRECTED

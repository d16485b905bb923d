"""What a request to a provider takes out of the ledger, and what is put back once it is over.

The rule is the same for whoever asks: the Ask states, and the relay between the agent and the providers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.errors import ProviderExhausted, ProviderRejected, SecretMissing
from assistant.turns.ledger import NOT_CONFIGURED, NOT_CONFIGURED_SECONDS, REJECTED
from assistant.turns.model import Notice, Usage, Used

if TYPE_CHECKING:
    from assistant.errors import ProviderError
    from assistant.turns.chain import Provider
    from assistant.turns.ledger import Reservation
    from assistant.turns.ports import Clock, Ledger, Owner, Secrets, UsageBook


@dataclass(frozen=True, slots=True)
class Metering:
    """Keeps the books of one provider."""

    provider: Provider
    ledger: Ledger
    usage: UsageBook
    secrets: Secrets
    owner: Owner
    clock: Clock

    def key(self) -> str:
        """The provider's key; ProviderExhausted, and a block until it is worth looking again, if there is none."""
        try:
            return self.secrets.read(self.provider.secret)
        except SecretMissing:
            until = int(self.clock.now()) + NOT_CONFIGURED_SECONDS
            self.ledger.block(self.provider, cause=NOT_CONFIGURED, until=until)
            raise ProviderExhausted(self.provider.id, "not configured", block_until=until, asked=False) from None

    def reserve(self, holder: str, *, input_bytes: int) -> Reservation:
        """Take a request out of every window, with the most that one of `input_bytes` may cost.

        Raises:
            ProviderError: it may not be made.
        """
        most = 0 if self.provider.price.free else self.provider.most_micro_dollars(input_bytes)
        return self.ledger.reserve(self.provider, holder=holder, micro_dollars=most)

    def cost(self, reservation: Reservation, usage: Usage | None) -> int:
        """What the request cost, in millionths of a dollar: where nobody counted, all that was reserved."""
        return reservation.micro_dollars if usage is None else self.provider.price.cost(usage)

    def answered(self, reservation: Reservation, usage: Usage | None) -> None:
        """Settle a request that was answered, and count it."""
        cost = self.cost(reservation, usage)
        self.ledger.succeeded(reservation, micro_dollars=cost)
        self.usage.add(self.provider.id, _used(usage or Usage(), cost))

    def failed(self, reservation: Reservation, error: ProviderError) -> ProviderError:
        """Settle a request that was not answered; what its failure leaves as, once the ledger knows of it.

        The owner is told of a refusal that only the owner can mend, once.
        """
        block = self.ledger.failed(reservation, error)
        if error.asked:
            charged = reservation.micro_dollars if error.may_cost else 0
            self.usage.add(self.provider.id, Used(requests=1, failures=1, micro_dollars=charged))
        if isinstance(error, ProviderRejected):
            if reservation.entry.block_cause != REJECTED:  # not again for each probe that finds it still so
                self.owner.tell(Notice("provider_rejected", self.provider.id, error.reason))
            return error
        if block is None:
            return error
        # Blocked now: asking once more would only find that out, and the user has waited enough.
        return ProviderExhausted(
            self.provider.id, error.reason, block_until=block.until, status=error.status, asked=error.asked
        )


def _used(usage: Usage, micro_dollars: int) -> Used:
    return Used(
        requests=1,
        input_tokens=usage.input,
        cached_tokens=usage.cached,
        written_tokens=usage.written,
        output_tokens=usage.output,
        micro_dollars=micro_dollars,
    )

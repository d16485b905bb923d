"""Every error that leaves the package, named by what happens next.

The class name of an error that leaves a Lambda function is the name that the state machine retries and catches, and
catching a base class does not catch its subclasses there: `statemachine/turn.asl.json` names the leaves.

    AssistantError
    ├── TurnError                what a state of the turn can end with
    │   ├── ProviderError
    │   │   ├── ProviderBusy          our own request is in its one slot: the same provider again in a moment
    │   │   ├── ProviderThrottled     asked too fast: the same provider once more in a moment, then the next
    │   │   ├── ProviderExhausted     quota, budget or cooldown: the next one; no request is made while it lasts
    │   │   ├── ProviderUnavailable   5xx, timeout, broken or empty reply: the same once more, then the next
    │   │   ├── ProviderRejected      key, billing or model refused: the next one; the owner has to act
    │   │   └── ProviderDeclined      this question refused, and no other: the next one; nobody is blocked
    │   ├── TurnDelegated        the model wants the agent to do it: hand the turn to the agent
    │   ├── AgentUnavailable     no task of the agent can be started: the chat lane answers
    │   ├── AgentInterrupted     the agent ended in the middle of the turn: hand it to the next one
    │   ├── AgentFailed          the agent's run ended without an answer: the chat lane answers
    │   ├── StoreContended       a transaction kept meeting others' writes: the same state once more
    │   ├── TurnInvalid          the state's input names no turn: stop
    │   ├── DeliveryFailed       Telegram was not reached, nothing was sent: send again
    │   └── DeliveryDelayed      Telegram asks us to wait: wait, then send
    ├── SnapshotUnreadable       there is a backup that can't be read whole: the agent does not start
    ├── WorkspaceRefused         the workspace's folder is not fit to restore into: the agent does not start
    ├── BackupFailed             no snapshot could be committed: try again later
    ├── DeliveryUncertain        sent, but nobody knows whether it arrived: never send again
    ├── DeliveryRefused          the chat can't be written to: give up
    ├── UpdateInvalid            not an update that Telegram would send: answer 200 and forget it
    ├── SecretMissing            the parameter does not exist
    └── SettingMissing           the function's environment lacks a name
"""


class AssistantError(Exception):
    """Root of all errors of this package. Messages never carry a user's text, a key or a token."""


class TurnError(AssistantError):
    """An error that may leave a function of the state machine; its class name appears in the ASL."""


class ProviderError(TurnError):
    """A provider gave no answer.

    Args:
        provider: id of the provider in chain.toml.
        reason: short machine-readable cause, such as `rate_limit` or `timeout`; goes into logs.
        block_until: epoch seconds before which asking again is pointless; None if nobody said so.
        status: HTTP status, if there was one.
        asked: whether a request reached the provider (and counts against its quota).
        may_cost: whether the provider may charge for the request although it gave no answer.
    """

    def __init__(
        self,
        provider: str,
        reason: str,
        *,
        block_until: float | None = None,
        status: int | None = None,
        asked: bool = True,
        may_cost: bool = False,
    ) -> None:
        super().__init__(f"{provider}: {reason}" + (f" (HTTP {status})" if status else ""))
        self.provider = provider
        self.reason = reason
        self.block_until = block_until
        self.status = status
        self.asked = asked
        self.may_cost = may_cost


class ProviderBusy(ProviderError):
    """A request of ours is under way, and the provider takes no second one."""


class ProviderThrottled(ProviderError):
    """Asked too fast; a moment later the same provider may answer."""


class ProviderExhausted(ProviderError):
    """No quota, budget or patience left until `block_until`."""


class ProviderUnavailable(ProviderError):
    """The provider or the way to it is broken: 5xx, timeout, a reply that is broken or empty."""


class ProviderRejected(ProviderError):
    """The provider refuses the key, the account or the model; only the owner can mend that."""


class ProviderDeclined(ProviderError):
    """The provider refuses this question: too long, moderated, malformed. Another question it may answer."""


CONTEXT_TOO_LONG = "context too long"
"""Reason of the one ProviderDeclined that a shorter history may cure."""


class TurnInvalid(TurnError):
    """The input of a state does not name a chat, an epoch or a turn."""


class DeliveryFailed(TurnError):
    """Telegram was not reached, or failed before it accepted anything."""


class DeliveryDelayed(TurnError):
    """Telegram answered 429.

    Args:
        seconds: its `retry_after`.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Telegram asks to wait {seconds:g} s")
        self.seconds = seconds


class DeliveryUncertain(AssistantError):
    """The request was sent and no answer came: the message may have arrived."""


class DeliveryRefused(AssistantError):
    """Telegram refuses the message for good: the bot was blocked, the chat is gone."""


class UpdateInvalid(AssistantError):
    """The body is not an update."""


class SecretMissing(AssistantError):
    """The SSM parameter of a secret does not exist."""


class SettingMissing(AssistantError):
    """A name that the function needs is absent from its environment, or its value is not of the right kind."""


class TurnDelegated(TurnError):
    """The model that was asked has handed the turn over to the agent; the turn knows its task."""


class AgentUnavailable(TurnError):
    """No task of the agent can be started: no capacity, no permission, a limit of the owner's."""


class AgentInterrupted(TurnError):
    """The agent ended in the middle of the turn; the next one may take it."""


class AgentFailed(TurnError):
    """The agent's run ended without an answer: every provider failed, or the run itself."""


class SnapshotUnreadable(AssistantError):
    """A backup is missing something, is broken, of a later format, or would write outside of its folder."""


class WorkspaceRefused(AssistantError):
    """The place of a workspace can't be restored into: something is there, or there is no room."""


class BackupFailed(AssistantError):
    """No snapshot was committed; what was committed before is as it was."""


class StoreContended(TurnError):
    """A DynamoDB transaction kept colliding with other writes."""


PLATFORM_ERRORS = (
    # Source: Step Functions developer guide, "Handling errors"; Lambda's own names as Step Functions passes them on.
    "States.ALL",
    "States.Timeout",
    "States.HeartbeatTimeout",
    "States.TaskFailed",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
)
"""The names of the platform's own errors that the state machine may use: the one list of them."""

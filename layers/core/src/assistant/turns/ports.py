"""What the rules need from outside. Adapters live in `stores`, `providers` and `telegram`.

Writes that are conditional answer False when their condition fails: somebody else was there first, and the caller
changes nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from assistant.errors import ProviderError
    from assistant.turns.accepting import Stored
    from assistant.turns.agents import Agent, Backups, Generation, Mail
    from assistant.turns.asking import Attempt
    from assistant.turns.chain import Provider
    from assistant.turns.errands import Asked, Confirmed, Document, Errand, Runner
    from assistant.turns.hours import Ran
    from assistant.turns.ledger import AccountQuota, Block, Entry, Reservation
    from assistant.turns.model import (
        Answer,
        Answered,
        Chat,
        ChatClaim,
        Delegation,
        Exchange,
        InboxMessage,
        Kept,
        Notice,
        Preview,
        Reminder,
        Said,
        Show,
        Tool,
        Turn,
        TurnClaim,
        Used,
    )
    from assistant.turns.stopping import Stopped
    from assistant.turns.tending import Task


class Clock(Protocol):
    """The one source of time."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...


class Inbox(Protocol):
    """What the webhook writes."""

    def store(self, chat_id: str, message: InboxMessage, *, limit: int) -> Stored:
        """Store a message once, in one transaction with its mark and the chat's counters; at most `limit` a minute."""
        ...

    def forget_history(self, chat_id: str, update_id: int) -> bool:
        """Begin a new conversation, once per update."""
        ...

    def mark(self, chat_id: str, update_id: int) -> bool:
        """Note that an update has been dealt with; False if it had been."""
        ...


class Stops(Protocol):
    """What /stop writes: once per update, in one transaction, or CHANGED if things are not as they were read."""

    def stop(self, chat_id: str, update_id: int, chat: Chat, turn: Turn, *, unsaid: bool) -> Stopped:
        """End an open or parked turn without an answer, and take the chat from whoever holds it.

        `unsaid`: what it was about to say, of which nothing was sent, is not said.
        """
        ...

    def drop(self, chat_id: str, update_id: int, messages: Sequence[InboxMessage]) -> Stopped:
        """Take messages out of the inbox that no turn has taken."""
        ...

    def nothing(self, chat_id: str, update_id: int) -> Stopped:
        """There is nothing to stop."""
        ...


class Errands(Protocol):
    """Commands that functions of their own carry out."""

    def add(self, asked: Asked, errand: Errand) -> bool:
        """Store a command, once per update; False if it had been."""
        ...

    def ask(self, asked: Asked, sender_id: str, *, until: int) -> bool:
        """Note that somebody was asked to confirm that all is forgotten; False if that update had been dealt with."""
        ...

    def confirm(self, asked: Asked, sender_id: str, errand: Errand) -> Confirmed:
        """Store the command that was asked for, if the same person confirms it in time."""
        ...

    def read(self, asked: Asked) -> Errand | None:
        """A command that has not been carried out; None if it has, or is too old."""
        ...

    def note(self, asked: Asked, found: Mapping[str, int]) -> None:
        """Note what a command found, to say it at its end."""
        ...

    def mark_sending(self, asked: Asked) -> bool:
        """Note that the answer is about to be sent; False if it was, or is."""
        ...

    def unmark_sending(self, asked: Asked) -> bool:
        """Note that the answer was certainly not sent."""
        ...

    def mark_noticed(self, asked: Asked) -> bool:
        """Note that the chat is being told that nobody knows whether the answer arrived; False if it was."""
        ...

    def remove(self, asked: Asked) -> None:
        """Forget a command that has been carried out."""
        ...


class Runners(Protocol):
    """The functions that carry commands out."""

    def run(self, runner: Runner, asked: Asked) -> None:
        """Hand a command over; again is harmless."""
        ...


class Conversations(Protocol):
    """Conversations as a whole."""

    def kept(self, chat_id: str) -> Kept:
        """What is kept of a chat and has not expired (consistent read)."""
        ...

    def fence(self, asked: Asked, errand: Errand) -> bool:
        """Take from a chat what was there before a command was sent, once; whether messages wait that came later."""
        ...

    def count(self, chat_id: str, until: int) -> int:
        """How many questions and answers there are up to a turn."""
        ...

    def erase(self, asked: Asked, until: int) -> None:
        """Delete what the fence took, up to a turn; again is harmless."""
        ...


class Access(Protocol):
    """Who may talk to the assistant."""

    def allowed(self, ids: Sequence[str]) -> bool:
        """Whether every one of these users and groups is on the list."""
        ...

    def chat(self, group_id: str) -> str | None:
        """Under which id a group is kept: the first that it had; None if it is not allowed."""
        ...

    def follow(self, old: str, new: str) -> bool:
        """Allow a group under the id that Telegram gave it; False if it was not under the old one."""
        ...

    def greet_stranger(self, user_id: str) -> bool:
        """Mark that a stranger is told today how to be allowed; False if they have been."""
        ...


class Claims(Protocol):
    """Who works on a chat."""

    def read(self, chat_id: str) -> Chat:
        """The chat as it is now (consistent read)."""
        ...

    def claim(self, chat_id: str) -> ChatClaim | None:
        """Claim a chat that nobody holds; None if somebody does."""
        ...

    def holder(self, chat_id: str) -> ChatClaim | None:
        """The claim that holds the chat."""
        ...

    def steal(self, claim: ChatClaim, *, recoveries: int) -> ChatClaim | None:
        """Replace a claim whose execution is known to have ended; None if it has been replaced already."""
        ...

    def drop(self, claim: ChatClaim, *, due_at: int, recoveries: int) -> bool:
        """Give a claim up without having done its work: the sweep looks at `due_at`."""
        ...

    def release(self, claim: ChatClaim, *, due_at: int | None) -> bool:
        """Release the chat if nothing waits in its inbox; `due_at`: its next moment, if it has one."""
        ...

    def postpone(self, claim: ChatClaim, *, due_at: int) -> bool:
        """Have the sweep look again later at a chat that is being worked on."""
        ...

    def due(self) -> Iterator[str]:
        """Ids of the chats whose moment has come, the most overdue first."""
        ...


class Turns(Protocol):
    """The life of a turn. Every write is conditional on the claim's epoch."""

    def waiting(self, chat_id: str, *, limit: int) -> tuple[Chat, list[InboxMessage]]:
        """The chat and its oldest `limit` inbox messages."""
        ...

    def read(self, chat_id: str, number: int) -> Turn | None:
        """A turn as it is now (consistent read)."""
        ...

    def open(self, claim: ChatClaim, turn: Turn, drained: Sequence[InboxMessage], *, before: Turn | None) -> bool:
        """Create a turn, or change the one that was `before`, taking messages out of the inbox, in one transaction."""
        ...

    def history(self, turn: TurnClaim, *, after: int, since: int, limit: int) -> list[Exchange]:
        """The newest `limit` exchanges after turn `after` and time `since`, oldest first."""
        ...

    def answer(self, turn: TurnClaim, answered: Answered) -> bool:
        """OPEN → ANSWERED and the exchange, in one transaction."""
        ...

    def decline(self, turn: TurnClaim, declined_by: str) -> bool:
        """Note which providers refused the question of an open turn."""
        ...

    def keep_from_agent(self, turn: TurnClaim) -> bool:
        """Note that agents died over an open turn: a provider has to answer it."""
        ...

    def delegate(self, turn: TurnClaim, task: str, *, deadline: int) -> bool:
        """Note the task of an open turn that the agent is to do, and its new deadline."""
        ...

    def show_preview(self, turn: TurnClaim, message_id: int | None) -> bool:
        """Note the message in which an open turn's answer is seen growing; None: it is gone. False: it has another."""
        ...

    def settle(self, turn: TurnClaim, settled: Turn) -> bool:
        """OPEN → PARKED or FAILED with the apology to deliver, or ANSWERED with what needed no provider."""
        ...

    def first_notice(self, turn: TurnClaim, notice: str, *, seconds: int) -> bool:
        """Mark that a turn gives its chat a notice; False if another turn gave it within that many seconds."""
        ...

    def mark_sending(self, turn: TurnClaim, *, part: int, after: int | None, uncertain: bool) -> bool:
        """Note that `part` is about to be sent.

        `after` is the part marked before it; `uncertain`: nobody knows whether that one arrived.
        """
        ...

    def unmark_sending(self, turn: TurnClaim, *, part: int, deliver_after: int | None) -> bool:
        """Note that `part` was certainly not sent."""
        ...

    def mark_noticed(self, turn: TurnClaim) -> bool:
        """Note that the user is being told that a part may be missing; False if they were."""
        ...

    def finish(self, turn: TurnClaim, finished: Turn, *, hand_over: bool) -> bool:
        """End the work on a turn and release the chat, in one transaction.

        With `hand_over` the chat goes to the next claim (epoch + 1) instead; without, it fails while messages wait.
        """
        ...


class Reminders(Protocol):
    """What the chats are to be reminded of, and the time zones they live in."""

    def time_zone(self, chat_id: str) -> str | None:
        """The chat's time zone; None if it has set none."""
        ...

    def set_time_zone(self, chat_id: str, time_zone: str, update_id: int) -> bool:
        """Set the chat's time zone, once per update."""
        ...

    def of(self, chat_id: str) -> list[Reminder]:
        """The chat's reminders by number (consistent read)."""
        ...

    def add(self, chat_id: str, reminder: Reminder, update_id: int | None) -> bool:
        """Add a reminder, once per update if one asks for it; StoreContended if its number has been taken meanwhile."""
        ...

    def remove(self, chat_id: str, reminder: Reminder, update_id: int | None) -> bool:
        """Remove a reminder, once per update if one asks for it; False if it is gone, or was dealt with."""
        ...

    def fire(self, chat_id: str, reminder: Reminder, moment: int, message: InboxMessage) -> bool:
        """Make a reminder that is due at `moment` a message of the chat, once, in one transaction.

        False if it is gone, or has fired for that moment or a later one.
        """
        ...


class Schedules(Protocol):
    """What lets reminders fire."""

    def delete(self, chat_id: str, key: str) -> None:
        """Let a reminder fire no more; again is harmless."""
        ...


class NewSchedules(Schedules, Protocol):
    """The same, for who sets reminders."""

    def create(self, chat_id: str, reminder: Reminder) -> bool:
        """Let a reminder fire from now on; again is harmless. False if its schedule is refused."""
        ...


class Ledger(Protocol):
    """What each provider may still be asked."""

    def entries(self) -> Mapping[str, Entry]:
        """All entries, by provider id, in one read."""
        ...

    def reserve(self, provider: Provider, *, holder: str, micro_dollars: int = 0) -> Reservation:
        """Take one request that may cost so much out of every window of the provider; a ProviderError if there is none.

        `holder` names the request, for a provider that takes one at a time.
        """
        ...

    def succeeded(self, reservation: Reservation, *, micro_dollars: int | None) -> None:
        """The provider answered, at that cost (None: unknown): its block and its failures are over."""
        ...

    def failed(self, reservation: Reservation, error: ProviderError) -> Block | None:
        """The provider did not answer: give back what was not used, and block it as the error calls for.

        Answers the block; None if the provider may be asked once more at once.
        """
        ...

    def block(self, provider: Provider, *, cause: str, until: int) -> None:
        """Block a provider that was not asked."""
        ...

    def claim_check(self, provider: Provider) -> bool:
        """Whether the provider may now be asked what it says of the account; claims the right to."""
        ...

    def correct(self, provider: Provider, quota: AccountQuota) -> None:
        """Take over what the provider says of the account."""
        ...


class UsageBook(Protocol):
    """What was used, day by day."""

    def add(self, provider_id: str, used: Used) -> None:
        """Add a request to the day's sums."""
        ...

    def days(self, first: str, last: str) -> Mapping[str, Mapping[str, Used]]:
        """The sums by day (`YYYY-MM-DD`, inclusive) and provider, in one read."""
        ...


class Account(Protocol):
    """What a provider says of the account that a key belongs to."""

    def read(self, key: str, provider_id: str) -> AccountQuota | None:
        """Its quota; None if the provider does not tell; a ProviderError if it does not answer."""
        ...


class HoursBook(Protocol):
    """The hours that agents run."""

    def read(self) -> Mapping[str, int]:
        """What is counted (consistent read); see `assistant.turns.hours`."""
        ...

    def begin(self, generation: Generation) -> None:
        """Count a task from now on; again changes nothing."""
        ...

    def end(self, task: str, ran: Ran | None) -> bool:
        """Count a task that has ended, once; None: it never ran. False if it was counted."""
        ...

    def tell(self, month: str) -> bool:
        """Note that the owner is told that a month's hours are used up; False if they were."""
        ...


class OwnerSettings(Protocol):
    """What is set for who runs the assistant."""

    def owner_chat(self) -> str | None:
        """The chat in which the owner is told things; None if none is set."""
        ...


class Owner(Protocol):
    """Who runs the assistant."""

    def tell(self, notice: Notice) -> None:
        """Have the owner told; nobody waits for it."""
        ...


class Agents(Protocol):
    """The agents of the chats and their mail. Every write for a generation is conditional on it."""

    def read(self, chat_id: str) -> Agent:
        """The agent as it is now (consistent read)."""
        ...

    def mail(self, chat_id: str) -> Sequence[Mail]:
        """The mails that are not finished, oldest first."""
        ...

    def last_backup(self, chat_id: str) -> int | None:
        """When the newest snapshot of the workspace was made; None: never."""
        ...

    def register(self, claim: TurnClaim, token: str, *, deadline: int) -> None:
        """Put a turn's mail, counted; of one that is there already, renew who waits for it."""
        ...

    def withdraw(self, claim: TurnClaim) -> bool:
        """Take a turn's mail back that nobody has taken; that of a later claim stays."""
        ...

    def begin(self, chat_id: str, *, starter: str) -> Generation | None:
        """Begin the next generation; None if an agent runs or is being started."""
        ...

    def note_task(self, generation: Generation, task_arn: str) -> bool:
        """Note the task of a start, while none has taken the place."""
        ...

    def abandon(self, generation: Generation) -> bool:
        """Undo a start that started nothing."""
        ...

    def occupy(self, generation: Generation, task_arn: str, *, idle_after: int) -> bool:
        """The container of that generation runs now."""
        ...

    def renew(
        self, generation: Generation, *, idle_after: int, ready: bool = False, backups: Backups | None = None
    ) -> Agent | None:
        """Keep the lease, say whether it is ready and how its backups stand, and tell how it is; None if it is lost."""
        ...

    def take(self, generation: Generation, number: int) -> bool:
        """Take a mail."""
        ...

    def discard(self, generation: Generation, mail: Mail) -> bool:
        """Remove a mail that is finished, unless another state waits for it by now."""
        ...

    def stop(self, generation: Generation) -> bool:
        """Begin to stop."""
        ...

    def go_on(self, generation: Generation) -> bool:
        """Stop stopping."""
        ...

    def release(self, generation: Generation, *, crashed: bool = False) -> bool:
        """Be stopped, if there is no mail; `crashed`: by a fault of its own."""
        ...

    def ask_to_stop(self, generation: Generation) -> bool:
        """Ask an agent to stop as soon as it has nothing to do; False if it was asked before, or has stopped."""
        ...

    def ask_to_back_up(self, generation: Generation, *, told: bool) -> bool:
        """Ask a running agent to back up; `told`: note that the owner knows why. False if it has stopped."""
        ...

    def force_to_stop(self, generation: Generation, seen: Agent) -> bool:
        """Let it take no work any more; False if it has taken some since it was seen so."""
        ...

    def close(self, generation: Generation, *, crashed: bool, killer: int | None, kills: int | None) -> Agent | None:
        """Note that the task of that generation has ended, and over which turn, and how often in a row over that one.

        Answers the agent as it is afterwards; None if a later generation has begun.
        """
        ...

    def rest(self, chat_id: str) -> bool:
        """A stopped agent without mail is not looked at any more; False if it has mail, or is not stopped."""
        ...

    def due(self) -> Iterator[str]:
        """Chats whose agent's moment has come."""
        ...


class AnsweringAgents(Agents, Protocol):
    """The same for a container, which answers turns."""

    def answer(self, generation: Generation, mail: Mail, answered: Answered) -> bool:
        """Store the answer of a mail that was taken, with the history pair."""
        ...


class Fleet(Protocol):
    """The tasks that run."""

    def tasks(self) -> Iterator[Task]:
        """Each task of an agent that runs or is about to."""
        ...

    def ended(self) -> Iterator[tuple[Generation, Ran]]:
        """Each that has ended and is still known, for about an hour."""
        ...

    def stop(self, task: Task, reason: str) -> None:
        """Have a task ended; again, or of one that has ended, is harmless."""
        ...


class Waker(Protocol):
    """Starts agents behind everybody's back."""

    def wake_chat(self, chat_id: str, *, starter: str) -> None:
        """Have a chat's agent started for somebody, as below."""
        ...

    def wake(self, claim: TurnClaim) -> None:
        """Have the agent of a turn's chat started; nobody waits for it, and that it fails is no failure."""
        ...


class Activity(Protocol):
    """When people write."""

    def chats(self) -> Iterator[str]:
        """Every chat that may talk to the assistant."""
        ...

    def opened(self, chat_id: str, *, since: int) -> Iterator[int]:
        """When the turns of a chat were opened, as far as they are kept and a person asked for them; newest first."""
        ...


class Tasks(Protocol):
    """Where containers run."""

    def run(self, generation: Generation) -> str:
        """Start the task of a generation and answer its name; again is harmless. AgentUnavailable if none can be."""
        ...


class TaskTokens(Protocol):
    """The states that wait for somebody else. Each answers False if nobody waits any more."""

    def succeed(self, token: str) -> bool:
        """Let the state go on."""
        ...

    def fail(self, token: str, error: Exception) -> bool:
        """Let the state fail with the error's class."""
        ...

    def heartbeat(self, token: str) -> bool:
        """Let the state go on waiting."""
        ...


class Executions(Protocol):
    """The executions of the state machine."""

    def start(self, claim: ChatClaim) -> None:
        """Start the claim's execution; again is harmless (same name and input)."""
        ...

    def running(self, claim: ChatClaim) -> bool | None:
        """Whether the claim's execution is running; None if it was never started."""
        ...


class Secrets(Protocol):
    """Secrets by name."""

    def read(self, name: str) -> str:
        """The secret; SecretMissing if there is none."""
        ...


class LanguageModel(Protocol):
    """One provider, ready to be asked."""

    def ask(
        self,
        system: str,
        conversation: Sequence[Said],
        *,
        key: str,
        seconds: float,
        on_text: Callable[[str], None],
        tool: Tool | None = None,
    ) -> Answer | Delegation:
        """Ask within `seconds`; a ProviderError if it does not answer. `on_text` is shown the text as it grows.

        A `tool` is offered, to be called with the task for the agent.
        """
        ...


class Journal(Protocol):
    """Where attempts are noted for the operator."""

    def attempted(self, attempt: Attempt) -> None:
        """Note what came of asking a provider."""
        ...


class Courier(Protocol):
    """The chat service, as who sends files needs it."""

    def parts(self, text: str) -> list[str]:
        """Cut a text into parts that one message can hold."""
        ...

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        """Send one part: DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused."""
        ...

    def send_document(
        self, chat_id: str, document: Document, *, caption: str, thread_id: int | None, reply_to: int | None
    ) -> None:
        """Send a file. Errors as `send`'s."""
        ...


class Messenger(Protocol):
    """The chat service."""

    def parts(self, text: str) -> list[str]:
        """Cut a text into parts that one message can hold."""
        ...

    def send(self, chat_id: str, text: str, *, thread_id: int | None, reply_to: int | None) -> None:
        """Send one part: DeliveryDelayed, DeliveryFailed, DeliveryUncertain, DeliveryRefused."""
        ...

    def revise(self, chat_id: str, message_id: int, text: str) -> bool:
        """Make a message of ours read so; False if it can't be changed any more. Errors as `send`'s, and repeatable."""
        ...

    def withdraw(self, chat_id: str, message_id: int) -> None:
        """Take a message of ours away, if it is still there. Errors as `revise`'s."""
        ...

    def composing(
        self, chat_id: str, thread_id: int | None, preview: Preview | None, wanted: Callable[[], bool]
    ) -> AbstractContextManager[Show]:
        """Show that an answer is being written, for as long as the block lasts.

        What the block gives the function it gets is shown as the answer so far, where there is a `preview`; if the
        block ends with an error, that is taken back, and with TurnDelegated it is said who goes on. Once nobody wants
        the answer any more, which `wanted` is asked every few seconds, nothing more is shown.
        """
        ...

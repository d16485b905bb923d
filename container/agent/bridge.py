"""What makes the parts one agent: it takes turns from the mailbox, runs them through OpenClaw, and answers them.

Everything that it writes is conditional on its generation and lease. What goes wrong with AWS is tried again for as
long as the lease may last; what goes wrong otherwise ends the container, and what it held is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from agent.gateway_client import AllModelsFailed, GatewayRefused, RunAborted, RunFailed, RunTimedOut
from agent.history import preceded, with_task
from agent.relay_call import RelayedTurn
from assistant.errors import AgentFailed, StoreContended
from assistant.turns.agents import LEASE_SECONDS
from assistant.turns.model import Answer, Answered, ChatClaim, TurnClaim, TurnStatus, Usage
from assistant.workspace.model import NOTHING, Contained, Root

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent.openclaw import OpenClaw, Ran
    from agent.threads import Threads
    from assistant.turns.agents import Agent, Backups, Mail, Mailbox
    from assistant.turns.model import Turn
    from assistant.turns.ports import Clock

QUICK_SECONDS = 1.0
"""Between two looks into the mailbox while there is work, and for `BUSY_SECONDS` after it."""

SLOW_SECONDS = 5.0
BUSY_SECONDS = 60
"""In which most people who go on write; why so long, and what looking costs: docs/decisions, "How often …"."""

HEARTBEAT_SECONDS = 10
LEAST_SECONDS = 5
"""Not worth beginning a run with less than this left of the turn's time."""

HAND_BACK_TRIES = 3
BACKUP_LOOK_SECONDS = 15
LAST_BACKUP_SECONDS = 70
UNKEPT_STOPS = 3
"""So often an idle agent goes on because its workspace could not be backed up; then it ends all the same."""

SPELL_SECONDS = 3600
SPELL_RUNS = 5
"""With so many runs within an hour a chat is as busy as one can be: the agent stays for twice its idle time."""

_RETRY_SECONDS = 2.0
_AWS_ERRORS = (BotoCoreError, ClientError, StoreContended)


class Keeping(Protocol):
    """`agent.safekeeping.Safekeeping`, as far as it is used."""

    counts: dict[str, int]

    @property
    def is_due(self) -> bool:
        """Whether it is time for a backup."""
        ...

    @property
    def backups(self) -> Backups:
        """How they stand."""
        ...

    async def contained(self) -> Contained:
        """What the restored memory has seen, once that is known."""
        ...

    async def back_up(self, contained: Contained, *, if_changed: Root | None = None) -> bool:
        """Keep what there is now."""
        ...

    async def back_up_last(self, contained: Contained, *, seconds: float) -> None:
        """Keep what there is, at the end."""
        ...


type Sleep = Callable[[float], Awaitable[None]]
type Log = Callable[..., None]


class LeaseLost(Exception):
    """The chat is, or may be, another generation's: nothing may be written any more."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the agent works: settings.

    Attributes:
        history_messages: how much of what it has not seen it is told.
        history_days: how old that may be.
        idle_seconds: without work, after which it stops.
        lingers: whether it stays longer, up to twice that, in a chat that is busy.
    """

    history_messages: int
    history_days: int
    idle_seconds: float
    lingers: bool = False


@dataclass(slots=True)
class Counts:
    """What was done so far."""

    polls: int = 0
    runs: int = 0
    answered: int = 0
    late: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """A mail with what it takes to run it. `position`: of its exchange in the conversation."""

    mail: Mail
    turn: Turn
    message: str
    position: int


class Bridge:
    """One life of a chat's agent.

    Args:
        mailbox: of the generation.
        openclaw: what answers.
        safekeeping: of the workspace.
        habits: settings.
        clock: the time; leases and deadlines are by it.
        threads: where the stores' calls run.
        log: takes a message and fields.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        openclaw: OpenClaw,
        safekeeping: Keeping,
        habits: Habits,
        *,
        clock: Clock,
        threads: Threads,
        log: Log,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.counts = Counts()
        self._mailbox = mailbox
        self._chat_id = mailbox.generation.chat_id
        self._openclaw = openclaw
        self._safekeeping = safekeeping
        self._habits = habits
        self._clock = clock
        self._threads = threads
        self._log = log
        self._sleep = sleep
        self._contained: Contained | None = None  # until the memory is restored
        self._backing_up: asyncio.Task[bool] | None = None
        self._unkept_stops = 0
        self._active_at = clock.now()
        self._stop_asked_at: int | None = None
        self._said_ready = False
        self._backup_asked_at: int | None = None
        self._ran_at: deque[float] = deque(maxlen=SPELL_RUNS)

    async def open(self, task_arn: str) -> bool:
        """Take the place of the chat's agent; False if it is another's: then there is nothing to do here."""
        return await self._surely(self._mailbox.open, task_arn, idle_after=self._idle_seconds())

    async def keep_lease(self) -> None:
        """Renew the lease, for ever; what the agent is asked for is in the answer, so that asking costs no request.

        Raises:
            LeaseLost: it was lost, or could not be renewed in time.
        """
        kept_at = self._clock.now()
        while self._clock.now() - kept_at < LEASE_SECONDS:
            await self._until_renewal()
            asked_at, self._said_ready = self._clock.now(), self._openclaw.is_ready
            try:
                kept = await self._renewed()
            except _AWS_ERRORS as error:
                self._log("lease not renewed", error=type(error).__name__)
                continue
            if kept is None:
                break
            kept_at = asked_at
            self._stop_asked_at = kept.stop_asked_at
            self._back_up_if_asked(kept.backup_asked_at)
        raise LeaseLost

    async def _until_renewal(self) -> None:
        """A third of the lease; but that OpenClaw has come to take messages is said at once, by the next renewal."""
        left = LEASE_SECONDS / 3
        while left > 0 and (self._said_ready or not self._openclaw.is_ready):
            pause = left if self._said_ready else QUICK_SECONDS
            await self._sleep(pause)
            left -= pause

    async def work(self) -> None:
        """Take turns and answer them; returns when there was none for so long that the agent has stopped.

        Raises:
            Exception: whatever made OpenClaw useless.
        """
        while True:
            self._openclaw.check()
            mail = await self._next()
            if mail is not None:
                await self._answer(mail)
                self._active_at = self._clock.now()
                self._ran_at.append(self._active_at)
                self._back_up_beside(if_changed=Root.WORKSPACE)  # if it wrote files
            elif await self._stopped():
                return
            else:
                await self._sleep(self._pause())

    async def hand_back(self, *, crashed: bool) -> bool:
        """Give back what was taken and what waits, and be stopped; False if somebody keeps writing to this agent.

        `crashed`: it ends by a fault of its own. After a few of those in a row the agent is left alone for a while.
        """
        mailbox, generation = self._mailbox, self._mailbox.generation
        await self._threads(mailbox.agents.stop, generation)
        await self._threads(mailbox.hand_back)
        await self._back_up_last()
        for _ in range(HAND_BACK_TRIES):
            await self._threads(mailbox.hand_back)
            if await self._threads(mailbox.agents.release, generation, crashed=crashed):
                return True
        return False

    async def back_up(self, *, if_changed: Root | None = None) -> bool:
        """Keep the workspace as it is now, or only if that root has changed; False if it did not succeed."""
        return await self._safekeeping.back_up(await self._remembered(), if_changed=if_changed)

    async def keep_backups(self) -> None:
        """Keep the workspace every few minutes, for ever; a backup of what has not changed costs no request."""
        while True:
            await self._sleep(BACKUP_LOOK_SECONDS)
            if self._safekeeping.is_due:
                await self.back_up()

    def status(self) -> Mapping[str, object]:
        """What was done so far."""
        counts = {**asdict(self.counts), "backups": self._safekeeping.counts}
        return {"generation": self._mailbox.generation.number, **counts}

    async def _remembered(self) -> Contained:
        """What of the conversation OpenClaw's memory has seen by now."""
        if self._contained is None:
            self._contained = await self._safekeeping.contained()
        return self._contained

    async def _renewed(self) -> Agent | None:
        renew, idle_after = self._mailbox.renew, self._idle_seconds()
        backups = self._safekeeping.backups
        return await self._threads(renew, idle_after=idle_after, ready=self._said_ready, backups=backups)

    def _back_up_if_asked(self, asked_at: int | None) -> None:
        if asked_at is not None and asked_at != self._backup_asked_at:
            self._back_up_beside(if_changed=None)
        self._backup_asked_at = asked_at

    def _back_up_beside(self, *, if_changed: Root | None) -> None:
        """Keep what there is, or only if that root has changed, while turns may run."""
        if self._backing_up is None or self._backing_up.done():
            self._backing_up = asyncio.create_task(self.back_up(if_changed=if_changed), name="backup beside turns")

    async def _back_up_last(self) -> None:
        """Keep what there is at the end, and the place until then: else the next one would restore what was before."""
        keeping = asyncio.create_task(self._keep_place(), name="lease at the end")
        try:
            await self._safekeeping.back_up_last(await self._remembered(), seconds=LAST_BACKUP_SECONDS)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep_place(self) -> None:
        while True:
            with contextlib.suppress(*_AWS_ERRORS):
                await self._renewed()
            await self._sleep(LEASE_SECONDS / 3)

    def _idle_seconds(self) -> int:
        """Without work, after which it stops: the more runs there were within an hour, the longer it stays."""
        idle = int(self._habits.idle_seconds)
        if not self._habits.lingers:
            return idle
        runs = sum(self._clock.now() - ran_at < SPELL_SECONDS for ran_at in self._ran_at)
        return idle + idle * max(0, runs - 1) // (SPELL_RUNS - 1)

    def _pause(self) -> float:
        busy = self._clock.now() - self._active_at < BUSY_SECONDS
        return QUICK_SECONDS if busy else SLOW_SECONDS

    async def _next(self) -> Mail | None:
        self.counts.polls += 1
        return await self._surely(self._mailbox.next)

    async def _stopped(self) -> bool:
        """Stop if nothing was to be done for long, or if asked to; mail that comes in between is taken."""
        if self._stop_asked_at is None and self._clock.now() - self._active_at < self._idle_seconds():
            return False
        agents, generation = self._mailbox.agents, self._mailbox.generation
        await self._surely(agents.stop, generation)
        if not await self._surely(agents.mail, self._chat_id):
            kept = await self.back_up()
            self._unkept_stops += not kept
            may_end = kept or self._unkept_stops > UNKEPT_STOPS
            if may_end and await self._surely(agents.release, generation):
                return True
        self._stop_asked_at = None  # taking the mail annuls it
        self._active_at = self._clock.now()
        await self._surely(agents.go_on, generation)
        return False

    async def _answer(self, mail: Mail) -> None:
        """Run a turn. Whatever happens to it, the state that waits for it hears of it, now or in `hand_back`."""
        watching = asyncio.create_task(self._watch(mail))
        try:
            work = await self._prepared(mail)
            if work is not None:
                await self._run(work)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _prepared(self, mail: Mail) -> _Work | None:
        """The turn with what the agent has not seen; None if it is gone."""
        turn = await self._surely(self._mailbox.turns.read, self._chat_id, mail.number)
        if turn is None:
            return None
        claim = TurnClaim(ChatClaim(self._chat_id, mail.epoch), mail.number)
        since = int(self._clock.now()) - self._habits.history_days * 86400
        limit = max(1, (self._habits.history_messages + 1) // 2)
        history = await self._surely(
            self._mailbox.turns.history, claim, after=turn.history_after, since=since, limit=limit
        )
        seen = (await self._remembered()).seen.get(turn.history_after, 0)
        unseen = [exchange for exchange in history if exchange.position >= seen]
        message = preceded(with_task(turn.text, turn.task), unseen, messages=self._habits.history_messages)
        return _Work(mail, turn, message, history[-1].position + 1 if history else 0)

    async def _run(self, work: _Work) -> None:
        mail = work.mail
        if mail.deadline - self._clock.now() < LEAST_SECONDS:
            await self._fail(mail, "no time left")
            return
        self.counts.runs += 1
        try:
            ran = await self._openclaw.run(
                self._session(work.turn),
                work.message,
                turn=self._relayed(work.turn),
                seconds_left=lambda: max(LEAST_SECONDS, mail.deadline - self._clock.now()),
            )
        except RunAborted:
            await self._aborted(mail)
        except AllModelsFailed as error:
            self._saw(work, answered=False)  # the session keeps the question
            await self._fail(mail, str(error))
        except (GatewayRefused, RunFailed, RunTimedOut) as error:
            await self._fail(mail, str(error))
        except Exception as error:
            await self._fail(mail, type(error).__name__)  # a provider answers the turn, and this agent has to end
            raise
        else:
            await self._keep(work, ran)

    async def _keep(self, work: _Work, ran: Ran) -> None:
        """Store the answer."""
        result = ran.result
        if not result.text.strip():
            await self._fail(work.mail, "the agent had nothing to say")
            return
        usage = Usage(
            input=result.usage.input,
            cached=result.usage.cache_read,
            written=result.usage.cache_write,
            output=result.usage.output,
        )
        answer = Answer(result.text, result.model, usage)
        answered = Answered(answer, work.turn.text, result.provider, work.position, ran.micro_dollars)
        stored = await self._surely(self._mailbox.answer, work.mail, answered)
        self._saw(work, answered=stored)
        self.counts.answered += stored
        self.counts.late += not stored
        self._log(
            "fallback answered" if result.fallback_attempts else "answered",
            turn=work.mail.number,
            provider=result.provider,
            model=result.model,
            outcome="answered" if stored else "late",
            micro_dollars=ran.micro_dollars,
        )

    async def _fail(self, mail: Mail, reason: str) -> None:
        self.counts.failed += 1
        self._log("the agent gave no answer", turn=mail.number, reason=reason)
        await self._surely(self._mailbox.fail, mail, AgentFailed(reason))

    async def _aborted(self, mail: Mail) -> None:
        """A run that was aborted since its turn was dealt with is finished with the next look at the mail."""
        if await self._surely(self._is_wanted, mail):
            await self._fail(mail, "aborted")

    def _is_wanted(self, mail: Mail) -> bool:
        turn = self._mailbox.turns.read(self._chat_id, mail.number)
        return turn is not None and turn.status == TurnStatus.OPEN and turn.epoch == mail.epoch

    async def _watch(self, mail: Mail) -> None:
        """While a turn is worked on: heartbeats for every state that waits, and an end to a run that nobody wants."""
        beaten_at = float("-inf")
        while True:
            if self._clock.now() - beaten_at >= HEARTBEAT_SECONDS:
                beaten_at = self._clock.now()
                await self._heartbeat()
            await self._sleep(QUICK_SECONDS)
            self.counts.polls += 1
            with contextlib.suppress(*_AWS_ERRORS):
                if not await self._threads(self._is_wanted, mail):
                    await self._openclaw.abort()

    async def _heartbeat(self) -> None:
        """One that did not arrive is not worth waiting for: another follows."""
        with contextlib.suppress(*_AWS_ERRORS):
            for waiting in await self._threads(self._mailbox.agents.mail, self._chat_id):
                await self._threads(self._mailbox.tokens.heartbeat, waiting.task_token)

    async def _surely[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a store; what AWS does not do now is tried again for as long as a lease may last."""
        began = self._clock.now()
        while True:
            try:
                return await self._threads(work, *args, **kwargs)
            except _AWS_ERRORS as error:
                if self._clock.now() - began > LEASE_SECONDS:
                    raise
                self._log("asking AWS once more", error=type(error).__name__)
            await self._sleep(_RETRY_SECONDS)

    def _session(self, turn: Turn) -> str:
        """OpenClaw's name for the conversation: another one after the history was forgotten."""
        return f"agent:main:{self._chat_id}" + (f"-{turn.history_after}" if turn.history_after else "")

    def _relayed(self, turn: Turn) -> RelayedTurn:
        return RelayedTurn(self._chat_id, turn.sender_id, turn.number, turn.preferred)

    def _saw(self, work: _Work, *, answered: bool) -> None:
        """Note what the session knows now: all before the question, and with it the answer if it gave that itself."""
        before = self._contained or NOTHING
        seen = {**before.seen, work.turn.history_after: work.position + answered}
        self._contained = Contained(max(before.turn, work.mail.number), seen)

"""PrepareTurn: what the chat's next turn is, and where it enters the state machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assistant.errors import StoreContended, TurnInvalid
from assistant.turns import texts
from assistant.turns.hours import hours
from assistant.turns.lanes import AGENT_SECONDS, COLD_SECONDS, heartbeat_seconds, lane, may_delegate, wakes
from assistant.turns.ledger import ChainState
from assistant.turns.model import TURN_SECONDS, Chat, ChatClaim, InboxMessage, Turn, TurnClaim, TurnStatus
from assistant.turns.waking import pause_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.turns.agents import Agent
    from assistant.turns.chain import Chain
    from assistant.turns.hours import Hours
    from assistant.turns.lanes import AgentMode
    from assistant.turns.ports import Agents, Claims, Clock, Ledger, Turns, Waker

COALESCED_MESSAGES = 20
ATTEMPTS = 3
LATE_SECONDS = 600
"""A reminder that comes later says when it was due."""

IDLE, DELIVER, WAIT, FAIL, AGENT = "idle", "deliver", "wait", "fail", "agent"
"""Routes beside the providers' ids."""


_UNSENT: dict[str, Any] = {"sent": 0, "sending": None, "ambiguous": None, "noticed": None, "deliver_after": None}
"""Of a turn's reply, before it is delivered."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where RouteTurn goes: `route` is a provider's id, `agent`, `deliver`, `wait`, `fail` or `idle`.

    `seconds`: to wait before the delivery, or between two heartbeats of the agent, who may be handed what goes to a
    provider.
    """

    claim: ChatClaim
    route: str
    turn: int | None = None
    seconds: int = 0

    def as_state(self) -> dict[str, Any]:
        """The state's output: ids only."""
        return {
            "chat_id": self.claim.chat_id,
            "epoch": self.claim.epoch,
            "turn": self.turn,
            "route": self.route,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares turns. An open turn always goes first: that resumes it after a crash.

    `agent_hours`: how many the agents of all chats may run in a month. `waker`: wakes agents for later turns, in the
    mode that does.
    """

    claims: Claims
    turns: Turns
    ledger: Ledger
    agents: Agents
    chain: Chain
    mode: AgentMode
    agent_hours: float
    clock: Clock
    waker: Waker

    def __call__(self, claim: ChatClaim) -> Route:
        """Prepare the chat's next turn. Called again for the same claim, it comes to the same turn."""
        chat, inbox = self.turns.waiting(claim.chat_id, limit=COALESCED_MESSAGES)
        if chat.claim_epoch != claim.epoch or chat.claimed_at is None:
            return Route(claim, IDLE)
        if chat.open_turn is None:
            return self._begin(claim, chat, inbox)
        turn = self.turns.read(claim.chat_id, chat.open_turn)
        if turn is None:
            raise TurnInvalid("the chat's open turn does not exist")
        if turn.status == TurnStatus.PARKED and turn.reply is None:
            return self._reopen(claim, chat, turn, inbox)
        return self._resume(claim, chat, turn)

    def _begin(self, claim: ChatClaim, chat: Chat, inbox: list[InboxMessage]) -> Route:
        if not inbox:
            return self._nothing_to_do(claim, chat)
        match inbox[0].kind:
            case "text":
                taken = _adjacent_texts(inbox)
                return self._ask(claim, chat, self._new_turn(claim, chat, taken), taken, before=None)
            case "agent" | "ask" as command:
                asked = self._new_turn(claim, chat, inbox[:1])
                chosen = replace(asked, lane="agent" if command == "agent" else "chat")
                return self._ask(claim, chat, chosen, inbox[:1], before=None)
            case "reminder":
                return self._ask(claim, chat, self._reminder_turn(claim, chat, inbox[0]), inbox[:1], before=None)
            case "retry":
                return self._retry(claim, chat, inbox[0])
            case _:  # again
                return self._repeat(claim, chat, inbox[0])

    def _reminder_turn(self, claim: ChatClaim, chat: Chat, due: InboxMessage) -> Turn:
        """A turn of the chat lane; what it says if nobody can be asked is written down with it."""
        late = self._late(chat, due)
        asked = replace(due, text=texts.reminder_request(due.text, late))
        return replace(self._new_turn(claim, chat, [asked]), lane="chat", reminder=texts.reminder(due.text, late))

    def _late(self, chat: Chat, due: InboxMessage) -> str | None:
        """When a reminder was due that comes late."""
        if self.clock.now() - due.date < LATE_SECONDS:
            return None
        from assistant.turns import reminder_texts  # noqa: PLC0415 (time zones: 5 ms that only late ones need)

        return reminder_texts.due(due.date, chat.time_zone)

    def _nothing_to_do(self, claim: ChatClaim, chat: Chat) -> Route:
        if chat.waiting:
            # A message whose transaction is not wholly visible yet: left to the sweep, ever more seldom.
            missed = (chat.recoveries or 0) + 1
            self.claims.drop(claim, due_at=int(self.clock.now()) + pause_seconds(missed), recoveries=missed)
        elif not self.claims.release(claim, due_at=None):
            return self(claim)
        return Route(claim, IDLE)

    def _retry(self, claim: ChatClaim, chat: Chat, command: InboxMessage) -> Route:
        failed = self.turns.read(claim.chat_id, chat.failed_turn) if chat.failed_turn is not None else None
        if failed is None:
            return self._say(claim, chat, command, texts.NOTHING_TO_RETRY)
        again = self._opened(claim, replace(failed, attempts=0, parks=0, parked_at=None, declined_by=None, task=None))
        return self._ask(claim, chat, again, [command], before=failed, keys_may_be_new=True)

    def _repeat(self, claim: ChatClaim, chat: Chat, command: InboxMessage) -> Route:
        last = self.turns.read(claim.chat_id, chat.last_turn) if chat.last_turn is not None else None
        if last is None or not last.reply:
            return self._say(claim, chat, command, texts.NOTHING_TO_REPEAT)
        return self._say(claim, chat, command, last.reply, answered=last)

    def _say(
        self, claim: ChatClaim, chat: Chat, command: InboxMessage, reply: str, *, answered: Turn | None = None
    ) -> Route:
        """Answer a command; `answered` is the turn whose answer it repeats, signed as that was."""
        said = replace(self._new_turn(claim, chat, [command]), text="", status=TurnStatus.ANSWERED, reply=reply)
        if answered is not None:
            said = replace(said, provider=answered.provider, preferred=answered.preferred)
        self._open(claim, said, [command], before=None)
        return Route(claim, DELIVER, said.number)

    def _reopen(self, claim: ChatClaim, chat: Chat, turn: Turn, inbox: Sequence[InboxMessage]) -> Route:
        """A parked turn: take what was written since into it, and ask if it may be asked."""
        if due := [message for message in inbox if message.kind == "reminder"]:
            return self._remind_meanwhile(claim, chat, turn, due)
        now = self.clock.now()
        texts_taken = _joining(chat, turn, inbox)
        # Wherever it stands: it is about this turn, and nothing else can be done before it.
        retry = [message for message in inbox if message.kind == "retry"][:1]
        taken = [*texts_taken, *retry]
        absorbed = replace(
            turn,
            epoch=claim.epoch,
            text="\n\n".join([turn.text, *(message.text for message in texts_taken)]),
            messages=turn.messages + len(texts_taken),
            message_id=taken[-1].message_id if taken else turn.message_id,
        )
        if retry:  # a question of its own: should nobody answer, that is said
            absorbed = replace(absorbed, parks=0, parked_at=None, declined_by=None)
        if retry or (turn.retry_at or 0) <= now or self._chain_state().entry(absorbed) is not None:
            opened = self._opened(claim, replace(absorbed, attempts=0, task=None))
            return self._ask(claim, chat, opened, taken, before=turn, keys_may_be_new=bool(retry))
        self._open(claim, absorbed, taken, before=turn)
        due_at = turn.retry_at or int(now)
        if self.claims.release(claim, due_at=due_at):
            return Route(claim, IDLE)
        if taken or not chat.waiting:
            return self(claim)
        # What can't be taken (/again, a 21st message) waits for the parked turn: the retry's time is its time.
        self.claims.drop(claim, due_at=due_at, recoveries=0)
        return Route(claim, IDLE)

    def _remind_meanwhile(self, claim: ChatClaim, chat: Chat, turn: Turn, due: Sequence[InboxMessage]) -> Route:
        """Reminders do not wait for what is parked: its turn says them, as it said the apology."""
        said = [texts.reminder(message.text, self._late(chat, message)) for message in due]
        saying = replace(turn, epoch=claim.epoch, reply="\n\n".join(said), **_UNSENT)
        self._open(claim, saying, due, before=turn)
        return Route(claim, DELIVER, turn.number)

    def _resume(self, claim: ChatClaim, chat: Chat, turn: Turn) -> Route:
        now = self.clock.now()
        if turn.status != TurnStatus.OPEN:
            if turn.epoch != claim.epoch:
                self._open(claim, replace(turn, epoch=claim.epoch), [], before=turn)
            wait = (turn.deliver_after or 0) - int(now)
            return Route(claim, WAIT, turn.number, seconds=wait) if wait > 0 else Route(claim, DELIVER, turn.number)
        if turn.epoch == claim.epoch:
            state = self._chain_state()
            mode = self._mode(state)
            return self._route(claim, turn, state, mode, self._agent(claim, mode))
        if turn.attempts >= ATTEMPTS:
            self._open(claim, replace(turn, epoch=claim.epoch), [], before=turn)
            return Route(claim, FAIL, turn.number)
        return self._ask(claim, chat, self._opened(claim, turn), [], before=turn)

    def _ask(
        self,
        claim: ChatClaim,
        chat: Chat,
        turn: Turn,
        taken: Sequence[InboxMessage],
        *,
        before: Turn | None,
        keys_may_be_new: bool = False,
    ) -> Route:
        state = self._chain_state()
        mode = self._mode(state)
        agent = self._agent(claim, mode)
        opened = replace(turn, preferred=state.preferred(), hours_spent=self._notice(chat, turn, state))
        if agent is not None and lane(mode, opened, agent, state.now) == "agent":
            # Should the agent not answer, the chat lane still has its own time.
            opened = replace(opened, deadline=opened.deadline + AGENT_SECONDS, may_delegate=None)
        else:
            opened = replace(opened, may_delegate=may_delegate(mode, opened) or None)
        self._open(claim, opened, taken, before=before)
        return self._route(claim, opened, state, mode, agent, keys_may_be_new=keys_may_be_new)

    def _route(
        self,
        claim: ChatClaim,
        turn: Turn,
        state: ChainState,
        mode: AgentMode,
        agent: Agent | None,
        *,
        keys_may_be_new: bool = False,
    ) -> Route:
        """Where an open turn is answered."""
        if agent is not None and lane(mode, turn, agent, state.now) == "agent":
            return Route(claim, AGENT, turn.number, seconds=heartbeat_seconds(agent, state.now))
        if agent is not None and wakes(mode, turn, agent, state.now):
            self.waker.wake(TurnClaim(claim, turn.number))
        entry = state.entry(turn, keys_may_be_new=keys_may_be_new) or FAIL
        return Route(claim, entry, turn.number, seconds=COLD_SECONDS)  # should a model hand it over

    def _agent(self, claim: ChatClaim, mode: AgentMode) -> Agent | None:
        """The chat's agent; None, and no read, where there are no agents."""
        return None if mode == "off" else self.agents.read(claim.chat_id)

    def _hours(self, state: ChainState) -> Hours:
        """How the agents' hours stand: they are read with the ledger."""
        return hours(state.entries, self.agent_hours, state.now)

    def _mode(self, state: ChainState) -> AgentMode:
        """When the agent answers; never, once its hours are used up, whether it runs or not."""
        return "off" if self._hours(state).spent else self.mode

    def _notice(self, chat: Chat, turn: Turn, state: ChainState) -> str | None:
        """The month whose hours are used up, if the turn's answer is to say so.

        Once a chat and month, and whenever the agent was asked for.
        """
        found = self._hours(state)
        if self.mode == "off" or turn.lane == "chat" or not found.spent:
            return None
        said = turn.hours_spent != found.month and chat.hours_noticed == found.month
        return None if said and turn.lane != "agent" else found.month

    def _open(self, claim: ChatClaim, turn: Turn, taken: Sequence[InboxMessage], *, before: Turn | None) -> None:
        if not self.turns.open(claim, turn, taken, before=before):
            raise StoreContended("the chat changed while its turn was prepared")

    def _chain_state(self) -> ChainState:
        """Who may be asked now: one read of the ledger."""
        return ChainState(self.chain, self.ledger.entries(), self.clock.now())

    def _new_turn(self, claim: ChatClaim, chat: Chat, taken: Sequence[InboxMessage]) -> Turn:
        now = int(self.clock.now())
        last = taken[-1]
        return Turn(
            number=chat.turn_counter + 1,
            status=TurnStatus.OPEN,
            epoch=claim.epoch,
            text="\n\n".join(message.text for message in taken),
            messages=len(taken),
            message_id=last.message_id,
            thread_id=last.thread_id,
            group=last.group,
            sender_id=last.sender_id,
            history_after=chat.history_after or 0,
            created_at=now,
            deadline=now + TURN_SECONDS,
        )

    def _opened(self, claim: ChatClaim, turn: Turn) -> Turn:
        """The turn, open again for this claim, with a new deadline and nothing to deliver."""
        now = int(self.clock.now())
        return replace(
            turn,
            status=TurnStatus.OPEN,
            epoch=claim.epoch,
            attempts=turn.attempts + 1,
            deadline=now + TURN_SECONDS,
            ttl=None,
            retry_at=None,
            reply=None,
            **_UNSENT,
        )


def _joining(chat: Chat, turn: Turn, inbox: Sequence[InboxMessage]) -> list[InboxMessage]:
    """The plain messages that become part of a parked turn: of its topic and its conversation, as many as it holds."""
    room = COALESCED_MESSAGES - turn.messages
    if room <= 0 or (chat.history_after or 0) >= turn.number:
        return []
    return [message for message in _adjacent_texts(inbox) if message.thread_id == turn.thread_id][:room]


def _adjacent_texts(inbox: Sequence[InboxMessage]) -> list[InboxMessage]:
    """The plain messages up to the first command, in the forum topic of the first."""
    taken: list[InboxMessage] = []
    for message in inbox:
        if message.kind != "text" or message.thread_id != inbox[0].thread_id:
            break
        taken.append(message)
    return taken

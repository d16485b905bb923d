"""/stop: what is being worked on is given up at once, by whoever carries out the command.

The turn is ended and its claim is taken away in one transaction. Whoever works on it still, a provider's function or
the agent, finds that out at its next write, and changes nothing any more; nobody waits for that. Reminders that are
due are said all the same: they were set in order not to be missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from assistant.errors import StoreContended
from assistant.turns import texts
from assistant.turns.model import ChatClaim, TurnClaim, TurnStatus

if TYPE_CHECKING:
    from assistant.turns.model import Turn
    from assistant.turns.ports import Agents, Stops, TaskTokens, Turns
    from assistant.turns.waking import Waking

MOST_DROPPED = 20
"""Messages that are dropped at once, if nothing was begun yet: as many as one turn would take."""

_TRIES = 5
_STOPPABLE = (TurnStatus.OPEN, TurnStatus.PARKED)


class Stopped(Enum):
    """What became of an attempt to stop."""

    NOW = auto()
    BEFORE = auto()
    CHANGED = auto()


@dataclass(frozen=True, slots=True)
class StateOfAgent:
    """What is needed to end a turn that was handed to the agent: its mail, and the state that waits."""

    agents: Agents
    tokens: TaskTokens

    def __call__(self, claim: TurnClaim) -> None:
        """Let the state that waits go on, and take the mail back unless it was taken: then the agent finishes it.

        Should this not be done, the agent does it: it looks every second whether its turn is wanted.
        """
        for mail in self.agents.mail(claim.chat.chat_id):
            if mail.number == claim.number and mail.epoch <= claim.chat.epoch:  # it may have been asked again since
                self.tokens.succeed(mail.task_token)
                self.agents.withdraw(claim)


@dataclass(frozen=True, slots=True)
class Stopping:
    """Stops. `agent`: where there is one."""

    turns: Turns
    stops: Stops
    waking: Waking
    agent: StateOfAgent | None

    def __call__(self, chat_id: str, update_id: int) -> str | None:
        """Give up what is being worked on.

        Returns:
            What the person reads; None if this update was carried out before.
        """
        for _ in range(_TRIES):
            stopped, text = self._attempt(chat_id, update_id)
            if stopped is Stopped.BEFORE:
                self.waking.wake(chat_id)  # the try before this one may have died over it
                return None
            if stopped is Stopped.NOW:
                return text
        raise StoreContended("the chat kept changing while it was to be stopped")

    def _attempt(self, chat_id: str, update_id: int) -> tuple[Stopped, str]:
        chat, inbox = self.turns.waiting(chat_id, limit=MOST_DROPPED)
        turn = None if chat.open_turn is None else self.turns.read(chat_id, chat.open_turn)
        if turn is not None and turn.status in _STOPPABLE and turn.reminder is None:
            unsaid = _promises(turn)
            stopped = self.stops.stop(chat_id, update_id, chat, turn, unsaid=unsaid)
            if stopped is Stopped.NOW:
                self._let_go(chat_id, turn, more=chat.waiting > 0 or (turn.reply is not None and not unsaid))
            return stopped, texts.stopped(parked=turn.status == TurnStatus.PARKED, waiting=chat.waiting > 0)
        written = [message for message in inbox if message.kind != "reminder"]
        if turn is None and written:
            said = texts.STOPPED_BEFORE if chat.waiting <= len(inbox) else texts.STOPPED_BEFORE_SOME
            return self.stops.drop(chat_id, update_id, written), said
        return self.stops.nothing(chat_id, update_id), texts.NOTHING_TO_STOP

    def _let_go(self, chat_id: str, turn: Turn, *, more: bool) -> None:
        if more:
            self.waking.wake(chat_id)
        if self.agent is not None and turn.status == TurnStatus.OPEN:
            self.agent(TurnClaim(ChatClaim(chat_id, turn.epoch), turn.number))


def _promises(turn: Turn) -> bool:
    """Whether its apology, which says when it is asked again, is still to be sent: that would not be true any more."""
    unsent = turn.sending is None and turn.sent == 0
    return unsent and turn.reply is not None and turn.reply.startswith(texts.PARKED)

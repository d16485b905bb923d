"""What the owner is told: which events are worth a message, and the words of it. Plain text, no markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.turns.agents import PATIENCE
from assistant.turns.chain import load_chain
from assistant.turns.ledger import REJECTED_SECONDS
from assistant.turns.model import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assistant.turns.model import NoticeKind

ALARM = "ALARM"
OK = "OK"
INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm whose state is another than before: `ALARM`, `OK` or `INSUFFICIENT_DATA`."""

    alarm: str
    state: str
    before: str


@dataclass(frozen=True, slots=True)
class AlarmText:
    """What is said when an alarm is raised: what happened, and what to do; and when it is over."""

    happened: str
    to_do: str
    over: str

    def of(self, state: str) -> str:
        """The text for one of its states."""
        if state == ALARM:
            return f"{self.happened}\n\nWhat to do: {self.to_do}"
        return f"It is over. {self.over}"


ALARM_TEXTS: Mapping[str, AlarmText] = {
    "none-left": AlarmText(
        happened="No language model was left to answer a message: each is used up, blocked or without a key. The "
        "person was told, and I ask again by myself as soon as one may be asked.",
        to_do="/providers shows each one's state. A key that is missing or refused is yours to set; for the rest it "
        "is enough to wait.",
        over="For an hour no message has been left without a language model.",
    ),
    "paid-budget": AlarmText(
        happened="80 % of this month's budget for Claude is used. When all of it is, I answer from the free models "
        "only, until the month ends.",
        to_do="nothing, or give the stack's parameter ClaudeDollarsPerMonth another value. /usage shows the amounts.",
        over="The budget for Claude is below 80 % again.",
    ),
    "turns-failing": AlarmText(
        happened="I gave up on a message, or my state machine failed. Whoever wrote it was told, or I am trying again.",
        to_do="in CloudWatch, Logs Insights, the saved queries “Errors by provider” and “One turn's story” show what "
        "happened.",
        over="For an hour no message has failed.",
    ),
    "failure-queue": AlarmText(
        happened="Something that I do in the background failed, also when I tried again, and waits in the failure "
        "queue.",
        to_do="read the message in the SQS queue FailureQueue (its error and its event), mend the cause, then delete "
        "it. It is kept for 14 days.",
        over="The failure queue is empty again.",
    ),
}
"""By the end of the alarm's name (template.yaml)."""

HOW_TO_SET_OWNER = (
    "no owner is set: put the item SETTINGS/OWNER with chat_id into the Runtime table (docs/monitoring.md)"
)
HOW_TO_REACH_OWNER = (
    "the owner's chat takes no message: write to the bot from it, or put another chat_id into the item SETTINGS/OWNER "
    "(docs/monitoring.md)"
)
"""For the log, when there is nobody to tell."""


def parse(event: object) -> Notice | AlarmChange:
    """Read an event of EventBridge, or a Notice as JSON.

    Source: CloudWatch user guide, "Alarm events and EventBridge".

    Raises:
        ValueError: it is neither.
    """
    match event:
        case {
            "kind": "provider_rejected"
            | "turn_kills_agent"
            | "agent_fails"
            | "workspace_unreadable"
            | "backups_fail"
            | "backups_late"
            | "agent_hours" as kind,
            "provider": str(provider),
            "reason": str(reason),
            **others,
        }:
            return Notice(kind, provider, reason, str(others.get("chat_id", "")))
        case {
            "detail-type": "CloudWatch Alarm State Change",
            "detail": {
                "alarmName": str(alarm),
                "state": {"value": str(state)},
                "previousState": {"value": str(before)},
            },
        }:
            return AlarmChange(alarm, state, before)
    raise ValueError("neither a notice nor an alarm's change of state")


def text(news: Notice | AlarmChange) -> str | None:
    """What the owner reads; None if it is not worth a message.

    That is an alarm that is new, or that was over already; and one that lacks data: that is not the end of it.
    """
    if isinstance(news, Notice):
        return _NOTICES[news.kind](news)
    if news.state in (news.before, INSUFFICIENT_DATA) or (news.state, news.before) == (OK, INSUFFICIENT_DATA):
        return None
    for suffix, words in ALARM_TEXTS.items():
        if news.alarm.endswith(f"-{suffix}"):
            return words.of(news.state)
    return f"The alarm {news.alarm} is in the state {news.state}. CloudWatch shows why."


def _rejected(notice: Notice) -> str:
    provider = next((one for one in load_chain().providers if one.id == notice.provider), None)
    name = provider.name if provider else notice.provider
    secret = f" Its key is the SSM parameter {provider.secret}." if provider else ""
    return (
        f"{name} refuses to answer me: {notice.reason.replace('_', ' ')}. That is about its key, its account or its "
        f"model, so only you can mend it.{secret}\n\n"
        f"Until then I pass it over, and try it again every {REJECTED_SECONDS // 3600} hours; /providers shows whether "
        "it is well again."
    )


def _turn_kills_agent(notice: Notice) -> str:
    return (
        f"Over one message of chat {notice.chat_id} the agent died twice, so I do not give it that message again; a "
        f"language model without tools answers it, and says so. AWS says: {notice.reason or 'nothing'}.\n\n"
        "What to do: if it ran out of memory, deploy with a larger AgentMemory; else look at the agent's log group in "
        "CloudWatch."
    )


def _agent_fails(notice: Notice) -> str:
    return (
        f"The agent of chat {notice.chat_id} has failed {PATIENCE[0][0]} times in a row. AWS says: "
        f"{notice.reason or 'nothing'}.\n\n"
        f"Language models answer meanwhile. I try it again after {PATIENCE[0][1] // 60} minute, then "
        f"{PATIENCE[1][1] // 60}, then every {PATIENCE[2][1] // 60}, when somebody asks for it.\n\n"
        "What to do: look at the agent's log group in CloudWatch, or deploy the image that worked before."
    )


def _workspace_unreadable(notice: Notice) -> str:
    return (
        f"The workspace of chat {notice.chat_id} could not be restored ({notice.reason or 'no reason known'}), so its "
        "agent does not start. Nothing was overwritten, and nothing is backed up until a restore succeeds. Language "
        "models answer meanwhile. I say so once a day and reason, however often it is tried.\n\n"
        "What to do: if it happens on one day, nothing. If it goes on, go back to an earlier snapshot "
        "(docs/workspace.md)."
    )


def _backups_fail(notice: Notice) -> str:
    return (
        f"The workspace of chat {notice.chat_id} could not be backed up several times in a row "
        f"({notice.reason or 'no reason known'}). What was backed up before is safe; what the agent has written since "
        "is lost if it ends now. I go on trying.\n\n"
        "What to do: look at the agent's log group in CloudWatch."
    )


def _backups_late(notice: Notice) -> str:
    return (
        f"The agent of chat {notice.chat_id} runs, but the last backup of its workspace that it spoke of is "
        f"{notice.reason} minutes old; it makes one every 5 minutes when something has changed. What was backed up "
        "before is safe; what it has written since is lost if it ends now. I have asked it for a backup.\n\n"
        "What to do: /status in that chat shows the last backup. If there is none soon, look at the agent's log group "
        "in CloudWatch."
    )


def _agent_hours(notice: Notice) -> str:
    return (
        f"The agents have run the {notice.reason} hours that they may run in a month. Those that are awake stop when "
        "they have done what they are doing; until the month ends language models without tools and files answer, and "
        "each chat is told so.\n\n"
        "What to do: nothing, or give the stack's parameter AgentHoursPerMonth another value. /usage shows the hours."
    )


_NOTICES: Mapping[NoticeKind, Callable[[Notice], str]] = {
    "provider_rejected": _rejected,
    "turn_kills_agent": _turn_kills_agent,
    "agent_fails": _agent_fails,
    "workspace_unreadable": _workspace_unreadable,
    "backups_fail": _backups_fail,
    "backups_late": _backups_late,
    "agent_hours": _agent_hours,
}

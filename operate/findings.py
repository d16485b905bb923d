"""What the doctor says of each link of the chain, from plain facts: no service is asked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from operate.bot import ALLOWED_UPDATES
from operate.keys import KEYS
from operate.stack import HEALTHY, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from operate.asking import Asked
    from operate.bot import WebhookInfo
    from operate.parameters import Stored
    from operate.stack import Stack

type State = Literal["good", "note", "bad", "skipped"]

SKEW_SECONDS = 60
"""AWS refuses requests whose time is five minutes off; the ledger allows its clocks a minute."""

PARALLEL = 20
"""Functions that may run at once, below which a family in a hurry is throttled. New accounts start with 10."""

AGENTS = 4
"""Agents that may run at once, below which a family in a hurry waits for models. New accounts may have few vCPUs."""

_RECENT_SECONDS = 3600
_MANY_PENDING = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One link of the chain: how it is, and what to do."""

    link: str
    state: State
    what: str
    advice: str = ""


def of_stack(stack: Stack, failures: Sequence[str]) -> Finding:
    """The stack's state."""
    if stack.status in HEALTHY:
        undone = stack.status == "UPDATE_ROLLBACK_COMPLETE"
        why = f"; the last update was rolled back: {failures[0]}" if undone and failures else ""
        return Finding("stack", "note" if undone else "good", f"{stack.name} is {stack.status}{why}")
    if stack.moving:
        return Finding("stack", "note", f"{stack.name} is {stack.status}", "CloudFormation is at work: wait.")
    advice = (
        "`python -m operate deploy` deletes what is left and begins again."
        if stack.status in UNUSABLE
        else "In CloudFormation's console choose “Continue update rollback”, then deploy again."
    )
    return Finding("stack", "bad", f"{stack.name} is {stack.status}: {(failures or [stack.reason])[0]}", advice)


def of_secrets(stored: Mapping[str, Stored], path: str) -> list[Finding]:
    """Which keys there are, and whether they are encrypted."""
    found = [
        Finding("keys", "bad", f"{path}{key.name} does not exist", "`python -m operate setup`")
        for key in KEYS
        if key.kind != "provider" and key.name not in stored
    ]
    found += [
        Finding("keys", "bad", f"{path}{name} is a {each.kind}, in clear text", "Delete it, and set it by `setup`.")
        for name, each in stored.items()
        if each.kind != "SecureString"
    ]
    providers = [key for key in KEYS if key.kind == "provider"]
    present = [key.title for key in providers if key.name in stored]
    absent = [key.title for key in providers if key.name not in stored]
    if not present:
        return [*found, Finding("keys", "bad", "no provider has a key", "`python -m operate setup`: one is enough.")]
    without = f"; without: {', '.join(absent)}" if absent else ""
    return [*found, Finding("keys", "good", f"present: {', '.join(present)}{without}")]


def of_webhook(info: WebhookInfo, expected: str, now: datetime) -> list[Finding]:
    """Where Telegram sends updates."""
    advice = "`python -m operate webhook set`"
    if not info.url:
        return [Finding("webhook", "bad", "Telegram sends updates nowhere", advice)]
    if info.url != expected:
        elsewhere = f"Telegram sends updates to {info.url}, and not to this stack ({expected})"
        return [Finding("webhook", "bad", elsewhere, f"If they should come here: {advice}")]
    found = [Finding("webhook", "good", f"{info.url}, {info.pending} waiting")]
    if info.pending > _MANY_PENDING:
        found = [Finding("webhook", "note", f"{info.pending} updates wait at Telegram", "See the last error, or logs.")]
    if set(info.allowed_updates) != set(ALLOWED_UPDATES):
        named = ", ".join(info.allowed_updates) or "the default"
        found.append(Finding("webhook", "note", f"allowed_updates is {named}; only messages are read", advice))
    if info.last_error_at is not None:
        ago = (now - info.last_error_at).total_seconds()
        text = f"Telegram's last error, {info.last_error_at:%d %b %H:%M} UTC: {info.last_error}"
        hint = "401 or 403: the secret differs; set it again: " + advice
        found.append(Finding("webhook", "bad" if ago < _RECENT_SECONDS and info.pending else "note", text, hint))
    return found


def of_asked(title: str, asked: Asked) -> Finding:
    """A provider's answer to one tiny question."""
    link = f"provider {title}"
    match asked.verdict:
        case "good":
            return Finding(link, "good", f"answers as {asked.model} in {asked.seconds:.1f} s")
        case "used up":
            return Finding(link, "note", f"knows the key; at the moment: {asked.reason}", "Nothing: it is passed over.")
        case "wrong":
            advice = "Set a new key by `setup`; if the model is refused, change its id in chain.toml and deploy."
            return Finding(
                link, "bad", f"refuses the key, the account or the model {asked.model}: {asked.reason}", advice
            )
    return Finding(link, "note", f"does not answer: {asked.reason}", "Try again later; it is passed over meanwhile.")


def of_image(image: str, digests: Collection[str] | None) -> Finding:
    """The agent's image; `digests`: the tags and digests that its repository has, None if it could not be asked."""
    if not image:
        return Finding("image", "note", "no agent is deployed: providers answer everything")
    if digests is None:
        return Finding("image", "note", f"{image}: its repository can't be looked at from here")
    reference = image.rpartition("@" if "@" in image else ":")[2]
    if reference in digests:
        return Finding("image", "good", image)
    return Finding(
        "image", "bad", f"{image} is not in its repository", "`python -m operate deploy` builds and pushes it."
    )


def of_clock(seconds: float) -> Finding:
    """How far this machine's clock is from AWS's."""
    if abs(seconds) > SKEW_SECONDS:
        return Finding("clock", "bad", f"this machine's clock is {seconds:+.0f} s off", "Switch NTP on.")
    return Finding("clock", "good", f"within {max(1, round(abs(seconds)))} s of AWS's")


def of_concurrency(limit: int) -> Finding:
    """How many functions may run at once in the account."""
    if limit < PARALLEL:
        advice = "Ask for 100 or more: Service Quotas → AWS Lambda → Concurrent executions. It is free."
        return Finding("quotas", "note", f"the account may run {limit} functions at once", advice)
    return Finding("quotas", "good", f"the account may run {limit:,} functions at once")


def of_agents(vcpus: Mapping[str, float | None], size: float) -> list[Finding]:
    """How many agents may run at once in the account.

    Args:
        vcpus: the quota of each kind of capacity, `Spot` and `On-Demand`; None if Service Quotas does not know it here.
        size: vCPUs of one agent.
    """
    if all(value is not None and value < size for value in vcpus.values()):
        what = f"an agent takes {size:g} vCPU, and the account has less of Fargate: none can start"
        return [Finding("quotas", "bad", what, _more_vcpus("each “… vCPU resource count”", size))]
    return [_of_capacity(kind, value, size) for kind, value in vcpus.items()]


def _of_capacity(kind: str, vcpus: float | None, size: float) -> Finding:
    name = f"Fargate {kind} vCPU resource count"
    if vcpus is None:
        advice = f"Look in the console: Service Quotas → AWS Fargate → {name}."
        return Finding(
            "quotas", "note", f"Service Quotas does not say how many agents may run on Fargate {kind}", advice
        )
    agents = int(vcpus // size)
    what = f"{agents:,} agents may run at once on Fargate {kind} ({vcpus:g} vCPU)"
    if agents < AGENTS:
        return Finding("quotas", "note", f"{what}; beyond that models answer", _more_vcpus(name, size))
    return Finding("quotas", "good", what)


def _more_vcpus(name: str, size: float) -> str:
    return f"Ask for {AGENTS * size:g} or more: Service Quotas → AWS Fargate → {name}. It is free."


def of_alarms(raised: Sequence[str]) -> Finding:
    """The stack's alarms."""
    if raised:
        return Finding("alarms", "bad", f"raised: {', '.join(raised)}", "docs/operating.md says what each one means.")
    return Finding("alarms", "good", "none is raised")


def of_queue(messages: int) -> Finding:
    """The failure queue."""
    if messages:
        advice = "`python -m operate redrive --queue` shows them and runs them again."
        return Finding("failure queue", "bad", f"holds {messages}", advice)
    return Finding("failure queue", "good", "is empty")


def of_owner(owner: str | None, people: Collection[str]) -> list[Finding]:
    """Who may talk, and who is told."""
    found = []
    if not people:
        advice = "Write to the bot, it answers with your id; then `python -m operate allow <id> --owner`."
        found.append(Finding("people", "bad", "nobody may talk to the assistant", advice))
    else:
        found.append(Finding("people", "good", f"{len(people)} on the list"))
    if owner is None:
        found.append(
            Finding("people", "note", "nobody is told of alarms", "`python -m operate allow <your id> --owner`")
        )
    return found

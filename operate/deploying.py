"""What a deployment has to do, decided from plain facts; nothing is done here.

Each step says by itself whether it is needed, so that a deployment that broke off goes on where it was, and one more
does nothing: an image whose content is pushed is not built, a stack without changes is not updated, a webhook that is
right is not set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from operate.errors import StateError
from operate.stack import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from operate.bot import WebhookInfo
    from operate.operations import Change
    from operate.stack import Resource, Stack

type Step = Literal["clear", "build", "image", "stack", "webhook"]

TITLES: Mapping[Step, str] = {
    "clear": "delete what the failed first deployment left",
    "build": "build the functions and the layer",
    "image": "build the agent's image and push it",
    "stack": "create the stack, or update what has changed in it",
    "webhook": "have Telegram send messages to it",
}
REMOVED_ON_REQUEST = frozenset({"AWS::DynamoDB::Table", "AWS::S3::Bucket"})
"""What the template retains: conversations and workspaces."""

LISTED = 25
"""So many changes of a kind are listed one by one; more are counted by type."""

_VERBS = {"Add": "create", "Import": "take over", "Modify": "change", "Remove": "delete"}
_REPLACED = {"True": "replace", "Conditional": "change, perhaps replace"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before anything is done.

    Attributes:
        stack: as it is; None if there is none.
        bot: the bot's user name, as Telegram says it.
        webhook: where Telegram sends updates.
        image: the agent's image as it should be, by repository and tag; empty without an agent.
        digest: of that image, if the repository has it.
        given: further template parameters.
    """

    stack: Stack | None
    bot: str
    webhook: WebhookInfo
    image: str = ""
    digest: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


def steps(facts: Facts) -> list[Step]:
    """What is to be done, in order.

    Raises:
        StateError: CloudFormation is at work, or a rollback failed and a person has to go on with it.
    """
    stack, found = facts.stack, list[Step]()
    if stack is not None and stack.status in UNUSABLE:
        found.append("clear")
        stack = None
    elif stack is not None and stack.empty:
        stack = None
    elif stack is not None and (stack.moving or stack.status.endswith("_FAILED")):
        advice = "Wait until it is done." if stack.moving else "CloudFormation's console: “Continue update rollback”."
        raise StateError(f"The stack {stack.name} is in {stack.status}.", advice)
    found.append("build")
    if facts.image and facts.digest is None:
        found.append("image")
    found.append("stack")
    expected = "" if stack is None else stack.outputs.get("WebhookUrl", "")
    if not expected or facts.webhook.url != expected:
        found.append("webhook")
    return found


def architecture(stack: Stack | None, given: Mapping[str, str]) -> str:
    """What the functions and the agent run on: as given, else as deployed, else the template's default."""
    deployed: Mapping[str, str] = {} if stack is None else stack.parameters
    return given.get("Architecture") or deployed.get("Architecture") or "arm64"


def parameters(facts: Facts) -> dict[str, str]:
    """The template parameters to deploy with; others keep the values that they have.

    An image that is not pushed yet has no digest: its tag says as much as can be said.
    """
    image = f"{facts.image.rpartition(':')[0]}@{facts.digest}" if facts.digest else facts.image
    return {"BotUsername": facts.bot, **({"AgentImage": image} if image else {}), **facts.given}


def verb(change: Change) -> str:
    """What becomes of a resource, in a word or two."""
    if change.action == "Remove" and change.kept:
        return "leave to itself"
    return _REPLACED.get(change.replacement) or _VERBS.get(change.action, "change as it turns out")


def listed(changes: Sequence[Change], *, every: bool) -> list[tuple[str, str, str, str]]:
    """Changes as rows: what is done, the type, which one or how many, what of it.

    Args:
        changes: of a change set.
        every: one by one, however many there are.
    """
    of_a_kind, of_a_type = Counter(map(verb, changes)), Counter((verb(each), each.type) for each in changes)
    single = [
        each for each in changes if every or of_a_kind[verb(each)] <= LISTED or of_a_type[verb(each), each.type] == 1
    ]
    many = Counter((verb(each), each.type) for each in changes if each not in single)
    rows = [(verb(each), each.type, each.logical_id, ", ".join(each.properties) or each.name) for each in single]
    return sorted([*rows, *((done, kind, f"{number} of them", "") for (done, kind), number in many.items())])


def counted(changes: Sequence[Change]) -> str:
    """The sum of changes in a sentence's part."""
    found = Counter(map(verb, changes))
    return ", ".join(f"{number} to {done}" for done, number in sorted(found.items())) or "nothing to change"


def content_tag(files: Iterable[Path], root: Path, built_with: Iterable[str] = ()) -> str:
    """A tag for an image that is made from these files: the same for the same content, wherever it lies.

    Args:
        files: what is in it.
        root: to which their names are relative.
        built_with: whatever else makes it another image: the architecture, flags of the build.
    """
    digest = hashlib.sha256("\0".join(built_with).encode())
    for path in sorted(files):
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(root).as_posix()}\0{executable}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"c-{digest.hexdigest()[:20]}"


@dataclass(frozen=True, slots=True)
class Removal:
    """What taking the stack down deletes, and what stays.

    Attributes:
        deleted: with the stack.
        data: the retained tables and buckets, kept or deleted after it.
    """

    deleted: Sequence[Resource]
    data: Sequence[Resource]


def removal(resources: Sequence[Resource]) -> Removal:
    """What taking the stack down does."""
    return Removal(
        deleted=[each for each in resources if each.type not in REMOVED_ON_REQUEST],
        data=[each for each in resources if each.type in REMOVED_ON_REQUEST],
    )

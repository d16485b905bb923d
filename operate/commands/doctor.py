"""`doctor`: every link of the chain, and what to do about those that are broken."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from operate import findings
from operate.aws import code_of, translated
from operate.commands import session
from operate.commands.looking import failed_events, raised_alarms
from operate.errors import AccessError, OperateError
from operate.findings import Finding
from operate.keys import KEYS
from operate.output import marked
from operate.prices import agent_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operate.commands.session import Session

_TOOL_SECONDS = 20

_FARGATE = {"Spot": "L-36FBB829", "On-Demand": "L-3032A538"}
"""Codes of Service Quotas: how many vCPUs of each kind may run at once, of the account and region."""


def doctor(
    context: typer.Context,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also ask each provider one tiny question: uses a request of its quota.")
    ] = False,
) -> None:
    """Look at every link between a message and its answer, and say what to do. Exit code 1 if one is broken.

    Credentials, clock, stack, keys, webhook, people, alarms, failure queue, image, quotas, versions; with --ask each
    provider's key and model id. Nothing is changed.
    """
    run = session.of(context)
    found: list[Finding] = []
    for link, look in _links(ask=ask):
        for finding in _looked(run, link, look, found):
            found.append(finding)
            if not run.output.as_json:
                run.output.show({}, marked(finding.state, finding.link, finding.what, finding.advice))
    broken = [each for each in found if each.state == "bad"]
    if run.output.as_json:
        run.output.show({"healthy": not broken, "findings": [asdict(each) for each in found]})
    else:
        run.output.say(f"\n{len(broken)} to mend." if broken else "\nAll is well.", style="bold")
    if broken:
        raise typer.Exit(OperateError.code)


type Look = Callable[["Session"], Iterable[Finding]]


def _links(*, ask: bool) -> Iterator[tuple[str, Look]]:
    """In the order in which one has to mend them."""
    yield "credentials", _credentials
    yield "stack", _stack
    yield "keys", _keys
    yield "webhook", _webhook
    yield "people", _people
    yield "alarms", lambda run: [findings.of_alarms(raised_alarms(run))]
    yield "failure queue", lambda run: [findings.of_queue(failed_events(run))]
    yield "image", _image
    yield "quotas", _quotas
    if ask:
        yield "providers", _providers
    yield "versions", _versions


def _looked(run: Session, link: str, look: Look, before: list[Finding]) -> Iterator[Finding]:
    """The findings of one link; what keeps it from being looked at is one too."""
    if link != "versions" and any(each.link == "credentials" and each.state == "bad" for each in before):
        yield Finding(link, "skipped", "not looked at without credentials")
        return
    try:
        yield from look(run)
    except OperateError as error:
        yield Finding(link, "bad", str(error), error.advice)
    except (BotoCoreError, ClientError) as error:
        ours = translated(error)
        # One service that may not be asked is no fault of the assistant.
        only_this = isinstance(ours, AccessError) and link != "credentials"
        yield Finding(link, "note" if only_this else "bad", str(ours), ours.advice)


def _credentials(run: Session) -> Iterator[Finding]:
    before = datetime.now(UTC)
    answer = run.operator.aws.client("sts").get_caller_identity()
    took = datetime.now(UTC) - before
    yield Finding("credentials", "good", f"{answer['Arn']}, account {answer['Account']}")
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if said:
        yield findings.of_clock((before + took / 2 - parsedate_to_datetime(said)).total_seconds())


def _stack(run: Session) -> Iterator[Finding]:
    stack = run.operator.stacks.find()
    if stack is None:
        yield Finding("stack", "bad", f"there is no stack {run.operator.settings.stack} here", "`make deploy`")
        return
    failures = [] if stack.status == "CREATE_COMPLETE" else run.operator.stacks.failures()
    yield findings.of_stack(stack, failures)


def _keys(run: Session) -> Iterable[Finding]:
    return findings.of_secrets(run.operator.parameters.stored(), run.operator.parameters.path)


def _webhook(run: Session) -> Iterator[Finding]:
    bot = run.operator.bot
    name = bot.username()
    yield Finding("bot", "good", f"@{name}")
    expected_name = run.operator.stack.parameters.get("BotUsername", name)
    if expected_name.lower() != name.lower():
        what = f"the stack was deployed for @{expected_name}: in groups nobody is answered"
        yield Finding("bot", "bad", what, "`python -m operate deploy` takes over the name.")
    now = datetime.fromtimestamp(run.operator.now(), UTC)
    yield from findings.of_webhook(bot.webhook(), run.operator.stack.output("WebhookUrl"), now)


def _people(run: Session) -> Iterable[Finding]:
    return findings.of_owner(run.operator.owner.owner_chat(), run.operator.people.allowed().keys())


def _image(run: Session) -> Iterator[Finding]:
    image = run.operator.stack.parameters.get("AgentImage", "")
    yield findings.of_image(image, _references(run, image) if image else None)


def _references(run: Session, image: str) -> set[str] | None:
    """Tags and digests in the image's repository, if it is one of ECR's."""
    place, _, repository = image.partition("@")[0].partition("/")
    if ".dkr.ecr." not in place:
        return None
    client = run.operator.aws.client("ecr")
    pages = client.get_paginator("describe_images").paginate(repositoryName=repository.partition(":")[0])
    found = [one for page in pages for one in page["imageDetails"]]
    return {one["imageDigest"] for one in found} | {tag for one in found for tag in one.get("imageTags", [])}


def _quotas(run: Session) -> Iterator[Finding]:
    limits = run.operator.aws.client("lambda").get_account_settings()["AccountLimit"]
    yield findings.of_concurrency(int(limits["ConcurrentExecutions"]))
    given = run.operator.stack.parameters
    if given.get("AgentImage"):
        cpu, _ = agent_size(given)
        yield from findings.of_agents({kind: _quota(run, code) for kind, code in _FARGATE.items()}, cpu / 1024)


def _quota(run: Session, code: str) -> float | None:
    """What the account has of one of Fargate's quotas; None if Service Quotas does not know it in this region."""
    try:
        found = run.operator.aws.client("service-quotas").get_service_quota(ServiceCode="fargate", QuotaCode=code)
    except ClientError as error:
        if code_of(error) == "NoSuchResourceException":
            return None
        raise
    return float(found["Quota"]["Value"])


def _providers(run: Session) -> Iterator[Finding]:
    for key in KEYS:
        value = run.operator.parameters.read(key.name) if key.kind == "provider" else None
        if value is not None:
            yield findings.of_asked(key.title, run.operator.asking(key.provider, value))


def _versions(_run: Session) -> Iterator[Finding]:
    told = [
        f"Python {platform.python_version()}",
        f"boto3 {version('boto3')}",
        *filter(None, map(_tool, ("sam", "docker"))),
    ]
    yield Finding("versions", "good", ", ".join(told))
    if shutil.which("docker") is None:
        yield Finding("versions", "note", "no docker here: it is needed to build the agent's image, and for that only")


def _tool(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        return None
    try:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False)  # noqa: S603 (a tool of this machine)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None

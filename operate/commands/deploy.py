"""`deploy`: from keys to a bot that answers, as often as one likes."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from operate.commands import session
from operate.deploying import TITLES, Facts, architecture, content_tag, counted, listed, parameters, steps, verb
from operate.errors import MissingError, OperateError, UsageError
from operate.estimating import AGENT_HOURS, MESSAGES_A_DAY, month
from operate.keys import KEYS, WEBHOOK_SECRET
from operate.operations import Wanted
from operate.output import dollars, table
from operate.templates import Packaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from operate.commands.session import Session
    from operate.deploying import Step
    from operate.estimating import Month
    from operate.operations import Change, ChangeSet, Event
    from operate.templates import Retained

_BUILD_DIR = ".aws-sam/deploy"
_PACKAGED = f"{_BUILD_DIR}/packaged.json"
_DOCKERFILE = "container/Dockerfile"
_IN_THE_IMAGE = ("container", "layers/core/src/assistant")
_NOT_IN_IT = frozenset({"__pycache__", "node_modules"})
_HIDDEN_IN_IT = "container/openclaw/.npmrc"
"""All that .dockerignore lets through of what begins with a dot: keys lie in such files."""

_WHOLE = 100
"""Amounts from here on are shown without decimals."""


def deploy(
    context: typer.Context,
    agent: Annotated[
        bool | None, typer.Option("--agent/--no-agent", help="With an agent in Fargate; by default, as it is now.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="A template parameter, NAME=VALUE; repeatable.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what would be created, changed and deleted, and what a month costs. Builds here, uploads the "
            "code to SAM's bucket and has CloudFormation compare; nothing that runs is touched.",
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="In a dry run: list each resource, also where there are many of a kind.")
    ] = False,
) -> None:
    """Create the stack, or bring it up to date: build, deploy, push the agent's image, set the webhook.

    What broke off goes on where it was; a second run with nothing changed changes nothing. Parameters keep the values
    that they have. Tables and the bucket that `destroy` has kept are taken over, with all that is in them. An agent
    needs Docker here to build its image (once per version).
    """
    run = session.of(context)
    without = {"AgentImage": ""} if agent is False else {}
    deployment = Deployment(run, {**without, **_parameters(given or [])}, _wanted(run, agent))
    _keys(run)
    facts = deployment.facts()
    todo = steps(facts)
    if dry_run:
        changes = None if "clear" in todo else deployment.compared(facts)
        _show(run, facts, todo, changes, every=every)
        return
    for step in todo:
        run.output.say(f"{TITLES[step]} …", style="bold")
        facts = deployment.do(step, facts)
    url = run.operator.stacks.deployed().output("WebhookUrl")
    data = {
        "steps": todo,
        "webhook": url,
        "bot": facts.bot,
        "changes": [asdict(change) for change in deployment.changes],
    }
    run.output.show(data, f"Deployed. Say hello to @{facts.bot}: it answers with your id, for `allow <id> --owner`.")


@dataclass
class Deployment:
    """One deployment: looks, and does each step.

    Attributes:
        changes: that the stack has undergone.
    """

    run: Session
    given: dict[str, str]
    with_agent: bool
    changes: Sequence[Change] = ()

    def facts(self) -> Facts:
        """What there is."""
        operator = self.run.operator
        bot, registry = operator.bot, operator.registry
        stack, image, digest = operator.stacks.find(), "", None
        if self.with_agent:
            project = operator.settings.project
            built_with = (architecture(stack, self.given), *operator.settings.docker_build_flags)
            tag = content_tag(_content(project), project, built_with)
            image, digest = f"{registry.address() or registry.name}:{tag}", registry.digest(tag)
        return Facts(stack, bot.username(), bot.webhook(), image, digest, self.given)

    def do(self, step: Step, facts: Facts) -> Facts:
        """Do one step; gives what is known after it."""
        match step:
            case "clear":
                self.run.operator.operations.delete(_untold)
            case "build":
                self._build(facts)
            case "image":
                return self._image(facts)
            case "stack":
                self._stack(facts)
            case "webhook":
                self._webhook()
        return facts

    def compared(self, facts: Facts) -> Sequence[Change]:
        """What would become of the stack, as CloudFormation says."""
        self.run.output.say(f"{TITLES['build']} …", style="bold")
        self._build(facts)
        self.run.output.say("upload, and have CloudFormation compare …", style="bold")
        made, _ = self._change_set(facts)
        self.run.operator.operations.discard(made)
        return made.changes

    def _build(self, facts: Facts) -> None:
        programs, wanted = self.run.operator.programs, f"Architecture={architecture(facts.stack, facts.given)}"
        programs("sam", "build", "--build-dir", _BUILD_DIR, "--parameter-overrides", wanted)
        # Without the folder's name in them, so that the same sources give the same files and nothing is uploaded again.
        kind = ("--invalidation-mode", "unchecked-hash")
        programs(sys.executable, "-m", "compileall", "-q", "-s", _BUILD_DIR, *kind, _BUILD_DIR)

    def _image(self, facts: Facts) -> Facts:
        programs, registry = self.run.operator.programs, self.run.operator.registry
        tag = facts.image.rpartition(":")[2]
        image = f"{registry.create()}:{tag}"
        flags = [*_platform(facts), *self.run.operator.settings.docker_build_flags]
        programs("docker", "build", *flags, "-f", _DOCKERFILE, "-t", image, ".", seconds=3600)
        host = image.partition("/")[0]
        programs("docker", "login", "--username", "AWS", "--password-stdin", host, stdin=registry.password())
        try:
            programs("docker", "push", image, seconds=3600)
        finally:  # Docker may have written the password into its configuration as it is
            programs("docker", "logout", host)
        digest = registry.digest(tag)
        if digest is None:
            raise OperateError(f"{image} was pushed, and is not there.", "The same command pushes it again.")
        return replace(facts, image=image, digest=digest)

    def _stack(self, facts: Facts) -> None:
        made, kept = self._change_set(facts)
        operator, output = self.run.operator, self.run.output
        if kept:
            output.say(f"Found, and taken over with all that is in it: {', '.join(each.name for each in kept)}.")
        if not made.changes:
            operator.operations.discard(made)
            output.say("Nothing has changed in the stack.")
            return
        output.say(f"{counted(made.changes).capitalize()}.")
        for change in made.changes:
            if change.action == "Remove" and change.type == "AWS::ECS::Cluster":
                output.say("Agents that run save their work and stop.")
                operator.leaving.stop_agents(change.name)
        with output.counting("CloudFormation", len(made.changes)) as show:
            operator.operations.execute(made, lambda event: show(event.logical_id, _done(event)))
        self.changes = made.changes

    def _change_set(self, facts: Facts) -> tuple[ChangeSet, list[Retained]]:
        """What CloudFormation would do; and what it would take over."""
        operator, template = self.run.operator, self._packaged()
        stack = operator.stacks.find()
        creates = stack is None or stack.empty
        kept = operator.kept.of(template.retained) if creates else []
        values = parameters(facts)
        before = {} if stack is None or creates else stack.parameters
        wanted = Wanted(
            self._uploaded(template),
            values,
            kept=sorted(template.parameters & before.keys() - values.keys()),
            creates=creates,
            reviewed=stack is not None,
            imports=bool(kept),
        )
        return operator.operations.change_set(wanted), kept

    def _packaged(self) -> Packaged:
        operator = self.run.operator
        where = ["--region", operator.settings.region] if operator.settings.region else []
        operator.programs(
            *("sam", "package", "--template-file", f"{_BUILD_DIR}/template.yaml", *where),
            *("--resolve-s3", "--use-json", "--output-template-file", _PACKAGED),
            seconds=3600,
        )
        path = operator.settings.project / _PACKAGED
        try:
            body = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise OperateError(f"`sam package` wrote no template ({type(error).__name__}).") from None
        return Packaged(body).named(operator.settings.stack, operator.account, operator.region)

    def _uploaded(self, template: Packaged) -> str:
        """The template in S3, beside the code: it is too large for a request. Gives its address."""
        s3 = self.run.operator.aws.client("s3")
        s3.put_object(Bucket=template.bucket, Key=template.key, Body=template.text.encode())
        return f"{s3.meta.endpoint_url}/{template.bucket}/{template.key}"

    def _webhook(self) -> None:
        operator = self.run.operator
        secret = operator.parameters.read(WEBHOOK_SECRET.name)
        if secret is None:
            raise MissingError("There is no webhook secret any more.", "`python -m operate setup` draws one.")
        operator.bot.set_webhook(operator.stacks.deployed().output("WebhookUrl"), secret)


def _untold(_event: Event) -> None:
    """What is deleted of a failed deployment is of no interest."""


def _done(event: Event) -> int:
    """1 for a resource that has got where it should."""
    return int(event.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "DELETE_COMPLETE"})


def _platform(facts: Facts) -> list[str]:
    """Docker's flags for another architecture than this machine's."""
    wanted, here = architecture(facts.stack, facts.given), platform.machine()
    names = {"arm64": {"arm64", "aarch64"}, "x86_64": {"x86_64", "AMD64"}}
    return [] if here in names[wanted] else ["--platform", f"linux/{'arm64' if wanted == 'arm64' else 'amd64'}"]


def _content(project: Path) -> Iterator[Path]:
    """The files that the image is made from."""
    for folder in _IN_THE_IMAGE:
        for path in (project / folder).rglob("*"):
            if path.is_file() and _is_in_the_image(path.relative_to(project)):
                yield path


def _is_in_the_image(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts) and path.as_posix() != _HIDDEN_IN_IT
    return not hidden and _NOT_IN_IT.isdisjoint(path.parts)


def _wanted(run: Session, agent: bool | None) -> bool:
    if agent is not None:
        return agent
    stack = run.operator.stacks.find()
    return stack is not None and bool(stack.parameters.get("AgentImage"))


def _parameters(given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    wrong = [name for name, equals, _ in pairs if not (name.isalnum() and equals)]
    if wrong:
        raise UsageError(f"{wrong[0]!r} is no parameter.", "Write NAME=VALUE, for instance -p HistoryDays=14.")
    return {name: value for name, _, value in pairs}


def _keys(run: Session) -> None:
    stored = run.operator.parameters.stored()
    missing = [key.name for key in KEYS if key.kind != "provider" and key.name not in stored]
    if not any(key.name in stored for key in KEYS if key.kind == "provider"):
        missing.append("a provider's key")
    if missing:
        raise MissingError(f"Not set yet: {', '.join(missing)}.", "`python -m operate setup` asks for them.")


def _show(run: Session, facts: Facts, todo: Sequence[Step], changes: Sequence[Change] | None, *, every: bool) -> None:
    """What would be done; `changes` is None if CloudFormation can't say before the failed stack is deleted."""
    values = parameters(facts)
    now, then = _months(run, facts, values, changes or ())
    data = {
        "steps": todo,
        "stack": facts.stack and {"name": facts.stack.name, "status": facts.stack.status},
        "parameters": values,
        "image": facts.image,
        "changes": None if changes is None else [{**asdict(each), "done": verb(each)} for each in changes],
        "month_micro_dollars": round(then.expected),
        "month_at_most_micro_dollars": round(then.at_most),
        "month_now_micro_dollars": None if now is None else round(now.expected),
        "estimate": [asdict(each) for each in then.costs],
    }
    run.output.show(
        data,
        table("step", "does", rows=[(step, TITLES[step]) for step in todo]),
        "",
        *_changes(changes, every=every),
        "",
        table(
            f"{MESSAGES_A_DAY} messages a day",
            "a month",
            "list price",
            "after free",
            rows=[
                (c.price.title, f"{_figure(c.amount)} {c.price.unit}", dollars(c.gross), dollars(c.net))
                for c in then.costs
            ],
            right=(1, 2, 3),
        ),
        f"\n{_priced(now, then, facts)}",
    )


def _changes(changes: Sequence[Change] | None, *, every: bool) -> Iterator[RenderableType]:
    if changes is None:
        yield "What CloudFormation would create it says only once the failed stack is deleted."
        return
    yield f"In the stack: {counted(changes)}."
    rows = listed(changes, every=every)
    if rows:
        yield table("what", "type", "resource", "", rows=rows)
    if any(name.endswith(" of them") for _, _, name, _ in rows):
        yield "`--all` lists each."


def _months(
    run: Session, facts: Facts, values: dict[str, str], changes: Sequence[Change]
) -> tuple[Month | None, Month]:
    """A month of what there is, if there is anything, and of what there would be."""
    there = {} if facts.stack is None or not facts.stack.outputs else dict(facts.stack.parameters)
    types = [(each.logical_id, each.type) for each in run.operator.stacks.resources()] if there else []
    gone = {each.logical_id for each in changes if each.action == "Remove"}
    new = [each.type for each in changes if each.action in {"Add", "Import"}]
    now = month(there, [kind for _, kind in types]) if there else None
    return now, month({**there, **values}, [*(kind for name, kind in types if name not in gone), *new])


def _priced(now: Month | None, then: Month, facts: Facts) -> str:
    agent = f", {AGENT_HOURS} hours of an agent included" if facts.image else ""
    stops = "AgentHoursPerMonth and ClaudeDollarsPerMonth stop it" if facts.image else "ClaudeDollarsPerMonth stops it"
    before = f" (as it is now: {dollars(now.expected)})" if now is not None else ""
    return (
        f"About {dollars(then.expected)} a month{before}{agent}; without messages, next to nothing. At most "
        f"{dollars(then.at_most)} with so many messages: {stops}."
    )


def _figure(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= _WHOLE else f"{amount:.2g}"

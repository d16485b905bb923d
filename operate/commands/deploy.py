"""`deploy`: from keys to a bot that answers, as often as one likes."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from operate.commands import session
from operate.deploying import TITLES, Facts, architecture, content_tag, parameters, steps
from operate.errors import MissingError, OperateError, UsageError
from operate.keys import KEYS, WEBHOOK_SECRET
from operate.output import dollars, table
from operate.prices import aws_prices, costs, of_messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from operate.commands.session import Session
    from operate.deploying import Step

_BUILD_DIR = ".aws-sam/deploy"
_DOCKERFILE = "container/Dockerfile"
_IN_THE_IMAGE = ("container", "layers/core/src/assistant")
_NOT_IN_IT = frozenset({"__pycache__", "node_modules"})
_HIDDEN_IN_IT = "container/openclaw/.npmrc"
"""All that .dockerignore lets through of what begins with a dot: keys lie in such files."""

_HOURS = 20
"""Of the agent in the estimate's month."""


def deploy(
    context: typer.Context,
    agent: Annotated[
        bool | None, typer.Option("--agent/--no-agent", help="With an agent in Fargate; by default, as it is now.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="A template parameter, NAME=VALUE; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it costs.")] = False,
) -> None:
    """Create the stack, or bring it up to date: build, deploy, push the agent's image, set the webhook.

    What broke off goes on where it was; a second run with nothing changed changes nothing. Parameters keep the values
    that they have. An agent needs Docker here to build its image (once per version).
    """
    run = session.of(context)
    deployment = Deployment(run, _parameters(given or []), _wanted(run, agent))
    _keys(run)
    facts = deployment.facts()
    todo = steps(facts)
    if dry_run:
        _show(run, facts, todo)
        return
    for step in todo:
        run.output.say(f"{TITLES[step]} …", style="bold")
        facts = deployment.do(step, facts)
    url = run.operator.stacks.deployed().output("WebhookUrl")
    data = {"steps": todo, "webhook": url, "bot": facts.bot}
    run.output.show(data, f"Deployed. Say hello to @{facts.bot}: it answers with your id, for `allow <id> --owner`.")


@dataclass
class Deployment:
    """One deployment: looks, and does each step."""

    run: Session
    given: dict[str, str]
    with_agent: bool

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
                self.run.operator.leaving.delete_stack(self.run.operator.settings.stack)
            case "build":
                self._build(facts)
            case "image":
                return self._image(facts)
            case "stack":
                self._stack(facts)
            case "webhook":
                self._webhook()
        return facts

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
        operator = self.run.operator
        where = ["--region", operator.settings.region] if operator.settings.region else []
        values = parameters(facts)
        operator.programs(
            *("sam", "deploy", "--template-file", f"{_BUILD_DIR}/template.yaml"),
            *("--stack-name", operator.settings.stack, *where),
            *("--resolve-s3", "--capabilities", "CAPABILITY_IAM"),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset"),
            *("--parameter-overrides", *(f"{name}={value}" for name, value in values.items())),
            seconds=3600,
        )

    def _webhook(self) -> None:
        operator = self.run.operator
        secret = operator.parameters.read(WEBHOOK_SECRET.name)
        if secret is None:
            raise MissingError("There is no webhook secret any more.", "`python -m operate setup` draws one.")
        operator.bot.set_webhook(operator.stacks.deployed().output("WebhookUrl"), secret)


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


def _show(run: Session, facts: Facts, todo: Sequence[Step]) -> None:
    arm = architecture(facts.stack, facts.given) == "arm64"
    expected = costs(of_messages(100, _HOURS if facts.image else 0), aws_prices(arm=arm))
    month = sum(each.net for each in expected)
    data = {
        "steps": todo,
        "stack": facts.stack and {"name": facts.stack.name, "status": facts.stack.status},
        "parameters": parameters(facts),
        "image": facts.image,
        "month_micro_dollars": round(month),
        "estimate": [asdict(each) for each in expected],
    }
    run.output.show(
        data,
        table("step", "does", rows=[(step, TITLES[step]) for step in todo]),
        "",
        table(
            "100 messages a day",
            "a month",
            "list price",
            "after free",
            rows=[
                (c.price.title, f"{c.amount:,.0f} {c.price.unit}", dollars(c.gross), dollars(c.net)) for c in expected
            ],
            right=(1, 2, 3),
        ),
        f"\nAbout {dollars(month)} a month; without messages, next to nothing. Claude: at most ClaudeDollarsPerMonth.",
    )

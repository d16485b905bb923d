"""A chat with the assistant in the terminal, through the whole local cloud (`python -m local chat`)."""

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from prompt_toolkit import PromptSession
from rich.console import Console
from rich.text import Text

from local.simulators.faults import Fault
from local.simulators.outside import CONNECTIONS
from local.stage import BUILD_DIR, Stage, set_up
from local.watched_agent import WatchedAgent

PROMPT = "you> "
HELP = f"""\
Write to the assistant (/help tells its commands, /usage and /providers among them), or one of:
  :clock            tell the virtual time
  :clock +2h30m     move it on (d, h, m, s)
  :fault copilot 500   let a provider go wrong until :fault off
  :fault copilot trickle   let it write slowly: the answer is seen growing
  :fault off        let all be well again
  :quota            what is left of the quotas
  :agent            the agents' tasks, their memory and their folders (with --agent)
  :help             this
  :quit             end (also Ctrl-D, Ctrl-C)
Providers: {", ".join(CONNECTIONS)}. Faults: {", ".join(Fault)}."""

_CHAT = 1001
_TURN_DEADLINE_S = 300.0
_DURATION = re.compile(r"\+?(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS_S = (86_400, 3_600, 60, 1)


class CommandError(ValueError):
    """A local command that can't be carried out; the message says why."""


def duration_s(text: str) -> int:
    """The seconds of a duration such as `+2h`, `90m` or `1d12h`.

    Raises:
        CommandError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise CommandError(f"{text!r} is no duration: write +2h, 30m, 1d12h or 45s")
    return sum(int(number or 0) * unit for number, unit in zip(match.groups(), _UNITS_S, strict=True))


@dataclass(frozen=True)
class _Growing:
    """What is seen while an answer is waited for: as in Telegram, as much of it as has been written."""

    stage: Stage

    def __rich__(self) -> Text:
        """The newest draft, as it is at this moment."""
        drafts = self.stage.outside.telegram.shown_drafts(_CHAT)
        return Text(next((draft.text for draft in drafts if draft.text), "waiting for the answer …"))


@dataclass
class Chat:
    """A person's chat with the assistant.

    Attributes:
        stage: The running cloud.
        console: Where everything is shown.
        shown: How many of the assistant's messages were shown already.
    """

    stage: Stage
    console: Console
    shown: int = 0
    _commands: dict[str, Callable[[Sequence[str]], None]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Let the person in, and know the local commands."""
        self.stage.allow(_CHAT)
        self._commands = {
            ":clock": self._clock,
            ":fault": self._fault,
            ":quota": self._quota,
            ":agent": self._agent,
            ":help": self._help,
        }

    def converse(self, read: Callable[[], str]) -> None:
        """Take lines until `:quit`, the end of the input or Ctrl-C.

        Args:
            read: The next line; raises EOFError or KeyboardInterrupt at the end.
        """
        while True:
            try:
                line = read().strip()
                if line == ":quit":
                    return
                self.take(line)
            except (EOFError, KeyboardInterrupt):
                self.console.print()
                return

    def take(self, line: str) -> None:
        """Carry out one line: a local command, or a message to the assistant."""
        if not line:
            return
        if not line.startswith(":"):
            self._write(line)
            return
        name, *arguments = line.split()
        if name not in self._commands:
            self._say(f"{name} is no command; :help tells what there is")
            return
        try:
            self._commands[name](arguments)
        except CommandError as error:
            self._say(str(error))

    def _write(self, text: str) -> None:
        executions = len(self.stage.execution_records())
        began = time.monotonic()
        with self.console.status(_Growing(self.stage)):
            self.stage.write(_CHAT, text)
            quiet = self.stage.settle(_TURN_DEADLINE_S)
        seconds = time.monotonic() - began
        self._show_new_messages()
        if not quiet:
            self._say(f"the turn is still not over after {seconds:.0f} s")
        self._show_path(executions, seconds)

    def _show_new_messages(self) -> None:
        sent = self.stage.outside.telegram.sent_to(_CHAT)
        for message in sent[self.shown :]:
            self.console.print("[bold green]assistant>[/bold green] ", end="")
            self.console.print(message.text, markup=False, highlight=False, soft_wrap=True)
        self.shown = len(sent)

    def _show_path(self, executions_before: int, seconds: float) -> None:
        new = self.stage.execution_records()[executions_before:]
        if not new:
            self._say(f"answered by the webhook itself · {seconds:.2f} s")
            return
        for execution in new:
            self._say(" → ".join(execution.states))
        turns = self.stage.turns()
        newest = max(turns, key=lambda turn: int(turn["number"]["N"]), default={})
        provider = newest.get("provider", {}).get("S", "nobody")
        status = newest.get("status", {}).get("S", "no turn").lower()
        self._say(f"{status}, answered by {provider} · {seconds:.2f} s")
        self._quota(())

    def _clock(self, arguments: Sequence[str]) -> None:
        if arguments:
            self.stage.clock.advance(duration_s("".join(arguments)))
        self._say(f"it is {datetime.fromtimestamp(self.stage.clock.now(), UTC):%a %d %b %Y %H:%M:%S} UTC")
        if arguments:
            with self.console.status("letting the schedules run …"):
                self.stage.settle(_TURN_DEADLINE_S)
            self._show_new_messages()

    def _fault(self, arguments: Sequence[str]) -> None:
        match arguments:
            case ["off"]:
                self.stage.outside.clear()
                self._say("all providers are well again")
            case [provider_id, name]:
                self._order(provider_id, name)
            case _:
                raise CommandError("write :fault <provider> <fault>, or :fault off")

    def _order(self, provider_id: str, name: str) -> None:
        try:
            self.stage.outside.order(provider_id, Fault(name))
        except ValueError as error:
            raise CommandError(str(error)) from error
        self._say(f"{provider_id} now has the fault {name}, until :fault off")

    def _quota(self, arguments: Sequence[str]) -> None:
        del arguments
        for line in self.stage.quota_lines():
            self._say(line)

    def _agent(self, arguments: Sequence[str]) -> None:
        del arguments
        tasks = [WatchedAgent(self.stage, task["taskArn"]) for task in self.stage.cloud.fargate.tasks]
        for task in tasks:
            self._say(task.described())
        if not tasks:
            self._say("no agent was started so far; /agent <task> starts one, if this was begun with --agent")

    def _help(self, arguments: Sequence[str]) -> None:
        del arguments
        self._say(HELP)

    def _say(self, text: str) -> None:
        self.console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def run(console: Console, *, build_dir: Path = BUILD_DIR, simulate_all: bool = False, agent_mode: str = "off") -> int:
    """Chat until the person ends it.

    Returns:
        The exit code.

    Raises:
        StageError: it could not run.
    """
    with set_up(console, build_dir=build_dir, simulate_all=simulate_all, agent_mode=agent_mode) as stage:
        console.print(HELP, markup=False, highlight=False, soft_wrap=True)
        Chat(stage, console).converse(_reader())
    return 0


def _reader() -> Callable[[], str]:
    if sys.stdin.isatty():
        session: PromptSession[str] = PromptSession()
        return lambda: session.prompt(PROMPT)
    return _echoed_line


def _echoed_line() -> str:
    """A line of a pipe, shown as if it had been typed, so that the output reads as a conversation."""
    line = input()
    print(PROMPT + line)
    return line

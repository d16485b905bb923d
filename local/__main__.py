"""The local cloud's command line: `python -m local demo`, `python -m local chat`, `python -m local serve`."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from local import agent_demo, caching, chat, cost, demo, month, serve
from local.simulators.faults import Fault
from local.simulators.outside import CONNECTIONS
from local.stage import BUILD_DIR, StageError

_CANNOT_RUN = 2
_INTERRUPTED = 130
_MOST_MESSAGES = 5_000
_MOST_CHATS = 100
_MOST_DOLLARS = 1_000
_OF_THE_MONTH = ("messages_per_day", "ollama_per_day", "dollars", "days")

_KEYS = ", ".join(connection.variable for connection in CONNECTIONS.values())
_DEMO = f"""\
A virtual day, from 00:00 UTC: messages evenly spread over 24 hours over a few chats, each sent when the one
before has been answered, through the template, the state machine and the functions that are deployed. Ends
with a table and build/demo.json; exit code 1 if a figure is not as expected.

With --month, thirty days through the ledger, the routing rules and the Ask states instead, on a driven clock and
without processes; figures in build/month.json (of a busy month, build/month-busy.json). With --cache, hundred-turn
conversations with a simulated Claude: how much of them is read from its prompt cache; figures in build/cache.json.

Telegram and the providers are simulated. A provider whose key is in the environment is the real one, unless
--simulated (or --month, or --cache) is given: {_KEYS}.
"""
_AGENT_DEMO = """\
The agent at work, in about a minute: the template's own tasks run the container's bridge with the real OpenClaw
gateway, with the task role's credentials, on the local cloud. Telegram and all providers are simulated, whatever
keys are set. Each step says what is claimed and whether it is so:

  a cold chat is answered by the chat lane while the agent boots; the next message goes to the agent; a model makes
  the agent write a file; three providers refuse, and the answer takes less than three seconds; the chat model hands
  a question over that needs a tool; a stopped agent ends in order; both lanes keep one ledger; IAM refuses nothing.

Ends with a table and build/agent.json; exit code 1 if something is not so.
"""
_COST = """\
Messages, schedules, a start and an end of the agent, its snapshots: each is done once or a few times on the local
cloud, in less than two minutes, and every request is metered. From that and from the prices follows the bill of 100
messages a day, for two kinds of days and every AgentMode: build/cost.json, docs/cost.json and the tables of
docs/cost.md. Neither Node nor keys are needed: a gateway that only pretends stands for OpenClaw.
"""
_FAULTS = f"""\
faults: {", ".join(Fault)}
Not every provider has each. hang and stall cost a real time-out (about 20 s) whenever the provider is tried,
so the day then has {demo.SLOW_MESSAGES} messages unless --messages says otherwise.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command == "demo" and not parsed.month and _names_a_month(parsed):
        parser.error("the options of a month need --month")
    # Whoever ends this, the functions' processes end with it.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    # moto logs the states that are interrupted by the end as if they had failed.
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    console = Console()
    try:
        return _perform(parsed, console)
    except StageError as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        return _CANNOT_RUN
    except KeyboardInterrupt:
        console.print("stopped")
        return _INTERRUPTED


def _perform(parsed: argparse.Namespace, console: Console) -> int:
    if parsed.command == "serve":
        return serve.run(console, build_dir=parsed.build_dir)
    if parsed.command == "chat":
        return chat.run(
            console, build_dir=parsed.build_dir, simulate_all=parsed.simulated, agent_mode=parsed.agent or "off"
        )
    if parsed.command == "cost":
        return cost.run(console, build_dir=parsed.build_dir, output=parsed.output, page=not parsed.no_page)
    if parsed.command == "agent-demo":
        return agent_demo.run(console, build_dir=parsed.build_dir, output=parsed.output)
    return _demo(parsed, console)


def _demo(parsed: argparse.Namespace, console: Console) -> int:
    if parsed.month:
        return month.run(_month_options(parsed), console)
    if parsed.cache:
        return caching.run(console, parsed.output or caching.OUTPUT)
    return demo.run(_demo_options(parsed), console)


def _names_a_month(parsed: argparse.Namespace) -> bool:
    switches = (parsed.busy, parsed.carry_over, parsed.quiet_weekends)
    return any(switches) or any(getattr(parsed, name) is not None for name in _OF_THE_MONTH)


def _month_options(parsed: argparse.Namespace) -> month.Options:
    """The month that was asked for: `--busy` is a preset, from which single options may differ."""
    preset = month.BUSY if parsed.busy else month.Options()
    changes = {name: getattr(parsed, name) for name in _OF_THE_MONTH if getattr(parsed, name) is not None}
    return replace(
        preset,
        carry_over=parsed.carry_over,
        quiet_weekends=parsed.quiet_weekends,
        output=parsed.output or preset.output,
        **changes,
    )


def _demo_options(parsed: argparse.Namespace) -> demo.Options:
    return demo.Options(
        messages=parsed.messages,
        chats=parsed.chats,
        faults=tuple(parsed.fault),
        refuse_all=parsed.refuse_all,
        build_dir=parsed.build_dir,
        simulate_all=parsed.simulated,
        output=parsed.output or demo.OUTPUT,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The whole system on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    day = commands.add_parser(
        "demo",
        help="a day of messages, with figures",
        description=_DEMO,
        epilog=_FAULTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    day.add_argument("--messages", type=_whole(_MOST_MESSAGES), help=f"how many (default {demo.MESSAGES})")
    day.add_argument(
        "--chats", type=_whole(_MOST_CHATS), default=demo.CHATS, help="from how many chats (default %(default)s)"
    )
    troubles = day.add_mutually_exclusive_group()
    troubles.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="PROVIDER=FAULT",
        help="what goes wrong all day, for instance copilot=500; may be repeated",
    )
    troubles.add_argument(
        "--refuse-all",
        action="store_true",
        help="all four refuse the first message (then the day has just this one): one apology, and the answer "
        "by itself when the first block ends",
    )
    day.add_argument("--output", type=Path, help="where the figures go (default build/demo.json)")
    _add_figures(day)
    talk = commands.add_parser("chat", help="chat with the assistant", description="Chat with the assistant.")
    serving = commands.add_parser("serve", help="run until Ctrl-C, for `sam local` and the AWS CLI")
    for command in (day, talk, serving):
        _add_build_dir(command)
    for command in (day, talk):
        command.add_argument("--simulated", action="store_true", help="simulate all providers, whatever keys are set")
    talk.add_argument(
        "--agent",
        nargs="?",
        const="auto",
        choices=("auto", "eager", "always"),
        help="with the real OpenClaw for an agent; a mode, auto if none is named (needs `make .node/.installed`)",
    )
    _add_measured(commands, "agent-demo", "the agent at work, with the real OpenClaw", _AGENT_DEMO, agent_demo.OUTPUT)
    bill = _add_measured(commands, "cost", "what a month costs, from what is counted", _COST, cost.OUTPUT)
    bill.add_argument("--no-page", action="store_true", help="leave docs/cost.json and docs/cost.md as they are")
    return parser


def _add_measured(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    description: str,
    output: Path,
) -> argparse.ArgumentParser:
    """A command that runs by itself and ends with figures."""
    command = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_build_dir(command)
    command.add_argument(
        "--output", type=Path, default=output, help=f"where the figures go (default build/{output.name})"
    )
    return command


def _add_build_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--build-dir", type=Path, default=BUILD_DIR, help="where `sam build` put the functions")


def _add_figures(day: argparse.ArgumentParser) -> None:
    """The demo's other figures."""
    instead = day.add_mutually_exclusive_group()
    instead.add_argument("--month", action="store_true", help="thirty days through the ledger instead of a day")
    instead.add_argument("--cache", action="store_true", help="conversations with Claude's prompt cache instead")
    options = day.add_argument_group("with --month")
    options.add_argument(
        "--busy",
        action="store_true",
        help=f"{month.BUSY.messages_per_day} messages a day, an Ollama Cloud that allows {month.BUSY.ollama_per_day} a "
        "day: the budget ends",
    )
    options.add_argument(
        "--messages-per-day", type=_whole(_MOST_MESSAGES), help=f"how many (default {month.MESSAGES_PER_DAY})"
    )
    options.add_argument(
        "--ollama-per-day", type=_whole(_MOST_MESSAGES), help="what Ollama Cloud allows (default: all)"
    )
    options.add_argument("--dollars", type=_dollars, help=f"Claude's budget for the month (default {month.DOLLARS:g})")
    options.add_argument("--days", type=_whole(month.DAYS), help=f"how many (default {month.DAYS})")
    options.add_argument("--carry-over", action="store_true", help="Copilot's unused days are carried over")
    options.add_argument("--quiet-weekends", action="store_true", help="nobody writes on Saturdays and Sundays")


def _dollars(text: str) -> float:
    try:
        dollars = float(text)
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars <= _MOST_DOLLARS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dollars from 0 to {_MOST_DOLLARS}")
    return dollars


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return int(text)

    return parse


def _fault(text: str) -> tuple[str, Fault]:
    provider_id, _, name = text.partition("=")
    if provider_id not in CONNECTIONS:
        raise argparse.ArgumentTypeError(f"no provider {provider_id!r}; there are {', '.join(CONNECTIONS)}")
    if name not in set(Fault):
        raise argparse.ArgumentTypeError(f"no fault {name!r}; there are {', '.join(Fault)}")
    return provider_id, Fault(name)


if __name__ == "__main__":
    sys.exit(main())

"""The chat's local commands do what they say, and what is no command is explained."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.console import Console

from local.chat import Chat, CommandError, duration_s
from local.clock import VirtualClock
from local.figures import ExecutionRecord
from local.processes import Process
from local.simulators.faults import Fault
from local.simulators.outside import Outside

if TYPE_CHECKING:
    from local.stage import Stage

ME = 1001


@dataclass
class StageDouble:
    """A stage whose assistant answers at once, without a cloud."""

    clock: VirtualClock = field(default_factory=lambda: VirtualClock(1_794_300_000.0))
    allowed: list[int] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    executions: list[ExecutionRecord] = field(default_factory=list)
    webhook_only: bool = False

    def __post_init__(self) -> None:
        self.outside = Outside(self.clock)
        self.cloud = SimpleNamespace(fargate=SimpleNamespace(tasks=[]))

    def allow(self, user_id: int) -> None:
        self.allowed.append(user_id)

    def write(self, chat_id: int, text: str) -> None:
        self.written.append(text)
        self.outside.telegram.perform({"method": "sendMessage", "chat_id": chat_id, "text": f"You said [b]{text}[/b]"})
        if not self.webhook_only:
            states = ("PrepareTurn", "RouteTurn", "AskCopilot", "DeliverReply")
            self.executions.append(ExecutionRecord(succeeded=True, states=states, transitions=5))

    def settle(self, deadline_s: float) -> bool:
        return True

    def execution_records(self) -> list[ExecutionRecord]:
        return list(self.executions)

    def turns(self) -> list[dict[str, Any]]:
        return [{"number": {"N": "1"}, "status": {"S": "DELIVERED"}, "provider": {"S": "copilot"}}]

    def quota_lines(self) -> list[str]:
        return ["copilot 65 of 66 today"]


@pytest.fixture
def stage() -> StageDouble:
    return StageDouble()


@pytest.fixture
def screen() -> StringIO:
    return StringIO()


@pytest.fixture
def chat(stage: StageDouble, screen: StringIO) -> Chat:
    return Chat(cast("Stage", stage), Console(file=screen, width=200))


def typed(*lines: str, then: type[BaseException] = EOFError) -> Callable[[], str]:
    def rest() -> Iterator[str]:
        yield from lines
        raise then

    return rest().__next__


def test_a_message_shows_reply_path_provider_time_and_quota(chat: Chat, stage: StageDouble, screen: StringIO) -> None:
    chat.converse(typed("Hello"))

    shown = screen.getvalue()
    assert stage.allowed == [ME]
    assert stage.written == ["Hello"]
    assert "assistant> You said [b]Hello[/b]" in shown
    assert "PrepareTurn → RouteTurn → AskCopilot → DeliverReply" in shown
    assert "delivered, answered by copilot · " in shown
    assert "copilot 65 of 66 today" in shown


def test_the_answer_is_seen_growing(stage: StageDouble, screen: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(_: float) -> bool:
        draft = {"chat_id": ME, "draft_id": 1, "text": "It [b]grows"}
        stage.outside.telegram.perform({"method": "sendMessageDraft", **draft})
        deadline = time.monotonic() + 5
        while "It [b]grows" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        return True

    monkeypatch.setattr(stage, "settle", settle)

    Chat(cast("Stage", stage), Console(file=screen, width=200, force_terminal=True)).take("Hello")

    assert "It [b]grows" in screen.getvalue()


def test_what_the_webhook_answers_itself_has_no_path(chat: Chat, stage: StageDouble, screen: StringIO) -> None:
    stage.webhook_only = True

    chat.take("/help")

    assert "answered by the webhook itself" in screen.getvalue()


def test_every_message_is_shown_once(chat: Chat, screen: StringIO) -> None:
    chat.converse(typed("one", "two"))

    assert screen.getvalue().count("You said [b]one[/b]") == 1


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_the_end_of_the_input_and_ctrl_c_end_it(chat: Chat, stage: StageDouble, end: type[BaseException]) -> None:
    chat.converse(typed("", "Hello", then=end))

    assert stage.written == ["Hello"]


def test_quit_ends_it(chat: Chat, stage: StageDouble) -> None:
    chat.converse(typed(":quit", "never read"))

    assert stage.written == []


def test_the_clock_is_told_and_moved(chat: Chat, stage: StageDouble, screen: StringIO) -> None:
    before = stage.clock.now()

    chat.take(":clock")
    chat.take(":clock +2h")

    assert stage.clock.now() - before == pytest.approx(7200, abs=5)
    assert screen.getvalue().count(" UTC") == 2


def test_faults_are_ordered_and_taken_back(chat: Chat, stage: StageDouble, screen: StringIO) -> None:
    chat.take(":fault copilot 500")
    ordered = stage.outside.providers["copilot"]._faults.take()
    chat.take(":fault off")

    assert ordered is Fault.SERVER_ERROR
    assert stage.outside.providers["copilot"]._faults.take() is None
    assert "copilot now has the fault 500" in screen.getvalue()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (":dance", ":dance is no command"),
        (":clock soon", "'soon' is no duration"),
        (":fault", "write :fault <provider> <fault>"),
        (":fault gemini 500", "no provider 'gemini'"),
        (":fault copilot pigeon", "pigeon"),
        (":fault copilot 529", "copilot has no fault '529'"),
        (":help", ":quit"),
        (":quota", "copilot 65 of 66 today"),
        (":agent", "no agent was started so far"),
    ],
)
def test_other_commands_and_mistakes(chat: Chat, screen: StringIO, line: str, said: str) -> None:
    chat.take(line)

    assert said in screen.getvalue()


def test_what_an_agent_takes_is_told(chat: Chat, stage: StageDouble, screen: StringIO) -> None:
    tasks = [
        {"taskArn": "one", "lastStatus": "STOPPED", "containers": [{"exitCode": 0}]},
        {"taskArn": "two", "lastStatus": "RUNNING", "containers": [{}]},
    ]
    ready = '{"message": "OpenClaw takes messages", "seconds": {"all": 12.5}}'
    stage.cloud.fargate = SimpleNamespace(
        tasks=tasks,
        logs=lambda task_arn: [ready],
        processes=lambda task_arn: [Process(1, ("python", "-m", "local.clocked", "agent"), 90.4)],
        folder=lambda task_arn: Path("/somewhere") / task_arn,
    )

    chat.take(":agent")

    shown = screen.getvalue()
    assert "STOPPED, exit status 0" in shown
    assert "RUNNING, takes messages; bridge 90 MB, gateway 0 MB, others 0 MB; its folder is /somewhere/two" in shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+2h", 7200), ("30m", 1800), ("1d12h", 129_600), ("45s", 45), ("+1h30m", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "+", "2", "h", "1.5h", "-2h", "2h1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CommandError):
        duration_s(text)

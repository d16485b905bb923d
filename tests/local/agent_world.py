"""A chat with its agent on the local cloud: what it is asked, how it dies or sleeps, and what has to be left of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from assistant.stores import schema
from assistant.stores.dynamodb import Table, from_item
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs
from assistant.workspace.archive import Archive
from assistant.workspace.model import File, Root
from local import agent_image
from local.simulators.faults import Fault
from tests.local.system import System, a_system
from tests.written import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BRIDGE = "local.clocked agent"
BOOT_S = 240.0
"""More than OpenClaw takes to start on a machine that has much else to do."""

PRETENDED = "pretended:1"
GATEWAYS = ["pretended", pytest.param("openclaw", marks=[pytest.mark.openclaw])]


@dataclass
class World:
    """A chat with its agent; each test goes on with what the one before has left."""

    system: System
    chat: int
    questions: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The newest task."""
        return str(self.tasks[-1]["taskArn"])

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Every task so far."""
        return self.system.cloud.fargate.tasks

    def say(self) -> str:
        """Ask something; the question."""
        question = f"question number {len(self.questions) + 1}"
        self.questions.append(question)
        self.system.say(self.chat, question)
        return question

    def begin(self) -> str:
        """Ask something, and wait until the agent has put it to a provider, which does not answer; the question."""
        provider = self.system.outside.providers["copilot"]
        provider.order(Fault.HANG, 1)
        asked = len(provider.requests)
        question = self.say()
        self.system.until(lambda: len(provider.requests) > asked)
        return question

    def ask(self) -> str:
        """Ask something, and wait for the answer; the question."""
        question = self.say()
        self.answered_once(question)
        return question

    def answered_once(self, question: str, *, by: str = "AskAgent") -> None:
        """Wait for the answer, and for whatever else may come. `by`: the state that the turn was answered in."""
        self.system.until(lambda: any(question in text for text in self.system.heard(self.chat)))
        self.system.settle()
        told = [text for text in self.system.heard(self.chat) if question in text]
        assert len(told) == 1
        assert len(self.system.heard(self.chat)) == len(self.questions)
        assert self.system.notices(self.chat) == 0
        assert self.system.at_rest(self.chat)
        assert [state for state in self.system.cloud.executions()[-1].states if state.startswith("Ask")][-1] == by
        assert self.system.cloud.denied == []
        self.intact()

    def write(self) -> None:
        """Have a file in the agent's workspace."""
        name, text = f"note {len(self.written) + 1}.txt", f"written after {self.questions[-1]}"
        (self.workspace / name).write_text(text)
        self.written[name] = text

    def intact(self) -> None:
        """See that the newest task has every file, and the conversation every question, in its order."""
        for name, text in self.written.items():
            assert (self.workspace / name).read_text() == text
        items = self.system.items(self.chat)
        said = [items[key]["user"]["S"] for key in sorted(items) if key.startswith(schema.HISTORY)]
        assert said == self.questions

    def remembered(self, question: str) -> None:
        """See that whoever answers it is told all that was asked before."""
        providers = self.system.outside.providers.values()
        bodies = [json.dumps(request.body) for provider in providers for request in provider.requests]
        asked = [body for body in bodies if question in body][-1]
        earlier = self.questions[: self.questions.index(question)]
        assert [one for one in earlier if one in asked] == earlier

    @property
    def workspace(self) -> Path:
        """Of the newest task."""
        return self.system.cloud.fargate.folder(self.task) / "workspace" / "files"

    def kept(self) -> dict[str, str]:
        """What the newest snapshot holds of the files that were written."""
        archive = self._archive()
        newest = archive.newest()
        tree = archive.manifest(newest).tree(Root.WORKSPACE) if newest else {}
        files = [entry for name, entry in tree.items() if name in self.written and isinstance(entry, File)]
        return {file.path: archive.content(file).decode() for file in files}

    def agent(self) -> dict[str, Any]:
        """The agent as it is stored."""
        key = {"pk": {"S": schema.agent_partition(str(self.chat))}, "sk": {"S": schema.AGENT_ITEM}}
        found = self.system.cloud.client("dynamodb").get_item(TableName=self._runtime, Key=key, ConsistentRead=True)
        return dict(from_item(found["Item"]))

    def kill(self, what: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the newest container's process whose command line has these words."""
        self.kill_in(self.task, what, number)

    def kill_in(self, task: str, what: str, number: signal.Signals) -> None:
        """The same, in that container."""
        found = self.system.cloud.fargate.processes(task)
        (pid,) = [process.pid for process in found if what in " ".join(process.command)]
        os.kill(pid, number)

    def mail(self) -> list[dict[str, Any]]:
        """What the agent has not finished."""
        found = self.system.cloud.client("dynamodb").query(
            TableName=self._runtime,
            KeyConditionExpression="pk = :agent AND begins_with(sk, :mail)",
            ExpressionAttributeValues={
                ":agent": {"S": schema.agent_partition(str(self.chat))},
                ":mail": {"S": schema.MAIL},
            },
        )
        return list(found["Items"])

    def fail_what_waits(self, error: str) -> None:
        """Let the state that waits for the agent go on, as it does when no heartbeat comes."""
        (token,) = [item["task_token"]["S"] for item in self.mail()]
        self.system.cloud.client("stepfunctions").send_task_failure(taskToken=token, error=error, cause="test")

    def until(self, ready: Callable[[], object]) -> None:
        """Poll to a deadline."""
        self.system.until(lambda: bool(ready()))

    def stopped(self, task: str) -> dict[str, Any]:
        """The task, once it has stopped."""
        self.until(lambda: self._shown(task)["lastStatus"] == "STOPPED")
        return self._shown(task)

    def _shown(self, arn: str) -> dict[str, Any]:
        return next(task for task in self.tasks if task["taskArn"] == arn)

    @property
    def _runtime(self) -> str:
        return self.system.cloud.resources["RuntimeTable"]

    def _archive(self) -> Archive:
        cloud, chat_id = self.system.cloud, str(self.chat)
        blobs = S3Blobs(cloud.client("s3"), cloud.resources["WorkspacesBucket"], chat_id)
        return Archive(chat_id, blobs, DynamoSnapshots(Table(cloud.client("dynamodb"), self._runtime)))


@contextlib.contextmanager
def a_world(gateway: str, **parameters: str) -> Iterator[World]:
    """A chat with an agent, over the pretended gateway or OpenClaw's, that answers everything."""
    image = PRETENDED if gateway == "pretended" else agent_image.NAME
    given = {"AgentImage": image, "AgentMode": "always", **parameters}
    with a_system(mode="source", parameters=given, images={PRETENDED: agent_image.pretended()}) as system:
        if gateway != "pretended":
            system.deadline_s = BOOT_S
        yield World(system, system.chat())
        assert leaks(system.cloud, system.cloud.secrets) == []

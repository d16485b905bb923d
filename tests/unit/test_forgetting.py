"""/forget: everything goes, whoever dies at whichever call, and nothing that came later goes with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from assistant.stores import schema
from assistant.stores.agents import DynamoAnsweringAgents
from assistant.stores.claims import DynamoClaims
from assistant.stores.conversations import DynamoConversations
from assistant.stores.dynamodb import Table, Update
from assistant.stores.errands import DynamoErrands
from assistant.stores.reminders import DynamoReminders
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs, S3Shelves
from assistant.turns.errands import Asked, CarryingOut
from assistant.turns.model import Answer, Answered, ChatClaim, InboxMessage, TurnClaim
from assistant.turns.waking import Waking
from assistant.workspace.archive import Archive
from assistant.workspace.collecting import Collection
from assistant.workspace.forgetting import STAYS, STOPPED_BECAUSE, Forgetting
from assistant.workspace.model import Forgotten
from local.small_s3 import SmallS3
from tests.doubles import CHAT, World, small_world
from tests.unit.test_agents import RecordedTokens
from tests.workspaces import BUCKET, back_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.turns.agents import Generation
    from assistant.turns.tending import Task

SECRET = "the old secret"
FORGOTTEN = "\n".join(
    [
        "Forgotten, for good:",
        "- 2 questions with what I answered",
        "- 2 messages that waited",
        "- the workspace (3 files, 9 bytes) with 2 backups",
        "- 2 reminders",
        "",
        STAYS,
    ]
)


class Killed(BaseException):
    """The function died."""


class Fuse:
    """Ends the function at a call: before it is made, or after."""

    def __init__(self, at: int | None = None, *, before: bool = True) -> None:
        self.at, self.before, self.calls = at, before, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.at and self.before:
                raise Killed
            done = call(*given, **named)
            if self.calls == self.at:
                raise Killed
            return done

        return made


class Fused:
    """Something outside, each call of which may be the last."""

    def __init__(self, what: Any, fuse: Fuse) -> None:
        self._what, self._fuse = what, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._what, name)
        return self._fuse.around(found) if callable(found) and name not in ("parts", "exceptions") else found


class Stopped:
    """Tasks that were stopped."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, str]] = []

    def tasks_running(self) -> list[Task]:
        return []

    def stop(self, task: Task, reason: str) -> None:
        self.tasks.append((task.arn, reason))


class Scene:
    """A chat with everything a chat can have."""

    def __init__(self) -> None:
        self.world = small_world(agent_mode="auto")
        self.s3 = SmallS3(self.world.clock.now)
        self.tokens = RecordedTokens()
        self.fleet = Stopped()
        self._fill()
        self.world.clock.advance(60)
        self.world.say("/forget")
        yes = self.world.incoming("/forget yes")
        self.world.accept(yes)
        self.asked = Asked(CHAT, yes.update_id)

    def _fill(self) -> None:
        world = self.world
        for text in ("one", "two"):
            world.say(f"{SECRET} {text}")
            world.run_all()
        world.say("/timezone Berlin")
        for text in ("tomorrow", "every monday"):
            world.say(f"/remind {text} {SECRET}")
        self.turn = self._hand_to_the_agent()
        for text in ("waiting", "waiting too"):
            world.say(f"{SECRET} {text}")
        self.back_up({SECRET: b"ab", "b": b"cd"})
        self.back_up({SECRET: b"abc", "b": b"def", "c": b"ghi"})
        world.clock.advance(10)

    def _hand_to_the_agent(self) -> TurnClaim:
        """A turn that the agent is at work on."""
        world = self.world
        world.say(f"{SECRET} three")
        route = world.prepare(world.executions.started[-1])
        turn = TurnClaim(route.claim, route.turn or 0)
        world.agents.register(turn, "token", deadline=int(world.clock.now()) + 600)
        self.tokens.waiting.add("token")
        self.generation = self.start_agent("old task")
        assert world.agents.take(self.generation, turn.number)
        return turn

    def start_agent(self, task: str) -> Generation:
        generation = self.world.agents.begin(CHAT, starter=task)
        assert generation
        assert self.world.agents.occupy(generation, task, idle_after=900)
        return generation

    def back_up(self, files: dict[str, bytes]) -> None:
        back_up(self.world.runtime, self.s3.as_client(), CHAT, files, at=self.world.clock.now())

    def forget(self, fuse: Fuse | None = None) -> str:
        """One run of the function."""
        fuse = fuse or Fuse()
        world = self.world
        client = Fused(world.conversations.client, fuse)
        conversations, runtime = Table(client, "conversations"), Table(client, "runtime")  # type: ignore[arg-type]
        errands = DynamoErrands(conversations, world.clock)
        forget = Forgetting(
            errands=errands,
            conversations=DynamoConversations(conversations, world.clock),
            reminders=DynamoReminders(runtime, conversations, world.clock),
            schedules=Fused(world.schedules, fuse),
            agents=DynamoAnsweringAgents(runtime, world.clock, world.turns),
            tokens=Fused(self.tokens, fuse),
            fleet=Fused(self.fleet, fuse),
            collection=Collection(
                S3Shelves(Fused(self.s3, fuse), BUCKET),  # type: ignore[arg-type]
                DynamoSnapshots(runtime),
                world.clock,
            ),
            waking=Waking(DynamoClaims(conversations, world.clock), world.executions),
        )
        return CarryingOut(errands, Fused(world.messenger, fuse), forget)(self.asked)

    def everything(self) -> str:
        """All items of both tables, and all that is in S3, as text."""
        scans = [self.world.conversations.client.scan(TableName=name)["Items"] for name in ("conversations", "runtime")]
        contents = [(key, [version.data.decode() for version in found]) for key, found in self.s3.objects.items()]
        return json.dumps([scans, contents], default=str)

    def kept(self) -> list[str]:
        """Sort keys of the chat's items, without the marks of updates."""
        items = self.world.conversations.query(CHAT, " ", "~")
        return [str(item["sk"]) for item in items if not str(item["sk"]).startswith("UPDATE#")]

    def archive(self) -> Archive:
        return Archive(CHAT, S3Blobs(self.s3.as_client(), BUCKET, CHAT), DynamoSnapshots(self.world.runtime))

    def told(self) -> list[str]:
        """What the chat was sent of its being forgotten."""
        return [text for text in self.world.texts() if text.startswith(("Forgotten", "All of it"))]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_everything_goes_and_is_said(scene: Scene) -> None:
    assert SECRET in scene.everything()

    assert scene.forget() == "sent"

    assert scene.told() == [FORGOTTEN]
    assert SECRET not in scene.everything()
    assert scene.kept() == ["CHAT"]
    assert scene.s3.objects == {}
    assert scene.archive().listed() == []
    assert scene.world.schedules.there == {}
    assert scene.world.reminders.time_zone(CHAT) is None


def test_a_repeat_of_what_is_done_does_nothing(scene: Scene) -> None:
    scene.forget()
    before = scene.everything()

    assert scene.forget() == "gone"

    assert scene.everything() == before
    assert len(scene.told()) == 1


def test_another_chat_keeps_all(scene: Scene) -> None:
    scene.world.allow("43")
    scene.world.say("mine", "43")
    scene.world.run()
    scene.world.say("/remind tomorrow mine", "43")
    back_up(scene.world.runtime, scene.s3.as_client(), "43", {"mine": b"abc"}, at=scene.world.clock.now())

    scene.forget()

    assert scene.world.turn(1, "43").reply is not None
    assert len(scene.world.reminders.of("43")) == 1
    assert len(scene.s3.objects) == 2


def test_the_agent_is_stopped_and_changes_nothing_any_more(scene: Scene) -> None:
    (mail,) = scene.world.agents.mail(CHAT)

    scene.forget()

    assert scene.fleet.tasks == [("old task", STOPPED_BECAUSE)]
    assert scene.tokens.ended == [("token", "success")]
    assert not scene.world.agents.answer(scene.generation, mail, Answered(Answer("late", "m"), "q", "copilot", 0, 0))
    assert scene.world.agents.renew(scene.generation, idle_after=1) is None
    with pytest.raises(AssertionError):  # its commit
        _late_commit(scene)
    assert scene.world.agents.read(CHAT).pending == 0
    assert scene.kept() == ["CHAT"]


def _late_commit(scene: Scene) -> None:
    snapshots = DynamoSnapshots(scene.world.runtime)
    head = snapshots.head(CHAT)
    assert snapshots.commit(scene.generation, _entry(), head)


def _entry() -> Any:
    from assistant.workspace.model import Snapshot  # noqa: PLC0415 (only here)

    return Snapshot(3, 1, "0000000003-0000000001-f.json", "f", 1, 1, 2, 0, 3)


def test_whoever_works_on_an_old_turn_changes_nothing_any_more(scene: Scene) -> None:
    scene.forget()

    assert not scene.world.turns.answer(scene.turn, Answered(Answer("late", "m"), "q", "copilot", 0, 0))
    assert scene.world.deliver(scene.turn).next == "done"
    assert scene.world.prepare(scene.turn.chat).route == "idle"
    assert "late" not in scene.everything()


def test_what_was_written_after_the_command_is_answered(scene: Scene) -> None:
    scene.world.say("and now?")

    scene.forget()
    scene.world.run_all()

    assert scene.world.texts()[-1] == "copilot: and now?"
    assert scene.told() == [FORGOTTEN]
    assert scene.world.models["copilot"].asked[-1][-1].text == "and now?"
    assert SECRET not in json.dumps([said.text for said in scene.world.models["copilot"].asked[-1]])


def test_numbers_never_go_back(scene: Scene) -> None:
    before, agent = scene.world.claims.read(CHAT), scene.world.agents.read(CHAT)

    scene.forget()

    after = scene.world.claims.read(CHAT)
    assert (after.claim_epoch, after.turn_counter) == (before.claim_epoch + 1, before.turn_counter)
    assert after.waiting == 0
    assert (after.claimed_at, after.due_at, after.open_turn) == (None, None, None)
    assert scene.world.agents.read(CHAT).generation == agent.generation + 1


def test_more_messages_than_a_transaction_holds_go(scene: Scene) -> None:
    world = scene.world
    world.clock.advance(-30)
    for number in range(220):
        message = InboxMessage("text", f"{SECRET} again", number, int(world.clock.now()), 10_000 + number)
        world.inbox.store(CHAT, message, limit=1000)
    world.clock.advance(30)

    scene.forget()

    assert SECRET not in scene.everything()
    assert "- 222 messages that waited" in scene.told()[0]
    assert world.claims.read(CHAT).waiting == 0


def test_a_message_that_comes_in_between_does_not_stop_it(scene: Scene) -> None:
    conversations = DynamoConversations(scene.world.conversations, scene.world.clock)
    read = conversations._waiting
    errand = scene.world.errands.read(scene.asked)
    assert errand

    class Late(DynamoConversations):
        def _waiting(self, chat_id: str) -> Any:
            found = read(chat_id)
            if not scene.world.runners.trouble:
                scene.world.runners.trouble.append(RuntimeError())
                scene.world.say("late")
            return found

    assert Late(scene.world.conversations, scene.world.clock).fence(scene.asked, errand)
    assert scene.world.claims.read(CHAT).waiting == 1


def test_forgetting_an_empty_chat(world: World) -> None:
    scene = Scene.__new__(Scene)
    scene.world, scene.s3, scene.tokens, scene.fleet = world, SmallS3(world.clock.now), RecordedTokens(), Stopped()
    world.say("/forget")
    yes = world.incoming("/forget yes")
    world.accept(yes)
    scene.asked = Asked(CHAT, yes.update_id)

    assert scene.forget() == "sent"

    assert scene.told() == [f"Forgotten, for good:\n- 0 questions with what I answered\n\n{STAYS}"]
    world.say("hello")
    world.run_all()
    assert world.texts()[-1] == "copilot: hello"


def test_two_at_once_forget_once(scene: Scene) -> None:
    errand = scene.world.errands.read(scene.asked)
    assert errand
    conversations = DynamoConversations(scene.world.conversations, scene.world.clock)
    assert not conversations.fence(scene.asked, errand)
    epoch = scene.world.claims.read(CHAT).claim_epoch

    assert not conversations.fence(scene.asked, errand)

    assert scene.world.claims.read(CHAT).claim_epoch == epoch


def test_the_mail_of_a_later_turn_stays(scene: Scene) -> None:
    world = scene.world
    later = TurnClaim(ChatClaim(CHAT, 9), 9)
    world.agents.register(later, "later token", deadline=int(world.clock.now()) + 600)

    scene.forget()

    assert [mail.number for mail in world.agents.mail(CHAT)] == [9]
    assert world.agents.read(CHAT).pending == 1


def test_an_agent_that_starts_in_between_is_ended_too(scene: Scene) -> None:
    snapshots = DynamoSnapshots(scene.world.runtime)
    stale = scene.world.runtime.get(schema.agent_partition(CHAT), schema.AGENT_ITEM)
    assert stale
    started = Update(put={"generation": 7})
    scene.world.runtime.update(schema.agent_partition(CHAT), schema.AGENT_ITEM, started)

    class Late(Table):
        def get(self, pk: str, sk: str) -> Any:
            return stale

    late = Late(scene.world.runtime.client, scene.world.runtime.name)
    assert DynamoSnapshots(late).forget(CHAT, by="u1", now=5) == Forgotten(generation=7, at=5)
    assert snapshots.head(CHAT).generation == 8
    assert snapshots.forget(CHAT, by="u1", now=9) == Forgotten(generation=7, at=5)


def _calls() -> int:
    fuse = Fuse()
    Scene().forget(fuse)
    return fuse.calls


CALLS = _calls()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, CALLS + 1))
def test_it_may_die_at_every_call_and_a_repeat_finishes(at: int, before: bool) -> None:
    """Meanwhile people go on: what they wrote, and what a new agent has made, is there afterwards."""
    scene = Scene()
    world = scene.world

    with pytest.raises(Killed):
        scene.forget(Fuse(at, before=before))
    world.clock.advance(60)
    world.say("life goes on")
    fenced = world.agents.read(CHAT).forgotten_by is not None
    if fenced:
        generation = scene.start_agent("new task")
        back_up(world.runtime, scene.s3.as_client(), CHAT, {"new": b"abc"}, at=world.clock.now())
    done = scene.forget()

    in_doubt = "All of it is forgotten. What I had to say about it may not have arrived."
    assert SECRET not in scene.everything()
    assert scene.told() in ([FORGOTTEN], [in_doubt], [FORGOTTEN, in_doubt])
    assert (in_doubt in scene.told()) == (done == "in doubt")
    assert world.schedules.there == {}
    if fenced:
        assert world.agents.renew(generation, idle_after=900) is not None
        archive = scene.archive()
        newest = archive.newest()
        assert newest
        (file,) = archive.manifest(newest).files
        assert archive.content(file) == b"abc"
        assert [task for task, _ in scene.fleet.tasks] == ["old task"]
    else:
        assert scene.s3.objects == {}
    world.clock.advance(600)
    world.sweep()
    assert any("life goes on" in text for text in world.texts())


def test_there_are_calls_to_die_at() -> None:
    assert CALLS > 30

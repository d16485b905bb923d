"""The workspace of a container: restored before everything, kept while it lives, and at its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from agent import safekeeping
from agent.safekeeping import BACK_UP_SECONDS, PATIENCE, Safekeeping
from agent.threads import Threads
from assistant.errors import SnapshotUnreadable
from assistant.workspace.model import Contained, Root
from assistant.workspace.transfers import Stopped
from local.workspace_trials import Cloud, Machine, state_of
from tests.container.bridging import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from assistant.turns.model import Notice

pytestmark = pytest.mark.anyio


class Keeps:
    """A container's safekeeping, over a small cloud."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.machine = Machine(cloud, folder, cloud.begin())
        self.told: list[Notice] = []
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.trouble: list[Exception] = []
        self.stopped = False
        self.threads = Threads(3, "test")
        self.safe = Safekeeping(
            "42",
            self._restore,
            lambda _: self._back_up,
            stop=self._stop,
            owner=self,
            is_news=self._is_news,
            clock=cloud.clock,
            threads=self.threads,
            log=lambda message, **fields: self.log.append((message, fields)),
        )

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)

    def _is_news(self, said: str) -> bool:
        self._fail()
        return self.cloud.snapshots().is_news(self.machine.generation, said)

    def _stop(self) -> None:
        self.stopped = True

    def _restore(self) -> Any:
        self._fail()
        return self.machine.restore()

    def _back_up(self, contained: Contained, *, if_changed: Root | None = None) -> Any:
        self._fail()
        return self.machine.back_up(contained, if_changed=if_changed)

    def _fail(self) -> None:
        if self.trouble:
            raise self.trouble.pop(0)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def keeps(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeps]:
    monkeypatch.setattr(safekeeping, "_RETRY_SECONDS", 0)
    made = Keeps(cloud, tmp_path / "a")
    yield made
    made.threads.close()


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "of somebody's file"}}, "GetObject")


async def test_what_one_container_kept_the_next_one_has(keeps: Keeps, cloud: Cloud, tmp_path: Path) -> None:
    await keeps.safe.restore()
    (keeps.machine.workspace / "a.txt").write_text("a")
    keeps.machine.memory.parent.mkdir(parents=True)
    keeps.machine.memory.write_text("remembered")
    assert await keeps.safe.back_up(Contained(3, {0: 2}))
    following = Keeps(cloud, tmp_path / "b")
    await following.safe.restore()

    assert state_of(following.machine.workspace) == state_of(keeps.machine.workspace)
    assert await following.safe.contained() == Contained(3, {0: 2})
    assert following.log == [("the workspace is in place", {"snapshot": 1, "files": 2})]
    following.threads.close()


async def test_nothing_is_kept_before_a_restore(keeps: Keeps) -> None:
    assert not await keeps.safe.back_up(Contained())
    await keeps.safe.back_up_last(Contained(), seconds=5)

    assert keeps.cloud.s3.objects == {}
    assert keeps.stopped
    assert keeps.log == []


async def test_what_aws_does_not_do_at_once_is_tried_again(keeps: Keeps) -> None:
    keeps.trouble = [refused("SlowDown"), EndpointConnectionError(endpoint_url="https://aws.test")]
    await keeps.safe.restore()

    assert [message for message, _ in keeps.log] == ["restoring once more"] * 2 + ["the workspace is in place"]
    assert keeps.told == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SnapshotUnreadable("a content is missing"), "a content is missing"),
        (PermissionError(13, "no", "/workspace/private-diary"), "errno 13"),
        (ValueError("private-diary"), "ValueError"),
    ],
)
async def test_a_restore_that_fails_is_told_to_the_owner_and_nothing_is_kept_after_it(
    error: Exception, reason: str, keeps: Keeps
) -> None:
    keeps.trouble = [error]
    with pytest.raises(type(error)):
        await keeps.safe.restore()

    assert [(one.kind, one.reason, one.chat_id) for one in keeps.told] == [("workspace_unreadable", reason, "42")]
    assert "diary" not in str(keeps.log)
    assert await keeps.safe.contained() == Contained()
    assert not await keeps.safe.back_up(Contained())


async def test_the_owner_is_told_of_it_once_a_day_and_reason(keeps: Keeps, cloud: Cloud) -> None:
    async def fail(reason: str) -> None:
        keeps.trouble = [SnapshotUnreadable(reason)]
        with pytest.raises(SnapshotUnreadable):
            await keeps.safe.restore()

    await fail("a content is missing")
    await fail("a content is missing")
    await fail("a content is another")
    cloud.clock.moment += 86400
    await fail("a content is another")

    assert [one.reason for one in keeps.told] == ["a content is missing", *["a content is another"] * 2]


async def test_what_can_not_be_noted_is_told(keeps: Keeps) -> None:
    keeps.trouble = [SnapshotUnreadable("a content is missing"), refused("AccessDeniedException")]
    with pytest.raises(SnapshotUnreadable):
        await keeps.safe.restore()

    assert len(keeps.told) == 1


async def test_of_a_container_that_was_replaced_nothing_is_told(keeps: Keeps, cloud: Cloud) -> None:
    cloud.begin()
    keeps.trouble = [SnapshotUnreadable("a content is missing")]
    with pytest.raises(SnapshotUnreadable):
        await keeps.safe.restore()

    assert keeps.told == []


async def test_a_restore_that_aws_never_lets_through_fails(keeps: Keeps) -> None:
    class Always(list[Exception]):
        def pop(self, _index: Any = 0) -> Exception:
            keeps.cloud.clock.moment += 25
            return refused("AccessDenied")

    keeps.trouble = Always([refused("AccessDenied")])
    with pytest.raises(ClientError):
        await keeps.safe.restore()

    assert [one.reason for one in keeps.told] == ["AccessDenied"]


async def test_a_backup_is_due_some_minutes_after_the_last(keeps: Keeps) -> None:
    await keeps.safe.restore()
    keeps.cloud.clock.moment += BACK_UP_SECONDS - 1
    due = [keeps.safe.is_due]
    keeps.cloud.clock.moment += 1
    due.append(keeps.safe.is_due)
    assert await keeps.safe.back_up(Contained())
    due.append(keeps.safe.is_due)
    keeps.cloud.clock.moment += BACK_UP_SECONDS
    assert await keeps.safe.back_up(Contained(), if_changed=Root.WORKSPACE)
    due.append(keeps.safe.is_due)  # nothing was kept: the memory may have changed
    assert due == [False, True, False, True]
    assert keeps.safe.counts == {"committed": 1, "unchanged": 1}


async def test_what_is_kept_is_known_since_a_backup_that_succeeded(keeps: Keeps) -> None:
    clock = keeps.cloud.clock
    began = int(clock.moment)
    await keeps.safe.restore()
    seen = [keeps.safe.backups.kept_at - began]
    clock.moment += 100
    assert await keeps.safe.back_up(Contained())
    seen.append(keeps.safe.backups.kept_at - began)
    clock.moment += 100
    assert await keeps.safe.back_up(Contained())  # nothing has changed
    seen.append(keeps.safe.backups.kept_at - began)
    clock.moment += 100
    assert await keeps.safe.back_up(Contained(), if_changed=Root.WORKSPACE)  # the memory was not looked at
    keeps.trouble = [refused("AccessDenied")] * PATIENCE
    for _ in range(PATIENCE):
        assert not keeps.safe.backups.told
        await keeps.safe.back_up(Contained())
    seen.append(keeps.safe.backups.kept_at - began)

    assert seen == [0, 100, 200, 200]
    assert keeps.safe.backups.told


async def test_a_place_that_is_another_s_keeps_nothing(keeps: Keeps, cloud: Cloud) -> None:
    began = int(cloud.clock.moment)
    await keeps.safe.restore()
    cloud.begin()
    (keeps.machine.workspace / "a.txt").write_text("too late")
    cloud.clock.moment += 100

    assert not await keeps.safe.back_up(Contained())

    assert keeps.safe.backups.kept_at == began


async def test_the_owner_is_told_when_backups_go_on_failing_and_one_that_succeeds_ends_it(keeps: Keeps) -> None:
    await keeps.safe.restore()
    for _ in range(PATIENCE + 1):
        keeps.trouble = [refused("AccessDenied")]
        assert not await keeps.safe.back_up(Contained())
    assert [(one.kind, one.reason) for one in keeps.told] == [("backups_fail", "AccessDenied")]
    assert await keeps.safe.back_up(Contained())

    keeps.trouble = [refused("AccessDenied")]
    await keeps.safe.back_up(Contained())
    assert len(keeps.told) == 1
    assert keeps.safe.counts == {"failed": PATIENCE + 2, "committed": 1}


async def test_an_agent_that_was_replaced_keeps_nothing(keeps: Keeps, cloud: Cloud) -> None:
    await keeps.safe.restore()
    cloud.begin()
    (keeps.machine.workspace / "a.txt").write_text("too late")

    assert not await keeps.safe.back_up(Contained())
    assert cloud.archive().listed() == []


async def test_two_backups_never_run_at_the_same_time_although_who_asked_for_one_has_gone(keeps: Keeps) -> None:
    await keeps.safe.restore()
    running, most = 0, 0
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    back_up = keeps.machine.back_up

    def slow(contained: Contained, *, if_changed: Root | None = None) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        running -= 1
        return back_up(contained, if_changed=if_changed)

    keeps.machine.back_up = slow  # type: ignore[method-assign,assignment]
    first = asyncio.create_task(keeps.safe.back_up(Contained()))
    await until(lambda: running)
    first.cancel()
    second = asyncio.create_task(keeps.safe.back_up(Contained()))
    await asyncio.wait([second], timeout=0.05)
    assert (running, most) == (1, 1)
    gate.set()
    assert await second
    assert most == 1


async def test_the_last_backup_is_bounded_and_stopped(keeps: Keeps) -> None:
    await keeps.safe.restore()
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs(*_: Any, **__: Any) -> Any:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        raise Stopped

    keeps.machine.back_up = hangs  # type: ignore[method-assign]
    await keeps.safe.back_up_last(Contained(), seconds=0.01)

    assert keeps.stopped
    assert keeps.log[-1] == ("the last backup was not made", {})
    gate.set()
    await asyncio.sleep(0)

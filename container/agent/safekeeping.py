"""The workspace's side of the bridge: restored before anything else of the agent, kept from then on.

Nothing is kept before a restore, and a restore that went wrong is the end of the agent: a provider answers what waits,
and the owner is told. A backup that went wrong is only tried again; the owner is told if that goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from assistant.errors import SnapshotUnreadable, StoreContended, WorkspaceRefused
from assistant.turns.agents import Backups
from assistant.turns.model import Notice
from assistant.workspace.backing_up import Came
from assistant.workspace.model import NOTHING, Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.threads import Threads
    from assistant.turns.model import NoticeKind
    from assistant.turns.ports import Clock, Owner
    from assistant.workspace.backing_up import BackedUp
    from assistant.workspace.model import Contained
    from assistant.workspace.restoring import Restored

RESTORE_SECONDS = 60
"""For so long a restore that AWS does not let through is tried again."""

BACK_UP_SECONDS = 300
"""Between two backups of a workspace in which something changed."""

PATIENCE = 3
"""After so many backups in a row that failed the owner is told."""

_RETRY_SECONDS = 2.0
_AWS_ERRORS = (BotoCoreError, ClientError, StoreContended)


class Keeper(Protocol):
    """`assistant.workspace.backing_up.Backup`, as far as it is used."""

    def __call__(self, contained: Contained, *, if_changed: Root | None = None) -> BackedUp:
        """Keep what there is now."""
        ...


class Safekeeping:
    """Restores a chat's workspace once, and keeps it.

    Args:
        chat_id: the chat.
        restore: puts the last snapshot in place; may block.
        keep: what backs up after that restore.
        stop: has a restore or backup that is under way end at its next step; may be called from anywhere.
        owner: who is told.
        is_news: notes what the owner is told of a restore that failed; False if it was the last that they were.
        clock: the time.
        threads: where what blocks runs.
        log: takes a message and fields.
    """

    def __init__(
        self,
        chat_id: str,
        restore: Callable[[], Restored],
        keep: Callable[[Restored], Keeper],
        *,
        stop: Callable[[], None],
        owner: Owner,
        is_news: Callable[[str], bool],
        clock: Clock,
        threads: Threads,
        log: Callable[..., None],
    ) -> None:
        self.counts: dict[str, int] = {}
        self._chat_id = chat_id
        self._restore = restore
        self._keep = keep
        self._stop = stop
        self._owner = owner
        self._is_news = is_news
        self._clock = clock
        self._threads = threads
        self._log = log
        self._keeper: Keeper | None = None
        self._contained = NOTHING
        self._tried = asyncio.Event()
        self._one = asyncio.Lock()
        self._failures = 0
        self._kept_at = self._tried_at = clock.now()
        self._told = False

    async def restore(self) -> None:
        """Put the last snapshot in place.

        Raises:
            SnapshotUnreadable, WorkspaceRefused, OSError: it is not in place; nothing is.
            BotoCoreError, ClientError: the same, because AWS did not let it through.
        """
        try:
            restored = await self._surely_restored()
        except Exception as error:
            self._log("the workspace could not be restored", error=type(error).__name__, reason=_reason(error))
            if await self._untold(_reason(error)):
                await self._tell("workspace_unreadable", _reason(error))
            raise
        else:
            self._keeper, self._contained = self._keep(restored), restored.contained
            made = restored.manifest
            files = 0 if made is None else len(made.files)
            self._log("the workspace is in place", snapshot=restored.head.number, files=files)
        finally:
            self._tried.set()

    async def contained(self) -> Contained:
        """What of the conversation the restored memory has seen, once that is known; nothing if it never will be."""
        await self._tried.wait()
        return self._contained

    async def back_up(self, contained: Contained, *, if_changed: Root | None = None) -> bool:
        """Keep what there is now; False if that did not succeed, or the chat is another's by now.

        `if_changed`: only if something of this root has changed.
        """
        if self._keeper is None:
            return False
        # Whoever waits may be cancelled; what goes on in the thread is not, and there must not be two.
        return await asyncio.shield(asyncio.create_task(self._backed_up(self._keeper, contained, if_changed)))

    async def _backed_up(self, keeper: Keeper, contained: Contained, if_changed: Root | None) -> bool:
        async with self._one:
            began = self._clock.now()
            try:
                done = await self._threads(keeper, contained, if_changed=if_changed)
            except Exception as error:  # noqa: BLE001 (logged, tried again, and the owner is told)
                await self._failed(error)
                return False
        if if_changed is None or done.came == Came.COMMITTED:
            self._tried_at = self._clock.now()
            if done.came != Came.REPLACED:
                self._kept_at = began
        self._failures = 0
        self.counts[done.came] = self.counts.get(done.came, 0) + 1
        if done.came == Came.COMMITTED:
            self._log(
                "backed up", snapshot=done.number, uploaded=done.uploaded, bytes=done.bytes, left_out=done.left_out
            )
        return done.came != Came.REPLACED

    async def back_up_last(self, contained: Contained, *, seconds: float) -> None:
        """Keep what there is, at the end of the process: within these seconds, or the owner is told that it was not."""
        try:
            async with asyncio.timeout(seconds):
                kept = await self.back_up(contained)
        except TimeoutError:
            kept = False
        self._stop()
        if not kept and self._keeper is not None:
            self._log("the last backup was not made")

    @property
    def is_due(self) -> bool:
        """Whether it is time for a backup."""
        return self._clock.now() - self._tried_at >= BACK_UP_SECONDS

    @property
    def backups(self) -> Backups:
        """How they stand."""
        return Backups(int(self._kept_at), told=self._told)

    def stop(self) -> None:
        """End what is under way, for good."""
        self._stop()

    async def _surely_restored(self) -> Restored:
        began = self._clock.now()
        while True:
            try:
                return await self._threads(self._restore)
            except _AWS_ERRORS as error:
                if self._clock.now() - began > RESTORE_SECONDS:
                    raise
                self._log("restoring once more", error=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        self.counts["failed"] = self.counts.get("failed", 0) + 1
        self._tried_at = self._clock.now()  # else it would be tried again and again at once
        self._log("not backed up", error=type(error).__name__, reason=_reason(error), failures=self._failures)
        if self._failures == PATIENCE:
            await self._tell("backups_fail", _reason(error))
            self._told = True

    async def _untold(self, reason: str) -> bool:
        """Whether the owner does not know it today: each message that comes starts another agent, which fails again."""
        today = f"{datetime.fromtimestamp(self._clock.now(), UTC):%Y-%m-%d}"
        try:
            return await self._threads(self._is_news, f"{today} {reason}")
        except _AWS_ERRORS:
            return True

    async def _tell(self, kind: NoticeKind, reason: str) -> None:
        with contextlib.suppress(*_AWS_ERRORS):
            await self._threads(self._owner.tell, Notice(kind, reason=reason, chat_id=self._chat_id))


def _reason(error: Exception) -> str:
    """What may be told of an error: our own words, or AWS's code; no other's, which may hold a file's name."""
    match error:
        case SnapshotUnreadable() | WorkspaceRefused():
            return str(error)
        case ClientError():
            return str(error.response.get("Error", {}).get("Code", ""))
        case OSError():
            return "" if error.errno is None else f"errno {error.errno}"
    return type(error).__name__

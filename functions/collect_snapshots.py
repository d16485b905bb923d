"""Schedule, every day: snapshots of workspaces that are kept no longer go, with what only they needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant import wiring
from assistant.observability import logger

if TYPE_CHECKING:
    from assistant.workspace.collecting import Collection


def handle(_event: object, collect: Collection) -> None:
    """Tidy up every chat; one whose manifests can't be read is left as it is, and the event fails after the others."""
    collect.everywhere(log=logger.info)


__getattr__ = wiring.entry_point(handle, wiring.collection)

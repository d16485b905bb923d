"""`python -m agent`: the agent's container. Exit status 0 if the end was in order, 2 if a setting is missing."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from agent import privileges, settings, wiring
from agent.life import signals_set
from assistant.errors import SettingMissing
from assistant.wiring import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistant.turns.ports import Clock

SETTING_MISSING = 2


def main(environment: Mapping[str, str], time: Clock) -> int:
    """Run the agent; the exit status.

    Args:
        environment: where the settings are.
        time: the clock, for leases, deadlines and limits.
    """
    try:
        read = settings.read(environment)
    except SettingMissing as error:
        sys.stderr.write(f"{error}\n")
        return SETTING_MISSING
    return asyncio.run(_live(read, time))


async def _live(read: settings.Settings, time: Clock) -> int:
    stop = asyncio.Event()
    with signals_set(stop):
        return await wiring.run(read, time, stop)


if __name__ == "__main__":
    privileges.restrict()
    sys.exit(main(os.environ, clock()))

"""What the bridge's process may do as root: little; and whether OpenClaw is somebody else.

Numbers and structures are those of capabilities(7), capget(2) and prctl(2).
"""

from __future__ import annotations

import ctypes
import os
from enum import IntEnum


class Capability(IntEnum):
    """The rights of root that are kept, each for its reason."""

    CHOWN = 0
    """What the bridge writes for OpenClaw, or restores, becomes OpenClaw's user's."""
    DAC_OVERRIDE = 1
    """That user's folders are closed to others; the bridge writes into them, and reads them for a backup."""
    FOWNER = 3
    """A restored file gets its mode and time although it is not ours. With CHOWN this is no further right."""
    KILL = 5
    """It ends OpenClaw, which is another user's process."""
    SETGID = 6
    """OpenClaw gets its group, and loses ours…"""
    SETUID = 7
    """…and becomes its user…"""
    SETPCAP = 8
    """…who can never have a capability: the bounding set is emptied."""


_LAST = 63
_SET_DUMPABLE = 4
_CAPBSET_DROP = 24
_SET_NO_NEW_PRIVS = 38
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def restrict() -> None:
    """Give up what is not kept, for good: this thread and whatever it starts. Call it before there are others.

    Whoever is not root has nothing to give up but the way to more. What the system does not do is left undone: none
    of it keeps OpenClaw from anything, which has no rights in any case.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of our user reads our memory or environment
    for number in range(_LAST + 1):
        if number not in Capability:
            libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)
    header, sets = _Header(_VERSION_3, 0), (_Data * 2)()
    if libc.capget(ctypes.byref(header), ctypes.byref(sets)) == 0:
        kept = sum(1 << number for number in Capability)
        for part, mask in zip(sets, (kept, 0), strict=True):
            part.effective &= mask
            part.permitted &= mask
            part.inheritable = 0
        libc.capset(ctypes.byref(header), ctypes.byref(sets))
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def separate_user(wanted: int) -> int | None:
    """The user that OpenClaw runs as: the wanted one if there is one and we may become it; None for our own."""
    return wanted if wanted and os.geteuid() == 0 else None


def not_separate(wanted: int) -> str:
    """Why OpenClaw runs as our own user; empty if it does not."""
    if separate_user(wanted) is not None:
        return ""
    return "AGENT_USER is not set" if os.geteuid() == 0 else "the process was not started as root"

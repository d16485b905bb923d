"""The time zones that people may choose: those named after a place, and UTC."""

from __future__ import annotations

from importlib.resources import files

UTC = "UTC"

_AREAS = (
    "Africa/", "America/", "Antarctica/", "Arctic/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/",
    "Pacific/",
)  # fmt: skip


def find(said: str) -> list[str]:
    """The zones that something said may mean: by their whole name, or by the place alone; none, one or several."""
    wanted = "_".join(said.split()).casefold()
    # The package's own list: zoneinfo's function opens every file there is (0.2 s).
    listed = files("tzdata").joinpath("zones").read_text("utf-8").split()
    names = sorted(name for name in listed if name.startswith(_AREAS) or name == UTC)
    exact = [name for name in names if name.casefold() == wanted]
    return exact or [name for name in names if name.casefold().rpartition("/")[2] == wanted]

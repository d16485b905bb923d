"""Where links lead: followed in the mind, among the entries that will be there, as the kernel would follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant.workspace.model import Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_LINKS = 40
"""As many as Linux follows before it gives up (path_resolution(7))."""


def leading_out(entries: Iterable[object]) -> Iterator[Link]:
    """The links that lead out of the folder that the entries are in, be it on the way only."""
    links = {entry.path: entry for entry in entries if isinstance(entry, Link)}
    return (link for link in links.values() if not _stays(link, links))


def _stays(link: Link, links: Mapping[str, Link]) -> bool:
    """Whether a link stays inside at every step; one that goes in circles goes nowhere, and so stays."""
    place = link.path.split("/")[:-1]
    ahead: list[str] = []
    followed: Link | None = link
    for _ in range(MOST_LINKS):
        if followed is None:
            return True
        if followed.target.startswith("/"):
            return False
        ahead += reversed(followed.target.split("/"))
        followed = _next_link(place, ahead, links)
        if followed is _OUT:
            return False
    return True


def _next_link(place: list[str], ahead: list[str], links: Mapping[str, Link]) -> Link | None:
    """Walk to the next link on the way; None at the end of it, `_OUT` if it leads out. What is absent is a folder."""
    while ahead:
        name = ahead.pop()
        if name == "..":
            if not place:
                return _OUT
            place.pop()
        elif name not in ("", "."):
            link = links.get("/".join([*place, name]))
            if link is not None:
                return link
            place.append(name)
    return None


_OUT = Link("", "/")

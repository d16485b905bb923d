"""The servers beside others in one process."""

import sys

import pytest
from uvicorn.importer import ImportFromStringError

from agent.serving import server


def test_what_can_not_be_imported_fails_where_the_server_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the task that serves it, nobody would hear of it: the port takes connections that are never answered."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.h11_impl", None)

    with pytest.raises(ImportFromStringError):
        server(None, most_connections=1, stop_seconds=1)

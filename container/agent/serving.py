"""HTTP servers beside others in one process: the relay, and the bridge's own."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals as they are."""
        yield


def server(app: Any, *, most_connections: int, stop_seconds: int, **further: Any) -> Server:  # noqa: ANN401 (ASGI's types)
    """A server of an ASGI application that says nothing of itself and logs no request; `further` is uvicorn's.

    What it is made of is imported here: in the task that serves, an error would be seen by nobody who waits for it.
    """
    config = uvicorn.Config(
        app,
        http="h11",  # it leaves the request's target as it came; httptools would take absolute ones apart
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=most_connections,
        timeout_graceful_shutdown=stop_seconds,
        **further,
    )
    config.load()
    return Server(config)


def listening(host: str, port: int, *, waiting: int) -> socket.socket:
    """A socket that listens; at most so many connections wait to be taken.

    asyncio sends small packets at once only where it is told that they are TCP's. `socket.create_server` does not say
    so, and each answer then waits 40 ms for an acknowledgement.

    Raises:
        OSError: the port is taken.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(waiting)
    except OSError:
        made.close()
        raise
    return made

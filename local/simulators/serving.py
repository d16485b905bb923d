"""The simulators on a port of loopback, without a cloud around them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from local.simulators.outside import CONNECTIONS, Outside


class _Quiet(WSGIRequestHandler):  # type: ignore[misc]  # werkzeug is Any here
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 (the parent's)
        """Log nothing."""


@contextmanager
def served(outside: Outside) -> Iterator[Mapping[str, str]]:
    """Serve them; the base URL of each provider, as `<PROVIDER>_BASE_URL` wants it, by provider id."""
    mounts = {f"/{prefix}": application for prefix, application in outside.mounts.items()}
    nothing = Response("nothing here", 404)
    server = make_server("127.0.0.1", 0, DispatcherMiddleware(nothing, mounts), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {each: f"{url}/{place.prefix}{place.base_path}" for each, place in CONNECTIONS.items()}
    finally:
        outside.close()
        server.shutdown()
        thread.join()
        server.server_close()

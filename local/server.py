"""A small threaded HTTP/1.1 server for one WSGI application on loopback, with keep-alive.

werkzeug's own closes every connection and then waits up to 10 ms for stray bytes, which is more than most
calls here take. This one reads the whole request body first, so a connection can always be used again.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, cast

from moto.moto_server.werkzeug_app import MotoRequestHandler

type Environ = dict[str, Any]
type StartResponse = Callable[..., Any]
type WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_NO_BODY = {204, 304}


class _Response:
    """Writes one WSGI answer to the connection: headers and first bytes in one packet, chunked if need be."""

    def __init__(self, handler: "_Handler") -> None:
        self._handler = handler
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._sent = False
        self._chunked = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], None]:
        """WSGI's start_response."""
        del exc_info
        self._status, self._headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body, and the headers before the first."""
        framed = self._head() if not self._sent else b""
        if data and self._bodiless:
            data = b""
        if data:
            framed += b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
        if framed:
            self._handler.wfile.write(framed)

    def finish(self) -> None:
        """Send what is still missing: the headers of an empty body, the last chunk."""
        if not self._sent:
            self.write(b"")
        if self._chunked:
            self._handler.wfile.write(b"0\r\n\r\n")

    @property
    def _code(self) -> int:
        return int(self._status.split(None, 1)[0])

    @property
    def _bodiless(self) -> bool:
        return self._handler.command == "HEAD" or self._code in _NO_BODY

    def _head(self) -> bytes:
        self._sent = True
        names = {name.lower() for name, _ in self._headers}
        lines = [f"HTTP/1.1 {self._status}", *(f"{name}: {value}" for name, value in self._headers)]
        if "date" not in names:
            lines.append(f"Date: {formatdate(usegmt=True)}")
        if "content-length" not in names and not self._bodiless:
            if self._handler.request_version == "HTTP/1.0":
                self._handler.close_connection = True
            else:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked")
        if self._handler.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Handler(MotoRequestHandler):  # type: ignore[misc]  # moto and werkzeug are not typed for us
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(OSError):
            BaseHTTPRequestHandler.handle(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        """Say nothing: the recorded calls say more."""

    def run_wsgi(self) -> None:
        """Answer one request. An application that raises ConnectionError drops the connection."""
        environ = self._environ_with_body()
        response = _Response(self)
        try:
            answer = self.server.app(environ, response.start)
            try:
                for data in answer:
                    response.write(data)
                response.finish()
            finally:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()
        except OSError:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _environ_with_body(self) -> Environ:
        environ = cast("Environ", self.make_environ())
        source = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            body = source.read()
        else:
            body = source.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = BytesIO(body)
        return environ

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name.startswith("do_"):
            return self.run_wsgi
        raise AttributeError(name)


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256
    multithread = True
    multiprocess = False
    ssl_context = None
    _server_version = "local"

    def __init__(self, address: tuple[str, int], app: WsgiApp) -> None:
        self.app = app
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class WebServer:
    """Serves a WSGI application, on loopback unless told otherwise, from a daemon thread per connection.

    Args:
        app: the application. Raising ConnectionError drops the connection without a further byte.
        port: 0 lets the system choose.
        host: the address to listen on.
    """

    def __init__(self, app: WsgiApp, port: int = 0, host: str = "127.0.0.1") -> None:
        self._server = _Server((host, port), app)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="front", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close every connection."""
        if self._thread.is_alive():  # shutdown waits for a loop, for ever if there is none
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.close_connections()

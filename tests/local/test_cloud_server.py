"""The HTTP server under the front."""

import socket
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, RemoteDisconnected

import pytest

from local.server import Environ, StartResponse, WebServer


def _app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path, body = environ["PATH_INFO"], environ["wsgi.input"].read()
    if path == "/drop":
        raise ConnectionAbortedError
    if path == "/stream":
        start_response("200 OK", [])
        return iter([b"one ", b"", b"two"])
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    server = WebServer(_app)
    server.start()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    yield connection
    connection.close()
    server.stop()


def test_a_connection_serves_many_requests(connection: HTTPConnection) -> None:
    connection.connect()
    port = connection.sock.getsockname()[1]

    for body in (b"first", b"x" * 100_000, b""):
        connection.request("POST", "/echo", body)
        assert connection.getresponse().read() == body

    assert connection.sock.getsockname()[1] == port


def test_a_body_without_length_is_sent_in_chunks(connection: HTTPConnection) -> None:
    connection.request("GET", "/stream")

    response = connection.getresponse()

    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.read() == b"one two"


def test_a_request_in_chunks_is_read_whole(connection: HTTPConnection) -> None:
    connection.request(
        "POST", "/echo", iter([b"ab", b"cd"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )

    assert connection.getresponse().read() == b"abcd"


def test_an_answer_without_body_leaves_the_connection_usable(connection: HTTPConnection) -> None:
    connection.request("GET", "/empty")
    assert connection.getresponse().read() == b""

    connection.request("POST", "/echo", b"after")
    assert connection.getresponse().read() == b"after"


def test_a_connection_error_in_the_application_drops_the_connection(connection: HTTPConnection) -> None:
    connection.request("GET", "/drop")

    with pytest.raises(RemoteDisconnected):
        connection.getresponse()


def test_stop_closes_open_connections() -> None:
    server = WebServer(_app)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 204")

        server.stop()

        assert connection.recv(1) == b""

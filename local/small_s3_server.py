"""`SmallS3` over HTTP, with what every request takes on its way: for comparing who makes how many of them.

`python -m local.small_s3_server [--latency SECONDS]` prints its port. It also tells how many requests there were.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError
from werkzeug.wrappers import Response

from local.server import WebServer
from local.small_s3 import SmallS3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local.server import Environ, StartResponse

COUNTS_PATH = "/_counts"
EMPTY_PATH = "/_empty"
_XML = "application/xml"


class SmallS3App:
    """The bucket as a WSGI application, addressed by path.

    Args:
        latency_s: what is added to each request.
        before: is told of each request, before it is answered: its method and key.
    """

    def __init__(self, latency_s: float = 0, before: Callable[[str, str], None] = lambda _method, _key: None) -> None:
        self.s3 = SmallS3(time.time)
        self.latency_s = latency_s
        self._before = before
        self._counts = {"requests": 0, "received": 0, "sent": 0}
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        response = self._answer(environ)
        found: Iterable[bytes] = response(environ, start_response)
        return found

    def _answer(self, environ: Environ) -> Response:
        path, method = unquote(str(environ["PATH_INFO"])), str(environ["REQUEST_METHOD"])
        if path == COUNTS_PATH:
            with self._lock:
                told, self._counts = self._counts, dict.fromkeys(self._counts, 0)
            return Response(json.dumps(told))
        if path == EMPTY_PATH:
            self.s3.objects.clear()
            return Response("")
        key = path.lstrip("/").partition("/")[2]
        body = _body(environ)
        time.sleep(self.latency_s)
        self._before(method, key)
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
        try:
            response = self._operate(method, key, query, environ, body)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            response = Response(f"<Error><Code>{code}</Code></Error>", status, content_type=_XML)
        with self._lock:
            self._counts["requests"] += 1
            self._counts["received"] += len(body)
            self._counts["sent"] += len(response.get_data())
        return response

    def _operate(self, method: str, key: str, query: dict[str, str], environ: Environ, body: bytes) -> Response:
        if method == "GET" and not key:
            return _listing(
                self.s3.list_objects_v2(Prefix=query.get("prefix", ""), Delimiter=query.get("delimiter", ""))
            )
        if "uploads" in query or "uploadId" in query:
            return self._multipart(method, key, query, body)
        operations = {"PUT": self._put, "GET": self._get, "HEAD": self._head}
        return operations[method](key, environ, body)

    def _put(self, key: str, environ: Environ, body: bytes) -> Response:
        conditions = {"IfNoneMatch": environ["HTTP_IF_NONE_MATCH"]} if "HTTP_IF_NONE_MATCH" in environ else {}
        checksum = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        checked = {"ChecksumSHA256": checksum} if checksum else {}
        stored = self.s3.put_object(Key=key, Body=body, **conditions, **checked)
        return Response(headers={"ETag": stored["ETag"], "x-amz-version-id": stored["VersionId"]})

    def _get(self, key: str, environ: Environ, _body: bytes) -> Response:
        wanted = {"Range": environ["HTTP_RANGE"]} if "HTTP_RANGE" in environ else {}
        found = self.s3.get_object(Key=key, **wanted)
        more = {"Content-Range": found["ContentRange"]} if wanted else {}
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        return Response(found["Body"].read(), status, headers={"ETag": found["ETag"], **more})

    def _head(self, key: str, _environ: Environ, _body: bytes) -> Response:
        found = self.s3.head_object(Key=key)
        return Response(headers={"ETag": found["ETag"], "Content-Length": str(found["ContentLength"])})

    def _multipart(self, method: str, key: str, query: dict[str, str], body: bytes) -> Response:
        upload = query.get("uploadId", "")
        if method == "PUT":
            done = self.s3.upload_part(UploadId=upload, PartNumber=query["partNumber"], Body=body)
            return Response(headers={"ETag": done["ETag"]})
        if method == "DELETE":
            self.s3.abort_multipart_upload(UploadId=upload)
            return Response(status=HTTPStatus.NO_CONTENT)
        if not upload:
            begun = self.s3.create_multipart_upload(Key=key)
            return _xml("InitiateMultipartUploadResult", {"Key": key, "UploadId": begun["UploadId"]})
        numbers = [text.partition("</PartNumber>")[0] for text in body.decode().split("<PartNumber>")[1:]]
        parts = {"Parts": [{"PartNumber": number} for number in numbers]}
        done = self.s3.complete_multipart_upload(UploadId=upload, MultipartUpload=parts)
        return _xml("CompleteMultipartUploadResult", {"Key": key, "ETag": done["ETag"]})


def _body(environ: Environ) -> bytes:
    body: bytes = environ["wsgi.input"].read()
    return _without_chunks(body) if "aws-chunked" in environ.get("HTTP_CONTENT_ENCODING", "") else body


def _without_chunks(framed: bytes) -> bytes:
    """What the SDK put into chunks of its own (S3 API reference, "Signature calculations … chunked upload")."""
    data, place = b"", 0
    while True:
        head, _, _ = framed[place : place + 200].partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if size == 0:
            return data
        place += len(head) + 2
        data += framed[place : place + size]
        place += size + 2


def _listing(found: dict[str, Any]) -> Response:
    contents = "".join(
        f"<Contents><Key>{escape(each['Key'])}</Key><LastModified>{each['LastModified']:%Y-%m-%dT%H:%M:%S.000Z}"
        f"</LastModified><ETag>{escape(each['ETag'])}</ETag><Size>{each['Size']}</Size></Contents>"
        for each in found["Contents"]
    )
    prefixes = (escape(each["Prefix"]) for each in found["CommonPrefixes"])
    common = "".join(f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" for prefix in prefixes)
    whole = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
    return Response(whole, content_type=_XML)


def _xml(name: str, values: dict[str, str]) -> Response:
    inner = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in values.items())
    return Response(f"<{name}>{inner}</{name}>", content_type=_XML)


def main(arguments: list[str]) -> int:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m local.small_s3_server", description=__doc__)
    parser.add_argument("--latency", type=float, default=0, help="seconds added to each request")
    server = WebServer(SmallS3App(parser.parse_args(arguments).latency))
    server.start()
    print(server.port, flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

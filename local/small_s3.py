"""A versioned S3 bucket in a dictionary, as far as workspaces use one: for thousands of backups and their crashes.

moto is the reference; this answers the same (see the test), and what moto does not: a content that is not what its
checksum says is refused. `local.small_s3_server` serves it over HTTP.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import itertools
import threading
from dataclasses import dataclass
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_s3 import S3Client

_STATUS = {"NoSuchKey": 404, "PreconditionFailed": 412, "BadDigest": 400, "InvalidRange": 416, "NoSuchUpload": 404}


@dataclass(frozen=True)
class Stored:
    """One version of an object. `mark`: a mark of deletion."""

    id: str
    data: bytes
    modified: float
    etag: str
    mark: bool = False


class SmallS3:
    """The calls that workspaces make, as boto3's client has them. One bucket, whatever it is called.

    Args:
        now: epoch seconds, for the versions.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.objects: dict[str, list[Stored]] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.meta = SimpleNamespace(events=_NoEvents(), config=_NoConfig())
        self._now = now
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def as_client(self) -> S3Client:
        """Itself, as the stores' type for it."""
        return cast("S3Client", self)

    def put_object(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """PutObject."""
        body = request.get("Body", b"")
        data = body if isinstance(body, bytes) else body.read()
        wanted = request.get("ChecksumSHA256")
        if wanted is not None and base64.b64encode(hashlib.sha256(data).digest()).decode() != wanted:
            raise error("BadDigest", "PutObject")
        with self._lock:
            if request.get("IfNoneMatch") == "*" and self._current(request["Key"]) is not None:
                raise error("PreconditionFailed", "PutObject")
            return self._store(request["Key"], data)

    def get_object(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """GetObject, of a range of bytes too."""
        found = self._found(request, "GetObject")
        data, more = found.data, {}
        if "Range" in request:
            first, _, last = request["Range"].removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                raise error("InvalidRange", "GetObject")
            data = data[int(first) : int(last) + 1 if last else None]
            more = {"ContentRange": f"bytes {first}-{int(first) + len(data) - 1}/{len(found.data)}"}
        body = StreamingBody(cast("Any", BytesIO(data)), len(data))
        return {"Body": body, "ContentLength": len(data), "ETag": found.etag, "VersionId": found.id, **more}

    def head_object(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """HeadObject."""
        found = self._found(request, "HeadObject")
        return {"ContentLength": len(found.data), "ETag": found.etag}

    def list_objects_v2(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """ListObjectsV2, in one page."""
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and self._current(key) is not None]
        ends = [(key, key.find(delimiter, len(prefix)) if delimiter else -1) for key in keys]
        common = sorted({key[: end + 1] for key, end in ends if end >= 0})
        contents = [_shown(key, self.objects[key][-1]) for key, end in ends if end < 0]
        return {"CommonPrefixes": [{"Prefix": each} for each in common], "Contents": contents, "IsTruncated": False}

    def list_object_versions(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """ListObjectVersions, in one page."""
        with self._lock:
            found = [
                (key, version)
                for key in sorted(self.objects)
                if key.startswith(request.get("Prefix", ""))
                for version in reversed(self.objects[key])
            ]
        return {
            "Versions": [_shown(key, version) for key, version in found if not version.mark],
            "DeleteMarkers": [_shown(key, version) for key, version in found if version.mark],
        }

    def get_paginator(self, operation: str) -> Any:  # noqa: ANN401 (boto3's own types)
        """A paginator of one of the lists."""
        return SimpleNamespace(paginate=lambda **request: iter([getattr(self, operation)(**request)]))

    def delete_objects(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """DeleteObjects: versions; without one, a mark of deletion."""
        with self._lock:
            for each in request["Delete"]["Objects"]:
                key, version = each["Key"], each.get("VersionId")
                if version is None:
                    self._store(key, b"", mark=True)
                    continue
                left = [stored for stored in self.objects.get(key, []) if stored.id != version]
                self.objects[key] = left
                if not left:
                    del self.objects[key]
        return {}

    def create_multipart_upload(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """CreateMultipartUpload."""
        with self._lock:
            upload = f"upload-{next(self._numbers)}"
            self.uploads[upload] = (request["Key"], {})
        return {"UploadId": upload}

    def upload_part(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """UploadPart."""
        data = request["Body"] if isinstance(request["Body"], bytes) else request["Body"].read()
        with self._lock:
            if request["UploadId"] not in self.uploads:
                raise error("NoSuchUpload", "UploadPart")
            self.uploads[request["UploadId"]][1][int(request["PartNumber"])] = data
        return {"ETag": _etag(data)}

    def complete_multipart_upload(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """CompleteMultipartUpload."""
        with self._lock:
            if request["UploadId"] not in self.uploads:
                raise error("NoSuchUpload", "CompleteMultipartUpload")
            key, parts = self.uploads.pop(request["UploadId"])
            numbers = [int(part["PartNumber"]) for part in request["MultipartUpload"]["Parts"]]
            return self._store(key, b"".join(parts[number] for number in numbers))

    def abort_multipart_upload(self, **request: Any) -> Any:  # noqa: ANN401 (boto3's own types)
        """AbortMultipartUpload."""
        with self._lock:
            self.uploads.pop(request["UploadId"], None)
        return {}

    def _current(self, key: str) -> Stored | None:
        versions = self.objects.get(key)
        return None if not versions or versions[-1].mark else versions[-1]

    def _found(self, request: Any, operation: str) -> Stored:  # noqa: ANN401 (boto3's own types)
        found = self._current(request["Key"])
        if found is None:
            raise error("NoSuchKey", operation)
        return found

    def _store(self, key: str, data: bytes, *, mark: bool = False) -> dict[str, str]:
        stored = Stored(f"version-{next(self._numbers)}", data, self._now(), _etag(data), mark)
        self.objects.setdefault(key, []).append(stored)
        return {"ETag": stored.etag, "VersionId": stored.id}


class _NoConfig:
    request_checksum_calculation = response_checksum_validation = "when_required"


class _NoEvents:
    def register_first(self, *_: object, **__: object) -> None:
        """Nobody listens."""

    register_last = register_first


def error(code: str, operation: str) -> ClientError:
    """An error as boto3 raises it."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": _STATUS[code]}}
    return ClientError(response, operation)


def _shown(key: str, stored: Stored) -> dict[str, Any]:
    modified = dt.datetime.fromtimestamp(stored.modified, dt.UTC)
    return {
        "Key": key,
        "VersionId": stored.id,
        "Size": len(stored.data),
        "LastModified": modified,
        "ETag": stored.etag,
    }


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'

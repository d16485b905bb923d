"""The chats' workspaces in S3: contents and manifests, each under a name that nothing else ever gets.

A content goes up with its SHA-256, which S3 compares with what arrived; large ones in parts, through s3transfer. What
comes back is proven by who asked for it; a client with `CONFIG` does not do so, too.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from assistant.errors import BackupFailed, SnapshotUnreadable
from assistant.workspace.ports import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from s3transfer.manager import TransferManager
    from types_boto3_s3 import S3Client

    from assistant.workspace.ports import Readable

CONFIG: Mapping[str, Any] = {"response_checksum_validation": "when_required", "max_pool_connections": 24}
"""For botocore's Config: as many connections as a backup or restore uses at a time, and no request for a checksum."""

PREFIX = "workspaces/"
PART_BYTES = 8 << 20
MOST_MANIFEST_BYTES = 256 << 20
_PARTS_AT_A_TIME = 6
_READ_TRIES = 3
_BATCH = 1000
"""As many keys as DeleteObjects takes."""

_GONE = frozenset({"NoSuchKey", "404", "InvalidRange"})


class S3Blobs:
    """One chat's contents and manifests. `part_bytes`: what is larger goes in parts."""

    def __init__(self, client: S3Client, bucket: str, chat_id: str, *, part_bytes: int = PART_BYTES) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{PREFIX}{chat_id}/"
        self._part_bytes = part_bytes

    def put(self, digest: str, data: bytes) -> None:
        """Keep a content; S3 refuses what is not what its name says."""
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._blob(digest),
            Body=data,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
        )

    def put_from(self, digest: str, source: Readable) -> None:
        """Keep a content that comes piece by piece, in parts; what reading raises makes an end of them."""
        # s3transfer reads what can't seek from front to back, as its own types don't say.
        self._transfers.upload(source, self._bucket, self._blob(digest)).result()  # type: ignore[arg-type]

    def get(self, digest: str, size: int) -> bytes:
        """A content, unverified."""
        return self._read(self._blob(digest), size)

    def get_into(self, digest: str, file: BinaryIO) -> None:
        """A content into a file, several parts at a time."""
        with _missing("content"):
            self._transfers.download(self._bucket, self._blob(digest), file).result()

    def put_manifest(self, key: str, data: bytes) -> None:
        """Keep a manifest, never over another. One that is there is the same: its digest is in the key."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}snapshots/{key}",
                Body=data,
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.PRECONDITION_FAILED:
                raise

    def get_manifest(self, key: str) -> bytes:
        """A manifest, unverified."""
        return self._read(f"{self._prefix}snapshots/{key}", MOST_MANIFEST_BYTES, what="manifest")

    def _blob(self, digest: str) -> str:
        return f"{self._prefix}blobs/{digest}"

    def _read(self, key: str, size: int, what: str = "content") -> bytes:
        """At most a byte more than `size`. botocore repeats a request, but not an answer that broke off."""
        for tried in range(1, _READ_TRIES + 1):
            with _missing(what):
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            try:
                with contextlib.closing(body):
                    data = body.read(size + 1)
                    if len(data) <= size:
                        body.read(1)  # only at its end an answer that is too short is an error
                    return data
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                if tried == _READ_TRIES:
                    raise
        raise AssertionError

    @cached_property
    def _transfers(self) -> TransferManager:
        from s3transfer.manager import TransferConfig, TransferManager  # noqa: PLC0415 (most who read need none)

        config = TransferConfig(
            multipart_threshold=self._part_bytes,
            multipart_chunksize=self._part_bytes,
            max_request_concurrency=_PARTS_AT_A_TIME,
            max_submission_concurrency=2,  # each holds a part that it has read
            max_request_queue_size=_PARTS_AT_A_TIME,
            max_in_memory_upload_chunks=_PARTS_AT_A_TIME,
            max_io_queue_size=32,  # pieces of 256 KB that wait for the disk
        )
        return TransferManager(self._client, config)


class S3Shelves:
    """All chats' objects."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def chats(self) -> Iterator[str]:
        """The chats that have any."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=PREFIX, Delimiter="/"
        )
        for page in pages:
            for common in page.get("CommonPrefixes", []):
                yield common["Prefix"].removeprefix(PREFIX).rstrip("/")

    def blobs(self, chat_id: str) -> S3Blobs:
        """A chat's."""
        return S3Blobs(self._client, self._bucket, chat_id)

    def versions(self, chat_id: str) -> Iterator[Version]:
        """Every version of every object of a chat, and the marks of deletion."""
        prefix = f"{PREFIX}{chat_id}/"
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix):
            found: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            for each in found:
                yield Version(
                    each["Key"].removeprefix(prefix),
                    each["VersionId"],
                    each.get("Size", 0),
                    each["LastModified"].timestamp(),
                )

    def delete(self, chat_id: str, versions: Iterable[Version]) -> None:
        """Delete these versions, and no other.

        Raises:
            BackupFailed: S3 did not delete some of them.
        """
        prefix = f"{PREFIX}{chat_id}/"
        for batch in itertools.batched(versions, _BATCH, strict=False):
            done = self._client.delete_objects(
                Bucket=self._bucket,
                Delete={
                    "Objects": [{"Key": prefix + each.name, "VersionId": each.id} for each in batch],
                    "Quiet": True,
                },
            )
            if done.get("Errors"):
                raise BackupFailed(f"S3 did not delete {len(done['Errors'])} versions: {done['Errors'][0].get('Code')}")


@contextlib.contextmanager
def _missing(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise SnapshotUnreadable(f"a {what} is missing") from error
        raise

"""The small S3 does what moto does, with every call that workspaces make."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from assistant.errors import SnapshotUnreadable
from assistant.stores.workspaces import CONFIG, S3Blobs, S3Shelves
from local.server import WebServer
from local.small_s3 import SmallS3
from local.small_s3_server import SmallS3App

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL, LARGE = b"small", b"0123456789" * 1_200_000


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["small", "moto", "http"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "small":
        yield SmallS3(lambda: 1_700_000_000)
        return
    if request.param == "http":
        server = WebServer(SmallS3App())
        server.start()
        yield boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", config=Config(**CONFIG))
        server.stop()
        return
    with mock_aws():
        made = boto3.client("s3", config=Config(**CONFIG))
        made.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        made.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        yield made


@pytest.fixture
def blobs(client: Any) -> S3Blobs:
    return S3Blobs(client, "bucket", "42")


@pytest.mark.parametrize("data", [b"", SMALL])
def test_a_content_comes_back_and_no_more_than_a_byte_beyond_its_size(data: bytes, blobs: S3Blobs) -> None:
    blobs.put(digest(data), data)

    assert blobs.get(digest(data), len(data)) == data
    assert blobs.get(digest(data), 2) == data[:3]


def test_a_large_content_goes_in_parts_and_comes_back(blobs: S3Blobs) -> None:
    blobs.put_from(digest(LARGE), io.BytesIO(LARGE))
    file = io.BytesIO()
    blobs.get_into(digest(LARGE), file)

    assert file.getvalue() == LARGE


def test_a_content_whose_reading_fails_is_not_kept(blobs: S3Blobs) -> None:
    class Failing:
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def read(self, most: int = -1, /) -> bytes:
            data = self._data.read(most)
            if not data:
                raise ValueError("not what it was")
            return data

    with pytest.raises(ValueError, match="not what it was"):
        blobs.put_from(digest(LARGE), Failing(LARGE))
    with pytest.raises(SnapshotUnreadable, match="a content is missing"):
        blobs.get(digest(LARGE), 1)
    with pytest.raises(SnapshotUnreadable, match="a content is missing"):
        blobs.get_into(digest(LARGE), io.BytesIO())


def test_a_manifest_is_never_written_over(blobs: S3Blobs) -> None:
    blobs.put_manifest("1.json", b"first")
    blobs.put_manifest("1.json", b"second")

    assert blobs.get_manifest("1.json") == b"first"
    with pytest.raises(SnapshotUnreadable, match="a manifest is missing"):
        blobs.get_manifest("2.json")


@pytest.mark.parametrize("client", ["small", "moto"], indirect=True)
def test_versions_are_listed_and_deleted_one_by_one(client: Any, blobs: S3Blobs) -> None:
    shelves = S3Shelves(client, "bucket")
    blobs.put(digest(SMALL), SMALL)
    blobs.put(digest(SMALL), SMALL)
    S3Blobs(client, "bucket", "-1001").put(digest(b""), b"")

    assert sorted(shelves.chats()) == ["-1001", "42"]
    first, second = shelves.versions("42")
    assert {first.name, second.name} == {f"blobs/{digest(SMALL)}"}
    assert (first.size, second.size) == (5, 5)
    shelves.delete("42", [second])
    assert list(shelves.versions("42")) == [first]
    assert shelves.blobs("42").get(digest(SMALL), 5) == SMALL
    shelves.delete("42", [first, second])
    assert list(shelves.versions("42")) == []
    assert [each.size for each in shelves.versions("-1001")] == [0]


@pytest.mark.parametrize("client", ["small", "moto"], indirect=True)
def test_an_error_of_s3_is_not_a_missing_content(client: Any, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        response: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(response, "an operation")

    for operation in ("get_object", "put_object"):
        monkeypatch.setattr(client, operation, refuse)

    with pytest.raises(ClientError):
        blobs.get(digest(SMALL), 5)
    with pytest.raises(ClientError):
        blobs.put_manifest("1.json", b"")


def test_the_small_s3_compares_a_content_with_its_checksum() -> None:
    blobs = S3Blobs(SmallS3(lambda: 0).as_client(), "bucket", "42")

    with pytest.raises(ClientError, match="BadDigest"):
        blobs.put(digest(SMALL), b"another")

"""What SAM has uploaded to S3, as files: templates, code, definitions."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse


@dataclass
class Uploads:
    """Gives what lies in S3; `client` gives an administrator's client of a service."""

    client: Callable[[str], Any]
    _files: dict[tuple[str, str], Path] = field(default_factory=dict)
    _folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="local-uploads-"))

    def stop(self) -> None:
        """Remove what was unpacked."""
        self._folder.cleanup()

    def unpacked(self, bucket: str, key: str) -> Path:
        """The folder that a zip holds, or the file. SAM's keys are hashes: what lies under one does not change."""
        if (bucket, key) not in self._files:
            self._files[bucket, key] = self._fetched(bucket, key)
        return self._files[bucket, key]

    def template(self, text: str) -> Path:
        """A file with a template's text."""
        return self._written(text.encode(), ".yaml")

    def template_at(self, url: str) -> str:
        """The text of a template; the address is path-style."""
        bucket, _, key = unquote(urlparse(url).path).lstrip("/").partition("/")
        return self._object(bucket, key).decode()

    def _fetched(self, bucket: str, key: str) -> Path:
        content = self._object(bucket, key)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return self._written(content, ".json")
        folder = Path(self._folder.name) / f"{len(self._files)}-unpacked"
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            packed.extractall(folder)
        return folder

    def _written(self, content: bytes, suffix: str) -> Path:
        number = sum(1 for _ in Path(self._folder.name).iterdir())
        path = Path(self._folder.name) / f"{number}{suffix}"
        path.write_bytes(content)
        return path

    def _object(self, bucket: str, key: str) -> bytes:
        body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

"""A real container registry on loopback (Debian's docker-registry), and what is in it, asked over its HTTP API."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from local.ecr import Ecr
from tests.container.openclaw import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PASSWORD = "planted-registry-password-7a1d4c"
_HTPASSWD = "AWS:$2y$05$abcdefghijklmnopqrstuucC9xbJO9Zrs1nL827SvNFbZbUs0kWXK\n"
"""The user and the bcrypt hash of that password."""

_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
auth: {{htpasswd: {{realm: local, path: {folder}/htpasswd}}}}
http: {{addr: "{host}"}}
"""
_START_S = 30
_PIECE = 1 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True)
class ImageRegistry:
    """A registry that runs, and the ECR that is about it."""

    ecr: Ecr

    @property
    def host(self) -> str:
        return self.ecr.host

    def manifest(self, name: str, reference: str) -> tuple[str, dict[str, Any]] | None:
        """The digest of a manifest, counted here, and what it says; None if there is none."""
        status, headers, body = self.ecr.ask("GET", f"/v2/{name}/manifests/{reference}")
        if status == 404:
            return None
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        assert (status, headers["docker-content-digest"]) == (200, digest)
        return digest, json.loads(body)

    def parts(self, name: str, reference: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Everything that an image consists of, unpacked, in pieces: manifests, configuration, layers."""
        found = self.manifest(name, reference)
        assert found is not None, reference
        digest, said = found
        yield f"manifest {digest}", iter([json.dumps(said).encode()])
        for each in said.get("manifests", ()):  # one image for each architecture, and what was noted of the build
            yield from self.parts(name, each["digest"])
        for each in [said["config"], *said["layers"]] if "layers" in said else []:
            pieces = self._blob(name, each["digest"])
            packed = each["mediaType"].endswith("gzip")
            yield f"{each['mediaType']} {each['digest']}", _unpacked(pieces) if packed else pieces

    def _blob(self, name: str, digest: str) -> Iterator[bytes]:
        """A blob in pieces; at its end it is what its digest says."""
        counted, connection = hashlib.sha256(), HTTPConnection(self.host, timeout=60)
        try:
            connection.request("GET", f"/v2/{name}/blobs/{digest}", headers=self.ecr.credentials)
            response = connection.getresponse()
            assert response.status == 200, digest
            while piece := response.read(_PIECE):
                counted.update(piece)
                yield piece
        finally:
            connection.close()
        assert digest == f"sha256:{counted.hexdigest()}"


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    for piece in pieces:
        yield unpacker.decompress(piece)
    yield unpacker.flush()
    assert unpacker.eof
    assert not unpacker.unused_data


def found_in(pieces: Iterable[bytes], words: Mapping[str, str]) -> set[str]:
    """The names of the words that occur, also across two pieces. A layer has each file in one piece."""
    wanted = {name: word.encode() for name, word in words.items()}
    kept, found, before = max(map(len, wanted.values())), set[str](), b""
    for piece in pieces:
        window = before + piece
        found |= {name for name, word in wanted.items() if word in window}
        before = window[-kept:]
    return found


@contextmanager
def an_image_registry() -> Iterator[ImageRegistry]:
    """A registry that wants ECR's user and a password, with nothing in it."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("There is no docker-registry here to push the image to: apt-get install docker-registry")
    with TemporaryDirectory(prefix="image-registry-") as folder:
        registry = ImageRegistry(Ecr(f"127.0.0.1:{free_port()}", PASSWORD))
        (Path(folder) / "htpasswd").write_text(_HTPASSWD, "utf-8")
        config = Path(folder) / "config.yml"
        config.write_text(_CONFIG.format(folder=folder, host=registry.host), "utf-8")
        log = Path(folder) / "log"
        with (
            log.open("wb") as lines,
            subprocess.Popen([program, "serve", config], stdout=lines, stderr=lines) as process,
        ):
            try:
                deadline = time.monotonic() + _START_S
                while not _answers(registry):
                    assert process.poll() is None, log.read_text("utf-8")
                    assert time.monotonic() < deadline, "docker-registry does not answer"
                    time.sleep(0.05)
                yield registry
            finally:
                process.terminate()


def _answers(registry: ImageRegistry) -> bool:
    try:
        status, _, _ = registry.ecr.ask("GET", "/v2/")
    except ConnectionError:
        return False
    assert status == 200, "docker-registry does not take the password"
    return True

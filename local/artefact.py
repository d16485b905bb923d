"""What `sam build` made, in figures: `python -m local.artefact .aws-sam/build` prints the layer's size and a hash.

The hash is of names, contents and which files may be run, so that two builds of the same sources have the same one.
"""

import hashlib
import sys
from pathlib import Path

LAYER = "CoreLayer"
MIB = 1024**2
LAYER_LIMIT = 25 * MIB
"""Bytes of the layer, unzipped. boto3 is none of them: Lambda's runtime brings it, and AWS keeps it up to date; one of
our own would be almost three times as large as all the rest (33 MB). What is tested runs with the version that
requirements-dev.txt pins."""

_OURS = {".built", "local.yaml"}
"""Beside the build, not of it."""


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def digest(folder: Path) -> str:
    """A hash of all that is built."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in _OURS:
            found.update(f"{name}\0{bool(path.stat().st_mode & 0o100)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def main(folder: Path) -> int:
    """Print both; 1 if the layer is too large."""
    layer = size(folder / LAYER)
    print(f"layer: {layer / MIB:.1f} MB unzipped, of {LAYER_LIMIT // MIB} at most; all: sha256 {digest(folder)[:16]}…")
    return int(layer > LAYER_LIMIT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Workspaces that were backed up: snapshots made of names and contents, without a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant.stores import schema
from assistant.stores.dynamodb import Update
from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs
from assistant.turns.agents import Generation
from assistant.workspace import manifest
from assistant.workspace.backing_up import entry_of
from assistant.workspace.model import NOTHING, File, Folder, Link, Manifest, Root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_s3 import S3Client

    from assistant.stores.dynamodb import Table
    from assistant.workspace.model import Entry, Snapshot

BUCKET = "workspaces"


def back_up(
    runtime: Table,
    s3: S3Client,
    chat: str,
    files: Mapping[str, bytes],
    *,
    at: float,
    links: Mapping[str, str] | None = None,
    bucket: str = BUCKET,
) -> Snapshot:
    """Commit a snapshot with these files, all as old as their place says: the first is the newest."""
    blobs, snapshots = S3Blobs(s3, bucket, chat), DynamoSnapshots(runtime)
    if snapshots.head(chat).generation == 0:
        runtime.update(schema.agent_partition(chat), schema.AGENT_ITEM, Update(put={"generation": 1}))
    head = snapshots.head(chat)
    entries: list[Entry] = [Link(path, target) for path, target in (links or {}).items()]
    folders = {path[:end] for path in [*files, *(links or {})] for end, letter in enumerate(path) if letter == "/"}
    entries += [Folder(path, 0o755) for path in sorted(folders)]
    for place, (path, data) in enumerate(files.items()):
        digest = manifest.digest_of(data)
        blobs.put(digest, data)
        entries.append(File(path, len(data), 0o644, int((at - 60 * place) * 1e9), digest))
    made = Manifest(
        chat_id=chat,
        number=head.number + 1,
        generation=head.generation,
        created_at=int(at),
        parent=head.key,
        gc_epoch=head.gc_epoch,
        contained=NOTHING,
        trees={Root.WORKSPACE: entries},
        left_out=[],
    )
    data = manifest.encoded(made)
    entry = entry_of(made, manifest.digest_of(data))
    blobs.put_manifest(entry.key, data)
    assert snapshots.commit(Generation(chat, head.generation), entry, head)
    return entry

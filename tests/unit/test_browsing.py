"""/files: what a phone shows of a workspace, and which file is sent."""

from __future__ import annotations

import pytest

from assistant.stores.snapshots import DynamoSnapshots
from assistant.stores.workspaces import S3Blobs
from assistant.telegram.parts import PART_UNITS
from assistant.turns.errands import Asked, Document, Errand, Reply
from assistant.turns.exporting import MOST_BYTES
from assistant.workspace import browsing
from assistant.workspace.archive import Archive
from assistant.workspace.browsing import NOTHING, UNREADABLE, Browsing
from local.small_s3 import SmallS3
from tests.doubles import CHAT, NOON, World
from tests.workspaces import BUCKET, back_up

FILES = {"notes/today.md": b"x" * 2048, "notes/old.md": b"old", "list.txt": b"milk\neggs\n", "empty": b""}


class Shelf:
    """A workspace that people ask for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.s3 = SmallS3(world.clock.now)
        snapshots = DynamoSnapshots(world.runtime)
        self.browse = Browsing(
            lambda chat: Archive(chat, S3Blobs(self.s3.as_client(), BUCKET, chat), snapshots), world.clock
        )

    def back_up(self, files: dict[str, bytes], links: dict[str, str] | None = None, chat: str = CHAT) -> None:
        back_up(self.world.runtime, self.s3.as_client(), chat, files, at=self.world.clock.now(), links=links)

    def files(self, text: str = "", chat: str = CHAT) -> Reply:
        return self.browse(Asked(chat, 1), Errand("files", text, 1, NOON, NOON, NOON + 1))


@pytest.fixture
def shelf(world: World) -> Shelf:
    return Shelf(world)


def test_without_a_backup_there_is_nothing(shelf: Shelf) -> None:
    shelf.back_up(FILES, chat="43")

    assert shelf.files() == Reply(NOTHING)


def test_a_workspace_without_files_says_so(shelf: Shelf) -> None:
    shelf.back_up({})

    assert shelf.files() == Reply("No files yet. Last backup: just now.")


def test_a_small_workspace_is_listed_the_newest_first(shelf: Shelf) -> None:
    shelf.back_up(FILES)
    shelf.world.clock.advance(300)

    assert shelf.files().text.split("\n") == [
        "4 files, 2.1 kB",
        "Last backup: 5 minutes ago",
        "",
        "notes/today.md",
        "2.0 kB, 5 minutes ago",
        "",
        "notes/old.md",
        "3 bytes, 6 minutes ago",
        "",
        "list.txt",
        "10 bytes, 7 minutes ago",
        "",
        "empty",
        "0 bytes, 8 minutes ago",
        "",
        "To get one: /files notes/today.md",
    ]


def test_of_a_large_one_the_newest_and_the_biggest_are_shown(shelf: Shelf) -> None:
    shelf.back_up({f"{number:03d}": b"x" * number for number in range(200)})

    text = shelf.files().text

    assert text.startswith("200 files, 20 kB\n")
    newest, _, biggest = text.partition("Biggest:")
    assert [line for line in newest.split("\n") if line.isdecimal()] == [f"{number:03d}" for number in range(8)]
    assert [line for line in biggest.split("\n") if line.isdecimal()] == ["199", "198", "197", "196"]


def test_the_newest_backup_counts(shelf: Shelf) -> None:
    shelf.back_up({"one": b"1"})
    shelf.back_up({"two": b"2"})

    assert "\none\n" not in shelf.files().text


def test_a_list_fits_into_one_message_whatever_the_names(shelf: Shelf) -> None:
    name = "\N{GRINNING FACE}" * 60
    shelf.back_up({f"{name}/{name}/{name}{number}": b"x" for number in range(50)})

    assert len(shelf.files().text.encode("utf-16-le")) // 2 <= PART_UNITS
    assert len(shelf.files("x").text) <= PART_UNITS


@pytest.mark.parametrize(
    "asked",
    ["notes/today.md", "./notes/today.md", "/notes/today.md", "`notes/today.md`", " notes/today.md ", "TODAY.md"],
)
def test_a_file_is_sent_by_its_path_or_a_name_that_only_it_has(shelf: Shelf, asked: str) -> None:
    shelf.back_up(FILES)

    assert shelf.files(asked) == Reply(
        "notes/today.md\nas backed up just now", Document("today.md", FILES["notes/today.md"])
    )


def test_a_name_that_several_have_is_a_question(shelf: Shelf) -> None:
    shelf.back_up({"a/x.md": b"1", "b/x.md": b"2"})

    reply = shelf.files("x.md")

    assert reply.document is None
    assert reply.text.endswith("Did you mean:\n\n/files a/x.md\n/files b/x.md")


@pytest.mark.parametrize("asked", ["notes/todya.md", "tody.md", "notes/today", "TODAY"])
def test_a_near_miss_is_answered_with_what_was_meant(shelf: Shelf, asked: str) -> None:
    shelf.back_up(FILES)

    assert "/files notes/today.md" in shelf.files(asked).text


def test_what_is_nothing_like_anything_is_not_there(shelf: Shelf) -> None:
    shelf.back_up(FILES)

    assert shelf.files("qqqqqq") == Reply("There is no qqqqqq in my workspace. /files lists what there is.")


def test_a_folder_is_not_sent_and_what_is_in_it_is_listed(shelf: Shelf) -> None:
    shelf.back_up(FILES | {f"many/{number}": b"x" for number in range(10)})

    assert shelf.files("notes").text == (
        "notes is a folder with 2 files. I send one at a time:\n\n/files notes/old.md\n/files notes/today.md"
    )
    assert shelf.files("many/").text.endswith("/files many/7\n… and 2 more")


def test_a_folder_without_files(shelf: Shelf) -> None:
    shelf.back_up({}, links={"a/b": "c"})

    assert shelf.files("a") == Reply("a is a folder without files.")


def test_a_link_says_where_it_leads(shelf: Shelf) -> None:
    shelf.back_up({"d/e": b"1"}, links={"d/f": "e"})

    assert shelf.files("d/f") == Reply("d/f is a link to e. Ask for that.")


def test_what_is_too_large_for_a_bot_is_left_to_the_owner(shelf: Shelf) -> None:
    shelf.back_up({"big": b"x" * (MOST_BYTES + 1), "fits": b"x" * MOST_BYTES})

    assert shelf.files("big").text.startswith("big has 50 MB; I may send at most 50 MB here.")
    document = shelf.files("fits").document
    assert document is not None
    assert len(document.data) == MOST_BYTES


def test_an_empty_file_can_not_be_sent(shelf: Shelf) -> None:
    shelf.back_up(FILES)

    assert shelf.files("empty").document is None


def test_a_name_that_is_no_text_is_shown_and_found(shelf: Shelf) -> None:
    shelf.back_up({"caf\0e9\n.txt": b"1"})

    assert "\ncaf\ufffd\ufffd.txt\n" in shelf.files().text
    assert shelf.files("caf\ufffd\ufffd.txt").document == Document("caf\ufffd\ufffd.txt", b"1")


@pytest.mark.parametrize("kind", ["blobs", "snapshots"])
def test_what_is_damaged_is_not_sent(shelf: Shelf, kind: str) -> None:
    shelf.back_up({"one": b"1"})
    for key in [key for key in shelf.s3.objects if f"/{kind}/" in key]:
        shelf.s3.put_object(Key=key, Body=b"2")

    assert shelf.files("one") == Reply(UNREADABLE)


def test_what_is_missing_is_not_sent(shelf: Shelf) -> None:
    shelf.back_up({"one": b"1"})
    shelf.s3.objects.clear()

    assert shelf.files() == Reply(UNREADABLE)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (50_000_000, "50 MB"),
        (2_500_000_000, "2.5 GB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_sizes(number: int, said: str) -> None:
    assert browsing.size(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86_400, "1 day ago")],
)
def test_ages(seconds: float, said: str) -> None:
    assert browsing.ago(seconds) == said

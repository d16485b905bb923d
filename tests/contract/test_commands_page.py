"""docs/commands.md, README ↔ what the commands answer."""

import os
import re
from xml.etree import ElementTree as ET

import pytest

from assistant.turns import texts
from tests.contract import commands_page

README = commands_page.DOCS.parent / "README.md"


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    return commands_page.transcripts()


def test_the_transcripts_are_what_the_commands_answer(said: dict[str, str]) -> None:
    written = commands_page.PAGE.read_text("utf-8")
    made = commands_page.page(written, said)
    if os.environ.get("UPDATE_DOCS"):
        commands_page.PAGE.write_text(made, "utf-8")
        written = made

    assert set(re.findall(r"<!-- begin (\S+) -->\n```text\n", written)) == set(said)
    assert written == made, f"docs/commands.md is out of date: {commands_page.REGENERATE}"


def test_the_picture_shows_the_transcripts(said: dict[str, str]) -> None:
    made = commands_page.picture(said)
    if os.environ.get("UPDATE_DOCS"):
        commands_page.PICTURE.write_text(made, "utf-8")

    shown = ["".join(element.itertext()) for element in ET.fromstring(made).iter() if element.tag.endswith("text")]
    assert shown == [line for command, text in said.items() for line in [command, *text.split("\n")] if line]
    there = commands_page.PICTURE.read_text("utf-8") if commands_page.PICTURE.exists() else ""
    assert there == made, f"docs/commands.svg is out of date: {commands_page.REGENERATE}"


COMMANDS = re.findall(r"^(/\w+)(?: <\w+>)? – ", texts.HELP + texts.AGENT_HELP, re.MULTILINE)


def test_the_page_lists_the_commands_of_the_help_in_their_order() -> None:
    listed = re.findall(r"^\| `(/\w+)` \|", commands_page.PAGE.read_text("utf-8"), re.MULTILINE)

    assert listed == COMMANDS


def test_the_page_says_what_each_command_waits_for() -> None:
    rows = re.findall(
        r"^\| `/(\w+)` \|.*\| (at once|in its turn) \|$", commands_page.PAGE.read_text("utf-8"), re.MULTILINE
    )

    assert {command for command, when in rows if when == "in its turn"} == texts.QUEUED_COMMANDS.keys()


def test_the_readme_names_every_command() -> None:
    section = README.read_text("utf-8").partition("## Talk to it")[2].partition("\n|")[0]

    assert set(re.findall(r"`(/\w+)`", section)) == set(COMMANDS)

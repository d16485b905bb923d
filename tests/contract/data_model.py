"""docs/data-model.md as data: its items, their keys as patterns, their attributes."""

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

from assistant.turns.chain import load_chain

PAGE = Path(__file__).parents[2] / "docs" / "data-model.md"

PLACEHOLDERS = {
    "chat id": r"-?\d+",
    "id": ".+",
    "generation": r"\d+",
    "provider id": "|".join(re.escape(provider.id) for provider in load_chain().providers),
    "Telegram user id or group chat id": r"-?\d+",
    "update id": r"\d+",
    "user id": r"\d+",
    "notice": r"[a-z_]+#\S+",
    "YYYY-MM": r"\d{4}-\d\d",
    "YYYY-MM-DD": r"\d{4}-\d\d-\d\d",
    "YYYY-MM-DDTHH:MM": r"\d{4}-\d\d-\d\dT\d\d:\d\d",
}
"""What a name in angle brackets stands for; `<…, n digits>` explains itself."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of an item's table. `pattern` matches the attribute's name; `type` is DynamoDB's."""

    name: str
    pattern: re.Pattern[str]
    type: str
    optional: bool
    planned: bool
    writers: frozenset[str]


@dataclass(slots=True)
class Item:
    """One section of the page. `writers` write its items; attributes may name fewer."""

    name: str
    table: str
    planned: bool
    pk: re.Pattern[str]
    sk: re.Pattern[str]
    writers: frozenset[str]
    attributes: list[Attribute] = field(default_factory=list)

    def attribute(self, name: str) -> Attribute | None:
        """The row that an attribute's name matches."""
        return next((row for row in self.attributes if row.pattern.fullmatch(name)), None)


def read() -> list[Item]:
    """The items in the page's order.

    Raises:
        KeyError: a key or an attribute holds a placeholder that PLACEHOLDERS does not explain.
    """
    text = html.unescape(PAGE.read_text("utf-8"))
    items = []
    for table, sections in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        for name, section in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", sections, re.MULTILINE | re.DOTALL):
            items.append(_item(name, table, section))
    return items


def _item(name: str, table: str, section: str) -> Item:
    keys = dict(re.findall(r"`(pk|sk) = ([^`]+)`", section))
    item = Item(
        name,
        table,
        planned=section.startswith("*planned"),
        pk=_pattern(keys.get("pk", "<chat id>")),
        sk=_pattern(keys["sk"]),
        writers=_writers(section),
    )
    header: list[str] = []
    for row in re.findall(r"^\|(.*)\|$", section, re.MULTILINE):
        cells = [cell.strip() for cell in row.split("|")]
        if not header:
            header = cells
        elif set(row) - set("|-: "):
            item.attributes.append(_attribute(dict(zip(header, cells, strict=True)), item.writers))
    return item


def _writers(section: str) -> frozenset[str]:
    """The modules after "Writer:" up to the sentence's end; what stands in parentheses only explains."""
    sentence = re.search(r"Writer: (.*?)(?:\.\s|\.$|$)", re.sub(r"\s*\([^)]*\)", "", section), re.MULTILINE)
    return frozenset(sentence[1].strip().split(", ")) if sentence else frozenset()


def _attribute(cells: dict[str, str], writers: frozenset[str]) -> Attribute:
    name, kind = cells["attribute"], cells["type"]
    return Attribute(
        name,
        _pattern(name),
        kind.rstrip("?"),
        optional=kind.endswith("?") or "<" in name,
        planned=cells["meaning"].startswith("*planned"),
        writers=frozenset(cells["writer"].split(", ")) if "writer" in cells else writers,
    )


def _pattern(shape: str) -> re.Pattern[str]:
    """A key or name with placeholders as a pattern."""
    parts = re.split(r"<([^>]+)>", shape)
    return re.compile("".join(_placeholder(part) if place % 2 else re.escape(part) for place, part in enumerate(parts)))


def _placeholder(name: str) -> str:
    digits = re.search(r", (\d+) digits$", name)
    return rf"\d{{{digits[1]}}}" if digits else f"(?:{PLACEHOLDERS[name]})"

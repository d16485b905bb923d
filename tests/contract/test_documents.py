"""The documents ↔ the files they link to."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _links(document: Path) -> Iterator[str]:
    """Targets of links to other files of the project; what stands in code is no link."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


def test_every_link_between_documents_leads_to_a_file() -> None:
    broken = [
        f"{document.relative_to(ROOT)} → {target}"
        for document in DOCUMENTS
        for target in _links(document)
        if not (document.parent / target).exists()
    ]

    assert broken == []

"""docs/state-machine.md ↔ statemachine/turn.asl.json, chain.toml."""

import os
import re

from assistant.turns.chain import load_chain
from tests.contract import asl_picture
from tests.contract import state_machine as asl

MACHINE = asl.read()


def test_the_page_is_made_from_the_state_machine_and_the_chain() -> None:
    made = asl_picture.page(MACHINE, load_chain())
    if os.environ.get("UPDATE_DOCS"):
        asl_picture.PAGE.write_text(made, "utf-8")

    there = asl_picture.PAGE.read_text("utf-8") if asl_picture.PAGE.exists() else ""
    assert there == made, f"docs/state-machine.md is out of date: {asl_picture.REGENERATE}"


def test_the_picture_shows_every_way_between_states() -> None:
    arrow = re.compile(r"^ +(\w+)\S*(?: \)\))? -\.?->(?:\|[^|]+\|)? (\w+)", re.MULTILINE)
    arrows = set(arrow.findall("\n".join(asl_picture.picture(MACHINE))))

    ways = {(edge.source, edge.target) for edge in asl.edges(MACHINE)}
    assert arrows == ways | {("start", "PrepareTurn"), ("DeliverReply", "over")}

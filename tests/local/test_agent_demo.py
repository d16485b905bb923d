"""What the agent's demo reckons from what it sees, and what it says where there is no agent."""

from io import StringIO

import pytest
from rich.console import Console

from local import agent_image
from local.agent_demo import Told, run
from local.fargate import Asked
from local.simulators.answers import question_of
from local.stage import BUILD_DIR, StageError
from local.watched_agent import READS, per_hour


def test_an_hour_is_reckoned_from_the_time_between_requests_of_the_kind() -> None:
    requests = [Asked(100.0 + 5 * number, "dynamodb:Query") for number in range(4)]
    requests.insert(1, Asked(102.0, "dynamodb:UpdateItem"))

    assert per_hour(requests, READS) == 720
    assert per_hour(requests[:2], READS) is None


@pytest.mark.parametrize(
    ("states", "lane"),
    [
        (("PrepareTurn", "RouteTurn", "AskCopilot", "AskClaude", "DeliverReply"), "chat lane"),
        (("PrepareTurn", "RouteTurn", "AskCopilot", "AskAgent", "DeliverReply"), "agent"),
        (("PrepareTurn", "RouteTurn", "AskAgent", "AskCopilot", "DeliverReply"), "chat lane"),
        ((), "chat lane"),
    ],
)
def test_whoever_was_asked_last_has_answered(states: tuple[str, ...], lane: str) -> None:
    assert Told("text", 1.0, states, 5, "copilot").lane == lane


def test_what_the_agent_puts_round_a_message_is_not_quoted() -> None:
    said = (
        '[Fri 2026-11-27 04:31 UTC] <conversation_history>\n<message role="user">old</message>\n'
        "</conversation_history>\n\nand now?\n\nRuntime: agent=main | session=x"
    )
    internal = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"

    messages = [{"role": "user", "content": said}, {"role": "user", "content": internal}]
    assert question_of(messages) == "and now?"


def test_without_openclaw_the_demo_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_image, "is_installed", lambda: False)

    with pytest.raises(StageError, match=r"make \.node/\.installed"):
        run(Console(file=StringIO()), build_dir=BUILD_DIR)

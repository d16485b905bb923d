"""What the owner is told, when, and when not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import get_args

import pytest

from assistant.errors import DeliveryFailed, DeliveryRefused
from assistant.turns import notices
from assistant.turns.chain import load_chain
from assistant.turns.model import Notice, NoticeKind
from assistant.turns.notices import ALARM_TEXTS, AlarmChange
from assistant.turns.notifying import NO_OWNER, NOTHING_TO_TELL, REFUSED, TOLD, Notification
from tests.contract import template
from tests.doubles import RecordedMessenger
from tests.payloads import EVENTS

RAISED = AlarmChange("serverless-openclaw-none-left", "ALARM", "OK")
REJECTED = Notice("provider_rejected", "copilot", "unauthorized")


@dataclass
class PlainOwner:
    """The owner's settings in memory."""

    chat: str | None = "99"

    def owner_chat(self) -> str | None:
        return self.chat


@pytest.fixture
def messenger() -> RecordedMessenger:
    return RecordedMessenger()


def test_the_documented_event_is_read() -> None:
    event = json.loads((EVENTS / "tell_owner_alarm.json").read_text("utf-8"))

    assert notices.parse(event) == RAISED


@pytest.mark.parametrize("notice", [REJECTED, Notice("agent_fails", reason="exit code 1", chat_id="-42")])
def test_a_notice_is_read_as_it_was_sent(notice: Notice) -> None:
    assert notices.parse(json.loads(json.dumps(asdict(notice)))) == notice


def test_the_stored_notice_is_read() -> None:
    assert notices.parse(json.loads((EVENTS / "tell_owner_notice.json").read_text("utf-8"))) == REJECTED


@pytest.mark.parametrize("event", [None, {}, [], {"kind": "other", "provider": "x", "reason": "y"}, {"detail": {}}])
def test_anything_else_is_an_error(event: object) -> None:
    with pytest.raises(ValueError, match="neither"):
        notices.parse(event)


def test_an_alarm_reaches_the_owner(messenger: RecordedMessenger) -> None:
    event = json.loads((EVENTS / "tell_owner_alarm.json").read_text("utf-8"))

    assert Notification(PlainOwner(), messenger)(event) == TOLD

    ((chat, text),) = messenger.sent
    assert chat == "99"
    assert text.startswith("No language model was left")


def test_without_an_owner_nothing_is_sent(messenger: RecordedMessenger) -> None:
    assert Notification(PlainOwner(None), messenger)(asdict(REJECTED)) == NO_OWNER
    assert messenger.sent == []


def test_a_message_that_did_not_go_out_is_an_error_so_that_the_event_comes_again(messenger: RecordedMessenger) -> None:
    messenger.trouble = [DeliveryFailed("no way")]

    with pytest.raises(DeliveryFailed):
        Notification(PlainOwner(), messenger)(asdict(REJECTED))


@pytest.mark.parametrize("refusal", ["bot was blocked by the user", "chat not found"])
def test_an_owner_whose_chat_takes_nothing_is_not_tried_again(messenger: RecordedMessenger, refusal: str) -> None:
    messenger.trouble = [DeliveryRefused(refusal)]

    assert Notification(PlainOwner(), messenger)(asdict(REJECTED)) == REFUSED


@pytest.mark.parametrize(
    ("state", "before"),
    [
        ("OK", "INSUFFICIENT_DATA"),
        ("OK", "OK"),
        ("ALARM", "ALARM"),
        ("INSUFFICIENT_DATA", "ALARM"),
        ("INSUFFICIENT_DATA", "OK"),
    ],
)
def test_what_is_no_news_is_not_told(messenger: RecordedMessenger, state: str, before: str) -> None:
    event = json.loads((EVENTS / "tell_owner_alarm.json").read_text("utf-8"))
    event["detail"] |= {"state": {"value": state}, "previousState": {"value": before}}

    assert Notification(PlainOwner(), messenger)(event) == NOTHING_TO_TELL
    assert messenger.sent == []


def test_a_new_alarm_is_told_although_nothing_was_known_before() -> None:
    assert notices.text(replace(RAISED, before="INSUFFICIENT_DATA")) == notices.text(RAISED)


@pytest.mark.parametrize("suffix", ALARM_TEXTS)
def test_every_alarm_says_what_happened_what_to_do_and_that_it_is_over(suffix: str) -> None:
    raised = notices.text(AlarmChange(f"a-stack-{suffix}", "ALARM", "OK"))
    over = notices.text(AlarmChange(f"a-stack-{suffix}", "OK", "ALARM"))

    assert raised is not None
    assert "\n\nWhat to do: " in raised
    assert over is not None
    assert over.startswith("It is over.")


def test_every_alarm_of_the_template_has_its_text_and_the_reverse() -> None:
    names = {template.text(one["AlarmName"]) for one in template.resources("AWS::CloudWatch::Alarm").values()}

    assert names == {f"${{AWS::StackName}}-{suffix}" for suffix in ALARM_TEXTS}


def test_an_alarm_that_nobody_wrote_a_text_for_is_named() -> None:
    assert notices.text(AlarmChange("somebody-elses", "ALARM", "OK")) == (
        "The alarm somebody-elses is in the state ALARM. CloudWatch shows why."
    )


@pytest.mark.parametrize("provider", load_chain().providers, ids=lambda provider: provider.id)
def test_a_provider_that_refuses_us_is_called_by_its_name_with_its_secret(provider: object) -> None:
    one = next(each for each in load_chain().providers if each is provider)

    told = notices.text(Notice("provider_rejected", one.id, "unknown_model"))

    assert told is not None
    assert told.startswith(f"{one.name} refuses to answer me: unknown model.")
    assert one.secret in told


def test_a_provider_that_left_the_chain_is_called_by_its_id() -> None:
    told = notices.text(Notice("provider_rejected", "old-one", "unauthorized"))

    assert told is not None
    assert told.startswith("old-one refuses to answer me: unauthorized.")


@pytest.mark.parametrize("kind", get_args(NoticeKind.__value__))
@pytest.mark.parametrize("reason", ["exit code 1", ""])
def test_every_notice_is_read_as_it_was_sent_and_says_what_to_do(kind: NoticeKind, reason: str) -> None:
    notice = Notice(kind, provider="copilot", reason=reason, chat_id="-42")

    assert notices.parse(asdict(notice)) == notice
    said = notices.text(notice)
    assert said is not None
    assert len(said.split("\n\n")) >= 2

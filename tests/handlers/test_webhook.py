"""The webhook: what it answers, what it stores, and what it never says."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from telegram import Chat, User

import webhook
from assistant.observability import logger
from assistant.turns import texts
from assistant.turns.waking import Waking
from tests import payloads
from tests.doubles import CHAT, RecordedExecutions, World, a_world
from tests.handlers.conftest import REMINDERS, RUNNERS
from tests.payloads import BOT, GROUP, GROUP_ID, SECRET, UPDATES, USER_ID, http_event, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.turns.model import ChatClaim
    from tests.handlers.conftest import Deployed


class Hook:
    """The webhook over a world; keeps the names of the requests that reach DynamoDB."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[str] = []
        self._updates = payloads.UPDATE_ID
        world.conversations.client.meta.events.register_first("before-call.dynamodb", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        self.requests.append(model.name)

    def take(self, event: dict[str, Any]) -> Any:
        """Handle an event; the method call in the answer, or None."""
        answer = webhook.handle(event, self.world.accept, lambda: SECRET, BOT)
        assert answer["statusCode"] == 200
        if "body" not in answer:
            return None
        assert answer["headers"] == {"content-type": "application/json"}
        return json.loads(answer["body"])

    def post(self, update: dict[str, Any], **how: Any) -> Any:
        """Take an update under an id and message id of its own, unless it is to be repeated."""
        if not how.pop("again", False):
            self._updates += 1
        fresh = update | {"update_id": self._updates}
        if "message" in fresh:
            fresh["message"] = fresh["message"] | {"message_id": self._updates}
        return self.take(http_event(fresh, **how))

    def allow(self, *ids: int) -> None:
        self.world.allow(*(str(who) for who in ids))
        self.requests.clear()

    def limit(self, per_minute: int) -> None:
        self.world.accept = replace(self.world.accept, messages_per_minute=per_minute)

    def items(self) -> list[dict[str, Any]]:
        """Everything that is stored in either table, the allow-list apart."""
        found: list[Any] = []
        for table in (self.world.conversations, self.world.runtime):
            found += table.client.scan(TableName=table.name)["Items"]
        return [item for item in found if item["pk"]["S"] != "ALLOWED"]

    def inbox(self, chat: str = CHAT) -> list[tuple[str, str]]:
        """Kind and text of what waits in a chat."""
        return [(message.kind, message.text) for message in self.world.turns.waiting(chat, limit=100)[1]]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with a_world(own_client=True) as world:
        yield Hook(world)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions log, as it would be written."""
    written_lines = io.StringIO()
    handler = logging.StreamHandler(written_lines)
    handler.setFormatter(logger.registered_formatter)
    logger.addHandler(handler)
    yield written_lines
    logger._logger.removeHandler(handler)


TYPING = {"method": "sendChatAction", "chat_id": USER_ID, "action": "typing"}


def saying(text: str) -> dict[str, Any]:
    return {"method": "sendMessage", "chat_id": USER_ID, "text": text}


# --- the secret


@pytest.mark.parametrize(
    "secret",
    [None, "", "wrong", SECRET[:-1], f"{SECRET}x", SECRET.upper(), "schlüssel", "\ud83d", f"{SECRET},{SECRET}"],
)
def test_without_the_secret_nothing_happens(hook: Hook, secret: str | None) -> None:
    event = http_event(UPDATES["text"], secret)

    assert webhook.handle(event, hook.world.accept, lambda: SECRET, BOT) == {"statusCode": 401}
    assert hook.requests == []
    assert hook.world.executions.started == []


def test_no_secret_does_not_match_an_empty_one(hook: Hook) -> None:
    event = http_event(UPDATES["text"], None)

    assert webhook.handle(event, hook.world.accept, lambda: "", BOT) == {"statusCode": 401}


def test_a_secret_may_be_changed_to_one_that_is_not_ascii(hook: Hook) -> None:
    event = http_event(UPDATES["text"], "schlüssel")

    assert webhook.handle(event, hook.world.accept, lambda: "schlüssel", BOT)["statusCode"] == 200


# --- messages


@pytest.mark.parametrize("in_base64", [False, True])
def test_a_message_is_stored_and_its_turn_started(hook: Hook, in_base64: bool) -> None:
    assert hook.post(UPDATES["text_emoji"], in_base64=in_base64) == TYPING

    assert hook.inbox() == [("text", "Was heißt 🧑‍🚀 auf Englisch?")]
    assert [claim.chat_id for claim in hook.world.executions.started] == [CHAT] == [str(USER_ID)]


def test_a_repeat_is_stored_once_and_wakes_again(hook: Hook) -> None:
    starts = count_starts(hook.world)

    assert [hook.post(UPDATES["text"], again=count > 0) for count in range(3)] == [TYPING] * 3

    assert len(hook.inbox()) == 1
    assert [claim.execution for claim in starts] == ["chat42-1"] * 3


def test_a_repeat_long_after_the_answer_asks_nobody(hook: Hook) -> None:
    hook.post(UPDATES["text"])
    hook.world.run_all()
    hook.world.clock.advance(6 * 86400)

    hook.post(UPDATES["text"], again=True)

    hook.world.run_all()
    assert len(hook.world.texts()) == 1
    assert hook.inbox() == []


def count_starts(world: World) -> list[ChatClaim]:
    starts: list[ChatClaim] = []

    class Counted(RecordedExecutions):
        def start(self, claim: ChatClaim) -> None:
            starts.append(claim)
            super().start(claim)

    world.executions = Counted()
    rewire(world)
    return starts


def rewire(world: World) -> None:
    """Put the world's executions where its webhook starts them."""
    world.waking = Waking(world.claims, world.executions)
    world.accept = replace(world.accept, waking=world.waking)


def test_a_failed_start_is_repeated_by_telegram_and_then_starts(hook: Hook) -> None:
    class FailsOnce(RecordedExecutions):
        failed = False

        def start(self, claim: ChatClaim) -> None:
            if not self.failed:
                self.failed = True
                raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
            super().start(claim)

    hook.world.executions = FailsOnce()
    rewire(hook.world)

    with pytest.raises(ClientError):
        hook.post(UPDATES["text"])
    assert len(hook.inbox()) == 1
    assert hook.post(UPDATES["text"], again=True) == TYPING

    assert len(hook.inbox()) == 1
    hook.world.run_all()
    assert len(hook.world.texts()) == 1


def test_transactions_that_collide_still_store(hook: Hook) -> None:
    conflicts = iter(range(3))

    def collide(**_: Any) -> Any:
        """Answer as DynamoDB does (TransactionCanceledException, CancellationReasons), in botocore's own way."""
        if next(conflicts, None) is None:
            return None
        reasons = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]
        error = {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"}
        parsed = {"Error": error, "CancellationReasons": reasons, "ResponseMetadata": {}}
        return AWSResponse("", 400, HTTPHeaders(), None), parsed

    hook.world.conversations.client.meta.events.register("before-call.dynamodb.TransactWriteItems", collide)

    assert hook.post(UPDATES["text"]) == TYPING

    assert list(conflicts) == []
    assert len(hook.inbox()) == 1
    assert len(hook.world.executions.started) == 1


# --- what is refused for good


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b'{"message": {"text": "the treasure"}}', id="no update"),
        pytest.param(json.dumps(UPDATES["text"]).encode().ljust(1024 * 1024 + 1), id="too large"),
    ],
)
def test_what_is_no_update_is_forgotten(hook: Hook, log: io.StringIO, body: bytes) -> None:
    assert hook.take(http_event(body)) is None

    assert hook.requests == []
    assert '"message":"update refused"' in log.getvalue()
    assert "treasure" not in log.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"body": None},
        {"body": "not base64!", "isBase64Encoded": True},
        {"body": "schön", "isBase64Encoded": True},
        {"body": "//79", "isBase64Encoded": True},
        {"body": '"\ud83d"'},
    ],
)
def test_a_body_that_is_no_text_is_forgotten(hook: Hook, changes: dict[str, Any]) -> None:
    assert hook.take(http_event(UPDATES["text"]) | changes) is None
    assert hook.requests == []


def test_an_event_without_a_body_is_forgotten(hook: Hook) -> None:
    event = http_event(UPDATES["text"])
    del event["body"]

    assert hook.take(event) is None


@pytest.mark.parametrize(
    "name",
    [
        "edited",
        "channel_post",
        "callback_query",
        "inline_query",
        "my_chat_member",
        "members_joined",
        "pinned",
        "forum_topic_created",
        "group_anonymous_admin",
        "group_linked_channel",
    ],
)
def test_what_is_not_for_us_is_ignored(hook: Hook, log: io.StringIO, name: str) -> None:
    hook.allow(GROUP_ID)

    assert hook.post(UPDATES[name]) is None
    assert hook.requests == []
    assert '"message":"update ignored"' in log.getvalue()


def test_an_update_of_a_kind_of_tomorrow_is_ignored(hook: Hook) -> None:
    assert hook.post({"hologram": {"text": "the treasure"}}) is None
    assert hook.requests == []


@pytest.mark.parametrize("name", ["group_text", "group_command_for_another"])
def test_a_group_talks_among_itself(hook: Hook, name: str) -> None:
    hook.allow(GROUP_ID)

    assert hook.post(UPDATES[name]) is None
    assert hook.requests == []


# --- who may speak


def stranger(text: str = "the treasure") -> dict[str, Any]:
    ivan = User(666, "Ivan", is_bot=False)
    return payloads.update(message=payloads.message(Chat(666, Chat.PRIVATE), ivan, text=text))


def test_a_stranger_is_told_once_a_day_how_to_be_allowed(hook: Hook) -> None:
    first = hook.post(stranger())
    assert first == {"method": "sendMessage", "chat_id": 666, "text": texts.not_allowed("666", None)}
    assert "666" in first["text"]

    assert [hook.post(stranger(text)) for text in ("again", "/start", "/new")] == [None, None, None]
    hook.world.clock.advance(86400)
    assert hook.post(stranger()) == first


def test_of_a_stranger_only_the_days_mark_is_stored(hook: Hook) -> None:
    hook.post(stranger())
    hook.post(stranger("/new"))

    (mark,) = hook.items()
    assert mark.keys() == {"pk", "sk", "ttl"}
    assert "treasure" not in str(mark)
    assert hook.world.executions.started == []


def test_in_a_group_the_group_has_to_be_allowed_too(hook: Hook) -> None:
    refused = hook.post(UPDATES["group_mention"])

    assert str(GROUP_ID) in refused["text"]
    assert str(USER_ID) in refused["text"]
    assert refused["reply_parameters"]["allow_sending_without_reply"]
    assert hook.inbox(str(GROUP_ID)) == []


def test_in_a_group_the_sender_has_to_be_allowed_too(hook: Hook) -> None:
    hook.allow(GROUP_ID)
    ivan = User(666, "Ivan", is_bot=False)
    text = f"@{BOT} hello"
    update = payloads.update(message=payloads.message(GROUP, ivan, text=text, entities=payloads.entities(text)))

    assert "666" in hook.post(update)["text"]
    assert hook.inbox(str(GROUP_ID)) == []


@pytest.mark.parametrize("name", ["group_mention", "group_reply"])
def test_an_allowed_group_is_answered(hook: Hook, name: str) -> None:
    hook.allow(GROUP_ID)

    assert hook.post(UPDATES[name]) == TYPING | {"chat_id": GROUP_ID}
    assert len(hook.inbox(str(GROUP_ID))) == 1


def test_a_group_that_became_a_supergroup_goes_on_as_the_same(hook: Hook) -> None:
    hook.allow(-5)

    assert hook.post(UPDATES["migrated"]) is None
    assert hook.post(UPDATES["migrated"], again=True) is None
    hook.requests.clear()
    assert hook.post(UPDATES["group_mention"]) == TYPING | {"chat_id": GROUP_ID}
    assert len(hook.inbox("-5")) == 1  # with all that was said before
    assert hook.inbox(str(GROUP_ID)) == []
    assert hook.requests.count("GetItem") == 3  # the sender, the group, and what it was


def test_a_group_that_was_not_allowed_is_not_as_a_supergroup_either(hook: Hook) -> None:
    hook.post(UPDATES["migrated"])

    assert str(GROUP_ID) in hook.post(UPDATES["group_mention"])["text"]


def test_a_group_whose_first_id_is_denied_is_denied(hook: Hook) -> None:
    hook.allow(-5)
    hook.post(UPDATES["migrated"])

    runtime = hook.world.runtime
    runtime.client.delete_item(**runtime.key("ALLOWED", "-5"))

    assert str(GROUP_ID) in hook.post(UPDATES["group_mention"])["text"]


def test_a_topic_is_answered_in_its_topic(hook: Hook) -> None:
    hook.allow(GROUP_ID)

    assert hook.post(UPDATES["forum_topic"]) == TYPING | {"chat_id": GROUP_ID, "message_thread_id": 99}


# --- commands


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("/start", texts.at_once("start", "text")),
        ("/start deep-link", texts.at_once("start", "text")),
        ("/help", texts.HELP),
        (f"/HELP@{BOT}", texts.HELP),
        ("/new", texts.at_once("new", "text")),
        ("/weather Oslo", texts.at_once("weather", "text")),
    ],
)
def test_commands_are_carried_out_at_once_and_once(hook: Hook, text: str, reply: str) -> None:
    assert hook.post(written(text)) == saying(reply)
    assert hook.post(written(text), again=True) is None

    assert hook.inbox() == []
    assert hook.world.executions.started == []


@pytest.mark.parametrize(
    ("command", "reads"), [("usage", ["Query", "Query"]), ("providers", ["Query"])], ids=["usage", "providers"]
)
def test_reports_are_answered_at_once_and_once_even_while_a_turn_runs(
    hook: Hook, command: Literal["usage", "providers"], reads: list[str]
) -> None:
    hook.post(written("a question"))
    hook.world.prepare(hook.world.executions.started[0])
    hook.requests.clear()

    assert hook.post(written(f"/{command}")) == saying(hook.world.reporting(command))

    assert hook.requests[: -len(reads)] == ["GetItem", *reads, "PutItem"]
    assert hook.post(written(f"/{command.upper()}@{BOT}"), again=True) is None
    assert hook.inbox() == []
    assert len(hook.world.executions.started) == 1


def test_a_report_that_could_not_be_read_is_given_when_telegram_repeats(hook: Hook) -> None:
    reporting = hook.world.accept.reporting
    hook.world.accept = replace(hook.world.accept, reporting=unreadable)
    with pytest.raises(ClientError):
        hook.post(written("/usage"))

    hook.world.accept = replace(hook.world.accept, reporting=reporting)

    assert hook.post(written("/usage"), again=True) == saying(hook.world.reporting("usage"))


def unreadable() -> NoReturn:
    raise ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")


def test_a_report_in_a_group_answers_the_one_who_asked(hook: Hook) -> None:
    hook.allow(GROUP_ID)
    reply = hook.post(written(f"/providers@{BOT}", GROUP))

    assert reply["chat_id"] == GROUP_ID
    assert reply["reply_parameters"]["allow_sending_without_reply"]
    assert reply["text"] == hook.world.reporting("providers")


def test_a_stranger_gets_no_report(hook: Hook) -> None:
    assert "my owner" in hook.post(stranger("/usage"))["text"]
    assert "Query" not in hook.requests


def test_new_forgets_the_conversation(hook: Hook) -> None:
    hook.post(written("my name is Ada"))
    hook.world.run_all()
    hook.post(written("/new"))
    hook.post(written("who am I?"))
    hook.world.run_all()

    assert [said.text for said in hook.world.models["copilot"].asked[-1]] == ["who am I?"]


@pytest.mark.parametrize("command", ["retry", "again"])
def test_commands_that_need_the_turn_wait_for_it(hook: Hook, command: str) -> None:
    assert hook.post(written(f"/{command}")) == TYPING
    assert hook.inbox() == [(command, "")]
    assert len(hook.world.executions.started) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("voice", "voice"), ("photo", "photo"), ("document", "document"), ("video_note", "video note")]
)
def test_kinds_that_can_not_be_read_yet_get_a_clear_reply(hook: Hook, name: str, kind: str) -> None:
    reply = hook.post(UPDATES[name])

    assert f"({kind})" in reply["text"]
    assert hook.post(UPDATES[name], again=True) is None
    assert hook.inbox() == []


# --- the limit of a chat


def test_twenty_messages_a_minute_and_one_notice(hook: Hook) -> None:
    answers = [hook.post(written(f"message {number}")) for number in range(23)]

    assert answers == [TYPING] * 20 + [saying(texts.too_many(20)), None, None]
    assert len(hook.inbox()) == 20

    hook.world.clock.advance(60)
    assert hook.post(written("later")) == TYPING
    assert hook.inbox()[-1] == ("text", "later")


def test_each_minute_has_its_own_notice(hook: Hook) -> None:
    hook.limit(2)
    for _ in range(2):
        answers = [hook.post(written("message")) for _ in range(4)]
        assert answers == [TYPING, TYPING, saying(texts.too_many(2)), None]
        hook.world.clock.advance(60)


def test_a_repeat_does_not_count_and_is_not_too_many(hook: Hook) -> None:
    hook.limit(2)
    answers = [hook.post(UPDATES["text"], again=again) for again in (False, True, False, True)]

    assert answers == [TYPING] * 4


def test_a_message_that_was_too_many_is_stored_when_it_is_sent_again_later(hook: Hook) -> None:
    hook.limit(1)
    hook.post(written("first"))
    hook.post(written("second"))
    hook.world.clock.advance(60)

    assert hook.post(written("second")) == TYPING
    assert hook.inbox() == [("text", "first"), ("text", "second")]


def test_the_limit_of_one_chat_is_not_that_of_another(hook: Hook) -> None:
    hook.allow(GROUP_ID)
    hook.limit(1)
    hook.post(UPDATES["text"])

    assert hook.post(UPDATES["text"]) == saying(texts.too_many(1))
    assert hook.post(UPDATES["group_mention"]) == TYPING | {"chat_id": GROUP_ID}


# --- what is said about it


def test_no_log_line_holds_what_was_written_or_a_secret(hook: Hook, log: io.StringIO) -> None:
    hook.allow(GROUP_ID)
    for update in UPDATES.values():
        hook.post(update)
    hook.post(stranger())
    webhook.handle(http_event(UPDATES["text"], "wrong-secret"), hook.world.accept, lambda: SECRET, BOT)

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len(lines) == len(UPDATES) + 2
    for content in ("Norway", "Englisch", "Oslo", "Family", "Ada", "eight", "notes.pdf", "treasure", "-secret"):
        assert content not in log.getvalue()
    assert {"update_id", "chat_id", "kind", "response"} <= lines[0].keys()


# --- the function as Lambda calls it


@pytest.mark.parametrize("command", ["usage", "providers"])
def test_the_real_wiring_reports(deployed: Deployed, command: str) -> None:
    deployed.environment.setenv("BOT_USERNAME", BOT)
    deployed.allow(USER_ID)

    answer = deployed.post(written(f"/{command}"))

    assert "GitHub Copilot" in json.loads(answer["body"])["text"]


def test_every_stored_event_is_answered_by_the_real_wiring(deployed: Deployed) -> None:
    deployed.environment.setenv("BOT_USERNAME", BOT)
    deployed.allow(USER_ID)
    deployed.allow(GROUP_ID)
    answers = {}
    for path in sorted(payloads.EVENTS.glob("webhook_*.json")):
        event = json.loads(path.read_text("utf-8"))
        if path.stem != "webhook_wrong_secret":
            event["headers"][webhook.SECRET_HEADER] = deployed.outside.secrets["telegram-webhook-secret"]
        answers[path.stem] = deployed.call("webhook", event)

    assert answers.pop("webhook_wrong_secret") == {"statusCode": 401}
    assert {answer["statusCode"] for answer in answers.values()} == {200}
    assert json.loads(answers["webhook_base64"]["body"])["method"] == "sendChatAction"


NEEDED_SELDOM = {
    "httpx",
    "httpx_sse",
    "assistant.providers",
    "assistant.telegram.client",
    "assistant.stores.ledger",
    "assistant.stores.usage",
    "assistant.turns.reporting",
    "assistant.turns.controlling",
    "assistant.stores.wakers",
    "assistant.turns.reminding",
    "assistant.turns.stopping",
    "assistant.stores.stops",
    "assistant.stores.turns",
    "assistant.stores.agents",
    "assistant.stores.tokens",
    "assistant.stores.hours",
    "assistant.stores.reminders",
    "assistant.stores.conversations",
    "assistant.stores.errands",
    "assistant.stores.workspaces",
    "assistant.workspace",
    "zoneinfo",
}
"""An HTTP client, S3, and what reports, reminds or stops: a user waits for what the webhook imports."""


@pytest.mark.parametrize("look_up", ["", "webhook.handler;"])
def test_the_webhook_imports_no_more_than_a_message_needs(look_up: str) -> None:
    script = f"import sys, webhook; {look_up} print(*sys.modules)"
    environment = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "CONVERSATIONS_TABLE": "c",
        "RUNTIME_TABLE": "r",
        "STATE_MACHINE_ARN": "a",
        "SECRETS_PATH": "/s/",
        "BOT_USERNAME": BOT,
        "HISTORY_DAYS": "7",
        "MESSAGES_PER_MINUTE": "20",
        "CLAUDE_DOLLARS_PER_MONTH": "5",
        "CARRY_OVER": "off",
        "AGENT_MODE": "off",
        "AGENT_HOURS_PER_MONTH": "40",
        "START_AGENT_FUNCTION": "",
        **REMINDERS,
        **RUNNERS,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "POWERTOOLS_METRICS_DISABLED": "true",
    }

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=True)

    loaded = set(done.stdout.decode().split())
    assert "assistant.turns.accepting" in loaded or not look_up
    assert not NEEDED_SELDOM & loaded


def test_the_module_has_a_handler_and_nothing_else_that_is_made_on_demand() -> None:
    with pytest.raises(AttributeError):
        webhook.other  # noqa: B018

"""Telegram's simulator checks what Telegram checks, and remembers what the chats were sent."""

from typing import Any

import httpx
import pytest
import telegram

from local.simulators import TelegramFault, TelegramSimulator
from local.simulators.telegram_flood import FloodLimits
from local.simulators.telegram_html import EntityError, plain_text
from local.simulators.telegram_requests import utf16_units

TOKEN = "7000000000:AAE_token-of-the-test"
CHAT = 42
GROUP = -1001234567890


class SettableClock:
    at = 1_794_300_000.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def simulator(clock: SettableClock) -> TelegramSimulator:
    return TelegramSimulator(clock, TOKEN, hang_limit_s=0.1, slow_s=0.05)


def call(simulator: TelegramSimulator, method: str, token: str = TOKEN, **parameters: Any) -> httpx.Response:
    with httpx.Client(transport=httpx.WSGITransport(app=simulator), base_url="http://simulated") as client:
        return client.post(f"/bot{token}/{method}", json=parameters)


def send(simulator: TelegramSimulator, text: str = "Hello", chat_id: int = CHAT, **extra: Any) -> httpx.Response:
    return call(simulator, "sendMessage", chat_id=chat_id, text=text, **extra)


def description(response: httpx.Response) -> str:
    body = response.json()
    assert body["ok"] is False
    assert body["error_code"] == response.status_code
    return str(body["description"])


def test_a_message_is_delivered_and_answered_as_telegrams_own_type(
    simulator: TelegramSimulator, clock: SettableClock
) -> None:
    response = send(simulator, reply_parameters={"message_id": 7}, message_thread_id=3)

    (sent,) = simulator.sent_to(CHAT)
    assert (sent.text, sent.at, sent.reply_to, sent.thread_id) == ("Hello", clock.at, 7, 3)
    message = telegram.Message.de_json(response.json()["result"], None)
    assert (message.message_id, message.text, message.chat.id) == (sent.message_id, "Hello", CHAT)
    assert message.chat.type == "private"


def test_message_ids_grow_across_bot_and_users(simulator: TelegramSimulator) -> None:
    first = send(simulator).json()["result"]["message_id"]
    of_user = simulator.next_message_id()
    second = send(simulator).json()["result"]["message_id"]

    assert first < of_user < second


def test_parameters_may_come_as_a_form(simulator: TelegramSimulator) -> None:
    with httpx.Client(transport=httpx.WSGITransport(app=simulator), base_url="http://simulated") as client:
        assert client.post(f"/bot{TOKEN}/sendmessage", data={"chat_id": "42", "text": "Hi"}).status_code == 200
        assert client.get(f"/bot{TOKEN}/getMe").json()["result"]["is_bot"] is True

    assert simulator.sent_to(CHAT)[0].text == "Hi"


@pytest.mark.parametrize(
    ("token", "status", "said"),
    [("7000000000:other", 401, "Unauthorized"), ("no-token", 404, "Not Found")],
)
def test_a_wrong_token_is_refused(simulator: TelegramSimulator, token: str, status: int, said: str) -> None:
    response = call(simulator, "getMe", token=token)

    assert (response.status_code, description(response)) == (status, said)


def test_an_unknown_method_is_not_found(simulator: TelegramSimulator) -> None:
    assert description(call(simulator, "sendPigeon")) == "Not Found"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"text": ""}, "message text is empty"),
        ({"text": " \n "}, "message text is empty"),
        ({"text": "<b></b>", "parse_mode": "HTML"}, "message text is empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "🐢" * 2049}, "message is too long"),
        ({"text": "x", "parse_mode": "Fancy"}, "unsupported parse_mode"),
        ({"text": "x", "chat_id": None}, "chat_id is empty"),
        ({"text": "x", "chat_id": "me"}, "wrong parameter chat_id in request"),
        ({"text": "x", "reply_parameters": 5}, "can't parse reply parameters JSON object"),
        (
            {"text": "a < b", "parse_mode": "HTML"},
            "can't parse entities: Unclosed start tag at byte offset 2",
        ),
    ],
)
def test_bad_requests(simulator: TelegramSimulator, parameters: dict[str, Any], said: str) -> None:
    response = call(simulator, "sendMessage", **({"chat_id": CHAT} | parameters))

    assert (response.status_code, description(response)) == (400, f"Bad Request: {said}")
    assert simulator.sent == []


@pytest.mark.parametrize("text", ["x" * 4096, "🐢" * 2048])
def test_the_longest_text_counts_utf16_units(simulator: TelegramSimulator, text: str) -> None:
    assert utf16_units(text) == 4096
    assert send(simulator, text).status_code == 200


def test_length_counts_after_the_entities_are_parsed(simulator: TelegramSimulator) -> None:
    assert send(simulator, f"<b>{'&amp;' * 4096}</b>", parse_mode="HTML").status_code == 200
    assert simulator.sent[0].text == "&" * 4096


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a &lt; b &amp; c", "a < b & c"),
        ("<b>bold <i>both</i></b>", "bold both"),
        ('<pre><code class="language-python">x = 1</code></pre>', "x = 1"),
        ('<a href="https://example.org">link</a>', "link"),
        ('<span class="tg-spoiler">hidden</span>', "hidden"),
        ("<blockquote expandable>quote</blockquote>", "quote"),
        ("<B>upper</b>", "upper"),
        ("a > b & c &nbsp;", "a > b & c &nbsp;"),
        ("&#8364; &#x20AC;", "€ €"),
    ],
)
def test_html_that_telegram_takes(source: str, expected: str) -> None:
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("🏟 🏟&lt;<abacaba", "Unclosed start tag at byte offset 13"),
        ("🏟 🏟&lt;<abac aba>", 'Unsupported start tag "abac" at byte offset 13'),
        ("🏟 🏟&lt;<i    aba>", 'Can\'t find end tag corresponding to start tag "i"'),
        ("🏟 🏟&lt;</", "Unexpected end tag at byte offset 13"),
        ("🏟 🏟&lt;<b></b></", "Unexpected end tag at byte offset 20"),
        ("🏟 🏟&lt;<i>a</i   ", "Unclosed end tag at byte offset 17"),
        ("🏟 🏟&lt;<i>a</em   >", 'Unmatched end tag at byte offset 17, expected "</i>", found "</em>"'),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("1 < 2 and 3 > 2", "Unclosed start tag at byte offset 2"),
    ],
)
def test_html_that_telegram_refuses_as_tdlibs_own_tests_say(source: str, said: str) -> None:
    with pytest.raises(EntityError) as refused:
        plain_text(source)

    assert str(refused.value) == said


def test_who_blocked_the_bot_and_who_never_was_there(simulator: TelegramSimulator) -> None:
    simulator.blocked_by.add(CHAT)
    simulator.unknown_chats.add(43)

    blocked, unknown = send(simulator), send(simulator, chat_id=43)

    assert (blocked.status_code, description(blocked)) == (403, "Forbidden: bot was blocked by the user")
    assert (unknown.status_code, description(unknown)) == (400, "Bad Request: chat not found")


def test_bursts_are_tolerated_and_then_a_message_a_second(clock: SettableClock) -> None:
    simulator = TelegramSimulator(clock, TOKEN, limits=FloodLimits(chat_burst=3))

    statuses = [send(simulator).status_code for _ in range(4)]
    refused = send(simulator)
    other_chat = send(simulator, chat_id=43)
    clock.at += refused.json()["parameters"]["retry_after"]

    assert statuses == [200, 200, 200, 429]
    assert description(refused) == "Too Many Requests: retry after 1"
    assert other_chat.status_code == 200
    assert send(simulator).status_code == 200


def test_groups_get_twenty_a_minute_and_all_chats_together_thirty_a_second(clock: SettableClock) -> None:
    simulator = TelegramSimulator(clock, TOKEN)

    in_group = [send(simulator, chat_id=GROUP) for _ in range(21)]
    elsewhere = [send(simulator, chat_id=chat_id).status_code for chat_id in range(1, 12)]

    assert [response.status_code for response in in_group] == [200] * 20 + [429]
    assert in_group[-1].json()["parameters"] == {"retry_after": 60}
    assert elsewhere == [200] * 10 + [429]


def test_chat_actions_are_remembered_and_checked(simulator: TelegramSimulator) -> None:
    good = call(simulator, "sendChatAction", chat_id=CHAT, action="typing")
    bad = call(simulator, "sendChatAction", chat_id=CHAT, action="yawning")

    assert good.json() == {"ok": True, "result": True}
    assert description(bad) == "Bad Request: wrong parameter action in request"
    assert [(action.chat_id, action.action) for action in simulator.actions] == [(CHAT, "typing")]


def test_a_webhooks_answer_is_carried_out(simulator: TelegramSimulator) -> None:
    simulator.perform({"method": "sendChatAction", "chat_id": CHAT, "action": "typing"})
    simulator.perform(None)

    assert len(simulator.actions) == 1
    with pytest.raises(ValueError, match="chat_id is empty"):
        simulator.perform({"method": "sendMessage", "text": "x"})


def draft(simulator: TelegramSimulator, text: str | None = None, draft_id: Any = 1, **extra: Any) -> httpx.Response:
    parameters = {"chat_id": CHAT, "draft_id": draft_id} | ({} if text is None else {"text": text}) | extra
    return call(simulator, "sendMessageDraft", **parameters)


def edit(simulator: TelegramSimulator, message_id: int, text: str, chat_id: int = CHAT, **extra: Any) -> httpx.Response:
    return call(simulator, "editMessageText", chat_id=chat_id, message_id=message_id, text=text, **extra)


def test_drafts_are_shown_and_are_no_messages(simulator: TelegramSimulator, clock: SettableClock) -> None:
    thinking = draft(simulator)
    clock.at += 1
    partial = draft(simulator, "<b>Hel</b>", parse_mode="HTML")

    assert thinking.json()["result"] is partial.json()["result"] is True
    assert [(each.text, each.at) for each in simulator.drafts] == [("", clock.at - 1), ("Hel", clock.at)]
    assert [each.text for each in simulator.shown_drafts(CHAT)] == ["Hel"]
    assert simulator.sent == []


def test_a_draft_lasts_half_a_minute_from_its_last_update(simulator: TelegramSimulator, clock: SettableClock) -> None:
    draft(simulator, "one")
    clock.at += 29
    draft(simulator, "two")
    draft(simulator, "another", draft_id=2)
    clock.at += 29.5
    still_there = [each.text for each in simulator.shown_drafts(CHAT)]
    clock.at += 0.5

    assert still_there == ["two", "another"]
    assert simulator.shown_drafts(CHAT) == []


def test_a_message_takes_its_chats_drafts_away(simulator: TelegramSimulator) -> None:
    draft(simulator, "Hel")
    draft(simulator, "other chat", chat_id=43)
    send(simulator, "Hello")

    assert simulator.shown_drafts(CHAT) == []
    assert [each.text for each in simulator.shown_drafts(43)] == ["other chat"]
    assert len(simulator.drafts) == 2


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"chat_id": GROUP}, "TEXTDRAFT_PEER_INVALID"),
        ({"draft_id": 0}, "draft_id must be non-zero"),
        ({"draft_id": None}, "draft_id must be non-zero"),
        ({"draft_id": "first"}, "wrong parameter draft_id in request"),
        ({"text": "🐢" * 2049}, "message is too long"),
        (
            {"text": "<b>Hel", "parse_mode": "HTML"},
            "can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
    ],
)
def test_bad_drafts(simulator: TelegramSimulator, parameters: dict[str, Any], said: str) -> None:
    response = draft(simulator, **parameters)

    assert (response.status_code, description(response)) == (400, f"Bad Request: {said}")
    assert simulator.drafts == []


def test_drafts_are_not_flood_limited(simulator: TelegramSimulator) -> None:
    assert {draft(simulator, "x" * at).status_code for at in range(100)} == {200}
    assert send(simulator).status_code == 200


def test_editing_changes_a_message(simulator: TelegramSimulator, clock: SettableClock) -> None:
    message_id = send(simulator).json()["result"]["message_id"]
    sent_at = clock.at
    clock.at += 2
    edited = edit(simulator, message_id, "<i>Hello</i> again", parse_mode="HTML")

    (shown,) = simulator.sent_to(CHAT)
    assert (shown.text, shown.at) == ("Hello again", sent_at)
    assert telegram.Message.de_json(edited.json()["result"], None).text == "Hello again"
    assert [(each.message_id, each.text, each.at) for each in simulator.edits] == [
        (message_id, "Hello again", clock.at)
    ]


def test_edits_that_are_refused(simulator: TelegramSimulator) -> None:
    message_id = send(simulator).json()["result"]["message_id"]

    assert "Bad Request: message is not modified" in description(edit(simulator, message_id, "Hello"))
    assert description(edit(simulator, 999, "x")) == "Bad Request: message to edit not found"
    assert description(edit(simulator, message_id, "x", chat_id=43)) == "Bad Request: message to edit not found"
    assert description(edit(simulator, message_id, " ")) == "Bad Request: message text is empty"
    assert description(edit(simulator, message_id, "x" * 4097)) == "Bad Request: message is too long"
    assert simulator.edits == []


def test_a_deleted_message_is_gone(simulator: TelegramSimulator) -> None:
    first, second = (send(simulator, text).json()["result"]["message_id"] for text in ("one", "two"))
    deleted = call(simulator, "deleteMessage", chat_id=CHAT, message_id=first)
    again = call(simulator, "deleteMessage", chat_id=CHAT, message_id=first)

    assert deleted.json() == {"ok": True, "result": True}
    assert description(again) == "Bad Request: message to delete not found"
    assert description(edit(simulator, first, "x")) == "Bad Request: message to edit not found"
    assert [message.message_id for message in simulator.sent_to(CHAT)] == [second]
    assert simulator.deleted == [first]


def test_edits_and_messages_in_a_group_count_together(simulator: TelegramSimulator, clock: SettableClock) -> None:
    message_id = send(simulator, chat_id=GROUP).json()["result"]["message_id"]
    edits = []
    for at in range(20):
        clock.at += 1.5
        edits.append(edit(simulator, message_id, f"text {at}", chat_id=GROUP))
    refused = send(simulator, chat_id=GROUP)
    clock.at += refused.json()["parameters"]["retry_after"]

    assert [response.status_code for response in edits] == [200] * 19 + [429]
    assert description(refused) == "Too Many Requests: retry after 30"
    assert send(simulator, chat_id=GROUP).status_code == 200
    assert send(simulator, chat_id=GROUP).status_code == 429
    assert simulator.sent_to(GROUP)[0].text == "text 18"


def test_the_webhook_is_set_told_and_deleted(simulator: TelegramSimulator) -> None:
    url = "https://example.org/telegram"
    call(simulator, "setWebhook", url=url, secret_token="s3cret", allowed_updates=["message"])
    call(simulator, "setWebhook", url=url)
    told = call(simulator, "getWebhookInfo").json()["result"]
    call(simulator, "deleteWebhook")

    assert (told["url"], told["allowed_updates"]) == (url, ["message"])
    assert call(simulator, "getWebhookInfo").json()["result"]["url"] == ""
    assert "HTTPS" in description(call(simulator, "setWebhook", url="http://example.org"))
    assert "secret token" in description(call(simulator, "setWebhook", url=url, secret_token="no good"))


def test_a_429_is_met_as_often_as_ordered(simulator: TelegramSimulator) -> None:
    simulator.retry_after_s = 5
    simulator.order(TelegramFault.THROTTLED)

    refused, accepted = send(simulator), send(simulator)

    assert refused.json()["parameters"] == {"retry_after": 5}
    assert accepted.status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "delivered"),
    [
        (TelegramFault.SERVER_ERROR, 500, 0),
        (TelegramFault.DELIVERED_BAD_GATEWAY, 502, 1),
        (TelegramFault.SLOW, 200, 1),
    ],
)
def test_faults_with_an_answer(simulator: TelegramSimulator, fault: TelegramFault, status: int, delivered: int) -> None:
    simulator.order(fault)

    assert send(simulator).status_code == status
    assert len(simulator.sent) == delivered


@pytest.mark.parametrize(
    ("fault", "delivered"),
    [(TelegramFault.CLOSED, 0), (TelegramFault.DELIVERED_CLOSED, 1), (TelegramFault.HANG, 0)],
)
def test_faults_without_an_answer(simulator: TelegramSimulator, fault: TelegramFault, delivered: int) -> None:
    simulator.order(fault)

    with pytest.raises(ConnectionAbortedError):
        send(simulator)
    assert len(simulator.sent) == delivered


def test_a_fault_is_for_one_method_until_cleared(simulator: TelegramSimulator) -> None:
    simulator.order(TelegramFault.SERVER_ERROR, times=None, method="sendChatAction")

    assert send(simulator).status_code == 200
    assert call(simulator, "sendChatAction", chat_id=CHAT, action="typing").status_code == 500
    simulator.clear()
    assert call(simulator, "sendChatAction", chat_id=CHAT, action="typing").status_code == 200


def test_one_can_wait_for_a_message(simulator: TelegramSimulator) -> None:
    send(simulator)

    assert simulator.wait_for(lambda sent: len(sent) == 1, deadline_s=1)
    assert not simulator.wait_for(lambda sent: len(sent) == 2, deadline_s=0.01)


# Files


def upload(simulator: TelegramSimulator, data: bytes = b"abc", **form: str) -> httpx.Response:
    with httpx.Client(transport=httpx.WSGITransport(app=simulator), base_url="http://simulated") as client:
        files = {"document": ("a.txt", data)}
        return client.post(f"/bot{TOKEN}/sendDocument", data={"chat_id": str(CHAT)} | form, files=files)


def test_a_file_is_delivered_with_its_caption(simulator: TelegramSimulator) -> None:
    response = upload(simulator, caption="a file", message_thread_id="3", reply_parameters='{"message_id": 7}')

    assert response.status_code == 200
    (sent,), (document,) = simulator.sent_to(CHAT), simulator.documents
    assert (sent.text, sent.thread_id, sent.reply_to) == ("a file", 3, 7)
    assert (document.message_id, document.name, document.data) == (sent.message_id, "a.txt", b"abc")


def test_a_file_that_telegram_would_not_take_is_refused(simulator: TelegramSimulator) -> None:
    assert description(call(simulator, "sendDocument", chat_id=CHAT)).endswith("there is no document in the request")
    assert description(upload(simulator, b"")).endswith("file must be non-empty")
    assert description(upload(simulator, caption="x" * 1025)).endswith("message caption is too long")
    assert upload(simulator, b"x" * (50 * 1024 * 1024 + 1)).status_code == 413
    assert simulator.sent == []

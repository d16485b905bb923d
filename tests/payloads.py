"""What invokes the functions from outside: Telegram's updates, and the ends of the agent's tasks.

Updates are built with python-telegram-bot's types, so that their shape is not our invention. `python -m tests.payloads`
writes all to `tests/events/`, updates as the events that the HTTP API hands to the webhook; they are read by tests and
by `sam local invoke Webhook --event tests/events/webhook_text.json`.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import telegram
from telegram import Chat, Message, MessageEntity, User

EVENTS = Path(__file__).parent / "events"
BOT = "openclaw_bot"
SECRET = "a-webhook-secret"  # of nobody
USER_ID = 42
GROUP_ID = -1_001_234_567_890
UPDATE_ID = 500_000_001
MESSAGE_ID = 7
DATE = datetime(2026, 11, 22, 12, tzinfo=UTC)

USER = User(USER_ID, "Ada", is_bot=False, username="ada", language_code="en")
BOT_USER = User(7_000_000_000, "OpenClaw", is_bot=True, username=BOT)
GROUP_ANONYMOUS_BOT = User(1_087_968_824, "Group", is_bot=True, username="GroupAnonymousBot")
TELEGRAM_ITSELF = User(777_000, "Telegram", is_bot=False)
PRIVATE = Chat(USER_ID, Chat.PRIVATE, username="ada", first_name="Ada")
GROUP = Chat(GROUP_ID, Chat.SUPERGROUP, title="Family")
FORUM = Chat(GROUP_ID, Chat.SUPERGROUP, title="Family", is_forum=True)
CHANNEL = Chat(-1_009_999_999_999, Chat.CHANNEL, title="News")

type Json = dict[str, Any]


def message(chat: Chat = PRIVATE, sender: User | None = USER, **content: Any) -> Message:
    return Message(MESSAGE_ID, DATE, chat, from_user=sender, **content)


def update(**kind: Any) -> Json:
    return telegram.Update(UPDATE_ID, **kind).to_dict()


def written(text: str, chat: Chat = PRIVATE, **more: Any) -> Json:
    """A text message with the entities that Telegram marks: commands and mentions."""
    return update(message=message(chat, text=text, entities=entities(text), **more))


def entities(text: str) -> list[MessageEntity]:
    """Offsets count UTF-16 code units (Bot API, "MessageEntity")."""
    found = []
    at = 0
    for word in text.split(" "):
        place = len(text[:at].encode("utf-16-le")) // 2
        if word.startswith("/"):
            found.append(MessageEntity(MessageEntity.BOT_COMMAND, place, len(word)))
        elif word.startswith("@"):
            found.append(MessageEntity(MessageEntity.MENTION, place, len(word)))
        at += len(word) + 1
    return found


def photo() -> list[telegram.PhotoSize]:
    return [telegram.PhotoSize("photo", "unique", 90, 90, 1_500)]


def changed_member() -> telegram.ChatMemberUpdated:
    before, after = telegram.ChatMemberMember(BOT_USER), telegram.ChatMemberLeft(BOT_USER)
    return telegram.ChatMemberUpdated(PRIVATE, USER, DATE, before, after)


UPDATES: dict[str, Json] = {
    "text": written("What is the capital of Norway?"),
    "text_emoji": written("Was heißt 🧑‍🚀 auf Englisch?"),
    "command_start": written("/start"),
    "command_retry": written("/retry"),
    "command_unknown": written("/weather Oslo"),
    "group_command": written(f"/new@{BOT}", GROUP),
    "group_command_for_another": written("/new@other_bot", GROUP),
    "group_mention": written(f"🎉🎉 @{BOT} what is new?", GROUP),
    "group_reply": written("and in Sweden?", GROUP, reply_to_message=message(GROUP, BOT_USER, text="Oslo.")),
    "group_text": written("see you at eight", GROUP),
    "group_photo_mention": update(
        message=message(GROUP, photo=photo(), caption=f"@{BOT} look", caption_entities=entities(f"@{BOT} look"))
    ),
    "group_anonymous_admin": update(
        message=message(
            GROUP, GROUP_ANONYMOUS_BOT, sender_chat=GROUP, text=f"@{BOT} hi", entities=entities(f"@{BOT} hi")
        )
    ),
    "group_linked_channel": update(
        message=message(
            GROUP,
            TELEGRAM_ITSELF,
            sender_chat=CHANNEL,
            is_automatic_forward=True,
            text=f"@{BOT} hi",
            entities=entities(f"@{BOT} hi"),
        )
    ),
    "forum_topic": written(f"@{BOT} hello", FORUM, message_thread_id=99, is_topic_message=True),
    "forum_topic_created": update(
        message=message(
            FORUM,
            message_thread_id=99,
            is_topic_message=True,
            forum_topic_created=telegram.ForumTopicCreated("Trip", 7_322_096),
        )
    ),
    "thread_of_replies": written(f"@{BOT} hello", GROUP, message_thread_id=98),
    "voice": update(message=message(voice=telegram.Voice("voice", "unique", 3))),
    "photo": update(message=message(photo=photo(), caption="What is this?")),
    "document": update(message=message(document=telegram.Document("file", "unique", "notes.pdf", "application/pdf"))),
    "sticker": update(
        message=message(sticker=telegram.Sticker("sticker", "unique", 512, 512, False, False, telegram.Sticker.REGULAR))
    ),
    "video_note": update(message=message(video_note=telegram.VideoNote("note", "unique", 240, 3))),
    "location": update(message=message(location=telegram.Location(10.75, 59.91))),
    "contact": update(message=message(contact=telegram.Contact("+4700000000", "Bo"))),
    "dice": update(message=message(dice=telegram.Dice(4, telegram.Dice.DICE))),
    "members_joined": update(message=message(GROUP, new_chat_members=[BOT_USER])),
    "member_left": update(message=message(GROUP, left_chat_member=USER)),
    "pinned": update(message=message(GROUP, pinned_message=message(GROUP, text="eight"))),
    "migrated": update(message=message(Chat(-5, Chat.GROUP, title="Family"), migrate_to_chat_id=GROUP_ID)),
    "edited": update(edited_message=message(text="What is the capital of Sweden?", edit_date=DATE)),
    "channel_post": update(channel_post=message(CHANNEL, None, sender_chat=CHANNEL, text=f"@{BOT} hi")),
    "callback_query": update(
        callback_query=telegram.CallbackQuery("1", USER, "chat", message(PRIVATE, BOT_USER, text="Choose"), "yes")
    ),
    "inline_query": update(inline_query=telegram.InlineQuery("1", USER, "norway", "")),
    "my_chat_member": update(my_chat_member=changed_member()),
}


def http_event(update: Json | bytes, secret: str | None = SECRET, *, in_base64: bool = False) -> Json:
    """What API Gateway hands to the function (HTTP API developer guide, payload format 2.0)."""
    raw = update if isinstance(update, bytes) else json.dumps(update, ensure_ascii=False).encode()
    headers = {
        "accept-encoding": "gzip, deflate",
        "content-length": str(len(raw)),
        "content-type": "application/json",
        "host": "abcdefghij.execute-api.eu-west-1.amazonaws.com",
        "x-forwarded-for": "149.154.167.220",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    return {
        "version": "2.0",
        "routeKey": "POST /telegram",
        "rawPath": "/telegram",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "abcdefghij",
            "http": {
                "method": "POST",
                "path": "/telegram",
                "protocol": "HTTP/1.1",
                "sourceIp": "149.154.167.220",
                "userAgent": "",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "POST /telegram",
            "stage": "$default",
            "time": "22/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_348_800_000,
        },
        "body": base64.b64encode(raw).decode() if in_base64 else raw.decode(),
        "isBase64Encoded": in_base64,
    }


def files() -> dict[str, str]:
    """Name and content of every file in `tests/events/`."""
    events = {f"webhook_{name}.json": http_event(update) for name, update in UPDATES.items()}
    events["webhook_base64.json"] = http_event(UPDATES["text"], in_base64=True)
    events["webhook_wrong_secret.json"] = http_event(UPDATES["text"], "not-the-secret")
    return {name: json.dumps(event, indent=2, ensure_ascii=False) + "\n" for name, event in events.items()}


CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/serverless-openclaw-AgentCluster-1A2B3C4D5E6F"
TASK = "c13b4cb40f1f4fe4a2971f76ae5a47ad"


def task_stopped(
    stop_code: str, reason: str, exit_code: int | None, *, generation: int | None = 1, of_container: str | None = None
) -> Json:
    """The end of a task of the agent (Amazon ECS developer guide, "Amazon ECS task state change events").

    `exit_code` None: the container never ran; `generation` None: somebody ran the task by hand; `of_container`: what is
    said of the container itself.
    """
    task = f"{CLUSTER.replace(':cluster/', ':task/')}/{TASK}"
    given = [{"name": "CHAT_ID", "value": str(USER_ID)}, {"name": "GENERATION", "value": str(generation)}]
    container: Json = {
        "containerArn": f"{task.replace(':task/', ':container/')}/0c5c2b9f-3ad4-4a77-93dd-3c0ffee1d1e0",
        "lastStatus": "STOPPED",
        "name": "agent",
        "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/agent:1.0",
        "taskArn": task,
        "cpu": "0",
    }
    if exit_code is not None:
        container["exitCode"] = exit_code
    if of_container is not None:
        container["reason"] = of_container
    return {
        "version": "0",
        "id": "3317b2af-7005-947d-b652-f55e762e571a",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": "2026-11-22T12:00:00Z",
        "region": "eu-west-1",
        "resources": [task],
        "detail": {
            "attachments": [],
            "availabilityZone": "eu-west-1a",
            "capacityProviderName": "FARGATE_SPOT",
            "clusterArn": CLUSTER,
            "connectivity": "CONNECTED",
            "containers": [container],
            "cpu": "1024",
            "createdAt": "2026-11-22T11:40:00.000Z",
            "pullStartedAt": "2026-11-22T11:40:10.000Z",
            "desiredStatus": "STOPPED",
            "group": "family:serverless-openclaw-agent",
            "lastStatus": "STOPPED",
            "launchType": "FARGATE",
            "memory": "2048",
            "overrides": {
                "containerOverrides": [{"name": "agent"} | ({"environment": given} if generation else {})],
            },
            "platformVersion": "1.4.0",
            "startedBy": f"agent-{generation}",
            "stopCode": stop_code,
            "stoppedAt": "2026-11-22T12:00:00.000Z",
            "stoppedReason": reason,
            "taskArn": task,
            "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/serverless-openclaw-agent:1",
            "updatedAt": "2026-11-22T12:00:00.000Z",
            "version": 6,
        },
    }


_EXITED = "Essential container in task exited"
_OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
STOPPED_TASKS: dict[str, Json] = {
    "idle": task_stopped("EssentialContainerExited", _EXITED, 0),
    "crashed": task_stopped("EssentialContainerExited", _EXITED, 137, of_container=_OUT_OF_MEMORY),
    "interrupted": task_stopped("SpotInterruption", "Your Spot Task was interrupted.", 0),
    "not_started": task_stopped("TaskFailedToStart", "CannotPullContainerError: pull access denied", None),
    "stopped_by_owner": task_stopped("UserInitiated", "Task stopped by user", 143),
    "run_by_hand": task_stopped("EssentialContainerExited", _EXITED, 1, generation=None),
}


def agent_files() -> dict[str, str]:
    """Name and content of the files in `tests/events/` for what deals with the agent."""
    events = {f"agent_stopped_{name}.json": event for name, event in STOPPED_TASKS.items()}
    # As the state machine makes it, from its input and the token of the state that waits.
    events["start_agent.json"] = {"chat_id": str(USER_ID), "epoch": 1, "turn": 1, "token": "AQCgAAAAKgAAAAM"}
    rules = {"shut_down_idle": SHUT_DOWN_RULE, "back_up": BACK_UP_RULE, "warm_up": WARM_UP_RULE}
    for name, rule in rules.items():
        events[f"{name}_schedule.json"] = {
            "version": "0",
            "id": "0f5e0f4c-6e0c-4b3e-8d52-93a9d8a1a2b7",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "123456789012",
            "time": "2026-11-22T12:00:00Z",
            "region": "eu-west-1",
            "resources": [f"arn:aws:events:eu-west-1:123456789012:rule/{rule}"],
            "detail": {},
        }
    return {name: json.dumps(event, indent=2, ensure_ascii=False) + "\n" for name, event in events.items()}


SHUT_DOWN_RULE = "serverless-openclaw-ShutDownIdleEveryFiveMinutes-1A2B3C4D5E6F"
WARM_UP_RULE = "serverless-openclaw-WarmUpEveryHour-1A2B3C4D5E6F"
BACK_UP_RULE = "serverless-openclaw-BackUpEveryFiveMinutes-1A2B3C4D5E6F"


if __name__ == "__main__":
    EVENTS.mkdir(exist_ok=True)
    for name, content in (files() | agent_files()).items():
        (EVENTS / name).write_text(content, "utf-8")

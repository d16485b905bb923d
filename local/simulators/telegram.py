"""Telegram's Bot API, simulated: what a bot of one token may call, and what its chats were sent.

Sources: core.telegram.org/bots/api (methods, parameters, limits in UTF-16 units; a draft is a preview of 30
seconds, private chats only, with an empty text the placeholder "Thinking…"), the descriptions of errors as
collected in TelegramBotAPI/errors, and `TEXTDRAFT_PEER_INVALID` for a draft in a group as bots report it
(openclaw/openclaw#7803, nullclaw/nullclaw#626). The flood limits are in `telegram_flood`; drafts have none,
as far as is known.

Invented: the description of a draft_id of zero; that a message sent takes the chat's drafts away. Not checked:
whether a message that is replied to exists; who wrote a message that is edited or deleted (only the bot's are
known here); that nothing older than 48 hours can be deleted. An edit that changes nothing but the formatting
is refused as one that changes nothing.
"""

import itertools
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from werkzeug.wrappers import Request, Response

from local.simulators.faults import FaultQueue, TelegramFault, Waits, drop_connection
from local.simulators.limits import Clock
from local.simulators.provider import bad_gateway_page
from local.simulators.telegram_flood import Flood, FloodLimits
from local.simulators.telegram_records import ChatAction, Draft, SentDocument, SentMessage, Webhook
from local.simulators.telegram_requests import (
    DOCUMENT_LIMIT,
    Json,
    RefusedError,
    Upload,
    bad_request,
    chat_type,
    checked_caption,
    checked_draft,
    checked_text,
    optional_integer,
    parameters_of,
    reply_to,
    too_many_requests,
)

__all__ = ["ChatAction", "Draft", "SentMessage", "TelegramSimulator", "Webhook"]

_PATH = re.compile(r"/bot([^/]+)/(\w+)/?")
_TOKEN = re.compile(r"\d+:[\w-]+")
_SECRET_TOKEN = re.compile(r"[\w-]{1,256}", re.ASCII)
_ACTIONS = frozenset(
    "typing upload_photo record_video upload_video record_voice upload_voice upload_document choose_sticker "  # noqa: SIM905
    "find_location record_video_note upload_video_note".split()
)
_DELIVERED = {TelegramFault.DELIVERED_BAD_GATEWAY, TelegramFault.DELIVERED_CLOSED}


class TelegramSimulator:
    """A WSGI application that answers `/bot<token>/<method>`.

    Attributes:
        sent: The messages as the chats show them now: edited ones with their latest text, deleted ones gone.
        actions: The chat actions, in order.
        drafts: The drafts, in order; `shown_drafts` tells which of them are still to be seen.
        edits: The edits, in order: messages with the new text, dated with the edit.
        documents: The files, in order; their captions are the texts of messages.
        deleted: Ids of the messages that were deleted, in order.
        blocked_by: Chats that blocked the bot.
        unknown_chats: Chats that the bot has never met.
        moved: Groups that became supergroups: their old ids, and the new ones.
        webhook: What `setWebhook` set.
        slow_s: How late `TelegramFault.SLOW` answers, in real seconds.
        retry_after_s: What `TelegramFault.THROTTLED` says, in seconds.
    """

    def __init__(
        self,
        clock: Clock,
        token: str,
        *,
        limits: FloodLimits | None = None,
        hang_limit_s: float = 120.0,
        slow_s: float = 3.0,
    ) -> None:
        """Make one.

        Args:
            clock: Dates the messages and drives the flood limits.
            token: The only token that is accepted.
            limits: The flood limits; Telegram's if left out.
            hang_limit_s: Bound of `TelegramFault.HANG`, in real seconds.
            slow_s: How late `TelegramFault.SLOW` answers, in real seconds.
        """
        self.clock = clock
        self.slow_s = slow_s
        self.retry_after_s = 3
        self.sent: list[SentMessage] = []
        self.actions: list[ChatAction] = []
        self.drafts: list[Draft] = []
        self.edits: list[SentMessage] = []
        self.documents: list[SentDocument] = []
        self.deleted: list[int] = []
        self.blocked_by: set[int] = set()
        self.unknown_chats: set[int] = set()
        self.moved: dict[int, int] = {}
        self.webhook = Webhook()
        self._token = token
        self._message_ids = itertools.count(1)
        self._changed = threading.Condition()
        self._flood = Flood(limits or FloodLimits())
        self._shown_drafts: dict[tuple[int, int], Draft] = {}
        self._faults: dict[str, FaultQueue[TelegramFault]] = {}
        self._waits = Waits(hang_limit_s)
        self._methods: Mapping[str, Callable[[Json], object]] = {
            "getme": self._get_me,
            "sendmessage": self._send_message,
            "senddocument": self._send_document,
            "sendmessagedraft": self._send_message_draft,
            "sendchataction": self._send_chat_action,
            "editmessagetext": self._edit_message_text,
            "deletemessage": self._delete_message,
            "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook,
            "getwebhookinfo": self._get_webhook_info,
        }

    def order(self, fault: TelegramFault, times: int | None = 1, *, method: str = "sendMessage") -> None:
        """Let the next `times` calls of a method meet a fault; None means until `clear`."""
        self._faults.setdefault(method.lower(), FaultQueue()).order(fault, times)

    def clear(self) -> None:
        """Forget all ordered faults, and end the waits that they caused."""
        for queue in self._faults.values():
            queue.clear()
        self._waits.release()

    def close(self) -> None:
        """Let go of every call that is kept waiting."""
        self.clear()

    def next_message_id(self) -> int:
        """An id for a message that a user sends: bots and users draw from the same numbers."""
        return next(self._message_ids)

    def sent_to(self, chat_id: int) -> list[SentMessage]:
        """What a chat was sent and still shows, oldest first; edited messages have their latest text."""
        with self._changed:
            return [message for message in self.sent if message.chat_id == chat_id]

    def shown_drafts(self, chat_id: int) -> list[Draft]:
        """The drafts that a chat shows now, one for each draft id."""
        now = self.clock.now()
        with self._changed:
            shown = [draft for draft in self._shown_drafts.values() if draft.chat_id == chat_id]
        return [draft for draft in shown if draft.lasts_at(now)]

    def wait_for(self, ready: Callable[[list[SentMessage]], bool], deadline_s: float) -> bool:
        """Wait at most `deadline_s` real seconds until `ready` is true of what was sent; tell if it is."""
        with self._changed:
            return self._changed.wait_for(lambda: ready(self.sent), deadline_s)

    def perform(self, webhook_answer: Json | None) -> None:
        """Carry out the call that a webhook gave as its answer, as Telegram does; its result goes nowhere.

        Raises:
            ValueError: Telegram would have refused it.
        """
        if not webhook_answer:
            return
        parameters = dict(webhook_answer)
        try:
            self._call(str(parameters.pop("method", "")), parameters)
        except RefusedError as refused:
            raise ValueError(f"Telegram would refuse the webhook's answer: {refused}") from refused

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 (WSGI's own types)
        """The WSGI application."""
        request = Request(environ)
        try:
            response = self._respond(request)
        except RefusedError as refused:
            response = _json_response(refused.body, refused.status)
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        method = self._authorised_method(request.path)
        queue = self._faults.get(method.lower())
        fault = queue.take() if queue else None
        self._fail_before(fault, request)
        result = self._call(method, parameters_of(request))
        if fault is TelegramFault.DELIVERED_CLOSED:
            drop_connection(request.environ)
        if fault is TelegramFault.DELIVERED_BAD_GATEWAY:
            return bad_gateway_page().response()
        return _json_response({"ok": True, "result": result})

    def _authorised_method(self, path: str) -> str:
        match = _PATH.fullmatch(path)
        if not match or not _TOKEN.fullmatch(match[1]):
            raise RefusedError(404, "Not Found")
        if match[1] != self._token:
            raise RefusedError(401, "Unauthorized")
        return match[2]

    def _fail_before(self, fault: TelegramFault | None, request: Request) -> None:
        if fault is TelegramFault.THROTTLED:
            raise too_many_requests(self.retry_after_s)
        if fault is TelegramFault.SERVER_ERROR:
            raise RefusedError(500, "Internal Server Error")
        if fault is TelegramFault.HANG:
            self._waits.wait(request.environ)
        if fault is TelegramFault.SLOW:
            self._waits.wait(request.environ, self.slow_s)
        if fault in {TelegramFault.HANG, TelegramFault.CLOSED}:
            drop_connection(request.environ)

    def _call(self, method: str, parameters: Json) -> object:
        perform = self._methods.get(method.lower())
        if not perform:
            raise RefusedError(404, "Not Found")
        with self._changed:
            result = perform(parameters)
            self._changed.notify_all()
            return result

    def _get_me(self, parameters: Json) -> Json:
        del parameters
        return self._me()

    def _send_message(self, parameters: Json) -> Json:
        chat_id = self._chat(parameters)
        text = checked_text(parameters)
        quoted = reply_to(parameters)
        self._throttle(chat_id)
        message = SentMessage(
            self.next_message_id(),
            chat_id,
            text,
            self.clock.now(),
            thread_id=optional_integer(parameters, "message_thread_id"),
            reply_to=quoted,
            parse_mode=str(parameters.get("parse_mode", "")),
        )
        self.sent.append(message)
        self._shown_drafts = {key: draft for key, draft in self._shown_drafts.items() if draft.chat_id != chat_id}
        return self._as_json(message)

    def _send_document(self, parameters: Json) -> Json:
        chat_id = self._chat(parameters)
        upload = parameters.get("document")
        if not isinstance(upload, Upload):
            raise bad_request("there is no document in the request")
        if not upload.data:
            raise bad_request("file must be non-empty")
        if len(upload.data) > DOCUMENT_LIMIT:
            raise RefusedError(413, "Request Entity Too Large")
        caption = checked_caption(parameters)
        quoted = reply_to(parameters)
        self._throttle(chat_id)
        thread = optional_integer(parameters, "message_thread_id")
        message = SentMessage(self.next_message_id(), chat_id, caption, self.clock.now(), thread, quoted)
        self.sent.append(message)
        self.documents.append(SentDocument(message.message_id, chat_id, upload.name, upload.data))
        return self._as_json(message)

    def _send_message_draft(self, parameters: Json) -> bool:
        chat_id = self._chat(parameters)
        if chat_id < 0:
            raise bad_request("TEXTDRAFT_PEER_INVALID")
        draft_id = optional_integer(parameters, "draft_id")
        if not draft_id:
            raise bad_request("draft_id must be non-zero")
        draft = Draft(chat_id, draft_id, checked_draft(parameters), self.clock.now())
        self.drafts.append(draft)
        self._shown_drafts[chat_id, draft_id] = draft
        return True

    def _send_chat_action(self, parameters: Json) -> bool:
        chat_id = self._chat(parameters)
        action = str(parameters.get("action", ""))
        if action not in _ACTIONS:
            raise bad_request("wrong parameter action in request")
        self.actions.append(ChatAction(chat_id, action, self.clock.now()))
        return True

    def _edit_message_text(self, parameters: Json) -> Json:
        chat_id = self._chat(parameters)
        text = checked_text(parameters)
        at = self._find(chat_id, parameters)
        if at is None:
            raise bad_request("message to edit not found")
        if self.sent[at].text == text:
            raise bad_request(
                "message is not modified: specified new message content and reply markup are exactly the "
                "same as a current content and reply markup of the message"
            )
        self._throttle(chat_id)
        edited = replace(self.sent[at], text=text, parse_mode=str(parameters.get("parse_mode", "")))
        self.sent[at] = edited
        self.edits.append(replace(edited, at=self.clock.now()))
        return self._as_json(edited) | {"edit_date": int(self.clock.now())}

    def _delete_message(self, parameters: Json) -> bool:
        at = self._find(self._chat(parameters), parameters)
        if at is None:
            raise bad_request("message to delete not found")
        self.deleted.append(self.sent.pop(at).message_id)
        return True

    def _find(self, chat_id: int, parameters: Json) -> int | None:
        wanted = (chat_id, optional_integer(parameters, "message_id"))
        found = (at for at, message in enumerate(self.sent) if (message.chat_id, message.message_id) == wanted)
        return next(found, None)

    def _set_webhook(self, parameters: Json) -> bool:
        url = str(parameters.get("url", ""))
        secret = str(parameters.get("secret_token", ""))
        if url and not url.startswith("https://"):
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        if secret and not _SECRET_TOKEN.fullmatch(secret):
            raise bad_request("secret token contains unallowed characters")
        allowed = parameters.get("allowed_updates")
        allowed = json.loads(allowed) if isinstance(allowed, str) else allowed
        self.webhook = Webhook(url, secret, self.webhook.allowed_updates if allowed is None else allowed)
        return True

    def _delete_webhook(self, parameters: Json) -> bool:
        del parameters
        self.webhook = Webhook()
        return True

    def _get_webhook_info(self, parameters: Json) -> Json:
        del parameters
        hook = self.webhook
        info: Json = {"url": hook.url, "has_custom_certificate": False, "pending_update_count": hook.pending}
        if hook.last_error is not None:
            at, message = hook.last_error
            info |= {"last_error_date": int(at.timestamp()), "last_error_message": message}
        return info | ({"allowed_updates": self.webhook.allowed_updates} if self.webhook.allowed_updates else {})

    def _chat(self, parameters: Json) -> int:
        chat_id = optional_integer(parameters, "chat_id")
        if chat_id is None:
            raise bad_request("chat_id is empty")
        if chat_id in self.unknown_chats:
            raise bad_request("chat not found")
        if chat_id in self.moved:
            said = "Bad Request: group chat was upgraded to a supergroup chat"
            raise RefusedError(400, said, {"migrate_to_chat_id": self.moved[chat_id]})
        if chat_id in self.blocked_by:
            raise RefusedError(403, "Forbidden: bot was blocked by the user")
        return chat_id

    def _throttle(self, chat_id: int) -> None:
        wait_s = self._flood.take(chat_id, self.clock.now())
        if wait_s > 0:
            raise too_many_requests(math.ceil(wait_s))

    def _me(self) -> Json:
        bot_id = int(self._token.partition(":")[0])
        return {"id": bot_id, "is_bot": True, "first_name": "Simulated", "username": "simulated_bot"}

    def _as_json(self, message: SentMessage) -> Json:
        shown: Json = {
            "message_id": message.message_id,
            "from": self._me(),
            "chat": {"id": message.chat_id, "type": chat_type(message.chat_id)},
            "date": int(message.at),
            "text": message.text,
        }
        return shown | ({"message_thread_id": message.thread_id} if message.thread_id else {})


def _json_response(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status, mimetype="application/json")

"""Telegram's Bot API, simulated: what a bot of one token may call, and what its chats were sent.

Sources: core.telegram.org/bots/api (methods, parameters, limits in UTF-16 units),
core.telegram.org/bots/faq (about one message a second per chat with bursts tolerated, 30 a second overall,
20 a minute per group), and the descriptions of errors as collected in TelegramBotAPI/errors. Invented: how
long a burst is tolerated, and the description of a draft that is refused outside a private chat. Not
checked: whether a message that is replied to exists.
"""

import itertools
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from werkzeug.wrappers import Request, Response

from local.simulators.faults import FaultQueue, TelegramFault, Waits, drop_connection
from local.simulators.limits import Clock, TokenBucket
from local.simulators.provider import bad_gateway_page
from local.simulators.telegram_html import EntityError, plain_text

type Json = dict[str, Any]

TEXT_LIMIT = 4096
_PATH = re.compile(r"/bot([^/]+)/(\w+)/?")
_TOKEN = re.compile(r"\d+:[\w-]+")
_SECRET_TOKEN = re.compile(r"[\w-]{1,256}", re.ASCII)
_ACTIONS = frozenset(
    "typing upload_photo record_video upload_video record_voice upload_voice upload_document choose_sticker "  # noqa: SIM905
    "find_location record_video_note upload_video_note".split()
)
_DELIVERED = {TelegramFault.DELIVERED_BAD_GATEWAY, TelegramFault.DELIVERED_CLOSED}


@dataclass(frozen=True)
class SentMessage:
    """A message that a chat was sent.

    Attributes:
        message_id: Telegram's id.
        chat_id: The chat.
        text: The text after the entities were parsed.
        at: Epoch seconds on the simulator's clock.
        thread_id: Forum topic, if any.
        reply_to: Id of the quoted message, if any.
        parse_mode: As it was sent.
    """

    message_id: int
    chat_id: int
    text: str
    at: float
    thread_id: int | None = None
    reply_to: int | None = None
    parse_mode: str = ""


@dataclass(frozen=True)
class ChatAction:
    """A "typing…" that a chat was shown."""

    chat_id: int
    action: str
    at: float


@dataclass(frozen=True)
class Draft:
    """A preview that a chat was shown (`sendMessageDraft`)."""

    chat_id: int
    draft_id: int
    text: str
    at: float


@dataclass(frozen=True)
class FloodLimits:
    """When Telegram says "Too Many Requests".

    Rates are messages a second; a burst is what is tolerated at once.
    """

    chat_burst: int = 20
    chat_rate: float = 1.0
    group_burst: int = 20
    group_rate: float = 20 / 60
    overall_burst: int = 30
    overall_rate: float = 30.0


@dataclass
class Webhook:
    """What `setWebhook` set. `allowed_updates` stays as it is when a later call leaves it out."""

    url: str = ""
    secret_token: str = ""
    allowed_updates: list[str] = field(default_factory=list)


class _RefusedError(Exception):
    """A call that Telegram refuses; becomes its JSON."""

    def __init__(self, status: int, description: str, parameters: Json | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"ok": False, "error_code": status, "description": description}
        if parameters:
            self.body["parameters"] = parameters


class TelegramSimulator:
    """A WSGI application that answers `/bot<token>/<method>`."""

    def __init__(
        self,
        clock: Clock,
        token: str,
        *,
        limits: FloodLimits = FloodLimits(),
        hang_limit_s: float = 120.0,
        slow_s: float = 3.0,
    ) -> None:
        """Make one.

        Args:
            clock: Dates the messages and drives the flood limits.
            token: The only token that is accepted.
            limits: The flood limits.
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
        self.blocked_by: set[int] = set()
        self.unknown_chats: set[int] = set()
        self.webhook = Webhook()
        self._token = token
        self._limits = limits
        self._message_ids = itertools.count(1)
        self._changed = threading.Condition()
        self._overall = TokenBucket(limits.overall_burst, limits.overall_rate)
        self._by_chat: dict[int, TokenBucket] = {}
        self._faults: dict[str, FaultQueue[TelegramFault]] = {}
        self._waits = Waits(hang_limit_s)
        self._methods: Mapping[str, Callable[[Json], object]] = {
            "getme": self._get_me,
            "sendmessage": self._send_message,
            "sendmessagedraft": self._send_message_draft,
            "sendchataction": self._send_chat_action,
            "editmessagetext": self._edit_message_text,
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
        """What a chat was sent, oldest first."""
        with self._changed:
            return [message for message in self.sent if message.chat_id == chat_id]

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
        except _RefusedError as refused:
            raise ValueError(f"Telegram would refuse the webhook's answer: {refused}") from refused

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 (WSGI's own types)
        """The WSGI application."""
        request = Request(environ)
        try:
            response = self._respond(request)
        except _RefusedError as refused:
            response = _json_response(refused.body, refused.status)
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        method = self._authorised_method(request.path)
        queue = self._faults.get(method.lower())
        fault = queue.take() if queue else None
        self._fail_before(fault, request)
        result = self._call(method, _parameters(request))
        if fault is TelegramFault.DELIVERED_CLOSED:
            drop_connection(request.environ)
        if fault is TelegramFault.DELIVERED_BAD_GATEWAY:
            return bad_gateway_page().response()
        return _json_response({"ok": True, "result": result})

    def _authorised_method(self, path: str) -> str:
        match = _PATH.fullmatch(path)
        if not match or not _TOKEN.fullmatch(match[1]):
            raise _RefusedError(404, "Not Found")
        if match[1] != self._token:
            raise _RefusedError(401, "Unauthorized")
        return match[2]

    def _fail_before(self, fault: TelegramFault | None, request: Request) -> None:
        if fault is TelegramFault.THROTTLED:
            raise _too_many_requests(self.retry_after_s)
        if fault is TelegramFault.SERVER_ERROR:
            raise _RefusedError(500, "Internal Server Error")
        if fault is TelegramFault.HANG:
            self._waits.wait(request.environ)
        if fault is TelegramFault.SLOW:
            self._waits.wait(request.environ, self.slow_s)
        if fault in {TelegramFault.HANG, TelegramFault.CLOSED}:
            drop_connection(request.environ)

    def _call(self, method: str, parameters: Json) -> object:
        perform = self._methods.get(method.lower())
        if not perform:
            raise _RefusedError(404, "Not Found")
        with self._changed:
            result = perform(parameters)
            self._changed.notify_all()
            return result

    def _get_me(self, parameters: Json) -> Json:
        del parameters
        return self._me()

    def _send_message(self, parameters: Json) -> Json:
        chat_id = self._chat(parameters)
        text = _checked_text(parameters)
        reply_to = _reply_to(parameters)
        self._throttle(chat_id)
        message = SentMessage(
            self.next_message_id(),
            chat_id,
            text,
            self.clock.now(),
            thread_id=_optional_integer(parameters, "message_thread_id"),
            reply_to=reply_to,
            parse_mode=str(parameters.get("parse_mode", "")),
        )
        self.sent.append(message)
        return self._as_json(message)

    def _send_message_draft(self, parameters: Json) -> bool:
        chat_id = self._chat(parameters)
        if chat_id < 0:
            raise _bad_request("drafts can be sent to private chats only")
        draft_id = _optional_integer(parameters, "draft_id")
        if not draft_id:
            raise _bad_request("draft_id must be non-zero")
        text = _checked_text(parameters) if parameters.get("text") else ""
        self.drafts.append(Draft(chat_id, draft_id, text, self.clock.now()))
        return True

    def _send_chat_action(self, parameters: Json) -> bool:
        chat_id = self._chat(parameters)
        action = str(parameters.get("action", ""))
        if action not in _ACTIONS:
            raise _bad_request("wrong parameter action in request")
        self.actions.append(ChatAction(chat_id, action, self.clock.now()))
        return True

    def _edit_message_text(self, parameters: Json) -> Json:
        chat_id = self._chat(parameters)
        message_id = _optional_integer(parameters, "message_id")
        text = _checked_text(parameters)
        for at, message in enumerate(self.sent):
            if (message.chat_id, message.message_id) == (chat_id, message_id):
                return self._edit(at, text)
        raise _bad_request("message to edit not found")

    def _edit(self, at: int, text: str) -> Json:
        if self.sent[at].text == text:
            raise _bad_request(
                "message is not modified: specified new message content and reply markup are exactly the "
                "same as a current content and reply markup of the message"
            )
        edited = replace(self.sent[at], text=text)
        self.sent[at] = edited
        self.edits.append(replace(edited, at=self.clock.now()))
        return self._as_json(edited)

    def _set_webhook(self, parameters: Json) -> bool:
        url = str(parameters.get("url", ""))
        secret = str(parameters.get("secret_token", ""))
        if url and not url.startswith("https://"):
            raise _bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        if secret and not _SECRET_TOKEN.fullmatch(secret):
            raise _bad_request("secret token contains unallowed characters")
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
        info: Json = {"url": self.webhook.url, "has_custom_certificate": False, "pending_update_count": 0}
        return info | ({"allowed_updates": self.webhook.allowed_updates} if self.webhook.allowed_updates else {})

    def _chat(self, parameters: Json) -> int:
        chat_id = _optional_integer(parameters, "chat_id")
        if chat_id is None:
            raise _bad_request("chat_id is empty")
        if chat_id in self.unknown_chats:
            raise _bad_request("chat not found")
        if chat_id in self.blocked_by:
            raise _RefusedError(403, "Forbidden: bot was blocked by the user")
        return chat_id

    def _throttle(self, chat_id: int) -> None:
        now = self.clock.now()
        bucket = self._by_chat.setdefault(chat_id, self._bucket_of(chat_id))
        wait_s = max(bucket.wait_s(now), self._overall.wait_s(now))
        if wait_s > 0:
            raise _too_many_requests(math.ceil(wait_s))
        bucket.take(now)
        self._overall.take(now)

    def _bucket_of(self, chat_id: int) -> TokenBucket:
        if chat_id < 0:
            return TokenBucket(self._limits.group_burst, self._limits.group_rate)
        return TokenBucket(self._limits.chat_burst, self._limits.chat_rate)

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


def chat_type(chat_id: int) -> str:
    """The kind of chat that an id tells: users are positive, groups negative, supergroups begin with -100."""
    if chat_id > 0:
        return "private"
    return "supergroup" if chat_id < -(10**12) else "group"


def utf16_units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _checked_text(parameters: Json) -> str:
    text = str(parameters.get("text") or "")
    parse_mode = str(parameters.get("parse_mode") or "")
    if parse_mode.lower() == "html":
        try:
            text = plain_text(text)
        except EntityError as error:
            raise _bad_request(f"can't parse entities: {error}") from error
    elif parse_mode:
        raise _bad_request("unsupported parse_mode")
    text = text.strip()
    if not text:
        raise _bad_request("message text is empty")
    if utf16_units(text) > TEXT_LIMIT:
        raise _bad_request("message is too long")
    return text


def _reply_to(parameters: Json) -> int | None:
    reply = parameters.get("reply_parameters")
    if reply is None:
        return None
    if isinstance(reply, str):
        reply = json.loads(reply)
    if not isinstance(reply, dict) or not isinstance(reply.get("message_id"), int):
        raise _bad_request("can't parse reply parameters JSON object")
    return int(reply["message_id"])


def _optional_integer(parameters: Json, name: str) -> int | None:
    value = parameters.get(name)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise _bad_request(f"wrong parameter {name} in request") from error


def _parameters(request: Request) -> Json:
    parsed = request.get_json(force=True, silent=True) if request.is_json else request.values.to_dict()
    if not isinstance(parsed, dict):
        raise _bad_request("can't parse request JSON object")
    return parsed


def _bad_request(description: str) -> _RefusedError:
    return _RefusedError(400, f"Bad Request: {description}")


def _too_many_requests(retry_after_s: int) -> _RefusedError:
    return _RefusedError(429, f"Too Many Requests: retry after {retry_after_s}", {"retry_after": retry_after_s})


def _json_response(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status, mimetype="application/json")

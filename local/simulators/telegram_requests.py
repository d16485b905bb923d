"""How Telegram reads a call's parameters, and the errors with which it refuses one.

Descriptions of errors as collected in TelegramBotAPI/errors.
"""

import json
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request

from local.simulators.telegram_html import EntityError, plain_text

type Json = dict[str, Any]

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
DOCUMENT_LIMIT = 50 * 1024 * 1024
"""Bytes of a file that a bot uploads ("Sending files")."""


class RefusedError(Exception):
    """A call that Telegram refuses; becomes its JSON."""

    def __init__(self, status: int, description: str, parameters: Json | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"ok": False, "error_code": status, "description": description}
        if parameters:
            self.body["parameters"] = parameters


@dataclass(frozen=True)
class Upload:
    """A file in a request."""

    name: str
    data: bytes


def chat_type(chat_id: int) -> str:
    """The kind of chat that an id tells: users are positive, groups negative, supergroups begin with -100."""
    if chat_id > 0:
        return "private"
    return "supergroup" if chat_id < -(10**12) else "group"


def utf16_units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def checked_text(parameters: Json) -> str:
    """The text of a message, after entity parsing.

    Raises:
        RefusedError: it is empty, too long, or not what its parse mode asks for.
    """
    text = checked_draft(parameters)
    if not text:
        raise bad_request("message text is empty")
    return text


def checked_draft(parameters: Json) -> str:
    """The text of a draft, after entity parsing; it may be empty.

    Raises:
        RefusedError: it is too long, or not what its parse mode asks for.
    """
    text = str(parameters.get("text") or "")
    parse_mode = str(parameters.get("parse_mode") or "")
    if parse_mode.lower() == "html":
        try:
            text = plain_text(text)
        except EntityError as error:
            raise bad_request(f"can't parse entities: {error}") from error
    elif parse_mode:
        raise bad_request("unsupported parse_mode")
    text = text.strip()
    if utf16_units(text) > TEXT_LIMIT:
        raise bad_request("message is too long")
    return text


def checked_caption(parameters: Json) -> str:
    """The caption of a file; it may be empty.

    Raises:
        RefusedError: it is too long.
    """
    caption = str(parameters.get("caption") or "").strip()
    if utf16_units(caption) > CAPTION_LIMIT:
        raise bad_request("message caption is too long")
    return caption


def reply_to(parameters: Json) -> int | None:
    """Id of the message that is replied to, if any.

    Raises:
        RefusedError: `reply_parameters` is malformed.
    """
    reply = parameters.get("reply_parameters")
    if reply is None:
        return None
    if isinstance(reply, str):
        reply = json.loads(reply)
    if not isinstance(reply, dict) or not isinstance(reply.get("message_id"), int):
        raise bad_request("can't parse reply parameters JSON object")
    return int(reply["message_id"])


def optional_integer(parameters: Json, name: str) -> int | None:
    """An integer parameter; None if it is left out.

    Raises:
        RefusedError: it is no integer.
    """
    value = parameters.get(name)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise bad_request(f"wrong parameter {name} in request") from error


def parameters_of(request: Request) -> Json:
    """The parameters, which may come as JSON, as a form, with files or without, or in the query.

    Raises:
        RefusedError: the JSON is no object.
    """
    parsed = request.get_json(force=True, silent=True) if request.is_json else _form(request)
    if not isinstance(parsed, dict):
        raise bad_request("can't parse request JSON object")
    return parsed


def _form(request: Request) -> Json:
    form: Json = request.values.to_dict()
    for name, file in request.files.items():
        with file.stream:
            form[name] = Upload(file.filename or "", file.read())
    return form


def bad_request(description: str) -> RefusedError:
    """The error for a call that is wrong."""
    return RefusedError(400, f"Bad Request: {description}")


def too_many_requests(retry_after_s: int) -> RefusedError:
    """The error for a call that comes too soon."""
    return RefusedError(429, f"Too Many Requests: retry after {retry_after_s}", {"retry_after": retry_after_s})

"""A provider's refusal, read from wherever it stands: the status, the body of a 200, an event of a stream.

Sources: OpenRouter docs, "Errors and debugging" and `APIErrorType`; Anthropic docs, "Errors".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_WORDING = 1000
"""Characters of a refusal that are looked at; what a provider says stands at the beginning."""

OVERLOADED = 529
"""Anthropic's own status."""

_STATUS_OF_KIND = {
    # Anthropic docs, "Errors": inside a stream the type is all there is.
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED,
}


class _Metadata(msgspec.Struct):
    """OpenRouter's. `raw` is what the provider behind it said, `reasons` stand in the refusal of a moderated model."""

    headers: dict[str, str | int | float] = {}
    provider_name: str | None = None
    error_type: str | None = None
    limit_source: str | None = None
    reasons: list[Any] | None = None
    raw: msgspec.Raw = msgspec.Raw(b"")


class _Details(msgspec.Struct):
    """Anthropic's."""

    error_code: str | None = None


class _Error(msgspec.Struct):
    code: int | str | None = None
    type: str | None = None
    message: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    details: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal.

    Attributes:
        status: the HTTP status or the code in the body, whichever says more.
        kinds: the provider's names of the error, such as `rate_limit_error`.
        wording: its message. It may quote the user: matched, never logged.
        headers: lower-case names.
        upstream: whether it is the refusal of a provider behind the provider.
        moderated: whether the question was refused for what it says.
    """

    status: int
    kinds: frozenset[str] = frozenset()
    wording: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream: bool = False
    moderated: bool = False


def read_failure(status: int, headers: Mapping[str, str], body: bytes | str) -> Failure | None:
    """Read a refusal from a body; None if the body holds no error and the status is a success."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = _decoded(body, _Body)
    raw = b"null" if found is None else bytes(found.error)
    if raw == b"null":
        return None if httpx.codes.is_success(status) else Failure(status, wording=_wording(body), headers=lower)
    error = _decoded(raw, _Error)
    if error is None:  # a string (Ollama), or a shape nobody has told us of
        return Failure(_status(status, None, ()), wording=_wording(raw), headers=lower)
    metadata = _decoded(error.metadata, _Metadata) or _Metadata()
    details = _decoded(error.details, _Details) or _Details()
    inner = {name.lower(): str(value) for name, value in metadata.headers.items()}
    names = (error.type, error.code, details.error_code, metadata.error_type, metadata.limit_source)
    kinds = [name for name in names if isinstance(name, str)]
    return Failure(
        _status(status, error.code, kinds),
        kinds=frozenset(kinds),
        wording=f"{_wording(error.message or '')} {_wording(bytes(metadata.raw))}".rstrip(),
        headers=lower | inner,
        upstream=metadata.provider_name is not None,
        moderated=metadata.reasons is not None,
    )


def _decoded[T](raw: bytes | str, kind: type[T]) -> T | None:
    """The value, or None for what is not JSON or of another shape: a refusal of any shape is still a refusal."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _wording(text: bytes | str) -> str:
    return (text if isinstance(text, str) else text.decode(errors="replace"))[:_LONGEST_WORDING]


def _status(status: int, code: int | str | None, kinds: Iterable[str]) -> int:
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code):
        code = int(code)
    if isinstance(code, int) and httpx.codes.is_error(code):
        return code
    if not httpx.codes.is_success(status):
        return status
    return next((_STATUS_OF_KIND[kind] for kind in kinds if kind in _STATUS_OF_KIND), int(httpx.codes.BAD_GATEWAY))

"""Telegram's HTML parse mode, as strict as Telegram's.

A reading of tdlib's parser (td/telegram/MessageEntity.cpp, `parse_html`; the messages are those of its test,
test/message_entities.cpp). Of nested entities only the tags are checked.
"""

import html
import re

_TAGS = frozenset(
    "a b blockquote code del em i ins pre s span strike strong tg-emoji tg-spoiler u".split()  # noqa: SIM905
)
_ENTITY = re.compile(rb"&(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|lt|gt|amp|quot);?")
_END = re.compile(rb"</([^\s>]*)\s*>")
_START = re.compile(rb"<([^\s>]+)((?:\s+[^\s=>]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[\w.-]+))?)*)\s*>")
_SPOILER = re.compile(rb"class\s*=\s*[\"']?tg-spoiler[\"']?")


class EntityError(ValueError):
    """The text is not what Telegram calls HTML; the message is what Telegram says of it."""


def plain_text(source: str) -> str:
    """The text that is left when the entities have been parsed.

    Raises:
        EntityError: a tag is unknown, not closed, or closed out of turn.
    """
    encoded = source.encode()
    plain = bytearray()
    open_tags: list[str] = []
    at = 0
    while at < len(encoded):
        if encoded.startswith(b"</", at):
            at = _end_tag(encoded, at, open_tags)
        elif encoded.startswith(b"<", at):
            at = _start_tag(encoded, at, open_tags)
        else:
            at = _text(encoded, at, plain)
    if open_tags:
        raise EntityError(f'Can\'t find end tag corresponding to start tag "{open_tags[-1]}"')
    return plain.decode(errors="replace")


def _text(encoded: bytes, at: int, plain: bytearray) -> int:
    entity = _ENTITY.match(encoded, at)
    if entity:
        plain += html.unescape(entity[0].decode()).encode(errors="replace")
        return entity.end()
    plain.append(encoded[at])
    return at + 1


def _start_tag(encoded: bytes, at: int, open_tags: list[str]) -> int:
    tag = _START.match(encoded, at)
    if not tag:
        raise EntityError(f"Unclosed start tag at byte offset {at}")
    name = tag[1].decode(errors="replace").lower()
    if name not in _TAGS:
        raise EntityError(f'Unsupported start tag "{name}" at byte offset {at}')
    if name == "span" and not _SPOILER.search(tag[2]):
        raise EntityError(f'Tag "span" must have class "tg-spoiler" at byte offset {at}')
    open_tags.append(name)
    return tag.end()


def _end_tag(encoded: bytes, at: int, open_tags: list[str]) -> int:
    if not open_tags:
        raise EntityError(f"Unexpected end tag at byte offset {at}")
    tag = _END.match(encoded, at)
    if not tag:
        raise EntityError(f"Unclosed end tag at byte offset {at}")
    name = tag[1].decode(errors="replace").lower()
    expected = open_tags.pop()
    if name and name != expected:
        raise EntityError(f'Unmatched end tag at byte offset {at}, expected "</{expected}>", found "</{name}>"')
    return tag.end()

"""Server-sent events, as the WHATWG standard frames them."""

import json


def event(data: object, name: str = "") -> bytes:
    """One event; `data` goes out as JSON, unless it is a string."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    prefix = f"event: {name}\n" if name else ""
    return f"{prefix}data: {text}\n\n".encode()


def comment(text: str) -> bytes:
    """A comment, which a parser must skip."""
    return f": {text}\n\n".encode()

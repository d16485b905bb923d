"""What AWS charges a request for: DynamoDB's request units, and the classes of S3's requests."""

from collections.abc import Iterable, Mapping
from typing import Any

type Item = Mapping[str, Any]
"""Attributes as DynamoDB writes them, `{"n": {"N": "1"}}`."""

type Counts = dict[str, float]
"""How much of each thing that has a price (operate/prices.py)."""

_READ_BLOCK, _WRITE_BLOCK = 4096, 1024
_TRANSACTION = 2
_S3_READS = ("Get", "Head")
_FREE_IN_S3 = ("Delete",)


def size(item: Item | None) -> int:
    """Bytes of an item: names and values.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in (item or {}).items())


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return len(content.lstrip("-").replace(".", "")) // 2 + 2
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(each) for name, each in content.items())
        case "L":
            return 3 + sum(1 + _value_size(each) for each in content)
        case "SS" | "NS":
            return sum(len(each) for each in content)
        case "B":
            return len(content) * 3 // 4
    return 1


def read_units(sizes: Iterable[int], *, consistent: bool) -> float:
    """Of one request that read items of these sizes; one that finds nothing reads a block, too."""
    blocks = max(1, -(-sum(sizes) // _READ_BLOCK))
    return blocks if consistent else blocks / 2


def write_units(before: Item | None, after: Item | None, *, transaction: bool) -> float:
    """Of one write, refused or not: by the larger of the item before and after it; the index is apart."""
    blocks = max(1, -(-max(size(before), size(after)) // _WRITE_BLOCK))
    return blocks * (_TRANSACTION if transaction else 1)


def index_units(before: Item | None, after: Item | None, keys: tuple[str, ...]) -> float:
    """Of an index of keys alone: an entry that comes or goes is a write, one that moves is both."""
    old, new = _entry(before, keys), _entry(after, keys)
    return 0 if old == new else (old is not None) + (new is not None)


def _entry(item: Item | None, keys: tuple[str, ...]) -> list[Any] | None:
    return [item[key] for key in keys] if item is not None and all(key in item for key in keys) else None


def of_s3(operation: str) -> Counts:
    """One request to S3: reads are GET and HEAD, deletes cost nothing, everything else is priced as a write."""
    if operation.startswith(_FREE_IN_S3):
        return {}
    return {"object_reads" if operation.startswith(_S3_READS) else "object_writes": 1}

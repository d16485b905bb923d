"""DynamoDB's condition, update and key expressions, each compiled once: as much of the language as the stores speak.

moto takes three milliseconds for an update, most of them for reading the same few expressions again; a month of
messages needs fifty thousand. What is not understood here is an error. That both come to the same is tested, request
by request (`tests/local/test_small_dynamodb.py`).

Source: DynamoDB developer guide, "Condition and filter expressions" and "Update expressions".
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

type Attribute = dict[str, Any]
type Item = dict[str, Attribute]


class AttributeMissing(ValueError):
    """An update makes use of an attribute that the item does not have."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression is about: the item, and what its placeholders stand for."""

    item: Item
    names: Mapping[str, str]
    values: Mapping[str, Attribute]

    def attribute(self, path: str) -> Attribute | None:
        """The attribute that a path names."""
        return self.item.get(self.name(path))

    def name(self, path: str) -> str:
        """A path without its placeholder."""
        return self.names[path] if path.startswith("#") else path


type Operand = Callable[[Scope], Attribute | None]
type Condition = Callable[[Scope], bool]
type Change = Callable[[Scope, Item], None]

_TOKEN = re.compile(r"\s*([#:]?\w+|<=|>=|<>|[=<>(),+-])")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS = {"attribute_exists", "attribute_not_exists", "begins_with", "if_not_exists"}
_KEYWORDS = {"AND", "OR", "NOT", "IN", "BETWEEN", "SET", "REMOVE"}
_WORD = re.compile(r"[A-Za-z_]\w*")
_SUMS: Mapping[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub}


@cache
def condition(text: str) -> Condition:
    """A condition expression; ValueError if it is not understood."""
    words = _Words(text)
    found = _any_of(words)
    words.end()
    return found


@cache
def update(text: str) -> Callable[[Scope], Item]:
    """An update expression: gives the item as it is afterwards; ValueError if it is not understood."""
    words = _Words(text)
    changes: list[Change] = []
    while not words.over:
        clause = {"SET": _setting, "REMOVE": _removing}[words.take("SET", "REMOVE")]
        changes.append(clause(words))
        while words.follows(","):
            changes.append(clause(words))

    def apply(scope: Scope) -> Item:
        changed = dict(scope.item)
        for change in changes:
            change(scope, changed)
        return changed

    return apply


@cache
def placeholders(text: str) -> frozenset[str]:
    """The `#names` and `:values` that an expression uses."""
    return frozenset(word for word in _TOKEN.findall(text) if word[0] in "#:")


@cache
def attributes(text: str) -> frozenset[str]:
    """The attributes that an expression names without a placeholder."""
    return frozenset(word for word in _TOKEN.findall(text) if _WORD.fullmatch(word)) - _FUNCTIONS - _KEYWORDS


@cache
def targets(text: str) -> tuple[str, ...]:
    """The paths that an update expression sets or removes."""
    return tuple(re.findall(r"(?:^|\bSET|\bREMOVE|,)\s*(#?\w+)(?=\s*(?:=|,|$|REMOVE\b|SET\b))", text))


class _Words:
    """The words of an expression, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = _TOKEN.findall(text)
        self._at = 0
        if "".join(self._words) != re.sub(r"\s", "", text):
            raise self.error()

    @property
    def over(self) -> bool:
        return self._at == len(self._words)

    def take(self, *expected: str) -> str:
        """The next word, one of `expected`; any if nothing is expected."""
        if self.over or (expected and self._words[self._at] not in expected):
            raise self.error()
        self._at += 1
        return str(self._words[self._at - 1])

    def follows(self, word: str) -> bool:
        """Whether that word comes next; it is taken if so."""
        found = not self.over and self._words[self._at] == word
        self._at += found
        return found

    def end(self) -> None:
        if not self.over:
            raise self.error()

    def error(self) -> ValueError:
        return ValueError(f"not an expression that is understood here: {self._text}")


def _any_of(words: _Words) -> Condition:
    found = [_all_of(words)]
    while words.follows("OR"):
        found.append(_all_of(words))
    return found[0] if len(found) == 1 else lambda scope: any(each(scope) for each in found)


def _all_of(words: _Words) -> Condition:
    found = [_one(words)]
    while words.follows("AND"):
        found.append(_one(words))
    return found[0] if len(found) == 1 else lambda scope: all(each(scope) for each in found)


def _one(words: _Words) -> Condition:
    if words.follows("NOT"):
        denied = _one(words)
        return lambda scope: not denied(scope)
    if words.follows("("):
        inner = _any_of(words)
        words.take(")")
        return inner
    for function, there in (("attribute_exists", True), ("attribute_not_exists", False)):
        if words.follows(function):
            return _existence(words, there=there)
    if words.follows("begins_with"):
        return _beginning(words)
    return _comparison(words)


def _existence(words: _Words, *, there: bool) -> Condition:
    words.take("(")
    path = words.take()
    words.take(")")
    return lambda scope: (scope.attribute(path) is not None) is there


def _beginning(words: _Words) -> Condition:
    words.take("(")
    path = words.take()
    words.take(",")
    prefix = _operand(words)
    words.take(")")

    def begins(scope: Scope) -> bool:
        whole, start = scope.attribute(path), prefix(scope)
        return whole is not None and start is not None and str(whole.get("S", "")).startswith(start["S"])

    return begins


def _comparison(words: _Words) -> Condition:
    left = _operand(words)
    if words.follows("IN"):
        return _membership(words, left)
    if words.follows("BETWEEN"):
        low = _operand(words)
        words.take("AND")
        high = _operand(words)
        at_least, at_most = _compared(left, ">=", low), _compared(left, "<=", high)
        return lambda scope: at_least(scope) and at_most(scope)
    sign = words.take(*_COMPARISONS)
    return _compared(left, sign, _operand(words))


def _compared(left: Operand, sign: str, right: Operand) -> Condition:
    compare = _COMPARISONS[sign]

    def compared(scope: Scope) -> bool:
        one, other = left(scope), right(scope)
        if one is None or other is None or one.keys() != other.keys():
            return sign == "<>"  # what is not there, or of another type, is not the same
        return compare(_value(one), _value(other))

    return compared


def _membership(words: _Words, left: Operand) -> Condition:
    words.take("(")
    equal = [_compared(left, "=", _operand(words))]
    while words.follows(","):
        equal.append(_compared(left, "=", _operand(words)))
    words.take(")")
    return lambda scope: any(each(scope) for each in equal)


def _operand(words: _Words) -> Operand:
    word = words.take()
    if word.startswith(":"):
        return lambda scope: scope.values[word]
    return lambda scope: scope.attribute(word)


def _value(attribute: Attribute) -> int | str | bool:
    (kind, value), *_ = attribute.items()
    return int(value) if kind == "N" else value


def _setting(words: _Words) -> Change:
    path = words.take()
    words.take("=")
    value = _sum(words)

    def assign(scope: Scope, changed: Item) -> None:
        changed[scope.name(path)] = value(scope)

    return assign


def _sum(words: _Words) -> Callable[[Scope], Attribute]:
    first, sign = _term(words), None
    for each in _SUMS:
        if words.follows(each):
            sign = _SUMS[each]
            break
    if sign is None:
        return first
    second = _term(words)
    return lambda scope: {"N": str(sign(int(first(scope)["N"]), int(second(scope)["N"])))}


def _term(words: _Words) -> Callable[[Scope], Attribute]:
    if words.follows("if_not_exists"):
        words.take("(")
        path = words.take()
        words.take(",")
        instead = _term(words)
        words.take(")")
        return lambda scope: scope.attribute(path) or instead(scope)
    operand = _operand(words)

    def existing(scope: Scope) -> Attribute:
        found = operand(scope)
        if found is None:
            raise AttributeMissing("an update refers to an attribute that does not exist")
        return found

    return existing


def _removing(words: _Words) -> Change:
    path = words.take()

    def remove(scope: Scope, changed: Item) -> None:
        changed.pop(scope.name(path), None)

    return remove

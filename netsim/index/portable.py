"""Rules as plain data and back: what an artifact keeps of a rule set.

Every value of the model is a list: the name of its class and its fields in order, trailing defaults left out.
Texts and sources are kept aside, each once, and named by number. Nothing but the classes of the model is ever
made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import attrs

from netsim.errors import Diagnostic
from netsim.rules import model
from netsim.source import Source
from netsim.space.fields import Family

_CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        model.In, model.Bits, model.AnyOf, model.Unmodelled, model.Deferred, model.Action, model.SetBits,
        model.SetField, model.Adjust, model.Pool, model.Nat, model.Netmap, model.Untrack, model.Track,
        model.ChangeSet, model.Counters, model.Rule, model.Hook, model.Chain, model.RuleSet, Diagnostic,
    )
}  # fmt: skip
_ENUMS: dict[str, type[Enum]] = {
    c.__name__: c for c in (model.ActionKind, model.NatKind, model.Point, model.Tracking, Family)
}
_NAMES = {c: n for n, c in _CLASSES.items()}
_FIELDS = {c: tuple(attrs.fields(c)) for c in _CLASSES.values()}


DEPTH = 64
"""How deep values may lie in each other: a rule set, its chains, their rules, conditions in conditions."""


class Texts:
    """Texts by number, and sources as rows of numbers: file, line, column, end, text, pointer."""

    def __init__(self, texts: Iterable[str] = (), sources: Any = None) -> None:
        self.texts = list(texts)
        self.sources: Any = [] if sources is None else sources  # a list, or the rows of an array
        self._numbers: dict[str, int] = {}
        self._known: dict[Source, int] = {}

    def number(self, text: str) -> int:
        """The number of a text."""
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return found

    def source(self, source: Source) -> int:
        """The number of a source."""
        found = self._known.get(source)
        if found is None:
            found = self._known[source] = len(self.sources)
            n = self.number
            self.sources.append(
                (n(source.file), source.line, source.column, source.end, n(source.text), n(source.pointer))
            )
        return found

    def place(self, number: int) -> Source:
        """The source of a number."""
        file, line, column, end, text, pointer = (int(v) for v in self.sources[number])
        t = self.texts
        return Source(t[file], line, column, end, t[text], t[pointer])


def plain(value: Any, texts: Texts) -> Any:
    """A value of the model as what JSON takes."""
    if value is None or isinstance(value, bool):
        return value
    if type(value).__name__ in _ENUMS:
        return ["!", type(value).__name__, value.name]
    if isinstance(value, int):  # a state, a protocol or a flag in a range is its number
        return int(value)
    if isinstance(value, str):
        return ["$", texts.number(value)]
    if isinstance(value, Source):
        return ["@", texts.source(value)]
    if isinstance(value, tuple):
        return ["()", *(plain(v, texts) for v in value)]
    if isinstance(value, Mapping):
        return ["{}", *([plain(k, texts), plain(v, texts)] for k, v in value.items())]
    name = _NAMES[type(value)]
    fields = _FIELDS[type(value)]
    values = [getattr(value, field.name) for field in fields]
    while values and _is_default(fields[len(values) - 1], values[-1]):
        values.pop()
    return [name, *(plain(v, texts) for v in values)]


def _is_default(field: Any, value: object) -> bool:
    default = field.default
    return default is not attrs.NOTHING and not isinstance(default, attrs.Factory) and default == value  # type: ignore[arg-type]


def model_of(data: Any, texts: Texts, depth: int = DEPTH) -> Any:
    """The value of some plain data. Raises `ValueError` for what is none, and for more than `DEPTH` values in each other."""
    if not isinstance(data, list):
        if data is None or isinstance(data, bool | int):
            return data
        raise ValueError("no value of the model")
    if not data:
        raise ValueError("no value of the model")
    if not depth:
        raise ValueError(f"values in each other more than {DEPTH} deep")
    depth -= 1
    head, *rest = data
    match head:
        case "$":
            return texts.texts[_number(rest)]
        case "@":
            return texts.place(_number(rest))
        case "!":
            return _ENUMS[rest[0]][rest[1]]
        case "()":
            return tuple(model_of(v, texts, depth) for v in rest)
        case "{}":
            return MappingProxyType({model_of(k, texts, depth): model_of(v, texts, depth) for k, v in rest})
    found = _CLASSES[head]
    if len(rest) > len(_FIELDS[found]):
        raise ValueError(f"a {head} of {len(rest)} fields")
    values = {field.alias: model_of(v, texts, depth) for field, v in zip(_FIELDS[found], rest, strict=False)}
    return found(**values)


def _number(rest: list[Any]) -> int:
    (found,) = rest
    if type(found) is not int or found < 0:
        raise ValueError("no number of a text")
    return found


__all__ = ["DEPTH", "Texts", "model_of", "plain"]

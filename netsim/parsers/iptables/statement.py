"""One rule of a dump on its way from words to a `Rule`: the cursor, and what has been read so far."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import lru_cache
from typing import TypeVar

import attrs

from netsim.parsers.text import Quoted, Wrong, quoted, words
from netsim.rules.model import (
    CONTINUE,
    Action,
    AnyOf,
    Condition,
    Counters,
    Effect,
    In,
    Unmodelled,
)
from netsim.space.fields import FIELDS, Family, Range, complement_ranges, merge_ranges

T = TypeVar("T")


@attrs.define(slots=True)
class Group:
    """The options of one match module that is not modelled."""

    module: str
    word: int
    options: list[tuple[bool, str]] = attrs.Factory(list)


@attrs.define(slots=True)
class Statement:
    """A cursor over the words of one rule. `option` is the index of the option being read, `jump` that of -j or -g."""

    words: list[str]
    family: Family
    backend: str
    table: str
    chain: str = ""
    position: int = 0
    option: int = 0
    sources: tuple[tuple[Range, ...], ...] | None = None
    destinations: tuple[tuple[Range, ...], ...] | None = None
    protocol: int | None = None
    protocol_negated: bool = False
    modules: list[str] = attrs.Factory(list)
    groups: list[Group] = attrs.Factory(list)
    conditions: list[Condition] = attrs.Factory(list)
    tracking: list[tuple[str, Condition]] = attrs.Factory(list)
    icmp_any: bool = False
    action: Action = CONTINUE
    effects: list[Effect] = attrs.Factory(list)
    target: str = ""
    jump: int = -1
    target_options: list[tuple[int, list[str], bool]] = attrs.Factory(list)
    counters: Counters | None = None
    comment: str = ""
    comments: int = 0
    notes: list[tuple[int, str]] = attrs.Factory(list)
    unmodelled_sides: list[Condition] = attrs.Factory(list)
    limits: list[str] = attrs.Factory(list)
    set_options: list[str] = attrs.Factory(list)
    used: set[tuple[int, str]] = attrs.Factory(set)
    chains: Container[str] = ()

    def more(self) -> bool:
        """Whether words are left."""
        return self.position < len(self.words)

    def is_value(self, *, first: bool) -> bool:
        """Whether the next word is a value, not an option or '!'; what is quoted may be a first value."""
        word = self.words[self.position]
        return (first and isinstance(word, Quoted)) or not (word == "!" or word.startswith("-"))

    def next(self, what: str) -> str:
        """The next word, which must be there."""
        if self.position >= len(self.words):
            name = self.words[self.option] if self.option < len(self.words) else "the statement"
            raise Wrong(len(self.words), f"{what} is missing behind {name}", code="NS101")
        word = self.words[self.position]
        self.position += 1
        return word

    def read(self, parse: Callable[..., T], *more: object) -> T:
        """The next word through a parser; its `ValueError` becomes a mistake at that word."""
        word = self.next("a value")
        try:
            return parse(word, *more)
        except ValueError as error:
            raise Wrong(self.position - 1, str(error)) from None

    def add(self, condition: Condition) -> None:
        """One more condition that must hold."""
        self.conditions.append(condition)

    def test(self, field: str, ranges: tuple[Range, ...], negated: bool) -> None:
        """The field's value is in the ranges, or with `negated` outside of them (where it applies)."""
        self.add(within(field, ranges, negated))


@lru_cache(maxsize=65_536)
def within(field: str, ranges: tuple[Range, ...], negated: bool = False) -> In:
    """An `In` with canonical ranges; reversed ranges are empty, as the kernel's comparison has it."""
    merged = merge_ranges([r for r in ranges if r[0] <= r[1]])
    if negated:
        top = (1 << 48) - 1 if field == "mac" else FIELDS[field].maximum
        merged = complement_ranges(merged, top)
    return In(field, merged)


def either(alternatives: list[Condition], negated: bool, text: str = "") -> Condition:
    """One of several conditions, or none of them."""
    if len(alternatives) == 1 and not negated:
        return alternatives[0]
    return AnyOf(tuple((a,) for a in alternatives), negated, text)


_TRACKING = ("conntrack", "connlimit", "connbytes", "connlabel", "helper", "cluster", "ipvs", "socket")
"""Matches that load connection tracking, or the reassembly that comes with it."""


def unmodelled(text: str, *, pure: bool, negated: bool = False) -> Unmodelled:
    """A condition that stays in the rule as text: words with one blank between them, in quotes where they must be."""
    found = words(text)
    return Unmodelled(" ".join(map(quoted, found)), pure, negated, tracks=found[0] in _TRACKING)

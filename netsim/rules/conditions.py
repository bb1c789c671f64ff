"""Whether conditions hold for a packet, and the first rule of a chain whose conditions do: the specification's look at rules.

An answer is yes, no, or the doubts: the conditions that are not modelled, and the open fields, on which it hangs. A field
that does not apply to a packet meets no test, nor the negation of one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netsim.rules.journey import HAS_ENTRY
from netsim.rules.model import AnyOf, Bits, Chain, Condition, Deferred, In, Unmodelled
from netsim.space.fields import Range

Doubt = Unmodelled | Deferred | str
"""Why a condition is undecided: the condition, or the name of an open field."""

Known = Mapping[str, bool]
"""The answers assumed for pure unmodelled conditions, by text."""


_BEYOND = 1 << 129  # more than any value of any field


def holds(condition: Condition, values: Mapping[str, Any], known: Known) -> bool | list[Doubt]:
    """Whether a condition holds for a packet; a list of doubts if that cannot be said."""
    match condition:
        case In(field, ranges):
            if field not in values:
                return False
            value = values[field]
            if value is None:
                return [field] if ranges else False
            if isinstance(value, tuple):
                return _within(value, ranges) or ([field] if ranges and _meets(value, ranges) else False)
            at = bisect_right(ranges, (value, _BEYOND)) - 1
            return at >= 0 and int(value) <= ranges[at][1]
        case Bits(field, care, wanted, negated):
            if field not in values or (field == "ctmark" and values.get("state") not in HAS_ENTRY):
                return False
            value = values[field]
            if wanted & ~care:
                return negated
            if value is None:
                return [field] if care else not negated
            return bool((value & care == wanted) != negated)
        case AnyOf(alternatives, negated):
            doubts: list[Doubt] = []
            for alternative in alternatives:
                answer = all_hold(alternative, values, known)
                if answer is True:
                    return not negated
                if answer is not False:
                    doubts += answer
            return doubts or negated
        case Unmodelled(text, pure, negated):
            return known[text] != negated if pure and text in known else [condition]
        case Deferred(_, _, text, negated):
            return known[text] != negated if text in known else [condition]


def _within(value: Range, ranges: Sequence[Range]) -> bool:
    """Whether every value of a range is in `ranges`."""
    return any(low <= value[0] and value[1] <= high for low, high in ranges)


def _meets(value: Range, ranges: Sequence[Range]) -> bool:
    """Whether some value of a range is in `ranges`."""
    return any(low <= value[1] and value[0] <= high for low, high in ranges)


def all_hold(conditions: Sequence[Condition], values: Mapping[str, Any], known: Known) -> bool | list[Doubt]:
    """Whether every condition holds (none: yes); False as soon as one surely does not."""
    doubts: list[Doubt] = []
    for condition in conditions:
        answer = holds(condition, values, known)
        if answer is False:
            return False
        if answer is not True:
            doubts += answer
    return doubts or True


Found = tuple[int, bool | list[Doubt]]
Find = Callable[[Chain, int, Mapping[str, Any], Known], "Found | None"]
"""Finds the first rule of a chain, from a position on, that holds or may hold."""


def scan(chain: Chain, start: int, values: Mapping[str, Any], known: Known) -> Found | None:
    """The linear search: the specification of every other `Find`."""
    for position in range(start, len(chain.rules)):
        answer = all_hold(chain.rules[position].conditions, values, known)
        if answer is not False:
            return position, answer
    return None


__all__ = ["Doubt", "Find", "Found", "Known", "all_hold", "holds", "scan"]

"""The first rule that may match one packet, faster than asking each: bit vectors over intervals.

Theory of operation (Lakshman and Stiliadis, SIGCOMM 1998). For every interval field that a chain's rules
test, the field's values fall into segments; each segment keeps a bit vector, an integer whose bit i says that
rule i admits it. The vectors of a packet's segments are ANDed, and the lowest bit is the first
candidate, which is then asked in full. Its slow twin is `conditions.scan`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from netsim.rules.conditions import Found, Known, all_hold, scan
from netsim.rules.model import Chain, In, RuleSet

FEW = 6
"""Chains of up to so many rules are scanned."""
SEGMENTS = 200_000
"""A field with more ranges than this in one chain is not indexed."""


class _Vectors:
    """One field of one chain: `starts[i]` begins segment i, `bits[i]` are its rules."""

    __slots__ = ("absent", "bits", "starts")

    def __init__(self, starts: list[int], bits: list[int], absent: int) -> None:
        self.starts = starts
        self.bits = bits
        self.absent = absent  # the rules that do not test the field


class _ChainIndex:
    __slots__ = ("fields", "full")

    def __init__(self, chain: Chain) -> None:
        self.full = (1 << len(chain.rules)) - 1
        tests: dict[str, list[tuple[int, In]]] = {}
        for position, rule in enumerate(chain.rules):
            seen: set[str] = set()
            for condition in rule.conditions:
                if isinstance(condition, In) and condition.field not in seen:
                    seen.add(condition.field)
                    tests.setdefault(condition.field, []).append((position, condition))
        self.fields = {
            field: self._vectors(found)
            for field, found in tests.items()
            if sum(len(c.ranges) for _, c in found) <= SEGMENTS
        }

    def _vectors(self, tests: list[tuple[int, In]]) -> _Vectors:
        absent = self.full
        events: dict[int, int] = {0: 0}
        for position, condition in tests:
            bit = 1 << position
            absent &= ~bit
            for low, high in condition.ranges:
                events[low] = events.get(low, 0) ^ bit
                events[high + 1] = events.get(high + 1, 0) ^ bit
        starts = sorted(events)
        bits: list[int] = []
        current = absent
        for start in starts:
            current ^= events[start]
            bits.append(current)
        return _Vectors(starts, bits, absent)

    def candidates(self, values: Mapping[str, Any], start: int) -> int:
        """The rules from `start` on that the indexed fields admit, as a bit vector."""
        found = (self.full >> start) << start
        for field, vectors in self.fields.items():
            if field in values:
                value = values[field]
                if isinstance(value, int):
                    found &= vectors.bits[bisect_right(vectors.starts, value) - 1]
            else:
                found &= vectors.absent
            if not found:
                break
        return found


class Lookup:
    """A `Find` for the chains of one rule set; a chain is indexed when it is first asked."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._chains: dict[int, _ChainIndex] = {}

    def __call__(self, chain: Chain, start: int, values: Mapping[str, Any], known: Known) -> Found | None:
        """The first rule from `start` on that holds or may hold; see `conditions.Find`."""
        rules = chain.rules
        if len(rules) - start <= FEW:
            return scan(chain, start, values, known)
        index = self._chains.get(id(chain))
        if index is None:
            index = self._chains[id(chain)] = _ChainIndex(chain)
        found = index.candidates(values, start)
        while found:
            lowest = found & -found
            position = lowest.bit_length() - 1
            answer = all_hold(rules[position].conditions, values, known)
            if answer is not False:
                return position, answer
            found ^= lowest
        return None


__all__ = ["Lookup"]

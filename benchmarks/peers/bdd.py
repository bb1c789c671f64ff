"""Binary decision diagrams with OxiDD: the rules of a list as functions of the header's bits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from benchmarks.lists import List
from benchmarks.peers import Missing
from netsim.index.rows import INTERVALS

ORDER = ("protocol", "dst4", "src4", "dport", "sport")
"""Ours (DESIGN 6); with the ports above the addresses, lists of 1 000 rules do not end."""


class Bdd:
    """One list; room for `nodes` nodes and as many results is taken here, outside of what is timed."""

    def __init__(self, given: List, *, nodes: int = 1 << 22) -> None:
        try:
            from oxidd.bdd import BDDManager
        except ImportError:
            raise Missing("oxidd is not installed") from None
        if set(given.low) != set(ORDER) or given.care:
            raise Missing("the diagrams of OxiDD are of five fields and IPv4")
        self.given = given
        self.manager: Any = BDDManager(nodes, nodes, 1)
        widths = {c: INTERVALS[c].bit_length() for c in ORDER}
        variables = [self.manager.var(i) for i in self.manager.add_vars(sum(widths.values()))]
        self.width = len(variables)
        self.bits: dict[str, list[Any]] = {}
        for c, width in widths.items():
            self.bits[c], variables = variables[:width], variables[width:]
        self.none, self.all = self.manager.false(), self.manager.true()

    def _at_least(self, bits: list[Any], value: int) -> Any:
        found = self.all
        for place, bit in enumerate(reversed(bits)):
            found = (bit & found) if value >> place & 1 else (bit | found)
        return found

    def _rules(self) -> list[Any]:
        rules = []
        seen: dict[tuple[str, int, int], Any] = {}
        bounds = {c: (self.given.low[c].tolist(), self.given.high[c].tolist()) for c in ORDER}
        for i in range(len(self.given)):
            rule = self.all
            for c in reversed(ORDER):
                low, high = bounds[c][0][i], bounds[c][1][i]
                part = seen.get((c, low, high))
                if part is None:
                    above = self.none if high == INTERVALS[c] else self._at_least(self.bits[c], high + 1)
                    part = seen[c, low, high] = self._at_least(self.bits[c], low) & ~above
                rule = part & rule
            rules.append(rule)
        return rules

    def accepted(self) -> Any:
        """What the list accepts, from its last rule to the first; nothing by default."""
        found = self.none
        for rule, deny in reversed(list(zip(self._rules(), self.given.deny.tolist(), strict=True))):
            found = found & ~rule if deny else found | rule
        return found

    def share(self, function: Any, protocol: int) -> Fraction:
        """The part of a protocol's headers for which a function is true."""
        only = self.all
        for place, bit in enumerate(reversed(self.bits["protocol"])):
            only = only & (bit if protocol >> place & 1 else ~bit)
        return Fraction(int((function & only).sat_count(self.width)), 1 << (self.width - 8))

    def dead(self) -> list[int]:
        """The rows that are the first match of nothing."""
        found, live = [], self.all
        for i, rule in enumerate(self._rules()):
            if not (live & rule).satisfiable():
                found.append(i)
            live = live & ~rule
        return found

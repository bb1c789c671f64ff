"""Lists of 1 000 rules beside OxiDD's binary decision diagrams: dead rules, accepted sets, numbers of nodes.

The bits of a header stand in the order of our levels, the highest bit of a field first. Then a field's nodes in our
diagram are the functions that are left when all fields before it have a value, and that hang on it first: in the other
diagram, the nodes of the field's bits to which an edge of an earlier field leads. Both are canonical, so that
their numbers are equal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

import attrs
import numpy as np
import pytest

from benchmarks import classbench
from benchmarks.lists import List, generate
from benchmarks.peers.bdd import ORDER, Bdd
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.index.rowaudit import audit_rows
from netsim.index.rows import INTERVALS
from netsim.rules.model import RuleSet
from netsim.space import packets
from netsim.space.diagram import FALSE, OR, TRUE
from netsim.space.fields import FIELDS, PORT_PROTOCOLS, Family
from netsim.space.pool import POOL

LEVELS = {FIELDS[name].level: name for name in (*ORDER, "fragment")}
LISTS = ("site4_1k", "acl1_1k", "fw1_1k", "ipc1_1k")


def listed(name: str) -> List:
    return generate(1000) if name == "site4_1k" else classbench.load(name)


def ruled(given: List) -> RuleSet:
    return attrs.evolve(given.rules(), family=Family.IPV4)


class Functions(Bdd):
    """The rules of a list as functions of the header's bits; a rule with ports needs a first fragment that has some."""

    def __init__(self, given: List) -> None:
        super().__init__(given, nodes=1 << 20)
        (place,) = self.manager.add_vars(1)
        self.bits["fragment"] = [self.manager.var(place)]
        self.field: list[str] = [name for name, bits in self.bits.items() for _ in bits]  # of each bit
        ported = self.none
        for number in PORT_PROTOCOLS:
            above = self._at_least(self.bits["protocol"], number + 1)
            ported = ported | (self._at_least(self.bits["protocol"], number) & ~above)
        self.carries = ported & ~self.bits["fragment"][0]

    def _rules(self) -> list[Any]:
        sides = self.given.low, self.given.high
        whole = np.ones(len(self.given), np.bool_)
        for port in ("sport", "dport"):
            low, high = (side[port] for side in sides)
            whole &= (low == 0) & (high == np.uint64(INTERVALS[port]))
        return [
            rule if free else rule & self.carries
            for rule, free in zip(super()._rules(), whole.tolist(), strict=True)
        ]

    def of(self, node: int) -> Any:
        """One of our diagrams, bit by bit."""
        known = {FALSE: self.none, TRUE: self.all}
        for each in sorted(POOL.reachable(node), key=lambda n: -POOL.level[n]):
            known[each] = self._split(each, known)
        return known[node]

    def _split(self, node: int, known: dict[int, Any]) -> Any:
        """A node as a tree over the bits of its field, from the results of its children."""
        bits = self.bits[LEVELS[POOL.level[node]]]
        bounds, children = POOL.bounds[node], POOL.children[node]

        def at(depth: int, base: int) -> Any:
            first = bisect_left(bounds, base)
            if bounds[first] >= base + (1 << (len(bits) - depth)) - 1:
                return known[children[first]]
            low, high = at(depth + 1, base), at(depth + 1, base + (1 << (len(bits) - depth - 1)))
            return bits[depth].ite(high, low)

        return at(0, 0)

    def entries(self, function: Any) -> Counter[str]:
        """How many functions are left when all fields before one have a value, by the field that they hang on first."""
        found = {function}
        seen, waiting = {function}, [function]
        while waiting:
            each = waiting.pop()
            for child in each.cofactors() or ():
                if child.cofactors() is not None and self._field(child) != self._field(each):
                    found.add(child)
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return Counter(self._field(each) for each in found)

    def _field(self, function: Any) -> str:
        place: int = function.node_level()
        return self.field[place]


@pytest.mark.parametrize("name", LISTS)
def test_accepted_sets_and_their_nodes(name: str) -> None:
    given = listed(name)
    theirs = Functions(given)
    accepted = theirs.accepted()
    asked = Index(ruled(given)).permitted() & packets(family=4, ttl=64)
    with POOL.lock:
        ours = POOL.quantify(asked.node, {*FIELDS["family"].levels, *FIELDS["ttl"].levels}, OR)
        assert theirs.of(ours) == accepted
        assert POOL.count(ours, sorted(LEVELS)) == int(accepted.sat_count(theirs.width + 1))
        nodes = Counter(LEVELS[POOL.level[n]] for n in POOL.reachable(ours))
    assert nodes == theirs.entries(accepted)
    assert nodes.total() > 100


@pytest.mark.parametrize("name", LISTS)
def test_dead_rules(name: str) -> None:
    given = listed(name)
    dead = Functions(given).dead()
    assert [d.rule.source.line - 1 for d in Liveness(Index(ruled(given))).dead] == dead
    assert dead or name == "ipc1_1k"


@pytest.mark.parametrize("name", LISTS)
def test_dead_rows(name: str) -> None:
    """The same lists as rows, in which ports need nothing."""
    given = listed(name)
    found = audit_rows(given.rows)
    assert not found.open
    assert list(found.covers) == Bdd(given, nodes=1 << 20).dead()

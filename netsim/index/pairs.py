"""Rules of one chain whose order matters: an earlier and a later one that overlap and decide otherwise.

The terms are those of Al-Shaer and Hamed, "Discovery of policy anomalies in distributed firewalls", INFOCOM 2004,
section III. For an earlier rule j and a later rule i of a chain with different outcomes, i is a
*generalisation* of j if it matches every packet that j matches (j is an exception to i); j and i are
*correlated* if they share packets and neither matches all of the other's. (That i matches nothing but what j
takes is their *shadowing*: then i is dead, see `liveness`; same outcomes are *redundancy*, see `redundancy`.)

Algebra. Rules are compared as they are written: what one matches is the packets, and the answers of the
unmodelled, for which its conditions hold; a condition that answers afresh may hold for all, and is certain of none.
Only live rules count, and only those that decide: accept, drop, reject, return, and translations; a jump has no
outcome of its own. Two ways to reject are two outcomes. No rule and no chain has no pairs.

Theory of operation. Each rule is a box and a few texts (its unmodelled conditions). Bit vectors over the boxes of a chain
(`boxes.Boxes`) say which earlier rules overlap a rule and which lie inside it, for all of them at once; only
boxes of several ranges in one dimension, and rules that are no box, are looked at one by one, the latter as diagrams. So a
chain of n rules costs n looks at vectors of n bits. A result keeps its vectors: counting is free, and
rules are listed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from netsim.index.boxes import ChainBoxes, chain_boxes, is_empty, meets, positions, within
from netsim.index.compile import Bounds, Compiler
from netsim.index.index import Index
from netsim.index.liveness import Liveness
from netsim.rules.model import Action, ActionKind, Chain, Deferred, Rule, RuleSet, Unmodelled
from netsim.space.diagram import AND, LESS
from netsim.space.pool import POOL

DECIDING = frozenset({ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT, ActionKind.RETURN})


@attrs.frozen(slots=True)
class Overlaps:
    """A later rule and the earlier rules of its chain that overlap it and decide otherwise.

    `inside` and `across` are the positions in `chain` of those that it generalises and of those that it is
    correlated with, as bit vectors.
    """

    rule: Rule
    chain: Chain
    inside: int
    across: int

    @property
    def generalises(self) -> tuple[Rule, ...]:
        """The earlier rules all of whose packets the rule matches too: its exceptions."""
        return tuple(self.chain.rules[i] for i in positions(self.inside))

    @property
    def correlated(self) -> tuple[Rule, ...]:
        """The earlier rules that share some packets with the rule, neither holding all of the other's."""
        return tuple(self.chain.rules[i] for i in positions(self.across))

    @property
    def counts(self) -> tuple[int, int]:
        """How many rules it generalises, and with how many it is correlated."""
        return self.inside.bit_count(), self.across.bit_count()


def pairs(index: Index, liveness: Liveness) -> tuple[Overlaps, ...]:
    """For every live rule that overlaps earlier ones of its chain with other outcomes, those; in rule order."""
    living = {id(rule) for rule in liveness.living}
    diagrams = _Diagrams(index.rules)
    found: list[Overlaps] = []
    for chain in index.rules.chains.values():
        found += _Pairs(chain, living, diagrams).found()
    return tuple(found)


def _outcome(rule: Rule, chain: Chain) -> object:
    """What a rule decides; None if it decides nothing itself."""
    kind = rule.action.kind
    if kind not in DECIDING:
        return None
    if kind is ActionKind.RETURN and chain.hook is not None:
        return (chain.policy or Action(ActionKind.ACCEPT)).kind, "", ()
    return kind, rule.action.text if kind is ActionKind.REJECT else "", rule.effects


class _Diagrams:
    """Rules as diagrams, without what a back end adds to port tests in later fragments."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._compiler: Compiler | None = None

    def of(self, rule: Rule) -> Bounds:
        if self._compiler is None:
            self._compiler = Compiler(attrs.evolve(self._rules, backend=""))
        return self._compiler.rule_bounds(rule)

    def overlap(self, a: Rule, b: Rule) -> bool:
        with POOL.lock, POOL.question():
            return bool(POOL.apply(AND, self.of(a)[1], self.of(b)[1]))

    def inside(self, a: Rule, b: Rule) -> bool:
        """Whether `b` certainly matches whatever `a` may match."""
        with POOL.lock, POOL.question():
            return not POOL.apply(LESS, self.of(a)[1], self.of(b)[0])


class _Pairs:
    def __init__(self, chain: Chain, living: set[int], diagrams: _Diagrams) -> None:
        self.chain = chain
        self.diagrams = diagrams
        self.boxes: ChainBoxes = chain_boxes(chain)
        self.every = (1 << len(chain.rules)) - 1
        self.asked = 0  # the live rules that decide
        self.by_outcome: dict[object, int] = {}
        self.several = 0  # those with several ranges in one dimension
        self.undecided = 0  # those with conditions that a packet does not decide
        self.texts: dict[int, frozenset[tuple[str, bool]]] = {}
        self.afresh = 0
        for i, rule in enumerate(chain.rules):
            outcome = _outcome(rule, chain) if id(rule) in living else None
            box = self.boxes.boxes[i]
            if outcome is None or (box is not None and is_empty(box)):
                continue
            bit = 1 << i
            self.asked |= bit
            self.by_outcome[outcome] = self.by_outcome.get(outcome, 0) | bit
            if box is None:
                continue
            if any(len(ranges) > 1 for ranges in box.values()):
                self.several |= bit
            texts = [c for c in rule.conditions if isinstance(c, Unmodelled | Deferred)]
            if texts:
                self.undecided |= bit
                pure = [c for c in texts if isinstance(c, Deferred) or c.pure]
                self.texts[i] = frozenset((c.text, c.negated) for c in pure)
                self.afresh |= bit * (len(pure) < len(texts))

    def found(self) -> list[Overlaps]:
        result: list[Overlaps] = []
        if len(self.by_outcome) < 2:
            return result
        for i in positions(self.asked):
            rule = self.chain.rules[i]
            other = self.asked & ~self.by_outcome[_outcome(rule, self.chain)] & ((1 << i) - 1)
            if not other:
                continue
            inside, across = self._of(i, other)
            if inside | across:
                result.append(Overlaps(rule, self.chain, inside, across))
        return result

    def _of(self, i: int, others: int) -> tuple[int, int]:
        """Of some earlier rules, those inside rule `i` and those that overlap it otherwise."""
        box = self.boxes.boxes[i]
        if box is None:
            return self._by_diagrams(i, others)
        unknown = others & ~self.boxes.known
        near = self.boxes.overlapping(box) & others
        inner = self.boxes.inside(box) & near
        mine = self.several >> i & 1
        # One by one where hulls do not tell: if one of the two has several ranges.
        for j in positions(near if mine else near & self.several):
            there = self.boxes.boxes[j]
            assert there is not None
            if not meets(there, box):
                near &= ~(1 << j)
                inner &= ~(1 << j)
            elif inner >> j & 1 and not within(there, box):
                inner &= ~(1 << j)
        near, inner = self._by_texts(i, near, inner)
        more = self._by_diagrams(i, unknown) if unknown else (0, 0)
        return inner | more[0], near & ~inner | more[1]

    def _by_texts(self, i: int, near: int, inner: int) -> tuple[int, int]:
        """What unmodelled conditions leave of the rules that overlap rule `i` and of those inside it."""
        mine = self.texts.get(i, frozenset())
        if self.undecided >> i & 1:
            # What a condition that answers afresh matches is certain of no packet.
            inner = 0 if self.afresh >> i & 1 else inner & (self.undecided if mine else self.every)
        if not mine:
            return near, inner
        opposed = frozenset((text, not negated) for text, negated in mine)
        for j in positions(near & self.undecided):
            theirs = self.texts[j]
            if theirs & opposed:
                near &= ~(1 << j)
                inner &= ~(1 << j)
            elif not mine <= theirs:
                inner &= ~(1 << j)
        return near, inner

    def _by_diagrams(self, i: int, others: int) -> tuple[int, int]:
        rule = self.chain.rules[i]
        inside = across = 0
        for j in positions(others):
            earlier = self.chain.rules[j]
            if self.diagrams.overlap(earlier, rule):
                if self.diagrams.inside(earlier, rule):
                    inside |= 1 << j
                else:
                    across |= 1 << j
        return inside, across


def summary(found: tuple[Overlaps, ...]) -> Mapping[str, int]:
    """How many pairs there are of each kind, and how many rules are the later one of some."""
    counts = [each.counts for each in found]
    return {
        "rules": len(found),
        "generalised": sum(inside for inside, _ in counts),
        "correlated": sum(across for _, across in counts),
    }


__all__ = ["Overlaps", "pairs", "summary"]

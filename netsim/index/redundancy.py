"""Which rules can go: every packet gets the same without them, and somebody can say from whom.

Algebra. A live rule is *redundant* if without it every packet has the same outcomes and is the same packet
afterwards at every hook, for every value of the unmodelled, and every *observer* sees the same packets. An
observer is a rule that does something which no outcome tells: one that only goes on (LOG, a rule that counts), one that
changes a set, a target that is not modelled, a condition that answers afresh (it may remember who asked).
So an observer is never redundant, nor is a rule that keeps packets from one. Two kinds of rejection are two
outcomes here. Redundancy is not additive: of two equal rules either can go, not both; `removable` is a set that can
go together. The last rule that turns connection tracking on stays. Dead rules are no business of `redundant`
(`liveness` has them); an empty rule set has no redundant rule, and nothing can be removed from it.

Theory of operation. Most rules matter, and a packet shows it: the one that proves a rule alive is sent through the
rules without it (`_Skipping`, on the specification's own walk) and decided otherwise. For the others the
box of the rule, less what earlier rules take of it, is followed through the rest of its chain: if all of it
meets rules with the same action only, or the end of the chain does the same, the rule is redundant, and those are the
reason; if some meets another rule, a packet of that part is sent. In long chains that are boxes throughout `successors` says
so by rows. What stays open is decided by diagrams: the
rule set cut down to the rule's reach (`reaches.sliced`), with the rule and without it. Outcomes do not say which of
several an unmodelled target or a condition that answers afresh has chosen: rules whose packets meet such a
choice are redundant by the proof of boxes only, which does not depend on it.

Cost. A walk for a rule that matters, a look at the overlapping rules for most others, two small
compilations for the rest.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from netsim.index.boxes import Box, chain_boxes, is_empty, meets, minus, positions
from netsim.index.differ import ASIDE, differently
from netsim.index.flow import Watch
from netsim.index.function import call_order
from netsim.index.index import Index
from netsim.index.liveness import ENDS, LONG, Dead, Liveness, joined, touches
from netsim.index.lookup import Lookup
from netsim.index.reaches import Reach, cut, written
from netsim.index.rowaudit import BoxCover
from netsim.index.successors import Successors
from netsim.index.witness import Visits, values_in
from netsim.rules.conditions import Found, Known
from netsim.rules.effects import Values
from netsim.rules.evaluate import Ruling
from netsim.rules.model import (
    Action,
    ActionKind,
    Chain,
    ChangeSet,
    Netmap,
    Outcome,
    Point,
    Rule,
    RuleSet,
    Track,
    Unmodelled,
    Verdict,
    flat,
)
from netsim.space.diagram import AND, DIFFER, FALSE, OR
from netsim.space.fields import Family
from netsim.space.pool import POOL

PARTS = 64
"""Into how many boxes a rule's box may fall before the diagrams are asked."""
DRAWN = 32
"""How many points of a rule in a long chain are looked up."""
SAMPLES = 3
"""How many parts of a box that another rule decides are tried, each at two points."""


@attrs.frozen(slots=True)
class Redundant:
    """A rule without which nothing changes. `because`: what decides its packets then, in that order.

    None stands for the end of its chain: the policy, or the return to the caller.
    """

    rule: Rule
    because: tuple[Rule | None, ...] = ()


def observes(rule: Rule) -> bool:
    """Whether a rule does something that no outcome and no packet afterwards tells."""
    kind = rule.action.kind
    if kind is ActionKind.UNMODELLED or (kind is ActionKind.CONTINUE and not rule.effects):
        return True
    if any(isinstance(effect, Track | ChangeSet) for effect in rule.effects):
        return True
    return any(isinstance(c, Unmodelled) and not c.pure for c in flat(rule.conditions))


def redundant(index: Index, liveness: Liveness) -> tuple[Redundant, ...]:
    """The live rules each of which could go alone, in the order of the rules."""
    found = map(Redundancy(index, liveness).proof, liveness.living)
    return tuple(each for each in found if each is not None)


def any_proof(proof: Dead | Redundant) -> bool:
    """Every rule may go."""
    del proof
    return True


def removable(
    index: Index, liveness: Liveness, *, may: Callable[[Dead | Redundant], bool] = any_proof
) -> tuple[Dead | Redundant, ...]:
    """Rules that can go together, in the order in which their proofs follow: no other that `may` go could go after them.

    The dead first; then, one by one, each that is redundant without those before it.
    """
    engine = Redundancy(index, liveness)
    found: list[Dead | Redundant] = []
    for dead in liveness.dead:
        if not engine.last_tracker(dead.rule) and may(dead):
            engine.remove(dead.rule)
            found.append(dead)
    left = list(liveness.living)
    removed = True
    while removed:
        removed = False
        kept: list[Rule] = []
        for rule in left:
            proof = engine.proof(rule)
            if proof is None or not may(proof):
                kept.append(rule)
            else:
                engine.remove(rule)
                found.append(proof)
                removed = True
        left = kept
    return tuple(found)


class _Skipping:
    """A `Find` that does not see some rules, named by id()."""

    def __init__(self, find: Lookup) -> None:
        self.find = find
        self.gone: set[int] = set()
        self.less = 0

    def __call__(self, chain: Chain, start: int, values: Mapping[str, Any], known: Known) -> Found | None:
        found = self.find(chain, start, values, known)
        while found is not None:
            rule = id(chain.rules[found[0]])
            if rule != self.less and rule not in self.gone:
                return found
            found = self.find(chain, found[0] + 1, values, known)
        return None


@attrs.frozen(slots=True)
class _Seen:
    """What became of one packet: the ruling, and which observers it met."""

    ruling: Ruling
    observers: frozenset[int]


class Redundancy:
    """Proofs for one rule after the other, as if the rules given to `remove` were not there."""

    def __init__(self, index: Index, liveness: Liveness) -> None:
        self.index = index
        self.rules = index.rules
        self.liveness = liveness
        self._at = {
            id(rule): (chain, position)
            for chain in self.rules.chains.values()
            for position, rule in enumerate(chain.rules)
        }
        self._gone: dict[str, int] = {}
        self._takers: dict[int, tuple[list[int], BoxCover]] = {}
        self._following: dict[int, Successors | None] = {}
        self._points = np.random.default_rng(1)
        self._observers = frozenset(id(rule) for rule in self.rules.rules() if observes(rule))
        self._choosers = [
            id(r) for r in self.rules.rules() if observes(r) and r.action.kind is not ActionKind.CONTINUE
        ]
        self._find = _Skipping(liveness.lookup)
        self._walk = Visits(self.rules, index.addresses, self._find, index.limits)
        self._trackers = sum(chain_boxes(c).tracking.bit_count() for c in self.rules.chains.values())
        self._disproofs: dict[int, tuple[Values, Point, _Seen]] = {}
        self._rng = random.Random(1)  # noqa: S311

    def last_tracker(self, rule: Rule) -> bool:
        """Whether connection tracking would be off without a rule."""
        chain, position = self._at[id(rule)]
        return self._trackers == 1 and bool(chain_boxes(chain).tracking >> position & 1)

    def remove(self, rule: Rule) -> None:
        """Go on as if a rule were not there."""
        chain, position = self._at[id(rule)]
        self._gone[chain.name] = self._gone.get(chain.name, 0) | 1 << position
        self._find.gone.add(id(rule))
        self._trackers -= chain_boxes(chain).tracking >> position & 1

    def proof(self, rule: Rule) -> Redundant | None:
        """The proof that a live rule is redundant; None if it is not."""
        if id(rule) in self._observers or self.last_tracker(rule) or self._matters(rule):
            return None
        chain, position = self._at[id(rule)]
        if self._sampled(rule, chain, self._drawn(rule, chain, position)):
            return None
        because, parts = self._by_boxes(rule, chain, position)
        if because is not None:
            return Redundant(rule, tuple(because))
        if self._sampled(rule, chain, parts):
            return None
        return self._exactly(rule, chain)

    # Packets that show that a rule matters

    def _matters(self, rule: Rule) -> bool:
        """Whether a packet that is known already is decided otherwise without a rule."""
        known = self._disproofs.get(id(rule))
        if known is not None and self._differs(rule, *known):
            return True
        walked = self.liveness.walked(rule)
        if walked is None:
            return False
        values, hook, ruling, met = walked
        return self._differs(rule, values, hook, _Seen(ruling, self._observers & met))

    def _differs(self, rule: Rule, values: Values, hook: Point, seen: _Seen) -> bool:
        self._find.less = id(rule)
        without = self._sent(values, hook)
        if without is None or _alike(seen, without):
            return False
        self._disproofs[id(rule)] = (values, hook, seen)
        return True

    def _sent(self, values: Values, hook: Point) -> _Seen | None:
        met = self._walk.visit(values, hook)
        if self._walk.ruling is None or self._walk.open:
            return None
        return _Seen(self._walk.ruling, self._observers & met)

    def _sampled(self, rule: Rule, chain: Chain, parts: Sequence[Box]) -> bool:
        """Whether a packet of one of some boxes, sent on its journey, shows that the rule matters."""
        for part in parts[:SAMPLES]:
            for context in self.liveness.contexts.get(chain.name, ()):
                box = joined(part, context) if context else part
                if is_empty(box):
                    continue
                family = self.rules.family
                if family is None and "family" in box:
                    family = Family(box["family"][0][0])
                for hook in self.liveness.hooks[chain.name]:
                    for rng in (None, self._rng):
                        values = values_in(box, family, hook, rng)
                        self._find.less = 0
                        seen = self._sent(values, hook)
                        if (
                            seen is not None
                            and id(rule) in self._walk.met
                            and self._differs(rule, values, hook, seen)
                        ):
                            return True
        return False

    # Boxes

    def _by_boxes(
        self, rule: Rule, chain: Chain, position: int
    ) -> tuple[list[Rule | None] | None, Sequence[Box]]:
        """What decides the packets of a rule's box in its chain if all of that does the same as the rule.

        Else None, and parts of the box that something else decides.
        """
        boxes = chain_boxes(chain)
        box = boxes.boxes[position]
        key = _does(rule, chain)
        if box is None or key is None or self.liveness.fragments:
            return None, ()
        successors = self._successors(chain)
        if successors is not None:
            return self._by_rows(successors, chain, position, joined(box, self.liveness.mine))
        every = (1 << len(chain.rules)) - 1
        near = (boxes.overlapping(box) | every & ~boxes.known) & ~self._gone.get(chain.name, 0)
        parts = [joined(box, self.liveness.mine)]
        for taken in self._taken(chain, position, parts[0], near):
            parts = _less(parts, taken)
        because: list[Rule | None] = []
        for after in positions(near >> (position + 1) << (position + 1)):
            other, there = chain.rules[after], boxes.boxes[after]
            common = parts if there is None else [p for p in parts if meets(p, there)]
            if not common:
                continue
            if id(other) in self._observers or _does(other, chain) != key:
                return None, [joined(p, there or {}) for p in common]
            because.append(other)
            certain = boxes.certain[after]
            if certain is not None:
                parts = _less(parts, certain)
                if not parts:
                    return because, ()
        if parts and _end(chain) != key:
            return None, parts
        return [*because, None], ()

    def _by_rows(
        self, successors: Successors, chain: Chain, position: int, box: Box
    ) -> tuple[list[Rule | None] | None, Sequence[Box]]:
        """The same where rows say all of a long chain."""
        with POOL.lock, POOL.budget(self.index.limits):
            places, other = successors.of(box, position)
        if places is None:
            return None, () if other is None else ({**box, **other},)
        return [chain.rules[i] if i < len(chain.rules) else None for i in places], ()

    def _successors(self, chain: Chain) -> Successors | None:
        """Who decides what a rule of a long chain leaves, if all of its rules are boxes that end a packet's way."""
        if len(chain.rules) <= LONG or self._gone.get(chain.name):
            return None
        if id(chain) not in self._following:
            at, cover = self._ending(chain)
            found = None
            does = [_does(rule, chain) for rule in chain.rules]
            if (
                len(at) == len(chain.rules)
                and None not in does
                and self._observers.isdisjoint(map(id, chain.rules))
            ):
                numbers: dict[_Does | None, int] = {}
                keys = [numbers.setdefault(each, len(numbers)) for each in [*does, _end(chain)]]
                found = Successors(cover, np.array(keys, np.int64))
            self._following[id(chain)] = found
        return self._following[id(chain)]

    def _taken(self, chain: Chain, position: int, box: Box, near: int) -> Iterable[Box]:
        """What rules before a position, of those `near`, surely end the way of; in long chains only what matters in a box."""
        boxes = chain_boxes(chain)
        if len(chain.rules) <= LONG or self._gone.get(chain.name):
            shifting = self.liveness.shifting(chain)
            for before in positions(near & ((1 << position) - 1)):
                taken = boxes.certain[before]
                if (
                    taken is not None
                    and chain.rules[before].action.kind in ENDS
                    and not touches(taken, shifting)
                ):
                    yield taken
            return
        at, cover = self._ending(chain)
        for i in cover.outer(box, bisect_left(at, position)):
            taken = boxes.certain[at[i]]
            assert taken is not None
            yield taken

    def _ending(self, chain: Chain) -> tuple[list[int], BoxCover]:
        """The rules of a long chain that surely end the way of what they match: positions, and their boxes."""
        if id(chain) not in self._takers:
            shifting = self.liveness.shifting(chain)
            found = [
                (i, taken)
                for i, (rule, taken) in enumerate(zip(chain.rules, chain_boxes(chain).certain, strict=True))
                if taken is not None and rule.action.kind in ENDS and not touches(taken, shifting)
            ]
            self._takers[id(chain)] = [i for i, _ in found], BoxCover([taken for _, taken in found])
        return self._takers[id(chain)]

    def _drawn(self, rule: Rule, chain: Chain, position: int) -> list[Box]:
        """Points of a rule in a long chain for which the next rule, or the end of the chain, does otherwise."""
        box, key = chain_boxes(chain).boxes[position], _does(rule, chain)
        if len(chain.rules) <= LONG or self._gone.get(chain.name) or box is None or key is None:
            return []
        at, cover = self._ending(chain)
        mine = bisect_left(at, position)
        if mine == len(at) or at[mine] != position:
            return []
        found = cover.next(box, mine, DRAWN, self._points)
        return [
            {**box, **point}
            for point, i in found
            if (_does(chain.rules[at[i]], chain) if i >= 0 else _end(chain)) != key
        ]

    # Diagrams

    def _exactly(self, rule: Rule, chain: Chain) -> Redundant | None:
        _, position = self._at[id(rule)]
        less = {**self._gone, chain.name: self._gone.get(chain.name, 0) | 1 << position}
        because: dict[int, Rule | None] = {}
        with POOL.lock, POOL.budget(self.index.limits):
            for hook in self.liveness.hooks[chain.name]:
                reach = self.liveness.reach(rule, hook)
                found = self._same(rule, hook, reach, less)
                if found is None:
                    return None
                because.update({id(each): each for each in found})
        return Redundant(rule, tuple(because.values()))

    def _same(
        self, rule: Rule, hook: Point, reach: Reach, less: Mapping[str, int]
    ) -> list[Rule | None] | None:
        """What decides a rule's packets without it, if that is the same; None if it is not."""
        before, after = cut(self.index, reach, self._gone), cut(self.index, reach, less)
        watches = Watch(met={}), Watch(met={})
        a, b = before.flow.journey(reach.where, hook), after.flow.journey(reach.where, hook)
        if POOL.apply(DIFFER, a.outcomes, b.outcomes) or differently(a.leaving, b.leaving):
            return None
        for index, watch in zip((before, after), watches, strict=True):
            index.flow.journey(reach.where, hook, watch)
        met, then = (watch.met or {} for watch in watches)
        mine = met.get(id(rule), FALSE)
        changes = changed_by(self.rules, rule, self._find.gone)
        if any(POOL.apply(AND, mine, met.get(chooser, FALSE)) for chooser in self._choosers):
            return None
        for observer in self._observers:
            sees = met.get(observer, FALSE)
            if sees != then.get(observer, FALSE) or (changes and POOL.apply(AND, mine, sees)):
                return None
        if _rejections(watches[0]) != _rejections(watches[1]):
            return None
        found: list[Rule | None] = []
        for later in after.rules.rules() if changes else ():
            if (
                later.action.kind is ActionKind.CONTINUE
                and changes & written(later)
                and POOL.apply(AND, mine, then.get(id(later), FALSE))
            ):
                found.append(later)
        for d in watches[1].decisions:
            if POOL.apply(AND, mine, POOL.apply(OR, d.sure, d.maybe)):
                found.append(d.rule)
        return found


def changed_by(rules: RuleSet, rule: Rule, gone: Container[int] = ()) -> set[str]:
    """The fields that a rule, and the chains that it calls, may change; without the rules `gone`, by id()."""
    names = written(rule)
    if rule.action.kind in (ActionKind.JUMP, ActionKind.GOTO):
        for name in call_order(rules, (rule.action.chain,)):
            for each in rules.chains[name].rules:
                if id(each) not in gone:
                    names |= written(each)
    return names


def _alike(a: _Seen, b: _Seen) -> bool:
    """Whether one packet's two fates may be the same; open values and undecided ways are not told apart."""
    one, two = a.ruling, b.ruling
    if one.outcomes != two.outcomes or a.observers != b.observers:
        return False
    if one.outcomes == Outcome.REJECT and _rejected(one) != _rejected(two):
        return False
    if one.outcomes == Outcome.ACCEPT and one.after is not None and two.after is not None:
        for name, value in one.after.items():
            other = two.after.get(name)
            if name not in ASIDE and value is not None and other is not None and value != other:
                return False
    return True


def _rejected(ruling: Ruling) -> str:
    return ruling.step.rule.action.text if ruling.step is not None and ruling.step.rule is not None else ""


def _rejections(watch: Watch) -> dict[str, int]:
    """How packets are rejected, where they are not all rejected in one way."""
    found: dict[str, int] = {}
    for d in watch.decisions:
        if d.verdict is Verdict.REJECT and d.rule is not None:
            text = d.rule.action.text
            found[text] = POOL.fold(OR, [found.get(text, FALSE), d.sure, d.maybe])
    found = {text: node for text, node in found.items() if node}
    return found if len(found) > 1 else {}


_Does = tuple[ActionKind, str, tuple[object, ...]]


def _does(rule: Rule, chain: Chain) -> _Does | None:
    """What a rule that ends a packet's way through its chain does; None for any other."""
    kind = rule.action.kind
    if kind is ActionKind.RETURN and not rule.effects:
        return _end(chain)
    if kind not in (ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT):
        return None
    if any(isinstance(effect, Netmap) for effect in rule.effects):  # what it does depends on its conditions
        return None
    return kind, rule.action.text if kind is ActionKind.REJECT else "", rule.effects


def _end(chain: Chain) -> _Does:
    """What the end of a chain does."""
    if chain.hook is None:
        return ActionKind.RETURN, "", ()
    policy = chain.policy or Action(ActionKind.ACCEPT)
    return policy.kind, policy.text if policy.kind is ActionKind.REJECT else "", ()


def _less(parts: Iterable[Box], taken: Box) -> list[Box]:
    """Boxes without what a box takes; as they are where they would become too many."""
    parts = list(parts)
    left: list[Box] = []
    for part in parts:
        left += minus(part, taken) if meets(part, taken) else [part]
    return left if len(left) <= PARTS else parts


__all__ = ["Redundancy", "Redundant", "changed_by", "observes", "redundant", "removable"]

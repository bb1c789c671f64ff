"""Which rules no packet reaches, each with its proof, and for every other rule a packet that does.

A rule is *dead* if no packet matches it on any journey (forward, input, output), for any value of what is
not modelled. A live rule has a witness: a packet of which the specification's own walk says that it matches.
The rules of a chain that no base chain calls are dead; an empty rule set has none.

Theory of operation. Witnesses first, since most rules are live and a concrete packet is cheap: a point of
the rule's box, then one that no earlier rule of its chain takes (`boxes.cover`), is sent on its journey.
Where the cover test finds that earlier rules take everything, the rule is dead and the cover, which is
irredundant, is the proof. What stays open (rules that are no box, chains that are called for some packets only, marks) is
decided by diagrams: the rule set is cut down to the rules that meet the rule in question
(`differ.sliced`) and the set of packets that may match it is computed. If it is empty, rules are taken
out of the cut for as long as it stays empty; those that remain are the cover. Sampling is never
trusted for a "no".
"""

from __future__ import annotations

import contextlib
import random
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cached_property, partial
from typing import TypeGuard

import attrs

from netsim.errors import BudgetExceeded
from netsim.index.boxes import Box, Boxes, Cover, box_of, chain_boxes, cover, intersect, is_empty, positions
from netsim.index.flow import Watch
from netsim.index.function import call_order, callees
from netsim.index.index import Index
from netsim.index.lookup import Lookup
from netsim.index.reaches import Reach, chains_of, cut, reach_of_rules, unstable_levels, written
from netsim.index.rowaudit import BoxCover
from netsim.index.witness import Visits, values_in
from netsim.rules.effects import Values
from netsim.rules.evaluate import Ruling
from netsim.rules.journey import POINTS, uses_tracking
from netsim.rules.model import ActionKind, Chain, Condition, Deferred, Point, Rule, RuleSet, Unmodelled
from netsim.space.diagram import AND, OR, TRUE
from netsim.space.fields import FIELDS, Family
from netsim.space.packet import Packet
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL, VARIABLE_LEVELS, field_node

ENDS = frozenset({ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT, ActionKind.RETURN, ActionKind.GOTO})
"""The actions after which a packet does not come to the next rule of the chain."""

DEPTH, TAKERS = 4, 20_000
"""How deep jumps are followed for the cover test, and up to how many rules; the exact question knows no limit."""
LONG = 200
"""More takers than these are asked as rows (`rowaudit.BoxCover`)."""
TRIES = 6
"""How many random points of a rule's box are tried before the exact question."""
UNCONFIRMED = 16
"""After so many rules of which no walk says what the diagrams do, one packet is tried for each."""
EVALUATIONS = 200
"""How many cuts are computed to make one cover irredundant."""


class Death(Enum):
    """Why no packet matches a rule."""

    CONTRADICTION = "its own conditions contradict each other"
    UNCALLED = "no chain that packets come through calls its chain"
    COVERED = "earlier rules take every packet that it matches"
    UNSENT = "its chain is not sent such packets"


@attrs.frozen(slots=True)
class Dead:
    """The proof that a rule is dead. `cover`: the rules that take its packets, none of which can be left out.

    `irredundant` False: the work budget ended before every member had been tried (no cover: before any was found).
    """

    rule: Rule
    death: Death
    cover: tuple[Rule, ...] = ()
    irredundant: bool = True


@attrs.frozen(slots=True)
class Live:
    """A packet that arrives for `hook` and matches the rule."""

    rule: Rule
    packet: Packet
    hook: Point


@attrs.frozen(slots=True)
class _Taker:
    """A rule that surely ends the way of the packets of `box` at or before `position` of a chain."""

    position: int
    rule: Rule
    box: Box


class Liveness:
    """The liveness of every rule of an index. `dead` and `live` are in the order of the rules."""

    def __init__(self, index: Index, *, seed: int = 1) -> None:
        self.index = index
        self.rules = index.rules
        self._rng = random.Random(seed)  # noqa: S311
        self.lookup = Lookup(self.rules)
        self._walk = Visits(self.rules, index.addresses, self.lookup, index.limits)
        self._order: dict[int, Rule] = {id(r): r for r in self.rules.rules()}
        self._live: dict[int, tuple[Values, Point]] = {}
        self._walked: dict[int, tuple[Ruling, set[int]]] = {}  # id(values) of a witness -> what became of it
        self._shifting: dict[str, set[str]] = {}
        self._unstable: dict[Point, set[int]] = {}
        self._dead: dict[int, Dead] = {}
        self._open: dict[int, Rule] = {}
        self._unconfirmed = 0
        family = self.rules.family
        self.mine: Box = {} if family is None else {"family": ((int(family), int(family)),)}
        tracking = uses_tracking(self.rules)
        self.fragments = self.rules.backend == "nft" and not tracking
        # Connection tracking reassembles, so that no later fragment comes.
        self._first: Box = {("fragment", 0): ((0, 0),)} if tracking else {}
        self._decide()

    @property
    def dead(self) -> tuple[Dead, ...]:
        """The dead rules with their proofs."""
        return tuple(self._dead[i] for i in self._order if i in self._dead)

    @property
    def live(self) -> tuple[Live, ...]:
        """The live rules with their witnesses."""
        found = []
        for i, rule in self._order.items():
            if i in self._live:
                values, hook = self._live[i]
                found.append(Live(rule, Packet.from_values(values), hook))
        return tuple(found)

    @property
    def living(self) -> tuple[Rule, ...]:
        """The live rules."""
        return tuple(rule for i, rule in self._order.items() if i in self._live)

    def walked(self, rule: Rule) -> tuple[Values, Point, Ruling, set[int]] | None:
        """A live rule's witness, what becomes of it, and the rules (by id) that it meets; None if that is open."""
        values, hook = self._live[id(rule)]
        found = self._walked.get(id(values))
        return None if found is None else (values, hook, *found)

    @property
    def undecided(self) -> tuple[Rule, ...]:
        """The rules for which the work budget was not enough: neither proven dead nor seen alive."""
        return tuple(rule for i, rule in self._open.items() if i not in self._live)

    # Where chains are called

    @cached_property
    def hooks(self) -> Mapping[str, tuple[Point, ...]]:
        """Chain -> the hooks on whose journeys it lies."""
        found: dict[str, list[Point]] = {}
        for hook in POINTS:
            for name in chains_of(self.rules, hook):
                found.setdefault(name, []).append(hook)
        return {name: tuple(hooks) for name, hooks in found.items()}

    @cached_property
    def contexts(self) -> Mapping[str, tuple[Box, ...]]:
        """Chain -> a few boxes of what its callers send, along ways of jumps: hints for witnesses."""
        found: dict[str, list[Box]] = {c.name: [{}] for c in self.rules.chains.values() if c.hook is not None}
        for name in reversed(call_order(self.rules, tuple(found))):
            for rule in self.rules.chains[name].rules:
                if rule.action.kind not in (ActionKind.JUMP, ActionKind.GOTO):
                    continue
                box = box_of(rule.conditions, certain=False)
                there = found.setdefault(rule.action.chain, [])
                for context in found.get(name, ()) if box is not None else ():
                    if len(there) < 8:
                        both = joined(context, box or {})
                        if not is_empty(both):
                            there.append(both)
        return {name: tuple(boxes) for name, boxes in found.items()}

    # Deciding

    def _decide(self) -> None:
        for chain in self.rules.chains.values():
            if chain.name not in self.hooks:
                for rule in chain.rules:
                    self._dead[id(rule)] = Dead(rule, Death.UNCALLED)
                continue
            self._chain(chain)

    def _chain(self, chain: Chain) -> None:
        wide = [None if box is None else joined(box, self.mine) for box in chain_boxes(chain).boxes]
        for rule, box in zip(chain.rules, wide, strict=True):
            if box is not None and not is_empty(box):
                self._try(rule, chain, box)
        if all(id(r) in self._live for r in chain.rules):
            return
        shifting = self.shifting(chain)
        takers = [t for t in self._takers(chain, {}, 0) if not touches(t.box, shifting)]
        if len(takers) > LONG:
            long = BoxCover([t.box for t in takers], limits=self.index.limits)
        else:
            long = None
            taking = Boxes(t.box for t in takers)
        for position, (rule, box) in enumerate(zip(chain.rules, wide, strict=True)):
            if id(rule) in self._live:
                continue
            if box is None or (self.fragments and is_empty(box)):
                self._exactly(rule, chain)
            elif is_empty(box) or _opposed(rule):
                self._dead[id(rule)] = Dead(rule, Death.CONTRADICTION)
            else:
                before = bisect_left(takers, position, key=lambda t: t.position)
                if long is not None:
                    covered = partial(long.cover, end=before)
                else:
                    near = positions(taking.overlapping(box) & ((1 << before) - 1))
                    covered = partial(cover, others=[(i, takers[i].box) for i in near])
                self._uncertain(rule, chain, box, takers, covered, shifting)

    def _takers(self, chain: Chain, within: Box, depth: int) -> list[_Taker]:
        """The rules of a chain, and of those that it jumps to, that surely end a packet's way through it.

        In a chain that is jumped to, only those before the first that goes back: a packet that matches them
        ends there or before, and does not come back.
        """
        found: list[_Taker] = []
        certain = chain_boxes(chain).certain
        for position, rule in enumerate(chain.rules):
            kind = rule.action.kind
            if depth and kind in (ActionKind.RETURN, ActionKind.GOTO):
                break
            if kind not in ENDS and kind is not ActionKind.JUMP:
                continue
            box = certain[position]
            if box is None:
                continue
            box = joined(within, box) if within else box
            if is_empty(box):
                continue
            if kind is not ActionKind.JUMP:
                found.append(_Taker(position, rule, box))
            elif depth < DEPTH and len(found) < TAKERS:
                below = self._takers(self.rules.chains[rule.action.chain], box, depth + 1)
                found += [attrs.evolve(t, position=position) for t in below]
        return found

    def _uncertain(
        self,
        rule: Rule,
        chain: Chain,
        box: Box,
        takers: Sequence[_Taker],
        covered: Callable[[Box], Cover],
        shifting: set[str],
    ) -> None:
        """A rule that its own box's first points did not show alive; `covered` asks the takers before it."""
        first = {} if "fragment" in shifting else self._first
        steady = joined(first, {d: r for d, r in box.items() if not touches({d: r}, shifting)})
        if first and is_empty(steady):
            self._exactly(rule, chain)
            return
        found = covered(steady)
        if found.members is not None and not (self.fragments and _ported(box)):
            self._dead[id(rule)] = Dead(rule, Death.COVERED, tuple(takers[i].rule for i in found.members))
            return
        if found.point is not None:
            if self._try(rule, chain, {**box, **found.point}):
                return
            for context in self.contexts.get(chain.name, ()):
                both = joined(box, context)
                if is_empty(both):
                    continue
                both_steady = {d: r for d, r in both.items() if not touches({d: r}, shifting)}
                point = covered(joined(first, both_steady)).point
                if point is not None and self._try(rule, chain, {**both, **point}):
                    return
            for _ in range(TRIES):
                if self._try(rule, chain, {**box, **found.point}, self._rng):
                    return
                if self._walk.ruling is None:
                    break
        self._exactly(rule, chain)

    def _try(self, rule: Rule, chain: Chain, box: Box, rng: random.Random | None = None) -> bool:
        """Send a point of a box on its journey; everything that it meets is alive."""
        if id(rule) in self._live:
            return True
        family = self.rules.family
        if "family" in box and family is None:
            family = Family(box["family"][0][0])
        for hook in self.hooks[chain.name]:
            values = values_in(box, family, hook, rng)
            found = self._visited(values, hook)
            for met in found:
                if met not in self._live:
                    self._live[met] = (values, hook)
                    if self._walk.ruling is not None and not self._walk.open:
                        self._walked[id(values)] = self._walk.ruling, found
            if id(rule) in self._live:
                return True
        return False

    def _visited(self, values: Values, hook: Point) -> set[int]:
        """The rules that a packet meets; with too many undecided ways, those that it met on the ways gone."""
        with contextlib.suppress(BudgetExceeded):
            self._walk.visit(values, hook)
        return self._walk.met

    def shifting(self, chain: Chain) -> set[str]:
        """The fields that change while a packet is in a chain and what it calls."""
        if chain.name in self._shifting:
            return self._shifting[chain.name]
        names: set[str] = set()
        for name in call_order(self.rules, (chain.name,)):
            for rule in self.rules.chains[name].rules:
                if rule.effects or rule.action.kind is ActionKind.UNMODELLED:
                    names |= written(rule)
        self._shifting[chain.name] = names
        return names

    # The exact question

    def _exactly(self, rule: Rule, chain: Chain) -> None:
        try:
            for hook in self.hooks[chain.name]:
                found = self.matched(rule, hook)
                if found:
                    self._live[id(rule)] = (self._confirmed(rule, found, hook).values(), hook)
                    return
        except BudgetExceeded:
            self._open[id(rule)] = rule
            return
        try:
            self._dead[id(rule)] = self._explained(rule, chain)
        except BudgetExceeded:
            self._dead[id(rule)] = Dead(rule, Death.COVERED, (), irredundant=False)

    def _confirmed(self, rule: Rule, found: PacketSet, hook: Point) -> Packet:
        """A packet of a set of packets that meet the rule: one of which the walk says so too, if it is found."""
        first = found.sample()
        assert first is not None
        tries = TRIES if self._unconfirmed < UNCONFIRMED else 0
        packet: Packet | None = first
        for seed in range(tries + 1):
            assert packet is not None
            if id(rule) in self._visited(packet.values(), hook):
                return packet
            if self._walk.ruling is None or seed == tries:
                break  # too many undecided ways, as the next one will have
            packet = found.sample(seed=seed)
        self._unconfirmed += 1
        return first  # behind a field that a translation left open: the set is the proof

    def matched(self, rule: Rule, hook: Point) -> PacketSet:
        """The packets, as they arrive for a hook, that may match a rule on their journey. Exact."""
        with POOL.lock, POOL.budget(self.index.limits):
            reach = self.reach(rule, hook)
            found = _met(cut(self.index, reach), rule, reach.where, hook)
            return PacketSet(POOL.quantify(found, VARIABLE_LEVELS, OR))

    def reach(self, rule: Rule, hook: Point) -> Reach:
        """Where a rule may match at some point of a journey to a hook."""
        if hook not in self._unstable:
            self._unstable[hook] = unstable_levels(self.rules, hook)
        return reach_of_rules([(rule, self.index.flow.functions.compiler)], self._unstable[hook])

    def _explained(self, rule: Rule, chain: Chain) -> Dead:
        """Why a rule is dead that no cover of boxes explains: the rules that must stay for it to stay dead."""
        with POOL.lock, POOL.budget(self.index.limits):
            compiler = self.index.flow.functions.compiler
            mine = POOL.apply(AND, compiler.rule_bounds(rule)[1], self._family)
            if not mine:
                return Dead(rule, Death.CONTRADICTION)
            cuts = []
            for hook in self.hooks[chain.name]:
                reach = self.reach(rule, hook)
                cuts.append((hook, reach, cut(self.index, reach)))
            leading = self._leading(chain.name)
            members: dict[int, Rule] = {}
            unmet: set[int] = set()
            for hook, reach, index in cuts:
                watch = Watch(met={})
                index.flow.journey(reach.where, hook, watch)
                for each in index.rules.rules():
                    if each is rule or (
                        each.action.kind in (ActionKind.JUMP, ActionKind.GOTO)
                        and each.action.chain in leading
                    ):
                        continue
                    if not (watch.met or {}).get(id(each)):
                        unmet.add(id(each))
                    elif each.action.kind is not ActionKind.CONTINUE or each.effects:
                        members[id(each)] = each
            # What nothing meets goes first: it would take the packets of members that are tried without.
            unmet -= members.keys()

            spent = 0

            def dead(kept: set[int]) -> bool:
                nonlocal spent
                spent += 1
                for hook, reach, index in cuts:
                    gone = {i for i in members if i not in kept} | unmet
                    rules = _without(index.rules, gone)
                    less = Index(
                        rules, addresses=index.addresses, variables=index.variables, whole=index.whole
                    )
                    if _met(less, rule, reach.where, hook):
                        return False
                return True

            kept = set(members)
            if dead(set()):
                return Dead(rule, Death.UNSENT)
            # Halves first, then one by one: most of what a cut holds has nothing to do with it.
            size = max(1, len(kept) // 2)
            while True:
                left = [i for i in members if i in kept]
                for at in range(0, len(left), size):
                    fewer = kept - set(left[at : at + size])
                    if spent < EVALUATIONS and dead(fewer):
                        kept = fewer
                if size == 1:
                    break
                size = max(1, size // 2)
            complete = spent < EVALUATIONS
        return Dead(rule, Death.COVERED, tuple(r for i, r in members.items() if i in kept), complete)

    @property
    def _family(self) -> int:
        """The packets of the rule set's own family."""
        ranges = self.mine.get("family")
        return TRUE if ranges is None else field_node(FIELDS["family"], ranges)

    def _leading(self, chain: str) -> set[str]:
        """The chains from which a chain is called, itself included."""
        found = {chain}
        names = [name for name in self.hooks if name not in found]
        for name in call_order(self.rules, tuple(names)):  # callees first
            if found & set(callees(self.rules.chains[name])):
                found.add(name)
        return found


def _met(index: Index, rule: Rule, where: int, hook: Point) -> int:
    watch = Watch(met={})
    index.flow.journey(where, hook, watch)
    assert watch.met is not None
    return watch.met.get(id(rule), 0)


def _without(rules: RuleSet, gone: set[int]) -> RuleSet:
    changed = []
    for chain in rules.chains.values():
        kept = tuple(r for r in chain.rules if id(r) not in gone)
        if len(kept) != len(chain.rules):
            changed.append(attrs.evolve(chain, rules=kept))
    return rules.replace(changed) if changed else rules


def touches(box: Box, names: set[str]) -> bool:
    """Whether a box restricts one of some fields."""
    return any((d if isinstance(d, str) else d[0]) in names for d in box)


def _opposed(rule: Rule) -> bool:
    """Whether a rule asks for a pure unmodelled condition and for its negation."""
    texts = {(c.text, c.negated) for c in rule.conditions if isinstance(c, Deferred) or _is_pure(c)}
    return any((text, not negated) in texts for text, negated in texts)


def _is_pure(condition: Condition) -> TypeGuard[Unmodelled]:
    return isinstance(condition, Unmodelled) and condition.pure


def _ported(box: Box) -> bool:
    """Whether a box tests what a later fragment's payload may be read as."""
    return touches(box, {"sport", "dport", "tcp_flags", "icmp_type", "icmp_code"})


def joined(a: Box, b: Box) -> Box:
    """The packets of both boxes, as a box."""
    result = dict(a)
    for dimension, ranges in b.items():
        result[dimension] = intersect(result[dimension], ranges) if dimension in result else ranges
    return result


__all__ = ["Dead", "Death", "Live", "Liveness"]

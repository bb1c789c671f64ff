"""Legs: the chains of one rule set at some hook points, for batches of records that go on from there.

Theory of operation. A device on the way of a packet asks PREROUTING, then routing, then INPUT or FORWARD and
POSTROUTING. What lies between two look-ups of a route is a leg: a part of a rule set, as a plan (`plans`) in which
every change counts that a later device could see. A leg gives every record its outcomes and the record as it goes
on. Records that no plan can answer are put to the specification, one of each group (`groups`).

Outcomes are a superset where undecided rows share a text with another leg. Where a record goes on with a field that
nobody knows (a translation to one of several addresses, an unmodelled target), it is `opened`: what becomes
of it afterwards is nobody's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded, Limits
from netsim.index.columns import Batch
from netsim.index.deciders import Deciders
from netsim.index.flatten import Does, Variant, acts, read, tested
from netsim.index.groups import Groups
from netsim.index.index import Index
from netsim.index.plans import CODE, I32, UNKNOWN, Plan, Ready, Records, View
from netsim.rules.journey import NO_ADDRESSES, translations
from netsim.rules.model import Outcome, Point, RuleSet, Verdict
from netsim.space.fields import Family
from netsim.space.packet import Packet

HEADER = frozenset({"src4", "src6", "dst4", "dst6", "sport", "dport", "tos", "ttl"})
"""What the next device sees of a packet, as far as rules can change it."""
CONTEXT = frozenset({"mark", "ctmark", "ct_status", "state"})
"""What later chains of the same device see besides."""

_BITS = ((Outcome.ACCEPT, 1), (Outcome.DROP, 2), (Outcome.REJECT, 4))


class Whole(Protocol):
    """The rule set that legs are parts of."""

    @property
    def rules(self) -> RuleSet:
        """The rules."""

    @property
    def deciders(self) -> Deciders:
        """Their numbers."""


@attrs.define(slots=True, eq=False)
class Passed:
    """What a leg does with records. Arrays by record; `mask` has a bit for each possible verdict (1, 2, 4).

    `row`, `maybe` and `other` are deciders: what decides if nothing undecided applies, the first undecided row
    before it, and the first that decides otherwise; -1: none. `main`: where nothing undecided applies, the record
    goes on. `opened`: it goes on with a field that is not known. `translated`: it is, or may be, translated here.
    """

    columns: dict[str, NDArray[Any]]
    mask: NDArray[np.uint8]
    row: I32
    maybe: I32
    other: I32
    main: NDArray[np.bool_]
    opened: NDArray[np.bool_]
    translated: NDArray[np.bool_]


def part(rules: RuleSet, points: frozenset[Point]) -> RuleSet:
    """A rule set with the base chains of some hook points only."""
    chains = {n: c for n, c in rules.chains.items() if c.hook is None or c.hook.point in points}
    return attrs.evolve(rules, chains=chains)


def any_acts(rules: RuleSet, points: frozenset[Point]) -> bool:
    """Whether there is a base chain at one of the points that does or decides anything."""
    return any(acts(chain) for point in points for chain in rules.base_chains(point))


def matters(rules: RuleSet) -> frozenset[str]:
    """The fields for which it matters to a leg of these rules whether a record says them."""
    found = set(tested(rules.rules())) | {"protocol"}
    for rule in rules.rules():
        for effect in rule.effects:
            found |= read(effect)
    return frozenset(found)


class Leg:
    """The chains of `whole` at some `points`, on the way to `hook`. `matters`: see `matters`."""

    def __init__(
        self, whole: Whole, points: frozenset[Point], hook: Point, fields: frozenset[str], limits: Limits
    ) -> None:
        self.whole = whole
        self.points = points
        self.hook = hook
        self.fields = fields
        self.limits = limits
        self.plans: dict[Variant, Plan | str] = {}
        self.stored: dict[Variant, Callable[[], Plan]] = {}
        """The plans that a file has."""
        self.asked = 0

    @cached_property
    def _index(self) -> Index:
        """The part as rules: what records are put to that no plan answers."""
        return Index(part(self.whole.rules, self.points), limits=self.limits, hops=False)

    @cached_property
    def translates(self) -> bool:
        """Whether a rule at one of its points may translate."""
        return any(c.hook is not None and c.hook.nat for c in self._index.rules.chains.values()) and any(
            translations(rule.effects) for rule in self._index.rules.rules()
        )

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self._index.rules, NO_ADDRESSES)

    @property
    def kept(self) -> frozenset[str]:
        """The fields that matter behind it."""
        return (
            HEADER | CONTEXT
            if Point.PREROUTING in self.points or Point.POSTROUTING not in self.points
            else HEADER
        )

    def variant(self, family: Family, open_: frozenset[str]) -> Variant:
        """The kind of records of a family that do not say some fields."""
        return Variant(self.hook, family, open_ & self.fields)

    def plan(self, variant: Variant) -> Plan | str:
        """The plan of a variant, or why there is none."""
        found = self.plans.get(variant)
        if found is None and variant in self.stored:
            found = self.plans[variant] = self.stored[variant]()
        if found is None:
            try:
                made = Plan.of(
                    self._index.rules, self.whole.deciders, variant, NO_ADDRESSES, self.limits, self.kept
                )
            except BudgetExceeded as error:
                found = str(error)
            else:  # the walk through the network routes, and takes one from the TTL
                stages = [each for each in made.stages if isinstance(each, Ready)]
                found = Plan(variant, stages, NO_ADDRESSES, made.build_seconds)
            self.plans[variant] = found
        return found

    def run(
        self,
        columns: Mapping[str, NDArray[Any]],
        size: int,
        family: Family,
        open_: frozenset[str],
        threads: int,
    ) -> Passed:
        """Records of one family through the leg; `open_` are the fields that none of them says."""
        plan = self.plan(self.variant(family, open_))
        if isinstance(plan, Plan):
            only = plan.only(columns)
            if only is not None:
                place = only.sure.first(View(columns, None, size), 0, threads)
                none = np.full(size, -1, np.int32)
                mask = only.bits[place]
                never = np.zeros(size, np.bool_)
                decider = only.decider[place]
                return Passed(dict(columns), mask, decider, none, none.copy(), mask == 1, never, never.copy())
            r = plan.run(columns, size, threads)
        else:
            r = Records.of(columns, size)
            r.ask[:] = True
        unknown = CODE[r.mask] == UNKNOWN
        opens = unknown.any() and isinstance(plan, Plan) and _opens(plan)
        again = np.flatnonzero(r.ask | (unknown if opens else unknown & r.loose))
        other = np.where(unknown, r.other, np.int32(-1))
        never = np.zeros(size, np.bool_)
        found = Passed(r.columns, r.mask, r.row, r.maybe, other, r.main, never, r.translated != 0)
        if len(again):
            found.translated[again] |= self.translates
            self._ask(Batch(size, columns, open_), again, r, found)
        return found

    def _ask(self, batch: Batch, where: NDArray[np.intp], r: Records, found: Passed) -> None:
        """Puts records to the rules, one of each group that nothing tells apart."""
        self.asked += len(where)
        for name in list(r.own):  # stages before have changed them
            r.write(name, where, batch.columns[name][where])
        chosen, number = self._groups.of(batch, where)
        deciders = self.whole.deciders
        for i, record in enumerate(chosen):
            ids = where[number == i]
            packet = Packet.from_values(batch.values(int(record)))
            ruling = self._index.decide(packet, hook=self.hook)
            mask = sum(bit for outcome, bit in _BITS if ruling.outcomes & outcome)
            found.mask[ids] = mask
            step = ruling.step
            found.row[ids] = -1 if step is None else deciders.number(step.chain, step.rule, step.trail)
            doubt = next((deciders.some(b.rule) for b in ruling.because if b.rule is not None), -1)
            unknown = ruling.verdict is Verdict.UNKNOWN
            found.maybe[ids] = doubt
            found.other[ids] = doubt if unknown else -1
            found.main[ids] = mask & 1
            if not mask & 1:
                continue
            if ruling.after is None:
                found.opened[ids] = True
                continue
            before = packet.values()
            for name in sorted(self.kept):
                old, new = before.get(name), ruling.after.get(name)
                if old == new:
                    continue
                if old is None or new is None:
                    found.opened[ids] = True
                elif name in ("src6", "dst6"):
                    r.write(name + ".high", ids, np.uint64(new >> 64))
                    r.write(name + ".low", ids, np.uint64(new & (1 << 64) - 1))
                else:
                    r.write(name, ids, new)
        found.columns = r.columns


def _opens(plan: Plan) -> bool:
    """Whether a target is not modelled: what it lets through may be another packet, which a plan does not say."""
    stages = [each for each in plan.stages if isinstance(each, Ready)]
    return any((each.does == int(Does.OPEN)).any() for each in stages)


__all__ = ["CONTEXT", "HEADER", "Leg", "Passed", "Whole", "any_acts", "matters", "part"]

"""The compiled, searchable form of one rule set: one packet, sets of packets, and what decides them.

Everything is compiled on first use and kept: asking about one packet builds no diagram, asking about sets
builds no bit vectors, and only batches build rows and classifiers. The index agrees with `rules.evaluate` on every packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import attrs

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits
from netsim.index.deciders import Deciders
from netsim.index.lookup import Lookup
from netsim.rules.conditions import Find, Found, Known
from netsim.rules.evaluate import ANY_OUTCOME, Reason, Ruling, TooManyWays, Walk
from netsim.rules.journey import NO_ADDRESSES, Addresses
from netsim.rules.model import VERDICTS_OF, Chain, Outcome, Point, Rule, RuleSet, Verdict
from netsim.space.packet import Packet


@attrs.frozen(slots=True)
class Deciding:
    """A rule, or the policy of `chain` (`rule` None), and the packets that it decides.

    `packets` are those that it decides for certain, `possibly` those that it may; they are disjoint.
    `share` is the part of the source addresses asked about that it touches (the larger of the families').
    """

    chain: str
    rule: Rule | None
    verdict: Verdict
    packets: Any  # PacketSet
    possibly: Any  # PacketSet
    trail: tuple[Rule, ...] = ()
    share: Fraction = Fraction(0)


def _share(part: Any, asked: Any) -> Fraction:
    """Of the source addresses in `asked`, the part that occurs in `part`, by family; the larger one."""
    touched, total = part.address_ranges("src"), asked.address_ranges("src")
    sizes = [
        Fraction(sum(h - lo + 1 for lo, h in touched.get(family, ())), sum(h - lo + 1 for lo, h in ranges))
        for family, ranges in total.items()
    ]
    return max(sizes, default=Fraction(0))


STEPS = 100_000
"""How many rules one packet may meet before the sets answer: 30 levels of two jumps each are 2^30 paths."""


class _Steps:
    """A `Find` that gives up behind `STEPS` rules that may match."""

    def __init__(self, find: Find) -> None:
        self.find = find
        self.left = STEPS

    def __call__(self, chain: Chain, start: int, values: Mapping[str, Any], known: Known) -> Found | None:
        self.left -= 1
        if self.left < 0:
            raise TooManyWays(STEPS, (), None)
        return self.find(chain, start, values, known)


class Index:
    """The index of `rules`. `addresses` are the device's own; `variables` see `compile.numbered`.

    `whole` is the rule set that `rules` is cut out of: what holds for all of it, such as that connections are
    tracked, holds for the part. Without `hops` the TTL of a packet that `decide` is asked about is what FORWARD sees.
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        addresses: Addresses = NO_ADDRESSES,
        variables: Mapping[str, int] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        whole: RuleSet | None = None,
        hops: bool = True,
    ) -> None:
        self.rules = rules
        self.hops = hops
        self.whole = whole or rules
        self.addresses = addresses
        self.variables = variables
        self.limits = limits

    @cached_property
    def _find(self) -> _Steps:
        return _Steps(Lookup(self.rules))

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self.rules, self.addresses, self._find, self.limits, hops=self.hops)

    @cached_property
    def deciders(self) -> Deciders:
        """The rules and policies by the numbers that `classify` gives them."""
        return Deciders(self.rules)

    @cached_property
    def _batches(self) -> dict[Point, Any]:
        return {}

    def batches(self, hook: Point) -> Any:
        """The hook made ready for batches (`index.batches.Batches`)."""
        from netsim.index.batches import Batches, Facts

        found = self._batches.get(hook)
        if found is None:
            facts = Facts.of(self.rules, self.addresses)
            found = self._batches[hook] = Batches(facts, self, hook, self.limits)
        return found

    def classify(self, batch: Any, *, hook: Point = Point.FORWARD, threads: int = 1) -> Any:
        """The verdict on every record of a batch, equal to that of `decide`, and what decides it.

        `batch` maps names of fields to arrays (`index.columns`); the answer is a `Classification`. Raises
        `QuestionError` for what is no batch.
        """
        from netsim.index.classification import Classification
        from netsim.index.columns import batch_of

        verdict, row, undecided = self.batches(hook).classify(batch_of(batch), threads)
        return Classification(verdict, row, undecided, self.deciders)

    @cached_property
    def flow(self) -> Any:
        """The flow of sets of packets through the chains (`index.flow.Flow`)."""
        from netsim.index.compile import Compiler
        from netsim.index.flow import Flow
        from netsim.index.function import Functions

        compiler = Compiler(self.rules, variables=self.variables)
        return Flow(self.rules, Functions(self.rules, compiler), self.addresses, self.whole)

    def decide(self, packet: Packet, *, hook: Point = Point.FORWARD) -> Ruling:
        """The ruling on one packet, equal to that of `evaluate`.

        Where undecided conditions make too many ways the sets answer, which do not go them one by one:
        the outcomes are the same, the packet after is left open. Out of their budget too it is unknown.
        """
        self._find.left = STEPS
        try:
            return self._walk.rule(packet, hook)
        except TooManyWays as error:
            return self._from_sets(packet, hook, error)

    def _from_sets(self, packet: Packet, hook: Point, error: TooManyWays) -> Ruling:
        from netsim.space.packets import packet_set

        reasons = error.reasons or (Reason(None, str(error)),)
        found = Outcome(0)
        if not self.hops:  # the sets take one
            packet = attrs.evolve(packet, ttl=None)
        try:
            for mask in self.outcomes(packet_set(packet), hook=hook):
                found |= mask
        except BudgetExceeded:
            return Ruling(ANY_OUTCOME, None, (), None, reasons, hook)
        if len(VERDICTS_OF[found]) > 1:
            return Ruling(found, None, (), None, reasons, hook)
        after = dict.fromkeys(packet.values()) if found & Outcome.ACCEPT else None
        return Ruling(found, error.step, (), after, (), hook)

    def outcomes(self, packets: Any, *, hook: Point = Point.FORWARD) -> Mapping[Outcome, Any]:
        """The packets of a set by their possible outcomes: mask -> PacketSet, empty ones left out.

        The sets are disjoint and their union is `packets`. Raises `BudgetExceeded`.
        """
        from netsim.space.packets import PacketSet
        from netsim.space.pool import POOL

        with POOL.lock, POOL.budget(self.limits):
            node = self.flow.outcomes(packets.node, hook)
            found = {
                Outcome(mask): PacketSet(POOL.where(node, lambda t, m=mask: t == m))  # type: ignore[misc]
                for mask in sorted(POOL.terminals(node) - {0})
            }
        return {mask: part for mask, part in found.items() if part}

    def permitted(self, *, hook: Point = Point.FORWARD, possibly: bool = False) -> Any:
        """The packets that are surely accepted, or with `possibly` those that may be. A `PacketSet`."""
        from netsim.space.diagram import TERMINALS, TRUE
        from netsim.space.packets import PacketSet
        from netsim.space.pool import POOL

        def wanted(mask: int) -> bool:
            return mask == Outcome.ACCEPT or (possibly and bool(mask & Outcome.ACCEPT))

        terminals = tuple(int(wanted(mask)) for mask in range(TERMINALS))
        with POOL.lock, POOL.budget(self.limits):
            return PacketSet(self.flow.outcomes(TRUE, hook, terminals))

    def deciding(self, packets: Any, *, hook: Point = Point.FORWARD) -> tuple[Deciding, ...]:
        """The rules and policies of the hook's chains that decide a set of packets, in their order.

        Accepting is said by the filter of the hook, dropping by whichever rule does it. Nothing asked,
        nothing decides.
        """
        from netsim.index.flow import Watch
        from netsim.space.diagram import AND, LESS, OR
        from netsim.space.packets import PacketSet
        from netsim.space.pool import POOL, VARIABLE_LEVELS

        found: list[Deciding] = []
        watch = Watch()
        with POOL.lock, POOL.budget(self.limits):
            self.flow.journey(packets.node, hook, watch)
            for d in watch.decisions:
                sure = POOL.quantify(d.sure, VARIABLE_LEVELS, AND)
                either = POOL.apply(OR, d.sure, d.maybe)
                maybe = POOL.apply(LESS, POOL.quantify(either, VARIABLE_LEVELS, OR), sure)
                if sure or maybe:
                    verdict = d.verdict or Verdict.UNKNOWN
                    parts = PacketSet(sure), PacketSet(maybe)
                    share = _share(parts[0] | parts[1], packets)
                    found.append(Deciding(d.chain.name, d.rule, verdict, *parts, d.trail, share))
        return tuple(found)

    def stats(self) -> dict[str, Any]:
        """How large the index is: rules, chains, compiled chains, and for each hook what answers batches.

        `classify` holds for each hook its rows, the classifiers built so far, and what rows cannot answer and why.
        """
        functions = self.flow.functions._functions if "flow" in self.__dict__ else {}
        return {
            "rules": sum(1 for _ in self.rules.rules()),
            "chains": len(self.rules.chains),
            "chains_compiled": len(functions),
            "transformations": sum(len(f) for f in functions.values()),
            "classify": {hook.name.lower(): found.stats() for hook, found in self._batches.items()},
        }

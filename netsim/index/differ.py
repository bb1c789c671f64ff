"""What two rule sets decide differently: exact, and as local as the change.

Algebra. Two rule sets are equal at a hook if every packet has the same outcomes and is the same packet
afterwards, for every value of the unmodelled variables (which are aligned by text). Where they are not,
a packet is *gained* if it is accepted more surely than before (no, perhaps, for certain), *lost* if
less surely, and else *changed*: dropped instead of rejected, translated differently, or dependent on another
unmodelled condition. The three sets are disjoint; nothing asked, nothing differs.

Theory of operation. Differences are local (nearest published relative: Campion, SIGCOMM 2021). The rules
of each chain are aligned, longest increasing subsequence over equal rules. A packet that may match no
rule outside of the alignment, on whatever way it takes and whatever is done to it on that way, meets
the same rules in the same order in both. So the comparison happens inside the *reach of the change*: the union of
the unaligned rules' conditions, with every field forgotten that the way may change. Inside it only the rules
that meet it can match: both rule sets are cut down to those (by their ranges, which costs no diagram) and compiled. Equal rule sets cost the
alignment and nothing else; a changed policy is compared everywhere. The rules of long chains are compared by rows first
(`rowwise`); of long lists that have little in common only the first regions are told by their rules, and the rest is one exact set for each way to differ.

What is weak: choices (translations to ranges) are compared pool by pool, so that a range cut into two equal ones
is called changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from functools import cached_property

import attrs

from netsim.index import rowwise
from netsim.index.compile import numbered, pure_texts
from netsim.index.flow import Journey, Piece
from netsim.index.index import Index
from netsim.index.reaches import cut, reach_of_change, unstable_levels
from netsim.index.rowwise import Rowwise, Told, by_rows, only_filter
from netsim.index.sides import Side, SideDeciders
from netsim.rules.journey import base_order
from netsim.rules.model import (
    Outcome,
    Point,
)
from netsim.space.diagram import AND, DIFFER, FALSE, LESS, OR, UNION
from netsim.space.fields import FIELDS
from netsim.space.packets import NOTHING, PacketSet
from netsim.space.pool import POOL, VARIABLE_LEVELS, kept
from netsim.space.transform import Transformation, agreement

REGIONS = 20_000
"""How many regions of one hook are told by their rules."""
TELLING = 200_000_000
"""Up to how many rules, times nodes of what differs, the rules are followed one by one to tell regions."""


class Kind(Enum):
    """How a packet's treatment differs; see the module."""

    GAINED = "gained"
    LOST = "lost"
    CHANGED = "changed"


@attrs.frozen(slots=True)
class Region:
    """Packets that are treated differently in one way, with the deciding rule on both sides."""

    kind: Kind
    hook: Point
    packets: PacketSet
    before: Side
    after: Side


class Differ:
    """The differences of two indexed rule sets at one hook, inside a set of packets.

    `gained`, `lost`, `changed` are exact sets in the header of the packet as it arrives; `regions` are
    their disjoint parts by deciding rules, computed on demand.
    """

    def __init__(self, before: Index, after: Index, hook: Point, within: PacketSet) -> None:
        before, after = aligned(before, after)
        self.hook = hook
        self.told: list[Told] | None = None
        self._rest: list[tuple[int, int, PacketSet]] = []
        with POOL.lock, POOL.budget(before.limits):
            found = self._by_rows(before, after, within.node)
            rest = (
                []
                if found is None or found.complete
                else self._beside(before, after, within.node, found.told)
            )
            if found is not None and rest is not None:
                self.told, self._rest = found.told, rest
                return
            reach = reach_of_change(before, after, hook)
            self.asked = PacketSet(POOL.apply(AND, reach.where, within.node))
            self.indexes = cut(before, reach), cut(after, reach)

    def _by_rows(self, before: Index, after: Index, within: int) -> Rowwise | None:
        """What differs, by rows, where they say all there is; see `rowwise`."""
        unstable: set[int] = set()
        sides = []
        for index in (before, after):
            chain = only_filter(index.rules, base_order(index.rules, self.hook), self.hook)
            if chain is None or len(chain.rules) < rowwise.FROM:
                return None
            sides.append((index, chain))
            unstable |= unstable_levels(index.rules, self.hook)
        return by_rows(sides[0], sides[1], self.hook, within, unstable)

    def _beside(
        self, before: Index, after: Index, within: int, told: list[Told]
    ) -> list[tuple[int, int, PacketSet]] | None:
        """What differs besides what is told, by outcomes: the whole lists as diagrams, two passes each way."""
        one, two = before.flow.lone(within, self.hook), after.flow.lone(within, self.hook)
        if one is None or two is None or pure_texts(before.rules) or pure_texts(after.rules):
            return None
        apart = one.apart(two, POOL.fold(OR, [each.packets.node for each in told]))
        return None if apart is None else [(was, now, PacketSet(node)) for was, now, node in apart]

    @kept
    def _journeys(self) -> tuple[Journey, Journey]:
        a, b = (index.flow.journey(self.asked.node, self.hook) for index in self.indexes)
        return a, b

    @cached_property
    def parts(self) -> tuple[tuple[Kind, Outcome, Outcome, PacketSet], ...]:
        """The differing packets by their outcomes before and after; disjoint, none empty."""
        if self.told is not None:
            ways: dict[tuple[int, int], list[int]] = {}
            with POOL.lock, POOL.question():
                for each in self.told:
                    ways.setdefault((each.was, each.now), []).append(each.packets.node)
                for was, now, packets in self._rest:
                    ways.setdefault((was, now), []).append(packets.node)
                return tuple(
                    (_kind(was, now), Outcome(was), Outcome(now), PacketSet(POOL.fold(OR, nodes)))
                    for (was, now), nodes in sorted(ways.items())
                )
        if not self.asked:
            return ()
        with POOL.lock, POOL.budget(self.indexes[0].limits):
            a, b = self._journeys
            differ = POOL.apply(DIFFER, a.outcomes, b.outcomes)
            differ = POOL.apply(OR, differ, differently(a.leaving, b.leaving))
            differ = POOL.quantify(differ, VARIABLE_LEVELS, OR)
            if not differ:
                return ()
            old = POOL.quantify(a.outcomes, VARIABLE_LEVELS, UNION)
            new = POOL.quantify(b.outcomes, VARIABLE_LEVELS, UNION)
            found = []
            for was in sorted(POOL.terminals(old) - {0}):
                here = POOL.apply(AND, differ, _equals(old, was))
                for now in sorted(POOL.terminals(new) - {0}) if here else ():
                    node = POOL.apply(AND, here, _equals(new, now))
                    if node:
                        found.append((_kind(was, now), Outcome(was), Outcome(now), PacketSet(node)))
            return tuple(found)

    def of(self, kind: Kind) -> PacketSet:
        """The packets that differ in one way."""
        result = NOTHING
        for found, _, _, packets in self.parts:
            if found is kind:
                result |= packets
        return result

    def regions(self, limit: int = REGIONS) -> Iterator[Region]:
        """The parts by deciding rules; one at a time, since unrelated lists have very many.

        Behind `limit` regions the rest of each part comes as one whose sides are `many`; so do all parts where
        following all rules one by one would take too long (`TELLING`).
        """
        if self.told is not None:
            yield from self._regions_of_rows(limit)
            return
        if self.parts:
            with POOL.question():  # as long as somebody still takes regions
                yield from self._regions_of_sets(limit)

    def _regions_of_sets(self, limit: int) -> Iterator[Region]:
        limits = self.indexes[0].limits
        told = 0
        with POOL.lock, POOL.budget(limits):
            every = POOL.fold(OR, [p.node for *_, p in self.parts])
            rules = sum(1 for index in self.indexes for _ in index.rules.rules())
            many = rules * len(POOL.reachable(every)) > TELLING
            if not many:
                old, new = (SideDeciders(index, every, self.hook) for index in self.indexes)
        if many:
            for kind, was, now, packets in self.parts:
                yield Region(kind, self.hook, packets, Side(was, many=True), Side(now, many=True))
            return
        for kind, was, now, packets in self.parts:
            with POOL.lock, POOL.budget(limits):
                olds = old.sides(packets.node, was, limit)
            for before, part in olds:
                with POOL.lock, POOL.budget(limits):
                    news = new.sides(part, now, max(1, limit - told)) if not before.many else []
                for after, node in news or [(Side(now, many=True), part)]:
                    told += 1
                    yield Region(kind, self.hook, PacketSet(node), before, after)

    def _regions_of_rows(self, limit: int) -> Iterator[Region]:
        """The same by rows; of one way behind `limit` regions, and behind what is told, the rest as one."""
        ways: dict[tuple[int, int], list[Told]] = {}
        for each in self.told or ():
            ways.setdefault((each.was, each.now), []).append(each)
        beside = {(was, now): packets for was, now, packets in self._rest}
        told = 0
        for was, now in sorted({*ways, *beside}):
            kind, old, new = _kind(was, now), Outcome(was), Outcome(now)
            several = ways.get((was, now), [])
            single = several[: max(0, limit - told)]
            told += len(single)
            for each in single:
                one, two = Side(old, each.chain, each.before), Side(new, each.chain, each.after)
                yield Region(kind, self.hook, each.packets, one, two)
            rest = [each.packets for each in several[len(single) :]]
            if (was, now) in beside:
                rest.append(beside[was, now])
            if rest:
                with POOL.lock, POOL.question():
                    every = PacketSet(POOL.fold(OR, [packets.node for packets in rest]))
                yield Region(kind, self.hook, every, Side(old, many=True), Side(new, many=True))


def aligned(before: Index, after: Index) -> tuple[Index, Index]:
    """The same two indexes over one numbering of their unmodelled variables."""
    variables = numbered([*pure_texts(before.rules), *pure_texts(after.rules)], before.variables)
    result = []
    for index in (before, after):
        texts = pure_texts(index.rules)
        mine = numbered(texts) if index.variables is None else index.variables
        if any(mine.get(text) != variables.get(text) for text in texts):
            index = Index(
                index.rules, addresses=index.addresses, variables=variables, limits=index.limits,
                whole=index.whole,
            )  # fmt: skip
        result.append(index)
    return result[0], result[1]


def _kind(was: int, now: int) -> Kind:
    def surely(mask: int) -> int:
        return 2 if mask == Outcome.ACCEPT else 1 if mask & Outcome.ACCEPT else 0

    if surely(now) == surely(was):
        return Kind.CHANGED
    return Kind.GAINED if surely(now) > surely(was) else Kind.LOST


def _equals(node: int, mask: int) -> int:
    return POOL.where(node, lambda t: t == mask)


ASIDE = ("ct_status", "iif", "oif", "direction", "variables")
"""What is no part of the packet after: context, and what connection tracking notes about translations."""
_ASIDE = frozenset(level for name in ASIDE for level in FIELDS[name].levels)


def differently(before: tuple[Piece, ...], after: tuple[Piece, ...]) -> int:
    """Where both let a packet go on and it is not the same packet."""
    return moved(_by_change(before), _by_change(after), _ASIDE)


def moved(
    old: Mapping[Transformation, int], new: Mapping[Transformation, int], aside: Collection[int]
) -> int:
    """Where two sides let a packet go on and make different packets of it, the levels `aside` left out."""
    both = POOL.apply(AND, POOL.fold(OR, list(old.values())), POOL.fold(OR, list(new.values())))
    if not both:
        return FALSE
    return POOL.apply(AND, both, POOL.apply(OR, _unmatched(old, new, aside), _unmatched(new, old, aside)))


def _by_change(pieces: tuple[Piece, ...]) -> dict[Transformation, int]:
    found: dict[Transformation, int] = {}
    for piece in pieces:
        found[piece.change] = POOL.apply(OR, found.get(piece.change, FALSE), piece.packets)
    return found


def _unmatched(
    ours: Mapping[Transformation, int], theirs: Mapping[Transformation, int], aside: Collection[int]
) -> int:
    """Where one of our transformations makes a packet that none of theirs makes."""
    parts: list[int] = []
    for change, node in ours.items():
        rest = POOL.apply(LESS, node, theirs.get(change, FALSE))
        for other, there in theirs.items():
            if not rest:
                break
            if other != change:
                common = POOL.apply(AND, rest, there)
                if common:
                    same = POOL.apply(AND, common, agreement(POOL, change, other, aside))
                    rest = POOL.apply(LESS, rest, same)
        parts.append(rest)
    return POOL.fold(OR, parts)


__all__ = ["ASIDE", "Differ", "Kind", "Region", "aligned", "differently", "moved"]

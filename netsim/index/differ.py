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
alignment and nothing else; a changed policy is compared everywhere.

What is weak: choices (translations to ranges) are compared pool by pool, so that a range cut into two equal ones
is called changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from types import MappingProxyType

import attrs

from netsim.index import rowwise
from netsim.index.boxes import Box, Boxes, box_of, chain_boxes, positions
from netsim.index.compile import Compiler, numbered, pure_texts
from netsim.index.flow import Decision, Journey, Piece, Watch
from netsim.index.function import call_order
from netsim.index.index import Index
from netsim.index.rowwise import Told, by_rows, only_filter
from netsim.rules.journey import PORT_FIELDS, uses_tracking
from netsim.rules.model import (
    ActionKind,
    Adjust,
    Bits,
    Chain,
    Hook,
    In,
    Nat,
    NatKind,
    Netmap,
    Outcome,
    Point,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Untrack,
    Verdict,
)
from netsim.space.diagram import AND, DIFFER, FALSE, LESS, OR, TRUE, UNION, Operation
from netsim.space.fields import ADDRESS_FIELDS, FIELDS
from netsim.space.packets import NOTHING, POOL, VARIABLE_LEVELS, PacketSet, bits_node, kept
from netsim.space.transform import Transformation, agreement

POINTS = {
    Point.FORWARD: (Point.PREROUTING, Point.FORWARD, Point.POSTROUTING),
    Point.INPUT: (Point.PREROUTING, Point.INPUT),
    Point.OUTPUT: (Point.OUTPUT, Point.POSTROUTING),
}
"""The hook points of each journey. Destination NAT may move a packet from forward to input and back."""


REGIONS = 20_000
"""How many regions of one hook are told by their rules."""


class Kind(Enum):
    """How a packet's treatment differs; see the module."""

    GAINED = "gained"
    LOST = "lost"
    CHANGED = "changed"


# Alignment

_Key = tuple[object, ...]


def _key(rule: Rule) -> _Key:
    """What a rule means, apart from where it stands and what it has counted."""
    action = (rule.action.kind, rule.action.chain)
    if rule.action.kind is ActionKind.UNMODELLED:
        action = (*action, rule.action.text)  # type: ignore[assignment]
    return (rule.conditions, action, rule.effects)


def _same(a: Rule, b: Rule) -> bool:
    return a is b or _key(a) == _key(b)


def unaligned(before: tuple[Rule, ...], after: tuple[Rule, ...]) -> tuple[list[Rule], list[Rule]]:
    """The rules of two lists that no common subsequence of equal rules needs: (of before, of after)."""
    first, last = 0, 0
    shorter = min(len(before), len(after))
    while first < shorter and _same(before[first], after[first]):
        first += 1
    while last < shorter - first and _same(before[-1 - last], after[-1 - last]):
        last += 1
    a, b = before[first : len(before) - last], after[first : len(after) - last]
    if not a or not b:
        return list(a), list(b)
    # Rules made of the same objects are paired first: an edit leaves them alone, and they are found at once.
    pairs = _paired(
        list(enumerate(a)), list(enumerate(b)), lambda r: (id(r.conditions), id(r.action), id(r.effects))
    )
    in_a, in_b = {i for i, _ in pairs}, {j for _, j in pairs}
    left_a = [(i, rule) for i, rule in enumerate(a) if i not in in_a]
    left_b = [(j, rule) for j, rule in enumerate(b) if j not in in_b]
    pairs += _paired(left_a, left_b, _key)
    kept = _increasing(sorted(pairs))
    in_a, in_b = {i for i, _ in kept}, {j for _, j in kept}
    return [r for i, r in enumerate(a) if i not in in_a], [r for j, r in enumerate(b) if j not in in_b]


def _paired(
    a: list[tuple[int, Rule]], b: list[tuple[int, Rule]], key: Callable[[Rule], _Key]
) -> list[tuple[int, int]]:
    """The n-th rule of a key in one list with the n-th in the other."""
    places: dict[_Key, list[int]] = {}
    for j, rule in b:
        places.setdefault(key(rule), []).append(j)
    used: dict[_Key, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, rule in a:
        wanted = key(rule)
        n = used.get(wanted, 0)
        if n < len(places.get(wanted, ())):
            used[wanted] = n + 1
            pairs.append((i, places[wanted][n]))
    return pairs


def _increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second members increase (patience sorting)."""
    tops: list[int] = []
    piles: list[int] = []
    behind: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect_left(tops, j)
        behind.append(piles[at - 1] if at else -1)
        if at == len(tops):
            tops.append(j)
            piles.append(n)
        else:
            tops[at], piles[at] = j, n
    result: list[tuple[int, int]] = []
    n = piles[-1] if piles else -1
    while n >= 0:
        result.append(pairs[n])
        n = behind[n]
    return result[::-1]


# The reach of a change


def chains_of(rules: RuleSet, hook: Point) -> list[str]:
    """The chains that a journey to a hook may visit, callees first; with NAT also those it may move to."""
    points = set(POINTS[hook])
    if hook is not Point.OUTPUT and any(c.hook is not None and c.hook.nat for c in rules.chains.values()):
        points |= {*POINTS[Point.FORWARD], *POINTS[Point.INPUT]}
    roots = tuple(c.name for c in rules.chains.values() if c.hook is not None and c.hook.point in points)
    return call_order(rules, roots)


_CARRIED = {"iif", "oif", "state", "direction", "family", "protocol", "fragment", "variables"}
"""What an unmodelled target cannot change."""


def written(rule: Rule) -> set[str]:
    """The fields that a rule's effects may change."""
    names: set[str] = set()
    if rule.action.kind is ActionKind.UNMODELLED:
        names |= set(FIELDS) - _CARRIED
    for effect in rule.effects:
        if isinstance(effect, Nat | Netmap):
            side = "src" if effect.kind is NatKind.SOURCE else "dst"
            names |= {ADDRESS_FIELDS[side, effect.family], f"{side[0]}port", "ct_status", "oif"}
        elif isinstance(effect, Untrack):
            names.add("state")
        elif isinstance(effect, SetBits | SetField | Adjust):
            names.add(effect.field)
    return names


def unstable_levels(rules: RuleSet, hook: Point) -> set[int]:
    """The levels that may change on a journey to a hook: what effects write, and what context sets."""
    names = {"ttl"}
    for name in chains_of(rules, hook):
        chain = rules.chains[name]
        if chain.hook is not None and chain.rules:
            if chain.hook.point in (Point.PREROUTING, Point.INPUT):
                names.add("oif")
            if chain.hook.point in (Point.PREROUTING, Point.OUTPUT):
                names.add("state")
        for rule in chain.rules:
            if rule.effects or rule.action.kind is ActionKind.UNMODELLED:
                names |= written(rule)
    if hook is Point.OUTPUT:
        names |= {"iif", "mac", "oif"}
    return {level for name in names for level in FIELDS[name].levels}


_SILENT = Chain("", (), None, None)


def _hangs(chain: Chain) -> tuple[Hook | None, object]:
    kind = chain.policy.kind if chain.policy is not None else ActionKind.ACCEPT
    return chain.hook, kind


@attrs.frozen(slots=True)
class Reach:
    """Packets that a change may touch: `where` as a diagram, `boxes` one for each of its rules.

    A packet of `where` lies, in the fields that no journey changes, in one of the boxes, whatever happens to
    it on its way. No boxes but a `where`: everywhere.
    """

    where: int
    boxes: tuple[Box, ...] = ()


EVERYWHERE = Reach(TRUE)


def reach_of_rules(rules: Iterable[tuple[Rule, Compiler]], unstable: set[int]) -> Reach:
    """The packets that may match one of the rules at some point of their journey."""
    parts: list[int] = []
    boxes: list[Box] = []
    for rule, compiler in rules:
        parts.append(compiler.rule_bounds(rule)[1])
        steady = [
            c
            for c in rule.conditions
            if isinstance(c, In)
            and unstable.isdisjoint(FIELDS[c.field].levels)
            and not (c.field in PORT_FIELDS and compiler.reads_payload)
        ]
        boxes.append(box_of(steady) or {})
    if not all(boxes):
        boxes = []
    return Reach(POOL.quantify(POOL.fold(OR, parts), unstable | VARIABLE_LEVELS, OR), tuple(boxes))


def reach_of_change(before: Index, after: Index, hook: Point) -> Reach:
    """Where two rule sets may treat a packet differently on a journey to a hook."""
    old, new = before.rules, after.rules
    compilers = before.flow.functions.compiler, after.flow.functions.compiler
    names = dict.fromkeys([*chains_of(old, hook), *chains_of(new, hook)])
    translates = any(
        isinstance(e, Nat | Netmap) for rules in (old, new) for r in rules.rules() for e in r.effects
    )
    if (
        old.family is not new.family
        or _order(old, hook) != _order(new, hook)
        or (translates and before.addresses != after.addresses)
    ):
        return EVERYWHERE
    changed: list[tuple[Rule, Compiler]] = []
    for name in names:
        a, b = old.chains.get(name), new.chains.get(name)
        if a is b:
            continue
        # A base chain that is not there accepts.
        a, b = a or _silent(b), b or _silent(a)
        if _hangs(a) != _hangs(b):
            return EVERYWHERE
        for rules, compiler in zip(unaligned(a.rules, b.rules), compilers, strict=True):
            changed += [(rule, compiler) for rule in rules]
    reach = Reach(FALSE)
    if changed:
        reach = reach_of_rules(changed, unstable_levels(old, hook) | unstable_levels(new, hook))
    if old.backend != new.backend or uses_tracking(old) != uses_tracking(new):
        # Back ends, and whether fragments are reassembled, differ in later fragments only.
        return Reach(POOL.apply(OR, reach.where, bits_node(FIELDS["fragment"], 1, 1)))
    return reach


def _silent(chain: Chain | None) -> Chain:
    assert chain is not None
    return attrs.evolve(_SILENT, hook=chain.hook)


def _order(rules: RuleSet, hook: Point) -> list[str]:
    """The base chains that do something, in the order in which a packet meets them."""
    return [
        c.name for point in Point for c in rules.base_chains(point)
        if point in POINTS[hook] and (c.rules or (c.policy and c.policy.kind is not ActionKind.ACCEPT))
    ]  # fmt: skip


def _portless(chain: Chain) -> Boxes:
    """The boxes of a chain's rules without their tests of ports, which a later fragment's payload may pass."""
    found = _PORTLESS.get(id(chain))
    if found is None or found[0] is not chain:
        if len(_PORTLESS) >= _KEPT:
            _PORTLESS.clear()
        rest = [
            [c for c in rule.conditions if not (isinstance(c, In | Bits) and c.field in PORT_FIELDS)]
            for rule in chain.rules
        ]
        found = _PORTLESS[id(chain)] = chain, Boxes(box_of(c, certain=False) for c in rest)
    return found[1]


_PORTLESS: dict[int, tuple[Chain, Boxes]] = {}
_KEPT = 1024


def sliced(rules: RuleSet, reach: Reach, gone: Mapping[str, int] = MappingProxyType({})) -> RuleSet:
    """The rule set without the rules that match nothing of a reach; the same object if all may.

    `gone`: chain -> the positions (as a bit vector) of rules that are to be left out besides. A rule set that turns
    connection tracking on does so after the cut too: it keeps one of the rules that do.
    """
    if not reach.boxes and not any(gone.values()):
        return rules
    near: dict[str, int] = {}
    tracking: tuple[str, int] | None = None
    tracked = False
    payload = rules.backend == "nft" and not any(chain_boxes(c).tracking for c in rules.chains.values())
    for chain in rules.chains.values():
        found = chain_boxes(chain)
        there = ((1 << len(chain.rules)) - 1) & ~gone.get(chain.name, 0)
        kept = there
        if reach.boxes:
            boxes = _portless(chain) if payload else found
            kept &= ~boxes.known
            for box in reach.boxes:
                kept |= boxes.overlapping(box) & there
        if found.tracking & kept:
            tracked = True
        elif found.tracking & there:
            tracking = chain.name, found.tracking & there
        near[chain.name] = kept
    if tracking is not None and not tracked:
        near[tracking[0]] |= tracking[1] & -tracking[1]
    changed = [
        attrs.evolve(chain, rules=tuple(chain.rules[i] for i in positions(near[chain.name])))
        for chain in rules.chains.values()
        if near[chain.name].bit_count() != len(chain.rules)
    ]
    return rules.replace(changed) if changed else rules


# Comparing


@attrs.frozen(slots=True)
class Side:
    """What one rule set does with the packets of a region, and which rule (or policy, None) says so.

    `outcomes` has several members where something unmodelled decides; `rule` is then the first one that may.
    `decided` is False where no rule and no policy is asked (a TTL that ends, a base chain that is not there);
    `many` is True where there are more rules than anybody wants to be told.
    """

    outcomes: Outcome
    chain: str = ""
    rule: Rule | None = None
    trail: tuple[Rule, ...] = ()
    decided: bool = True
    many: bool = False


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
        with POOL.lock, POOL.budget(before.limits.nodes):
            self.told = self._by_rows(before, after, within.node)
            if self.told is None:
                reach = reach_of_change(before, after, hook)
                self.asked = PacketSet(POOL.apply(AND, reach.where, within.node))
                self.indexes = cut(before, reach), cut(after, reach)

    def _by_rows(self, before: Index, after: Index, within: int) -> list[Told] | None:
        """What differs, by rows, where they say all there is; see `rowwise`."""
        unstable: set[int] = set()
        sides = []
        for index in (before, after):
            chain = only_filter(index.rules, _order(index.rules, self.hook), self.hook)
            if chain is None or len(chain.rules) < rowwise.FROM:
                return None
            sides.append((index, chain))
            unstable |= unstable_levels(index.rules, self.hook)
        return by_rows(sides[0], sides[1], self.hook, within, unstable)

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
                return tuple(
                    (_kind(was, now), Outcome(was), Outcome(now), PacketSet(POOL.fold(OR, nodes)))
                    for (was, now), nodes in sorted(ways.items())
                )
        if not self.asked:
            return ()
        with POOL.lock, POOL.budget(self.indexes[0].limits.nodes):
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

        Behind `limit` regions the rest of each part comes as one whose sides are `many`.
        """
        if self.told is not None:
            yield from self._regions_of_rows(limit)
            return
        if self.parts:
            with POOL.question():  # as long as somebody still takes regions
                yield from self._regions_of_sets(limit)

    def _regions_of_sets(self, limit: int) -> Iterator[Region]:
        nodes = self.indexes[0].limits.nodes
        told = 0
        with POOL.lock, POOL.budget(nodes):
            every = POOL.fold(OR, [p.node for *_, p in self.parts])
            old, new = (_Deciders(index, every, self.hook) for index in self.indexes)
        for kind, was, now, packets in self.parts:
            with POOL.lock, POOL.budget(nodes):
                olds = old.sides(packets.node, was, limit)
            for before, part in olds:
                with POOL.lock, POOL.budget(nodes):
                    news = new.sides(part, now, max(1, limit - told)) if not before.many else []
                for after, node in news or [(Side(now, many=True), part)]:
                    told += 1
                    yield Region(kind, self.hook, PacketSet(node), before, after)

    def _regions_of_rows(self, limit: int) -> Iterator[Region]:
        """The same by rows; of one way behind `limit` regions, the rest as one."""
        ways: dict[tuple[int, int], list[Told]] = {}
        for each in self.told or ():
            ways.setdefault((each.was, each.now), []).append(each)
        told = 0
        for (was, now), several in sorted(ways.items(), key=lambda way: way[0]):
            kind, old, new = _kind(was, now), Outcome(was), Outcome(now)
            single = several[: max(0, limit - told)]
            told += len(single)
            for each in single:
                one, two = Side(old, each.chain, each.before), Side(new, each.chain, each.after)
                yield Region(kind, self.hook, each.packets, one, two)
            if rest := several[len(single) :]:
                with POOL.lock, POOL.question():
                    node = POOL.fold(OR, [each.packets.node for each in rest])
                yield Region(kind, self.hook, PacketSet(node), Side(old, many=True), Side(new, many=True))


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


def cut(index: Index, reach: Reach, gone: Mapping[str, int] = MappingProxyType({})) -> Index:
    """The index of the rules that meet a reach; it answers like the whole for packets inside it.

    `gone`: rules that are to be left out besides, see `sliced`.
    """
    rules = sliced(index.rules, reach, gone)
    if rules is index.rules:
        return index
    levels = index.flow.functions.compiler.variables
    first = FIELDS["variables"].levels[0]
    variables = {text: level - first for text, level in levels.items()}
    return Index(
        rules, addresses=index.addresses, variables=variables, limits=index.limits, whole=index.whole
    )


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


_VERDICTS = {Verdict.ACCEPT: Outcome.ACCEPT, Verdict.DROP: Outcome.DROP, Verdict.REJECT: Outcome.REJECT}


@attrs.frozen(slots=True)
class _Tree:
    """Some decisions in their order and the union of their packets; a leaf has a side and no branches."""

    packets: int
    side: Side | None
    branches: tuple[_Tree, ...] = ()


class _Deciders:
    """Which rules of one side decide packets, found by descending a tree of unions."""

    def __init__(self, index: Index, packets: int, hook: Point) -> None:
        watch = Watch()
        index.flow.journey(packets, hook, watch)
        self._decisions = watch.decisions
        self._variables = bool(index.flow.functions.compiler.variables)
        self._trees: dict[Outcome, _Tree] = {}

    def sides(self, packets: int, mask: Outcome, limit: int) -> list[tuple[Side, int]]:
        """Packets of one outcome mask, by the rule that decides them; disjoint parts whose union is the set.

        Behind `limit` sides the rest has one that is `many`.
        """
        found: dict[object, tuple[Side, int]] = {}
        tree = self._tree(mask)
        rest = POOL.apply(LESS, packets, tree.packets)
        waiting = [(tree, POOL.apply(AND, packets, tree.packets))]
        while waiting:
            tree, part = waiting.pop()
            if not part:
                continue
            side = tree.side
            if len(found) >= limit:
                key: object = ()
                side = Side(mask, many=True)
            elif side is not None:
                key = (side.chain, id(side.rule), tuple(map(id, side.trail)))
            if side is not None:
                found[key] = side, POOL.apply(OR, part, found[key][1] if key in found else FALSE)
            else:  # the earlier branch takes what it can
                first, second = tree.branches
                waiting.append((second, POOL.apply(LESS, part, first.packets)))
                waiting.append((first, POOL.apply(AND, part, first.packets)))
        result = list(found.values())
        return [*result, (Side(mask, decided=False), rest)] if rest else result

    def _tree(self, mask: Outcome) -> _Tree:
        if mask not in self._trees:
            ordered = _in_order(mask, self._decisions, self._variables)
            layer = [_Tree(node, Side(mask, d.chain.name, d.rule, d.trail)) for d, node in ordered if node]
            while len(layer) > 1:
                pairs = zip(layer[::2], layer[1::2], strict=False)
                joined = [_Tree(POOL.apply(OR, a.packets, b.packets), None, (a, b)) for a, b in pairs]
                layer = [*joined, layer[-1]] if len(layer) % 2 else joined
            self._trees[mask] = layer[0] if layer else _Tree(FALSE, Side(mask, decided=False))
        return self._trees[mask]


def _in_order(
    mask: Outcome, decisions: Iterable[Decision], variables: bool
) -> Iterator[tuple[Decision, int]]:
    """The decisions that can be the reason for a mask, and where.

    For one verdict those that are certain, then, as the specification has it, the last that may be: the way on
    which undecided rules do not apply. For several verdicts what is undecided comes first.
    """

    def quantified(node: int, operation: Operation) -> int:
        return POOL.quantify(node, VARIABLE_LEVELS, operation) if variables else node

    found = [d for d in decisions if d.verdict is None or _VERDICTS[d.verdict] & mask]
    if mask in (Outcome.ACCEPT, Outcome.DROP, Outcome.REJECT):
        found = [d for d in found if d.verdict is not None]
        for d in found:
            yield d, quantified(d.sure, AND)
        found.reverse()
    else:
        found.sort(key=lambda d: not _doubtful(d))
    for d in found:
        yield d, quantified(POOL.apply(OR, d.sure, d.maybe), OR)


def _doubtful(d: Decision) -> bool:
    rules = (*d.trail, d.rule) if d.rule is not None else d.trail
    return any(not rule.modelled for rule in rules)


__all__ = [
    "ASIDE",
    "Differ",
    "Kind",
    "Region",
    "Side",
    "aligned",
    "chains_of",
    "cut",
    "differently",
    "moved",
    "sliced",
    "unaligned",
    "unstable_levels",
    "written",
]

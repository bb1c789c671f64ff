"""Where a change may matter: the packets that it may touch, and rule sets cut down to them.

A packet that may match no rule outside of the alignment (`index.align`), on whatever way it takes and whatever is done to
it on that way, meets the same rules in the same order in both rule sets. So a *reach* is the union of the
unaligned rules' conditions, with every field forgotten that the way may change, and inside it only the rules
that meet it can match: rule sets are cut down to those, by ranges, which costs no diagram.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

from netsim.index.align import unaligned
from netsim.index.boxes import Box, Boxes, box_of, chain_boxes, positions
from netsim.index.compile import Compiler
from netsim.index.function import call_order
from netsim.index.index import Index
from netsim.rules.journey import POINTS, PORT_FIELDS, base_order, uses_tracking
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
    Point,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Untrack,
)
from netsim.space.diagram import FALSE, OR, TRUE
from netsim.space.fields import ADDRESS_FIELDS, FIELDS
from netsim.space.pool import POOL, VARIABLE_LEVELS, bits_node


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
        or base_order(old, hook) != base_order(new, hook)
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


__all__ = [
    "EVERYWHERE",
    "Reach",
    "chains_of",
    "cut",
    "reach_of_change",
    "reach_of_rules",
    "sliced",
    "unstable_levels",
    "written",
]

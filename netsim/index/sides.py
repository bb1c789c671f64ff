"""Differences by the rules that decide them: the two sides of a region, and who decides a set of packets.

The decisions of one rule set, in their order, are a tree of unions; a set descends it, and what a rule takes
of it is told by that rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
import numpy as np

from netsim.index.boxtree import BoxTree
from netsim.index.flow import Decision, Watch
from netsim.index.index import Index
from netsim.index.rowdiff import first_takers
from netsim.index.rowwise import OUTCOMES, Listed, listed
from netsim.rules.journey import base_order
from netsim.rules.model import ActionKind, Outcome, Point, Rule, Verdict
from netsim.space.diagram import AND, FALSE, LESS, OR, Operation
from netsim.space.pool import POOL, VARIABLE_LEVELS


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


def first_deciders(
    index: Index, packets: int, hook: Point, kind: ActionKind
) -> list[tuple[Rule, int]] | None:
    """The rules with an action that decide a set at a hook, in order, each with its packets (a diagram); none empty.

    For a lone filter of rules that are certain, whose first match decides; None for everything else (`Index.deciding`).
    Faster than following all rules, since the set descends a tree of unions. The caller holds the pool's lock.
    """
    lone = index.flow.lone(packets, hook)
    functions = index.flow.functions
    if lone is None or functions.compiler.variables:
        return None
    chain = index.rules.chains[base_order(index.rules, hook)[0]]
    asked = [rule for rule in chain.rules if rule.action.kind is not ActionKind.CONTINUE or rule.effects]
    if any(rule.effects or rule.action.kind not in _DECIDES for rule in asked):
        return None
    if len(asked) >= ROWS and (rows := listed(chain)) is not None:
        return _first_rows(rows, lone.coming, kind)
    bounds = functions.compiler.bounds_of_each([rule.conditions for rule in asked])
    if any(sure != possible for sure, possible in bounds):
        return None
    told = [rule.action.kind is kind for rule in asked]
    first = first_takers(lone.coming, [sure for sure, _ in bounds], told) if asked else ()
    return [(asked[i], node) for i, node in first]


def _first_rows(rows: Listed, packets: int, kind: ActionKind) -> list[tuple[Rule, int]]:
    """The same of a long list, row by row: what the rows before it leave of a row, inside its box."""
    tree, found = BoxTree(rows.rows), dict[int, int]()
    for row in np.flatnonzero(rows.outcomes == OUTCOMES[kind]).tolist():
        position = int(rows.rows.rule[row])
        if position < 0:
            continue
        box = tree.boxes[row]
        _, taken = tree.inside(box, np.sort(tree.meeting(box, 0, row)[0]), row)
        mine = POOL.apply(LESS, tree.nodes(box[None])[0], POOL.fold(OR, tree.nodes(taken, box)))
        here = POOL.apply(AND, packets, mine)
        if here:
            found[position] = POOL.apply(OR, here, found.get(position, FALSE))
    return [(rows.chain.rules[position], node) for position, node in found.items()]


ROWS = 300
"""Chains from this length on are asked row by row."""
_DECIDES = (ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT)
_VERDICTS = {Verdict.ACCEPT: Outcome.ACCEPT, Verdict.DROP: Outcome.DROP, Verdict.REJECT: Outcome.REJECT}


@attrs.frozen(slots=True)
class _Tree:
    """Some decisions in their order and the union of their packets; a leaf has a side and no branches."""

    packets: int
    side: Side | None
    branches: tuple[_Tree, ...] = ()


class SideDeciders:
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


__all__ = ["Side", "SideDeciders", "first_deciders"]

"""Two long chains compared by rows, where rows say all there is: what `index.differ` asks first.

A hook is decided by rows if the same filter chain, and no other, does something there on both sides, and each of its
rules is boxes of fields that no journey changes, decided for certain, with a verdict or nothing to do. Then the first
matching row is what decides a packet that comes to the chain, and `rowdiff.compare_rows` finds the differences
with their deciding rules. Which packets come to the chain at all (TTL, family, fragments) is asked of the journey itself: those
whose fate changes with the policy of the chain without its rules. Everything else is left to diagrams. Where too much differs
to tell all regions, the first of them are told, and the answer says that it is not complete.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.index.boxrows import Columns, rows_of, rows_of_columns
from netsim.index.index import Index
from netsim.index.rowdiff import compare_rows, first_apart
from netsim.index.rows import Rows
from netsim.rules.journey import is_filter, uses_tracking
from netsim.rules.model import (
    DROP,
    Action,
    ActionKind,
    Chain,
    Point,
    Rule,
    RuleSet,
)
from netsim.space.diagram import AND, DIFFER, OR
from netsim.space.fields import FIELDS
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL

FROM = 300
"""Shorter chains are compared by diagrams."""
EVERY = 4000
"""Of unlike lists with more rows together only the first regions are told by their rules."""
MOST = 4
"""How many rows a rule may make on average."""
OUTCOMES = {ActionKind.ACCEPT: 4, ActionKind.DROP: 8, ActionKind.REJECT: 16}
_ENTRY = {"ctmark", "ct_status"}
"""Fields that hang on what is known of a connection."""


@attrs.frozen(slots=True, eq=False)
class Listed:
    """A chain as rows; `rows.rule` are positions in it, the last row is the policy (-1)."""

    chain: Chain
    rows: Rows
    outcomes: NDArray[np.uint8]
    fields: frozenset[str]


@attrs.frozen(slots=True)
class Told:
    """Packets that two rules (None: the policy) of a chain decide differently."""

    chain: str
    before: Rule | None
    after: Rule | None
    was: int
    now: int
    packets: PacketSet


@attrs.frozen(slots=True)
class Rowwise:
    """What two rules each decide differently; `complete` if there are no other differences."""

    told: list[Told]
    complete: bool


def listed(chain: Chain) -> Listed | None:
    """A chain as rows, if rows say all of it; kept, since edits leave most chains alone."""
    found = _LISTED.get(id(chain))
    if found is None or found[0] is not chain:
        if len(_LISTED) >= _KEPT:
            _LISTED.clear()
        found = _LISTED[id(chain)] = chain, _listed(chain)
    return found[1]


_LISTED: dict[int, tuple[Chain, Listed | None]] = {}
_KEPT = 16


def _listed(chain: Chain) -> Listed | None:
    every: list[Columns] = []
    rule: list[int] = []
    outcomes: list[int] = []
    most = MOST * len(chain.rules) + 1000
    for position, each in enumerate(chain.rules):
        outcome = OUTCOMES.get(each.action.kind)
        if outcome is None and each.action.kind is ActionKind.CONTINUE and not each.effects:
            continue
        rows = rows_of(each.conditions)
        if outcome is None or each.effects or rows is None or len(every) > most:
            return None
        for columns in rows:
            every.append(columns)
            rule.append(position)
            outcomes.append(outcome)
    policy = chain.policy.kind if chain.policy is not None else ActionKind.ACCEPT
    if policy not in OUTCOMES:
        return None
    rows_ = rows_of_columns([*every, {}], [*rule, -1])
    fields = frozenset(c.partition(".")[0] for c in rows_.columns)
    return Listed(chain, rows_, np.array([*outcomes, OUTCOMES[policy]], np.uint8), fields)


def only_filter(rules: RuleSet, order: list[str], hook: Point) -> Chain | None:
    """The filter chain of a hook, if no other base chain does anything on the way."""
    if len(order) != 1 or any(rules.chains[name].hook is None for name in order):
        return None
    chain = rules.chains[order[0]]
    return chain if chain.hook is not None and chain.hook.point is hook and is_filter(chain, hook) else None


def by_rows(
    before: tuple[Index, Chain | None],
    after: tuple[Index, Chain | None],
    hook: Point,
    within: int,
    unstable: set[int],
) -> Rowwise | None:
    """The differences of two rule sets at a hook inside a set, by their filter chains; None where rows do not say all.

    `unstable` are the levels that a journey may change. The caller holds the pool's lock.
    """
    (one, old), (two, new) = before, after
    if old is None or new is None or old.name != new.name or old.hook != new.hook:
        return None
    if max(len(old.rules), len(new.rules)) < FROM:
        return None
    if one.rules.backend != two.rules.backend or one.rules.family is not two.rules.family:
        return None
    tracking = uses_tracking(one.rules)
    if uses_tracking(two.rules) != tracking or (one.rules.backend == "nft" and not tracking):
        return None
    a, b = listed(old), listed(new)
    if a is None or b is None:
        return None
    fields = a.fields | b.fields
    if fields & _ENTRY or any(not unstable.isdisjoint(FIELDS[name].levels) for name in fields):
        return None
    found = compare_rows(a.rows, a.outcomes, b.rows, b.outcomes, limits=one.limits)
    complete = found is not None
    if found is None:
        if len(a.rows) + len(b.rows) <= EVERY:
            return None
        found = first_apart(a.rows, a.outcomes, b.rows, b.outcomes, limits=one.limits)
    if not found:
        return Rowwise([], complete)
    here = POOL.apply(AND, within, _coming(one, old, hook, within))
    nodes: dict[tuple[int, int], list[int]] = {}
    ways: dict[tuple[int, int], tuple[int, int]] = {}
    for each in found:
        node = POOL.apply(AND, each.node, here)
        if node:
            key = int(a.rows.rule[each.before]), int(b.rows.rule[each.after])
            nodes.setdefault(key, []).append(node)
            ways[key] = int(a.outcomes[each.before]), int(b.outcomes[each.after])
    told = [
        Told(
            old.name, old.rules[one] if one >= 0 else None, new.rules[two] if two >= 0 else None,
            *ways[one, two], PacketSet(POOL.fold(OR, parts)),
        )
        for (one, two), parts in nodes.items()
    ]  # fmt: skip
    return Rowwise(told, complete)


def _coming(index: Index, chain: Chain, hook: Point, within: int) -> int:
    """The packets that come to a chain: those whose fate hangs on its policy if it has no rules."""
    fates = []
    for policy in (Action(ActionKind.ACCEPT), DROP):
        rules = index.rules.replace([attrs.evolve(chain, rules=(), policy=policy)])
        empty = Index(rules, addresses=index.addresses, limits=index.limits, whole=index.whole)
        fates.append(empty.flow.journey(within, hook).outcomes)
    return POOL.apply(DIFFER, *fates)


__all__ = ["OUTCOMES", "Listed", "Rowwise", "Told", "by_rows", "listed", "only_filter"]

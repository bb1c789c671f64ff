"""One line at one place: its text, the network with it, and what it changes on its device.

A *proposal* is a line before it is judged. Proposals of one rule set are put in from the last place to the first, so that
the numbers of all of them are those before the edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from netsim.errors import Inexpressible
from netsim.index import Index
from netsim.index.differ import Differ, Kind
from netsim.index.flow import Piece
from netsim.parsers import dialect_of
from netsim.queries.fix.cover import UNCOUNTED, Narrow, Sight, conditions_for, image
from netsim.queries.fix.model import EditKind, LineEdit
from netsim.queries.fix.survey import Arrival, Visit, Where
from netsim.rules.journey import uses_tracking
from netsim.rules.model import (
    CONNTRACK_PRIORITY,
    Action,
    Condition,
    Point,
    Rule,
    RuleSet,
    Tracking,
)
from netsim.space.fields import FIELDS
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet
from netsim.topology.edit import Edit
from netsim.topology.network import Network

HOOKS = (Point.FORWARD, Point.INPUT, Point.OUTPUT)
_FREE = frozenset(level for name in UNCOUNTED for level in FIELDS[name].levels)
_STATE = frozenset(FIELDS["state"].levels)


@attrs.frozen(slots=True, eq=False)
class Proposal:
    """One line to edit in rule set `where`. `rule` is what stands at `number` now, None at the chain's end."""

    kind: EditKind
    where: Where
    chain: str
    number: int
    rule: Rule | None
    text: str = ""
    conditions: tuple[Condition, ...] = ()
    narrow: tuple[Narrow, ...] = ()


def ruleset_of(network: Network, where: Where) -> RuleSet:
    """The rule set of that place."""
    return network.devices[where[0]].rulesets[where[1]]


def tracks(network: Network, where: Where) -> bool:
    """Whether a rule there may ask for states without changing what the device does with other packets."""
    device = network.devices[where[0]]
    rules = ruleset_of(network, where)
    tracking = device.tracking if device.tracking is not None else rules.tracking
    return tracking is not Tracking.UNTRACKED and uses_tracking(rules)


def sight_of(network: Network, where: Where, visits: Iterable[Visit]) -> Sight:
    """What a rule in a chain may ask for, where packets of some visits come by."""
    rules = ruleset_of(network, where)
    bases = [rules.chains[v.base] for v in visits]
    points = {b.hook.point for b in bases if b.hook is not None}
    early = any(
        b.hook is not None
        and b.hook.point in (Point.PREROUTING, Point.OUTPUT)
        and b.hook.priority < CONNTRACK_PRIORITY
        for b in bases
    )
    return Sight(
        rules.family,
        iif=not points & {Point.OUTPUT, Point.POSTROUTING},
        oif=not points & {Point.PREROUTING, Point.INPUT},
        state=tracks(network, where) and not early,
        fragments=not uses_tracking(rules),
    )


def written(
    network: Network, where: Where, chain: str, action: Action, pieces: Sequence[Piece], sight: Sight
) -> tuple[str, tuple[Condition, ...], tuple[Narrow, ...]]:
    """The text of the tightest rule for pieces in a chain, its conditions and why they are no narrower.

    Raises `Inexpressible`.
    """
    rules = ruleset_of(network, where)
    dialect = dialect_of(rules)

    def speak(conditions: tuple[Condition, ...]) -> str:
        return dialect.write_rule(Rule(conditions, action, chain=chain), ruleset=rules)

    conditions, narrow = conditions_for(pieces, sight, speak)
    return speak(conditions), conditions, narrow


def applied(network: Network, proposals: Iterable[Proposal], edit: Edit | None = None) -> Edit:
    """The network with some lines edited; `edit`: the steps that led to it."""
    edit = edit if edit is not None else network.edit()
    for p in ordered(proposals):
        device, number = p.where
        rules = ruleset_of(network, p.where)
        several = len(network.devices[device].rulesets) > 1
        family = None if rules.family is None or not several else (4, 6)[rules.family]
        if p.kind is EditKind.INSERT:
            edit = edit.insert(f"{device}:{p.chain}", p.text, before=p.number, family=family)
            continue
        now = edit.network.devices[device].rulesets[number].chains[p.chain].rules[p.number - 1]
        edit = (
            edit.delete(now, family=family)
            if p.kind is EditKind.DELETE
            else edit.replace(now, p.text, family=family)
        )
    return edit


def ordered(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Proposals in the order in which they are put in: in each chain from the last place to the first."""
    return sorted(proposals, key=lambda p: (p.where, p.chain, -p.number, p.kind is EditKind.INSERT))


def line_of(network: Network, p: Proposal, why: str) -> LineEdit:
    """A proposal as a line of the answer."""
    rules = ruleset_of(network, p.where)
    command = dialect_of(rules).command(p.kind.value, p.text, ruleset=rules, chain=p.chain, number=p.number)
    return LineEdit(p.kind, p.where[0], p.chain, p.number, p.text, command, p.rule, why, p.narrow)


# What a device decides differently


@attrs.frozen(slots=True)
class Effect:
    """What an edit changes on one rule set, apart from what was asked for."""

    gained: PacketSet
    lost: PacketSet
    changed: PacketSet


def effect(before: Network, after: Network, where: Where, arrivals: Mapping[Point, PacketSet]) -> Effect:
    """What a rule set decides differently, at all hooks, apart from the packets that arrive for each hook."""
    device, number = where
    one, two = before.indexes[device][number], after.indexes[device][number]
    found = dict.fromkeys(Kind, NOTHING)
    for hook in HOOKS:
        for kind, packets in differences(one, two, hook).items():
            found[kind] |= packets - arrivals.get(hook, NOTHING)
    return Effect(found[Kind.GAINED], found[Kind.LOST], found[Kind.CHANGED])


def differences(one: Index, two: Index, hook: Point) -> dict[Kind, PacketSet]:
    """The packets that two rule sets treat differently at a hook, by kind; none empty."""
    differ = Differ(one, two, hook, EVERYTHING)
    found = {kind: differ.of(kind) for kind in Kind}
    return {kind: packets for kind, packets in found.items() if packets}


def asked_at(network: Network, where: Where, arrivals: Iterable[Arrival]) -> dict[Point, PacketSet]:
    """What was asked about, as it arrives at a device, in what counts of it, by the hook that is asked.

    A packet that a device translates is routed behind that: whichever hook its first header would lead to, it is
    the same packet. A hook leaves free what its packets do not have.
    """
    free = _FREE if tracks(network, where) else _FREE | _STATE
    parts = [
        (a.hook, PacketSet(image(a.packets, a.change.maps, free))) for a in arrivals if a.device == where[0]
    ]
    found = dict.fromkeys(HOOKS, NOTHING)
    for hook, packets in parts:
        if hook is Point.OUTPUT:
            found[hook] |= packets.some("iif")
            continue
        found[Point.FORWARD] |= packets if hook is Point.FORWARD else packets.some("oif")
        found[Point.INPUT] |= packets.some("oif")
    return found


__all__ = [
    "HOOKS",
    "Effect",
    "Inexpressible",
    "Proposal",
    "applied",
    "asked_at",
    "effect",
    "line_of",
    "ordered",
    "ruleset_of",
    "sight_of",
    "tracks",
    "written",
]

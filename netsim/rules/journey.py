"""The journey of a packet through a device: which base chains it meets, in which order, seeing what.

Linux, Documentation/networking/nf_conntrack and the hook order of `iptables(8)`: a forwarded packet
meets PREROUTING, routing, FORWARD, POSTROUTING; one for the device PREROUTING, routing, INPUT; one
of the device's own OUTPUT and POSTROUTING. Connection tracking looks at it at priority -200 of
PREROUTING and OUTPUT: chains before that see no entry and the state INVALID. Every other dialect is a
part of this: an ACL is one chain at the forward point.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import attrs

from netsim.errors import QuestionError
from netsim.rules.model import (
    CONNTRACK_PRIORITY,
    ActionKind,
    Bits,
    Chain,
    Condition,
    Effect,
    In,
    Nat,
    Netmap,
    Point,
    Rule,
    RuleSet,
    SetBits,
    Track,
    Unmodelled,
    flat,
)
from netsim.space.fields import PORT_PROTOCOLS, Family, Range, State


class Turn(Enum):
    """What lies between chains on a journey."""

    TRACK = "connection tracking"
    ROUTE = "routing"
    HOP = "forwarding"


@attrs.frozen(slots=True)
class Stop:
    """One base chain on the way, and the point where it hangs."""

    chain: Chain
    point: Point


Stage = Stop | Turn

HOOKS = {"forward": Point.FORWARD, "input": Point.INPUT, "output": Point.OUTPUT}
"""The names that users give to where routing sends a packet."""


def hook_of(name: str | Point) -> Point:
    """A hook by its name. Raises `QuestionError` for a name that is none."""
    if isinstance(name, Point):
        return name
    if name not in HOOKS:
        raise QuestionError.of(f"no hook {name!r}", hint=f"hooks are {', '.join(HOOKS)}")
    return HOOKS[name]


@attrs.frozen(slots=True)
class Addresses:
    """A device's own addresses, by interface: what NAT to or from the device depends on.

    `ranges` are all of its addresses by family (loopback included); `known` is False where nobody said.
    """

    ranges: tuple[tuple[Family, tuple[Range, ...]], ...] = ()
    known: bool = False

    def local(self, family: int | None, value: int | Range | None) -> bool | None:
        """Whether an address (or each of a range) is the device's own; None if that cannot be said."""
        if value is None or family is None:
            return None
        for kind, ranges in self.ranges:
            if kind == family:
                first, last = value if isinstance(value, tuple) else (value, value)
                if any(low <= first and last <= high for low, high in ranges):
                    return True
                return None if any(low <= last and first <= high for low, high in ranges) else False
        return False


NO_ADDRESSES = Addresses()


def departure(rules: RuleSet, hook: Point) -> tuple[Stage, ...]:
    """The stages up to routing (forward, input) or the whole way out (output)."""
    first = Point.OUTPUT if hook is Point.OUTPUT else Point.PREROUTING
    before: list[Stage] = []
    after: list[Stage] = []
    for chain in rules.base_chains(first):
        early = chain.hook is not None and chain.hook.priority < CONNTRACK_PRIORITY
        (before if early else after).append(Stop(chain, first))
    stages = [*before, Turn.TRACK, *after, Turn.ROUTE]
    return tuple(stages)


def arrival(rules: RuleSet, hook: Point) -> tuple[Stage, ...]:
    """The stages behind routing."""
    points = {
        Point.INPUT: (Point.INPUT,),
        Point.FORWARD: (Point.FORWARD, Point.POSTROUTING),
        Point.OUTPUT: (Point.POSTROUTING,),
    }[hook]
    return tuple(Stop(chain, point) for point in points for chain in rules.base_chains(point))


POINTS = {
    Point.FORWARD: (Point.PREROUTING, Point.FORWARD, Point.POSTROUTING),
    Point.INPUT: (Point.PREROUTING, Point.INPUT),
    Point.OUTPUT: (Point.OUTPUT, Point.POSTROUTING),
}
"""The hook points of each journey. Destination NAT may move a packet from forward to input and back."""


def base_order(rules: RuleSet, hook: Point) -> list[str]:
    """The base chains that do something, in the order in which a packet meets them."""
    return [
        c.name for point in Point for c in rules.base_chains(point)
        if point in POINTS[hook] and (c.rules or (c.policy and c.policy.kind is not ActionKind.ACCEPT))
    ]  # fmt: skip


def is_filter(chain: Chain, hook: Point) -> bool:
    """Whether this base chain is the filter of a hook: priority 0 at its point."""
    return chain.hook is not None and chain.hook.point is hook and chain.hook.priority == 0


TRACKED_FIELDS = frozenset({"state", "direction", "ctmark", "ct_status"})
PORT_FIELDS = frozenset({"sport", "dport", "tcp_flags", "icmp_type", "icmp_code"})
PAYLOAD_PROTOCOLS = frozenset({1, 58, *PORT_PROTOCOLS})
"""The protocols whose later fragments the nft back end may take for a packet with ports, a type or flags."""
HAS_ENTRY = frozenset({State.NEW, State.ESTABLISHED, State.RELATED})
"""The states of packets that have a connection tracking entry."""


_TRACKING: dict[int, tuple[RuleSet, bool]] = {}
_KEPT = 256


def uses_tracking(rules: RuleSet) -> bool:
    """Whether loading these rules turns connection tracking on, so that fragments are reassembled.

    Translations do, and every test or change of an entry (measured: an empty nat table, and a rule that
    only untracks, do not). Kept for each rule set as an object: comparing long ones costs more than asking.
    """
    found = _TRACKING.get(id(rules))
    if found is None or found[0] is not rules:
        if len(_TRACKING) >= _KEPT:
            _TRACKING.clear()
        found = _TRACKING[id(rules)] = rules, any(tracks(rule) for rule in rules.rules())
    return found[1]


def tracks(rule: Rule) -> bool:
    """Whether a rule alone turns it on."""
    for effect in rule.effects:
        if isinstance(effect, Nat | Netmap | Track) or (isinstance(effect, SetBits) and effect.needs_entry):
            return True
    for each in rule.conditions:
        if type(each) is In:  # by far the most frequent
            if each.field in TRACKED_FIELDS:
                return True
            continue
        if _tells(each):
            return True
    return False


def _tells(given: Condition) -> bool:
    """Whether a condition, or one inside it, asks connection tracking."""
    for condition in flat((given,)):
        if isinstance(condition, In | Bits):
            if condition.field in TRACKED_FIELDS:
                return True
        elif isinstance(condition, Unmodelled) and condition.tracks:
            return True
    return False


def translations(effects: Iterable[Effect]) -> tuple[Nat | Netmap, ...]:
    """The effects that only a connection's first packet meets."""
    return tuple(e for e in effects if isinstance(e, Nat | Netmap))

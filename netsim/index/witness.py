"""Concrete packets: points of boxes, and which rules one packet meets on its journey.

A witness is made from a box, sent through the specification's own walk (`rules.evaluate.Walk`), and counts only if
that walk says so. Undecided conditions are gone through both ways, so a rule is met if it is for some value
of the unmodelled.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

from netsim.index.boxes import Box, Dimension, top
from netsim.rules.conditions import Doubt
from netsim.rules.effects import Values
from netsim.rules.evaluate import Ruling, TooManyWays, Walk, _Fork, _Leaf, _State
from netsim.rules.model import Point, Rule
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    NO_MAC,
    PORT_PROTOCOLS,
    Direction,
    Family,
    Range,
    State,
    interface_value,
)

WISHES: Mapping[str, tuple[int, ...]] = {
    "iif": (interface_value("eth0"), interface_value("eth1")),
    "oif": (interface_value("eth1"), interface_value("eth0")),
    "state": (State.NEW, State.ESTABLISHED),
    "direction": (Direction.ORIGINAL,),
    "protocol": (6, 17, 1, 58),
    "sport": (40_000,),
    "dport": (443, 80),
    "icmp_type": (8, 128),
    "length": (60, 84),
    "ttl": (64,),
    "tos": (0,),
    "mac": (0x02_00_00_00_00_01,),
}
_FLAGS = 2  # SYN


def choose(ranges: Sequence[Range], wishes: Sequence[int], rng: random.Random | None) -> int:
    """A value of non-empty ranges: at random, or the first wish that is one, or the second lowest."""
    if rng is not None:
        low, high = rng.choice(ranges)
        return rng.choice((low, high, rng.randint(low, high), rng.randint(low, high)))
    for wish in wishes:
        if any(low <= wish <= high for low, high in ranges):
            return wish
    low, high = ranges[0]
    return low + 1 if high - low > 1 else low


def values_in(box: Box, family: Family | None, hook: Point, rng: random.Random | None = None) -> Values:
    """A packet of a non-empty box that arrives for a hook, everything said, as `Packet.values` gives it."""

    def one(name: Dimension, wishes: Sequence[int] = ()) -> int:
        ranges = box.get(name, ())
        if not ranges:
            if rng is None:
                return wishes[0] if wishes else min(1, top(name) - 1)
            if wishes:
                return wishes[0] if rng.random() < 0.5 else choose(((0, top(name)),), (), rng)
        return choose(ranges or ((0, top(name)),), wishes, rng)

    tested: dict[str, int] = {}
    for dimension in box:
        if isinstance(dimension, tuple):
            tested[dimension[0]] = tested.get(dimension[0], 0) | 1 << dimension[1]

    def bits(name: str, ordinary: int) -> int:
        if rng is None and name not in tested:
            return ordinary
        value = 0
        for bit in range(FIELDS[name].width):
            value |= one((name, bit), (ordinary >> bit & 1,)) << bit
        return value

    values: Values = {}
    for name in ("iif", "oif", "state", "direction", "protocol", "length", "ttl", "tos", "mac"):
        wishes = WISHES[name]
        if name in ("length", "ttl", "direction") and rng is not None and not box.get(name):
            values[name] = wishes[0]
        else:
            values[name] = one(name, wishes)
    kind = family if family is not None else Family(one("family", (0,)))
    values["family"] = int(kind)
    if "protocol" not in box and kind is Family.IPV6 and values["protocol"] == 1:
        values["protocol"] = 58
    for name in ("mark", "ctmark", "ct_status"):
        values[name] = bits(name, 0) if name in tested else 0
    values["fragment"] = one(("fragment", 0), (0,)) if ("fragment", 0) in box else 0
    for side in ("src", "dst"):
        values[ADDRESS_FIELDS[side, kind]] = one(ADDRESS_FIELDS[side, kind])
    if not values["fragment"]:
        if values["protocol"] in PORT_PROTOCOLS:
            values["sport"], values["dport"] = one("sport", WISHES["sport"]), one("dport", WISHES["dport"])
        if values["protocol"] in (1, 58):
            values["icmp_type"], values["icmp_code"] = (
                one("icmp_type", WISHES["icmp_type"]),
                one("icmp_code", (0,)),
            )
        if values["protocol"] == 6:
            values["tcp_flags"] = bits("tcp_flags", _FLAGS)
    if hook is Point.INPUT:
        values["oif"] = ABSENT
    if hook is Point.OUTPUT:
        values["iif"], values["mac"] = ABSENT, NO_MAC
    return values


class Visits(Walk):
    """The specification's walk, noting which rules apply on some way, by id().

    `met` are those that apply for certain values of the unmodelled; `perhaps` also those behind a condition on a
    field that a translation left open, where the walk goes both ways without asking whether both can be.
    """

    met: set[int]
    perhaps: set[int]
    open: bool
    ruling: Ruling | None

    def visit(self, values: Values, hook: Point) -> set[int]:
        """The rules that a packet meets; `ruling` is the specification's, None where it has too many ways to go.

        `open`: a translation left a field open that a rule asks for.
        """
        self.met, self.perhaps, self.open, self.ruling = set(), set(), False, None
        with suppress(TooManyWays):
            self.ruling = self.rule_values(dict(values), State(values["state"] or 0), hook)
        return self.met

    def _fire(self, state: _State, rule: Rule, trail: tuple[Rule, ...]) -> _Leaf | _Fork | None:
        self.perhaps.add(id(rule))
        if not self.open:
            self.met.add(id(rule))
        return super()._fire(state, rule, trail)

    def _doubt(self, state: _State, rule: Rule, doubts: list[Doubt]) -> _Fork:
        self.open = self.open or any(isinstance(doubt, str) for doubt in doubts)
        fork = super()._doubt(state, rule, doubts)
        # Where there are too many ways, the first one shall have met everything.
        return _Fork(fork.ways[::-1], fork.reasons)


__all__ = ["WISHES", "Visits", "choose", "values_in"]

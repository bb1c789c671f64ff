"""Rule sets of everything that the model has, on every hook, from a seed; and packets that meet them.

Rules test few values and few texts, so that they meet: what Hypothesis draws hardly ever does.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import netaddr

from netsim.rules.model import (
    ACCEPT,
    DROP,
    Action,
    ActionKind,
    Adjust,
    AnyOf,
    Bits,
    Chain,
    ChangeSet,
    Condition,
    Deferred,
    Effect,
    Hook,
    In,
    Nat,
    NatKind,
    Netmap,
    Point,
    Pool,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Track,
    Unmodelled,
    Untrack,
)  # fmt: skip
from netsim.space import Family, Packet
from netsim.space.fields import Direction, interface_prefix, interface_value

E0, E1 = interface_value("e0"), interface_value("e1")
LOCAL = "addrtype dst LOCAL"
DOUBTS: list[Condition] = [
    Unmodelled("a", True), Unmodelled("a", True, True), Unmodelled("b", True), Unmodelled("limit", False),
    Deferred("addrtype", ("dst",), LOCAL), Deferred("addrtype", ("dst",), LOCAL, True),
    AnyOf(((Unmodelled("a", True), In("dport", ((3, 3),))), (In("sport", ((0, 2),)),))),
    AnyOf(((Unmodelled("b", True), In("dport", ((3, 3),))), (In("sport", ((0, 2),)),)), True),
]  # fmt: skip
TESTS: list[Condition] = [
    In("iif", ((E0, E0),)), In("iif", (interface_prefix("e"),)), In("oif", ((E1, E1),)), In("oif", ((0, 0),)),
    In("iif", ((0, 0),)), In("state", ((0, 0),)), In("state", ((1, 2),)), In("state", ((3, 3),)), In("state", ((4, 4),)),
    In("direction", ((1, 1),)), In("ttl", ((0, 2),)), In("ttl", ((1, 1), (3, 255))), In("length", ((0, 60),)),
    In("mac", ((5, 5),)), In("family", ((0, 0),)), In("icmp_code", ((1, 1),)), In("dst6", ((0, 3), (7, 1 << 64))),
    Bits("ctmark", 1, 1), Bits("ctmark", 3, 2, True), Bits("ct_status", 32, 32), Bits("ct_status", 16, 16, True),
    Bits("fragment", 1, 1), Bits("fragment", 1, 0), AnyOf((), True), AnyOf(()),
    AnyOf(((In("sport", ((0, 2),)),), (In("dport", ((3, 9),)), In("src4", ((0, 4),)))), True),
    In("src4", ((0, 3),)), In("src4", ((3, 3),)), In("dst4", ((3, 3),)), In("dst4", ((4, 8),)), In("dport", ((2, 4),)),
    In("sport", ((3, 3),)), In("protocol", ((6, 6),)), In("icmp_type", ((8, 8),)), In("tos", ((5, 5),)),
    Bits("mark", 1, 1), Bits("mark", 3, 2), Bits("mark", 1, 1, True), Bits("tcp_flags", 2, 2),
    Bits("tcp_flags", 3, 1, True), Bits("tcp_flags", 0, 1),
]  # fmt: skip
SEEN = [
    t
    for t in TESTS
    if isinstance(t, In | Bits)
    and t.field in ("mark", "dst4", "state", "ttl", "tos", "ct_status", "ctmark", "src4")
]
"""Tests of what effects change."""
_S, _D = NatKind.SOURCE, NatKind.DESTINATION
EFFECTS: list[Effect] = [
    SetBits("mark", 0, 1), SetBits("mark", 0xFFFFFFFE, 1), SetBits("mark", 0xFFFFFFFF, 3), SetBits("mark", 0, 0, "ctmark", 3),
    SetBits("ctmark", 0, 1, needs_entry=True), SetBits("ctmark", 0xFFFFFFFC, 0, "mark", 3, needs_entry=True),
    SetField("tos", 0xF0, 5), SetField("ttl", 0, 1), Adjust("ttl", -1), Adjust("ttl", 2), Untrack(), Track(), ChangeSet("x"),
]  # fmt: skip
TRANSLATIONS: list[Effect] = [
    Nat(_D, Family.IPV4, (Pool((3, 3)),)), Nat(_D, Family.IPV4, (Pool((3, 5), (2, 6)),)), Nat(_D, Family.IPV4, (Pool(None, (3, 3)),)),
    Nat(_D, Family.IPV4, (Pool((5, 5), (2, 2), "e0"), Pool((4, 4), own=True))), Nat(_D, Family.IPV4, (), "redirect"),
    Nat(_D, Family.IPV4, (Pool((3, 3), more=True), Pool((4, 4)))), Nat(_D, Family.IPV6, (Pool((3, 3)),)),
    Nat(_S, Family.IPV4, (Pool((3, 3)),)), Nat(_S, Family.IPV4, (Pool((1, 6)),)), Nat(_S, Family.IPV4, (Pool((1, 1), (1, 5)),)),
    Nat(_S, Family.IPV4, (), "masquerade"), Nat(_S, Family.IPV4, (Pool((7, 7), interface="e1"), Pool(missing=True, interface="e0"))),
    Nat(_S, Family.IPV4, (Pool(None, None, random=True),)), Nat(_S, Family.IPV6, (Pool((3, 3)),)),
    Netmap(_D, Family.IPV4, 4, 30), Netmap(_S, Family.IPV4, 8, 30), Netmap(_D, Family.IPV6, 4, 126),
]  # fmt: skip
HUNG = (
    ("raw", Point.PREROUTING, -300), ("mangle", Point.PREROUTING, -150), ("nat", Point.PREROUTING, -100),
    ("filter", Point.INPUT, 0), ("nat", Point.INPUT, 100), ("mangle", Point.FORWARD, -150), ("filter", Point.FORWARD, 0),
    ("raw", Point.OUTPUT, -300), ("nat", Point.OUTPUT, -100), ("filter", Point.OUTPUT, 0),
    ("mangle", Point.POSTROUTING, -150), ("nat", Point.POSTROUTING, 100), ("nat2", Point.POSTROUTING, 110),
)  # fmt: skip
KINDS = (
    "accept",
    "accept",
    "drop",
    "reject",
    "return",
    "return",
    "jump",
    "jump",
    "jump",
    "goto",
    "change",
    "change",
    "change",
    "change",
    "accept",
    "unmodelled",
)


def any_rule(
    draw: Random, chain: str, number: int, targets: Sequence[str], tests: Sequence[Condition]
) -> Rule:
    found = tuple(draw.choices(tests, k=draw.choice([0, 1, 1, 1, 2])))
    kind = draw.choice(KINDS)
    effects: tuple[Effect, ...] = ()
    nat = chain.startswith("nat")
    if kind == "change":
        effects = tuple(draw.choices(EFFECTS, k=draw.choice([1, 1, 2])))
    elif (kind == "accept" and draw.random() < 0.5) or draw.random() < 0.03:
        effects = (draw.choice(TRANSLATIONS if nat and draw.random() < 0.8 else EFFECTS),)
    if kind in ("jump", "goto") and not targets:
        kind = "accept"
    action = Action(
        {"change": ActionKind.CONTINUE}.get(kind) or ActionKind(kind),
        draw.choice(targets) if kind in ("jump", "goto") else "",
    )
    return Rule(found, action, effects, chain, number)


def any_rules(seed: int) -> RuleSet:
    """Rules of one to four tables; a rule set draws its tests from a few."""
    draw = Random(seed)
    chains: dict[str, Chain] = {}
    doubt = draw.choice(DOUBTS)
    tests = [
        *draw.sample(TESTS, 5),
        *[doubt] * draw.choice([0, 0, 1, 3]),
        *draw.sample(DOUBTS, draw.choice([0, 1])),
    ]
    for table, point, priority in draw.sample(HUNG, draw.randint(2, 7)):
        names = (f"{table}/{point.name}", f"{table}/one{point}", f"{table}/two{point}")
        for position, name in enumerate(names):
            below = names[position + 1 :]
            rules = [any_rule(draw, name, n, below, tests) for n in range(1, draw.randint(1, 6))]
            hook = Hook(point, priority, nat=table.startswith("nat")) if position == 0 else None
            policy = draw.choice([ACCEPT, ACCEPT, DROP, None]) if position == 0 else None
            chains[name] = Chain(name, tuple(rules), hook, policy)
    return RuleSet(
        chains,
        family=draw.choice([None, Family.IPV4, Family.IPV4]),
        backend=draw.choice(["", "nft"]),
    )


NAT_HUNG = (
    ("raw", Point.PREROUTING, -300), ("raw2", Point.PREROUTING, -290), ("raw", Point.OUTPUT, -300), ("raw2", Point.OUTPUT, -290),
    ("mangle", Point.PREROUTING, -150), ("nat", Point.PREROUTING, -100), ("nat2", Point.PREROUTING, -90), ("nat", Point.INPUT, 100),
    ("nat2", Point.INPUT, 110), ("nat", Point.OUTPUT, -100), ("nat2", Point.OUTPUT, -90), ("nat", Point.POSTROUTING, 100),
    ("nat2", Point.POSTROUTING, 110), ("filter", Point.FORWARD, 0), ("filter", Point.INPUT, 0), ("mangle", Point.POSTROUTING, -150),
)  # fmt: skip


def nat_rules(seed: int) -> RuleSet:
    """Rules that translate, untrack and mark, and test what that changes: only what Linux loads."""
    draw = Random(seed)
    kinds = ["accept", "drop", "return", "jump", "jump", "change", "change", "translate", "translate"]
    tests = [*draw.sample(SEEN, 4), *draw.sample(TESTS, 2), *draw.sample(DOUBTS, draw.choice([0, 0, 0, 1]))]
    chains: dict[str, Chain] = {}
    for table, point, priority in draw.sample(NAT_HUNG, draw.randint(3, 9)):
        nat = table.startswith("nat")
        source = point in (Point.INPUT, Point.POSTROUTING)
        fitting = [e for e in TRANSLATIONS if isinstance(e, Nat | Netmap) and e.family is Family.IPV4
                   and (e.kind is NatKind.SOURCE) == source
                   and not (point is Point.INPUT and isinstance(e, Nat) and (e.deferred or any(p.interface for p in e.pools)))]  # fmt: skip
        names = (f"{table}/{point.name}", f"{table}/one{point}", f"{table}/two{point}")
        for position, name in enumerate(names):
            rules: list[Rule] = []
            for number in range(1, draw.randint(1, 5)):
                found = tuple(draw.choices(tests, k=draw.choice([0, 1, 1, 1])))
                kind, targets = draw.choice(kinds), names[position + 1 :]
                if kind == "translate" and nat:
                    rules.append(Rule(found, ACCEPT, (draw.choice(fitting),), name, number))
                elif kind == "jump" and targets:
                    action = Action(
                        draw.choice([ActionKind.JUMP, ActionKind.JUMP, ActionKind.GOTO]), draw.choice(targets)
                    )
                    rules.append(Rule(found, action, (), name, number))
                elif kind in ("change", "translate", "jump"):
                    one = (
                        Untrack() if table.startswith("raw") and draw.random() < 0.6 else draw.choice(EFFECTS)
                    )
                    if isinstance(one, Untrack) and not table.startswith("raw"):
                        one = SetBits("mark", 0, 1)
                    rules.append(Rule(found, Action(ActionKind.CONTINUE), (one,), name, number))
                else:
                    rules.append(Rule(found, Action(ActionKind(kind)), (), name, number))
            hook = Hook(point, priority, nat=nat) if position == 0 else None
            policy = draw.choice([ACCEPT, ACCEPT, ACCEPT, DROP]) if position == 0 and not nat else ACCEPT
            chains[name] = Chain(name, tuple(rules), hook, policy if position == 0 else None)
    return RuleSet(chains, family=Family.IPV4, backend=draw.choice(["", "nft"]))


def any_packet(draw: Random) -> Packet:
    """A packet in which everything is said."""
    family = draw.choice([Family.IPV4, Family.IPV4, Family.IPV6])
    protocol = draw.choice([6, 6, 17, 17, 1, 58, 5])
    fragment = draw.random() < 0.1
    more: dict[str, Any] = {}
    if protocol in (6, 17) and not fragment:
        more = {"sport": draw.randint(0, 5), "dport": draw.randint(0, 7)}
    if protocol == 6:
        more["tcp_flags"] = draw.randint(0, 3)
    if protocol in (1, 58) and not fragment:
        more = {"icmp_type": draw.randint(0, 9), "icmp_code": draw.randint(0, 1)}
    bits: Literal[4, 6] = 6 if family else 4
    return Packet(
        src=netaddr.IPAddress(draw.randint(0, 8), bits), dst=netaddr.IPAddress(draw.randint(0, 8), bits),
        protocol=protocol, iif=draw.choice(["e0", "e1", ""]), oif=draw.choice(["e0", "e1", ""]), fragment=fragment,
        ttl=draw.randint(1, 4), length=draw.choice([60, 61]), mac=draw.choice([5, 6]), tos=draw.randint(0, 9),
        mark=draw.randint(0, 3), ctmark=draw.randint(0, 3), direction=draw.choice(list(Direction)),
        state=draw.choice(["new", "new", "new", "established", "related", "invalid", "untracked"]), **more,
    )  # fmt: skip

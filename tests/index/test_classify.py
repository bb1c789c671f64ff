"""Batches against `decide`, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netsim.index import Index
from netsim.index.batches import VERDICTS, Plan
from netsim.rules.journey import HOOKS, NO_ADDRESSES, Addresses, Turn
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
    Verdict,
)
from netsim.space import Family, Packet
from netsim.space.fields import WORD, interface_prefix, interface_value
from tests.strategies import conditions, full_packets, rule_sets, small_packets


def batch(packets: Sequence[Packet]) -> dict[str, Any]:
    """The columns of packets in which everything is said."""
    values = [p.values() for p in packets]

    def column(name: str, kind: type) -> Any:
        return np.array([v.get(name) or 0 for v in values], kind)

    def halves(name: str) -> Any:
        return np.array([[(v.get(name) or 0) >> 64, (v.get(name) or 0) & WORD] for v in values], np.uint64)

    found = {name: column(name, np.int64) for name in (
        "protocol", "sport", "dport", "tcp_flags", "icmp_type", "icmp_code", "state", "direction", "length", "ttl",
        "tos", "mac", "mark", "ctmark", "ct_status", "fragment", "family",
    )}  # fmt: skip
    found |= {"src": column("src4", np.uint32), "dst": column("dst4", np.uint32)}
    found |= {"src6": halves("src6"), "dst6": halves("dst6"), "iif": halves("iif"), "oif": halves("oif")}
    return found


def check(index: Index, packets: Sequence[Packet], columns: dict[str, Any], hook: Point) -> None:
    found = index.classify(columns, hook=hook)
    for i, packet in enumerate(packets):
        ruling = index.decide(packet, hook=hook)
        verdict = VERDICTS[found.verdict[i]]
        assert verdict is ruling.verdict, (i, str(packet), found.row[i], found.undecided[i])
        if verdict is Verdict.UNKNOWN:
            continue
        if found.undecided[i] < 0:
            decider = found.decider(i)
            step = ruling.step
            assert (decider is None) == (step is None), str(packet)
            if decider is not None and step is not None:
                assert (decider.chain, decider.rule, decider.trail) == (step.chain, step.rule, step.trail)


# Rule sets of everything that the model has, on every hook.

ANYWHERE: st.SearchStrategy[Condition] = st.one_of(
    conditions,
    st.sampled_from([
        In("iif", ((interface_value("e0"), interface_value("e0")),)), In("iif", (interface_prefix("e"),)),
        In("oif", ((interface_value("e1"), interface_value("e1")),)), In("oif", ((0, 0),)), In("iif", ((0, 0),)),
        In("state", ((0, 0),)), In("state", ((1, 2),)), In("state", ((4, 4),)), In("direction", ((1, 1),)),
        In("ttl", ((0, 2),)), In("ttl", ((1, 1), (3, 255))), In("length", ((0, 60),)), In("mac", ((5, 5),)),
        In("family", ((0, 0),)), In("icmp_code", ((1, 1),)), In("dst6", ((0, 3), (7, 1 << 64))),
        Bits("ctmark", 1, 1), Bits("ctmark", 3, 2, True), Bits("ct_status", 32, 32), Bits("ct_status", 16, 16, True),
        Bits("fragment", 1, 1), Bits("fragment", 1, 0),
        Deferred("addrtype", ("dst",), "addrtype dst LOCAL"), Deferred("addrtype", ("dst",), "addrtype dst LOCAL", True),
        AnyOf(((Unmodelled("a", True), In("dport", ((3, 3),))), (In("sport", ((0, 2),)),))),
        AnyOf(((Unmodelled("b", True), In("dport", ((3, 3),))), (In("sport", ((0, 2),)),)), True),
        AnyOf((), True), AnyOf(()),
    ]),
)  # fmt: skip
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
KINDS = ("accept", "accept", "drop", "reject", "return", "jump", "jump", "goto", "change", "unmodelled")


@st.composite
def any_rule(draw: st.DrawFn, chain: str, number: int, targets: Sequence[str]) -> Rule:
    found = tuple(draw(st.lists(ANYWHERE, max_size=2)))
    kind = draw(st.sampled_from(KINDS))
    effects: tuple[Effect, ...] = ()
    nat = chain.startswith("nat")
    if kind == "change":
        effects = tuple(draw(st.lists(st.sampled_from(EFFECTS), min_size=1, max_size=2)))
    elif (kind == "accept" and draw(st.booleans())) or draw(st.integers(0, 30)) == 0:
        effects = (draw(st.sampled_from(TRANSLATIONS if nat and draw(st.integers(0, 4)) else EFFECTS)),)
    if kind in ("jump", "goto") and not targets:
        kind = "accept"
    action = Action(
        {"change": ActionKind.CONTINUE}.get(kind) or ActionKind(kind),
        draw(st.sampled_from(list(targets))) if kind in ("jump", "goto") else "",
    )
    return Rule(found, action, effects, chain, number)


@st.composite
def any_rule_sets(draw: st.DrawFn) -> RuleSet:
    chains: dict[str, Chain] = {}
    for table, point, priority in draw(st.lists(st.sampled_from(HUNG), min_size=1, max_size=4, unique=True)):
        base = f"{table}/{point.name}"
        names = (base, f"{table}/one{point}", f"{table}/two{point}")
        for position, name in enumerate(names):
            size = draw(st.integers(0, 4))
            found = tuple(draw(any_rule(name, n, names[position + 1 :])) for n in range(1, size + 1))
            hook = Hook(point, priority, nat=table.startswith("nat")) if position == 0 else None
            policy = draw(st.sampled_from([ACCEPT, DROP, None])) if position == 0 else None
            chains[name] = Chain(name, found, hook, policy)
    return RuleSet(
        chains,
        family=draw(st.sampled_from([None, Family.IPV4, Family.IPV4])),
        backend=draw(st.sampled_from(["", "nft"])),
    )


KNOWN = Addresses(((Family.IPV4, ((3, 3), (5, 6))), (Family.IPV6, ((3, 3),))), known=True)
everyone = st.lists(st.one_of(small_packets(), full_packets()), min_size=1, max_size=6)


@given(
    any_rule_sets(), everyone, st.sampled_from(list(HOOKS.values())), st.sampled_from([NO_ADDRESSES, KNOWN])
)
def test_everything_that_the_model_has(
    rules: RuleSet, packets: list[Packet], hook: Point, addresses: Addresses
) -> None:
    index = Index(rules, addresses=addresses)
    check(index, packets, batch(packets), hook)
    for found in index.batches(hook)._plans.values():
        if isinstance(found, Plan):
            for asked in found.stages:
                if not isinstance(asked, Turn):
                    asked.stage.check_invariants(index.deciders)


LEFT = (
    "iif",
    "oif",
    "protocol",
    "sport",
    "dport",
    "tcp_flags",
    "icmp_type",
    "icmp_code",
    "length",
    "ttl",
    "mac",
    "src",
    "dst",
)
ALIAS = {"iif": "iif_value", "oif": "oif_value", "mac": "mac_value", "src": "_src", "dst": "_dst"}


@given(
    any_rule_sets(),
    everyone,
    st.sampled_from(list(HOOKS.values())),
    st.sets(st.sampled_from(LEFT), min_size=1),
)
def test_what_a_batch_leaves_out_is_open(
    rules: RuleSet, packets: list[Packet], hook: Point, left: set[str]
) -> None:
    columns = batch(packets)
    if {"src", "dst"} <= left:
        del columns["family"]
    if "protocol" in left:  # whether it has ports is open then
        left |= {"sport", "dport", "icmp_type", "icmp_code", "tcp_flags"}
    for name in left:
        columns.pop(name, None)
        columns.pop(name + "6", None)
    opened = []
    for packet in packets:
        values: dict[str, Any] = {str(a.alias): getattr(packet, a.name) for a in attrs.fields(Packet)}
        values |= {"src": packet.src, "dst": packet.dst}
        values |= dict.fromkeys(left)
        if {"src", "dst"} <= left:
            values["family"] = None
        opened.append(Packet(**values))
    check(Index(rules), opened, columns, hook)


@given(rule_sets(), st.lists(small_packets(), min_size=1, max_size=6))
def test_a_batch_is_decided_as_its_records_are(rules: RuleSet, packets: list[Packet]) -> None:
    for hook in HOOKS.values():
        check(Index(rules), packets, batch(packets), hook)


@given(rule_sets(), st.lists(full_packets(), min_size=1, max_size=6))
def test_both_families_fragments_and_edges(rules: RuleSet, packets: list[Packet]) -> None:
    for family in (None, Family.IPV4):
        check(Index(attrs.evolve(rules, family=family)), packets, batch(packets), Point.FORWARD)

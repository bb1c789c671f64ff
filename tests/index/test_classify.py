"""Batches against `decide`, record by record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded
from netsim.index import Index
from netsim.index.deciders import Deciders
from netsim.index.flatten import Flattener, Variant
from netsim.index.plans import VERDICTS
from netsim.rules.journey import HOOKS, NO_ADDRESSES, Addresses, Turn
from netsim.rules.model import Point, RuleSet, Verdict
from netsim.space import Family, Packet
from netsim.space.fields import WORD
from tests.index.wild import any_packet, any_rules
from tests.strategies import full_packets, rule_sets, small_packets


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


def differences(
    index: Index, packets: Sequence[Packet], columns: dict[str, Any], hooks: Iterable[Point]
) -> list[str]:
    """The records of a batch that are answered otherwise than `decide` answers their packets."""
    unlike: list[str] = []
    for hook in hooks:
        found = index.classify(columns, hook=hook)
        for i, packet in enumerate(packets):
            ruling = index.decide(packet, hook=hook)
            verdict = VERDICTS[found.verdict[i]]
            same = verdict is ruling.verdict
            if same and verdict is not Verdict.UNKNOWN and found.undecided[i] < 0:
                decider, step = found.decider(i), ruling.step
                ours = None if decider is None else (decider.chain, decider.rule, decider.trail)
                same = ours == (None if step is None else (step.chain, step.rule, step.trail))
            if not same:
                unlike.append(
                    f"{hook.name} {i} {packet}: {verdict.value} by {found.row[i]}, "
                    f"undecided {found.undecided[i]}, not {ruling.verdict.value}"
                )
    return unlike


KNOWN = Addresses(((Family.IPV4, ((3, 3), (5, 6))), (Family.IPV6, ((3, 3),))), known=True)


def differential(seed: int) -> list[str]:
    """One rule set of everything, forty packets, every hook."""
    draw = Random(seed)
    index = Index(any_rules(seed), addresses=draw.choice([NO_ADDRESSES, KNOWN]))
    packets = [any_packet(draw) for _ in range(40)]
    return differences(index, packets, batch(packets), HOOKS.values())


def test_the_stages_keep_their_invariants() -> None:
    for seed in range(150):
        rules = any_rules(seed)
        deciders = Deciders(rules)
        for hook in HOOKS.values():
            variant = Variant(hook, Family.IPV4, frozenset({"iif"} if seed % 2 else ()))
            try:
                stages = Flattener(rules, deciders, variant, NO_ADDRESSES, DEFAULT_LIMITS).stages()
            except BudgetExceeded:
                continue
            for stage in stages:
                if not isinstance(stage, Turn):
                    stage.check_invariants(deciders)


@pytest.mark.parametrize("part", range(4))
def test_everything_that_the_model_has(part: int) -> None:
    for seed in range(part * 100, part * 100 + 100):
        assert not differential(seed), seed


LEFT = (
    "iif", "oif", "protocol", "sport", "dport", "tcp_flags", "icmp_type", "icmp_code", "length", "ttl", "mac", "src", "dst",
)  # fmt: skip


def left_out(seed: int) -> list[str]:
    """Some columns left out: the same as packets that do not say those fields."""
    draw = Random(seed)
    rules = any_rules(seed)
    packets = [any_packet(draw) for _ in range(30)]
    left = set(draw.sample(LEFT, draw.choice([1, 1, 2, 4])))
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
    return differences(Index(rules), opened, columns, HOOKS.values())


@pytest.mark.parametrize("part", range(2))
def test_what_a_batch_leaves_out_is_open(part: int) -> None:
    for seed in range(part * 100, part * 100 + 100):
        assert not left_out(seed), seed


@given(rule_sets(), st.lists(small_packets(), min_size=1, max_size=6))
def test_a_batch_is_decided_as_its_records_are(rules: RuleSet, packets: list[Packet]) -> None:
    assert not differences(Index(rules), packets, batch(packets), HOOKS.values())


@given(rule_sets(), st.lists(full_packets(), min_size=1, max_size=6))
def test_both_families_fragments_and_edges(rules: RuleSet, packets: list[Packet]) -> None:
    for family in (None, Family.IPV4):
        index = Index(attrs.evolve(rules, family=family))
        assert not differences(index, packets, batch(packets), [Point.FORWARD])

"""Batches against `decide`, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netsim.index import Index
from netsim.index.batches import VERDICTS
from netsim.rules.journey import HOOKS
from netsim.rules.model import Point, RuleSet, Verdict
from netsim.space import Family, Packet
from netsim.space.fields import WORD
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


@given(rule_sets(), st.lists(small_packets(), min_size=1, max_size=6))
def test_a_batch_is_decided_as_its_records_are(rules: RuleSet, packets: list[Packet]) -> None:
    for hook in HOOKS.values():
        check(Index(rules), packets, batch(packets), hook)


@given(rule_sets(), st.lists(full_packets(), min_size=1, max_size=6))
def test_both_families_fragments_and_edges(rules: RuleSet, packets: list[Packet]) -> None:
    import attrs

    for family in (None, Family.IPV4):
        check(Index(attrs.evolve(rules, family=family)), packets, batch(packets), Point.FORWARD)

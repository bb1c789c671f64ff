"""Redundancy in long chains by successors is that by boxes; first deciders are those of a walk over all rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.index import Index, redundancy, sides
from netsim.index.liveness import Liveness
from netsim.index.redundancy import Redundancy, redundant
from netsim.index.sides import first_deciders
from netsim.parsers.iptables import parse
from netsim.rules.model import ActionKind, Point, RuleSet, Verdict
from netsim.space.fields import Family
from netsim.space.packets import EVERYTHING, PacketSet
from netsim.space.pool import POOL
from tests.index.test_rowwise import OTHER, PLAIN, line
from tests.strategies import rule_sets

SIX = ["-s 2001:db8::/33", "-d 2001:db8::1", "-p tcp --tcp-flags SYN,ACK SYN", "-p icmpv6"]


def listed(seed: int, extra: list[str], silent: bool = False, family: int = 4) -> RuleSet:
    rng = random.Random(seed)
    if family == 4:
        lines = [line(rng, extra) for _ in range(rng.randrange(16))]
    else:
        lines = [
            " ".join(["-A FORWARD", *rng.sample(SIX[:2], rng.randrange(3)), rng.choice(["", *SIX[2:]])])
            + f" -j {rng.choice(('ACCEPT', 'DROP', 'REJECT'))}"
            for _ in range(rng.randrange(12))
        ]
    lines = [each for each in lines if silent or not each.endswith("LOG")]
    policy = rng.choice(("ACCEPT", "DROP"))
    text = "\n".join(["*filter", f":FORWARD {policy} [0:0]", *lines, "COMMIT", ""])
    return parse(text, file="f.rules", family=Family.IPV6) if family == 6 else parse(text, file="f.rules")


def both(rules: RuleSet) -> tuple[dict[int, set[int]], dict[int, set[int]], bool]:
    """The redundant rules with what decides their packets, by successors and by boxes; whether successors answered."""
    index = Index(rules)
    liveness = Liveness(index)
    expected = {id(r.rule): r for r in redundant(index, liveness)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redundancy, "LONG", 0)
        found = {id(r.rule): r for r in redundant(index, liveness)}
        engine = Redundancy(index, liveness)
        answered = any(
            chain.rules and engine._successors(chain) is not None for chain in rules.chains.values()
        )
    one, two = ({key: {id(r) for r in p.because} for key, p in some.items()} for some in (found, expected))
    return one, two, answered


def agree(rules: RuleSet) -> bool:
    """Whether both find the same rules redundant; successors may name fewer rules as the reason, never others."""
    found, expected, _ = both(rules)
    return found.keys() == expected.keys() and all(found[key] <= expected[key] for key in found)


@given(st.integers(0, 2**32))
def test_plain_lists(seed: int) -> None:
    assert agree(listed(seed, PLAIN))
    assert agree(listed(seed, OTHER, silent=True))


@given(st.integers(0, 2**32))
def test_lists_of_ipv6(seed: int) -> None:
    assert agree(listed(seed, [], family=6))


@given(rule_sets())
def test_any_rule_set(rules: RuleSet) -> None:
    assert agree(rules)


def test_successors_answer() -> None:
    every = [both(listed(seed, PLAIN[2:3])) for seed in range(60)]
    assert sum(len(found) for found, _, answered in every if answered) > 30


@pytest.mark.parametrize("rows", [0, 10**9])
@given(seed=st.integers(0, 2**32))
@POOL.question()
def test_first_deciders(rows: int, seed: int) -> None:
    index = Index(listed(seed, PLAIN, silent=True))
    with POOL.lock, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sides, "ROWS", rows)
        found = first_deciders(index, EVERYTHING.node, Point.FORWARD, ActionKind.ACCEPT)
    expected = {
        id(d.rule): d.packets
        for d in index.deciding(EVERYTHING)
        if d.verdict is Verdict.ACCEPT and d.rule is not None
    }
    if found is not None:
        assert {id(rule): PacketSet(node) for rule, node in found} == expected
        assert len(found) == len(expected)

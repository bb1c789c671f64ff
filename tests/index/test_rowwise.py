"""Comparing by rows and by diagrams gives the same sets and the same regions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.index import Index, rowdiff, rowwise
from netsim.index.differ import Differ
from netsim.parsers.iptables import parse
from netsim.rules.model import Point, RuleSet
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet, packets
from tests.strategies import edits

HOOKS = (Point.FORWARD, Point.INPUT, Point.OUTPUT)


def told(before: RuleSet, after: RuleSet, hook: Point, within: PacketSet) -> tuple[Differ, object, object]:
    differ = Differ(Index(before), Index(after), hook, within)
    parts = {(kind, was, now): part for kind, was, now, part in differ.parts}
    regions = {}
    for r in differ.regions():
        sides = tuple((s.outcomes, s.chain, s.rule and s.rule.id, s.decided) for s in (r.before, r.after))
        assert (r.kind, *sides) not in regions
        regions[r.kind, *sides] = r.packets
    return differ, parts, regions


def both_ways(
    before: RuleSet, after: RuleSet, within: PacketSet = EVERYTHING
) -> tuple[list[object], list[object], list[bool]]:
    """What rows say and what sets say, and whether rows answered, for each hook."""
    rows: list[object] = []
    sets: list[object] = []
    answered = []
    for hook in HOOKS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rowwise, "FROM", 10**9)
            sets.append(told(before, after, hook, within)[1:])
            patch.setattr(rowwise, "FROM", 0)
            differ, *found = told(before, after, hook, within)
        rows.append(tuple(found))
        answered.append(differ.told is not None)
    return rows, sets, answered


def line(rng: random.Random, extra: list[str]) -> str:
    words = ["-A FORWARD"]
    if rng.random() < 0.7:
        words.append(f"-s 10.0.{rng.randrange(4)}.0/{rng.choice((22, 23, 24, 25))}")
    if rng.random() < 0.5:
        words.append(f"-d 10.1.{rng.randrange(4)}.0/{rng.choice((16, 23, 24))}")
    match rng.randrange(5):
        case 0:
            words.append("-p udp")
        case 1:
            words.append(f"-p tcp --dport {rng.choice(('22', '80:90', '85:443', '1024:65535'))}")
        case 2:
            words.append("-p tcp -m multiport --dports 22,80:82,443")
        case 3:
            words.append("-p icmp --icmp-type echo-request")
    if rng.random() < 0.3:
        words.append(rng.choice(extra))
    return " ".join([*words, "-j", rng.choice(("ACCEPT", "ACCEPT", "DROP", "REJECT", "LOG"))])


PLAIN = [
    "-i eth0",
    "-m state --state ESTABLISHED",
    "-m mark --mark 0x1/0x3",
    "-m mark ! --mark 0x2/0x7",
    "! -o eth1",
    "-f",
]
OTHER = [*PLAIN, "-m ttl --ttl-lt 4", "-m limit --limit 1/s", "-m connmark --mark 1"]


def pair(seed: int, extra: list[str]) -> tuple[RuleSet, RuleSet]:
    rng = random.Random(seed)
    lines = [line(rng, extra) for _ in range(rng.randrange(12))]
    new = list(lines)
    for _ in range(rng.randrange(5)):
        if new and rng.random() < 0.6:
            del new[rng.randrange(len(new))]
        else:
            new.insert(rng.randrange(len(new) + 1), rng.choice([*lines, line(rng, extra)]))
    policies = [rng.choice(("ACCEPT", "DROP")) for _ in "ab"] if rng.random() < 0.3 else ["DROP", "DROP"]
    one, two = (
        parse("\n".join(["*filter", f":FORWARD {policy} [0:0]", *body, "COMMIT", ""]), file="f.rules")
        for policy, body in zip(policies, (lines, new), strict=True)
    )
    return one, two


@given(st.integers(0, 2**32))
def test_plain_lists(seed: int) -> None:
    rows, sets, _ = both_ways(*pair(seed, PLAIN), packets(src="10.0.0.0/23") if seed % 3 == 0 else EVERYTHING)
    assert rows == sets


def test_most_plain_lists_are_answered_by_rows() -> None:
    answered = [both_ways(*pair(seed, PLAIN[2:]))[2][0] for seed in range(40)]
    assert sum(answered) > 30


@given(st.integers(0, 2**32))
def test_lists_with_more_than_rows_can_say(seed: int) -> None:
    rows, sets, _ = both_ways(*pair(seed, OTHER))
    assert rows == sets


@given(edits())
def test_any_rule_sets(both: tuple[RuleSet, RuleSet]) -> None:
    rows, sets, _ = both_ways(*both)
    assert rows == sets


def check_some(seed: int, before: RuleSet, after: RuleSet, within: PacketSet = EVERYTHING) -> int:
    """Lists of which some regions are told and the rest is summed up; how many regions are told."""
    told_ = 0
    for hook in HOOKS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rowwise, "FROM", 10**9)
            _, parts, regions = told(before, after, hook, within)
            patch.setattr(rowwise, "FROM", 0)
            patch.setattr(rowwise, "EVERY", 0)
            patch.setattr(rowdiff, "CHANGED", -1)
            patch.setattr(rowdiff, "FIRST", seed % 5)
            differ = Differ(Index(before), Index(after), hook, within)
            assert {(kind, was, now): part for kind, was, now, part in differ.parts} == parts
            sums: dict[object, PacketSet] = {}
            for r in differ.regions():
                key = r.kind, r.before.outcomes, r.after.outcomes
                assert not r.packets & sums.get(key, NOTHING)
                sums[key] = sums.get(key, NOTHING) | r.packets
                if not r.before.many:
                    told_ += 1
                    sides = tuple(
                        (s.outcomes, s.chain, s.rule and s.rule.id, s.decided) for s in (r.before, r.after)
                    )
                    assert r.packets <= regions[r.kind, *sides]  # type: ignore[index]
            assert sums == parts
    return told_


@given(st.integers(0, 2**32))
def test_some_regions_are_told_and_the_rest_summed_up(seed: int) -> None:
    within = packets(src="10.0.0.0/23") if seed % 3 == 0 else EVERYTHING
    check_some(seed, *pair(seed, OTHER if seed % 2 else PLAIN), within)
    check_some(seed, pair(seed, PLAIN)[0], pair(seed + 1, PLAIN)[1], within)


def test_the_first_regions_are_told() -> None:
    assert sum(check_some(4, pair(seed, PLAIN)[0], pair(seed + 1, PLAIN)[1]) for seed in range(30)) > 30


@given(edits())
def test_any_rule_sets_of_which_some_regions_are_told(both: tuple[RuleSet, RuleSet]) -> None:
    check_some(3, *both)

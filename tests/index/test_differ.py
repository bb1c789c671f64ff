"""Differences of rule sets: against the specification packet by packet, and the localised part against the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.index import Index, differ
from netsim.index.align import unaligned
from netsim.index.differ import Differ, Kind
from netsim.rules.evaluate import Ruling, evaluate
from netsim.rules.model import Outcome, Point, RuleSet
from netsim.space import EVERYTHING, NOTHING, Packet, packets
from netsim.space.fields import Family
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL
from tests.strategies import edits, rule_sets, small_packets


def _differ(before: RuleSet, after: RuleSet, within: PacketSet = EVERYTHING) -> Differ:
    return Differ(Index(before), Index(after), Point.FORWARD, within)


def _has(packets_: PacketSet, packet: Packet) -> bool:
    return bool(POOL.value(packets_.node, [v or 0 for v in packet.point()]))


def _sure(ruling: Ruling) -> int:
    return 2 if ruling.outcomes == Outcome.ACCEPT else int(bool(ruling.outcomes & Outcome.ACCEPT))


@given(edits(), st.lists(small_packets(), min_size=4, max_size=8))
def test_every_packet_is_where_the_specification_puts_it(
    pair: tuple[RuleSet, RuleSet], some: list[Packet]
) -> None:
    before, after = pair
    differ = _differ(before, after)
    sets = {kind: differ.of(kind) for kind in Kind}
    for packet in some:
        old, new = evaluate(before, packet), evaluate(after, packet)
        if any("does not say" in r.condition for r in (*old.because, *new.because)):
            continue  # the sets know which open values go together
        found = [kind for kind, members in sets.items() if _has(members, packet)]
        if _sure(new) != _sure(old):
            assert found == [Kind.GAINED if _sure(new) > _sure(old) else Kind.LOST]
        elif new.outcomes != old.outcomes:
            assert found == [Kind.CHANGED]
        elif len([o for o in Outcome if o & new.outcomes]) == 1:
            same = _seen(old) == _seen(new)
            if not (same and any(v is None for v in (new.after or {}).values())):
                assert found == ([] if same else [Kind.CHANGED])
        else:
            assert found in ([], [Kind.CHANGED])  # another condition decides, with the same outcomes


def _seen(ruling: Ruling) -> object:
    values = ruling.after
    return values and {k: v for k, v in values.items() if k not in ("ct_status", "oif", "iif", "direction")}


@given(edits())
def test_the_reach_of_a_change_holds_every_difference(pair: tuple[RuleSet, RuleSet]) -> None:
    local = _differ(*pair)
    whole = _differ(*pair)
    whole.asked = EVERYTHING
    whole.indexes = tuple(Index(r, variables=i.variables) for r, i in zip(pair, whole.indexes, strict=True))  # type: ignore[assignment]
    for kind in Kind:
        assert local.of(kind) == whole.of(kind)


@given(edits())
def test_regions_are_disjoint_and_make_up_the_sets(pair: tuple[RuleSet, RuleSet]) -> None:
    differ = _differ(*pair)
    union = dict.fromkeys(Kind, NOTHING)
    for region in differ.regions():
        assert region.packets
        assert not region.packets & union[region.kind]
        union[region.kind] |= region.packets
    assert union == {kind: differ.of(kind) for kind in Kind}


@given(edits(), small_packets())
def test_a_region_names_the_rule_that_the_specification_names(
    pair: tuple[RuleSet, RuleSet], packet: Packet
) -> None:
    for region in _differ(*pair).regions():
        if not _has(region.packets, packet):
            continue
        for rules, side in zip(pair, (region.before, region.after), strict=True):
            ruling = evaluate(rules, packet)
            if ruling.step is None or not side.decided or ruling.because:
                continue
            # Where the verdict is the same whatever an undecided rule does, either may be named.
            assert side.rule == ruling.step.rule or any(not r.modelled for r in rules.rules())


@given(rule_sets())
def test_a_rule_set_equals_itself_and_nothing_is_compiled(rules: RuleSet) -> None:
    differ = _differ(rules, RuleSet(dict(rules.chains), family=rules.family))
    assert not differ.asked
    assert not differ.parts


@given(edits())
def test_the_other_way_round_gained_is_lost(pair: tuple[RuleSet, RuleSet]) -> None:
    there, back = _differ(*pair), _differ(pair[1], pair[0])
    assert there.of(Kind.GAINED) == back.of(Kind.LOST)
    assert there.of(Kind.CHANGED) == back.of(Kind.CHANGED)


def _parse(body: str, head: str = ":FORWARD DROP") -> RuleSet:
    return netsim.parse(f"*filter\n{head}\n{body}\nCOMMIT\n", family=Family.IPV4).ruleset


def test_an_unmodelled_condition_in_both_is_one_variable() -> None:
    line = "-A FORWARD -m time --timestart 10:00 -j ACCEPT"
    assert not _differ(_parse(line), _parse(f"-A FORWARD -j LOG\n{line}")).parts
    turned = "-A FORWARD -m time --timestart 11:00 -j ACCEPT"
    parts = _differ(_parse(line), _parse(turned)).parts
    assert [(kind, int(was), int(now)) for kind, was, now, _ in parts] == [(Kind.CHANGED, 12, 12)]


def test_accepted_perhaps_is_less_than_accepted() -> None:
    body = "-A FORWARD -p tcp {} -j ACCEPT"
    differ = _differ(_parse(body.format("")), _parse(body.format("-m limit --limit 5/min")))
    assert differ.of(Kind.LOST) == packets(
        protocol="tcp", family=Family.IPV4, ttl=(2, 255), fragment=False
    ) | packets(protocol="tcp", family=Family.IPV4, ttl=(2, 255), fragment=True)


def test_drop_against_reject_is_changed_and_a_mark_too() -> None:
    differ = _differ(_parse("-A FORWARD -p udp -j DROP"), _parse("-A FORWARD -p udp -j REJECT"))
    assert differ.of(Kind.CHANGED)
    assert not differ.of(Kind.LOST)
    table = "*mangle\n:FORWARD ACCEPT\n{}\nCOMMIT\n"
    marked = netsim.parse(table.format("-A FORWARD -p udp -j MARK --set-mark 1"), family=Family.IPV4).ruleset
    plain = netsim.parse(table.format("-A FORWARD -p tcp -j LOG"), family=Family.IPV4).ruleset
    changed = _differ(plain, marked).of(Kind.CHANGED)
    assert changed == packets(protocol="udp", family=Family.IPV4, ttl=(2, 255)) - packets(mark=1)


def test_alignment_keeps_a_longest_common_order() -> None:
    a = _parse("\n".join(f"-A FORWARD -p tcp --dport {n} -j ACCEPT" for n in (1, 2, 3, 4, 5, 3)))
    b = _parse("\n".join(f"-A FORWARD -p tcp --dport {n} -j ACCEPT" for n in (2, 3, 1, 4, 9, 3)))
    chain = "filter/FORWARD"
    old, new = unaligned(a.chains[chain].rules, b.chains[chain].rules)
    assert [r.number for r in old] == [1, 5]
    assert [r.number for r in new] == [3, 5]


def test_a_policy_is_compared_everywhere() -> None:
    a, b = _parse("-A FORWARD -p tcp -j ACCEPT"), _parse("-A FORWARD -p tcp -j ACCEPT", ":FORWARD ACCEPT")
    gained = _differ(a, b).of(Kind.GAINED)
    assert gained == packets(family=Family.IPV4, ttl=(2, 255)) - packets(protocol="tcp")
    (region,) = _differ(a, b).regions()
    assert (region.before.rule, region.after.rule, region.after.chain) == (None, None, "filter/FORWARD")


def test_a_cut_keeps_tracking_on() -> None:
    # Tracked fragments are reassembled: the rule that tracks counts, though no packet of the change matches it.
    tracking = "-A FORWARD -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    old, new = (_parse(f"{tracking}-A FORWARD -p udp -j {target}") for target in ("DROP", "REJECT"))
    changed = _differ(old, new).of(Kind.CHANGED)
    assert changed == packets(protocol="udp", family=Family.IPV4, ttl=(2, 255), fragment=False)


@given(edits())
def test_parts_are_not_told_by_rules_where_that_takes_too_long(both: tuple[RuleSet, RuleSet]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differ, "TELLING", -1)
        found = _differ(*both)
        parts = {(kind, was, now): part for kind, was, now, part in found.parts}
        regions = list(found.regions())
    assert {(r.kind, r.before.outcomes, r.after.outcomes): r.packets for r in regions} == parts
    assert len(regions) == len(parts)
    assert all(r.before.many and r.after.many for r in regions)
